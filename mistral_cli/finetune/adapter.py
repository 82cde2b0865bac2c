"""LoRA adapters: read one of PEFT's or a GGUF for a model, and write it as a GGUF."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mistral_cli.errors import MistralCliError, UsageError, first_line, reason
from mistral_cli.finetune.tensors import MODULES, read_floats, rotated_heads
from mistral_cli.models.gguf.adapter import read_adapter
from mistral_cli.system import files
from mistral_cli.system.strict_json import read_object

if TYPE_CHECKING:
    from mistral_cli.models.gguf import GGUF

Matrix = NDArray[np.float32]

_CONFIG, _WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
_NAME = re.compile(r"base_model\.model\.(?:model\.)?layers\.(\d+)\.(.+)\.lora_([AB])\.weight")
# Settings that change the network in any way but by adding the product of two matrices to some.
_UNSUPPORTED = (
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
_UNSUPPORTED_HINT = "Train one without it; a GGUF adapter cannot hold it."
_NO_ADAPTER = f"Give the folder with {_CONFIG} and {_WEIGHTS}."
_OTHER_MODEL = "Give the model that the adapter was trained on with -m."


class WriteFailed(MistralCliError):
    """The disk is full, or the folder is not writable."""


@dataclass(frozen=True)
class LoraMatrices:
    """The matrices A and B of each tensor that an adapter changes, rows in a GGUF's order.

    The engine adds their product, times `alpha / rank`, to the tensor.
    """

    pairs: Mapping[str, tuple[Matrix, Matrix]]
    alpha: float

    def change(self, name: str) -> Matrix | None:
        """The matrix to add to the tensor `name`, or None if the adapter does not change it."""
        if name not in self.pairs:
            return None
        a, b = self.pairs[name]
        return (b @ a) * np.float32(self.alpha / a.shape[0])


def read_lora(path: Path, model: GGUF) -> LoraMatrices:
    """Read the adapter at `path`, a PEFT folder or a GGUF, for `model`.

    Raises UsageError if it is damaged, does not fit the model, or has what a GGUF adapter cannot
    hold; ModelUnusable for a GGUF that cannot be used.
    """
    if path.is_dir():
        return _read_peft(path, model)
    adapter = read_adapter(path)
    if problem := adapter.problem_with(model):
        raise UsageError(f"{path} does not fit {model.path.name}: {problem}", hint=_OTHER_MODEL)
    pairs = {
        name: (read_floats(path, a), read_floats(path, b)) for name, (a, b) in adapter.pairs.items()
    }
    return LoraMatrices(pairs, adapter.alpha or float(adapter.rank))


def write_adapter(lora: LoraMatrices, model: GGUF, name: str, destination: Path) -> None:
    """Write `lora`, which fits `model`, to `destination` as F16: the whole file or none.

    Keys and names are those of llama.cpp's `convert_lora_to_gguf.py`. Raises WriteFailed.
    """
    from gguf import GGUFType, GGUFWriter, Keys

    with replacing(destination) as path:
        writer = GGUFWriter(path, model.architecture)
        writer.add_type(GGUFType.ADAPTER)
        writer.add_name(name)
        writer.add_string(Keys.Adapter.TYPE, "lora")
        writer.add_float32(Keys.Adapter.LORA_ALPHA, lora.alpha)
        for tensor, pair in lora.pairs.items():
            for part, values in zip(("lora_a", "lora_b"), pair, strict=True):
                writer.add_tensor(f"{tensor}.{part}", values.astype(np.float16))
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()


@contextmanager
def replacing(destination: Path) -> Iterator[Path]:
    """Yield a path beside `destination`; its file replaces `destination` if all goes well.

    Raises WriteFailed.
    """
    try:
        # The writer opens the path itself: what it writes there is synced through `file`.
        with files.atomic_writer(destination, files.temporary_beside(destination)) as file:
            yield Path(file.name)
    except OSError as error:
        raise WriteFailed(
            f"cannot write {destination}: {error.strerror or error}",
            hint="Use a writable folder with enough free space.",
        ) from error


def _read_peft(folder: Path, model: GGUF) -> LoraMatrices:
    config = _read_config(folder)
    rank = int(config["r"])
    # The engine divides alpha by the rank; rank-stabilized LoRA divides by its root.
    alpha = float(config["lora_alpha"]) * (math.sqrt(rank) if config.get("use_rslora") else 1.0)
    halves: dict[str, dict[str, Matrix]] = {}
    for key, values in _read_safetensors(folder / _WEIGHTS):
        name, part = _tensor_name(key)
        if not np.isfinite(values).all():
            raise UsageError(
                f"{folder}: {key} has values that are not finite", hint="Train the adapter again."
            )
        if part == "B" and (heads := rotated_heads(model, name)):
            values = _interleaved(values, heads, f"{folder}: {key}")
        halves.setdefault(name, {})[part] = values
    pairs = {}
    for name, parts in sorted(halves.items()):
        if {*parts} != {"A", "B"}:
            raise UsageError(f"{folder}: {name} has no A or no B", hint=_NO_ADAPTER)
        pairs[name] = (parts["A"], parts["B"])
    _check_shapes(folder, pairs, rank, model)
    return LoraMatrices(pairs, alpha)


def _read_config(folder: Path) -> dict[str, Any]:
    try:
        config = read_object((folder / _CONFIG).read_bytes())
        complete = config.get("peft_type") == "LORA" and config["r"] > 0 and config["lora_alpha"]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UsageError(
            f"{folder / _CONFIG} cannot be used: {first_line(error)}", hint=_NO_ADAPTER
        ) from error
    if not complete:
        raise UsageError(f"{folder} holds no LoRA adapter", hint=_NO_ADAPTER)
    if unsupported := next((key for key in _UNSUPPORTED if config.get(key)), None):
        raise UsageError(f"{folder} uses {unsupported}", hint=_UNSUPPORTED_HINT)
    if config.get("bias", "none") != "none":
        raise UsageError(f"{folder} trains biases", hint=_UNSUPPORTED_HINT)
    return dict(config)


def _read_safetensors(path: Path) -> Iterator[tuple[str, Matrix]]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file  # numpy has no bfloat16, in which QLoRA is kept

    try:
        tensors = load_file(path)
    except (OSError, SafetensorError) as error:
        raise UsageError(f"{path} cannot be read: {reason(error)}", hint=_NO_ADAPTER) from error
    for name, tensor in tensors.items():
        yield name, tensor.float().numpy()


def _tensor_name(key: str) -> tuple[str, str]:
    """The GGUF tensor that the PEFT tensor `key` belongs to, and whether it is its A or B."""
    match = _NAME.fullmatch(key)
    if not match or match[2] not in MODULES:
        raise UsageError(
            f"the adapter changes {key}, which a GGUF adapter cannot hold", hint=_UNSUPPORTED_HINT
        )
    return f"blk.{match[1]}.{MODULES[match[2]]}.weight", match[3]


def _interleaved(rows: Matrix, heads: int, subject: str) -> Matrix:
    """Rows in transformers' order (i beside i + half) → in ggml's (2i beside 2i + 1)."""
    if rows.shape[0] % (2 * heads):
        raise UsageError(f"{subject} does not fit {heads} heads", hint=_OTHER_MODEL)
    halves = rows.reshape(heads, 2, -1, rows.shape[1])
    return np.ascontiguousarray(halves.swapaxes(1, 2)).reshape(rows.shape)


def _check_shapes(
    folder: Path, pairs: Mapping[str, tuple[Matrix, Matrix]], rank: int, model: GGUF
) -> None:
    shapes = {tensor.name: tensor.shape for tensor in model.tensors}
    if not pairs:
        raise UsageError(f"{folder} holds no weights", hint=_NO_ADAPTER)
    for name, (a, b) in pairs.items():
        shape = (a.shape[1], b.shape[0])
        if name not in shapes:
            raise UsageError(f"{model.path.name} has no tensor {name}", hint=_OTHER_MODEL)
        if shapes[name] != shape:
            raise UsageError(
                f"the adapter's {name} has the shape {shape}, the model's {shapes[name]}",
                hint=_OTHER_MODEL,
            )
        if (a.shape[0], b.shape[1]) != (rank, rank):
            raise UsageError(f"the rank of {name} is not {rank}", hint=_UNSUPPORTED_HINT)
