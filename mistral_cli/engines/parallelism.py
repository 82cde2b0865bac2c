"""How many texts of a batch an engine works on concurrently: the number of slots."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from mistral_cli.engines.hardware.gpu import Gpu, report_memory
from mistral_cli.system.machine import available_memory, usable_cores

if TYPE_CHECKING:
    from mistral_cli.engines.hardware.memory import Memory
    from mistral_cli.engines.selection import EngineSelection
    from mistral_cli.models.gguf import GGUF

# Measured on 2 cores: a model of 0.1 GB generates a quarter more tokens a second in 4 or 8 slots
# and no more in 16; one of 4.4 GB gains nothing in 2 or 4. Small models leave the cores idle
# between tokens, and a GPU always waits for memory. Otherwise it takes more cores than the memory
# can feed. Long prompts keep the cores busy by themselves, and their prefill is slower if another
# slot generates between their batches.
_SLOTS_OF_SMALL, _SLOTS_OF_GPU = 8, 8
_SMALL = 2**30  # bytes of weights
_CORES_A_SLOT = 4
_LONG_PROMPT = 512  # tokens


def slots_for(
    wanted: int | None,
    selection: EngineSelection,
    model: GGUF,
    context_length: int,
    gpu_layers: int,
    prompts: Sequence[int],
    *,
    more: bool = False,
) -> tuple[int, str]:
    """How many slots to open for prompts of these lengths in tokens, and why, in one line.

    With `more`, others like them follow. With `wanted` None we choose. Callers should warn if
    there are fewer than both `wanted` and the number of prompts.
    """
    if selection.backend.remote:
        most, why = wanted or selection.backend.max_parallel or 1, "as many as the servers answer"
    elif wanted is None:
        most, why = _helpful(model, gpu_layers, prompts)
    else:
        most, why = wanted, "as requested"
    backend = selection.backend
    limits = [] if more else [(max(1, len(prompts)), "one per text")]
    if backend.max_parallel is not None and not backend.remote:
        at_once = "one text" if backend.max_parallel == 1 else f"{backend.max_parallel} texts"
        limits.append((backend.max_parallel, f"{backend.name} works on {at_once} at a time"))
    share = 2 if wanted is None else 1
    limits += _that_fit(selection, model, context_length, gpu_layers, share)
    for limit, reason in limits:
        if limit < most:
            most, why = limit, reason
    return most, f"{most} {'slot' if most == 1 else 'slots'}: {why}"


def _helpful(model: GGUF, gpu_layers: int, prompts: Sequence[int]) -> tuple[int, str]:
    """The number beyond which more slots brought no more speed, or are not expected to."""
    if gpu_layers > model.block_count:
        return _SLOTS_OF_GPU, "the GPU computes all layers"
    if prompts and sum(prompts) > _LONG_PROMPT * len(prompts):
        return 1, "long texts keep the cores busy one by one"
    if sum(tensor.size for tensor in model.tensors) < _SMALL:
        return _SLOTS_OF_SMALL, "a small model"
    cores = usable_cores()
    count = max(1, cores // _CORES_A_SLOT)
    return count, f"a large model on {cores} {'core' if cores == 1 else 'cores'}"


def _that_fit(
    selection: EngineSelection, model: GGUF, context_length: int, gpu_layers: int, share: int
) -> list[tuple[int, str]]:
    """How many KV caches fit into a `share`-th of the memory that the rest of the model leaves."""
    one = selection.backend.memory(model, context_length, gpu_layers)
    kinds = [("memory", one.kv_ram, _left_in_ram(one))]
    if gpu_layers:
        kinds.append(("GPU memory", one.kv_gpu, _left_on_gpus(one, selection.gpus)))
    of_it = "half of the" if share == 2 else "the"
    return [
        (
            max(1, left // share // cache),
            f"KV caches of {context_length} tokens, {cache / 2**30:.2f} GiB each, "
            f"have {of_it} {left / 2**30:.1f} GiB of free {kind}",
        )
        for kind, cache, left in kinds
        if cache and left is not None
    ]


def _left_in_ram(one: Memory) -> int | None:
    free = available_memory()
    return None if free is None else max(0, free - (one.ram - one.kv_ram))


def _left_on_gpus(one: Memory, gpus: Sequence[Gpu]) -> int | None:
    if not report_memory(gpus):
        return None
    usable = sum(gpu.usable for gpu in gpus)
    return max(0, usable - one.weights_gpu - len(gpus) * one.compute)
