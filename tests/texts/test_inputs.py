"""Input texts from arguments, files and stdin: which text is which, decoding, errors, pipes."""

from __future__ import annotations

import json
import os
import shlex
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from support.terminals import TerminalStream, make_terminal, shown

from mistral_cli.errors import UsageError
from mistral_cli.texts import stdin as stdin_module
from mistral_cli.texts.inputs import Inputs, StdinTimeouts, Text, read_inputs

SHORT_TIMEOUTS = StdinTimeouts(0.2, 0.3)


def read(arguments: list[str], files: list[Path], stdin: bytes | None = None) -> Inputs:
    return read_inputs(arguments, files, make_terminal(stdin), timeouts=SHORT_TIMEOUTS)


@pytest.fixture
def letter(tmp_path: Path) -> Path:
    path = tmp_path / "letter.txt"
    path.write_bytes(b"Dear all\n")
    return path


# --- instruction and texts ---


def test_arguments_alone_are_texts() -> None:
    for stdin in (None, b"", b" \n"):
        assert read(["one", "two"], [], stdin) == Inputs(
            None, (Text("one", "argument"), Text("two", "argument"))
        )


def test_arguments_with_a_file_are_the_instruction(letter: Path) -> None:
    assert read(["in", "French"], [letter]) == Inputs("in French", (Text("Dear all", str(letter)),))


def test_arguments_with_piped_text_are_the_instruction() -> None:
    assert read(["in", "French"], [], b"piped\n") == Inputs("in French", (Text("piped", "stdin"),))


def test_files_come_in_order_and_piped_text_comes_last(letter: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.write_text("other")
    inputs = read([], [other, letter], b"piped")
    assert inputs.instruction is None
    assert [text.text for text in inputs.texts] == ["other", "Dear all", "piped"]


@pytest.mark.parametrize(
    ("arguments", "files"), [(["-"], []), ([], ["-"]), (["-", "-"], ["-"]), ([], ["-", "-"])]
)
def test_a_dash_is_stdin_and_is_read_once(arguments: list[str], files: list[str]) -> None:
    inputs = read(arguments, [Path(name) for name in files], b"piped")
    assert inputs == Inputs(None, (Text("piped", "stdin"),))


def test_a_dash_keeps_its_place(letter: Path) -> None:
    sources = [text.source for text in read(["do", "-"], [letter], b"piped").texts]
    assert sources == [str(letter), "stdin"]
    sources = [text.source for text in read([], [Path("-"), letter], b"piped").texts]
    assert sources == ["stdin", str(letter)]


def test_a_terminal_is_read_only_if_the_user_names_it(letter: Path) -> None:
    surroundings = make_terminal(TerminalStream("typed"))
    assert read_inputs(["a"], [], surroundings).texts == (Text("a", "argument"),)
    assert read_inputs([], [letter], surroundings).texts == (Text("Dear all", str(letter)),)
    with pytest.raises(UsageError, match="no text"):
        read_inputs([], [], surroundings)
    assert read_inputs(["-"], [], surroundings).texts == (Text("typed", "stdin"),)


def test_a_stream_that_its_owner_closed_has_no_text() -> None:
    surroundings = make_terminal(b"piped")
    assert surroundings.stdin is not None
    surroundings.stdin.close()
    with pytest.raises(UsageError, match="no text"):
        read_inputs([], [], surroundings)


# --- errors ---


@pytest.mark.parametrize("blank", [b"", b"\n", b" \r\n\t", b"\xef\xbb\xbf", b"\xff\xfe \x00"])
def test_empty_input_is_named(blank: bytes, tmp_path: Path) -> None:
    path = tmp_path / "blank.txt"
    path.write_bytes(blank)
    with pytest.raises(UsageError, match=r"blank\.txt is empty"):
        read(["x"], [path])
    for arguments in ([], ["-"], ["instruction", "-"]):
        with pytest.raises(UsageError, match="stdin is empty"):
            read(arguments, [], blank)
    with pytest.raises(UsageError, match="argument is empty"):
        read(["x", blank.decode("ascii", "ignore").strip("\0")], [])


def test_unreadable_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="gone does not exist"):
        read([], [tmp_path / "gone"])
    with pytest.raises(UsageError, match=f"{tmp_path} is a directory"):
        read([], [tmp_path])
    loop = tmp_path / "loop"
    loop.symlink_to(loop)
    with pytest.raises(UsageError, match="loop cannot be read: Too many"):
        read([], [loop])


