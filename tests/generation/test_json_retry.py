"""Retries of cut and invalid JSON: the requests, how many there are, and the printed items."""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from support.grammars import admits
from support.plans import request_of
from support.terminals import make_terminal

from mistral_cli.engines.types import FinishReason, Request
from mistral_cli.errors import MistralCliError, OutputCut, OutputInvalid
from mistral_cli.generation.answer import Answer, AnswerEnded, Result, Timings
from mistral_cli.generation.json_answers.retry import extract, extract_items
from mistral_cli.generation.options import OnLimit
from mistral_cli.generation.planner import PreparedRequest, RequestPlanner
from mistral_cli.generation.session import Executor
from mistral_cli.generation.task import Task
from mistral_cli.generation.writers import ItemsWriter
from mistral_cli.models.gguf import read_gguf
from mistral_cli.models.gguf.plain_text import tokenize_continued
from mistral_cli.structured.completion import admits as admits_beginning
from mistral_cli.structured.fields import schema_from_fields

GOOD = '{"name": "Bob", "age": 34}'
CUT = '{"name": "Bo'
BAD = '{"name": "Bob"}'
PEOPLE = [{"name": name, "age": 30 + n} for n, name in enumerate(("Al", "Bo", "Cy", "Di", "Ed"))]


def tokenize(text: str) -> list[int]:
    return [31_000 + byte % 500 for byte in text.encode()]


Planned = tuple[PreparedRequest, RequestPlanner]


def make_plan(model: Path, **options: Any) -> Planned:
    values = {name: options.pop(name) for name in ("many", "grounded", "jsonl") if name in options}
    task = Task("json-extract", schema=schema_from_fields("name, age int"), **values)
    return request_of(task, model, "Bob is 34", **options)


