"""The hardware: GPUs, their drivers, and the memory that a model takes."""
