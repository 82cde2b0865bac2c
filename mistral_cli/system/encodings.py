"""Bytes → text: by the byte order mark, as UTF-8, in the encoding that the user names, or guessed.

A guess is always reported, and letters are never replaced in silence.
"""

from __future__ import annotations

import codecs
import sys
import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from mistral_cli.errors import UsageError

if TYPE_CHECKING:
    from mistral_cli.system.encoding_guess import Guess
    from mistral_cli.system.reporter import Reporter

AUTO = "auto"
_REPLACEMENT = "\ufffd"
_SAMPLE = 1 << 20  # bytes that are awaited for the end of a line
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
    blocks = DecodedBlocks([data], source, encoding)
    text = "".join(blocks)
    return Decoded(text, (*blocks.warnings, *blocks.damage), blocks.has_mark)


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


class DecodedBlocks:
    """The text of bytes that come in blocks, decoded block by block; iterate over it once.

    Raises UsageError as `decode` does, also in the middle of a text in the encoding that the user
    named. With AUTO, bytes that are ASCII are text in any encoding that is likely: the encoding is
    guessed from the first block that has others. What follows does not change the guess: bytes
    that are invalid in it are replaced and counted.

    The blocks of a stream that `is_live` are decoded as they arrive, and an encoding is guessed
    from the whole lines that have arrived. Of another stream, one block is read ahead.
    """

    def __init__(
        self,
        blocks: Iterable[bytes],
        source: str,
        encoding: str = AUTO,
        *,
        is_live: bool = False,
    ) -> None:
        self._blocks, self._source, self._encoding = blocks, source, encoding
        self._is_live = is_live
        self._at_start, self._started, self._lines = True, False, 0
        self._decoder: codecs.IncrementalDecoder | None = None
        self.warnings: tuple[str, ...] = ()
        """How the text so far was decoded: a guess, or doubts about the encoding's name."""
        self.has_mark = False
        self.replaced = 0
        """The number of places so far where invalid bytes were replaced."""

    @property
    def damage(self) -> tuple[str, ...]:
        """The warning about the places so far where bytes were replaced, if there are any."""
        if not self.replaced:
            return ()
        places = "1 place" if self.replaced == 1 else f"{self.replaced} places"
        return (f"{self._source} has invalid bytes in {places}; replaced with \ufffd",)

    def __iter__(self) -> Iterator[str]:
        kept = b""
        for data, is_last in self._with_last():
            if kept:
                data, kept = kept + data, b""
            if self._decoder is None and not self._is_plain(data):
                if not is_last and (b"\n" in data or len(data) < _SAMPLE):
                    end = data.rfind(b"\n") + 1  # the last line may end within a character
                    data, kept = data[:end], data[end:]
                if data or is_last:
                    self._decoder = self._choose(data, is_whole=self._at_start and is_last)
                if self._decoder is not None:  # which keeps the beginning of a character itself
                    data, kept = data + kept, b""
            if data:
                self._at_start = False
            text = self._decoded(data, is_last=is_last)
            if text:
                yield text

    def _with_last(self) -> Iterator[tuple[bytes, bool]]:
        """Yield each block, and whether it is the last one."""
        if self._is_live:
            yield from ((block, False) for block in self._blocks)
            yield b"", True
            return
        before, blocks = b"", iter(self._blocks)
        while True:
            try:
                block = next(blocks, None)
            except Exception:
                yield before, False  # what came before the end of a damaged file
                raise
            if block is None:
                yield before, True
                return
            if before:
                yield before, False
            before = block

    def _is_plain(self, data: bytes) -> bool:
        """Whether the bytes are the same text in UTF-8 and in most other encodings."""
        if self._encoding != AUTO or not data.isascii():
            return False
        return len(data.translate(None, _CONTROLS)) == len(data)

    def _choose(self, data: bytes, *, is_whole: bool) -> codecs.IncrementalDecoder | None:
        """Return the decoder for the text that begins with `data`; None for ASCII."""
        source, encoding = self._source, self._encoding
        if self._at_start:
            for mark, marked in _BYTE_ORDER_MARKS.items():
                if data.startswith(mark):
                    if marked == "utf-8":
                        _refuse_binary(data, source)
                    self.has_mark = True
                    return _decoder(marked)
        if encoding != AUTO:
            name, self.warnings = _named(data, source, encoding, is_whole=is_whole)
            return _decoder(name, "strict")
        guess = _detected(data, source, at_start=self._at_start, is_whole=is_whole)
        if guess is not None:
            self.warnings = (
                f"{source} is not UTF-8: read as {guess.name}, {guess.doubt}; name it with "
                "--encoding",
            )
            return _decoder(guess.name)
        return None if data.isascii() and not is_whole else _decoder("utf-8")

    def _decoded(self, data: bytes, *, is_last: bool) -> str:
        decoder = self._decoder
        if decoder is None:
            return data.decode("ascii")
        if decoder.errors == "strict":
            return self._decoded_strictly(decoder, data, is_last=is_last)
        before, first = _replacements.count, self.has_mark and not self._started
        text = decoder.decode(data, is_last)
        self.replaced += _replacements.count - before
        if first:
            # Programs that add a mark to a text that has one leave two.
            text = text.lstrip("\ufeff")
            self._started = bool(text)
        return text

    def _decoded_strictly(
        self, decoder: codecs.IncrementalDecoder, data: bytes, *, is_last: bool
    ) -> str:
        """Decode bytes in the encoding that the user named."""
        source, encoding = self._source, self._encoding
        try:
            text = decoder.decode(data, is_last)
            text.encode()  # UTF-7 and Python's own encodings can give half of a surrogate pair
        except UnicodeDecodeError as error:
            line = self._lines + error.object.count(b"\n", 0, error.start) + 1
            raise UsageError(
                f"{source} is not {encoding}: line {line} has the byte "
                f"0x{error.object[error.start]:02x}, which cannot stand there",
                hint="Name another --encoding, or use --encoding auto.",
            ) from None
        except UnicodeError as error:
            raise UsageError(f"{source} is not {encoding}: {error}", hint=_HOW_TO) from None
        self._lines += data.count(b"\n")
        is_latin = codecs.lookup(encoding).name == "iso8859-1"
        if is_latin and not _CONTROLS_OF_LATIN_1.isdisjoint(text):
            self.warnings = (f"{source} looks like cp1252, and was read so, not as {encoding}",)
            self._decoder = _decoder("cp1252")  # as browsers do
            return self._decoded(data, is_last=is_last)
        return text


