"""Input texts: reading and converting them, splitting, structure, sentences, glossaries."""
