"""Summaries that are made of the text's own sentences, or that name them."""
