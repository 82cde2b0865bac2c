"""ctransformers, for GGUF files of 2023."""
