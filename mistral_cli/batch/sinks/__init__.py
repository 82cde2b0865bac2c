"""Where the results of a batch go: a file, a folder, or stdout."""
