"""A PEFT adapter's folder, or an adapter in GGUF → its matrices, by the tensors of a GGUF."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mistral_cli.errors import UsageError, first_line
from mistral_cli.finetune.stored import read_floats
from mistral_cli.finetune.targets import MODULES, rotated_heads
from mistral_cli.models.gguf.adapter import read_adapter

if TYPE_CHECKING:
    from mistral_cli.models.gguf import GGUF

Matrix = NDArray[np.float32]

_CONFIG, _WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
_NAME = re.compile(r"base_model\.model\.(?:model\.)?layers\.(\d+)\.(.+)\.lora_([AB])\.weight")
# Whatever changes the network otherwise than by the product of two matrices for each of some.
_NOT_HELD = (
    "use_dora",
    "use_qalora",
    "lora_bias",
    "modules_to_save",
    "rank_pattern",
    "alpha_pattern",
    "trainable_token_indices",
    "layer_replication",
    "alora_invocation_tokens",
    "target_parameters",
)
_HINT = "Train one without it; a GGUF adapter cannot hold it."
_NO_ADAPTER = f"Give the folder with {_CONFIG} and {_WEIGHTS}."


@dataclass(frozen=True)
class Lora:
    """A and B by tensor, rows in a GGUF's order; `alpha / rank` times their product counts."""

    pairs: Mapping[str, tuple[Matrix, Matrix]]
    alpha: float

    def change(self, name: str) -> Matrix | None:
        """What is added to the tensor `name`."""
        if name not in self.pairs:
            return None
        a, b = self.pairs[name]
        return (b @ a) * np.float32(self.alpha / a.shape[0])


def read_lora(path: Path, model: GGUF) -> Lora:
    """Read the adapter at `path`, a folder of PEFT's or a GGUF, for `model`.

    Raises UsageError where it has what a GGUF adapter cannot hold, is damaged, or does not
    fit the model; ModelUnusable for a GGUF that cannot be used.
    """
    if path.is_dir():
        return _from_peft(path, model)
    adapter = read_adapter(path)
    if problem := adapter.problem_with(model):
        raise UsageError(f"{path} does not fit {model.path.name}: {problem}", hint=_other())
    pairs = {
        name: (read_floats(path, a), read_floats(path, b)) for name, (a, b) in adapter.pairs.items()
    }
    return Lora(pairs, adapter.alpha or float(adapter.rank))


def _from_peft(folder: Path, model: GGUF) -> Lora:
    config = _config(folder)
    rank = int(config["r"])
    # The engine divides alpha by the rank; rank-stabilized LoRA divides by its root.
    alpha = float(config["lora_alpha"]) * (math.sqrt(rank) if config.get("use_rslora") else 1.0)
    halves: dict[str, dict[str, Matrix]] = {}
    for key, values in _tensors(folder / _WEIGHTS):
        name, part = _tensor_name(key)
        if not np.isfinite(values).all():
            raise UsageError(f"{folder}: {key} has numbers that are not finite", hint="Train anew.")
        if part == "B" and (heads := rotated_heads(model, name)):
            values = _interleaved(values, heads, f"{folder}: {key}")
        halves.setdefault(name, {})[part] = values
    pairs = {}
    for name, parts in sorted(halves.items()):
        if {*parts} != {"A", "B"}:
            raise UsageError(f"{folder}: {name} lacks its A or B", hint=_NO_ADAPTER)
        pairs[name] = (parts["A"], parts["B"])
    _check_shapes(folder, pairs, rank, model)
    return Lora(pairs, alpha)


def _config(folder: Path) -> dict[str, Any]:
    try:
        config = json.loads((folder / _CONFIG).read_text(encoding="utf-8"))
        whole = config.get("peft_type") == "LORA" and config["r"] > 0 and config["lora_alpha"]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UsageError(
            f"{folder / _CONFIG} cannot be used: {first_line(error)}", hint=_NO_ADAPTER
        ) from error
    if not whole:
        raise UsageError(f"{folder} holds no LoRA adapter", hint=_NO_ADAPTER)
    if held := next((key for key in _NOT_HELD if config.get(key)), None):
        raise UsageError(f"{folder} uses {held}", hint=_HINT)
    if config.get("bias", "none") != "none":
        raise UsageError(f"{folder} trains biases", hint=_HINT)
    return dict(config)


def _tensors(path: Path) -> Iterator[tuple[str, Matrix]]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file  # numpy has no bfloat16, in which QLoRA is kept

    try:
        tensors = load_file(path)
    except (OSError, SafetensorError) as error:
        raise UsageError(f"{path} cannot be read: {first_line(error)}", hint=_NO_ADAPTER) from error
    for name, tensor in tensors.items():
        yield name, tensor.float().numpy()


def _tensor_name(key: str) -> tuple[str, str]:
    match = _NAME.fullmatch(key)
    if not match or match[2] not in MODULES:
        raise UsageError(f"the adapter changes {key}, which has no place in a GGUF", hint=_HINT)
    return f"blk.{match[1]}.{MODULES[match[2]]}.weight", match[3]


def _interleaved(rows: Matrix, heads: int, what: str) -> Matrix:
    """Rows in transformers' order (i beside i + half) → in ggml's (2i beside 2i + 1)."""
    if rows.shape[0] % (2 * heads):
        raise UsageError(f"{what} does not fit {heads} heads", hint=_other())
    halves = rows.reshape(heads, 2, -1, rows.shape[1])
    return np.ascontiguousarray(halves.swapaxes(1, 2)).reshape(rows.shape)


def _check_shapes(
    folder: Path, pairs: Mapping[str, tuple[Matrix, Matrix]], rank: int, model: GGUF
) -> None:
    shapes = {tensor.name: tensor.shape for tensor in model.tensors}
    if not pairs:
        raise UsageError(f"{folder} holds no weights", hint=_NO_ADAPTER)
    for name, (a, b) in pairs.items():
        found = (a.shape[1], b.shape[0])
        if name not in shapes:
            raise UsageError(f"{model.path.name} lacks {name}", hint=_other())
        if shapes[name] != found:
            raise UsageError(
                f"the adapter's {name} is {found}, the model's {shapes[name]}", hint=_other()
            )
        if (a.shape[0], b.shape[1]) != (rank, rank):
            raise UsageError(f"the rank of {name} is not {rank}", hint=_HINT)


def _other() -> str:
    return "Give the model that the adapter was trained on with -m."
