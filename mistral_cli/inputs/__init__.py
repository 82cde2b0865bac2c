"""Arguments, files and standard input → texts."""
