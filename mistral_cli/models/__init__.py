"""A model reference → a file on this machine."""
