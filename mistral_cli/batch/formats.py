"""Result records, and their two line formats: the record itself, or as in OpenAI's Batch API."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Mapping
from typing import IO, TYPE_CHECKING, Any, NamedTuple, Protocol, Self

import msgspec

from mistral_cli.batch.checks import failed_checks
from mistral_cli.checks.check import check_fields
from mistral_cli.errors import ExitCode, MistralCliError
from mistral_cli.generation.answer import Result, adapter_fields, answer_fields, server_fields
from mistral_cli.generation.checking.attempts import AnswerRejected
from mistral_cli.generation.summaries.cited import cited_text

if TYPE_CHECKING:
    from mistral_cli.batch.input.rows import Row

Record = Mapping[str, Any]
"""The result of one row: the JSON object of a line in the program's own format.

"error" is null, or says why the row failed; "key" identifies the row's content and settings.
"""

_ID_PREFIX = "batch_req_local_"  # OpenAI's ids are opaque; ours contain the record's key


def answer_record(
    row: Row,
    key: str,
    result: Result,
    *,
    exact: bool,
    clock: Mapping[str, float],
    memory: int | None = None,
) -> Record:
    """Return the record of a row that was answered; `clock` is added to its timings.

    `memory` is the peak of the engine's process so far, in bytes, if it is known.
    """
    answer, planner = answer_fields(result, exact=exact), result.planner
    return {
        "id": row.id,
        "source": row.source,
        **answer,
        "timings": {**answer["timings"], **clock},
        "memory": memory,
        "seed": result.prepared.request.sampling.seed,
        "warnings": [*row.warnings, *result.warnings],
        "model": planner.config.model_name,
        "adapters": adapter_fields(planner),
        "engine": planner.config.selection.backend.name,
        **server_fields(planner, result.prepared),
        "error": None,
        "key": key,
    }


def failure_record(
    row: Row, key: str, error: MistralCliError, *, clock: Mapping[str, float]
) -> Record:
    """Return the record of a row that failed; `clock` is its timings."""
    details = {"details": error.details} if error.details else {}
    rejected = error.checks if isinstance(error, AnswerRejected) else ()
    checks = [check_fields(check) for check in rejected]
    return {
        "id": row.id,
        "source": row.source,
        "text": None,
        "finish_reason": None,
        "prompt_tokens": 0,
        "cached_tokens": 0,
        "completion_tokens": 0,
        **({"checks": checks} if checks else {}),
        "timings": dict(clock),
        "warnings": list(row.warnings),
        "error": {
            "code": int(error.exit_code),
            "message": error.message,
            "hint": error.hint,
            **details,
        },
        "key": key,
    }


class LineSummary(NamedTuple):
    """What the index of a results file keeps of a line; `flawed` is an answer's failed check."""

    key: str
    id: str
    source: str
    failed: bool
    flawed: bool

    @classmethod
    def of(cls, record: Record) -> Self:
        """Return the summary of the line that holds `record`."""
        source, failed = str(record.get("source") or ""), record["error"] is not None
        return cls(record["key"], str(record["id"]), source, failed, bool(failed_checks(record)))


class LineFormat(Protocol):
    """Converts records to the lines of a results file and back."""

    def summary(self, raw: bytes) -> LineSummary | None:
        """Return the summary of a line as this program writes it, ten times as fast as `decode`.

        None for any other line: one that people edited, or that is damaged.
        """

    def encode(self, record: Record) -> dict[str, Any]:
        """Return the line for a record."""

    def decode(self, line: dict[str, Any]) -> Record | None:
        """Return the record that a line holds, or None for a line in another format.

        The record has at least "id", "key" and "error".
        """

    def rename(self, line: dict[str, Any], row_id: str, source: str) -> dict[str, Any]:
        """Return the line with the id and source that its row has now."""


class _Check(msgspec.Struct, gc=False):
    ok: bool


class _NativeLine(msgspec.Struct, gc=False):
    id: str
    key: str
    error: Any
    source: str = ""
    checks: list[_Check] = []


class _OpenAILine(msgspec.Struct, gc=False):
    id: str
    custom_id: str
    error: Any


# 0.8 µs for a line of 700 bytes, all other keys skipped; orjson takes 1.8 µs, json 9.
_native, _openai = msgspec.json.Decoder(_NativeLine), msgspec.json.Decoder(_OpenAILine)


