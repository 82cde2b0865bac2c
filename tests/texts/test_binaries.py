"""Files that are not text: what they are called, and how to get text from them."""

from __future__ import annotations

import io
import sqlite3
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from mistral_cli.errors import UsageError
from mistral_cli.texts.binaries import refuse_binary


def _zip(name: str = "a.txt") -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr(name, "text")
    return file.getvalue()


def _tar() -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("a.txt"))
    return file.getvalue()


def _sqlite(folder: Path) -> bytes:
    path = folder / "a.db"
    with sqlite3.connect(path) as connection:
        connection.execute("create table t (a)")
    connection.close()
    return path.read_bytes()


BINARIES = [
    (b"\x89PNG\r\n\x1a\n" + bytes(9), "a picture (PNG)", "tesseract 'my file' -"),
    (b"\xff\xd8\xff\xe0\0\x10JFIF", "a picture (JPEG)", "tesseract"),
    (b"RIFF\x24\0\0\0WEBPVP8 ", "a picture (WebP)", "tesseract"),
    (b"\0\0\0\x18ftypheic", "a picture (HEIC)", "tesseract"),
    (b"ID3\x04\0\0", "a sound file (MP3)", "whisper"),
    (b"\xff\xfb\x90\x64\0UUUU", "a sound file (MP3)", "whisper"),
    (b"RIFF\x24\0\0\0WAVEfmt ", "a sound file (WAV)", "whisper"),
    (b"\0\0\0\x20ftypisom", "a video (MP4)", "whisper"),
    (_zip(), "an archive (ZIP)", "unzip 'my file'"),
    (_tar(), "an archive (tar)", "tar -xf"),
    (_zip("xl/workbook.xml"), "a table (XLSX)", "Save it as CSV"),
    (b"PAR1" + bytes(9), "a table (Parquet)", "mistral-cli batch"),
    (b"MZ\x90\0\x03", "a program (Windows)", "text file"),
    (b"GGUF\x03\0\0\0", "a model (GGUF)", "-m 'my file'"),
]


@pytest.mark.parametrize(("data", "name", "step"), BINARIES)
def test_a_binary_file_is_called_what_it_is(data: bytes, name: str, step: str) -> None:
    with pytest.raises(UsageError) as error:
        refuse_binary(data, "my file")
    assert error.value.message == f"my file is {name}, not text"
    assert step in error.value.hint


def test_real_files_are_recognized(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is a database"):
        refuse_binary(_sqlite(tmp_path), "a.db")
    with pytest.raises(UsageError, match="is a program"):
        refuse_binary(Path(sys.executable).read_bytes(), "python")


@pytest.mark.parametrize(
    "data", [b"BMW and Audi", b"MZ is a star", b"ID3 tags\n", b"PK", b"", b"\x1b[1mbold", b"\x01?"]
)
def test_a_text_is_not_taken_for_a_binary_file(data: bytes) -> None:
    refuse_binary(data, "a.txt")
