"""OpenAI's HTTP API in front of a served model; needs the extra `http`."""
