"""Where the text to work on comes from: arguments, files and standard input."""

from __future__ import annotations

import codecs
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from mistral_cli.errors import UsageError
from mistral_cli.texts.stdin import NoInput, is_pipe, read_stdin

if TYPE_CHECKING:
    from mistral_cli.system.reporter import Reporter
    from mistral_cli.system.terminal import Terminal

STDIN = Path("-")
_HOW_TO = "Give it as an argument, with -f FILE, or through a pipe: command | mistral-cli ..."
_WAITS = "-f - waits for stdin however long it takes."
_BINARY_CHECK = 8192  # bytes searched for NUL, as grep and git do
_REPLACEMENT = "\ufffd"

# The order matters: the UTF-32-LE mark begins with the UTF-16-LE mark.
_BYTE_ORDER_MARKS = [
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
]


class StdinTimeouts(NamedTuple):
    """Seconds a silent, inherited stdin may delay us."""

    beside_others: float  # there are arguments or files: stdin may well be meant for nobody
    alone: float  # stdin would be the only text


STDIN_TIMEOUTS = StdinTimeouts(beside_others=1.0, alone=10.0)


@dataclass(frozen=True)
class Text:
    """A text to work on; `source` is "argument", a file's name or "stdin"."""

    text: str
    source: str


@dataclass(frozen=True)
class Inputs:
    """What the user wants done, where it was said apart from the text, and the texts."""

    instruction: str | None
    texts: tuple[Text, ...]


def read_inputs(
    arguments: Sequence[str],
    files: Sequence[Path],
    terminal: Terminal,
    *,
    graces: StdinTimeouts = STDIN_TIMEOUTS,
) -> Inputs:
    """Collect the texts from arguments, `-f` files (`-` is stdin) and piped stdin.

    Beside files or piped text the arguments, joined, are the instruction; alone, each is a
    text. Raises UsageError when there is no text, or some of it is empty, binary or unreadable.
    """
    words = [argument for argument in arguments if argument != "-"]
    if len(words) < len(arguments):
        files = [*files, STDIN]
    from_arguments = [_argument(word, terminal) for word in words]
    # Stdin can be read only once, however often it is named.
    once = [path for i, path in enumerate(files) if path != STDIN or STDIN not in files[:i]]
    texts = [_from_file(path, terminal) for path in once]
    if STDIN not in files and (piped := _piped(bool(words or files), terminal, graces)):
        texts.append(piped)
    if not texts:
        return Inputs(None, tuple(from_arguments))
    return Inputs(" ".join(text.text for text in from_arguments) or None, tuple(texts))


def _argument(word: str, reporter: Reporter) -> Text:
    # Python keeps undecodable bytes of argv as lone surrogates, which nobody can encode again.
    data = word.encode("utf-8", "surrogateescape")
    return not_blank(Text(_decode(data, "utf-8", "argument", reporter), "argument"))


def _from_file(path: Path, terminal: Terminal) -> Text:
    """Read a file, or stdin to its end where the user named it."""
    source = display_name(path)
    return not_blank(text_from_bytes(read_bytes(path, terminal), source, terminal))


def display_name(path: Path) -> str:
    """The path as text ("stdin" for "-"); bytes in it that are no UTF-8 stand escaped."""
    return "stdin" if path == STDIN else os.fsencode(path).decode("utf-8", "backslashreplace")


def read_bytes(path: Path, terminal: Terminal) -> bytes:
    """What a file holds, or stdin to its end where `path` is "-".

    Raises UsageError when it cannot be read.
    """
    source = display_name(path)
    try:
        data = read_stdin(terminal.stdin, None) if path == STDIN else path.read_bytes()
    except FileNotFoundError:
        raise UsageError(f"{source} does not exist", hint="Check the name after -f.") from None
    except IsADirectoryError:
        raise UsageError(
            f"{source} is a directory", hint="Name its files instead: -f FILE, repeated."
        ) from None
    except OSError as error:
        raise _unreadable(source, error) from error
    if isinstance(data, NoInput):
        raise UsageError(f"stdin cannot be read: {data.value}", hint=_HOW_TO)
    return data


def _piped(beside_others: bool, terminal: Terminal, graces: StdinTimeouts) -> Text | None:
    """The text of a pipe or file at stdin, if there is any; None only beside other input."""
    grace = graces.beside_others if beside_others else graces.alone
    try:
        data = NoInput.CLOSED if terminal.stdin_is_terminal else read_stdin(terminal.stdin, grace)
    except ValueError:  # closed inside this process
        data = NoInput.CLOSED
    except OSError as error:
        raise _unreadable("stdin", error) from error
    if data is NoInput.IDLE:
        message = f"stdin was silent for {grace:g} s and {data.value}"
        if not beside_others:
            raise UsageError(message, hint=f"{_HOW_TO} {_WAITS}")
        terminal.warn(f"{message}; going on without it. {_WAITS}")
    if beside_others and (isinstance(data, NoInput) or not data.strip()):
        if not isinstance(data, NoInput) and is_pipe(terminal.stdin):
            terminal.warn("stdin is an empty pipe; going on without it")
        return None
    if isinstance(data, NoInput):
        raise UsageError("there is no text to work on", hint=_HOW_TO)
    return not_blank(text_from_bytes(data, "stdin", terminal))


def _unreadable(source: str, error: OSError) -> UsageError:
    return UsageError(
        f"{source} cannot be read: {error.strerror or error}",
        hint="Check its permissions, or pipe the text in.",
    )


def text_from_bytes(data: bytes, source: str, reporter: Reporter) -> Text:
    """What a file or stdin held, as a text; a document is converted.

    Raises UsageError if it is binary, or a document that cannot be converted.
    """
    from mistral_cli.texts.documents import is_document, read_document

    if is_document(source, data):
        text = read_document(data, source)
    else:
        text = decode(data, source, reporter).replace("\r\n", "\n")
    return Text(text.removesuffix("\n"), source)


def decode(data: bytes, source: str, reporter: Reporter) -> str:
    """Decode by the byte order mark, or as UTF-8. Raises UsageError if it is binary.

    What cannot be decoded is replaced, and a warning says so.
    """
    marks = (encoding for mark, encoding in _BYTE_ORDER_MARKS if data.startswith(mark))
    encoding = next(marks, "utf-8")
    if encoding.startswith("utf-8") and b"\0" in data[:_BINARY_CHECK]:
        raise UsageError(
            f"{source} is not a text file (it has NUL bytes)",
            hint="Convert it to UTF-8 text first, for instance with pdftotext or iconv.",
        )
    return _decode(data, encoding, source, reporter)


def _decode(data: bytes, encoding: str, source: str, reporter: Reporter) -> str:
    text = data.decode(encoding, "replace")
    if _REPLACEMENT in text:
        # The text may hold U+FFFD of its own; those are no fault.
        bad = text.count(_REPLACEMENT) - data.decode(encoding, "ignore").count(_REPLACEMENT)
        if bad:
            places = "1 place" if bad == 1 else f"{bad} places"
            reporter.warn(f"{source} is not valid text in {places}; replaced with {_REPLACEMENT}")
    return text


def not_blank(text: Text) -> Text:
    """The text itself. Raises UsageError where there is nothing but white space."""
    if not text.text.strip():
        raise UsageError(f"{text.source} is empty", hint=_HOW_TO)
    return text
