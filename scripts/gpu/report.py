"""The report of a check: one JSON file, and the same as tables in Markdown."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

PASSED, FAILED, SKIPPED, NOT_RUN = "passed", "failed", "skipped", "not run"
NOT_ASKED = "not asked for"
_MIB = 2**20


@dataclass
class StepResult:
    """A step's outcome, one of the words above; `note` is the reason or the main finding."""

    outcome: str
    seconds: float = 0.0
    note: str = ""
    data: dict[str, Any] = field(default_factory=dict)
    from_earlier_run: bool = False


@dataclass
class Report:
    """Everything that a check found, in the order of its steps."""

    about: dict[str, str]
    steps: dict[str, StepResult] = field(default_factory=dict)

    @property
    def passed(self) -> bool:
        """Whether every step that was asked for passed, or does not apply to this machine."""
        return all(step.outcome in (PASSED, SKIPPED, NOT_ASKED) for step in self.steps.values())

    def write(self, folder: Path) -> None:
        """Write check.json and check.md whole: a check that is stopped leaves the last ones."""
        values = {"about": self.about, "passed": self.passed}
        values |= {"steps": {name: asdict(step) for name, step in self.steps.items()}}
        text = json.dumps(values, indent=1) + "\n"
        for name, content in (("check.json", text), ("check.md", "".join(markdown(self)))):
            part = folder / f"{name}.part"
            part.write_text(content, "utf-8")
            part.replace(folder / name)

    @classmethod
    def read(cls, folder: Path) -> Report | None:
        """The report in `folder`, or None if there is none that can be read."""
        try:
            values = json.loads((folder / "check.json").read_text("utf-8"))
            steps = {name: StepResult(**step) for name, step in values["steps"].items()}
            return cls(values["about"], steps)
        except (OSError, ValueError, TypeError, KeyError, AttributeError):
            return None


def markdown(report: Report) -> Iterator[str]:
    """The report as tables."""
    yield "# GPU check\n\n"
    yield "".join(f"- {name}: {text}\n" for name, text in report.about.items())
    yield f"\n{'All steps passed.' if report.passed else '**Not all steps passed.**'}\n"
    yield "\n| step | outcome | s | |\n|---|---|---|---|\n"
    for name, step in report.steps.items():
        outcome = f"**{step.outcome}**" if step.outcome == FAILED else step.outcome
        earlier = " (an earlier run)" if step.from_earlier_run else ""
        note = step.note.replace("|", "\\|")
        yield f"| {name} | {outcome}{earlier} | {step.seconds:.0f} | {note} |\n"
    rows = [row for step in report.steps.values() for row in step.data.get("rows", ())]
    yield from _speeds(rows)
    yield from _memory(rows)


def _speeds(rows: list[dict[str, Any]]) -> Iterator[str]:
    if not rows:
        return
    yield "\n## Speeds\n\n"
    yield "| engine | layers asked | layers | prompt tokens/s | generated tokens/s | load, s |\n"
    yield "|---|---|---|---|---|---|\n"
    for row in rows:
        speeds = f"{_number(row['prompt'])} | {_number(row['generated'])} | {row['load']:.1f}"
        yield f"| {row['engine']} | {row['asked']} | {row['layers']} | {speeds} |\n"


def _memory(rows: list[dict[str, Any]]) -> Iterator[str]:
    known = [row for row in rows if row.get("used") is not None]
    if not known:
        return
    yield "\n## GPU memory, MiB\n\nThe planner leaves the CUDA context to the margin.\n\n"
    yield "| engine | layers | context | planned | used | used beyond | margin |\n"
    yield "|---|---|---|---|---|---|---|\n"
    for row in known:
        planned, used, margin = (row[key] / _MIB for key in ("planned", "used", "margin"))
        sizes = f"{planned:,.0f} | {used:,.0f} | {used - planned:,.0f} | {margin:,.0f}"
        yield f"| {row['engine']} | {row['layers']} | {row['context']} | {sizes} |\n"


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
