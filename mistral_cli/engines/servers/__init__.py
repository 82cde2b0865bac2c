"""Servers that speak OpenAI's API as an engine: vLLM, llama-server, SGLang, ollama, our own."""
