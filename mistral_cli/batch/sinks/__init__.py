"""Where the results of a batch go: stdout, a file, a folder."""
