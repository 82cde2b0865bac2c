"""Fine-tuning: a table of prompts and completions → a LoRA adapter for a GGUF model.

The way of the data: `data` (with `transcripts`) reads rows, `tokens` encodes them, `plan` settles
steps and memory, `weights` (with `blocks`) or `base` make the network, `training` trains it,
`peft_files`, `export` and `merge` write what an engine loads. Only the functions of the last
three steps import torch and its libraries, which the extra `finetune` installs.
"""
