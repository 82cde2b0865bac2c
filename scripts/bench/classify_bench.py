"""Accuracy, calibration error and throughput of `batch classify`, as Markdown."""

from __future__ import annotations

import argparse
import csv
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import mean, median
from typing import Any, NamedTuple

from mistral_cli.generation.classification.probabilities import expected_calibration_error

LABELLED = Path(__file__).parents[2] / "docs" / "examples" / "labelled"
CORRECTIONS = {
    "none": ["--no-calibrate"],
    "both orders": ["--no-calibrate", "--both-orders"],
    "neutral texts (default)": [],
    "neutral texts, both orders": ["--both-orders"],
}
# What the template `classify` says, so that both tasks send the same prompts.
INSTRUCTION = "Classify the text into one of these labels:\n{}\n\nText: {{text}}\n\nLabel:"

Rows = Sequence[dict[str, str]]


class Timed(NamedTuple):
    """One batch: its records, the seconds from the first row to the last, and CPU seconds."""

    records: list[dict[str, Any]]
    seconds: float
    cpu: float


def main() -> None:
    """Print the three tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-m", "--model", default="smollm2")
    parser.add_argument("--engine", default="auto")
    parser.add_argument("--repeat", type=int, default=3, help="runs of each task for the speed")
    parser.add_argument("--only", choices=["accuracy", "calibration", "speed"])
    options = parser.parse_args()
    program = ["-m", options.model, "--engine", options.engine, "-q"]
    if options.only in (None, "accuracy"):
        print_accuracy(program)
    if options.only in (None, "calibration"):
        print_calibration(program)
    if options.only in (None, "speed"):
        print_speed(program, options.repeat)


def print_accuracy(program: list[str]) -> None:
    """Each correction, with the labels in the order of the file and in the reverse."""
    tables = {path.stem: read(path) for path in sorted(LABELLED.glob("*.csv"))}
    print("| correction |", " | ".join(tables), "| mean | same label in the other order |")
    print(f"|---|{'---|' * (len(tables) + 2)}")
    for name, arguments in CORRECTIONS.items():
        cells, same, right = [], [], []
        for rows in tables.values():
            labels = labels_of(rows)
            answers = [
                [each["label"] for each in classified(rows, order, [*arguments, *program]).records]
                for order in (labels, labels[::-1])
            ]
            truth = [row["label"] for row in rows]
            shares = [mean(map(str.__eq__, truth, each)) for each in answers]
            cells.append(" / ".join(f"{share:.0%}" for share in shares))
            same.append(mean(one == other for one, other in zip(*answers, strict=True)))
            right += shares
        line = [name, *cells, f"{mean(right):.0%}", f"{mean(same):.0%}"]
        print("|", " | ".join(line), "|", flush=True)


def print_calibration(program: list[str]) -> None:
    """The error on the half of each table that the calibration has not seen."""
    print("\n| texts | error before | error after | temperature |\n|---|---|---|---|")
    for path in sorted(LABELLED.glob("*.csv")):
        rows = read(path)
        labels = labels_of(rows)
        with tempfile.TemporaryDirectory() as folder:
            seen, saved = Path(folder) / "seen.csv", Path(folder) / "saved.json"
            half = [row for n, row in enumerate(rows) if n // len(labels) % 2]
            other = [row for n, row in enumerate(rows) if not n // len(labels) % 2]
            write(seen, half)
            learn = ["--calibration", str(seen), "--save-calibration", str(saved)]
            before = classified(other, labels, program).records
            after = classified(other, labels, [*learn, *program]).records
            temperature = json.loads(saved.read_text())["temperature"]
        errors = [expected_calibration_error([*judged(each, other)]) for each in (before, after)]
        cells = f"{errors[0]:.3f} | {errors[1]:.3f} | {temperature:.2f}"
        print(f"| {path.stem} | {cells} |", flush=True)


def judged(records: Sequence[dict[str, Any]], rows: Rows) -> Iterator[tuple[float, bool]]:
    """The probability of each answer, and whether it is right."""
    for record, row in zip(records, rows, strict=True):
        yield record["probability"], record["label"] == row["label"]


def print_speed(program: list[str], repeat: int) -> None:
    """`classify` and `generate -n 4` in turn, with the same prompts."""
    rows = read(LABELLED / "tickets.csv")
    labels = labels_of(rows)
    prompt = INSTRUCTION.format("\n".join(f"- {label}" for label in labels))
    generate = ["generate", "--prompt", prompt, "-n", "4"]
    tasks = {
        "generate -n 4": generate,
        "generate -n 1": [*generate[:-1], "1"],
        "classify": classify(labels),
        "classify --both-orders": classify(labels, "--both-orders"),
    }
    runs: dict[str, list[Timed]] = {name: [] for name in tasks}
    for _ in range(repeat):
        for name, arguments in tasks.items():
            runs[name].append(batch(rows, [*arguments, *program]))
    print("\n| task | rows/s | ratio | CPU ms a row | ratio | tokens read a row |")
    print("|---|---|---|---|---|---|")
    first = runs["generate -n 4"]
    for name, timed in runs.items():
        seconds, cpu = median(t.seconds for t in timed), median(t.cpu for t in timed)
        read_tokens = mean(r["prompt_tokens"] - r["cached_tokens"] for r in timed[0].records)
        ratio = median(t.seconds for t in first) / seconds
        cpu_ratio = median(t.cpu for t in first) / cpu
        cells = f"{len(rows) / seconds:.1f} | {ratio:.2f} | {cpu / len(rows) * 1000:.0f}"
        print(f"| `{name}` | {cells} | {cpu_ratio:.2f} | {read_tokens:.0f} |")


def classify(labels: Sequence[str], *options: str) -> list[str]:
    """The arguments of `batch classify`."""
    return ["classify", "--labels", ", ".join(labels), *options]


def classified(rows: Rows, labels: Sequence[str], arguments: Sequence[str]) -> Timed:
    """The records of `batch classify`, in the order of the rows."""
    return batch(rows, [*classify(labels), *arguments])


def batch(rows: Rows, arguments: Sequence[str]) -> Timed:
    """Run a batch with the texts of `rows`."""
    with tempfile.TemporaryDirectory() as folder:
        table, results = Path(folder) / "rows.csv", Path(folder) / "results.jsonl"
        write(table, rows)
        before = os.times()
        command = [sys.executable, "-m", "mistral_cli", "batch", arguments[0], str(table)]
        subprocess.run([*command, *arguments[1:], "-o", str(results)], check=True)
        after = os.times()
        records = [json.loads(line) for line in results.read_text("utf-8").splitlines()]
    records.sort(key=lambda record: int(record["source"].rpartition(":")[2]))
    seconds = max(record["timings"]["finished_at"] for record in records)
    spent = after.children_user + after.children_system
    return Timed(records, seconds, spent - before.children_user - before.children_system)


def read(path: Path) -> Rows:
    """The rows of a table."""
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def write(path: Path, rows: Rows) -> None:
    """Write a table with texts and labels."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, ["text", "label"])
        writer.writeheader()
        writer.writerows(rows)


def labels_of(rows: Rows) -> list[str]:
    """The labels, in the order of their first text."""
    return list(dict.fromkeys(row["label"] for row in rows))


if __name__ == "__main__":
    started = time.time()
    main()
    print(f"\n{time.time() - started:.0f} s", file=sys.stderr)
