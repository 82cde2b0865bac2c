"""The subcommands. Each module has `register(app)`; a new one costs a file and a line here."""

COMMANDS = ("tasks", "batch", "models", "prompts", "doctor")
