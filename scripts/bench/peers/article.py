"""The plain ctransformers script of the article, as people run it in a notebook cell."""

import sys

from ctransformers import AutoModelForCausalLM

path, prompt, tokens = sys.argv[1:]
llm = AutoModelForCausalLM.from_pretrained(path, model_type="mistral", gpu_layers=0)
for piece in llm(
    prompt,
    stream=True,
    max_new_tokens=int(tokens),
    temperature=0.9,
    top_k=55,
    top_p=0.93,
    repetition_penalty=1.2,
    seed=1,
):
    print(piece, end="", flush=True)
