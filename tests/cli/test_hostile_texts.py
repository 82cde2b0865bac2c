"""Texts of others with control characters, in every kind of output, on a real terminal."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest
from support.fake_engine import Script
from support.program import Run
from support.terminals import on_a_terminal
from synthetic.models import write_mistral

HOSTILE = "\x1b]0;t\x07\x1b[8m\x9b2J\rgpj\u202eexe\u2066"
FORGED = f"x{HOSTILE}\nmistral-cli: error: forged"

# Ours: an erased status line, and the bold titles of a table.
_OWN = re.compile(r"\r\x1b\[K|\x1b\[[013]?m")
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model whose file name, properties and chat template contain control characters."""
    template = "{{ raise_exception(" + json.dumps(FORGED) + ") }}"
    return write_mistral(
        tmp_path_factory.mktemp("models") / f"{FORGED}.gguf".replace("/", ""),
        metadata={
            "general.name": FORGED,
            "general.license": FORGED,
            "general.description": FORGED,
            "tokenizer.chat_template": template,
        },
    )


@pytest.fixture
def surroundings(
    script: Script, mistral: Path, hostile: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Path:
    """A current folder with hostile files, and the fake engine, which echoes the prompt."""
    script(pieces=[f"an answer {FORGED}"])
    monkeypatch.setenv("MISTRAL_CLI_MODEL", str(mistral))
    monkeypatch.setenv("MISTRAL_CLI_ENGINE", "fake")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "text.txt").write_text(f"a text {FORGED}", encoding="utf-8")
    (tmp_path / f"{FORGED}.txt").write_text("word " * 900, encoding="utf-8")
    (tmp_path / "rows.jsonl").write_text(
        json.dumps({"id": FORGED, "text": "a", FORGED: 1})
        + "\n"
        + json.dumps({"id": FORGED + "2", "text": "word " * 900})
        + "\n",
        encoding="utf-8",
    )
    (tmp_path / "template.txt").write_text(
        f"+++\n[params]\n{json.dumps(FORGED)} = 'x'\n+++\n{{{{ text }}}}{HOSTILE}", encoding="utf-8"
    )
    prompts = tmp_path / "config" / "mistral-cli" / "prompts"
    prompts.mkdir(parents=True)
    (prompts / f"{FORGED}.txt").write_text(
        f"+++\ndescription = {json.dumps(FORGED)}\n+++\n{{{{ text }}}}", encoding="utf-8"
    )
    shutil.copy(hostile, tmp_path / "m.gguf")
    return tmp_path


CALLS = [
    ["generate", "hi"],
    ["generate", "hi", "--width", "0"],
    ["generate", "hi", "--json"],
    ["generate", "-f", "text.txt", "--dry-run"],
    ["generate", "-f", "text.txt", "--dry-run", "--json"],
    ["generate", "-f", f"{FORGED}.txt"],
    ["generate", "hi", "-f", FORGED],
    ["generate", "hi", "-m", "m.gguf"],
    ["generate", "hi", "-v", "-m", "m.gguf"],
    ["generate", "hi", "-m", f"{FORGED}.gguf"],
    ["generate", "hi", "-m", FORGED],
    ["generate", "hi", "--template", "template.txt"],
    ["generate", "hi", "--template", "template.txt", "-p", f"{HOSTILE}=1"],
    ["generate", "hi", "--template", FORGED],
    ["generate", "hi", "--engine", FORGED],
    ["generate", "hi", "--overflow", FORGED],
    ["generate", "hi", "-n", FORGED],
    ["generate", f"--{FORGED}"],
    [FORGED],
    ["doctor", FORGED],
    ["models", "show", "m.gguf"],
    ["models", "show", "m.gguf", "--json"],
    ["models", "show", f"{FORGED}.gguf"],
    ["models", "pull", f"owner/{HOSTILE}/f.gguf"],
    ["models", "path", "m.gguf"],
    ["models", "alias", FORGED, "m.gguf"],
    ["prompts", "list"],
    ["prompts", "show", "template.txt"],
    ["doctor", "-m", "m.gguf"],
    ["json-extract", "hi", "--fields", f"{FORGED} int"],
    ["json-extract", "hi", "--schema", json.dumps({"type": FORGED})],
    ["json-extract", "hi", "--schema", json.dumps({"const": FORGED}), "--dry-run", "--json"],
    ["batch", "generate", "rows.jsonl"],
    ["batch", "generate", "rows.jsonl", "-o", "results.jsonl"],
    ["batch", "generate", f"{FORGED}.txt", "text.txt"],
    ["batch", "generate", "rows.jsonl", "--text-field", FORGED],
    ["batch", "generate", "rows.jsonl", "--prompt", "{nothing}"],
    ["finetune", "train", "rows.jsonl"],
]


@pytest.mark.usefixtures("surroundings")
@pytest.mark.parametrize("arguments", CALLS, ids=" ".join)
def test_no_control_character_of_others_reaches_a_terminal(arguments: list[str]) -> None:
    received = on_a_terminal(*arguments)
    assert received
    assert not set(_CONTROL.findall(_OWN.sub("", received)))
    whole_text = "an answer" in received or "--dry-run" in arguments or arguments[0] == "prompts"
    if not whole_text:  # which may have lines of its own
        assert not re.search(r"^mistral-cli: error: forged", received, re.MULTILINE)


@pytest.mark.usefixtures("surroundings")
def test_a_log_gets_clean_lines_and_a_pipe_the_exact_answer(run: Run, hostile: Path) -> None:
    assert run("generate", "hi").stdout == f"an answer {FORGED}\n"
    failed = run("generate", "hi", "-m", hostile)
    assert (failed.status, failed.stdout) == (4, "")
    assert r"x\x1b]0;t\x07\x1b[8m\x9b2J\rgpj\u202eexe\u2066\nmistral-cli" in failed.stderr
    assert not _CONTROL.search(failed.stderr)
    assert all(len(line) < 420 for line in failed.stderr.splitlines())


def test_an_error_with_a_long_text_is_short(run: Run, mistral: Path) -> None:
    for arguments in (["generate", "-f", "n" * 3000], ["x" * 9000], ["generate", "-m", "m" * 9000]):
        failed = run(*arguments, MISTRAL_CLI_MODEL=str(mistral))
        assert failed.status in (2, 3)
        assert all(len(line) < 420 for line in failed.stderr.splitlines())
