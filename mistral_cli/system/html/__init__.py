"""HTML pages: self-contained, and safe whatever the texts in them hold."""
