"""A model and an adapter → a model that has learned it, in F16 or Q8_0.

Not in 4 bits: rounding to those loses most of what a small adapter adds.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mistral_cli.finetune.adapter_file import replacing
from mistral_cli.finetune.merged_type import MergedType
from mistral_cli.finetune.stored import read_floats
from mistral_cli.models.gguf import GGUF, Array, Tensor
from mistral_cli.models.gguf.types import STRING, TENSOR_TYPES

if TYPE_CHECKING:
    from mistral_cli.finetune.peft_files import Lora

_F32, _F16, _Q8_0 = 0, 1, 8
_FILE_TYPES = {_F16: 1, _Q8_0: 7}  # llama.cpp's LLAMA_FTYPE_MOSTLY_*


def write_merged(
    model: GGUF, lora: Lora, kind: MergedType, destination: Path, tell: Callable[[str], None]
) -> None:
    """Write `model` with `lora` added to its weights; there is the whole file or none.

    Holds one matrix at a time. `tell` hears how far it is. Raises WriteFailed.
    """
    from gguf import GGMLQuantizationType, GGUFWriter, quants

    wanted = _Q8_0 if kind == MergedType.Q8_0 else _F16
    with replacing(destination) as path:
        writer = GGUFWriter(path, model.architecture)
        _copy_metadata(writer, model, wanted)
        for tensor in model.tensors:
            stored = GGMLQuantizationType(_type_of(tensor, wanted))
            _, block, block_bytes = TENSOR_TYPES[stored]
            size = tensor.elements // block * block_bytes
            shape, no_bytes = tuple(reversed(tensor.shape)), np.dtype(np.float32)
            writer.add_tensor_info(tensor.name, shape, no_bytes, size, raw_dtype=stored)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_ti_data_to_file()
        for done, tensor in enumerate(model.tensors, 1):
            values = read_floats(model.path, tensor)
            change = lora.change(tensor.name)
            if change is not None:
                values = values + change
            kind_of_this = GGMLQuantizationType(_type_of(tensor, wanted))
            writer.write_tensor_data(quants.quantize(values, kind_of_this))
            tell(f"merging: {done} of {len(model.tensors)} tensors")
        writer.close()


def _copy_metadata(writer: Any, model: GGUF, wanted: int) -> None:
    """All entries but those that say how the file is laid out."""
    from gguf import GGUFValueType

    for key, value in model.metadata.items():
        # The type follows the key and its 8-byte length.
        kind = GGUFValueType(model.entries[key][8 + len(key.encode())])
        if key in ("general.architecture", "general.alignment", "general.file_type"):
            continue
        if not isinstance(value, Array):
            writer.add_key_value(key, value, kind)
        elif value.count:
            items = value.strings() if value.item_type == STRING else value.numbers()
            writer.add_key_value(key, items, kind, GGUFValueType(value.item_type))
    writer.add_file_type(_FILE_TYPES[wanted])


def _type_of(tensor: Tensor, wanted: int) -> int:
    """Norms stay as they are; rows that have no whole blocks become F16."""
    if len(tensor.shape) == 1:
        return _F32
    return wanted if tensor.shape[0] % TENSOR_TYPES[wanted][1] == 0 else _F16
