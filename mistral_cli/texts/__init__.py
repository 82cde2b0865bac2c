"""Input texts: reading, documents, splitting, structure, sentences, glossaries."""
