"""The options of `mistral-cli batch`, in addition to those of each task."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated, ClassVar

from mistral_cli.errors import UsageError
from mistral_cli.generation.options import TaskOptions
from mistral_cli.system.options import option

_ROWS, _RESULTS, _RUN = "Rows", "Results", "Run"

_MAX_SLOTS = 256


class InputFormat(StrEnum):
    """How an input is split into rows: whole text, lines, JSON objects, or the rows of a table."""

    TEXT = "text"
    LINES = "lines"
    JSONL = "jsonl"
    CSV = "csv"
    PARQUET = "parquet"
    ARROW = "arrow"


class ResultFormat(StrEnum):
    """The format of a line of results."""

    JSONL = "jsonl"
    OPENAI = "openai"


@dataclass(frozen=True, kw_only=True)
class BatchOptions(TaskOptions):
    """A task's options, and where rows come from, where results go, and how the batch runs."""

    TEXTS: ClassVar[tuple[str, ...]] = (*TaskOptions.TEXTS, "prompt")

    prompt: Annotated[
        str | None,
        option(
            "--prompt",
            panel=_ROWS,
            metavar="TEXT",
            help="Instruction for every row; {text} and {column} are replaced by the row's values.",
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
        option("--input-format", panel=_ROWS, help="How to read inputs (default: by file suffix)."),
    ] = None
    from_sql: Annotated[
        str | None,
        option(
            "--from-sql",
            panel=_ROWS,
            metavar="QUERY",
            help="Read rows with this SELECT; the inputs are SQLite databases.",
        ),
    ] = None
    no_header: Annotated[
        bool,
        option(
            "--no-header",
            panel=_ROWS,
            help="Tables have no header: their columns are named 1, 2, 3 and so on.",
        ),
    ] = False
    shard: Annotated[
        str | None,
        option(
            "--shard",
            panel=_ROWS,
            metavar="K/N",
            help="Process only the K-th of N shares of the rows; `batch merge` joins the results.",
        ),
    ] = None
    limit: Annotated[
        int | None,
        option("--limit", panel=_ROWS, min=1, metavar="N", help="Process at most N rows."),
    ] = None
    output: Annotated[
        Path | None,
        option(
            "-o",
            "--output",
            panel=_RESULTS,
            metavar="FILE",
            help="Results file: JSON Lines, or a table if its name ends in .csv, .tsv, "
            ".parquet or .arrow (default: stdout).",
        ),
    ] = None
    output_dir: Annotated[
        Path | None,
        option(
            "--output-dir",
            panel=_RESULTS,
            metavar="DIR",
            help="Write one result file per input file, with the same name.",
        ),
    ] = None
    format: Annotated[
        ResultFormat,
        option("--format", panel=_RESULTS, help="Result format: jsonl, or openai (Batch API)."),
    ] = ResultFormat.JSONL
    ordered: Annotated[
        bool,
        option(
            "--ordered",
            panel=_RESULTS,
            help="Write results in input order (a file is sorted at the end).",
        ),
    ] = False
    report: Annotated[
        Path | None,
        option("--report", panel=_RESULTS, metavar="FILE", help="Write an HTML report."),
    ] = None
    parallel: Annotated[
        str,
        option(
            "--parallel",
            panel=_RUN,
            metavar="N|auto",
            help="Rows to process concurrently (default: auto).",
        ),
    ] = "auto"
    ray: Annotated[
        str | None,
        option(
            "--ray",
            panel=_RUN,
            metavar="[ADDRESS]",
            help="Process the rows on a Ray cluster: auto, HOST:PORT or ray://HOST:PORT "
            "(default: local, a Ray that is started on this machine).",
        ),
    ] = None
    ray_actors: Annotated[
        int | None,
        option(
            "--ray-actors",
            panel=_RUN,
            min=1,
            max=64,
            metavar="N",
            help="Actors on each node, which load the model each (default: one per GPU, else one; "
            "2 with local).",
        ),
    ] = None
    retry_failed: Annotated[
        bool, option("--retry-failed", panel=_RUN, help="Retry rows that failed in an earlier run.")
    ] = False
    only_failed_checks: Annotated[
        bool,
        option(
            "--only-failed-checks",
            panel=_RUN,
            help="Process only the rows whose earlier answer failed a check, whatever options it "
            "had; all other rows stay as they are.",
        ),
    ] = False
    force: Annotated[
        bool, option("--force", panel=_RUN, help="Reprocess every row, replacing existing results.")
    ] = False
    prune: Annotated[
        bool,
        option(
            "--prune",
            panel=_RUN,
            help="Remove results of rows that are no longer among the inputs.",
        ),
    ] = False
    max_failures: Annotated[
        int | None,
        option(
            "--max-failures", panel=_RUN, min=1, metavar="N", help="Stop after N rows have failed."
        ),
    ] = None
    timeout: Annotated[
        float | None,
        option(
            "--timeout",
            panel=_RUN,
            min=0.01,
            max=10.0**6,
            metavar="SECONDS",
            help="Time limit for each row.",
        ),
    ] = None
    progress_every: Annotated[
        float,
        option(
            "--progress-every",
            panel=_RUN,
            min=0.0,
            metavar="SECONDS",
            help="Seconds between progress lines off a terminal (default 60; 0: none).",
        ),
    ] = 60.0

    @property
    def can_resume(self) -> bool:
        """True if a later run can see the results of this one."""
        return bool(self.output_dir) or str(self.output or "-") != "-"


def requested_slots(options: BatchOptions) -> int | None:
    """Return the number that `--parallel` gives, None for auto. Raises UsageError."""
    value = options.parallel
    if value == "auto":
        return None
    if not (value.isascii() and value.isdecimal() and 0 < int(value) <= _MAX_SLOTS):
        raise UsageError(
            f"--parallel cannot be {value!r}",
            hint=f"Use a number from 1 to {_MAX_SLOTS}, or auto.",
        )
    return int(value)
