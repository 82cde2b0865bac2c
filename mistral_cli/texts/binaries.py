"""Names files that are not text by their first bytes, and says how to get text from them."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass

from mistral_cli.errors import UsageError

_HEAD = 8192
_CONTROL = re.compile(rb"[\0-\x08\x0e-\x1a\x1c-\x1f]")  # not in a text, but for ESC


@dataclass(frozen=True)
class _Kind:
    """`name` is the kind with its article; `step` is the user's next step."""

    name: str
    step: str


def _picture(name: str) -> _Kind:
    return _Kind(
        f"a picture ({name})",
        "The models here read only text: extract it first, for example with "
        "`tesseract {file} - | mistral-cli ...`.",
    )


def _sound(name: str) -> _Kind:
    return _Kind(f"a sound file ({name})", "Transcribe it first, for example with whisper.")


def _video(name: str) -> _Kind:
    return _Kind(
        f"a video ({name})",
        "Transcribe it first, for example with whisper, or extract its subtitles with ffmpeg.",
    )


def _archive(name: str, command: str) -> _Kind:
    return _Kind(
        f"an archive ({name})", f"Unpack it first with `{command} {{file}}`, and name its files."
    )


def _program(name: str) -> _Kind:
    return _Kind(f"a program ({name})", "Give a text file instead.")


def _table(name: str) -> _Kind:
    return _Kind(f"a table ({name})", "Save it as CSV or JSON Lines first.")


def _columns(name: str) -> _Kind:
    return _Kind(
        f"a table ({name})",
        "`mistral-cli batch` reads such a file; name it with its suffix, or save it as CSV.",
    )


_GGUF = _Kind("a model (GGUF)", "Use it with -m {file}, and give a text file.")
_ISO_MEDIA = _video("MP4")

# The first bytes, from the specifications of the formats and the table of file(1).
_KINDS = {
    b"\x89PNG\r\n": _picture("PNG"),
    b"\xff\xd8\xff": _picture("JPEG"),
    b"GIF87a": _picture("GIF"),
    b"GIF89a": _picture("GIF"),
    b"BM": _picture("BMP"),
    b"II*\0": _picture("TIFF"),
    b"MM\0*": _picture("TIFF"),
    b"\0\0\x01\0": _picture("ICO"),
    b"8BPS": _picture("PSD"),
    b"ID3": _sound("MP3"),
    b"\xff\xfb": _sound("MP3"),
    b"\xff\xf3": _sound("MP3"),
    b"\xff\xf2": _sound("MP3"),
    b"\xff\xf1": _sound("AAC"),
    b"OggS": _sound("Ogg"),
    b"fLaC": _sound("FLAC"),
    b"FORM": _sound("AIFF"),
    b"MThd": _sound("MIDI"),
    b"\x1aE\xdf\xa3": _video("Matroska or WebM"),
    b"\0\0\x01\xba": _video("MPEG"),
    b"FLV\x01": _video("FLV"),
    b"PK\x03\x04": _archive("ZIP", "unzip"),
    b"PK\x05\x06": _archive("ZIP, empty", "unzip"),
    b"7z\xbc\xaf\x27\x1c": _archive("7z", "7z x"),
    b"Rar!\x1a\x07": _archive("RAR", "unrar x"),
    b"!<arch>\n": _archive("ar", "ar x"),
    b"MZ": _program("Windows"),
    b"\x7fELF": _program("ELF"),
    b"\xcf\xfa\xed\xfe": _program("macOS"),
    b"\xca\xfe\xba\xbe": _program("Java or macOS"),
    b"\0asm": _program("WebAssembly"),
    b"SQLite format 3\0": _Kind(
        "a database (SQLite)",
        "`mistral-cli batch` reads it with --from-sql, or export a text, for example with "
        "`sqlite3 {file} .dump`.",
    ),
    b"PAR1": _columns("Parquet"),
    b"ARROW1": _columns("Arrow"),
    b"\x93NUMPY": _table("NumPy"),
    b"\x89HDF\r\n": _table("HDF5"),
    b"GGUF": _GGUF,
    b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1": _Kind(
        "an old office file (DOC, XLS or PPT)",
        "Save it as DOCX or PDF first, for example with `soffice --convert-to docx {file}`.",
    ),
}  # fmt: skip
_RIFF = {b"WAVE": _sound("WAV"), b"AVI ": _video("AVI"), b"WEBP": _picture("WebP")}
_BRANDS = {b"hei": _picture("HEIC"), b"mif": _picture("HEIC"), b"avi": _picture("AVIF")}
_BRANDS |= {b"M4A": _sound("M4A"), b"qt ": _video("QuickTime")}
_TAR, _TAR_AT = b"ustar", 257


def refuse_binary(data: bytes, source: str) -> None:
    """Raise UsageError with the kind of a file that is known not to be text."""
    if kind := _kind(data[:_HEAD]):
        file = "FILE" if source == "stdin" else shlex.quote(source)
        raise UsageError(f"{source} is {kind.name}, not text", hint=kind.step.format(file=file))


def _kind(head: bytes) -> _Kind | None:
    if not _CONTROL.search(head):  # "MZ" and "BM" may begin a text too
        return None
    if head.startswith(b"RIFF"):
        return _RIFF.get(head[8:12])
    if head[4:8] == b"ftyp":
        return _BRANDS.get(head[8:11], _ISO_MEDIA)
    if head[_TAR_AT:].startswith(_TAR):
        return _archive("tar", "tar -xf")
    if head.startswith(b"PK\x03\x04") and b"xl/" in head:
        return _table("XLSX")
    return next((kind for magic, kind in _KINDS.items() if head.startswith(magic)), None)
