"""What can be said where many texts are answered in one run."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated

from mistral_cli.errors import UsageError
from mistral_cli.generation.options import TaskOptions
from mistral_cli.system.options import option

_ROWS, _RESULTS, _RUN = "Rows", "Results", "Run"

_MOST_SLOTS = 256


class InputFormat(StrEnum):
    """How the inputs are read."""

    TEXT = "text"
    LINES = "lines"
    JSONL = "jsonl"
    CSV = "csv"


class ResultFormat(StrEnum):
    """What the lines of results look like."""

    JSONL = "jsonl"
    OPENAI = "openai"


@dataclass(frozen=True, kw_only=True)
class BatchOptions(TaskOptions):
    """Beside what every task takes: where rows come from, where results go, how it is run."""

    prompt: Annotated[
        str | None,
        option(
            "--prompt",
            panel=_ROWS,
            metavar="TEXT",
            help="Instruction for every row; {text} and {column} stand for what the row has.",
        ),
    ] = None
    text_field: Annotated[
        str | None,
        option("--text-field", panel=_ROWS, metavar="NAME", help="Column or key with the text."),
    ] = None
    id_field: Annotated[
        str | None,
        option("--id-field", panel=_ROWS, metavar="NAME", help="Column or key with the id."),
    ] = None
    input_format: Annotated[
        InputFormat | None,
        option("--input-format", panel=_ROWS, help="How to read inputs (default: by suffix)."),
    ] = None
    limit: Annotated[
        int | None,
        option("--limit", panel=_ROWS, min=1, metavar="N", help="Do N rows and stop."),
    ] = None
    output: Annotated[
        Path | None,
        option(
            "-o", "--output", panel=_RESULTS, metavar="FILE", help="JSON Lines (default: stdout)."
        ),
    ] = None
    output_dir: Annotated[
        Path | None,
        option(
            "--output-dir",
            panel=_RESULTS,
            metavar="DIR",
            help="One file for each input file, of the same name.",
        ),
    ] = None
    format: Annotated[
        ResultFormat, option("--format", panel=_RESULTS, help="As OpenAI's batches have it.")
    ] = ResultFormat.JSONL
    ordered: Annotated[
        bool,
        option(
            "--ordered",
            panel=_RESULTS,
            help="In the order of the inputs: on stdout as soon as can be, in a file at the end.",
        ),
    ] = False
    report: Annotated[
        Path | None,
        option("--report", panel=_RESULTS, metavar="FILE", help="Write a page to look at (HTML)."),
    ] = None
    parallel: Annotated[
        str,
        option(
            "--parallel",
            panel=_RUN,
            metavar="N|auto",
            help="Rows at once (default auto: as many as help and fit).",
        ),
    ] = "auto"
    retry_failed: Annotated[
        bool, option("--retry-failed", panel=_RUN, help="Do the rows again that failed before.")
    ] = False
    force: Annotated[
        bool, option("--force", panel=_RUN, help="Do all rows again, whatever is there.")
    ] = False
    max_failures: Annotated[
        int | None,
        option("--max-failures", panel=_RUN, min=1, metavar="N", help="Stop when N rows failed."),
    ] = None
    timeout: Annotated[
        float | None,
        option(
            "--timeout",
            panel=_RUN,
            min=0.01,
            max=10.0**6,
            metavar="SECONDS",
            help="Longest time for a row.",
        ),
    ] = None
    progress_every: Annotated[
        float,
        option(
            "--progress-every",
            panel=_RUN,
            min=0.0,
            metavar="SECONDS",
            help="A line of progress so often, off a terminal (default 60; 0 for none).",
        ),
    ] = 60.0

    @property
    def is_kept(self) -> bool:
        """Whether a later run sees what this one has done."""
        return bool(self.output_dir) or str(self.output or "-") != "-"


def slots_wanted(options: BatchOptions) -> int | None:
    """The number that `--parallel` gives, None for auto. Raises UsageError."""
    wanted = options.parallel
    if wanted == "auto":
        return None
    if not (wanted.isascii() and wanted.isdecimal() and 0 < int(wanted) <= _MOST_SLOTS):
        raise UsageError(
            f"--parallel cannot be {wanted!r}",
            hint=f"Use a number from 1 to {_MOST_SLOTS}, or auto.",
        )
    return int(wanted)
