"""Bytes → text: by the byte order mark, as UTF-8, in the encoding that the user names, or guessed.

A guess is always reported, and letters are never replaced in silence.
"""

from __future__ import annotations

import codecs
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from mistral_cli.errors import UsageError

if TYPE_CHECKING:
    from mistral_cli.system.reporter import Reporter

AUTO = "auto"
_REPLACEMENT = "\ufffd"
_BINARY_CHECK = 8192  # bytes in which a NUL means a binary file, as in grep and git
_CONTROLS = bytes({*range(0x20)} - {*b"\t\n\f\r"})  # in UTF-16, and in seven-bit encodings
_CONTROLS_OF_LATIN_1 = frozenset(map(chr, range(0x80, 0xA0)))  # no text has them
_HOW_TO = (
    "Write auto, or a name such as utf-8, cp1252 (Western Windows), latin-1, cp1250, cp1251, "
    "koi8-r, shift_jis, euc-jp, gb18030, big5, cp949, utf-16 or utf-32."
)

# The order matters: the UTF-32-LE mark starts with the UTF-16-LE mark.
_BYTE_ORDER_MARKS = {
    codecs.BOM_UTF8: "utf-8",
    codecs.BOM_UTF32_LE: "utf-32-le",
    codecs.BOM_UTF32_BE: "utf-32-be",
    codecs.BOM_UTF16_LE: "utf-16-le",
    codecs.BOM_UTF16_BE: "utf-16-be",
    b"\x84\x31\x95\x33": "gb18030",
}


@dataclass(frozen=True)
class Decoded:
    """A text, what the user must know about how it was read, and whether it had a mark."""

    text: str
    warnings: tuple[str, ...] = ()
    has_mark: bool = False

    def reported(self, reporter: Reporter) -> str:
        """Report the warnings; return the text."""
        for warning in self.warnings:
            reporter.warn(warning)
        return self.text


def check_encoding(name: str) -> str:
    """Return `name`. Raises UsageError if it is neither AUTO nor an encoding of texts."""
    if name.lower() == AUTO:
        return AUTO
    try:
        b"a   ".decode(name, "replace")  # for no bytes, Python would not look at the name
    except (LookupError, ValueError):  # unknown, bytes to bytes, with a NUL
        raise UsageError(f"there is no encoding {name!r}", hint=_HOW_TO) from None
    return name


def decode(data: bytes, source: str, encoding: str = AUTO) -> Decoded:
    """Decode a text; a byte order mark has priority over `encoding`.

    With AUTO it is UTF-8, or else in the encoding that its bytes resemble most. Raises
    UsageError if it is binary, or not in the encoding that the user named.
    """
    for mark, marked in _BYTE_ORDER_MARKS.items():
        if data.startswith(mark):
            if marked == "utf-8":
                _refuse_binary(data, source)
            decoded = _damaged(data.removeprefix(mark), marked, source)
            # Programs that add a mark to a text that has one leave two.
            return replace(decoded, text=decoded.text.lstrip("\ufeff"), has_mark=True)
    return _detected(data, source) if encoding == AUTO else _named(data, source, encoding)


def decode_supplement(data: bytes, source: str, encoding: str = AUTO) -> Decoded:
    """Decode what stands beside a text (an argument, a schema): UTF-8 if valid, else `encoding`.

    A call may name the encoding of its texts and still have a template in UTF-8.
    """
    # UTF-16 and seven-bit encodings can be valid UTF-8 too.
    is_other = b"\0" in data or (data.isascii() and b"\x1b" in data)
    return decode(data, source, encoding if is_other or not is_utf8(data) else "utf-8")


def decode_argument(word: str, source: str, encoding: str = AUTO) -> Decoded:
    """Decode a text on the command line. Bytes that are not UTF-8 are lone surrogates there."""
    return decode_supplement(word.encode("utf-8", "surrogateescape"), source, encoding)


