"""Messages → token ids in the model's own format."""
