"""`models.gguf.split`: models in several files, and parts that do not belong together."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path
from unittest.mock import patch

import pytest
from support.gguf_parts import entry, number, words
from support.split_models import SplitParts, split_entries, split_model

from mistral_cli.engines.ctransformers.limits import unreadable
from mistral_cli.engines.hardware.memory import needed
from mistral_cli.errors import ModelNotAvailable, ModelUnusable
from mistral_cli.generation.prompt_cache.key import fingerprint
from mistral_cli.models.gguf import join_gguf, read_gguf, read_gguf_start, reread_gguf
from mistral_cli.models.gguf.adapter import read_adapter
from mistral_cli.models.gguf.split import first_part, first_path, part_names
from mistral_cli.models.gguf.types import FLOAT32, UINT16
from mistral_cli.models.gguf.weights import damaged_tensor


def test_names_of_parts() -> None:
    names = part_names("sub/m-Q8_0-00002-of-00003.gguf")
    assert names == tuple(f"sub/m-Q8_0-0000{n}-of-00003.gguf" for n in (1, 2, 3))
    for name in ("m.gguf", "m-00001-of-00001.gguf", "m-00004-of-00003.gguf", "m-1-of-2.gguf"):
        assert part_names(name) == (name,)
        assert first_part(name) == name
    for name in ("m-00001-of-00002.GGUF", "-00001-of-00002.gguf"):  # no part for llama.cpp
        assert part_names(name) == (name,)


def test_the_first_part_of_many_is_found_without_naming_all() -> None:
    """A list of files from the hub can claim that; naming all takes 0.1 s for each file."""
    with patch("mistral_cli.models.gguf.split.part_names", side_effect=AssertionError):
        assert first_part("m-77777-of-99999.gguf") == "m-00001-of-99999.gguf"
        assert first_path(Path("a/m-00002-of-00003.gguf")) == Path("a/m-00001-of-00003.gguf")
        assert first_path(Path()) == Path()


def test_digits_of_other_scripts_number_no_parts() -> None:
    name = "m-٠٠٠٠١-of-٠٠٠٠٢.gguf"  # noqa: RUF001
    assert part_names(name) == (name,)


@pytest.mark.parametrize("first_is_empty", [False, True])
def test_the_parts_are_one_model(tiny_file: Path, tmp_path: Path, *, first_is_empty: bool) -> None:
    whole = read_gguf(tiny_file)
    paths = split_model(tiny_file, tmp_path / "m", "m", 4, first_is_empty=first_is_empty)
    for path in paths:
        model = read_gguf(path)
        assert model.files == tuple(paths)
        assert [tensor.name for tensor in model.tensors] == [t.name for t in whole.tensors]
        assert model.file_size == sum(each.stat().st_size for each in paths)
        assert reread_gguf(path).tensors == model.tensors
    for mine, theirs in zip(model.tensors, whole.tensors, strict=True):
        data = model.file_of(mine).read_bytes()[mine.offset : mine.offset + mine.size]
        assert data == tiny_file.read_bytes()[theirs.offset : theirs.offset + theirs.size]
    assert needed(model, 64, 1) == needed(whole, 64, 1)
    assert "one file, and this one is split into 4" in (unreadable(model) or "")


def test_a_header_read_from_the_start_of_each_part(tiny_file: Path, tmp_path: Path) -> None:
    paths = split_model(tiny_file, tmp_path, "m")
    headers = []
    for path in paths:
        data = path.read_bytes()
        assert read_gguf_start(path, data[:40], len(data)) is None
        header = read_gguf_start(path, data, len(data))
        assert header
        headers.append(header)
    assert join_gguf(headers).tensors == read_gguf(paths[0]).tensors
    with pytest.raises(ModelUnusable, match="the parts are not of the same model"):
        join_gguf(headers[:2])


def refusal(path: Path) -> ModelUnusable:
    with pytest.raises(ModelUnusable) as caught:
        read_gguf(path)
    assert caught.value.hint
    assert "\n" not in caught.value.message
    return caught.value


Damage = Callable[[SplitParts], object]
DAMAGE: dict[str, tuple[Damage, str, str]] = {
    "truncated": (lambda p: p.cut(2, 1000), "00002-of-00003.gguf", "is truncated"),
    "empty": (lambda p: p.cut(3), "00003-of-00003.gguf", "is empty"),
    "another number": (
        lambda p: p.put(2, *split_entries(2, 3, 21)),
        "00002-of-00003.gguf",
        "is part 3 of 3 of a split model, so its name must end in -00003-of-00003.gguf",
    ),
    "another count": (
        lambda p: p.put(3, *split_entries(2, 4, 21)),
        "00003-of-00003.gguf",
        "is part 3 of 4 of a split model, so its name must end in -00003-of-00004.gguf",
    ),
    "a whole model": (
        lambda p: p.drop(1, "split.no", "split.count"),
        "00001-of-00003.gguf",
        "has the name of part 1 of 3, but it is not a part",
    ),
    "no number": (
        lambda p: p.drop(2, "split.no"),
        "00002-of-00003.gguf",
        "metadata 'split.no' is not of the type UINT16",
    ),
    # llama.cpp aborts on this one.
    "type of a number": (
        lambda p: p.put(2, number("split.no", 1)),
        "00002-of-00003.gguf",
        "metadata 'split.no' is not of the type UINT16",
    ),
    "type of the count": (
        lambda p: p.put(1, number("split.count", 3)),
        "00001-of-00003.gguf",
        "metadata 'split.count' is not of the type UINT16",
    ),
    "type of the tensors": (
        lambda p: [p.put(n, number("split.tensors.count", 21)) for n in (1, 2, 3)],
        "00001-of-00003.gguf",
        "metadata 'split.tensors.count' is not of the type INT32",
    ),
    "number of tensors": (
        lambda p: [p.put(n, *split_entries(n - 1, 3, 22)) for n in (1, 2, 3)],
        "00001-of-00003.gguf",
        "its 3 parts have 21 tensors, and 'split.tensors.count' is 22",
    ),
    "number of tensors of one part": (
        lambda p: p.put(3, *split_entries(2, 3, 22)),
        "00001-of-00003.gguf",
        "00003-of-00003.gguf is a part of another model: 'split.tensors.count' differs",
    ),
    "another model's metadata": (
        lambda p: (
            p.put(1, words("general.name", "one")),
            p.put(2, words("general.name", "other")),
        ),
        "00001-of-00003.gguf",
        "00002-of-00003.gguf is a part of another model: 'general.name' differs",
    ),
    "the same tensors": (
        lambda p: p.copy_tensors(2, 3),
        "00001-of-00003.gguf",
        "twice: in m-00002-of-00003.gguf and in m-00003-of-00003.gguf",
    ),
    "a gap": (
        lambda p: p.move_last(2),
        "00002-of-00003.gguf",
        "does not follow",
    ),
    "another name of a tensor": (
        lambda p: p.rename_last(2, "odd.weight"),
        "00001-of-00003.gguf",
        "has no tensor",
    ),
}


@pytest.mark.parametrize(("damage", "file", "message"), DAMAGE.values(), ids=DAMAGE.keys())
def test_refuses(damage: Damage, file: str, message: str, tiny_file: Path, tmp_path: Path) -> None:
    parts = SplitParts(split_model(tiny_file, tmp_path, "m"))
    damage(parts)
    error = refusal(parts.paths[0])
    assert file in error.message.partition(": ")[0]
    assert message in error.message


def test_a_missing_part_is_named(tiny_file: Path, tmp_path: Path) -> None:
    for lost in (0, 1, 2):
        paths = split_model(tiny_file, tmp_path, "m")
        paths[lost].unlink()
        for path in paths:
            with pytest.raises(
                ModelNotAvailable, match=f"part {lost + 1} of 3 .*missing"
            ) as caught:
                read_gguf(path)
            assert str(paths[lost]) in caught.value.message
            assert "models pull" in caught.value.hint


def test_a_part_under_another_name(tiny_file: Path, tmp_path: Path) -> None:
    first, second, _ = split_model(tiny_file, tmp_path, "m")
    other = first.rename(tmp_path / "model.gguf")
    assert "is part 1 of 3 of a split model, so its name" in refusal(other).message
    assert "names" in refusal(other).hint
    swapped = second.rename(first)
    second.touch()
    assert "is part 2 of 3" in refusal(swapped).message


def test_damaged_weights_in_any_part(tiny_file: Path, tmp_path: Path) -> None:
    nan = struct.pack("<f", float("nan"))
    paths = split_model(tiny_file, tmp_path, "m")
    model = read_gguf(paths[0])
    before = fingerprint(model)
    for rank in (2, 1):
        last = [t for t in model.tensors if t.part == 2 and len(t.shape) == rank][-1]
        with paths[2].open("r+b") as file:
            file.seek(last.offset + last.size // 2 // 4 * 4)
            file.write(nan)
        if rank == 2:
            assert damaged_tensor(read_gguf(paths[0])) == last.name
    assert f"its tensor {last.name!r} is damaged" in refusal(paths[0]).message
    assert fingerprint(model) != before


def test_a_split_adapter_is_refused(tiny_file: Path, tmp_path: Path) -> None:
    path = tmp_path / "a.gguf"
    parts = SplitParts(split_model(tiny_file, tmp_path, "m"))
    parts.put(
        1,
        words("general.type", "adapter"),
        words("adapter.type", "lora"),
        entry("adapter.lora.alpha", FLOAT32, struct.pack("<f", 1)),
        entry("split.count", UINT16, struct.pack("<H", 2)),
    )
    parts.paths[0].rename(path)
    with pytest.raises(ModelUnusable, match="part of a split adapter"):
        read_adapter(path)
