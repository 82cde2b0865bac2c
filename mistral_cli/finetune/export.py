"""`finetune export`: an adapter → a GGUF adapter, or a merged model in F16 or Q8_0.

There are no merged models in 4 bits: rounding to those loses most of what a small adapter adds.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mistral_cli.errors import ModelUnusable, UsageError
from mistral_cli.finetune.adapter import read_lora, replacing, write_adapter
from mistral_cli.finetune.extras import check_installed, quiet_libraries
from mistral_cli.finetune.options import MergedType
from mistral_cli.finetune.tensors import read_floats, unreadable_type
from mistral_cli.models.call import prepare_call
from mistral_cli.models.gguf import GGUF, Array, Tensor
from mistral_cli.models.gguf.types import STRING, TENSOR_TYPES
from mistral_cli.system.files import refuse_to_overwrite
from mistral_cli.system.stdout import write_paths

if TYPE_CHECKING:
    from mistral_cli.finetune.adapter import LoraMatrices
    from mistral_cli.system.terminal import Terminal

_F32, _F16, _Q8_0 = 0, 1, 8
_FILE_TYPES = {_F16: 1, _Q8_0: 7}  # llama.cpp's LLAMA_FTYPE_MOSTLY_*


def export_adapter(
    adapter: Path,
    reference: str | None,
    output: Path | None,
    merge: MergedType | None,
    terminal: Terminal,
    *,
    force: bool,
    offline: bool,
    quiet: bool,
) -> None:
    """Write the adapter, or with `merge` the model with it, and print the path of the file.

    Raises every MistralCliError.
    """
    if not adapter.exists():
        raise UsageError(f"{adapter} does not exist", hint="Give a PEFT folder or a GGUF adapter.")
    destination = output or _default_path(adapter, merge)
    if destination.exists() and not force:
        raise UsageError(
            f"{destination} already exists", hint="Use another -o, or --force to replace it."
        )
    check_installed()
    call = prepare_call(terminal, quiet=quiet, offline=offline)
    model = call.read_model(reference)
    refuse_to_overwrite([adapter, *model.files], "-o", destination)
    with quiet_libraries():
        lora = read_lora(adapter, model)
        if merge:
            write_merged(model, lora, merge, destination, terminal.status)
        else:
            write_adapter(
                lora, model, f"LoRA for {model.name or call.model_name(reference)}", destination
            )
    terminal.clear_status()
    write_paths(terminal, [destination])


def _default_path(adapter: Path, merge: MergedType | None) -> Path:
    name = adapter.resolve().stem if adapter.suffix == ".gguf" else adapter.resolve().name
    return Path(f"{name}.{merge.upper()}.gguf" if merge else f"{name}.gguf")


def write_merged(
    model: GGUF,
    lora: LoraMatrices,
    merged_type: MergedType,
    destination: Path,
    show_status: Callable[[str], None],
) -> None:
    """Write `model` with `lora` added to its weights: the whole file or none.

    Holds one matrix in memory at a time. Raises WriteFailed, and ModelUnusable for a tensor type
    that cannot be read.
    """
    if problem := unreadable_type(model):
        raise ModelUnusable(
            f"{model.path.name} cannot be merged: {problem}",
            hint="Merge into the same model in another quantization, such as Q8_0.",
        )
    from gguf import GGMLQuantizationType, GGUFWriter, quants

    matrix_type = _Q8_0 if merged_type == MergedType.Q8_0 else _F16
    with replacing(destination) as path:
        writer = GGUFWriter(path, model.architecture)
        _copy_metadata(writer, model, matrix_type)
        for tensor in model.tensors:
            stored_type = GGMLQuantizationType(_stored_type(tensor, matrix_type))
            _, block, block_bytes = TENSOR_TYPES[stored_type]
            size = tensor.elements // block * block_bytes
            shape, no_bytes = tuple(reversed(tensor.shape)), np.dtype(np.float32)
            writer.add_tensor_info(tensor.name, shape, no_bytes, size, raw_dtype=stored_type)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_ti_data_to_file()
        for done, tensor in enumerate(model.tensors, 1):
            values = read_floats(model.file_of(tensor), tensor)
            change = lora.change(tensor.name)
            if change is not None:
                values = values + change
            stored_type = GGMLQuantizationType(_stored_type(tensor, matrix_type))
            writer.write_tensor_data(quants.quantize(values, stored_type))
            show_status(f"merging: {done} of {len(model.tensors)} tensors")
        writer.close()


def _copy_metadata(writer: Any, model: GGUF, matrix_type: int) -> None:
    """Copy all metadata except the keys that describe the layout of the file."""
    from gguf import GGUFValueType

    for key, value in model.metadata.items():
        # The type follows the key and its 8-byte length.
        value_type = GGUFValueType(model.stored_type(key))
        if key in ("general.architecture", "general.alignment", "general.file_type"):
            continue
        if key.startswith("split."):  # of a model in several files
            continue
        if not isinstance(value, Array):
            writer.add_key_value(key, value, value_type)
        elif value.count:
            items = value.strings() if value.item_type == STRING else value.numbers()
            writer.add_key_value(key, items, value_type, GGUFValueType(value.item_type))
    writer.add_file_type(_FILE_TYPES[matrix_type])


def _stored_type(tensor: Tensor, matrix_type: int) -> int:
    """The type to store `tensor` in: norms stay F32, and rows without whole blocks become F16."""
    if len(tensor.shape) == 1:
        return _F32
    return matrix_type if tensor.shape[0] % TENSOR_TYPES[matrix_type][1] == 0 else _F16
