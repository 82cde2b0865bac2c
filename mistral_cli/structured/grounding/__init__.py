"""Grounding: a schema and a text → a grammar whose strings and numbers come from the text."""
