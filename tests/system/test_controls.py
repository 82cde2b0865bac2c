"""Control characters in texts for a terminal, and messages to the person at stderr."""

from __future__ import annotations

import ast
import io
import json
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.terminals import TerminalStream, make_terminal, shown

import mistral_cli
from mistral_cli.system.controls import (
    LONGEST_LINE,
    as_cell,
    json_escaped,
    on_one_line,
    visible,
    without_controls,
)
from mistral_cli.system.stdout import write, write_envelope, write_json, write_paths

HOSTILE = "a\x1b]0;t\x07\x9b2Jb\r\x00\x7f\u202egpj.exe\u2066x\u2069"
TEXTS = st.text(st.characters() | st.sampled_from(HOSTILE + "\n\t\u2028\u200f\udcff\ud800"))


def _controls(text: str) -> set[str]:
    """Return the characters of a text that a terminal would obey, by Unicode's own tables."""
    bidi = {"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"}
    return {
        each
        for each in text
        if (unicodedata.category(each) == "Cc" and each not in "\n\t")
        or unicodedata.bidirectional(each) in bidi
    }


def test_an_answer_loses_its_controls_and_a_message_shows_them() -> None:
    assert without_controls(HOSTILE + "\n\t\u200f") == "a]0;t2Jbgpj.exex\n\t\u200f"
    assert visible("a\x1b\x9b\r\n\t\u202e\u200f\udcff") == "a\\x1b\\x9b\\r\n\t\\u202e\\u200f\\xff"
    assert on_one_line("a\nmistral-cli: error: forged") == r"a\nmistral-cli: error: forged"
    assert as_cell("a\tb\nc\u2028\udcff") == "a\\tb\\nc\\u2028\udcff"


@given(TEXTS)
def test_no_control_is_left(text: str) -> None:
    assert not _controls(without_controls(text))
    assert not _controls(visible(text))
    visible(text).encode()
    line = on_one_line(text)
    assert not _controls(line) | ({*line} & {*"\n\t\u2028\u2029\x85"})
    assert len(line) <= LONGEST_LINE
    as_json = json_escaped(json.dumps(text, ensure_ascii=False), for_terminal=True)
    assert not _controls(as_json)
    assert json.loads(as_json) == text


def test_a_long_line_is_shortened_in_the_middle() -> None:
    line = on_one_line("begin " + "\x1b" * 10**6 + " end")
    assert line.startswith("begin ")
    assert line.endswith(" end")
    assert len(line) == LONGEST_LINE


@pytest.mark.parametrize("stderr", [io.StringIO, TerminalStream])
def test_every_message_is_one_line_without_controls(stderr: type[io.StringIO]) -> None:
    terminal = make_terminal(stderr=stderr(), verbose=True)
    forged = f"{HOSTILE}\nmistral-cli: error: forged"
    for report in (terminal.note, terminal.warn, terminal.info, terminal.error_detail):
        report(forged)
    terminal.error(forged, forged, f"{forged}\n{HOSTILE}\n{'x' * 1000}")
    terminal.ask(f"Remove {forged}?")
    assert "\nmistral-cli: error: forged" not in shown(terminal)
    assert not _controls(shown(terminal))
    assert max(map(len, shown(terminal).splitlines())) < LONGEST_LINE + 20
    assert terminal.warnings == [forged]  # data, for JSON


def test_a_status_line_has_only_our_own_controls() -> None:
    terminal = make_terminal(stderr=TerminalStream())
    terminal.status(f"loading {HOSTILE}\n\n")
    assert shown(terminal).startswith("\r\x1b[Kloading a")
    assert not _controls(shown(terminal).removeprefix("\r\x1b[K"))


def test_details_of_any_length_are_shown_but_for_their_middle() -> None:
    terminal = make_terminal()
    terminal.error("e", "h", "".join(f"line {number}\n" for number in range(1000)))
    lines = shown(terminal).splitlines()
    assert len(lines) == 103
    assert [lines[2], lines[52], lines[-1]] == [
        "  line 0",
        "  … (900 lines left out)",
        "  line 999",
    ]


def test_a_long_line_of_details_continues_between_words() -> None:
    terminal = make_terminal()
    words = " ".join(["committees"] * 60)
    terminal.error("e", "h", f"{words}\n{'x' * 500}")
    lines = [line.removeprefix("  ") for line in shown(terminal).splitlines()[2:]]
    assert "".join(lines) == words + "x" * 500
    assert len(lines) == 7
    assert {word for line in lines[:4] for word in line.split()} == {"committees"}


