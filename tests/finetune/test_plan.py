"""The plan of a run, which `finetune --dry-run` prints, and what it refuses."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from support.gguf_parts import GGUFParts
from support.json_schemas import check_schema
from support.program import Run
from support.training import EXAMPLES
from synthetic.models import write_mistral

from mistral_cli.finetune.plan import _problem_with
from mistral_cli.finetune.tensors import unreadable_type
from mistral_cli.models.gguf import Tensor, read_gguf


def dry_run(run: Run, model: Path, *arguments: object) -> dict[str, Any]:
    result = run("finetune", EXAMPLES, "-m", model, "--dry-run", "--json", *arguments)
    assert result.status == 0, result.stderr
    plan: dict[str, Any] = json.loads(result.stdout)
    check_schema("finetune-plan", plan)
    return plan


def test_a_dry_run_counts(run: Run, mistral: Path, tmp_path: Path) -> None:
    plan = dry_run(run, mistral)
    assert (plan["rows"], plan["rows_trained_on"], plan["rows_held_out"]) == (50, 45, 5)
    assert plan["steps"] == 3 * 4
    # Two layers; the query matrix is 64 x 64, the value matrix 64 x 32.
    assert plan["trained_parameters"] == 2 * 16 * (64 + 64 + 64 + 32)
    assert plan["tokens_learned"] < plan["tokens"]
    assert plan["seconds"] is not None
    again = dry_run(run, mistral, "--held-out", "0", "--batch-size", "50", "--epochs", "2")
    assert (again["rows_held_out"], again["steps"]) == (0, 2)
    assert not list(tmp_path.glob("*.gguf"))


def test_a_dry_run_in_json_has_these_keys(run: Run, mistral: Path) -> None:
    assert list(dry_run(run, mistral)) == [
        "schema_version",
        "data",
        "rows",
        "rows_trained_on",
        "rows_held_out",
        "tokens",
        "tokens_learned",
        "longest_row",
        "model",
        "weights",
        "target_modules",
        "trained_parameters",
        "learning_rate",
        "epochs",
        "batch_size",
        "gradient_accumulation",
        "steps",
        "device",
        "memory",
        "seconds",
    ]


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (("--target-modules", "q_proj,head"), "--target-modules names an unknown module 'head'"),
        (("--target-modules", ","), "--target-modules is empty"),
        (("--gradient-accumulation", "5"), "--gradient-accumulation 5 does not divide the 12 rows"),
        (("--nf4",), "--nf4 needs --base"),
        (("-o", "adapter.bin"), "-o adapter.bin does not end in .gguf"),
        (("--max-length", "16"), "50 rows are longer than 16 tokens"),
    ],
)
def test_impossible_options_are_refused(
    run: Run, mistral: Path, arguments: tuple[str, ...], problem: str
) -> None:
    result = run("finetune", EXAMPLES, "-m", mistral, "--dry-run", *arguments)
    assert problem in result.stderr
    assert (result.status, result.stdout) in ((2, ""), (5, ""))


def test_a_model_that_cannot_be_trained_is_refused(run: Run, tmp_path: Path) -> None:
    scaled = write_mistral(tmp_path / "scaled.gguf", metadata={"llama.rope.scaling.type": "linear"})
    result = run("finetune", EXAMPLES, "-m", scaled, "--dry-run")
    assert result.status == 4
    assert "cannot be trained: it uses RoPE scaling" in result.stderr


def test_types_whose_values_cannot_be_read_are_refused(mistral: Path, tmp_path: Path) -> None:
    parts = GGUFParts(mistral)
    parts.change("output.weight", type=99)
    (tmp_path / "m.gguf").write_bytes(parts.build())
    problem = "this program does not know the tensor type 99 of 'output.weight'"
    assert _problem_with(read_gguf(tmp_path / "m.gguf")) == problem
    model = read_gguf(mistral)
    assert unreadable_type(model) is None
    new = Tensor("output.weight", (128, 1), 41, 0, 18)
    problem = "its tensor 'output.weight' has the type Q1_0"
    assert unreadable_type(replace(model, tensors=(new,))) == problem


def test_without_the_extra_the_error_names_the_install_command(run: Run, mistral: Path) -> None:
    import subprocess
    import sys

    code = (
        "import sys, importlib.util as u; find = u.find_spec\n"
        "u.find_spec = lambda name, *a: None if name == 'trl' else find(name, *a)\n"
        "from mistral_cli.cli.app import main; main()"
    )
    process = subprocess.run(
        [sys.executable, "-c", code, "finetune", str(EXAMPLES), "-m", str(mistral)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert process.returncode == 2
    assert "pip install 'mistral-cli[finetune]'" in process.stderr
    assert not Path("midjourney").exists()
