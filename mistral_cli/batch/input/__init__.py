"""The rows of a batch: files, folders, tables, JSON Lines, OpenAI requests."""
