"""llama.cpp, in this process (xllamacpp) or as a machine build's server."""
