"""The rows of a batch, read from files, folders, tables, JSON Lines and OpenAI requests."""
