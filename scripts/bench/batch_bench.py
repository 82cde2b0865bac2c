"""Compare single calls, a batch, and a batch in parallel slots on the same texts, in one run."""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from mistral_cli.system.machine import usable_cores

TEXTS = Path(__file__).parents[2] / "docs", Path(__file__).parents[2] / "README.md"
Records = list[dict[str, Any]]
PROGRAM = [sys.executable, "-m", "mistral_cli"]


def main() -> None:
    options = arguments()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        texts = write_texts(folder / "texts", options.rows, options.characters)
        task = ["summarize", "-m", options.model, "-n", str(options.tokens), "--temperature", "0"]
        variants: dict[str, Callable[[Path], Records]] = {
            "a loop of single calls": lambda _: loop(task, texts),
            "`batch --parallel 1`": lambda out: batch(task, folder, out, "1"),
            "`batch --parallel auto`": lambda out: batch(task, folder, out, "auto"),
        }
        times: dict[str, list[float]] = {variant: [] for variant in variants}
        measured: dict[str, Records] = {}
        loop(task, texts[:1])  # caches the file's pages and checksum
        batch([*task, "--limit", "1"], folder, folder / "warm.jsonl", "1")
        for turn in range(options.repeat):  # alternate, so that other load affects all alike
            for variant, run in variants.items():
                started = time.perf_counter()
                measured[variant] = run(folder / f"{turn}-{list(variants).index(variant)}.jsonl")
                times[variant].append(time.perf_counter() - started)
                assert len(measured[variant]) == len(texts), variant
    report(options, times, measured)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="smollm2")
    parser.add_argument("--rows", type=int, default=24)
    parser.add_argument("--characters", type=int, default=600, help="approximate length of a text")
    parser.add_argument("--tokens", type=int, default=48, help="maximum length of an answer")
    parser.add_argument("--repeat", type=int, default=3)
    return parser.parse_args()


def write_texts(folder: Path, rows: int, characters: int) -> list[Path]:
    """Write parts of the project's own pages, long and short ones mixed."""
    folder.mkdir()
    pages = [TEXTS[1], *sorted(TEXTS[0].rglob("*.md"))]
    words = " ".join(page.read_text(encoding="utf-8") for page in pages).split()
    paths, start = [], 0
    for row in range(rows):
        size = max(characters // 6 * (1 + row % 4) // 2, 8)
        piece = " ".join(words[(start + i) % len(words)] for i in range(size))
        start += size
        paths.append(folder / f"{row:04}.txt")
        paths[-1].write_text(piece, encoding="utf-8")
    return paths


def loop(task: Sequence[str], texts: Sequence[Path]) -> Records:
    records = []
    for path in texts:
        command = [*PROGRAM, *task, "--json", "-q", "-f", str(path)]
        done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, check=True)
        records.append(json.loads(done.stdout))
    return records


def batch(task: Sequence[str], folder: Path, out: Path, parallel: str) -> Records:
    command = [*PROGRAM, "batch", *task, "-q", "--parallel", parallel, "--ordered", "-o", str(out)]
    command.append(str(folder / "texts"))
    subprocess.run(command, stdin=subprocess.DEVNULL, check=True)
    return [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]


def report(
    options: argparse.Namespace, times: dict[str, list[float]], measured: dict[str, Records]
) -> None:
    first = next(iter(times))
    one = statistics.median(times[first])
    print(
        f"{options.rows} texts, at most {options.tokens} new tokens each, {options.model}, "
        f"{usable_cores()} cores ({platform.machine()}), median of {options.repeat}:\n"
    )
    print("| variant | seconds | rows/s | tokens/s | ratio | texts as in the loop |")
    print("|---|---|---|---|---|---|")
    for variant, seconds in times.items():
        median, records = statistics.median(seconds), measured[variant]
        tokens = sum(r["prompt_tokens"] + r["completion_tokens"] for r in records)
        pairs = zip(records, measured[first], strict=True)
        same = sum(record["text"] == alone["text"] for record, alone in pairs)
        print(
            f"| {variant} | {median:.1f} ({min(seconds):.1f} to {max(seconds):.1f}) | "
            f"{options.rows / median:.2f} | {tokens / median:.0f} | {one / median:.2f} | "
            f"{same} of {len(records)} |"
        )


if __name__ == "__main__":
    main()
