"""The reports of a run: progress, verdict, result, log and the page for the hub."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
from support.json_schemas import check_schema
from support.terminals import TerminalStream, make_terminal, shown

from mistral_cli.finetune import report
from mistral_cli.finetune.data import read_data
from mistral_cli.finetune.encode import encode_examples
from mistral_cli.finetune.options import TrainingOptions
from mistral_cli.finetune.plan import TrainingPlan, make_plan
from mistral_cli.finetune.report import History, TrainingProgress
from mistral_cli.finetune.run_dir import RunDirectory
from mistral_cli.finetune.strategy import MemoryStrategy
from mistral_cli.models.gguf import read_gguf

STRATEGY = MemoryStrategy("cpu", True, False, 2, 10**9)


def history(*held_out: float, losses: tuple[float, ...] = (4.0, 2.0)) -> History:
    """The history of a run with these held-out losses and losses of the steps."""
    log: list[dict[str, Any]] = [
        {"step": 0, "epoch": float(epoch), report.HELD_OUT: loss}
        for epoch, loss in enumerate(held_out)
    ]
    log += [
        {"step": step, "epoch": step / 10, "loss": loss, "learning_rate": 1e-3, "grad_norm": 1.0}
        for step, loss in enumerate(losses, 1)
    ]
    return History.from_trainer_log([*log, {"step": 2, "epoch": 1.0, "train_runtime": 7}], 61.23)


@pytest.fixture
def plan(mistral: Path, tmp_path: Path) -> TrainingPlan:
    data = tmp_path / "data.csv"
    data.write_text("prompt,completion\n" + "a,b\n" * 10, encoding="utf-8")
    model, examples = read_gguf(mistral), read_data(data, make_terminal())
    rows = encode_examples(examples, model, 64)
    return make_plan(model, "models/tiny", examples, rows, TrainingOptions())


def test_the_history_keeps_what_the_trainer_logged() -> None:
    run = history(5.0, 3.0)
    assert run.steps[0] == {"step": 1, "epoch": 0.1, "loss": 4.0, "learning_rate": 1e-3}
    assert run.held_out[1] == {"step": 0, "epoch": 1.0, "loss": 3.0}
    assert (run.before, run.after, run.seconds) == (5.0, 3.0, 61.2)
    assert (history().before, history().after) == (None, None)


@pytest.mark.parametrize(
    ("held_out", "verdict"),
    [
        ((5.0, 3.0), "the held-out loss went from 5.00 to 3.00: the model learned"),
        ((5.0, 3.0, 4.0), "and was lowest (3.00) after epoch 1: use fewer epochs"),
        ((5.0, 6.0), "the model did not improve; try more rows or a lower --learning-rate"),
        ((), "the training loss went from 4.00 to 2.00; no rows were held out"),
    ],
)
def test_the_verdict(held_out: tuple[float, ...], verdict: str) -> None:
    assert verdict in history(*held_out).verdict()


def test_progress_in_a_log_is_a_line_every_thirty_seconds() -> None:
    seconds = iter(range(0, 1000, 20))
    terminal = make_terminal()
    progress = TrainingProgress(terminal, 10, clock=lambda: float(next(seconds)))
    progress.begin(0)
    progress.held_out(0, 5.0)
    for step in (1, 2):
        progress.loss(step, 4.0)
        progress.step(step)
    progress.held_out(1, 3.5)
    lines = shown(terminal).splitlines()
    assert lines[0] == "mistral-cli: before training: held-out loss 5.000"
    assert lines[-1] == "mistral-cli: after epoch 1: held-out loss 3.500"
    assert all(line.startswith("mistral-cli: step ") for line in lines[1:-1])
    assert 1 <= len(lines) - 2 <= 2


def test_progress_on_a_terminal_shows_the_time_left() -> None:
    seconds = iter(range(0, 1000, 10))
    stream = TerminalStream()
    progress = TrainingProgress(
        make_terminal(stderr=stream), 100, clock=lambda: float(next(seconds))
    )
    progress.begin(50)
    progress.step(51)
    assert "step 51 of 100, loss nan, 0:08:10 left" in stream.getvalue()


def test_the_result_is_the_adapters_path_or_json(plan: TrainingPlan) -> None:
    directory = RunDirectory(Path("a.gguf"))
    terminal = make_terminal(stdout=(stdout := io.StringIO()))
    report.print_result(terminal, plan, directory, history(5.0, 3.0), as_json=False)
    assert stdout.getvalue() == "a.gguf\n"
    assert "plot a.png, log a.json, PEFT adapter a" in shown(terminal)
    terminal = make_terminal(stdout=(stdout := io.StringIO()))
    report.print_result(terminal, plan, directory, history(5.0, 3.0), as_json=True)
    result = json.loads(stdout.getvalue())
    check_schema("finetune", result)
    assert result == {
        "schema_version": 2,
        "adapter": "a.gguf",
        "peft_adapter": "a",
        "plot": "a.png",
        "log": "a.json",
        "steps": plan.steps,
        "held_out_loss": {"before": 5.0, "after": 3.0},
        "verdict": history(5.0, 3.0).verdict(),
        "seconds": 61.2,
    }


def test_the_log_has_these_keys(plan: TrainingPlan, tmp_path: Path) -> None:
    directory = RunDirectory(tmp_path / "a.gguf")
    report.write_log(history(5.0, 3.0), plan, STRATEGY, directory)
    log = json.loads(directory.log.read_text(encoding="utf-8"))
    assert list(log) == [
        "schema_version",
        "adapter",
        "settings",
        "rows",
        "rows_held_out",
        "device",
        "held_out_loss",
        "verdict",
        "steps",
        "held_out",
        "seconds",
    ]
    assert list(log["settings"]) == [
        "model",
        "model_size",
        "data_sha256",
        "learning_rate",
        "epochs",
        "batch_size",
        "gradient_accumulation",
        "max_length",
        "held_out",
        "seed",
        "target_modules",
        "rank",
        "alpha",
        "base",
        "nf4",
    ]
    assert (log["rows"], log["rows_held_out"], log["device"]) == (9, 1, "cpu")


def test_the_adapter_is_pushed_with_a_page(
    monkeypatch: pytest.MonkeyPatch, plan: TrainingPlan
) -> None:
    uploads: list[Any] = []

    def upload_files(files: Any, repo: str, message: str, reporter: Any) -> str:
        uploads.append((files, repo))
        return f"https://hub/{repo}"

    monkeypatch.setattr(report, "upload_files", upload_files)
    terminal = make_terminal()
    directory = RunDirectory(Path("runs/a.gguf"))
    report.push_to_hub("me/a", directory, plan, history(5.0, 3.0), terminal)
    ((files, repo),) = uploads
    assert repo == "me/a"
    assert list(files) == [
        "a.gguf",
        "a.png",
        "a.json",
        "adapter_config.json",
        "adapter_model.safetensors",
        "README.md",
    ]
    page = files["README.md"].decode()
    assert "9 rows for 3 epochs. The held-out loss went from 5.00 to 3.00" in page
    assert "uploaded to https://hub/me/a" in shown(terminal)
