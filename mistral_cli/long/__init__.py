"""Texts that do not go through a model in one piece: splitting, structure, sentences, terms."""
