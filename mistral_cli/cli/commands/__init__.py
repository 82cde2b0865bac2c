"""One file for each command or group of commands; the program imports the one that is run."""
