"""The program's surroundings: terminal, files, configuration, signals, the machine."""
