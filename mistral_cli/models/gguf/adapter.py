"""Reads and checks a LoRA adapter in a GGUF file, which an engine applies to a model.

For some of the model's matrices the file contains two thin matrices, A and B. The engine adds
their product times `alpha / rank` (Hu et al. 2021, arXiv:2106.09685; the metadata keys are those
of llama.cpp's `convert_lora_to_gguf.py`). Like a model, an adapter is checked before native code
reads it. It is also compared with its model: llama.cpp itself only reports that its server failed.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from mistral_cli.errors import ModelUnusable
from mistral_cli.models.gguf.checks import ANOTHER, CONVERT, refuse
from mistral_cli.models.gguf.kinds import is_adapter, other_kind
from mistral_cli.models.gguf.reader import open_checked
from mistral_cli.models.gguf.types import FLOAT32, NOT_FOR_WEIGHTS

if TYPE_CHECKING:
    from mistral_cli.models.gguf.model import GGUF, Tensor

_A, _B = ".lora_a", ".lora_b"
_ALPHA = "adapter.lora.alpha"
_EMBEDDING = "token_embd.weight"
_NO_ADAPTER = "Use an adapter that `mistral-cli finetune` or llama.cpp's converter wrote."


@dataclass(frozen=True, eq=False)
class Adapter:
    """A checked LoRA adapter, as `read_adapter` returns it.

    `pairs` maps the name of a tensor of the model to its A and B.
    """

    header: GGUF = field(repr=False)
    pairs: Mapping[str, tuple[Tensor, Tensor]] = field(repr=False)

    @property
    def path(self) -> Path:
        """The adapter's file."""
        return self.header.path

    @property
    def file_size(self) -> int:
        """The file's size in bytes."""
        return self.header.file_size

    @property
    def name(self) -> str | None:
        """The adapter's name, as its author wrote it."""
        return self.header.name

    @property
    def architecture(self) -> str:
        """The architecture of the models that the adapter is for."""
        return self.header.architecture

    @property
    def alpha(self) -> float:
        """The product of A and B is scaled by `alpha / rank`; 0 means a scale of 1."""
        alpha = self.header.metadata[_ALPHA]
        assert isinstance(alpha, float)
        return alpha

    @property
    def rank(self) -> int:
        """The rank of the matrices, or the highest if they differ."""
        return max(_rank(name, a) for name, (a, _) in self.pairs.items())

    @property
    def parameters(self) -> int:
        """The number of weights in the adapter."""
        return self.header.parameters

    @property
    def targets(self) -> tuple[str, ...]:
        """The kinds of matrices that the adapter changes, such as `attn_q`, sorted."""
        return tuple(sorted({_kind(name) for name in self.pairs}))

    def problem_with(self, model: GGUF) -> str | None:
        """Return why the adapter cannot be applied to `model`, or None if it can."""
        if self.architecture != model.architecture:
            return f"it is for the architecture {self.architecture}, not {model.architecture}"
        weights = {tensor.name: tensor for tensor in model.tensors}
        for name, (a, b) in self.pairs.items():
            if name not in weights:
                return f"it changes the tensor {name!r}, which the model does not have"
            shape, expected = _product_shape(name, a, b), weights[name].shape
            if shape != expected:
                return f"it changes {name!r} in shape {shape}; in the model it has {expected}"
        return None


def read_adapter(path: Path) -> Adapter:
    """Read and check the header of the adapter at `path`. Raises `ModelUnusable`."""
    try:
        header = open_checked(path, _check)
    except ModelUnusable as error:
        raise error.with_hint(_NO_ADAPTER if error.hint == ANOTHER else error.hint) from None
    return Adapter(header, _pairs(header))


def is_adapter_file(path: Path) -> bool:
    """Return True if the metadata of the file at `path` names an adapter, valid or not."""
    try:
        return is_adapter(open_checked(path, lambda _: None))
    except ModelUnusable:
        return False


def _check(header: GGUF) -> None:
    if not is_adapter(header):
        kind = other_kind(header)
        refuse(f"is {kind.name if kind else 'a model'}, not an adapter", _NO_ADAPTER)
    if header.metadata.get("split.count", 1) not in (0, 1):
        refuse("is a part of a split adapter, and llama.cpp reads adapters from one file", CONVERT)
    if header.metadata.get("adapter.type") != "lora":
        refuse(f"is an adapter of type {header.metadata.get('adapter.type')!r}", _NO_ADAPTER)
    architecture = header.metadata.get("general.architecture")
    if not architecture or not isinstance(architecture, str):
        refuse("does not name its architecture", CONVERT)
    _check_alpha(header)
    for tensor in header.tensors:
        if len(tensor.shape) != 2 or tensor.type_name in NOT_FOR_WEIGHTS:
            refuse(f"tensor {tensor.name!r} cannot be part of an adapter", CONVERT)
    if not _pairs(header):
        refuse("has no weights", _NO_ADAPTER)


def _check_alpha(header: GGUF) -> None:
    alpha = header.metadata.get(_ALPHA)
    # llama.cpp aborts on any type but FLOAT32.
    if (
        not isinstance(alpha, float)
        or not math.isfinite(alpha)
        or header.stored_type(_ALPHA) != FLOAT32
    ):
        refuse(f"has an impossible alpha: {alpha!r}", CONVERT)


def _pairs(header: GGUF) -> dict[str, tuple[Tensor, Tensor]]:
    """Return A and B of each tensor. Refuses half a pair, and a pair with two ranks."""
    tensors = {tensor.name: tensor for tensor in header.tensors}
    names = [name.removesuffix(_A) for name in tensors if name.endswith(_A)]
    for name in tensors:
        half = name.removesuffix(_A).removesuffix(_B)
        if name == half or not {half + _A, half + _B} <= tensors.keys():
            refuse(f"tensor {name!r} has no counterpart", CONVERT)
    pairs = {name: (tensors[name + _A], tensors[name + _B]) for name in names}
    for name, (a, b) in pairs.items():
        if _rank(name, a) != b.shape[0]:
            refuse(f"A and B of {name!r} have different ranks", CONVERT)
    return pairs


def _rank(name: str, a: Tensor) -> int:
    """Return the rank of a pair from its A, which is stored transposed for the embeddings."""
    return a.shape[0] if name == _EMBEDDING else a.shape[1]


def _product_shape(name: str, a: Tensor, b: Tensor) -> tuple[int, int]:
    """Return the shape of the product of A and B in ggml's order (row length first)."""
    return (b.shape[1], a.shape[1]) if name == _EMBEDDING else (a.shape[0], b.shape[1])


def _kind(name: str) -> str:
    """Return `attn_q` for `blk.3.attn_q.weight`."""
    return name.removesuffix(".weight").rpartition(".")[2]
