"""A plain llama-cpp-python script, on all cores; the library's default is half of them."""

import sys

from llama_cpp import Llama

path, prompt, tokens, threads = sys.argv[1:]
cores = int(threads)
llm = Llama(path, n_threads=cores, n_threads_batch=cores, verbose=False)
for chunk in llm.create_completion(prompt, max_tokens=int(tokens), temperature=0, stream=True):
    print(chunk["choices"][0]["text"], end="", flush=True)
