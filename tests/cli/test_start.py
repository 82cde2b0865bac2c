"""How the program starts: which modules each kind of call imports."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

_HEAVY = {
    *("xllamacpp", "ctransformers", "huggingface_hub", "numpy", "llguidance"),
    *("jsonschema", "tomlkit", "markdown_it", "sentencex", "semantic_text_splitter"),
}
_PROGRAM = """
import json, os, sys
from mistral_cli.cli.app import main
def print_modules(status):
    print(json.dumps(sorted(sys.modules)), file=sys.stderr, flush=True)
    end(status)
end, os._exit = os._exit, print_modules
sys.argv[0] = "mistral-cli"
main()
"""
_TO_LIST_COMMANDS = {
    *("cli", "cli.app", "cli.commands", "cli.framework", "errors"),
    *("system", "system.controls", "system.files", "system.reporter", "system.signals"),
    *("system.streams", "system.terminal", "tasks"),
}
_OF_OPTIONS_AND_TEMPLATES = {
    *(
        "engines",
        "engines.gpu_layers",
        "engines.options",
        "engines.sampling",
        "models",
        "models.chat",
    ),
}


def _start(*arguments: str | Path, **env: str) -> tuple[str, set[str]]:
    """Return what a new process prints, and the modules it has imported."""
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
    printed, modules = _start(
        _MISTRAL_CLI_COMPLETE="complete_bash", COMP_WORDS=words, COMP_CWORD=at
    )
    return printed.split(), modules


def _ours(modules: set[str]) -> set[str]:
    prefix = "mistral_cli."
    return {name.removeprefix(prefix) for name in modules if name.startswith(prefix)}


@pytest.mark.parametrize("arguments", [["--help"], ["--version"]])
def test_listing_the_commands_imports_none_of_them(arguments: list[str]) -> None:
    printed, modules = _start(*arguments)
    assert "mistral-cli" in printed
    assert _ours(modules) <= _TO_LIST_COMMANDS
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
def test_commands_without_a_model_import_no_model_code(arguments: list[str]) -> None:
    printed, modules = _start(*arguments)
    assert printed
    assert not modules & _HEAVY
    ours = _ours(modules) - _OF_OPTIONS_AND_TEMPLATES
    assert not {name for name in ours if name.startswith(("engines", "models"))}


def test_a_plain_answer_imports_nothing_it_does_not_need(mistral: Path) -> None:
    """Each of these modules would add milliseconds to every call."""
    env = {"MISTRAL_CLI_ENGINE": "fake", "MISTRAL_CLI_MODEL": str(mistral)}
    printed, modules = _start("generate", "-n", "8", "--temperature", "0", "Hello", **env)
    assert printed.strip()
    assert not modules & {*_HEAVY, "pydantic", "multiprocessing", "rich.console", "click"}
    assert not modules & {"http.client", "email.message", "ssl"}  # llama.cpp's socket needs less
    others = {
        *(
            "generation.json_answers.retry",
            "texts.documents",
            "texts.structure",
            "engines.trial_load",
        ),
        *("engines.isolated.session", "models.checksums", "models.store", "models.hub.transfer"),
        *("models.families", "models.gguf.vocabulary", "serving.server", "structured.spec"),
    }
    assert all(find_spec(f"mistral_cli.{name}") for name in others)
    assert not _ours(modules) & others


def test_a_raw_prompt_imports_no_jinja(mistral: Path) -> None:
    env = {"MISTRAL_CLI_ENGINE": "fake", "MISTRAL_CLI_MODEL": str(mistral)}
    printed, modules = _start("generate", "--raw", "-n", "8", "Hello", **env)
    assert printed.strip()
    assert "jinja2" not in modules


def test_a_batch_does_not_import_what_its_options_do_not_use(mistral: Path, tmp_path: Path) -> None:
    env = {"MISTRAL_CLI_ENGINE": "fake", "MISTRAL_CLI_MODEL": str(mistral)}
    (tmp_path / "rows.txt").write_text("one\ntwo\n")
    arguments = ["--raw", "-n", "8", "--input-format", "lines", tmp_path / "rows.txt"]
    _, modules = _start("batch", "generate", "-o", tmp_path / "out.jsonl", *arguments, **env)
    assert len((tmp_path / "out.jsonl").read_text().splitlines()) == 2
    assert not modules & {*_HEAVY, "pydantic"}
    assert "batch.estimate" not in _ours(modules)


def test_completion_lists_the_commands_without_importing_them() -> None:
    found, modules = _complete("mistral-cli su")
    assert found == ["summarize"]
    assert _ours(modules) <= _TO_LIST_COMMANDS
    assert _complete("mistral-cli models v")[0] == ["verify"]


def test_completion_lists_the_options_of_a_command() -> None:
    found, modules = _complete("mistral-cli batch generate --te")
    assert set(found) == {"--temperature", "--template", "--text-field"}
    assert not modules & _HEAVY


def test_the_process_of_an_engine_imports_no_typer() -> None:
    """What it unpickles comes from `selection`, which must not import the options."""
    modules = "mistral_cli.engines.isolated.child", "mistral_cli.engines.selection"
    code = f"import {', '.join(modules)}, sys; sys.exit('typer' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
