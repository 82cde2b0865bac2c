"""GPUs, drivers and memory: what this machine offers an engine."""
