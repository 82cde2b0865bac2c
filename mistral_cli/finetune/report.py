"""Everything a run reports: progress, its plan and result, the log, the plot and the hub's page."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mistral_cli.finetune.strategy import estimate_seconds
from mistral_cli.models.disk import format_size
from mistral_cli.models.hub.api import upload_files
from mistral_cli.system.files import write_atomically
from mistral_cli.system.stdout import SCHEMA_VERSION, write_envelope, write_paths
from mistral_cli.system.tables import print_facts

if TYPE_CHECKING:
    from mistral_cli.finetune.plan import TrainingPlan
    from mistral_cli.finetune.run_dir import RunDirectory
    from mistral_cli.finetune.strategy import MemoryStrategy
    from mistral_cli.system.reporter import Reporter
    from mistral_cli.system.terminal import Terminal

HELD_OUT = "held_out_loss"
"""The key of a held-out loss in the trainer's own log."""

_LINE_SECONDS = 30.0
_PEFT_FILES = ("adapter_config.json", "adapter_model.safetensors")


class TrainingProgress:
    """Shows step, loss and remaining time: a status line on a terminal, plain lines in a log.

    `steps` is the number of steps of the whole run.
    """

    def __init__(
        self, reporter: Reporter, steps: int, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._reporter, self._steps, self._clock = reporter, steps, clock
        self._loss = float("nan")
        self._first: tuple[int, float] | None = None
        self._last_line = clock()

    def begin(self, step: int) -> None:
        """Training begins after `step`."""
        self._first = (step, self._clock())

    def step(self, step: int) -> None:
        """`step` is done."""
        self._reporter.status(self._line(step))

    def loss(self, step: int, loss: float) -> None:
        """The loss of `step` is known."""
        self._loss = loss
        self._reporter.status(self._line(step))
        on_a_terminal = self._reporter.stderr_is_terminal
        if not on_a_terminal and self._clock() - self._last_line >= _LINE_SECONDS:
            self._last_line = self._clock()
            self._reporter.note(self._line(step))

    def held_out(self, epoch: float, loss: float) -> None:
        """The held-out loss after `epoch` is known; 0 is before training."""
        when = f"after epoch {epoch:.0f}" if epoch else "before training"
        self._reporter.note(f"{when}: held-out loss {loss:.3f}")

    def status(self, text: str) -> None:
        """Show `text` until the next status."""
        self._reporter.status(text)

    def note(self, text: str) -> None:
        """Print `text` as a line that stays."""
        self._reporter.note(text)

    def _line(self, step: int) -> str:
        line = f"step {step} of {self._steps}, loss {self._loss:.3f}"
        if self._first and step > self._first[0]:
            done, elapsed = step - self._first[0], self._clock() - self._first[1]
            left = int(elapsed / done * (self._steps - step))
            line += f", {left // 3600}:{left // 60 % 60:02}:{left % 60:02} left"
        return line


@dataclass
class History:
    """The losses of a run: mean negative log-likelihood of a completion token, in nats.

    `steps` has one for each step; `held_out` has one before training and one for each epoch, of
    the held-out rows.
    """

    steps: list[dict[str, float]] = field(default_factory=list)
    held_out: list[dict[str, float]] = field(default_factory=list)
    seconds: float = 0.0

    @classmethod
    def from_trainer_log(cls, entries: Iterable[Mapping[str, Any]], seconds: float) -> History:
        """The history in a trainer's log; `seconds` is the duration of the last run."""
        history = cls(seconds=round(seconds, 1))
        for entry in entries:
            point = {"step": entry["step"], "epoch": round(entry["epoch"], 3)}
            if HELD_OUT in entry:
                history.held_out.append(point | {"loss": entry[HELD_OUT]})
            elif "loss" in entry:
                more = {"loss": entry["loss"], "learning_rate": entry["learning_rate"]}
                history.steps.append(point | more)
        return history

    @property
    def before(self) -> float | None:
        """The held-out loss without the adapter."""
        return self.held_out[0]["loss"] if self.held_out else None

    @property
    def after(self) -> float | None:
        """The held-out loss at the end."""
        return self.held_out[-1]["loss"] if self.held_out else None

    def verdict(self) -> str:
        """A sentence on whether the model learned, for a person."""
        last = self.steps[-1]["loss"] if self.steps else float("nan")
        if self.before is None or self.after is None:
            first = self.steps[0]["loss"] if self.steps else float("nan")
            return (
                f"the training loss went from {first:.2f} to {last:.2f}; no rows were held out, so "
                "it is unknown whether the model learned more than these rows"
            )
        change = f"the held-out loss went from {self.before:.2f} to {self.after:.2f}"
        best = min(self.held_out, key=lambda point: point["loss"])
        if best is self.held_out[0]:
            return f"{change}: the model did not improve; try more rows or a lower --learning-rate"
        if self.after > best["loss"] * 1.02:
            return (
                f"{change}, and was lowest ({best['loss']:.2f}) after epoch {best['epoch']:.0f}: "
                "use fewer epochs"
            )
        return f"{change}: the model learned"


def print_plan(
    terminal: Terminal, plan: TrainingPlan, strategy: MemoryStrategy, *, as_json: bool
) -> None:
    """Print rows, tokens, steps, memory and time before training."""
    seconds = estimate_seconds(plan, strategy)
    facts: dict[str, Any] = {
        "data": plan.data.name,
        "rows": plan.data.rows,
        "rows_trained_on": len(plan.rows),
        "rows_held_out": len(plan.held_out),
        "tokens": plan.tokens,
        "tokens_learned": sum(len(row.completion) for row in plan.rows),
        "longest_row": plan.longest,
        "model": plan.model_name,
        "weights": "packed" if strategy.packed else "unpacked",
        "target_modules": ",".join(plan.modules),
        "trained_parameters": plan.trained_parameters,
        "learning_rate": plan.learning_rate,
        "epochs": plan.options.epochs,
        "batch_size": plan.batch_size,
        "gradient_accumulation": strategy.accumulation_steps,
        "steps": plan.steps,
        "device": strategy.device,
        "memory": strategy.memory,
        "seconds": None if seconds is None else round(seconds),
    }
    show = {"memory": format_size, "seconds": _duration}
    print_facts(terminal, facts, as_json=as_json, show=show)


def _duration(seconds: float | None) -> str:
    if seconds is None:
        return "unknown on a GPU"
    minutes = round(seconds / 60)
    if seconds < 90:
        return f"about {seconds:.0f} seconds"
    return f"about {minutes} minutes" if minutes < 90 else f"about {seconds / 3600:.1f} hours"


def print_result(
    terminal: Terminal,
    plan: TrainingPlan,
    directory: RunDirectory,
    history: History,
    *,
    as_json: bool,
) -> None:
    """Print the adapter's path, and on stderr the verdict and the other paths."""
    terminal.note(history.verdict())
    terminal.note(f"plot {directory.plot}, log {directory.log}, PEFT adapter {directory.folder}")
    if not as_json:
        write_paths(terminal, [directory.adapter])
        return
    write_envelope(
        terminal,
        {
            "adapter": str(directory.adapter),
            "peft_adapter": str(directory.folder),
            "plot": str(directory.plot),
            "log": str(directory.log),
            "steps": plan.steps,
            "held_out_loss": {"before": history.before, "after": history.after},
            "verdict": history.verdict(),
            "seconds": history.seconds,
        },
    )


def write_log(
    history: History, plan: TrainingPlan, strategy: MemoryStrategy, directory: RunDirectory
) -> None:
    """Write the log of the run as JSON. Raises OSError."""
    content = {
        "schema_version": SCHEMA_VERSION,
        "adapter": str(directory.adapter),
        "settings": plan.settings,
        "rows": len(plan.rows),
        "rows_held_out": len(plan.held_out),
        "device": strategy.device,
        "held_out_loss": {"before": history.before, "after": history.after},
        "verdict": history.verdict(),
        "steps": history.steps,
        "held_out": history.held_out,
        "seconds": history.seconds,
    }
    text = json.dumps(content, indent=2, ensure_ascii=False)
    write_atomically(directory.log, f"{text}\n".encode())


def write_plot(history: History, plan: TrainingPlan, path: Path) -> None:
    """Draw both loss curves into the PNG at `path`. Raises OSError."""
    import io

    from matplotlib.figure import Figure

    title = f"{Path(plan.data.name).name} on {Path(plan.model_name).name}"
    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.add_subplot()
    for name, points, style in (
        ("training", history.steps, "-"),
        ("held out", history.held_out, "o-"),
    ):
        if points:
            axes.plot([p["step"] for p in points], [p["loss"] for p in points], style, label=name)
    axes.set(xlabel="step", ylabel="loss (nats per token)", title=title)
    axes.set_ylim(bottom=0)
    axes.grid(alpha=0.3)
    axes.legend()
    image = io.BytesIO()
    figure.savefig(image, format="png", dpi=120)
    write_atomically(path, image.getvalue())


def push_to_hub(
    repo: str, directory: RunDirectory, plan: TrainingPlan, history: History, reporter: Reporter
) -> None:
    """Upload the adapter in both forms, its plot, its log and a page to `repo`.

    Raises ModelNotAvailable if the hub refuses them; the local files stay.
    """
    peft_files = (directory.folder / name for name in _PEFT_FILES)
    paths = [directory.adapter, directory.plot, directory.log, *peft_files]
    files: dict[str, Path | bytes] = {path.name: path for path in paths}
    files["README.md"] = _hub_page(directory, plan, history).encode()
    url = upload_files(files, repo, "LoRA adapter by mistral-cli", reporter)
    reporter.note(f"uploaded to {url}")


def _hub_page(directory: RunDirectory, plan: TrainingPlan, history: History) -> str:
    return f"""---
library_name: peft
tags: [lora, gguf]
---
# {directory.adapter.stem}

A LoRA adapter for `{plan.options.base or plan.model_name}`, trained with `mistral-cli finetune` on
{len(plan.rows)} rows for {plan.options.epochs} epochs. {history.verdict().capitalize()}.

With llama.cpp: use `{directory.adapter.name}` with the model that it was trained on
(`mistral-cli generate --lora {directory.adapter.name} -m {plan.model_name} "..."`). With PEFT: use
this repository itself.
"""
