"""The command line: from arguments to one call, and from errors to exit codes."""
