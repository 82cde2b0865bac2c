"""llama.cpp, in this process (xllamacpp) or as the server of the machine build."""
