"""Support of an answer's sentences: the sentences of its text that have the same words."""