def test_stdout_is_cleaned_on_a_terminal_only() -> None:
    screen, pipe = TerminalStream(), io.StringIO()
    for stream in (screen, pipe):
        terminal = make_terminal(stdout=stream)
        write(terminal, HOSTILE + "\n")
        write_paths(terminal, [HOSTILE])
        write_json(terminal, {HOSTILE: HOSTILE})
        write_envelope(terminal, {"text": HOSTILE})
    assert not _controls(screen.getvalue())
    text, path, value, envelope = pipe.getvalue().split("\n")[:4]
    assert text == path == HOSTILE
    assert json.loads(value) == {HOSTILE: HOSTILE}
    assert "\u202e" in envelope


# The one place


WRITERS = {"system/reporter.py", "system/stdout.py", "system/streams.py"}
"""The modules that write to stdout and stderr."""

EXCEPTIONS = {
    ("cli/app.py", "typer.echo"): "the version",
    ("cli/app.py", "sys.stdout"): "flushed before the process ends",
    ("cli/app.py", "sys.stderr"): "flushed before the process ends",
    ("engines/hardware/probe.py", "print"): "to a pipe, in a process of its own",
    ("engines/isolated/native_calls.py", "sys.stderr"): "flushed before descriptor 2 is replaced",
    ("engines/llama_cpp/build.py", "sys.stderr"): "a compiler's own output",
    ("engines/trial_load.py", "print"): "in a process of its own, whose output is captured",
    ("engines/trial_load.py", "sys.stderr"): "in a process of its own, whose output is captured",
    ("models/chat/jinja_process.py", "sys.stdout"): "the pipe to the process that started this one",
    ("serving/server.py", ".stderr.flush"): "flushed before the process ends",
    ("system/tables.py", "Console"): "captured, over cells without controls",
    ("system/tables.py", "print"): "captured, over cells without controls",
    ("system/tables.py", "write_styled"): "captured, over cells without controls",
    ("system/terminal.py", "sys.stdout"): "handed to the terminal",
    ("system/terminal.py", "sys.stderr"): "handed to the terminal",
}
"""What else may touch them, and why no text of others passes there."""

FUNCTIONS = {"print", "input", "Console", "Progress", "tqdm", "write_styled", "secho"}
FUNCTIONS |= {"print_exc", "print_exception", "print_stack", "StreamHandler", "basicConfig"}


def _writes(tree: ast.AST) -> set[str]:
    """Return the ways in which a module's code could write to stdout or stderr."""
    found = set()
    for node in ast.walk(tree):
        match node:
            case ast.Call(func=ast.Name(id=name) | ast.Attribute(attr=name)) if name in FUNCTIONS:
                found.add(name)
            case ast.Attribute(value=ast.Name(id="typer" | "click"), attr="echo"):
                found.add("typer.echo")
            case ast.Attribute(
                value=ast.Name(id="sys"),
                attr="stdout" | "stderr" | "__stdout__" | "__stderr__" as name,
            ):
                found.add(f"sys.{name}")
            case ast.Attribute(
                value=ast.Attribute(value=owner, attr="stdout" | "stderr" as stream),
                attr="write" | "writelines" | "flush" | "buffer" as method,
            ) if not (isinstance(owner, ast.Name) and owner.id == "sys"):
                found.add(f".{stream}.{method}")
            case ast.Call(
                func=ast.Attribute(value=ast.Name(id="os"), attr="write"),
                args=[ast.Constant(value=1 | 2), *_],
            ):
                found.add("os.write")
    return found


def test_no_other_module_writes_to_stdout_or_stderr() -> None:
    package = Path(mistral_cli.__file__).parent
    found = {
        (path.relative_to(package).as_posix(), way)
        for path in package.rglob("*.py")
        if path.relative_to(package).as_posix() not in WRITERS
        for way in _writes(ast.parse(path.read_text(encoding="utf-8")))
    }
    assert found == set(EXCEPTIONS)


def test_the_search_finds_every_way() -> None:
    code = "print(1); sys.stderr.write(x); terminal.stderr.write(x); typer.echo(x); os.write(2, x)"
    assert _writes(ast.parse(f"{code}; traceback.print_exc()")) == {
        *("print", "sys.stderr", ".stderr.write", "typer.echo", "os.write", "print_exc"),
    }
