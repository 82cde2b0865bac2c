"""The writers, on streams in memory."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.terminals import TerminalStream, make_terminal

from mistral_cli.generation.answer import Result
from mistral_cli.generation.writers import DataWriter, ExactWriter, TextWriter, choose_writer
from mistral_cli.structured.spec import Extraction
from mistral_cli.system.stdout import write_envelope, write_paths
from mistral_cli.system.wrap import Wrapper

RESULT = Result(*[Any] * 3)  # type: ignore[arg-type]


def printed(deltas: list[str], *, exact: bool = False, width: int = 0) -> str:
    stdout = io.StringIO()
    wrapper = Wrapper(width) if width else None
    writer = TextWriter(make_terminal(stdout=stdout), wrapper, keep_leading_space=exact)
    for delta in deltas:
        writer.delta(delta)
    writer.finish(RESULT)
    return stdout.getvalue()


@given(st.lists(st.text()))
def test_plain_text_is_stripped_and_ends_in_one_newline(deltas: list[str]) -> None:
    assert printed(deltas) == "".join(deltas).strip() + "\n"


@given(st.lists(st.text()))
def test_raw_text_keeps_its_leading_space(deltas: list[str]) -> None:
    assert printed(deltas, exact=True) == "".join(deltas).rstrip() + "\n"


@given(st.lists(st.text()))
def test_exact_text_is_printed_as_it_is(deltas: list[str]) -> None:
    stdout = io.StringIO()
    writer = ExactWriter(make_terminal(stdout=stdout))
    for delta in deltas:
        writer.delta(delta)
    writer.finish(RESULT)
    assert stdout.getvalue() == "".join(deltas)


def test_exact_text_ends_its_line_on_a_terminal() -> None:
    screen = TerminalStream()
    writer = ExactWriter(make_terminal(stdout=screen))
    writer.delta("  one\x1b[31m")
    writer.finish(RESULT)
    assert screen.getvalue() == "  one[31m\n"


def test_text_is_printed_as_it_streams() -> None:
    stdout = io.StringIO()
    writer = TextWriter(make_terminal(stdout=stdout), None, keep_leading_space=False)
    seen = []
    for delta in [" Hello", " wor", "ld", ".\n"]:
        writer.delta(delta)
        seen.append(stdout.getvalue())
    assert seen == ["Hello", "Hello wor", "Hello world", "Hello world."]


def test_the_status_line_does_not_overwrite_an_unfinished_line() -> None:
    screen = TerminalStream()
    shared = make_terminal(stdout=screen, stderr=screen)
    writer = TextWriter(shared, Wrapper(40), keep_leading_space=False)
    shared.status("1 of 2 chunks …")
    writer.delta("- one item\n- two it")
    shared.status("2 of 2 chunks …")
    writer.delta("ems\n")
    writer.finish(RESULT)
    shared.status("the end")
    assert screen.getvalue().rpartition("1 of 2 chunks …")[2] == (
        "\r\x1b[K- one item\n- two items\n\r\x1b[Kthe end"
    )


def test_what_goes_to_stdout_begins_on_a_line_without_the_status() -> None:
    screen = TerminalStream()
    shared = make_terminal(stdout=screen, stderr=screen)
    writer = DataWriter(shared)
    writer.delta('{"a"')
    writer.finish(replace(RESULT, extraction=Extraction({"a": 1})))
    shared.status("second …")
    write_envelope(shared, {})
    shared.status("third …")
    write_paths(shared, ["a.gguf"])
    for status in ("1 tokens …", "second …", "third …"):
        assert screen.getvalue().partition(status)[2].startswith("\r\x1b[K")


def test_several_answers_each_end_in_a_newline() -> None:
    stdout = io.StringIO()
    writer = TextWriter(make_terminal(stdout=stdout), None, keep_leading_space=False)
    for text in ("one\n\n", " two"):
        writer.delta(text)
        writer.finish(RESULT)
    assert stdout.getvalue() == "one\ntwo\n"


def test_on_a_terminal_a_blank_line_separates_answers() -> None:
    stdout = TerminalStream()
    writer = TextWriter(make_terminal(stdout=stdout), Wrapper(20), keep_leading_space=False)
    for text in ("one\ntwo", "three"):
        writer.delta(text)
        writer.finish(RESULT)
    assert stdout.getvalue() == "one\ntwo\n\nthree\n"


def test_a_wrapped_line_ends_at_the_width() -> None:
    text = printed(["The quick brown fox ", "jumps over the lazy dog."], width=12)
    assert text == "The quick\nbrown fox\njumps over\nthe lazy\ndog.\n"


def test_an_interrupted_answer_leaves_the_cursor_on_a_new_line() -> None:
    stdout = io.StringIO()
    writer = TextWriter(make_terminal(stdout=stdout), None, keep_leading_space=False)
    writer.abort()
    assert stdout.getvalue() == ""
    writer.delta("half a")
    writer.abort()
    assert stdout.getvalue() == "half a\n"


def test_control_characters_are_not_printed_on_a_terminal() -> None:
    text = "a\x1b]0;t\x07\x9bb"
    screen, pipe = TerminalStream(), io.StringIO()
    for stdout in (screen, pipe):
        writer = TextWriter(make_terminal(stdout=stdout), None, keep_leading_space=False)
        writer.delta(text)
        writer.finish(RESULT)
    assert (screen.getvalue(), pipe.getvalue()) == ("a]0;tb\n", f"{text}\n")
    screen = TerminalStream()
    DataWriter(make_terminal(stdout=screen)).finish(replace(RESULT, extraction=Extraction(text)))
    assert screen.getvalue() == '"a\\u001b]0;t\\u0007\\u009bb"\n'


@pytest.mark.parametrize(
    ("stdout", "width", "wrapped"),
    [
        (TerminalStream(), None, True),
        (TerminalStream(), 0, False),
        (TerminalStream(), 40, True),
        (io.StringIO(), 40, False),
    ],
)
def test_only_a_terminal_is_wrapped(stdout: io.StringIO, width: int | None, wrapped: bool) -> None:
    writer = choose_writer(
        make_terminal(stdout=stdout),
        as_json=False,
        structured=False,
        as_items=False,
        width=width,
        raw=False,
        exact=False,
    )
    writer.delta("word " * 60)
    writer.finish(RESULT)
    assert (stdout.getvalue().count("\n") > 1) == wrapped
    assert "\x1b" not in stdout.getvalue()


@pytest.mark.parametrize("stdout", [TerminalStream(), io.StringIO()])
def test_data_is_indented_on_a_terminal_only(stdout: io.StringIO) -> None:
    writer = DataWriter(make_terminal(stdout=stdout))
    writer.delta('{"a":')
    assert stdout.getvalue() == ""
    writer.finish(replace(RESULT, extraction=Extraction({"a": ["ü"]})))
    assert json.loads(stdout.getvalue()) == {"a": ["ü"]}
    assert (stdout.getvalue().count("\n") > 1) == stdout.isatty()


def test_the_status_is_shown_on_a_terminal_only_and_erased() -> None:
    screen, log = TerminalStream(), io.StringIO()
    shown = make_terminal(stderr=screen)
    shown.status("loading")
    shown.warn("careful")
    assert screen.getvalue() == ("\r\x1b[Kloading\r\x1b[Kmistral-cli: warning: careful\n")
    silent = make_terminal(stderr=log)
    silent.status("loading")
    silent.clear_status()
    assert log.getvalue() == ""


def test_a_lone_surrogate_does_not_crash_the_program() -> None:
    code = (
        "from mistral_cli.system.terminal import Terminal\n"
        "from mistral_cli.system.stdout import write, write_json\n"
        "terminal = Terminal.from_process()\n"
        "write(terminal, 'a\\ud83d\\udcff\\n'); write_json(terminal, {'b': '\\ud83d'})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    assert done.stdout == b'a?\xff\n{"b": "\\ud83d"}\n'