def test_a_forbidden_file_is_named(letter: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(path: Path) -> bytes:
        raise PermissionError(13, "Permission denied")  # chmod does not stop root

    monkeypatch.setattr(Path, "read_bytes", forbidden)
    with pytest.raises(UsageError, match=r"letter\.txt cannot be read: Permission denied") as error:
        read([], [letter])
    assert "permissions" in error.value.hint


def test_a_closed_stdin_named_by_the_user_is_an_error() -> None:
    with pytest.raises(UsageError, match="stdin cannot be read: it is closed"):
        read(["x", "-"], [])


def test_binary_files_are_named(tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    path.write_bytes(b"GGUF\x03\0\0\0")
    with pytest.raises(UsageError, match=r"model\.gguf is a model \(GGUF\), not text"):
        read([], [path])
    surroundings = make_terminal(b"a\0b\xff")
    with pytest.raises(UsageError, match="stdin is not a text file"):
        read_inputs(["instruction"], [], surroundings)
    assert shown(surroundings) == ""


# --- decoding ---


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"a\r\nb\r\n", "a\nb"),
        (b"a\n\n", "a\n"),
        (b"  a", "  a"),
        (b"a\rb", "a\rb"),
        (b"\xef\xbb\xbfa", "a"),
        ("\ufeffä\n".encode("utf-16-le"), "ä"),
        ("\ufeffä\r\n".encode("utf-16-be"), "ä"),
        ("\ufeffa\0x".encode("utf-16-le"), "a\0x"),
        ("ä".encode("utf-32"), "ä"),
        ("\ufffd kept".encode(), "\ufffd kept"),
        (b"x" * 8192 + b"\0", "x" * 8192 + "\0"),
    ],
)
def test_decoding(data: bytes, text: str) -> None:
    surroundings = make_terminal(data)
    assert read_inputs([], [], surroundings).texts == (Text(text, "stdin"),)
    assert shown(surroundings) == ""


@pytest.mark.parametrize(
    ("data", "text", "places"),
    [
        (
            "grün\xff, müde\xc3".encode("latin-1").replace(b"\xfc", "ü".encode()),
            "grün\ufffd, müde\ufffd",
            "2 places",
        ),
        (b"\xff \xef\xbf\xbd", "\ufffd \ufffd", "1 place"),
        (b"\xff\xfea\0b", "a\ufffd", "1 place"),
    ],
)
def test_invalid_bytes_are_replaced_with_a_warning(data: bytes, text: str, places: str) -> None:
    surroundings = make_terminal(data)
    assert read_inputs([], [], surroundings).texts == (Text(text, "stdin"),)
    [warning] = shown(surroundings).splitlines()
    assert warning.endswith(f"stdin has invalid bytes in {places}; replaced with \ufffd")


def test_an_argument_in_another_encoding_is_guessed_or_named() -> None:
    surroundings = make_terminal()
    argument = b"caf\xe9".decode("utf-8", "surrogateescape")
    assert read_inputs([argument], [], surroundings).texts == (Text("café", "argument"),)
    assert "argument is not UTF-8: read as cp1252, a doubtful guess" in shown(surroundings)
    inputs = read_inputs([argument, "Grüße"], [], surroundings, encoding="koi8-r")
    assert [text.text for text in inputs.texts] == ["cafИ", "Grüße"]


