"""ctransformers, for GGUF files of the first generation."""
