"""What a run was like: its log, its curve, and what to think of it in words."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from mistral_cli.system.files import write_atomically
from mistral_cli.system.stdout import SCHEMA_VERSION

HELD_OUT = "held_out_loss"
"""What a held-out loss is called among the trainer's own notes."""


@dataclass
class History:
    """Losses are mean negative log-likelihoods of a completion's token, in nats.

    `steps` has a loss for each step, `held_out` one for each epoch and the start, of rows that
    were not trained on.
    """

    steps: list[dict[str, float]] = field(default_factory=list)
    held_out: list[dict[str, float]] = field(default_factory=list)
    seconds: float = 0.0

    @classmethod
    def of(cls, notes: Iterable[Mapping[str, Any]], seconds: float) -> History:
        """The history in the notes that a trainer keeps; `seconds` are those of the last run."""
        history = cls(seconds=round(seconds, 1))
        for note in notes:
            point = {"step": note["step"], "epoch": round(note["epoch"], 3)}
            if HELD_OUT in note:
                history.held_out.append(point | {"loss": note[HELD_OUT]})
            elif "loss" in note:
                more = {"loss": note["loss"], "learning_rate": note["learning_rate"]}
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
        """Whether it learned, for a person."""
        last = self.steps[-1]["loss"] if self.steps else float("nan")
        if self.before is None or self.after is None:
            first = self.steps[0]["loss"] if self.steps else float("nan")
            return (
                f"the loss went from {first:.2f} to {last:.2f} on the rows it was trained on; "
                "nothing was held out to tell whether it learned more than these"
            )
        told = f"the loss on held-out rows went from {self.before:.2f} to {self.after:.2f}"
        best = min(self.held_out, key=lambda point: point["loss"])
        if best is self.held_out[0]:
            return f"{told}: nothing carried over; try more rows or a lower rate"
        if self.after > best["loss"] * 1.02:
            return (
                f"{told}, and was lowest ({best['loss']:.2f}) after epoch {best['epoch']:.0f}: "
                "fewer epochs would do better"
            )
        return f"{told}: it learned"

    def write(self, path: Path, facts: dict[str, Any]) -> None:
        """Write the log with `facts` about the run. Raises OSError."""
        content = {"schema_version": SCHEMA_VERSION, **facts, **asdict(self)}
        text = json.dumps(content, indent=2, ensure_ascii=False)
        write_atomically(path, f"{text}\n".encode())


def plot(history: History, path: Path, title: str) -> None:
    """Draw both curves into a PNG. Raises OSError."""
    import io

    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.add_subplot()
    for name, points, style in (
        ("trained on", history.steps, "-"),
        ("held out", history.held_out, "o-"),
    ):
        if points:
            axes.plot([p["step"] for p in points], [p["loss"] for p in points], style, label=name)
    axes.set(xlabel="step", ylabel="loss (nats a token)", title=title)
    axes.set_ylim(bottom=0)
    axes.grid(alpha=0.3)
    axes.legend()
    image = io.BytesIO()
    figure.savefig(image, format="png", dpi=120)
    write_atomically(path, image.getvalue())
