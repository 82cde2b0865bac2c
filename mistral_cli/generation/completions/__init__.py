"""Completions: a text that the model continues, or whose gap it fills, and where they end."""
