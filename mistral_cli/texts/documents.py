"""Documents that are not text yet (PDF, office files, e-books, web pages) → text."""

from __future__ import annotations

import codecs
import re
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

from mistral_cli.errors import UsageError

_INSTALL = "pip install 'mistral-cli[docs]'"
_OFFICE = "application/vnd.openxmlformats-officedocument"
_OPEN = "application/vnd.oasis.opendocument"


class _Kind(NamedTuple):
    """What a person calls it, and what the library does."""

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
_BEGINNINGS = {b"%PDF-": _PDF, b"{\\rtf": _RTF}
_ZIP = b"PK\x03\x04"
# An archive's own list holds its names as they are, an EPUB and ODT the media type as well.
_IN_ARCHIVE = {
    b"word/document.xml": _DOCX,
    b"ppt/presentation.xml": _PPTX,
    _EPUB.media_type.encode(): _EPUB,
    f"mimetype{_ODT.media_type}".encode(): _ODT,
}
_OLE = bytes.fromhex("d0cf11e0a1b11ae1")  # an old office file, or a new one with a password
_ENCRYPTED_OLE = "EncryptedPackage".encode("utf-16-le")

_CHARSET = re.compile(rb"""<meta\b[^>]*\bcharset\s*=\s*["']?([\w.:-]+)""", re.I)
_RUN = re.compile(r"\S+")
_EARLY = 1024  # bytes in which a PDF's or a web page's first words must stand
# What the library would print above the page, as a heading of its own making.
_METADATA = re.compile(
    r"""<title\b.*?</title\s*>|<(?:meta|link|base)\b(?:"[^"]*"|'[^']*'|[^>"'])*>""", re.I | re.S
)


def is_document(path_or_name: str, start: bytes) -> bool:
    """Whether it must be converted before it is text, by its first bytes or its suffix.

    An office file may tell its kind only at its end: give all of it where you have it.
    """
    return bool(start.strip()) and _kind(path_or_name, start) is not None


def read_document(data: bytes, name: str) -> str:
    """The text of a document, its structure as Markdown.

    Raises UsageError when the extra is not installed, or the document is damaged, needs a
    password or holds no text.
    """
    kind = _kind(name, data)
    if kind is None:
        raise UsageError(f"{name} is no document", hint="Convert it to text first.")
    try:
        import kreuzberg
    except ImportError:
        raise UsageError(
            f"reading a document ({name} is {kind.name}) needs the package kreuzberg",
            hint=f"Install it: {_INSTALL}",
        ) from None
    if data.startswith(_OLE) and kind is not _HTML:
        raise _locked(name) if _ENCRYPTED_OLE in data else _damaged(name, kind)
    if kind is _HTML:
        data = _METADATA.sub("", _decode_html(data)).encode("utf-8", "replace")
    try:
        text = _extract(data, kind)
    except (kreuzberg.KreuzbergError, OSError, RuntimeError, ValueError) as error:
        raise (_locked(name) if "password" in str(error) else _damaged(name, kind)) from error
    if not text.strip():
        raise UsageError(
            f"{name} holds no text (a scan holds pictures of it)",
            hint="Run it through OCR first, for instance with ocrmypdf.",
        )
    return text


def _extract(data: bytes, kind: _Kind) -> str:
    text = _converted(data, kind, "markdown")
    return _with_spaces(text, _converted(data, kind, "plain")) if kind is _PDF else text


def _with_spaces(text: str, plain: str) -> str:
    """`text` with the spaces that the library lost as it made paragraphs of the lines of `plain`.

    It does in PDFs that a browser printed: "on all" + "systems" is "on allsystems".
    """
    joined = dict[str, str]()
    for line, following in pairwise(line.split() for line in plain.splitlines() if line.strip()):
        if not line[-1].endswith("-"):
            joined[line[-1] + following[0]] = f"{line[-1]} {following[0]}"
    for word in plain.split():
        joined.pop(word, None)
    return _RUN.sub(lambda run: joined.get(run[0], run[0]), text)


def _converted(data: bytes, kind: _Kind, output: str) -> str:
    from kreuzberg import ContentFilterConfig, ExtractionConfig, extract_bytes_sync

    # A running header may be the only place of an invoice's number: we leave nothing out.
    everything = ContentFilterConfig(
        include_headers=True, include_footers=True, strip_repeating_text=False
    )
    config = ExtractionConfig(use_cache=False, output_format=output, content_filter=everything)
    return extract_bytes_sync(data, kind.media_type, config).content


def _kind(name: str, data: bytes) -> _Kind | None:
    start = data[:_EARLY].lstrip()
    for beginning, kind in _BEGINNINGS.items():
        if start.startswith(beginning):
            return kind
    if data.startswith(_ZIP):
        for mark, kind in _IN_ARCHIVE.items():
            if mark in data:
                return kind
    return _SUFFIXES.get(Path(name).suffix.lower())


def _decode_html(data: bytes) -> str:
    """By its byte order mark; else UTF-8 where it is that; else what the page says."""
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return data.decode("utf-16", "replace")
    # UTF-8 by accident is next to impossible; a page that lies about its encoding is not.
    said = _CHARSET.search(data[:_EARLY])
    for encoding in ("utf-8-sig", said[1].decode() if said else ""):
        try:
            return data.decode(encoding)
        except (UnicodeError, LookupError):
            continue
    return data.decode("windows-1252", "replace")


def _locked(name: str) -> UsageError:
    return UsageError(
        f"{name} is protected by a password",
        hint="Save a copy without one, for instance with qpdf --decrypt for a PDF.",
    )


def _damaged(name: str, kind: _Kind) -> UsageError:
    return UsageError(
        f"{name} is damaged, or not {kind.name}",
        hint="Open it in its own program, and save it anew.",
    )
