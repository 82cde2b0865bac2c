"""Open an engine: on a model, with fewer GPU layers where memory runs out; on tokens alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

from mistral_cli.engines.base import Engine, LoadOptions
from mistral_cli.engines.choice import Choice
from mistral_cli.engines.gpu import fits
from mistral_cli.engines.rehearsal import rehearse
from mistral_cli.errors import ContextExceeded, EngineFailed, GpuRequired, OutOfGpuMemory
from mistral_cli.gguf import GGUF
from mistral_cli.gguf import read as read_gguf
from mistral_cli.gguf.vocabulary import write_vocabulary_model
from mistral_cli.machine import available_memory
from mistral_cli.memory import needed
from mistral_cli.scratch import scratch_folder


def open_engine(
    choice: Choice, model: GGUF, options: LoadOptions, warn: Callable[[str], None]
) -> Engine:
    """Load `model`; where its layers do not fit on the GPU, with half as many, and so on.

    `warn` is told so. Raises ContextExceeded when the KV cache does not fit in memory,
    GpuRequired when a GPU is and no layer fits.
    """
    while True:
        _check_memory(model, options)
        try:
            if options.gpu_layers and _may_end_us(choice, model, options):
                rehearse(choice.engine.name, model, options)
            engine = choice.engine(model, options)
        except OutOfGpuMemory as error:
            fewer = options.gpu_layers // 2
            if not fewer and choice.gpu_required:
                hint = "Free the GPU, use a smaller -c/--context-length, or drop --require-gpu."
                raise GpuRequired(error.message, hint=hint) from error
            warn(f"{error.message}: {fewer or 'none'} of them instead")
            options = replace(options, gpu_layers=fewer)
        else:
            return _with_its_layers(engine, choice, options.gpu_layers, warn)


def _with_its_layers(
    engine: Engine, choice: Choice, asked: int, warn: Callable[[str], None]
) -> Engine:
    """`engine`; a library that takes fewer layers than `asked` does not call that an error."""
    if engine.gpu_layers < asked:
        found = f"{engine.gpu_layers} of the {asked} layers asked for are on the GPU"
        if not engine.gpu_layers and choice.gpu_required:
            engine.close()
            hint = "`mistral-cli doctor` says what is missing; drop --require-gpu for the CPU."
            raise GpuRequired(found, hint=hint)
        warn(found)
    return engine


def _may_end_us(choice: Choice, model: GGUF, options: LoadOptions) -> bool:
    """Whether this load may end the process where a Python exception is due.

    ctransformers' CUDA library exits when its memory runs out, and llama.cpp has been seen
    to crash where its buffers, which come after the weights, do not fit.
    """
    if choice.engine.gpu_failure_ends_process:
        return True
    gpus = choice.engine.gpus()
    known = any(gpu.memory_total for gpu in gpus)
    context, layers, parallel = options.context_length, options.gpu_layers, options.parallel
    return known and not fits(model, context, layers, gpus, parallel)


def _check_memory(model: GGUF, options: LoadOptions) -> None:
    context, parallel = options.context_length, options.parallel
    wanted = needed(model, context, options.gpu_layers, parallel).kv_ram
    free = available_memory()
    if free is None or wanted <= free:
        return
    times = f", {parallel} times," if parallel > 1 else ""
    fewer = " or fewer --parallel" if parallel > 1 else ""
    raise ContextExceeded(
        f"a context of {context} tokens{times} needs {wanted / 2**30:.1f} GiB for the "
        f"KV cache, and {free / 2**30:.1f} GiB of memory are free",
        hint=f"Use a smaller -c/--context-length{fewer}.",
    )


@contextmanager
def open_tokenizer(engine: type[Engine], model: GGUF) -> Iterator[Engine]:
    """Open `engine` on `model`'s vocabulary alone: exact token counts, no weights read."""
    with scratch_folder() as folder:
        stub = folder / "vocabulary.gguf"
        try:
            write_vocabulary_model(model, stub)
        except OSError as error:
            raise EngineFailed(
                f"the vocabulary cannot be written to {folder}: {error}",
                hint="Set TMPDIR to a folder on a disk with free space.",
            ) from error
        with engine(read_gguf(stub), LoadOptions(context_length=512, threads=1)) as tokenizer:
            yield tokenizer
