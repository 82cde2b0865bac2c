"""Fine-tuning: a table of prompts and completions → a LoRA adapter for a GGUF model.

In order: `data` reads the rows, `encode` turns them into token ids, `plan` and `strategy` decide
steps and memory, `network` (with `dequantize`) builds the frozen model, `training` trains the
adapter, and `adapter` and `export` write files that an engine can load. Only these last steps
import torch and its libraries, which the extra `finetune` installs.
"""
