"""The lines of results: extracted JSON, and OpenAI's format."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from support.batch_program import Batch, lines_of, write_rows
from support.fake_engine import Script
from support.json_schemas import check_schema


def test_extracted_data_is_in_the_record(batch: Batch, here: Path, script: Script) -> None:
    script(pieces=['{"name": "Zoë"}'])
    write_rows(here / "rows.jsonl", "Zoë lives here", "Nobody does")
    result = batch("json-extract", "rows.jsonl", "--fields", "name", "-o", "out.jsonl")
    assert result.status == 10
    good, bad = sorted(lines_of(here / "out.jsonl"), key=lambda line: str(line["id"]))
    assert good["data"] == {"name": "Zoë"}
    assert good["spans"]
    assert "text" not in good
    assert bad["error"]["code"] == 7
    assert bad["error"]["details"]
    for line in (good, bad):
        check_schema("batch-record", line)
    assert "--jsonl" in batch("json-extract", "rows.jsonl", "--jsonl").stderr


def test_null_is_written_as_an_answer(batch: Batch, here: Path, script: Script) -> None:
    script(pieces=["null"])
    (here / "a.txt").write_text("nothing")
    args = ("json-extract", "a.txt", "--schema", '{"type": "null"}')
    assert batch(*args, "--output-dir", "out").status == 0
    assert (here / "out" / "a.json").read_text() == "null\n"
    result = batch(*args, "--format", "openai")
    (line,) = lines_of(result.stdout)
    assert line["response"]["body"]["choices"][0]["message"]["content"] == "null"


def test_openai_requests_give_openai_responses(batch: Batch, here: Path) -> None:
    def request(name: str, **body: Any) -> str:
        messages = [{"role": "user", "content": f"the words {name}"}]
        where = {"method": "POST", "url": "/v1/chat/completions"}
        return json.dumps({"custom_id": name, **where, "body": {"messages": messages, **body}})

    rows = [request("a", max_tokens=2), request("b", seed=3), request("c", tools=[{}])]
    (here / "in.jsonl").write_text("\n".join(rows))
    result = batch("generate", "in.jsonl", "--format", "openai", "-o", "o.jsonl", "--ordered")
    assert result.status == 10
    assert "body.tools is not supported" in result.stderr
    a, b, c = lines_of(here / "o.jsonl")
    for line in (a, b, c):
        assert set(line) == {"id", "custom_id", "response", "error"}
        check_schema("batch-openai-line", line)
    assert (a["custom_id"], a["error"], a["response"]["status_code"]) == ("a", None, 200)
    body = a["response"]["body"]
    assert set(body) == {"id", "object", "created", "model", "choices", "usage"}
    assert (body["object"], type(body["created"])) == ("chat.completion", int)
    (choice,) = body["choices"]
    message = {"role": "assistant", "content": "the words"}
    assert choice == {"index": 0, "message": message, "finish_reason": "length"}
    usage = body["usage"]
    assert usage["completion_tokens"] == 2
    assert usage["total_tokens"] == usage["prompt_tokens"] + 2
    assert b["response"]["body"]["choices"][0]["finish_reason"] == "stop"
    assert c["response"] is None
    assert c["error"]["code"] == "usage"
    again = batch("generate", "in.jsonl", "--format", "openai", "-o", "o.jsonl", "--ordered")
    assert again.stderr.startswith("mistral-cli: 2 of 3 rows done, 2 of them in earlier runs, 1 f")
    assert lines_of(here / "o.jsonl") == [a, b, c]
