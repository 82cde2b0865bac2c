"""How the program starts: what it imports, and that lists need no more than lists."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

_HEAVY = {
    *("xllamacpp", "ctransformers", "huggingface_hub", "numpy", "llguidance"),
    *("jsonschema", "tomlkit", "markdown_it", "sentencex", "semantic_text_splitter"),
}
_PROGRAM = """
import json, os, sys
from mistral_cli.cli.app import main
def tell(status):
    print(json.dumps(sorted(sys.modules)), file=sys.stderr, flush=True)
    end(status)
end, os._exit = os._exit, tell
sys.argv[0] = "mistral-cli"
main()
"""
_TO_LIST_COMMANDS = {
    *("cli", "commands", "commands.tasks", "errors", "help_pages", "lazy", "quick_values"),
    "terminal",
}


def _start(*arguments: str | Path, **env: str) -> tuple[str, set[str]]:
    """What a fresh process prints, and the modules that it has then."""
    process = subprocess.run(
        [sys.executable, "-c", _PROGRAM, *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
        env={**os.environ, **env},
    )
    return process.stdout, set(json.loads(process.stderr.splitlines()[-1]))


def _complete(words: str) -> tuple[list[str], set[str]]:
    at = str(len(words.split()) - 1)
    said, modules = _start(_MISTRAL_CLI_COMPLETE="complete_bash", COMP_WORDS=words, COMP_CWORD=at)
    return said.split(), modules


def _ours(modules: set[str]) -> set[str]:
    prefix = "mistral_cli."
    return {name.removeprefix(prefix) for name in modules if name.startswith(prefix)}


@pytest.mark.parametrize("arguments", [["--help"], ["--version"]])
def test_to_list_the_commands_none_of_them_is_imported(arguments: list[str]) -> None:
    said, modules = _start(*arguments)
    assert "mistral-cli" in said
    assert _ours(modules) == _TO_LIST_COMMANDS
    assert not modules & {*_HEAVY, "jinja2", "rich.console", "pydantic"}


@pytest.mark.parametrize(
    "arguments",
    [
        ["generate", "--help"],
        ["batch", "summarize", "--help"],
        ["models", "--help"],
        ["models", "pull", "--help"],
        ["prompts", "list"],
        ["prompts", "path"],
    ],
)
def test_what_needs_no_model_imports_nothing_for_one(arguments: list[str]) -> None:
    said, modules = _start(*arguments)
    assert said
    assert not modules & _HEAVY
    assert not {name for name in _ours(modules) if name.startswith(("engines", "models", "gguf"))}


def test_a_plain_answer_imports_nothing_for_other_work(mistral: Path) -> None:
    """Each would cost milliseconds of every call."""
    env = {"MISTRAL_CLI_ENGINE": "fake", "MISTRAL_CLI_MODEL": str(mistral)}
    said, modules = _start("generate", "-n", "8", "--temperature", "0", "Hello", **env)
    assert said.strip()
    assert not modules & {*_HEAVY, "pydantic", "multiprocessing", "rich.console", "click"}
    others = {
        *("answering.extract", "answering.summary", "answering.translation", "inputs.documents"),
        *("engines.process", "engines.rehearsal", "long.structure", "models.checksums"),
        *("models.store", "models.transfer", "serving.host", "structured.shape", "gguf.vocabulary"),
    }
    assert not _ours(modules) & others


def test_a_batch_imports_no_checks_that_its_options_need_not(mistral: Path, tmp_path: Path) -> None:
    env = {"MISTRAL_CLI_ENGINE": "fake", "MISTRAL_CLI_MODEL": str(mistral)}
    (tmp_path / "rows.txt").write_text("one\ntwo\n")
    arguments = ["--raw", "-n", "8", "--input-format", "lines", tmp_path / "rows.txt"]
    _, modules = _start("batch", "generate", "-o", tmp_path / "out.jsonl", *arguments, **env)
    assert len((tmp_path / "out.jsonl").read_text().splitlines()) == 2
    assert not modules & {*_HEAVY, "pydantic"}
    assert "batch.estimate" not in _ours(modules)


def test_completion_knows_the_commands_without_importing_them() -> None:
    found, modules = _complete("mistral-cli su")
    assert found == ["summarize"]
    assert _ours(modules) == _TO_LIST_COMMANDS
    assert _complete("mistral-cli models v")[0] == ["verify"]


def test_completion_knows_the_options_of_a_command() -> None:
    found, modules = _complete("mistral-cli batch generate --te")
    assert set(found) == {"--temperature", "--template", "--text-field"}
    assert not modules & _HEAVY
