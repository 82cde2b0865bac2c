"""Run the console examples of the README and the documentation on the small model.

Every ```console block is run, in the order of the page, in one shell whose folder has the files
of docs/examples. A command must succeed, unless the next one is `echo $?`; where output stands
below it, that is what it must print (stdout and stderr together; `…` stands for anything). A
comment before a block changes that:

    <!-- example: the output varies -->         run it, but do not compare what it prints
    <!-- example: not run, REASON -->           only check that the program has these options

With UPDATE_EXAMPLES=1 the shown output is replaced by what was printed, unless it has a `…`:

    UPDATE_EXAMPLES=1 scripts/test tests/docs/test_examples.py; git diff
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any

import pytest
import typer
from markdown_it import MarkdownIt

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]

_DIRECTIVE = re.compile(r"<!-- example: (not run, .+|the output varies) -->\s*")
_DONE = "\x1e"  # between what two commands print
_END = f"status=$?; echo '{_DONE}'$status; (exit $status)"
_SECONDS = 280


@dataclass
class Example:
    """One command of a page, and what the page shows below it."""

    page: Path
    line: int
    command: str
    output: str = ""
    runs: bool = True
    compared: bool = True
    fails: bool = False

    @property
    def place(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def examples(page: Path) -> Iterator[Example]:
    directive = ""
    for token in MarkdownIt("commonmark").parse(page.read_text("utf-8")):
        if token.type == "fence" and token.info == "console":
            assert token.map
            first = token.map[0] + 2
            block = list(_commands(page, first, token.content.splitlines(keepends=True)))
            for example, following in zip_longest(block, block[1:]):
                example.fails = bool(following) and following.command.strip() == "echo $?"
                example.runs = not directive.startswith("not run")
                example.compared = not directive and bool(example.output)
                yield example
        if token.type == "html_block":
            found = _DIRECTIVE.fullmatch(token.content)
            assert found or "example:" not in token.content, f"{page}: {token.content}"
            directive = found[1] if found else ""
        elif token.type in ("fence", "inline"):
            directive = ""


def _commands(page: Path, first: int, lines: list[str]) -> Iterator[Example]:
    found: Example | None = None
    for number, line in enumerate(lines, first):
        if line.startswith("$ "):
            if found:
                yield found
            found = Example(page, number, line[2:])
        elif found and not found.output and found.command.endswith("\\\n"):
            found.command += line
        elif found:
            found.output += line
        else:
            pytest.fail(f"{page}:{number}: a console block must begin with a command")
    if found:
        yield found


EXAMPLES = {page: found for page in PAGES if (found := list(examples(page)))}


def _name(page: Path) -> str:
    return str(page.relative_to(ROOT))


@pytest.fixture
def shell_env(smollm2: Path) -> Iterator[dict[str, str]]:
    """A user of its own, who has the small model; short paths, since sockets lie in them."""
    with tempfile.TemporaryDirectory(prefix="docs-") as name:
        home = Path(name)
        models = home / ".cache" / "mistral-cli" / "models"
        models.mkdir(parents=True)
        (models / smollm2.name).symlink_to(smollm2)
        (home / "run").mkdir(mode=0o700)
        shutil.copytree(ROOT / "docs" / "examples", home / "work")
        kept = {key: os.environ[key] for key in ("LANG", "LC_ALL", "TERM") if key in os.environ}
        env = {
            **kept,
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "HOME": str(home),
            "XDG_RUNTIME_DIR": str(home / "run"),
            "CUDA_VISIBLE_DEVICES": "-1",
            "HF_HUB_OFFLINE": "1",
            "PIP_NO_INDEX": "1",  # a block that installs something must be marked as not run
        }
        yield env
        stop = [sys.executable, "-m", "mistral_cli", "serve", "stop", "-q"]
        subprocess.run(stop, env=env, check=False)


@pytest.mark.parametrize(
    "page", [page for page in EXAMPLES if any(e.runs for e in EXAMPLES[page])], ids=_name
)
def test_the_examples_do_what_the_page_shows(page: Path, shell_env: dict[str, str]) -> None:
    found = [example for example in EXAMPLES[page] if example.runs]
    script = Path(shell_env["HOME"]) / "script"
    script.write_text("".join(f"{e.command}\n{_END}\n" for e in found), "utf-8")
    done = subprocess.run(
        ["bash", script],
        cwd=Path(shell_env["HOME"]) / "work",
        env=shell_env,
        stdin=subprocess.DEVNULL,
        preexec_fn=_on_one_core,  # one thread: two of an engine spin where the machine is busy
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=_SECONDS,
        check=False,
    )
    parts = re.split(f"{_DONE}(\\d+)\n", done.stdout)
    outputs, statuses = parts[0::2], [int(status) for status in parts[1::2]]
    assert len(statuses) == len(found), done.stdout
    problems = list(_failures(found, statuses, outputs))
    if os.environ.get("UPDATE_EXAMPLES") and not problems:
        found, outputs = _update(page, found, outputs)
    problems += _differences(found, outputs)
    assert not problems, "\n".join(problems)


def _on_one_core() -> None:
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})


def _update(
    page: Path, found: list[Example], outputs: list[str]
) -> tuple[list[Example], list[str]]:
    """Write the outputs into the page; return the examples that it left as they are."""
    left: list[tuple[Example, str]] = []
    lines = page.read_text("utf-8").splitlines(keepends=True)
    for example, output in reversed(list(zip(found, outputs, strict=False))):
        if example.compared and not _matches(example.output, output):
            first = example.line - 1 + example.command.count("\n")
            last = first + example.output.count("\n")
            if "…" in example.output:
                left.append((example, output))
            else:
                lines[first:last] = [output.rstrip("\n") + "\n"]
    page.write_text("".join(lines), "utf-8")
    return [example for example, _ in left], [output for _, output in left]


def _failures(found: list[Example], statuses: list[int], outputs: list[str]) -> Iterator[str]:
    for example, status, output in zip(found, statuses, outputs, strict=False):
        if status and not example.fails:
            yield f"{example.place}: exit code {status}: {example.command}{output}"


def _differences(found: list[Example], outputs: list[str]) -> Iterator[str]:
    for example, output in zip(found, outputs, strict=False):
        if example.compared and not _matches(example.output, output):
            shown = f"shown:\n{example.output}printed:\n{output}"
            yield f"{example.place}: {example.command}{shown}"


def _matches(shown: str, printed: str) -> bool:
    pattern = re.escape(shown.strip("\n")).replace("…", "(?s:.*)")
    return re.fullmatch(pattern, printed.strip("\n")) is not None


@pytest.mark.parametrize("page", EXAMPLES, ids=_name)
def test_the_program_has_the_options_that_the_page_shows(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(ROOT / "docs" / "examples", tmp_path / "docs" / "examples")
    monkeypatch.chdir(tmp_path)
    problems = [
        f"{example.place}: {error}"
        for example in EXAMPLES[page]
        if not example.fails
        for arguments in _calls(example.command)
        for error in _usage_errors(arguments)
    ]
    assert not problems, "\n".join(problems)


def _calls(command: str) -> Iterator[list[str]]:
    """The arguments of each call of the program in a shell command, as far as they are literal."""
    lexer = shlex.shlex(command.replace("\\\n", " "), posix=True, punctuation_chars="();<>|&")
    lexer.whitespace_split = True
    lexer.commenters = "#"
    arguments: list[str] | None = None
    for token in [*lexer, ";"]:
        if re.fullmatch(r"[();<>|&]+", token):
            if arguments is not None:
                yield arguments
            arguments = None
        elif arguments is not None:
            arguments.append(token)
        elif token == "mistral-cli":
            arguments = []


def _usage_errors(arguments: list[str]) -> Iterator[str]:
    from mistral_cli.cli.app import app

    command: Any = typer.main.get_command(app)
    context: Any = None
    try:
        while True:
            context = command.make_context(command.name, list(arguments), parent=context)
            rest = [*getattr(context, "_protected_args", ()), *context.args]
            if not rest or not hasattr(command, "resolve_command"):
                return
            _, command, arguments = command.resolve_command(context, rest)
    except Exception as error:  # Typer brings a click of its own, whose classes are private
        if hasattr(error, "format_message"):
            yield f"mistral-cli {shlex.join(arguments)}: {error.format_message()}"
        elif not hasattr(error, "exit_code"):  # --help and --version end the call
            raise
