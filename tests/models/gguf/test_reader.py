"""`models.gguf.reader`: files that are not GGUF, or not whole, are refused."""

from __future__ import annotations

import os
import struct
from pathlib import Path

import pytest
from support.gguf_parts import assert_refused

from mistral_cli.errors import ModelUnusable
from mistral_cli.models.gguf import read_gguf


def test_refuses_paths_that_are_not_regular_files(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path, message in (
        (tmp_path / "absent.gguf", "No such file"),
        (tmp_path, "not a regular file"),
        (tmp_path / "pipe", "not a regular file"),
        (tmp_path / "nul\0.gguf", "cannot be read"),
    ):
        with pytest.raises(ModelUnusable, match=message):
            read_gguf(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"GGUF", "too short"),
        (b"GGUF" + bytes(19), "too short"),
        (b"\x08\x01\0\0\0\0\0\0" + b'{"__metadata__":{}}', "safetensors"),
        (b"PK\x03\x04" + bytes(60), "ZIP"),
        (b"\n<!DOCTYPE html><html>", "web page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\n", "Git LFS pointer"),
        (b"tjgg" + bytes(60), "GGJT"),
        (b"lmgg" + bytes(60), "GGML"),
        (b"FUGG" + bytes(60), "not a GGUF file"),
        (struct.pack("<4sIQQ", b"GGUF", 1, 1, 1), "version 1"),
        (struct.pack("<4sIQQ", b"GGUF", 4, 1, 1), "version 4"),
        (struct.pack(">4sIQQ", b"GGUF", 3, 1, 1), "big-endian"),
        (struct.pack("<4sIQQ", b"GGUF", 3, 1 << 40, 1), "declares"),
        (struct.pack("<4sIQQ", b"GGUF", 3, 1, 1 << 63), "declares"),
        (struct.pack("<4sIQQ", b"GGUF", 3, 1, 1), "past the end"),
    ],
)
def test_refuses_other_formats(tmp_path: Path, content: bytes, message: str) -> None:
    assert_refused(tmp_path / "m.gguf", content, message)


def test_refuses_every_truncation(tiny_file: Path, tmp_path: Path) -> None:
    content = tiny_file.read_bytes()
    header = min(tensor.offset for tensor in read_gguf(tiny_file).tensors)
    for length in [*range(0, header, 97), *range(header, len(content), 9973), len(content) - 33]:
        assert_refused(tmp_path / "m.gguf", content[:length], ".")
    assert_refused(
        tmp_path / "m.gguf",
        content[: len(content) - 100],
        rf"has \d+ bytes and needs {len(content)}",
    )
