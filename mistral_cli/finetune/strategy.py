"""How a run is computed: on what, in which form the weights are held, in how many parts a step.

None of this changes what is learned, but for rounding; it decides memory and time. All sizes are
in bytes. The estimates were held against runs; `docs/finetune.md` has the figures.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mistral_cli.errors import UsageError
from mistral_cli.finetune.targets import layer_modules
from mistral_cli.system.machine import available_memory, usable_cores

if TYPE_CHECKING:
    from mistral_cli.finetune.plan import Plan

_F32 = 4
_LIBRARIES = 900 * 2**20  # torch and what stands on it, with its code
_SHARE = 0.6  # of the free memory: the estimate is none to the byte
_UNPACKED_A_SECOND = 2.0e8  # weights, on one core
_EFFICIENCY = 0.6  # of a plain product's speed, that a step's small ones reach


@dataclass(frozen=True)
class Device:
    """What computes: "cpu" or "cuda", the bytes free there, and those of one number."""

    name: str
    free: int
    number: int


@dataclass(frozen=True)
class Way:
    """`packed`: weights stay quantized. `recomputes`: activations are not kept for the way back.

    A step is computed in `parts` of equal size; `memory` is what the run is thought to take.
    A run that is resumed goes the same way, or it would round otherwise.
    """

    device: str
    packed: bool
    recomputes: bool
    parts: int
    memory: int


def this_device() -> Device:
    """The CUDA GPU that torch sees first, else the CPU, also where torch is not installed."""
    try:
        import torch

        if torch.cuda.is_available():
            return Device("cuda", torch.cuda.mem_get_info()[0], 2)
    except ImportError:
        pass
    return Device("cpu", available_memory() or 8 * 2**30, _F32)


def choose_way(plan: Plan, device: Device) -> Way:
    """The fastest way that fits the memory of `device`; the smallest where none does.

    Raises UsageError for a --gradient-accumulation that does not divide the batch.
    """
    counts = _parts(plan)
    ways = [
        Way(
            device.name, packed, recomputes, parts, _memory(plan, device, packed, recomputes, parts)
        )
        # Unpacking anew costs most, small parts next.
        for packed in ((False,) if plan.options.base else (False, True))
        for recomputes in (False, True)
        for parts in counts
    ]
    fitting = (way for way in ways if way.memory <= _SHARE * device.free)
    return next(fitting, min(ways, key=lambda way: way.memory))


def _parts(plan: Plan) -> list[int]:
    batch, wanted = plan.batch_size, plan.options.gradient_accumulation
    if wanted is None:
        return [parts for parts in range(1, batch + 1) if batch % parts == 0]
    if batch % wanted:
        raise UsageError(
            f"--gradient-accumulation {wanted} does not divide the {batch} rows of a step",
            hint="Use a divisor, or leave it away.",
        )
    return [wanted]


def _memory(plan: Plan, device: Device, packed: bool, recomputes: bool, parts: int) -> int:
    model = plan.model
    size = {tensor.name: tensor.elements for tensor in model.tensors}
    head = size.get("output.weight", size["token_embd.weight"]) * device.number
    if packed:
        rotated = sum(t.size for t in model.tensors if ".attn_q." in t.name or ".attn_k." in t.name)
        matrix = max(shape[0] * shape[1] for shape in layer_modules(model).values())
        weights = model.file_size + rotated + head + 3 * matrix * _F32
    else:
        weights = model.parameters * device.number
    learned = plan.trained_parameters * 4 * _F32  # weights, gradients and two moments (Adam)
    tokens = plan.batch_size // parts * plan.longest
    layer = tokens * _numbers_a_token(plan) * device.number
    width = int(model.hparam("embedding_length"))
    if recomputes:
        kept = layer + model.block_count * tokens * width * device.number
    else:
        kept = layer * model.block_count
    libraries = _LIBRARIES if device.name == "cpu" else _LIBRARIES // 2
    return int(weights + learned + kept + libraries)


def _numbers_a_token(plan: Plan) -> int:
    """What one layer keeps of one token for the way back: about 12 rows of the embedding's
    width and 4 of the feed-forward network's."""
    width = int(plan.model.hparam("embedding_length"))
    return 12 * width + 4 * plan.model.per_layer("feed_forward_length")[0]


def seconds(plan: Plan, way: Way) -> float | None:
    """How long the run may take on this machine's CPU; None on a GPU, which is not measured."""
    if way.device != "cpu":
        return None
    model = plan.model
    head = len(model.tokens) * int(model.hparam("embedding_length"))
    matrices = sum(t.elements for t in model.tensors if t.name.startswith("blk."))
    passes = 3 if way.recomputes else 2  # forward and back, of frozen weights
    # The trainer computes the logits of every token, and once more on the way back.
    products = 2 * plan.tokens * (passes * matrices + 3 * head) * plan.options.epochs
    unpacked = passes * matrices * plan.steps * way.parts if way.packed else 0
    speed = _products_a_second() * _EFFICIENCY
    return products / speed + unpacked / (_UNPACKED_A_SECOND * usable_cores())


def _products_a_second() -> float:
    """Floating-point operations a second in a product of two matrices, measured."""
    import numpy as np

    size, best = 1024, float("inf")
    left = np.ones((size, size), np.float32)
    for _ in range(3):
        start = time.perf_counter()
        left @ left
        best = min(best, time.perf_counter() - start)
    return 2.0 * size**3 / best
