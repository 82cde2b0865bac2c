"""Small and large model files with random weights, for tests and benchmarks."""
