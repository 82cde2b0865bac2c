"""Compressed data, as a stream."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import random
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from support.terminals import make_terminal

from mistral_cli.errors import UsageError
from mistral_cli.texts.compressed import expand, expanded, is_compressed, without_suffix
from mistral_cli.texts.inputs import read_inputs

zstd = pytest.importorskip("backports.zstd")

Compress = Callable[[bytes], bytes]
FORMATS: dict[str, Compress] = {
    ".gz": gzip.compress,
    ".bz2": bz2.compress,
    ".xz": lzma.compress,
    ".zst": zstd.compress,
}
CONTENT = random.Random(7).randbytes(300_000) + b"one\ntwo\n" * 50_000

every_format = pytest.mark.parametrize("compress", FORMATS.values(), ids=FORMATS)


@every_format
def test_members_one_after_the_other_are_one_content(compress: Compress) -> None:
    parts = [CONTENT, b"", b"tail"]
    assert expand(b"".join(map(compress, parts)), "a") == b"".join(parts)
    padded = compress(CONTENT) + bytes(512)
    assert expand(padded + padded, "a") == CONTENT * 2


@every_format
@pytest.mark.parametrize("size", [1, 7, 5000])
def test_blocks_of_any_size(compress: Compress, size: int) -> None:
    data = compress(CONTENT[290_000:350_000]) * 2
    start = data[:16]  # the format is recognized by the first block
    blocks = [start, *(data[at : at + size] for at in range(16, len(data), size))]
    assert b"".join(expanded(blocks, "a")) == CONTENT[290_000:350_000] * 2


@every_format
@pytest.mark.parametrize("share", [0.1, 0.5, 0.999])
def test_what_comes_before_a_cut_is_kept(compress: Compress, share: float) -> None:
    data = compress(CONTENT)
    read: list[bytes] = []
    blocks = expanded([data[: int(len(data) * share)]], "a")
    with pytest.raises(UsageError, match="a ends in the middle of its") as error:
        read.extend(blocks)  # keeps what comes before the error
    assert error.value.hint
    assert CONTENT.startswith(b"".join(read))
    assert read or share == 0.1 or compress is bz2.compress  # its blocks are large


@every_format
def test_damage_and_what_follows_the_end_are_errors(compress: Compress) -> None:
    data = bytearray(compress(CONTENT))
    with pytest.raises(UsageError, match="a is damaged, or not"):
        expand(bytes(data) + b"more than that" * 9, "a")
    data[30:40] = b"0123456789"
    if compress is not zstd.compress:  # which has no checksum by default
        with pytest.raises(UsageError, match=r"a (is damaged|ends in the middle)"):
            expand(bytes(data), "a")


@every_format
def test_a_bomb_is_refused(compress: Compress) -> None:
    bomb = compress(bytes(1 << 20))
    with pytest.raises(UsageError, match="a expands to more than 64 MiB"):
        expand(bomb * 65, "a")


@every_format
def test_a_block_is_never_large(compress: Compress) -> None:
    blocks = list(expanded([compress(bytes(5 << 20))], "a"))
    assert max(map(len, blocks)) <= 1 << 18
    assert sum(map(len, blocks)) == 5 << 20


@pytest.mark.parametrize("data", [b"", b"BZh9 is a word", b"text", b"\x1f\x8b", b"PK\x03\x04"])
def test_other_data_stay_as_they_are(data: bytes) -> None:
    assert not is_compressed(data)
    assert expand(data, "a") == data


def test_skippable_frames_are_skipped() -> None:
    frame = b"\x50\x2a\x4d\x18\x03\0\0\0abc"
    assert expand(frame + zstd.compress(b"text") + frame, "a") == b"text"


def test_the_suffix_before_tells_what_it_is() -> None:
    assert without_suffix(Path("d/a.csv.ZST")) == Path("d/a.csv")
    assert without_suffix(Path("a.csv")) == Path("a.csv")


@pytest.mark.parametrize("suffix", FORMATS)
def test_a_single_text_may_be_compressed(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"notes.txt{suffix}"
    path.write_bytes(FORMATS[suffix](b"Gr\xc3\xbc\xc3\x9fe\n"))
    [text] = read_inputs([], [path], make_terminal()).texts
    assert (text.text, text.source) == ("Grüße", str(path))
    piped = io.TextIOWrapper(io.BytesIO(path.read_bytes()))
    [text] = read_inputs([], [], make_terminal(piped)).texts
    assert text.text == "Grüße"
    path.write_bytes(path.read_bytes()[:-3])
    with pytest.raises(UsageError, match="ends in the middle"):
        read_inputs([], [path], make_terminal())


def test_an_archive_in_it_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("text")
    subprocess.run(["tar", "-czf", "a.tgz", "a.txt"], cwd=tmp_path, check=True)
    with pytest.raises(UsageError, match=r"a\.tgz is an archive \(tar\)"):
        read_inputs([], [tmp_path / "a.tgz"], make_terminal())
