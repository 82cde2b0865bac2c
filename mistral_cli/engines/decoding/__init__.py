"""Decoding token by token: sampling, grammars, and streams that run in threads."""
