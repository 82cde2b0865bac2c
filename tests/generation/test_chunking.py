"""Texts that do not fit: their chunks, the prompts about them, and the merged answers."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from support.plans import LONG, SUMMARY, Model, answered, jobs_of, respond

from mistral_cli.errors import ContextExceeded, UsageError
from mistral_cli.generation.answer import Answer
from mistral_cli.generation.chunking import check_mergeable
from mistral_cli.generation.options import Overflow
from mistral_cli.generation.session import Executor
from mistral_cli.generation.task import Task
from mistral_cli.structured.fields import schema_from_fields
from mistral_cli.texts.inputs import Text


@pytest.mark.parametrize("name", ["generate", "json-extract"])
def test_by_default_a_text_that_does_not_fit_is_refused(mistral: Path, name: str) -> None:
    with pytest.raises(ContextExceeded, match="fit into the context of 512 beside") as caught:
        jobs_of(Task(name), mistral, LONG)
    assert "--overflow" in caught.value.hint


@pytest.mark.parametrize("policy", [Overflow.HEAD, Overflow.TAIL])
def test_head_or_tail_is_kept_and_the_rest_is_reported(mistral: Path, policy: Overflow) -> None:
    ((job,), planner) = jobs_of(Task("generate"), mistral, LONG, overflow=policy)
    kept = job.requests[0].prompt.text.text
    assert LONG.startswith(kept) if policy is Overflow.HEAD else LONG.endswith(kept)
    assert planner.fits(planner.encode(job.requests[0].prompt))
    assert job.requests[0].prompt_tokens > planner.room(job.prompt) * 0.9
    where = "last" if policy is Overflow.HEAD else "first"
    assert job.left_out == f"the {where} {len(LONG) - len(kept)} of {len(LONG)} characters"
    result = respond(job, Executor(planner, Model(planner, str.upper)))
    assert result.left_out == job.left_out
    assert job.left_out in result.warnings[0]


@pytest.mark.parametrize("policy", [Overflow.HEAD, Overflow.TAIL])
@pytest.mark.parametrize("text", ["Short.", LONG[:900], LONG, LONG * 9, "x" * 9000, " \n" * 9000])
def test_a_text_that_is_far_too_long_is_cut_as_any_other(
    mistral: Path, monkeypatch: pytest.MonkeyPatch, policy: Overflow, text: str
) -> None:
    def cut(density: int) -> tuple[list[str], str]:
        monkeypatch.setattr("mistral_cli.generation.chunking._MAX_DENSITY", density)
        ((job,), _) = jobs_of(Task("generate"), mistral, text, overflow=policy)
        return [each.prompt.text.text for each in job.requests], job.left_out

    assert cut(0) == cut(10**9)


@pytest.mark.parametrize("policy", [Overflow.HEAD, Overflow.TAIL])
def test_only_the_part_that_is_kept_is_counted(mistral: Path, policy: Overflow) -> None:
    (_, planner) = jobs_of(Task("generate"), mistral, "x", overflow=policy)
    counted: list[int] = []

    def tokenize(text: str) -> list[int]:
        counted.append(len(text))
        return planner.tokenize(text)

    text = LONG * 2000
    prompt = planner.builder.build(Text(text, "stdin"))
    chunked = replace(planner, tokenize=tokenize).chunk(prompt.render(planner.config.model))
    kept = chunked.prompts[0].prompt.text.text
    assert text.startswith(kept) if policy is Overflow.HEAD else text.endswith(kept)
    assert len(text) > 8_000_000
    assert sum(counted) < 40 * len(kept)


def test_chunks_cover_the_text_and_fit(mistral: Path) -> None:
    ((job,), planner) = jobs_of(Task("generate"), mistral, LONG, overflow=Overflow.SPLIT)
    texts = [prepared.prompt.text.text for prepared in job.requests]
    assert len(texts) > 2
    assert "".join("".join(texts).split()) == "".join(LONG.split())
    assert all(planner.fits(planner.encode(prepared.prompt)) for prepared in job.requests)
    assert all(
        prepared.prompt_tokens + prepared.request.max_tokens <= 512 for prepared in job.requests
    )


def test_a_text_that_fits_is_not_split_whatever_the_policy(mistral: Path) -> None:
    for policy in Overflow:
        ((job,), _) = jobs_of(SUMMARY, mistral, "A short text.", overflow=policy)
        assert [prepared.prompt.text.text for prepared in job.requests] == ["A short text."]


@pytest.mark.parametrize("policy", [Overflow.HEAD, Overflow.SPLIT])
def test_an_instruction_that_fills_the_context_is_refused(mistral: Path, policy: Overflow) -> None:
    with pytest.raises(ContextExceeded, match="without its text"):
        jobs_of(Task("generate"), mistral, LONG, overflow=policy, system="word " * 600)


def test_a_text_is_not_split_if_its_json_cannot_be_merged(mistral: Path) -> None:
    ((_), planner) = jobs_of(Task("json-extract", schema={"type": "string"}), mistral, "x")
    with pytest.raises(UsageError, match="cannot be merged"):
        check_mergeable(planner.builder.spec, Overflow.SPLIT)
    check_mergeable(planner.builder.spec, Overflow.HEAD)


def test_answers_about_chunks_are_concatenated(mistral: Path) -> None:
    result, model = answered(
        Task("generate"), mistral, LONG, lambda prompt: prompt[-20:], overflow=Overflow.SPLIT
    )
    assert result.chunks == len(model.prompts) > 2
    assert result.answer.text == "\n\n".join(prompt[-20:].strip() for prompt in model.prompts)
    assert result.answer.prompt_tokens == sum(len(r.prompt_token_ids) for r in model.requests)


@pytest.mark.parametrize(
    ("cut", "warning"),
    [
        ({2}, "chunk 2: the answer was cut at"),
        ({1, 3}, "chunks 1 and 3: the answer was cut at"),
        (set(range(1, 8)), "7 of 8 chunks: the answer was cut at"),
    ],
)
def test_the_same_warning_about_several_chunks_is_one(
    mistral: Path, cut: set[int], warning: str
) -> None:
    ((job,), planner) = jobs_of(Task("generate"), mistral, LONG * 2, overflow=Overflow.SPLIT)
    assert len(job.requests) == 8
    model = Model(planner, lambda prompt: "some words of text"[: 9 + len(prompt) % 7])

    def ask(*arguments: Any) -> Answer:
        answer = model(*arguments)
        return replace(answer, finish_reason="length") if len(model.prompts) in cut else answer

    (only,) = respond(job, Executor(planner, ask)).warnings
    assert only.startswith(warning)


def test_lists_are_concatenated_with_spans_in_the_whole_text(mistral: Path) -> None:
    text = "\n\n".join(f"Person{n} is {n} years old and lives in a small house." for n in range(40))
    task = Task("json-extract", schema=schema_from_fields("name"), many=True, grounded=True)

    def first_name(prompt: str) -> str:
        name = prompt.split("JSON only.")[1].split("Person", 1)[1].split()[0]
        return json.dumps([{"name": f"Person{name}"}])

    result, model = answered(task, mistral, text, first_name, overflow=Overflow.SPLIT)
    for policy in (Overflow.HEAD, Overflow.TAIL):
        cut = answered(task, mistral, text, first_name, overflow=policy)[0].extraction
        assert cut
        assert text[slice(cut.spans[0].start, cut.spans[0].end)] == cut.data[0]["name"]
    assert result.extraction
    names = [item["name"] for item in result.extraction.data]
    assert len(names) == len(model.prompts) > 1
    assert len(set(names)) == len(names)
    for index, span in enumerate(result.extraction.spans):
        assert span.path == f"/{index}/name"
        assert text[span.start : span.end] == names[index]


def test_the_spans_of_a_tail_that_the_text_also_begins_with(mistral: Path) -> None:
    text = " ".join(["Person7"] * 900)
    task = Task("json-extract", schema=schema_from_fields("name"), grounded=True)
    for policy in (Overflow.HEAD, Overflow.TAIL):
        ((job,), _) = jobs_of(task, mistral, text, overflow=policy)
        kept = len(job.requests[0].prompt.text.text)
        result, _ = answered(task, mistral, text, lambda _: '{"name": "Person7"}', overflow=policy)
        assert result.extraction
        (span,) = result.extraction.spans
        first = 0 if policy is Overflow.HEAD else len(text) - kept
        assert first <= span.start < span.end <= first + kept


def test_merged_objects_have_the_first_value_of_each_key(mistral: Path) -> None:
    text = LONG + "\n\nThe chair was Zoë Maier."
    fields = schema_from_fields("chair, boat", nullable=True)
    task = Task("json-extract", schema=fields, grounded=True)

    def reply(prompt: str) -> str:
        chair = "Zoë Maier" if "Zoë" in prompt else None
        boat = "boat 1" if "day 1 " in prompt else "boat" if "boat" in prompt else None
        return json.dumps({"chair": chair, "boat": boat})

    result, _ = answered(task, mistral, text, reply, overflow=Overflow.SPLIT)
    assert result.extraction
    assert result.extraction.data == {"chair": "Zoë Maier", "boat": "boat 1"}
    spans = {span.path: text[span.start : span.end] for span in result.extraction.spans}
    assert spans == {"/chair": "Zoë Maier", "/boat": "boat 1"}