def read_supplement(path: Path, reporter: Reporter | None, encoding: str = AUTO) -> str:
    """Return the text of a file that stands beside a text, with "\\n" as line ends.

    Raises OSError, UsageError.
    """
    decoded = decode_supplement(path.read_bytes(), str(path), encoding)
    text = decoded.reported(reporter) if reporter else decoded.text
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _named(data: bytes, source: str, encoding: str) -> Decoded:
    name = codecs.lookup(encoding).name
    if not name.startswith(("utf-16", "utf-32")):
        _refuse_binary(data, source)
    elif name in ("utf-16", "utf-32"):
        from mistral_cli.system.encoding_guess import guess_wide

        name = guess.name if (guess := guess_wide(data)) else name
    try:
        text = data.decode(name)
        text.encode()  # UTF-7 and Python's own encodings can give half of a surrogate pair
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise UsageError(
            f"{source} is not {encoding}: line {line} has the byte 0x{data[error.start]:02x}, "
            "which cannot stand there",
            hint="Name another --encoding, or use --encoding auto.",
        ) from None
    except UnicodeError as error:
        raise UsageError(f"{source} is not {encoding}: {error}", hint=_HOW_TO) from None
    if name not in ("utf-8", "utf-8-sig") and not data.isascii() and is_utf8(data):
        return Decoded(text, (f"{source} looks like UTF-8, and was read as {encoding}",))
    if name == "iso8859-1" and not _CONTROLS_OF_LATIN_1.isdisjoint(text):
        text = data.decode("cp1252", "replace")  # as browsers do
        return Decoded(text, (f"{source} looks like cp1252, and was read so, not as {encoding}",))
    return Decoded(text)


def _detected(data: bytes, source: str) -> Decoded:
    valid = is_utf8(data)
    if valid and len(data.translate(None, _CONTROLS)) == len(data):
        return Decoded(data.decode())
    from mistral_cli.system import encoding_guess  # a plain text does not need it

    head = data[:_BINARY_CHECK]
    guess = None
    if encoding_guess.may_be_wide(head):
        guess = encoding_guess.guess_wide(data)
        if not guess:
            _refuse_binary(data, source)
    elif encoding_guess.may_be_seven_bit(data):
        guess = encoding_guess.guess_bytes(data)
    if guess is None and (valid or _is_mostly_utf8(data)):
        return _damaged(data, "utf-8", source)
    guess = guess or encoding_guess.guess_bytes(data) or encoding_guess.guess_wide(data)
    if guess is None:
        raise UsageError(
            f"{source} is not text in a known encoding",
            hint="Convert it to UTF-8 text first, or name its encoding with --encoding.",
        )
    warning = f"{source} is not UTF-8: read as {guess.name}, {guess.doubt}; name it with --encoding"
    decoded = _damaged(data, guess.name, source)
    return replace(decoded, warnings=(warning, *decoded.warnings))


def _damaged(data: bytes, encoding: str, source: str) -> Decoded:
    """Decode with U+FFFD in place of invalid bytes, and a warning if there are any."""
    text = data.decode(encoding, "replace")
    if _REPLACEMENT not in text:
        return Decoded(text)
    # The text may contain U+FFFD itself, which is not an error.
    bad = text.count(_REPLACEMENT) - data.decode(encoding, "ignore").count(_REPLACEMENT)
    if not bad:
        return Decoded(text)
    places = "1 place" if bad == 1 else f"{bad} places"
    return Decoded(text, (f"{source} has invalid bytes in {places}; replaced with \ufffd",))


def _refuse_binary(data: bytes, source: str) -> None:
    if b"\0" in data[:_BINARY_CHECK]:
        raise UsageError(
            f"{source} is not a text file (it has NUL bytes)",
            hint="Convert it to UTF-8 text first, for example with pdftotext or iconv. If it is "
            "UTF-16, use --encoding utf-16.",
        )


def is_utf8(data: bytes) -> bool:
    """Whether the bytes are valid UTF-8; text in another encoding hardly ever is."""
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


def _is_mostly_utf8(data: bytes) -> bool:
    """Whether there are at least as many UTF-8 letters beyond ASCII as there are invalid bytes.

    The letters of other encodings are hardly ever valid UTF-8.
    """
    valid = data.decode("utf-8", "ignore")
    letters = len(valid) - len(valid.encode("ascii", "ignore"))
    invalid = len(data) - len(valid.encode())
    return letters >= invalid
