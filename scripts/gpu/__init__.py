"""The check on a machine with a GPU (`scripts/gpu_check`)."""