class Model:
    """Gives its answers one after the other, and records the requests."""

    def __init__(self, *answers: str, deltas: int = 1, tokens: int | None = None) -> None:
        self._answers = list(answers)
        self._deltas, self._tokens = deltas, tokens
        self.requests: list[Request] = []

    def __call__(
        self, request: Request, stop: Sequence[str], on_text: Callable[[str], None]
    ) -> Answer:
        self.requests.append(request)
        text = self._answers.pop(0)
        cut = text.endswith("…")
        text = text.removesuffix("…")
        size = max(len(text) // self._deltas, 1)
        with contextlib.suppress(AnswerEnded):
            for start in range(0, len(text), size):
                on_text(text[start : start + size])
        reason: FinishReason = "length" if cut else "stop"
        tokens = min(len(text), self._tokens or len(text))
        return Answer(text, reason, tokens, Timings(0.0, 0.0, 0.0))


def run(plan: Planned, model: Model) -> Result:
    prepared, planner = plan
    return extract(prepared, Executor(replace(planner, tokenize=tokenize), model), lambda _: None)


def data_of(result: Result) -> Any:
    assert result.extraction
    return result.extraction.data


def test_a_valid_answer_is_not_retried(mistral: Path) -> None:
    plan, model = make_plan(mistral, max_tokens=50), Model(GOOD)
    result = run(plan, model)
    assert data_of(result) == json.loads(GOOD)
    assert result.warnings == ()
    assert model.requests == [plan[0].request]


def test_a_cut_answer_is_retried_with_a_higher_limit_and_then_asked_to_be_brief(
    tmp_path: Path, mistral: Path
) -> None:
    template = tmp_path / "t.txt"
    template.write_text("+++\n[options]\nmax_tokens = 40\n+++\n{{ text }}")
    task = Task("json-extract", schema=schema_from_fields("name, age int"))
    plan = request_of(task, mistral, "Bob is 34", template=template)
    model = Model(CUT + "…", CUT + "…", GOOD)
    result = run(plan, model)
    first, roomy, brief = model.requests
    assert (first.max_tokens, roomy.max_tokens, brief.max_tokens) == (40, 80, 80)
    assert first.prompt_token_ids == roomy.prompt_token_ids != brief.prompt_token_ids
    assert {r.grammar for r in model.requests} == {plan[0].request.grammar}
    assert len(result.warnings) == 2
    assert "cut at 12 tokens" in result.warnings[0]


def test_a_repetitive_answer_is_not_retried_with_a_higher_limit(mistral: Path) -> None:
    plan, model = make_plan(mistral), Model(f'["{"again and " * 9}…', GOOD)
    prepared, planner = plan
    roomy = prepared.longest_answer > prepared.request.max_tokens
    assert roomy or planner.config.model.context_length == 512
    assert len(run(plan, model).warnings) == 1
    assert model.requests[1].prompt_token_ids != prepared.request.prompt_token_ids


def test_the_retry_of_a_cut_answer_has_fewer_optional_properties(mistral: Path) -> None:
    """What the answer has may stay; in the objects in it, only what is required."""
    text = {"type": "string"}
    inner = {"type": "object", "properties": {"x": text, "y": text}, "required": ["x"]}
    named = {"id": text, "name": text, "more": inner, "note": text}
    schema = {"type": "object", "properties": named, "required": ["more"]}
    task = Task("json-extract", schema=schema)
    plan = request_of(task, mistral, "Bob is 34", max_tokens=60)
    cut = '{"id": "1", "more": {"x": "2", "y": "3"}, "note": "4…'
    model = Model(cut, '{"id": "1", "more": {"x": "2"}}')
    result = run(plan, model)
    assert data_of(result) == {"id": "1", "more": {"x": "2"}}
    grammar = model.requests[1].grammar or ""
    assert admits(grammar, '{"id": "1", "more": {"x": "2"}}')
    for text_of_another in ('{"name"', '{"more": {"x": "2", "y"', '{"more": {"x": "2"}, "note"'):
        assert not admits_beginning(grammar, text_of_another)


def test_the_users_limit_is_never_raised(mistral: Path) -> None:
    plan, model = make_plan(mistral, max_tokens=20), Model(CUT + "…", CUT + "…")
    with pytest.raises(OutputCut) as caught:
        run(plan, model)
    assert [request.max_tokens for request in model.requests] == [20, 20]
    assert CUT in caught.value.details


def test_the_retry_of_an_invalid_answer_contains_the_error(mistral: Path) -> None:
    plan, model = make_plan(mistral, max_tokens=60), Model(BAD, GOOD)
    result = run(plan, model)
    assert data_of(result) == json.loads(GOOD)
    second = model.requests[1].prompt_token_ids
    assert tokens_of(BAD) in joined(second)
    assert tokens_of("'age' is a required property") in joined(second)


def joined(ids: Sequence[int]) -> str:
    return " ".join(map(str, ids))


def tokens_of(text: str) -> str:
    return joined(tokenize(text))


@pytest.mark.parametrize("answers", [(BAD, BAD), (BAD, "[]"), (CUT + "…", BAD)], ids=range(3))
def test_a_request_is_retried_only_once(mistral: Path, answers: tuple[str, ...]) -> None:
    plan, model = make_plan(mistral, max_tokens=60), Model(*answers)
    with pytest.raises(OutputInvalid) as caught:
        run(plan, model)
    assert caught.value.message.endswith("(after 2 attempts)")
    assert len(model.requests) == 2
    assert answers[-1] in caught.value.details


@pytest.mark.parametrize("answer", [BAD, CUT + "…"])
def test_a_raw_prompt_is_not_retried(mistral: Path, answer: str) -> None:
    plan, model = make_plan(mistral, max_tokens=60, raw=True), Model(answer)
    with pytest.raises(MistralCliError):
        run(plan, model)


def test_a_retry_that_does_not_fit_is_not_sent(mistral: Path) -> None:
    plan = make_plan(mistral, max_tokens=30)
    # Longer than what is left of the context, and nothing that would be ended as a runaway.
    numbers = " ".join(map(str, range(200)))[:490]
    long = f'{{"name": "{numbers}"}}'
    assert plan[0].context_length - plan[0].prompt_tokens < len(long)
    with pytest.raises(OutputInvalid, match="required"):
        run(plan, Model(long))


# --- lists, item by item -------------------------------------------------------------------------


def printed(model: Path, *answers: str, deltas: int) -> tuple[list[Any], MistralCliError | None]:
    prepared, planner = make_plan(model, jsonl=True, many=True)
    stdout = io.StringIO()
    writer = ItemsWriter(make_terminal(stdout=stdout))
    error = None
    try:
        extract_items(prepared, Executor(planner, Model(*answers, deltas=deltas)), writer)
    except MistralCliError as raised:
        error = raised
    return [json.loads(line) for line in stdout.getvalue().splitlines()], error


@pytest.mark.parametrize("deltas", [1, 3, 1000])
def test_items_are_printed_as_they_are_completed(mistral: Path, deltas: int) -> None:
    assert printed(mistral, f"[{GOOD}, {GOOD}]", deltas=deltas) == ([json.loads(GOOD)] * 2, None)
    assert printed(mistral, "[]", deltas=deltas) == ([], None)


@pytest.mark.parametrize("deltas", [1, 1000])
@pytest.mark.parametrize(
    ("answer", "error_type"),
    [(f"[{GOOD}, {CUT}…", OutputCut), (f"[{GOOD}, {BAD}, ", OutputInvalid)],
)
def test_the_error_counts_the_items_printed_before_it(
    mistral: Path, answer: str, error_type: type[MistralCliError], deltas: int
) -> None:
    items, error = printed(mistral, answer, deltas=deltas)
    assert items == [json.loads(GOOD)]
    assert isinstance(error, error_type)
    assert "(items already printed: 1)" in error.message
    assert GOOD in error.details


@pytest.mark.parametrize("answer", [f'[{GOOD}, {{"b"', f"[{GOOD}", f"[{GOOD}, ", GOOD, ""])
def test_an_unfinished_list_is_invalid(mistral: Path, answer: str) -> None:
    items, error = printed(mistral, answer, deltas=7)
    assert items == [json.loads(GOOD)] * answer.startswith(f"[{GOOD}")
    assert isinstance(error, OutputInvalid)


def test_a_streamed_list_has_the_higher_limit_at_once(mistral: Path) -> None:
    prepared, _ = make_plan(mistral, jsonl=True, many=True)
    assert prepared.request.max_tokens == prepared.longest_answer


LONG = '{"name": "one two three four five six seven eight nine ten eleven '


def close(plan: Planned, model: Model) -> Result:
    prepared, planner = plan
    executor = Executor(replace(planner, tokenize=tokenize), model)
    return extract(closing(prepared), executor, lambda _: None)


def closing(prepared: PreparedRequest) -> PreparedRequest:
    return replace(prepared, on_limit=OnLimit.CLOSE)


def test_a_cut_answer_is_closed_and_the_model_writes_what_is_missing(mistral: Path) -> None:
    plan, model = make_plan(mistral, max_tokens=100), Model(LONG + "…", "…", " 34}")
    result = close(plan, model)
    assert result.answer.text == LONG + '", "age": 34}'
    assert data_of(result)["age"] == 34
    first, _, second = model.requests
    assert first.max_tokens < 100  # some of them are kept for closing
    assert second.written == LONG + '", "age":'
    beginning = tokenize_continued(read_gguf(mistral), second.written, tokenize)
    assert second.prompt_token_ids == (*first.prompt_token_ids, *beginning)
    assert second.max_tokens == 100 - len(LONG + '", "age": 0}')
    assert result.answer.finish_reason == "closed"
    assert result.answer.completion_tokens == len(result.answer.text)
    assert result.warnings == ("the answer reached its limit and was closed at /name",)


def test_a_model_goes_on_where_it_was_cut(mistral: Path) -> None:
    plan, model = make_plan(mistral, max_tokens=100), Model('{"name": "Bo…', 'b", "age": 34}')
    result = close(plan, model)
    assert result.answer.text == GOOD
    assert (result.answer.finish_reason, result.warnings) == ("stop", ())
    assert model.requests[1].written == '{"name": "Bo'


def test_a_closed_answer_has_no_more_tokens_than_its_limit(mistral: Path) -> None:
    """Also where the tokenizer splits it into more than the model wrote."""
    rest = f'{LONG[len(CUT) :]}", "age": 34}}'
    plan, model = make_plan(mistral, max_tokens=60), Model(CUT + "…", rest)
    result = close(plan, model)
    assert len(result.answer.text) > 60
    assert (result.answer.completion_tokens, result.answer.finish_reason) == (60, "stop")


def test_what_the_model_does_not_end_is_ended(mistral: Path) -> None:
    plan, model = make_plan(mistral, max_tokens=100), Model(LONG + "…", "…", " 3…", "4…")
    result = close(plan, model)
    assert data_of(result)["age"] == 34
    assert result.warnings == ("the answer reached its limit and was closed at /name, /age",)


def test_without_room_for_the_model_a_value_is_a_placeholder(mistral: Path) -> None:
    plan = make_plan(mistral, max_tokens=len(LONG + '", "age": 0}'))
    result = close(plan, Model(LONG + "…"))
    assert data_of(result)["age"] == 0
    assert result.warnings == (
        "the answer reached its limit and was closed at /name; not from the model: /age",
    )


def test_a_limit_that_no_value_fits(mistral: Path) -> None:
    plan, model = make_plan(mistral, max_tokens=12), Model("{…")
    with pytest.raises(OutputCut) as caught:
        close(plan, model)
    assert caught.value.message.startswith("the JSON was cut at 1 token")


def test_a_member_that_is_not_valid_goes(mistral: Path) -> None:
    task = Task("json-extract", schema={"type": "array", "uniqueItems": True, "maxItems": 9})
    plan = request_of(task, mistral, "Bob is 34", max_tokens=60)
    result = close(plan, Model("[1, 2, 3, 4, 5, 6, 7, 8, 1…", "…", "…"))
    assert data_of(result) == [1, 2, 3, 4, 5, 6, 7, 8]


def test_a_key_that_the_model_repeats_goes(mistral: Path) -> None:
    schema = {"type": "object", "additionalProperties": {"type": "integer"}}
    plan = request_of(Task("json-extract", schema=schema), mistral, "Bob is 34", max_tokens=60)
    twice = '{"a": 1, "b": 2, "a": 3, "a": 3, "a": 3, "a"'
    assert data_of(close(plan, Model(twice + "…", "…", "…"))) == {"a": 1, "b": 2}
    assert data_of(close(plan, Model('{"a": 1, "b"…', ': 2, "a": 5}'))) == {"a": 1}


def test_an_open_list_is_closed_behind_the_items_that_are_printed(mistral: Path) -> None:
    plan = make_plan(mistral, max_tokens=150, many=True, jsonl=True)
    model = Model(f"[{GOOD}, {LONG}…", "…", " 5}…", "…", "…")
    items, result = printed_and_closed(plan, model)
    assert items == [json.loads(GOOD), {"name": LONG.partition(': "')[2], "age": 5}]
    assert result.answer.finish_reason == "closed"
    assert result.warnings == ("the answer reached its limit and was closed at /1/name, /2",)


def printed_and_closed(plan: Planned, model: Model) -> tuple[list[Any], Result]:
    prepared, planner = plan
    output = io.StringIO()
    writer = ItemsWriter(make_terminal(stdout=output))
    executor = Executor(replace(planner, tokenize=tokenize), model)
    result = extract_items(closing(prepared), executor, writer)
    return [json.loads(line) for line in output.getvalue().splitlines()], result


@pytest.mark.parametrize(
    ("rest", "answers"), [("", ["…", "…"]), (', {"name": "Al', ["…", " 35…", "…", "…"])]
)
def test_a_closed_list_has_all_items_that_are_printed(
    mistral: Path, rest: str, answers: list[str]
) -> None:
    """Also where the tokenizer splits them into more tokens than the model wrote."""
    plan = make_plan(mistral, max_tokens=120, many=True, jsonl=True)
    text = json.dumps(PEOPLE)[:-1] + rest
    assert len(tokenize(text)) > 120
    items, result = printed_and_closed(plan, Model(text + "…", *answers, tokens=30))
    assert items[:5] == PEOPLE
    assert items == json.loads(result.answer.text)
    assert result.answer.finish_reason == "closed"
    assert result.answer.completion_tokens <= 120


def test_a_list_that_cannot_end_behind_the_printed_items_is_cut(mistral: Path) -> None:
    plan = make_plan(mistral, max_tokens=120, many=True, jsonl=True)
    with pytest.raises(OutputCut, match=r"items already printed: 5"):
        printed_and_closed(plan, Model(json.dumps(PEOPLE)[:-1] + "…", tokens=120))


def test_items_that_repeat_stay_in_the_list_once_they_are_printed(mistral: Path) -> None:
    plan = make_plan(mistral, max_tokens=2000, many=True, jsonl=True)
    model = Model(f"[{', '.join([GOOD] * 50)}", "", deltas=60)
    items, result = printed_and_closed(plan, model)
    assert 4 <= len(items) < 50
    assert items == json.loads(result.answer.text)
    assert len(result.warnings) == 1
    assert "the list repeats itself" in result.warnings[0]


REPEATED = '{"map": {"self": 1, "b": 2, "self": 3'


def test_the_retry_after_a_repeated_item_can_have_it_only_once(mistral: Path) -> None:
    schema = {"type": "array", "items": {"type": "string"}, "uniqueItems": True}
    task = Task("json-extract", schema=schema, grounded=True)
    model = Model('["Bob", "Bob"]', '["Bob"]')
    assert data_of(run(request_of(task, mistral, "Bob, Al", max_tokens=50), model)) == ["Bob"]
    first, last = (request.grammar or "" for request in model.requests)
    assert admits(first, '["Bob", "Al", "Bob"]')
    assert not admits(last, '["Bob", "Al", "Bob"]')
    assert admits(last, '["Al", "Bob"]')


def test_an_answer_that_is_cut_after_a_colon_in_a_string_is_retried(mistral: Path) -> None:
    plan = make_plan(mistral, grounded=True, max_tokens=100)
    model = Model('{"name": "Bob: is, 34: and…', GOOD)
    prepared, planner = plan
    result = extract(prepared, Executor(planner, model), lambda _: None)
    assert data_of(result) == json.loads(GOOD)


def test_the_retry_after_a_repeated_key_can_have_it_only_once(mistral: Path) -> None:
    """A key that is repeated and then ends its object in one token is not found before that."""
    numbers = {"type": "object", "additionalProperties": {"type": "integer"}}
    task = Task("json-extract", schema={"type": "object", "properties": {"map": numbers}})
    good = '{"map": {"self": 1, "b": 2, "c": 3}}'
    model = Model(REPEATED + "}}", good)
    assert data_of(run(request_of(task, mistral, "Bob", max_tokens=50), model)) == json.loads(good)
    first, second = (request.grammar or "" for request in model.requests)
    assert admits(first, REPEATED + "}}")
    assert not admits(second, REPEATED + "}}")
    assert admits(second, good)
    assert admits(second, '{"map": {"c": 3}}')
