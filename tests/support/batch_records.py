"""Result records of a batch, and sinks that hold them."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

from mistral_cli.batch.digests import DigestSet
from mistral_cli.batch.formats import NativeFormat
from mistral_cli.batch.input.rows import Row
from mistral_cli.batch.prompts import WorkItem
from mistral_cli.batch.resume import RowStatus
from mistral_cli.batch.sinks.file import FileSink
from support.batch_program import lines_of
from support.terminals import make_terminal


def record(number: int, **changes: Any) -> dict[str, Any]:
    """Return the record of a row that was answered, as a report shows it."""
    timings = {"prompt_seconds": 1.0, "generation_seconds": 2.0, "finished_at": 3.0 * number}
    return {
        "id": f"row-{number}",
        "source": f"mails.jsonl:{number}",
        "text": f"Answer {number}.",
        "finish_reason": "stop",
        "prompt_tokens": 100,
        "completion_tokens": 20,
        "timings": timings,
        "error": None,
        "warnings": [],
    } | changes


def failure(message: str, code: int = 5) -> dict[str, Any]:
    """Return what makes a record one of a failed row: `record(1, **failure("no"))`."""
    error = {"code": code, "message": message, "hint": "Do something else."}
    return {"error": error, "text": None, "finish_reason": None, "completion_tokens": 0}


def stored_record(name: str, key: str, **changes: Any) -> dict[str, Any]:
    """Return the record of the row `name`, whose content has the digest `key`."""
    return {
        "id": name,
        "source": name,
        "text": f"{key} é",
        "error": None,
        "key": key,
        "prompt_tokens": 1,
        "completion_tokens": 1,
        "finish_reason": "stop",
        **changes,
    }


def work_item(name: str, key: str) -> WorkItem:
    """Return the item for the row `name`, whose content has the digest `key`."""
    return WorkItem(Row(name, name), key)


def open_results(path: Path, line_format: Any = None) -> FileSink:
    """Open a results file, as a run does."""
    return FileSink(path, line_format or NativeFormat(), make_terminal(), dry_run=False)


def plan_of(sink: FileSink, items: list[WorkItem]) -> dict[RowStatus, list[WorkItem]]:
    """Return the items by their status, without --retry-failed and --force."""
    options: Any = SimpleNamespace(retry_failed=False, force=False, only_failed_checks=False)
    plan: dict[RowStatus, list[WorkItem]] = {status: [] for status in RowStatus}
    for number, item in enumerate(items):
        item.number = number
    for item, status in zip(items, sink.claim(items, options), strict=True):
        plan[status].append(item)
    return plan


def add(sink: FileSink, *records: dict[str, Any]) -> None:
    """Add records and write them."""
    for each in records:
        sink.add(each)
    sink.flush()


def finish(sink: FileSink, items: list[WorkItem] | None = None, *, ordered: bool = False) -> None:
    """Finish a file after all its rows were read; `items` are claimed first, if there are any."""
    if items is not None:
        plan_of(sink, items)
    sink.finish(ordered=ordered, present=DigestSet())


def identities(path: Path) -> list[tuple[str, str]]:
    """Return the id and the key of each line of a results file."""
    return [(line["id"], line["key"]) for line in lines_of(path)]