class _Replacements(threading.local):
    """The number of times that invalid bytes were replaced in this thread."""

    count = 0

    def replace(self, error: UnicodeError) -> tuple[str, int]:
        assert isinstance(error, UnicodeDecodeError)
        self.count += 1
        return _REPLACEMENT, error.end


_replacements = _Replacements()
_REPLACE = "mistral_cli.replace"
codecs.register_error(_REPLACE, lambda error: _replacements.replace(error))


def _decoder(name: str, errors: str = _REPLACE) -> codecs.IncrementalDecoder:
    return codecs.getincrementaldecoder(name)(errors)


def _named(
    sample: bytes, source: str, encoding: str, *, is_whole: bool
) -> tuple[str, tuple[str, ...]]:
    """Return the codec for the encoding that the user named, and doubts about it."""
    name = codecs.lookup(encoding).name
    if not name.startswith(("utf-16", "utf-32")):
        _refuse_binary(sample, source)
    elif name in ("utf-16", "utf-32"):
        from mistral_cli.system.encoding_guess import guess_wide

        # Without a mark, Python takes the order of this machine.
        guess = guess_wide(sample, is_whole=is_whole)
        name = guess.name if guess else f"{name}-{sys.byteorder[0]}e"
    if name not in ("utf-8", "utf-8-sig") and not sample.isascii() and is_utf8(sample):
        return name, (f"{source} looks like UTF-8, and was read as {encoding}",)
    return name, ()


def _detected(sample: bytes, source: str, *, at_start: bool, is_whole: bool) -> Guess | None:
    """Return the encoding of a text that begins with `sample`; None for UTF-8."""
    valid = is_utf8(sample)
    if valid and len(sample.translate(None, _CONTROLS)) == len(sample):
        return None
    from mistral_cli.system import encoding_guess  # a plain text does not need it

    guess = None
    if at_start and encoding_guess.may_be_wide(sample[:_BINARY_CHECK]):
        guess = encoding_guess.guess_wide(sample, is_whole=is_whole)
        if not guess:
            _refuse_binary(sample, source)
    elif encoding_guess.may_be_seven_bit(sample):
        guess = encoding_guess.guess_bytes(sample)
    if guess is None and (valid or _is_mostly_utf8(sample)):
        return None
    guess = guess or encoding_guess.guess_bytes(sample)
    if guess is None and at_start:
        guess = encoding_guess.guess_wide(sample, is_whole=is_whole)
    if guess is None:
        raise UsageError(
            f"{source} is not text in a known encoding",
            hint="Convert it to UTF-8 text first, or name its encoding with --encoding.",
        )
    return guess


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
