"""Messages to token ids in the model's own chat format."""