class NativeFormat:
    """The program's own format: a line is a record."""

    def summary(self, raw: bytes) -> LineSummary | None:
        """See LineFormat."""
        try:
            line = _native.decode(raw)
            if not raw.isascii():
                raw.decode()  # msgspec does not check texts that it skips
        except ValueError:
            return None
        if not line.key:
            return None
        flawed = False
        for check in line.checks:
            if not check.ok:
                flawed = True
        return LineSummary(line.key, line.id, line.source, line.error is not None, flawed)

    def encode(self, record: Record) -> dict[str, Any]:
        """Return the record as a dict."""
        return dict(record)

    def decode(self, line: dict[str, Any]) -> Record | None:
        """Return the line itself if it has the keys of a record."""
        key = line.get("key")
        is_record = isinstance(key, str) and key and {"id", "error"} <= line.keys()
        return line if is_record else None

    def rename(self, line: dict[str, Any], row_id: str, source: str) -> dict[str, Any]:
        """Replace id and source."""
        return {**line, "id": row_id, "source": source}


class OpenAIFormat:
    """The format of OpenAI's Batch API: a response that contains a chat completion."""

    def summary(self, raw: bytes) -> LineSummary | None:
        """See LineFormat."""
        try:
            line = _openai.decode(raw)
            raw.isascii() or raw.decode()
        except ValueError:
            return None
        key = line.id.removeprefix(_ID_PREFIX)
        if not key or key == line.id:
            return None
        return LineSummary(key, line.custom_id, "", line.error is not None, flawed=False)

    def encode(self, record: Record) -> dict[str, Any]:
        """Return a line with either a response or an error."""
        identifier, error = f"{_ID_PREFIX}{record['key']}", record["error"]
        line = {"id": identifier, "custom_id": record["id"], "response": None, "error": None}
        if error:
            code = ExitCode(error["code"]).name.lower()
            return {**line, "error": {"code": code, "message": error["message"]}}
        body = _chat_completion(record)
        return {
            **line,
            "response": {"status_code": 200, "request_id": identifier, "body": body},
        }

    def decode(self, line: dict[str, Any]) -> Record | None:
        """Return the parts of the record that this format keeps: neither source nor timings."""
        identifier = line.get("id")
        if not (isinstance(identifier, str) and {"custom_id", "error"} <= line.keys()):
            return None
        key = identifier.removeprefix(_ID_PREFIX)
        if not key or key == identifier:
            return None
        record = {"id": str(line["custom_id"]), "error": line["error"], "key": key}
        with contextlib.suppress(KeyError, IndexError, TypeError):  # no response, or edited by hand
            body = line["response"]["body"]
            choice, usage = body["choices"][0], body["usage"]
            record |= {
                "text": choice["message"]["content"],
                "finish_reason": choice["finish_reason"],
                "prompt_tokens": usage["prompt_tokens"],
                "completion_tokens": usage["completion_tokens"],
            }
        return record

    def rename(self, line: dict[str, Any], row_id: str, source: str) -> dict[str, Any]:  # noqa: ARG002
        """Replace custom_id."""
        return {**line, "custom_id": row_id}


def format_of(file: IO[bytes]) -> LineFormat:
    """Return the format of an open results file by its first line, and go back to its start."""
    first = file.readline()
    file.seek(0)
    with contextlib.suppress(ValueError):
        line = json.loads(first)
        if isinstance(line, dict) and OpenAIFormat().decode(line):
            return OpenAIFormat()
    return NativeFormat()


def _chat_completion(record: Record) -> dict[str, Any]:
    text = cited_text(record)
    if "data" in record:
        text = json.dumps(record["data"], ensure_ascii=False)
    prompt, completion = record["prompt_tokens"], record["completion_tokens"]
    reason = record["finish_reason"]
    return {
        "id": f"chatcmpl-{record['key']}",
        "object": "chat.completion",
        "created": int(time.time()),
        "model": record.get("model"),
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": text},
                # OpenAI's word for a limit; it has none for JSON that was closed there.
                "finish_reason": "length" if reason == "closed" else reason,
            }
        ],
        "usage": {
            "prompt_tokens": prompt,
            "completion_tokens": completion,
            "total_tokens": prompt + completion,
        },
    }
