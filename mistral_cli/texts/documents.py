"""Converts documents (PDF, office files, e-books, web pages) to text."""

from __future__ import annotations

import codecs
import contextlib
import re
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

from mistral_cli.errors import UsageError
from mistral_cli.system.encodings import AUTO, Decoded, check_encoding, decode, is_utf8
from mistral_cli.texts.compressed import without_suffix

_INSTALL = "pip install 'mistral-cli[docs]'"
_OFFICE = "application/vnd.openxmlformats-officedocument"
_OPEN = "application/vnd.oasis.opendocument"


class _Kind(NamedTuple):
    """A kind of document: the name for messages, and the media type for the library."""

    name: str
    media_type: str


_PDF = _Kind("PDF", "application/pdf")
_DOCX = _Kind("DOCX", f"{_OFFICE}.wordprocessingml.document")
_PPTX = _Kind("PPTX", f"{_OFFICE}.presentationml.presentation")
_EPUB = _Kind("EPUB", "application/epub+zip")
_ODT = _Kind("ODT", f"{_OPEN}.text")
_RTF = _Kind("RTF", "application/rtf")
_HTML = _Kind("HTML", "text/html")

_SUFFIXES = {
    ".pdf": _PDF,
    ".docx": _DOCX,
    ".pptx": _PPTX,
    ".epub": _EPUB,
    ".odt": _ODT,
    ".rtf": _RTF,
    ".html": _HTML,
    ".htm": _HTML,
    ".xhtml": _HTML,
}
_MAGIC = {b"%PDF-": _PDF, b"{\\rtf": _RTF}
_ZIP = b"PK\x03\x04"
# An archive's directory stores file names uncompressed; EPUB and ODT store the media type too.
_IN_ARCHIVE = {
    b"word/document.xml": _DOCX,
    b"ppt/presentation.xml": _PPTX,
    _EPUB.media_type.encode(): _EPUB,
    f"mimetype{_ODT.media_type}".encode(): _ODT,
}
_OLE = bytes.fromhex("d0cf11e0a1b11ae1")  # an old office file, or a newer one with a password
_ENCRYPTED_OLE = "EncryptedPackage".encode("utf-16-le")

_CHARSET = re.compile(rb"""<meta\b[^>]*\bcharset\s*=\s*["']?([\w.:-]+)""", re.I)
_RUN = re.compile(r"\S+")
_HEAD = 1024  # bytes that must contain the magic of a PDF and the charset of a web page
# The library would print these above the page, under a heading that it invents.
_METADATA = re.compile(
    r"""<title\b.*?</title\s*>|<(?:meta|link|base)\b(?:"[^"]*"|'[^']*'|[^>"'])*>""", re.I | re.S
)


def is_document(path_or_name: str, start: bytes, *, html_is_text: bool = False) -> bool:
    """Whether the data must be converted to text, judged by its first bytes or its suffix.

    An office file may reveal its kind only at its end: pass the whole file if it is at hand.
    """
    kind = _kind(path_or_name, start) if start.strip() else None
    return kind is not None and not (html_is_text and kind is _HTML)


def read_document(data: bytes, name: str, encoding: str = AUTO) -> Decoded:
    """Convert a document to text, with its structure as Markdown.

    `encoding` is that of a web page; other documents contain theirs.

    Raises UsageError if the extra is not installed, or if the document is damaged, needs a
    password or contains no text.
    """
    kind = _kind(name, data)
    if kind is None:
        raise UsageError(f"{name} is not a document", hint="Convert it to text first.")
    try:
        import kreuzberg
    except ImportError:
        raise UsageError(
            f"reading a document ({name} is {kind.name}) needs the package kreuzberg",
            hint=f"Install it: {_INSTALL}",
        ) from None
    if data.startswith(_OLE) and kind is not _HTML:
        raise _needs_password(name) if _ENCRYPTED_OLE in data else _damaged(name, kind)
    warnings: tuple[str, ...] = ()
    if kind is _HTML:
        page = _decode_html(data, name, encoding)
        data, warnings = _METADATA.sub("", page.text).encode("utf-8", "replace"), page.warnings
    try:
        text = _extract(data, kind)
    except (kreuzberg.KreuzbergError, OSError, RuntimeError, ValueError) as error:
        is_locked = "password" in str(error)
        raise (_needs_password(name) if is_locked else _damaged(name, kind)) from error
    if not text.strip():
        raise UsageError(
            f"{name} contains no text (a scan contains only pictures)",
            hint="Run it through OCR first, for example with ocrmypdf.",
        )
    return Decoded(text, warnings)


def _extract(data: bytes, kind: _Kind) -> str:
    text = _convert(data, kind, "markdown")
    return _with_spaces(text, _convert(data, kind, "plain")) if kind is _PDF else text


def _with_spaces(text: str, plain: str) -> str:
    """Restore the spaces that the library lost when it joined the lines of `plain`.

    It loses them in PDFs that a browser printed: "on all" + "systems" becomes "on allsystems".
    """
    joined = dict[str, str]()
    for line, following in pairwise(line.split() for line in plain.splitlines() if line.strip()):
        if not line[-1].endswith("-"):
            joined[line[-1] + following[0]] = f"{line[-1]} {following[0]}"
    for word in plain.split():
        joined.pop(word, None)
    return _RUN.sub(lambda run: joined.get(run[0], run[0]), text)


def _convert(data: bytes, kind: _Kind, output: str) -> str:
    from kreuzberg import ContentFilterConfig, ExtractionConfig, extract_bytes_sync

    # Keep everything: the number of an invoice may stand in a running header alone.
    everything = ContentFilterConfig(
        include_headers=True, include_footers=True, strip_repeating_text=False
    )
    config = ExtractionConfig(use_cache=False, output_format=output, content_filter=everything)
    return extract_bytes_sync(data, kind.media_type, config).content


def _kind(name: str, data: bytes) -> _Kind | None:
    start = data[:_HEAD].lstrip()
    for magic, kind in _MAGIC.items():
        if start.startswith(magic):
            return kind
    if data.startswith(_ZIP):
        for mark, kind in _IN_ARCHIVE.items():
            if mark in data:
                return kind
    return _SUFFIXES.get(without_suffix(Path(name)).suffix.lower())


def _decode_html(data: bytes, name: str, encoding: str) -> Decoded:
    """Decode as any text, but trust what the page declares before guessing."""
    # Text in another encoding is hardly ever valid UTF-8, but pages often declare a wrong one.
    declared = _CHARSET.search(data[:_HEAD])
    if encoding == AUTO and declared and not is_utf8(data):
        with contextlib.suppress(UsageError):
            charset = check_encoding(declared[1].decode())
            # Browsers read a page in Latin-1 as Windows-1252, and so do those who write it.
            is_latin = codecs.lookup(charset).name == "iso8859-1"
            return decode(data, name, "cp1252" if is_latin else charset)
    return decode(data, name, encoding)


def _needs_password(name: str) -> UsageError:
    return UsageError(
        f"{name} is password-protected",
        hint="Save a copy without the password, for example with qpdf --decrypt for a PDF.",
    )


def _damaged(name: str, kind: _Kind) -> UsageError:
    return UsageError(
        f"{name} is damaged, or not {kind.name}",
        hint="Open it in the program that made it, and save it again.",
    )
