"""JSON answers: fields or a schema → a grammar; the text of an answer → a valid value."""
