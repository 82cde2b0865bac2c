"""An adapter's matrices → a GGUF adapter that any llama.cpp loads."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mistral_cli.errors import MistralCliError
from mistral_cli.system import files as atomic

if TYPE_CHECKING:
    from mistral_cli.finetune.peft_files import Lora
    from mistral_cli.models.gguf import GGUF


class WriteFailed(MistralCliError):
    """The disk took no more, or a folder cannot be written to."""


def write_adapter(lora: Lora, model: GGUF, name: str, destination: Path) -> None:
    """Write `lora`, which fits `model`, as F16; there is the whole file or none.

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
    """A path beside `destination` for a file that takes its place if all goes well."""
    try:
        # The writer opens the path itself: what it writes there is synced through `file`.
        with atomic.replacing(destination, atomic.temporary_beside(destination)) as file:
            yield Path(file.name)
    except OSError as error:
        raise WriteFailed(
            f"cannot write {destination}: {error.strerror or error}",
            hint="Use a place with room that can be written to.",
        ) from error