@given(st.binary(max_size=40))
@example(b"\xff\xfe\x00\xd8")
@example(b"\xed\xa0\x80")
def test_any_bytes_become_printable_text_or_a_usage_error(data: bytes) -> None:
    try:
        [text] = read([], [], data).texts
    except UsageError:
        return
    text.text.encode()


@given(st.text(st.characters(codec="utf-8", exclude_characters="\0\r\ufeff"), min_size=1))
def test_valid_text_arrives_unchanged(text: str) -> None:
    surroundings = make_terminal(f"x{text}\n".encode())
    assert read_inputs([], [], surroundings).texts[0].text == f"x{text}"
    assert shown(surroundings) == ""


# --- a real standard input ---

DRIVER = """
import json, sys
from dataclasses import asdict
from mistral_cli.errors import UsageError
from mistral_cli.texts.inputs import StdinTimeouts, read_inputs
from mistral_cli.system.terminal import Terminal
try:
    short = StdinTimeouts(0.2, 0.3)
    inputs = read_inputs(sys.argv[1:], [], Terminal.from_process(), timeouts=short)
    print(json.dumps(asdict(inputs)))
except UsageError as error:
    print(json.dumps({"error": error.message, "hint": error.hint}))
"""
COMMAND = [sys.executable, "-c", DRIVER]
ROOT = Path(__file__).parents[2]


def start(*arguments: str, command: list[str] = COMMAND, **options: Any) -> subprocess.Popen[str]:
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(
        [*command, *arguments], cwd=ROOT, start_new_session=True, **(pipes | options)
    )


def answer(process: subprocess.Popen[str]) -> tuple[dict[str, Any], str]:
    """Return what the driver printed and its warnings; fail if it hangs."""
    try:
        shown, warnings = process.communicate(timeout=10)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        raise
    return json.loads(shown), warnings


def shell(script: str) -> tuple[dict[str, Any], str]:
    """Run a shell script in which $CLI is the driver."""
    script = script.replace("$CLI", shlex.join(COMMAND))
    return answer(start(script, command=["bash", "-c"], stdin=subprocess.DEVNULL))


def texts(result: dict[str, Any]) -> list[str]:
    return [text["text"] for text in result["texts"]]


@pytest.fixture
def idle_pipe() -> Iterator[tuple[int, int]]:
    reader, writer = os.pipe()
    yield reader, writer
    os.close(reader)
    os.close(writer)


on_linux = pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="needs /proc")


def test_a_slow_pipeline_is_waited_for() -> None:
    slow = "{ sleep 1; echo slow; sleep 0.5; echo text; }"
    result, warnings = shell(f"{slow} | $CLI 'in French'")
    assert (result["instruction"], texts(result), warnings) == ("in French", ["slow\ntext"], "")
    result, _ = shell(f"{slow} | $CLI")
    assert texts(result) == ["slow\ntext"]


def test_a_slow_process_substitution_and_fifo_are_waited_for(tmp_path: Path) -> None:
    result, _ = shell("$CLI 'in French' < <(sleep 1; echo text)")
    assert texts(result) == ["text"]
    fifo = shlex.quote(str(tmp_path / "fifo"))
    result, _ = shell(f"mkfifo {fifo}; {{ sleep 1; echo text; }} > {fifo} & $CLI do < {fifo}")
    assert texts(result) == ["text"]


@on_linux
def test_an_inherited_idle_pipe_is_ignored_besides_an_argument(
    idle_pipe: tuple[int, int],
) -> None:
    result, warnings = answer(start("hello", stdin=idle_pipe[0]))
    assert (result["instruction"], texts(result)) == (None, ["hello"])
    assert warnings.count("\n") == 1
    assert "continuing without it" in warnings
    assert "-f -" in warnings


@on_linux
def test_an_inherited_idle_pipe_alone_is_an_error(idle_pipe: tuple[int, int]) -> None:
    result, _ = answer(start(stdin=idle_pipe[0]))
    assert "stdin was silent for 0.3 s" in result["error"]
    assert "-f -" in result["hint"]


