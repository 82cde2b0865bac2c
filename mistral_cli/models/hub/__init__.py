"""The model hub (huggingface.co): its API, its shared cache, and downloads that can be resumed."""
