"""Models in several files, as llama.cpp's `llama-gguf-split` writes: `NAME-00001-of-00003.gguf`.

The first part has all metadata, and each part describes its own tensors. An engine opens the first
part and finds the others by their names, so a part's name and its metadata must agree.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from mistral_cli.errors import ModelNotAvailable
from mistral_cli.models.gguf.checks import CONVERT, DAMAGED, check_order, refuse
from mistral_cli.models.gguf.reader import errors_about, open_checked
from mistral_cli.models.gguf.types import INT32, UINT16

if TYPE_CHECKING:
    from mistral_cli.models.gguf.model import GGUF

_NUMBER, _COUNT, _TENSORS = "split.no", "split.count", "split.tensors.count"

# llama.cpp's `llama_split_path`: it finds no part whose name ends in another way.
_NAME = re.compile(r"(?P<prefix>.+)-(?P<number>[0-9]{5})-of-(?P<count>[0-9]{5})\.gguf", re.DOTALL)
_SAME_MODEL = "Get all parts of the same model, from the same folder of its repository."


def part_names(name: str) -> tuple[str, ...]:
    """Return the names of all parts of the model that the file `name` is a part of, in order.

    A file that is not named like a part is a model of its own: returns only `name`.
    """
    match = _match(name)
    if not match:
        return (name,)
    return tuple(_numbered(match, number) for number in range(1, int(match["count"]) + 1))


def first_part(name: str) -> str:
    """Return the name of the first part, by which a split model is known; of others `name`."""
    match = _match(name)  # not `part_names`: a name may claim 99,999 parts
    return _numbered(match, 1) if match else name


def first_path(path: Path) -> Path:
    """Return the path of the first part of the model that the file at `path` is a part of."""
    return path.with_name(first_part(path.name)) if path.name else path


def _match(name: str) -> re.Match[str] | None:
    match = _NAME.fullmatch(name)
    return match if match and 1 <= int(match["number"]) <= int(match["count"]) else None


def _numbered(match: re.Match[str], number: int) -> str:
    return f"{match['prefix']}-{number:05d}-of-{match['count']}.gguf"


def part_paths(path: Path) -> tuple[Path, ...]:
    """Return the paths of all parts of the model that the file at `path` is a part of."""
    return tuple(path.with_name(name) for name in part_names(path.name)) if path.name else (path,)


def parts_here(path: Path) -> list[Path]:
    """Return the paths of those parts of the model that exist."""
    return [part for part in part_paths(path) if part.exists()]


def missing_part(path: Path) -> ModelNotAvailable | None:
    """Return the error that a part of the model at `path` does not exist, or None if all do."""
    names = part_names(path.name)
    for number, name in enumerate(names if len(names) > 1 else (), 1):
        if not (each := path.with_name(name)).exists():
            return ModelNotAvailable(
                f"part {number} of {len(names)} of the model is missing: there is no file {each}",
                hint=f"Put {each.name} beside the other parts; "
                "`mistral-cli models pull` downloads what is missing of a model of the hub.",
            )
    return None


def open_model(path: Path, check: Callable[[GGUF], None]) -> GGUF:
    """Return the header of the model at `path` (any part of a split one), which `check` accepted.

    Raises `ModelUnusable` with the name of the file, and `ModelNotAvailable` for a missing part.
    """
    if error := missing_part(path):
        raise error
    parts = [open_checked(each, check_part) for each in part_paths(path)]
    with errors_about(parts[0].path):
        model = join(parts)
        check(model)
    return model


def check_part(header: GGUF) -> None:
    """Refuse a file whose metadata says that it is another part than its name says."""
    name = header.path.name
    names = part_names(name)
    number, count = names.index(name), len(names)
    declared = header.metadata.get(_NUMBER), header.metadata.get(_COUNT)
    if count == 1:
        if isinstance(declared[1], int) and declared[1] > 1:
            _refuse_name(*declared)
        return
    if declared[1] in (None, 0, 1):
        refuse(
            f"has the name of part {number + 1} of {count}, but it is not a part of a split model",
            "If it is a whole model, give it another name.",
        )
    for key in (_NUMBER, _COUNT):  # llama.cpp aborts on any other type
        if key not in header.metadata or header.stored_type(key) != UINT16:
            refuse(f"metadata {key!r} is not of the type UINT16", CONVERT)
    if declared != (number, count):
        _refuse_name(*declared)
    if number:
        check_order(header)  # of the first part `check_model` does


def _refuse_name(number: object, count: object) -> None:
    """Refuse a part with another name than an engine looks for; `number` counts from 0."""
    own_names = "Give all parts their own names again, or download them again."
    if not isinstance(number, int):
        refuse(f"is one of {count} parts of a split model, but is not named like one", own_names)
    ending = f"-{number + 1:05d}-of-{count:05d}.gguf"
    part = f"part {number + 1} of {count} of a split model"
    refuse(f"is {part}, so its name must end in {ending}", own_names)


def join(parts: Sequence[GGUF]) -> GGUF:
    """Return one header with the tensors of all `parts`, each of which `check_part` accepted."""
    first, *others = parts
    if not others:
        return first
    files: dict[str, str] = {}
    for part in parts:
        for tensor in part.tensors:
            if other := files.get(tensor.name):
                refuse(f"has the tensor {tensor.name!r} twice: in {other} and in {part.path.name}")
            files[tensor.name] = part.path.name
    for part in others:
        _check_same_model(first, part)
    total = first.metadata.get(_TENSORS)
    if total is None or first.stored_type(_TENSORS) != INT32:
        refuse(f"metadata {_TENSORS!r} is not of the type INT32", CONVERT)
    if total != len(files):
        problem = f"its {len(parts)} parts have {len(files)} tensors, and {_TENSORS!r} is {total}"
        refuse(f"{problem}: the parts are not of the same model", f"{_SAME_MODEL} {DAMAGED}")
    return replace(
        first,
        tensors=tuple(
            replace(tensor, part=number)
            for number, part in enumerate(parts)
            for tensor in part.tensors
        ),
        file_size=sum(part.file_size for part in parts),
        other_parts=tuple(part.path for part in others),
    )


def _check_same_model(first: GGUF, part: GGUF) -> None:
    """Refuse another model's part; most have no metadata but `split.*`, so few can be told."""
    for key, raw in part.entries.items():
        if key != _NUMBER and first.entries.get(key, raw) != raw:
            refuse(f"{part.path.name} is a part of another model: {key!r} differs", _SAME_MODEL)