@on_linux
def test_the_write_end_of_this_process_does_not_count(idle_pipe: tuple[int, int]) -> None:
    result, _ = answer(start("hello", stdin=idle_pipe[0], pass_fds=[idle_pipe[1]]))
    assert texts(result) == ["hello"]


@on_linux
def test_another_reader_does_not_count(idle_pipe: tuple[int, int]) -> None:
    reader = start("20", command=["sleep"], stdin=idle_pipe[0])
    try:
        result, _ = answer(start("hello", stdin=idle_pipe[0]))
    finally:
        reader.kill()
        reader.communicate()
    assert texts(result) == ["hello"]


@on_linux
def test_a_writer_that_ends_silently_is_noticed(idle_pipe: tuple[int, int]) -> None:
    # The pipe gets no end of file, since this process holds the write end too.
    process = start("hello", stdin=idle_pipe[0])
    writer = start("0.8", command=["sleep"], stdout=idle_pipe[1], stderr=None)
    assert texts(answer(process)[0]) == ["hello"]
    assert writer.wait() == 0


def test_a_dash_waits_on_an_idle_pipe(idle_pipe: tuple[int, int]) -> None:
    process = start("do", "-", stdin=os.dup(idle_pipe[0]))
    time.sleep(1)
    assert process.poll() is None
    os.write(idle_pipe[1], b"late")
    reader, writer = os.pipe()
    os.dup2(writer, idle_pipe[1])  # closes the one write end; the fixture closes this one
    os.close(reader)
    os.close(writer)
    assert texts(answer(process)[0]) == ["late"]


def test_a_pipe_made_non_blocking_is_read_to_its_end() -> None:
    reader, writer = os.pipe()
    os.set_blocking(reader, False)
    process = start(stdin=reader)
    os.close(reader)
    for piece in (b"a", b"b"):
        os.write(writer, piece)
        time.sleep(0.5)
    os.close(writer)
    assert texts(answer(process)[0]) == ["ab"]


def test_a_large_text_is_read_completely() -> None:
    result, _ = shell("seq 100000 | $CLI")
    assert texts(result)[0].split("\n") == [str(number) for number in range(1, 100001)]


def test_a_socket(letter: Path) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        result, _ = answer(start("hello", stdin=theirs))
        assert texts(result) == ["hello"]
        ours.sendall(b"text")
        ours.shutdown(socket.SHUT_WR)
        result, warnings = answer(start("hello", stdin=theirs))
        assert (result["instruction"], texts(result), warnings) == ("hello", ["text"], "")


@pytest.mark.parametrize("redirection", ["<&-", "</dev/null", "0>/dev/null"])
def test_no_stdin(redirection: str) -> None:
    result, warnings = shell(f"$CLI hello {redirection}")
    assert (texts(result), warnings) == (["hello"], "")
    result, _ = shell(f"$CLI {redirection}")
    assert result["error"] in ("there is no text to work on", "stdin is empty")
    assert "-f FILE" in result["hint"]


def test_a_regular_file_and_a_here_document() -> None:
    with tempfile.TemporaryFile() as file:
        file.write(b"text")
        file.seek(0)
        assert texts(answer(start("hello", stdin=file))[0]) == ["text"]
    assert texts(shell("$CLI hello <<< text")[0]) == ["text"]


def test_without_proc_the_program_waits(
    idle_pipe: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert not stdin_module._becomes_ready(idle_pipe[0], 0.01)
    monkeypatch.setattr(Path, "is_dir", lambda self: False)
    assert stdin_module._becomes_ready(idle_pipe[0], 0.01)


def test_an_empty_file_and_an_empty_stdin_have_steps_of_their_own(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.touch()
    with pytest.raises(UsageError, match=r"a\.txt is empty") as caught:
        read([], [path])
    assert "Write a text into it" in caught.value.hint
    with pytest.raises(UsageError, match="stdin is empty") as caught:
        read_inputs([], [], make_terminal(b" \n"))
    assert "through a pipe" in caught.value.hint
