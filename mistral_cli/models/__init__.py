"""Resolves a model reference to a checked GGUF file on this machine."""
