"""What a line of results looks like: our own, or that of OpenAI's batches."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol

from mistral_cli.errors import ExitCode, MistralCliError
from mistral_cli.generation.result import Result, adapters_of, what_was_said

if TYPE_CHECKING:
    from mistral_cli.batch.input.rows import Row

_PREFIX = "batch_req_local_"  # OpenAI's ids are opaque; ours hold the row's identity
_NOTHING: Mapping[str, Any] = {
    "finish_reason": None,
    "prompt_tokens": 0,
    "cached_tokens": 0,
    "completion_tokens": 0,
    "timings": {},
}


def record_of(
    row: Row, key: str, result: Result, *, exact: bool, when: Mapping[str, float]
) -> dict[str, Any]:
    """What is told of a row that was answered; `when` are more of its timings."""
    said = what_was_said(result, exact=exact)
    said["timings"] = {**said["timings"], **when}
    more = {"seed": result.plan.request.sampling.seed, "warnings": list(result.warnings)}
    plan = result.plan
    model = {"model": plan.model_name, "adapters": adapters_of(plan)}
    more |= {**model, "engine": plan.selection.backend.name}
    return {"id": row.id, "source": row.source, **said, **more, "error": None, "key": key}


def record_of_failure(
    row: Row, key: str, error: MistralCliError, *, when: Mapping[str, float]
) -> dict[str, Any]:
    """What is told of a row that failed."""
    told = {"code": int(error.exit_code), "message": error.message, "hint": error.hint}
    if error.details:
        told["details"] = error.details
    head = {"id": row.id, "source": row.source, "text": None}
    rest = {"timings": dict(when), "warnings": [], "error": told, "key": key}
    return {**head, **_NOTHING, **rest}


class Lines(Protocol):
    """A form of the lines in a results file; in each, "error" is null or says why a row failed."""

    def line(self, record: Mapping[str, Any]) -> dict[str, Any]:
        """A record as a line."""

    def record(self, line: Mapping[str, Any]) -> dict[str, Any]:
        """What a line tells, as a record; what the form leaves out is not in it."""

    def key(self, line: Mapping[str, Any]) -> str:
        """The row's identity; empty where the line is of another form."""

    def id(self, line: Mapping[str, Any]) -> str:
        """The row's name."""

    def source(self, line: Mapping[str, Any]) -> str:
        """Where the row stood; empty where the form does not tell."""

    def renamed(self, line: dict[str, Any], row: Row) -> dict[str, Any]:
        """The line under the row's present name."""


class OwnLines:
    """A record as it is."""

    def line(self, record: Mapping[str, Any]) -> dict[str, Any]:
        """See Lines."""
        return dict(record)

    def record(self, line: Mapping[str, Any]) -> dict[str, Any]:
        """See Lines."""
        return dict(line)

    def key(self, line: Mapping[str, Any]) -> str:
        """See Lines."""
        key = line.get("key")
        return key if isinstance(key, str) and {"id", "error"} <= line.keys() else ""

    def id(self, line: Mapping[str, Any]) -> str:
        """See Lines."""
        return str(line.get("id"))

    def source(self, line: Mapping[str, Any]) -> str:
        """See Lines."""
        return str(line.get("source") or "")

    def renamed(self, line: dict[str, Any], row: Row) -> dict[str, Any]:
        """See Lines."""
        return {**line, "id": row.id, "source": row.source}


class OpenAILines:
    """As a file of OpenAI's batch results has them: a response with a chat completion."""

    def line(self, record: Mapping[str, Any]) -> dict[str, Any]:
        """See Lines."""
        name, error = f"{_PREFIX}{record['key']}", record["error"]
        line = {"id": name, "custom_id": record["id"], "response": None, "error": None}
        if error:
            code = ExitCode(error["code"]).name.lower()
            return {**line, "error": {"code": code, "message": error["message"]}}
        response = {"status_code": 200, "request_id": name, "body": _completion(record)}
        return {**line, "response": response}

    def record(self, line: Mapping[str, Any]) -> dict[str, Any]:
        """See Lines."""
        head = {"id": self.id(line), "error": line.get("error"), "key": self.key(line)}
        if not line.get("response"):
            return head
        body = line["response"]["body"]
        choice, usage = body["choices"][0], body["usage"]
        return {
            **head,
            "text": choice["message"]["content"],
            "finish_reason": choice["finish_reason"],
            "prompt_tokens": usage["prompt_tokens"],
            "completion_tokens": usage["completion_tokens"],
        }

    def key(self, line: Mapping[str, Any]) -> str:
        """See Lines."""
        name = line.get("id")
        ours = (
            isinstance(name, str)
            and name.startswith(_PREFIX)
            and {"custom_id", "error"} <= line.keys()
        )
        return str(name).removeprefix(_PREFIX) if ours else ""

    def id(self, line: Mapping[str, Any]) -> str:
        """See Lines."""
        return str(line.get("custom_id"))

    def source(self, line: Mapping[str, Any]) -> str:  # noqa: ARG002
        """See Lines."""
        return ""

    def renamed(self, line: dict[str, Any], row: Row) -> dict[str, Any]:
        """See Lines."""
        return {**line, "custom_id": row.id}


def _completion(record: Mapping[str, Any]) -> dict[str, Any]:
    text = record.get("text")
    if "data" in record:
        text = json.dumps(record["data"], ensure_ascii=False)
    prompt, completion = record["prompt_tokens"], record["completion_tokens"]
    message = {"role": "assistant", "content": text}
    choice = {"index": 0, "message": message, "finish_reason": record["finish_reason"]}
    tokens = {"prompt_tokens": prompt, "completion_tokens": completion}
    return {
        "id": f"chatcmpl-{record['key']}",
        "object": "chat.completion",
        "created": int(time.time()),
        "model": record.get("model"),
        "choices": [choice],
        "usage": {**tokens, "total_tokens": prompt + completion},
    }
