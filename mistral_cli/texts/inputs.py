"""The input texts of a call: from arguments, files and standard input."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from mistral_cli.errors import UsageError
from mistral_cli.system.encodings import AUTO, decode, decode_argument
from mistral_cli.texts.stdin import NoInput, is_pipe, read_stdin

if TYPE_CHECKING:
    from mistral_cli.system.terminal import Terminal

STDIN = Path("-")
_HOW_TO = "Give it as an argument, with -f FILE, or through a pipe: command | mistral-cli ..."
_WAIT = "With -f - the program waits for stdin as long as it takes."
BYTE_ORDER_MARK = "\ufeff"


class StdinTimeouts(NamedTuple):
    """Seconds for which a silent, inherited stdin may delay the program."""

    with_other_input: float  # besides arguments or files, stdin is probably not an input at all
    alone: float  # stdin would be the only text


STDIN_TIMEOUTS = StdinTimeouts(with_other_input=1.0, alone=10.0)


@dataclass(frozen=True)
class Text:
    """An input text; `source` is "argument", "stdin" or the name of a file.

    `text` has neither a byte order mark nor CRLF nor the last newline, which `had_newline` tells.
    `original` is the file's text where it differs in more than that; else it is empty. `warnings`
    are about how it was decoded.
    """

    text: str
    source: str
    original: str = field(default="", compare=False)
    warnings: tuple[str, ...] = field(default=(), compare=False)
    had_newline: bool = field(default=False, compare=False)

    @property
    def exact(self) -> str:
        """The text as it is in its file, without the byte order mark."""
        if self.original:
            return self.original.removeprefix(BYTE_ORDER_MARK)
        return f"{self.text}\n" if self.had_newline else self.text

    @property
    def document(self) -> str:
        """The text with the byte order mark and the line ends that its file has."""
        return self.original or self.text

    @property
    def ends(self) -> tuple[str, str]:
        """The byte order mark and whitespace before the first word, and that after the last."""
        whole = self.original or f"{self.text}\n"
        words = whole.removeprefix(BYTE_ORDER_MARK).strip()
        start = whole.index(words)
        return whole[:start], whole[start + len(words) :]


@dataclass(frozen=True)
class Inputs:
    """The texts, and the instruction if the user gave one apart from them."""

    instruction: str | None
    texts: tuple[Text, ...]


def read_inputs(
    arguments: Sequence[str],
    files: Sequence[Path],
    terminal: Terminal,
    *,
    encoding: str = AUTO,
    html_is_text: bool = False,
    timeouts: StdinTimeouts = STDIN_TIMEOUTS,
) -> Inputs:
    """Collect the texts from arguments, `-f` files (`-` is stdin) and piped stdin.

    With files or piped text, the joined arguments are the instruction; alone, each argument is a
    text. With `html_is_text` the source of a web page is not converted.

    Raises UsageError if there is no text, or a text is empty, binary, unreadable or not in
    `encoding`.
    """
    words = [argument for argument in arguments if argument != "-"]
    if len(words) < len(arguments):
        files = [*files, STDIN]
    from_arguments = [_argument(word, encoding) for word in words]
    # Stdin can be read only once, however often the user names it.
    paths = [path for i, path in enumerate(files) if path != STDIN or STDIN not in files[:i]]
    texts = [_from_file(path, terminal, encoding, html_is_text=html_is_text) for path in paths]
    if STDIN not in files and (piped := _piped(bool(words or files), terminal, timeouts, encoding)):
        texts.append(piped)
    for warning in (warning for text in (*from_arguments, *texts) for warning in text.warnings):
        terminal.warn(warning)
    if not texts:
        return Inputs(None, tuple(from_arguments))
    return Inputs(" ".join(text.text for text in from_arguments) or None, tuple(texts))


def _argument(word: str, encoding: str) -> Text:
    decoded = decode_argument(word, "argument", encoding)
    return not_blank(Text(decoded.text, "argument", warnings=decoded.warnings))


def _from_file(path: Path, terminal: Terminal, encoding: str, *, html_is_text: bool) -> Text:
    """Read a file, or stdin to its end if the user named it."""
    source = display_name(path)
    data = read_bytes(path, terminal)
    return not_blank(text_from_bytes(data, source, encoding, html_is_text=html_is_text))


def display_name(path: Path) -> str:
    """Return the path as text, "stdin" for "-"; bytes that are not UTF-8 are escaped."""
    return "stdin" if path == STDIN else os.fsencode(path).decode("utf-8", "backslashreplace")


def read_bytes(path: Path, terminal: Terminal) -> bytes:
    """Read a file, or stdin to its end if `path` is "-".

    Raises UsageError if it cannot be read.
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


def _piped(
    has_other_input: bool, terminal: Terminal, timeouts: StdinTimeouts, encoding: str
) -> Text | None:
    """Read a pipe or file at stdin; None if it has no text and there is other input."""
    timeout = timeouts.with_other_input if has_other_input else timeouts.alone
    try:
        data = NoInput.CLOSED if terminal.stdin_is_terminal else read_stdin(terminal.stdin, timeout)
    except ValueError:  # closed inside this process
        data = NoInput.CLOSED
    except OSError as error:
        raise _unreadable("stdin", error) from error
    if data is NoInput.IDLE:
        message = f"stdin was silent for {timeout:g} s and {data.value}"
        if not has_other_input:
            raise UsageError(message, hint=f"{_HOW_TO} {_WAIT}")
        terminal.warn(f"{message}; continuing without it. {_WAIT}")
    if has_other_input and (isinstance(data, NoInput) or not data.strip()):
        if not isinstance(data, NoInput) and is_pipe(terminal.stdin):
            terminal.warn("stdin is an empty pipe; continuing without it")
        return None
    if isinstance(data, NoInput):
        raise UsageError("there is no text to work on", hint=_HOW_TO)
    return not_blank(text_from_bytes(data, "stdin", encoding))


def _unreadable(source: str, error: OSError) -> UsageError:
    return UsageError(
        f"{source} cannot be read: {error.strerror or error}",
        hint="Check its permissions, or pipe the text in.",
    )


def text_from_bytes(data: bytes, source: str, encoding: str, *, html_is_text: bool = False) -> Text:
    """Decode the content of a file or stdin; decompress it, and convert it if it is a document.

    Raises UsageError if it is damaged, binary, a document that cannot be converted, or not in
    `encoding`.
    """
    from mistral_cli.texts.binaries import refuse_binary
    from mistral_cli.texts.compressed import expand
    from mistral_cli.texts.documents import is_document, read_document

    data = expand(data, source)
    if is_document(source, data, html_is_text=html_is_text):
        decoded = read_document(data, source, encoding)
        text, newline = decoded.text.removesuffix("\n"), decoded.text.endswith("\n")
        return Text(text, source, warnings=decoded.warnings, had_newline=newline)
    refuse_binary(data, source)
    decoded = decode(data, source, encoding)
    text = decoded.text.replace("\r\n", "\n").removesuffix("\n")
    original = BYTE_ORDER_MARK * decoded.has_mark + decoded.text
    if original == f"{text}\n":
        return Text(text, source, warnings=decoded.warnings, had_newline=True)
    return Text(text, source, original, decoded.warnings)


def not_blank(text: Text) -> Text:
    """Return `text`. Raises UsageError if it is nothing but whitespace."""
    if not text.text.strip():
        is_file = text.source not in ("argument", "stdin")
        hint = "Write a text into it, or name another file." if is_file else _HOW_TO
        raise UsageError(f"{text.source} is empty", hint=hint)
    return text
