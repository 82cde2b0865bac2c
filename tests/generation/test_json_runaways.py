"""JSON answers that run away: the value ends, the model goes on, and the user is warned."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from support.plans import request_of
from support.program import Run
from synthetic.scripted import write_scripted

from mistral_cli.engines.types import FinishReason, Request
from mistral_cli.errors import OutputCut, OutputInvalid
from mistral_cli.generation.answer import Answer, AnswerEnded, Result, Timings
from mistral_cli.generation.json_answers.retry import extract
from mistral_cli.generation.json_answers.runaways import ask
from mistral_cli.generation.session import Executor
from mistral_cli.generation.task import Task
from mistral_cli.structured.completion import admits
from mistral_cli.structured.runaways import Limits, RunawayWatch
from mistral_cli.structured.schema import Schema
from mistral_cli.structured.spec import OutputSpec

TEXT = "Bob, 34, from Lyon, and Eve, 35, from Oslo."
LIMITS = Limits.while_streaming(TEXT)
STRING: Schema = {"type": "string"}


def closed(required: str = "", **properties: Schema) -> Schema:
    return {
        "type": "object",
        "properties": properties,
        "required": required.split(),
        "additionalProperties": False,
    }


class Script:
    """Answers a request with what follows in the script after the answer's beginning.

    A step is what the answer must begin with, and what the model adds; "…" cuts it there.
    """

    def __init__(self, *steps: tuple[str, str]) -> None:
        self.steps = [*steps]
        self.read = 0

    def __call__(
        self, request: Request, stop: Sequence[str], on_text: Callable[[str], None]
    ) -> Answer:
        beginning, text = self.steps.pop(0)
        assert request.written == beginning
        cut, text = text.endswith("…"), text.removesuffix("…")
        shown = ""
        reason: FinishReason = "length" if cut else "stop"
        for character in text:
            shown += character
            try:
                on_text(character)
            except AnswerEnded:
                reason = "stop"
                break
        self.read += len(shown)
        return Answer(shown, reason, len(shown), Timings(0.0, 0.0, 0.0))


def tokenize(text: str) -> list[int]:
    return [31_000 + byte % 500 for byte in text.encode()]


def stopped_at(whole: str) -> int:
    """Where the watch stops an answer."""
    watch = RunawayWatch(TEXT, LIMITS)
    return next(n for n, character in enumerate(whole, start=1) if watch.feed(character))


def answer(model: Path, schema: Schema, script: Script, **options: Any) -> Result:
    prepared, planner = request_of(Task("json-extract", schema=schema), model, TEXT, **options)
    executor = Executor(replace(planner, tokenize=tokenize), script)
    result = extract(prepared, executor, lambda _: None)
    assert not script.steps
    return result


def data_of(result: Result) -> Any:
    assert result.extraction
    return result.extraction.data


def test_the_model_goes_on_after_a_string(mistral: Path) -> None:
    loop = '{"name": "Bob' + " and so on" * 30 + '", "town": "Oslo"}'
    script = Script(("", loop), ('{"name": "Bob and so on"', ', "town": "Lyon"}'))
    schema = closed("name town", name=STRING, town=STRING)
    result = answer(mistral, schema, script, max_tokens=400)
    assert data_of(result) == {"name": "Bob and so on", "town": "Lyon"}
    assert script.read < 150  # the model was stopped long before its end
    assert result.warnings == ("the string at /name repeats itself, and was ended",)
    assert result.answer.finish_reason == "stop"
    assert result.answer.completion_tokens == len(result.answer.text)


def test_free_text_is_a_schema_that_was_not_enforced(mistral: Path) -> None:
    script = Script(("", 'Sure: {"na\\me": "Bob", "no\nte": 1}'), ("", '{"name\\u1": 2}'))
    with pytest.raises(OutputInvalid, match="could not enforce the schema"):
        answer(mistral, closed("name", name=STRING), script, max_tokens=100)


def test_an_answer_has_no_more_tokens_than_its_limit(mistral: Path) -> None:
    """Also where the tokenizer splits it into more than the model wrote."""
    loop = '{"name": "Bob' + " and so on" * 30 + '", "town": "Oslo"}'
    script = Script(("", loop), ('{"name": "Bob and so on"', ', "town": "Lyon"}'))
    result = answer(mistral, closed("name town", name=STRING, town=STRING), script, max_tokens=30)
    assert data_of(result)["town"] == "Lyon"
    assert len(result.answer.text) > result.answer.completion_tokens == 30


def test_lists_objects_and_nested_values_end(mistral: Path) -> None:
    tree: Schema = {"$ref": "#/$defs/tree"}
    schema = closed(
        "names notes tree",
        names={"type": "array", "items": STRING},
        notes={"type": "object", "additionalProperties": STRING},
        tree=tree,
    )
    schema["$defs"] = {"tree": closed(tree={"anyOf": [tree, {"type": "null"}]})}
    names = '{"names": ["Bob"' + ', "Barcelona Fashion"' * 9
    notes = ', "notes": {"a": "b"' + ', "self": "the same one"' * 9
    nested = ', "tree": {"tree": ' + '{"tree": ' * 30
    first = '{"names": ["Bob", "Barcelona Fashion"]'
    second = first + ', "notes": {"a": "b", "self": "the same one"}'
    third = second + ', "tree": {"tree": null'
    script = Script(("", names), (first, notes), (second, nested), (third, "}}"))
    result = answer(mistral, schema, script, max_tokens=900)
    assert data_of(result)["names"] == ["Bob", "Barcelona Fashion"]
    assert len(result.warnings) == 3


def test_what_the_grammar_does_not_let_end_goes_on(mistral: Path) -> None:
    """The engine is stopped, and then continues from what it had written."""
    code: Schema = {"type": "string", "pattern": "^[a-z]{300}$"}
    whole = json.dumps({"code": "ab" * 140 + "cd" * 10})
    at = stopped_at(whole)
    script = Script(("", whole), (whole[:at], whole[at:]))
    result = answer(mistral, closed("code", code=code), script, max_tokens=500)
    assert data_of(result) == json.loads(whole)
    assert result.warnings == ()


def test_a_string_that_its_pattern_does_not_let_end_is_written_again(mistral: Path) -> None:
    """The model writes it under a grammar in which such strings are short, so that it must end."""
    name: Schema = {"type": "string", "pattern": "^[a-z]+/[a-z]+$"}
    loop = '{"name": "' + "bob" * 99
    script = Script(("", loop), ('{"name":', ' "bob/eve"}'))
    prepared, planner = request_of(
        Task("json-extract", schema=closed("name", name=name)), mistral, TEXT, max_tokens=400
    )
    requests = list[Request]()

    def spy(request: Request, stop: Sequence[str], on_text: Callable[[str], None]) -> Answer:
        requests.append(request)
        return script(request, stop, on_text)

    executor = Executor(replace(planner, tokenize=tokenize), spy)
    result = extract(prepared, executor, lambda _: None)
    assert data_of(result) == {"name": "bob/eve"}
    assert result.warnings == ("the string at /name repeats itself, and was ended",)
    first, again = (request.grammar or "" for request in requests)
    assert admits(first, loop)
    assert admits(again, '{"name": "' + "b" * 62)
    assert not admits(again, '{"name": "' + "b" * 63)  # room for the slash and a letter


def test_a_number_that_is_the_whole_answer_ends_it(mistral: Path) -> None:
    script = Script(("", "1." + "3" * 90))
    result = answer(mistral, {"type": "number"}, script, max_tokens=400)
    assert str(data_of(result)).startswith("1.333")
    assert result.answer.finish_reason == "stop"
    (warning,) = result.warnings
    assert warning.startswith("the number has more than")


def test_an_object_ends_before_a_key_that_it_has(mistral: Path) -> None:
    """Such a key would make the answer invalid."""
    notes: Schema = {"type": "object", "additionalProperties": STRING}
    loop = '{"notes": {"a": "b", "c": "d", "a": "e", "f": "g"}}'
    script = Script(("", loop), ('{"notes": {"a": "b", "c": "d"}', "}"))
    result = answer(mistral, closed("notes", notes=notes), script, max_tokens=400)
    assert data_of(result) == {"notes": {"a": "b", "c": "d"}}
    assert result.warnings == ("the object at /notes has the key 'a' twice, and was ended",)


def test_an_answer_in_which_everything_runs_away_is_cut(mistral: Path) -> None:
    """It would take a request for each of its strings."""
    steps, written = list[tuple[str, str]](), ""
    for number in range(13):
        steps.append((written, ("[" if number == 0 else ", ") + f'"{number}' + " and so on" * 30))
        written += ("[" if number == 0 else ", ") + f'"{number} and so on"'
    prepared, planner = request_of(
        Task("json-extract", schema={"type": "array", "items": STRING}), mistral, TEXT
    )
    script = Script(*steps)
    executor = Executor(replace(planner, tokenize=tokenize), script)
    attempt = ask(prepared, executor, prepared.request, lambda _: None)
    assert not script.steps
    assert (attempt.answer.finish_reason, attempt.runs_away) == ("length", True)
    assert len(attempt.warnings) == 12


def test_a_value_ends_by_the_grammar_of_its_own_attempt(mistral: Path) -> None:
    """That of a second attempt may forbid what the schema allows: here, a list of two items."""
    names: Schema = {"type": "array", "items": STRING}
    schema, tighter = closed("names", names=names), closed("names", names={**names, "minItems": 9})
    whole = json.dumps({"names": ["Bob", *["Barcelona Fashion"] * 9]})
    at = stopped_at(whole)
    prepared, planner = request_of(Task("json-extract", schema=schema), mistral, TEXT)
    executor = Executor(
        replace(planner, tokenize=tokenize), Script(("", whole), (whole[:at], whole[at:]))
    )
    request = replace(prepared.request, grammar=OutputSpec(tighter).grammar)
    attempt = ask(prepared, executor, request, lambda _: None)
    assert (attempt.answer.text, attempt.warnings) == (whole, ())


def test_a_cut_list_ends_where_it_stopped_telling_anything(mistral: Path) -> None:
    items = [{"name": "Bob"}, {"name": "Eve"}, *({"name": f"Nobody {n}"} for n in range(20))]
    schema = closed("people", people={"type": "array", "items": closed("name", name=STRING)})
    cut = json.dumps({"people": items})[:-2]
    kept = '{"people": [{"name": "Bob"}, {"name": "Eve"}]'
    script = Script(("", cut + "…"), (kept, "}"))
    result = answer(mistral, schema, script, max_tokens=400)
    assert data_of(result) == {"people": [{"name": "Bob"}, {"name": "Eve"}]}
    (warning,) = result.warnings
    assert "list at /people went on for 9 members without a new word of the text" in warning


def test_a_cut_list_of_what_the_text_has_is_not_ended(mistral: Path) -> None:
    """What was cut because the limit is too low must fail, not lose its end in silence."""
    cut = '{"words": ["Bob", "34", "Lyon", "Eve", "35", "Os…'
    schema = closed("words", words={"type": "array", "items": STRING})
    with pytest.raises(OutputCut):
        answer(mistral, schema, Script(("", cut), ("", cut)), max_tokens=45)


LOOP = (' "', " the", " of", " and", " to", " the")


@pytest.mark.parametrize("engine", ["llama.cpp", "ctransformers"])
def test_real_engines(
    engine: str, request: pytest.FixtureRequest, tmp_path: Path, run: Run
) -> None:
    """A model that says "the of and to" for ever in each string; batch rows, too."""
    vocabulary = request.getfixturevalue("smollm2" if engine == "llama.cpp" else "mistral")
    template = "{% for m in messages %}{{ m.content }}{% endfor %}"
    model = write_scripted(tmp_path / "loop.gguf", vocabulary, template, LOOP)
    schema = closed("name age", name=STRING, age={"type": "integer", "minimum": 1, "maximum": 9})
    options = ("-m", model, "--engine", engine, "--schema", json.dumps(schema), "-n", 90)
    result = run("json-extract", "A text.", "--json", *options)
    assert result.status == 0, result.stderr
    printed = json.loads(result.stdout)
    assert printed["data"]["name"].count("of and to the") <= 2
    assert printed["finish_reason"] == "stop"
    assert printed["warnings"] == ["the string at /name repeats itself, and was ended"]
    rows, results = tmp_path / "rows.jsonl", tmp_path / "results.jsonl"
    rows.write_text('{"text": "A text."}\n{"text": "Another text."}\n', encoding="utf-8")
    assert run("batch", "json-extract", rows, "-o", results, *options).status == 0
    records = [json.loads(line) for line in results.read_text(encoding="utf-8").splitlines()]
    assert [each["data"] for each in records] == 2 * [printed["data"]]
