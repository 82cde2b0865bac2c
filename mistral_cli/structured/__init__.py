"""JSON answers: fields or a schema → a grammar; an answer's text → a value that holds."""
