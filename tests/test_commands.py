"""`models`, `prompts`, and the promises about the shape of the program."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import Result

import mistral_cli.commands
from mistral_cli.commands import COMMANDS

Run = Callable[..., Result]
ROOT = Path(__file__).parent.parent


def test_every_command_file_is_registered() -> None:
    folder = Path(mistral_cli.commands.__file__).parent
    assert sorted(COMMANDS) == sorted(p.stem for p in folder.glob("*.py") if p.stem != "__init__")


def test_models_list(run: Run, smollm2: Path) -> None:
    rows = {
        row["name"]: row for row in json.loads(run("models", "list", "--json").stdout)["models"]
    }
    assert rows["mistral"]["source"].endswith("mistral-7b-instruct-v0.1.Q4_K_M.gguf")
    assert rows["smollm2"]["path"] == str(smollm2)
    assert rows["smollm2"]["size"] == 98362432
    plain = run("models", "list").stdout
    assert "smollm2\t98.4 MB\t" in plain


def test_models_path_and_pull(run: Run, smollm2: Path, tmp_path: Path) -> None:
    assert run("models", "path", "smollm2").stdout == f"{smollm2}\n"
    assert run("models", "pull", "smollm2", "-q").stdout == f"{smollm2}\n"
    missing = run("models", "path", "mistral", HF_HOME=str(tmp_path))
    assert (missing.status, missing.stdout) == (3, "")
    assert "models pull mistral" in missing.stderr


def test_models_show(run: Run, smollm2: Path) -> None:
    facts = json.loads(run("models", "show", "smollm2", "--json").stdout)
    assert facts["architecture"] == "llama"
    assert facts["parameters"] == 134_515_008
    assert facts["quantization"] == "Q4_1"
    assert (facts["context_length"], facts["layers"], facts["vocabulary"]) == (8192, 30, 49152)
    assert facts["chat_format"] == "chat-template"
    assert facts["size"] == 98362432
    assert facts["engines"]["llama.cpp"] == "yes"
    assert "output.weight" in facts["engines"]["ctransformers"]
    assert "134,515,008" in run("models", "show", "smollm2").stdout


def test_models_show_of_a_model_for_both_engines(run: Run, mistral: Path) -> None:
    facts = json.loads(run("models", "show", mistral, "--json").stdout)
    assert facts["engines"] == {"llama.cpp": "yes", "ctransformers": "yes"}
    assert facts["chat_format"] == "mistral-v1"


def test_prompts(run: Run, tmp_path: Path) -> None:
    names = [row["name"] for row in json.loads(run("prompts", "list", "--json").stdout)["prompts"]]
    assert names == ["generate", "json-extract", "summarize", "translate"]
    source = (ROOT / "prompts" / "summarize.txt").read_text(encoding="utf-8")
    assert run("prompts", "show", "summarize").stdout == source
    assert run("prompts", "path", "summarize").stdout == f"{ROOT / 'prompts' / 'summarize.txt'}\n"
    own = Path(run("prompts", "path").stdout.strip())
    own.mkdir(parents=True)
    (own / "summarize.txt").write_text("Mine: {{ text }}", encoding="utf-8")
    assert run("prompts", "show", "summarize").stdout == "Mine: {{ text }}"


def test_a_template_of_ones_own_runs(run: Run, mistral: Path, tmp_path: Path) -> None:
    template = tmp_path / "mail.txt"
    template.write_text(
        '+++\n[params]\ntone = "kind"\n[schema]\ntype = "object"\n+++\n'
        "A {{ tone }} mail: {{ text }}",
        encoding="utf-8",
    )
    arguments = ("generate", "$x {{ y }}", "-m", mistral, "--template", template, "-p", "tone=dry")
    plan = json.loads(run(*arguments, "--dry-run", "--json").stdout)
    assert plan["prompt"] == "<s> [INST] A dry mail: $x {{ y }} [/INST]"
    assert plan["schema"] == {"type": "object"}


def test_the_wheel_carries_the_prompts(tmp_path: Path) -> None:
    build = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--quiet", "-w", str(tmp_path)]
    subprocess.run([*build, str(ROOT)], check=True, timeout=200, stdin=subprocess.DEVNULL)
    (wheel,) = tmp_path.glob("*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    expected = {f"mistral_cli/prompts/{path.name}" for path in (ROOT / "prompts").glob("*.txt")}
    assert expected <= names
    assert "mistral_cli/py.typed" in names
    assert not any(name.startswith("tests") for name in names)


@pytest.mark.parametrize("page", ["README.md", "CHANGELOG.md", "docs/commands.md"])
def test_the_documents_are_there(page: str) -> None:
    assert (ROOT / page).read_text(encoding="utf-8").startswith("# ")


def test_the_readme_documents_every_exit_code() -> None:
    from mistral_cli.errors import ExitCode

    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert all(f"| {code.value} | {code.meaning} |" in readme for code in ExitCode)
