"""Open a model, with fewer GPU layers if memory runs out, or its vocabulary only."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, overload

from mistral_cli.engines.hardware.gpu import fits, fits_easily, report_memory
from mistral_cli.engines.protocol import LoadOptions, Session, TimedSession
from mistral_cli.errors import (
    ContextExceeded,
    EngineDied,
    EngineFailed,
    GpuRequired,
    LimitReached,
    ModelUnusable,
    OutOfGpuMemory,
    reason,
)
from mistral_cli.system.files import scratch_folder
from mistral_cli.system.machine import available_memory, memory_is_limited

if TYPE_CHECKING:
    from mistral_cli.engines.isolated.handle import EngineProcess
    from mistral_cli.engines.protocol import Backend
    from mistral_cli.engines.selection import EngineSelection
    from mistral_cli.models.gguf import GGUF

_SMALL_STEPS = 4


@overload
def open_session(
    selection: EngineSelection,
    model: GGUF,
    options: LoadOptions,
    warn: Callable[[str], None],
    process: EngineProcess,
) -> TimedSession: ...


@overload
def open_session(
    selection: EngineSelection,
    model: GGUF,
    options: LoadOptions,
    warn: Callable[[str], None],
    process: EngineProcess | None = None,
) -> Session: ...


def open_session(
    selection: EngineSelection,
    model: GGUF,
    options: LoadOptions,
    warn: Callable[[str], None],
    process: EngineProcess | None = None,
) -> Session:
    """Open `model`: in this process, or isolated in `process`, which may have started already.

    With a limit on memory it is isolated too: llama.cpp aborts where an allocation fails.
    Raises what `open_engine` raises, and EngineDied if the process ends.
    """
    if selection.backend.remote:
        return open_engine(selection, model, options, warn)
    limited = process is None and not options.listening and memory_is_limited()
    if process is None and not limited:
        return open_engine(selection, model, options, warn)
    from mistral_cli.engines.isolated.session import open_in_process

    try:
        return open_in_process(selection, model, options, warn, process)
    except EngineDied as error:
        if not limited:
            raise
        hint = "Raise the limit of memory (ulimit -v), or use a smaller model or -c."
        # A thread that cannot start, or an abort without a word, is an allocation that failed too.
        known = "out of memory" in error.message
        message = error.message if known else f"{error.message} (out of memory?)"
        raise LimitReached(message, hint=hint) from error


def open_engine(
    selection: EngineSelection, model: GGUF, options: LoadOptions, warn: Callable[[str], None]
) -> Session:
    """Load `model`, with fewer GPU layers each time that they do not fit.

    If the user left the number of layers to us and the GPU fails for another reason, the CPU
    computes all layers. `warn` gets a message about either. Raises ContextExceeded if the KV
    cache does not fit in memory, and GpuRequired if a GPU is required and no layer fits.
    """
    asked, failures = options.gpu_layers, 0
    while True:
        _check_memory(selection.backend, model, options)
        try:
            if options.gpu_layers and _may_abort_process(selection, model, options):
                from mistral_cli.engines.trial_load import trial_load

                trial_load(selection.backend, model, options)
            session = selection.backend.open(model, options)
        except OutOfGpuMemory as error:
            if not options.gpu_layers:
                raise
            failures += 1
            fewer = _reduce_layers(options.gpu_layers, asked, failures)
            if not fewer and selection.gpu_required:
                hint = "Free the GPU, use a smaller -c/--context-length, or drop --require-gpu."
                raise GpuRequired(error.message, hint=hint) from error
            warn(f"{error.message}: {fewer or 'none'} of them instead")
            options = replace(options, gpu_layers=fewer)
        except EngineFailed as error:
            if not options.gpu_layers or selection.gpu_required or not selection.automatic_layers:
                raise
            warn(f"{error.message}: the CPU computes all layers instead")
            options = replace(options, gpu_layers=0)
        else:
            return _check_layers(session, selection, options.gpu_layers, warn)


def _reduce_layers(layers: int, asked: int, failures: int) -> int:
    """Take an eighth of the requested layers away, or after several failures half of the rest.

    A layer on the CPU slows every token, but each failure costs a load.
    """
    return layers - max(1, asked // 8) if failures <= _SMALL_STEPS else layers // 2


def _check_layers(
    session: Session, selection: EngineSelection, asked: int, warn: Callable[[str], None]
) -> Session:
    """`session`, once its layers are checked: a library may silently use fewer."""
    if session.gpu_layers < asked:
        found = f"{session.gpu_layers} of the {asked} requested layers are on the GPU"
        if not session.gpu_layers and selection.gpu_required:
            session.close()
            hint = "`mistral-cli doctor` shows what is missing; drop --require-gpu to use the CPU."
            raise GpuRequired(found, hint=hint)
        warn(found)
    return session


def _may_abort_process(selection: EngineSelection, model: GGUF, options: LoadOptions) -> bool:
    """True if this load may end the process instead of raising an exception.

    ctransformers' CUDA library exits when memory runs out. llama.cpp has crashed when its buffers,
    which it allocates after the weights, did not fit.
    """
    memory = selection.backend.memory(
        model, options.context_length, options.gpu_layers, options.parallel
    )
    if selection.backend.gpu_failure_ends_process:
        return not fits_easily(memory, selection.gpus)
    return report_memory(selection.gpus) and not fits(memory, selection.gpus)


def _check_memory(backend: Backend, model: GGUF, options: LoadOptions) -> None:
    context, parallel = options.context_length, options.parallel
    needed_bytes = backend.memory(model, context, options.gpu_layers, parallel).kv_ram
    free = available_memory()
    if free is None or needed_bytes <= free:
        return
    times = f", {parallel} times," if parallel > 1 else ""
    fewer = " or fewer --parallel" if parallel > 1 else ""
    raise ContextExceeded(
        f"a context of {context} tokens{times} needs {needed_bytes / 2**30:.1f} GiB for the "
        f"KV cache, but only {free / 2**30:.1f} GiB of memory is free",
        hint=f"Use a smaller -c/--context-length{fewer}.",
    )


@contextmanager
def open_tokenizer(backend: Backend, model: GGUF) -> Iterator[Session]:
    """Open the vocabulary of `model` without its weights, for exact token counts."""
    if backend.remote:
        # Not closed: the session that answers later uses the same connections.
        yield backend.open(model, LoadOptions(model.context_length, threads=1))
        return
    from mistral_cli.models.gguf.vocabulary import write_vocabulary_model

    with scratch_folder() as folder:
        stub = folder / "vocabulary.gguf"
        try:
            write_vocabulary_model(model, stub)
        except OSError as error:
            raise LimitReached(
                f"cannot write the vocabulary to {folder}: {reason(error)}",
                hint="Set TMPDIR to a folder on a disk with free space.",
            ) from error
        # The stub's content was checked in `model`; reading it again takes as long as opening it.
        known = replace(model, path=stub, other_parts=())
        try:
            tokenizer = backend.open(known, LoadOptions(context_length=512, threads=1))
        except ModelUnusable as error:
            message = error.message.replace(str(stub), str(model.path))
            raise error.with_message(message) from error
        with tokenizer:
            yield tokenizer
