"""Models that stay loaded: the process that serves one, and how other calls find and use it."""
