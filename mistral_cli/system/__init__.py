"""The process around the program: terminal, files, configuration, signals."""
