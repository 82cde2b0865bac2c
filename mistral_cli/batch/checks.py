"""Failed checks of a batch's answers: which rows have them, and the lines about them at the end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mistral_cli.batch.options import BatchOptions, ResultFormat
from mistral_cli.errors import UsageError
from mistral_cli.system.controls import on_one_line

if TYPE_CHECKING:
    from mistral_cli.batch.formats import Record

_WHAT: Mapping[str, str] = {
    "numbers": "a number that is not in the text",
    "dates": "a date that is not in the text",
    "names": "a name that is not in the text",
    "units": "a unit that is not in the text",
    "missing": "something missing that the text has",
    "empty": "an empty answer",
    "repetition": "an answer that repeats itself",
    "control tokens": "control tokens in the answer",
    "instruction": "words of the instruction in the answer",
    "unchanged": "the text itself as the answer",
    "script": "another script than expected",
    "words": "another number of words than asked for",
    "sentences": "another number of sentences than asked for",
    "bullets": "another number of bullet points than asked for",
    "characters": "more characters than asked for",
    "language": "another language than asked for",
    "support": "a sentence that the text does not support",
    "complete": "a text that was cut",
    "structure": "another structure than the text",
    "glossary": "a term that is not translated as the glossary says",
}
_NAMED = 3  # rows named in a line
_LONGEST_ID = 60


def check_only_failed(options: BatchOptions) -> None:
    """Raise UsageError if `--only-failed-checks` does not apply to this call."""
    if not options.only_failed_checks:
        return
    if options.format is ResultFormat.OPENAI:
        raise UsageError(
            "--only-failed-checks does not apply to --format openai, whose lines have no checks",
            hint="Leave --format out.",
        )
    if options.force:
        raise UsageError(
            "--only-failed-checks and --force cannot be combined", hint="Drop one of them."
        )
    earlier = options.output_dir or options.output
    if not options.can_resume or not Path(str(earlier)).exists():
        raise UsageError(
            "--only-failed-checks needs results of an earlier run",
            hint="Name them with -o FILE or --output-dir DIR.",
        )


def failed_checks(record: Record) -> tuple[str, ...]:
    """The names of the checks that failed; people edit results files."""
    checks = record.get("checks")
    entries = checks if isinstance(checks, list) else []
    names = (e.get("name") for e in entries if isinstance(e, Mapping) and e.get("ok") is False)
    return tuple(dict.fromkeys(name for name in names if isinstance(name, str)))


def is_worse(record: Record, earlier: Record) -> bool:
    """Whether a new result fails, or fails more checks than the earlier answer of its row."""
    if earlier["error"] is not None:
        return False
    return record["error"] is not None or len(failed_checks(record)) > len(failed_checks(earlier))


def kept_note(count: int, failures: int) -> str:
    """The note about `count` new results, some of them failures, worse than the earlier answers."""
    rows = "1 row keeps its" if count == 1 else f"{count:,} rows keep their"
    why = f"failed for {failures:,} and is worse for {count - failures:,}"
    if failures in (0, count):
        why = "failed" if failures else "fails more checks"
    return f"{rows} earlier answer: the new one {why}"


class FailedChecks:
    """Counts the rows with each kind of failed check, and keeps the ids of the first."""

    def __init__(self) -> None:
        self._kinds: dict[str, tuple[int, list[str]]] = {}

    def add(self, record: Record) -> None:
        """Count an answer."""
        for name in failed_checks(record):
            count, ids = self._kinds.get(name, (0, []))
            if count < _NAMED:
                ids.append(str(record.get("id", "")))
            self._kinds[name] = count + 1, ids

    def table(self) -> list[str]:
        """One line for each kind of failed check: how many rows have it, and some of them."""
        kinds = sorted(self._kinds.items(), key=lambda kind: kind[1][0], reverse=True)
        return [_line(name, count, ids) for name, (count, ids) in kinds]


def _line(name: str, count: int, ids: Sequence[str]) -> str:
    rows = f"{count:,} rows have" if count > 1 else "1 row has"
    what = _WHAT.get(name, f"a failed check of {name}")
    shown = ", ".join(on_one_line(each)[:_LONGEST_ID] for each in ids)
    more = f" and {count - _NAMED:,} more" if count > _NAMED else ""
    return f"{rows} {what}: {shown}{more}"
