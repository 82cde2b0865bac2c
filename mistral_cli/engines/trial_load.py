"""Try a load in a child process first, if the library might end ours."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

from mistral_cli.engines.isolated.children import child_command
from mistral_cli.engines.isolated.native_calls import first_error
from mistral_cli.engines.llama_cpp.load_log import out_of_memory
from mistral_cli.engines.protocol import Backend, LoadOptions, LoraAdapter
from mistral_cli.engines.registry import backend as backend_of
from mistral_cli.engines.types import Request, Sampling
from mistral_cli.errors import EngineFailed, ExitCode, MistralCliError, OutOfGpuMemory
from mistral_cli.models.gguf import GGUF, read_gguf

_PROMPT_TOKENS = 32
_GREEDY = Sampling(temperature=0.0, top_k=1, top_p=1.0, repetition_penalty=1.0, seed=0)


def trial_load(backend: Backend, model: GGUF, options: LoadOptions) -> None:
    """Load `model` and prefill a short prompt in a child process.

    Raises OutOfGpuMemory and EngineFailed.
    """
    with tempfile.NamedTemporaryFile() as captured:
        command, environment = child_command(
            "mistral_cli.engines.trial_load",
            backend.name,
            model.path,
            captured.name,
            options.context_length,
            options.threads,
            options.gpu_layers,
            options.parallel,
            json.dumps([[str(each.path), each.scale] for each in options.adapters]),
        )
        done = subprocess.run(
            command,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            check=False,
        )
        log = (done.stdout + captured.read()).decode(errors="replace")
    if done.returncode in (0, ExitCode.MODEL_UNUSABLE):  # the load itself says what is wrong
        return
    # An engine that crashes only when memory runs out is tried only if our estimate is too high.
    crashed = done.returncode < 0 and not backend.gpu_failure_ends_process
    if crashed or out_of_memory(log) or "do not fit into the GPU" in log:
        raise OutOfGpuMemory(
            f"{options.gpu_layers} layers do not fit into the GPU's memory",
            hint="Use a smaller -ngl/--gpu-layers.",
        )
    reason = first_error(log) or f"its process ended with {done.returncode}"
    raise EngineFailed(
        f"{backend.name} cannot load the model onto the GPU: {reason}", hint="Use --gpu-layers 0."
    )


def _main() -> None:
    name, path, captured, *numbers, loras = sys.argv[1:]
    model = read_gguf(Path(path))
    context, threads, layers, parallel = map(int, numbers)
    adapters = tuple(LoraAdapter(Path(file), scale) for file, scale in json.loads(loras))
    options = LoadOptions(
        context, threads, layers, parallel, adapters=adapters, log_file=Path(captured)
    )
    try:
        with backend_of(name).open(model, options) as session:
            prompt = (1,) * min(_PROMPT_TOKENS, session.context_length - 1)
            for _ in session.stream(Request(prompt, 1, _GREEDY)):
                pass
    except MistralCliError as error:
        print(f"error: {error.message}", file=sys.stderr)
        sys.exit(error.exit_code)


if __name__ == "__main__":
    _main()
