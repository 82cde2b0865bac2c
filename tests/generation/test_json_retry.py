"""JSON asked for until it is whole and holds: what is asked, how often, and what is printed."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from support.plans import request_of
from support.terminals import make_terminal

from mistral_cli.engines.types import FinishReason, Request
from mistral_cli.errors import MistralCliError, OutputCut, OutputInvalid
from mistral_cli.generation.answer import Answer, Result, Timings
from mistral_cli.generation.json_retry import extract, extract_items
from mistral_cli.generation.planner import PreparedRequest, RequestPlanner
from mistral_cli.generation.session import Executor
from mistral_cli.generation.task import Task
from mistral_cli.generation.writers import ItemsWriter
from mistral_cli.structured.fields import schema_from_fields

GOOD = '{"name": "Bob", "age": 34}'
CUT = '{"name": "Bo'
BAD = '{"name": "Bob"}'


def tokenize(text: str) -> list[int]:
    return [31_000 + byte % 500 for byte in text.encode()]


Planned = tuple[PreparedRequest, RequestPlanner]


def make_plan(model: Path, **given: Any) -> Planned:
    values = {name: given.pop(name) for name in ("many", "grounded", "jsonl") if name in given}
    task = Task("json-extract", schema=schema_from_fields("name, age int"), **values)
    return request_of(task, model, "Bob is 34", **given)


class Model:
    """Says its answers one after the other and remembers what it was asked."""

    def __init__(self, *answers: str, pieces: int = 1) -> None:
        self._answers = list(answers)
        self._pieces = pieces
        self.requests: list[Request] = []

    def __call__(
        self, request: Request, stop: Sequence[str], on_text: Callable[[str], None]
    ) -> Answer:
        self.requests.append(request)
        text = self._answers.pop(0)
        cut = text.endswith("…")
        text = text.removesuffix("…")
        size = max(len(text) // self._pieces, 1)
        for start in range(0, len(text), size):
            on_text(text[start : start + size])
        reason: FinishReason = "length" if cut else "stop"
        return Answer(text, reason, len(text), Timings(0.0, 0.0, 0.0))


def run(plan: Planned, model: Model) -> Result:
    prepared, planner = plan
    return extract(prepared, Executor(replace(planner, tokenize=tokenize), model), lambda _: None)


def data_of(result: Result) -> Any:
    assert result.extraction
    return result.extraction.data


def test_a_good_answer_is_asked_for_once(mistral: Path) -> None:
    plan, model = make_plan(mistral, max_tokens=50), Model(GOOD)
    found = run(plan, model)
    assert data_of(found) == json.loads(GOOD)
    assert found.warnings == ()
    assert model.requests == [plan[0].request]


def test_a_cut_answer_gets_more_room_and_then_a_wish(tmp_path: Path, mistral: Path) -> None:
    template = tmp_path / "t.txt"
    template.write_text("+++\n[options]\nmax_tokens = 40\n+++\n{{ text }}")
    task = Task("json-extract", schema=schema_from_fields("name, age int"))
    plan = request_of(task, mistral, "Bob is 34", template=template)
    model = Model(CUT + "…", CUT + "…", GOOD)
    found = run(plan, model)
    first, roomy, brief = model.requests
    assert (first.max_tokens, roomy.max_tokens, brief.max_tokens) == (40, 80, 80)
    assert first.prompt_token_ids == roomy.prompt_token_ids != brief.prompt_token_ids
    assert {r.grammar for r in model.requests} == {plan[0].request.grammar}
    assert len(found.warnings) == 2
    assert "cut at 12 tokens" in found.warnings[0]


def test_more_room_is_no_help_against_going_round_in_circles(mistral: Path) -> None:
    plan, model = make_plan(mistral), Model(f'["{"again and " * 9}…', GOOD)
    prepared, planner = plan
    roomy = prepared.longest_answer > prepared.request.max_tokens
    assert roomy or planner.config.model.context_length == 512
    assert len(run(plan, model).warnings) == 1
    assert model.requests[1].prompt_token_ids != prepared.request.prompt_token_ids


def test_the_users_limit_is_no_offer(mistral: Path) -> None:
    plan, model = make_plan(mistral, max_tokens=20), Model(CUT + "…", CUT + "…")
    with pytest.raises(OutputCut) as caught:
        run(plan, model)
    assert [request.max_tokens for request in model.requests] == [20, 20]
    assert CUT in caught.value.details


def test_an_invalid_answer_is_shown_what_is_wrong(mistral: Path) -> None:
    plan, model = make_plan(mistral, max_tokens=60), Model(BAD, GOOD)
    found = run(plan, model)
    assert data_of(found) == json.loads(GOOD)
    second = model.requests[1].prompt_token_ids
    assert tokens_of(BAD) in joined(second)
    assert tokens_of("'age' is a required property") in joined(second)


def joined(ids: Sequence[int]) -> str:
    return " ".join(map(str, ids))


def tokens_of(text: str) -> str:
    return joined(tokenize(text))


@pytest.mark.parametrize("answers", [(BAD, BAD), (BAD, "[]"), (CUT + "…", BAD)], ids=range(3))
def test_only_once_more(mistral: Path, answers: tuple[str, ...]) -> None:
    plan, model = make_plan(mistral, max_tokens=60), Model(*answers)
    with pytest.raises(OutputInvalid) as caught:
        run(plan, model)
    assert caught.value.message.endswith("(asked 2 times)")
    assert len(model.requests) == 2
    assert answers[-1] in caught.value.details


@pytest.mark.parametrize("answer", [BAD, CUT + "…"])
def test_without_a_chat_nothing_can_be_said(mistral: Path, answer: str) -> None:
    plan, model = make_plan(mistral, max_tokens=60, raw=True), Model(answer)
    with pytest.raises(MistralCliError):
        run(plan, model)


def test_what_no_longer_fits_is_not_asked(mistral: Path) -> None:
    plan = make_plan(mistral, max_tokens=30)
    long = '{"name": "' + "x" * plan[0].context_length + '"}'
    with pytest.raises(OutputInvalid, match="required"):
        run(plan, Model(long))


# --- lists, item by item -------------------------------------------------------------------------


def printed(model: Path, *answers: str, pieces: int) -> tuple[list[Any], MistralCliError | None]:
    prepared, planner = make_plan(model, jsonl=True, many=True)
    stdout = io.StringIO()
    writer = ItemsWriter(make_terminal(stdout=stdout))
    error = None
    try:
        extract_items(prepared, Executor(planner, Model(*answers, pieces=pieces)), writer)
    except MistralCliError as raised:
        error = raised
    return [json.loads(line) for line in stdout.getvalue().splitlines()], error


@pytest.mark.parametrize("pieces", [1, 3, 1000])
def test_items_are_printed_as_they_come(mistral: Path, pieces: int) -> None:
    assert printed(mistral, f"[{GOOD}, {GOOD}]", pieces=pieces) == ([json.loads(GOOD)] * 2, None)
    assert printed(mistral, "[]", pieces=pieces) == ([], None)


@pytest.mark.parametrize("pieces", [1, 1000])
@pytest.mark.parametrize(
    ("answer", "kind"), [(f"[{GOOD}, {CUT}…", OutputCut), (f"[{GOOD}, {BAD}, ", OutputInvalid)]
)
def test_what_was_printed_before_a_failure_is_told(
    mistral: Path, answer: str, kind: type[MistralCliError], pieces: int
) -> None:
    items, error = printed(mistral, answer, pieces=pieces)
    assert items == [json.loads(GOOD)]
    assert isinstance(error, kind)
    assert "(items printed before: 1)" in error.message
    assert GOOD in error.details


@pytest.mark.parametrize(
    "answer", [f'[{GOOD}, {{"b"', f"[{GOOD}", f"[{GOOD}, ", GOOD, "", "[" + "9" * 5000 + ","]
)
def test_a_list_that_does_not_end_is_none(mistral: Path, answer: str) -> None:
    items, error = printed(mistral, answer, pieces=7)
    assert items == [json.loads(GOOD)] * answer.startswith(f"[{GOOD}")
    assert isinstance(error, OutputInvalid)


def test_a_list_item_by_item_has_all_the_room_at_once(mistral: Path) -> None:
    prepared, _ = make_plan(mistral, jsonl=True, many=True)
    assert prepared.request.max_tokens == prepared.longest_answer
