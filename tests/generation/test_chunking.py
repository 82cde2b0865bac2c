"""Texts that do not fit: what is asked about them, and the answers made one."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from support.batch_program import count
from support.fake_engine import Script
from support.plans import jobs_of
from support.processes import wait_for
from support.terminals import make_terminal

from mistral_cli.engines.types import Request
from mistral_cli.errors import ContextExceeded, EngineFailed, UsageError
from mistral_cli.generation.answer import Answer, Timings
from mistral_cli.generation.checkpoint import PartialAnswers
from mistral_cli.generation.chunking import check_split
from mistral_cli.generation.executor import Executor
from mistral_cli.generation.options import Overflow
from mistral_cli.generation.planner import Planner
from mistral_cli.generation.respond import respond
from mistral_cli.generation.result import Result
from mistral_cli.generation.task import Task
from mistral_cli.generation.writers import SILENT
from mistral_cli.models.gguf.token_text import detokenize
from mistral_cli.structured.fields import schema_from_fields
from mistral_cli.texts.glossary import read_glossary

LONG = "\n\n".join(
    f"On day {day} the committee met. It talked about boat {day}. Nothing was decided."
    for day in range(1, 60)
)
SUMMARY = Task("summarize", way="summary")


class Model:
    """Says what `reply` makes of each prompt, and remembers the prompts."""

    def __init__(self, planner: Planner, reply: Callable[[str], str]) -> None:
        self._model, self._reply = planner.setup.model, reply
        self.prompts: list[str] = []
        self.requests: list[Request] = []

    def __call__(self, request: Request, stop: Sequence[str], on_text: Any) -> Answer:
        prompt = detokenize(self._model, request.prompt_token_ids)
        self.prompts.append(prompt)
        self.requests.append(request)
        text = self._reply(prompt)
        on_text(text)
        return Answer(text, "stop", 7, Timings(0, 1, 1), len(request.prompt_token_ids))


def answered(
    task: Task, model: Path, text: str, reply: Callable[[str], str], **options: Any
) -> tuple[Result, Model]:
    ((job,), planner) = jobs_of(task, model, text, **options)
    asked = Model(planner, reply)
    return respond(job, Executor(planner, asked), SILENT), asked


# --- what is asked ------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["generate", "json-extract"])
def test_by_default_a_text_that_does_not_fit_is_refused(mistral: Path, name: str) -> None:
    with pytest.raises(ContextExceeded, match="fit into the context of 512 beside") as caught:
        jobs_of(Task(name), mistral, LONG)
    assert "--overflow" in caught.value.hint


@pytest.mark.parametrize("policy", [Overflow.HEAD, Overflow.TAIL])
def test_an_end_is_kept_and_the_rest_named(mistral: Path, policy: Overflow) -> None:
    ((job,), planner) = jobs_of(Task("generate"), mistral, LONG, overflow=policy)
    kept = job.plans[0].draft.text.text
    assert LONG.startswith(kept) if policy is Overflow.HEAD else LONG.endswith(kept)
    assert planner.fits(job.plans[0].draft)
    assert job.plans[0].prompt_tokens > planner.room(job.draft) * 0.9
    where = "last" if policy is Overflow.HEAD else "first"
    assert job.left_out == f"the {where} {len(LONG) - len(kept)} of {len(LONG)} characters"
    result = respond(job, Executor(planner, Model(planner, str.upper)), SILENT)
    assert result.left_out == job.left_out
    assert job.left_out in result.warnings[0]


def test_parts_cover_the_text_and_fit(mistral: Path) -> None:
    ((job,), planner) = jobs_of(Task("generate"), mistral, LONG, overflow=Overflow.SPLIT)
    texts = [plan.draft.text.text for plan in job.plans]
    assert len(texts) > 2
    assert "".join("".join(texts).split()) == "".join(LONG.split())
    assert all(planner.fits(plan.draft) for plan in job.plans)
    assert all(plan.prompt_tokens + plan.request.max_tokens <= 512 for plan in job.plans)


def test_a_text_that_fits_is_one_whole_whatever_the_policy(mistral: Path) -> None:
    for policy in Overflow:
        ((job,), _) = jobs_of(SUMMARY, mistral, "A short text.", overflow=policy)
        assert [plan.draft.text.text for plan in job.plans] == ["A short text."]


@pytest.mark.parametrize("policy", [Overflow.HEAD, Overflow.SPLIT])
def test_an_instruction_that_fills_the_context_is_refused(mistral: Path, policy: Overflow) -> None:
    with pytest.raises(ContextExceeded, match="without its text"):
        jobs_of(Task("generate"), mistral, LONG, overflow=policy, system="word " * 600)


def test_json_that_cannot_be_put_together_is_not_split(mistral: Path) -> None:
    ((_), planner) = jobs_of(Task("json-extract", schema={"type": "string"}), mistral, "x")
    with pytest.raises(UsageError, match="cannot be put together"):
        check_split(planner.drafter, Overflow.SPLIT)
    check_split(planner.drafter, Overflow.HEAD)


# --- answers to parts ---------------------------------------------------------------------------


def test_answers_to_parts_follow_each_other(mistral: Path) -> None:
    result, model = answered(
        Task("generate"), mistral, LONG, lambda prompt: prompt[-20:], overflow=Overflow.SPLIT
    )
    assert result.chunks == len(model.prompts) > 2
    assert result.answer.text == "\n\n".join(prompt[-20:].strip() for prompt in model.prompts)
    assert result.answer.prompt_tokens == sum(len(r.prompt_token_ids) for r in model.requests)


def test_lists_are_joined_and_their_places_are_those_of_the_whole(mistral: Path) -> None:
    text = "\n\n".join(f"Person{n} is {n} years old and lives in a small house." for n in range(40))
    task = Task("json-extract", schema=schema_from_fields("name"), many=True, grounded=True)

    def first_name(prompt: str) -> str:
        name = prompt.split("JSON only.")[1].split("Person", 1)[1].split()[0]
        return json.dumps([{"name": f"Person{name}"}])

    result, model = answered(task, mistral, text, first_name, overflow=Overflow.SPLIT)
    assert result.extraction
    names = [item["name"] for item in result.extraction.data]
    assert len(names) == len(model.prompts) > 1
    assert len(set(names)) == len(names)
    for index, span in enumerate(result.extraction.spans):
        assert span.path == f"/{index}/name"
        assert text[span.start : span.end] == names[index]


def test_of_objects_the_first_value_of_each_key_counts(mistral: Path) -> None:
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
    places = {span.path: text[span.start : span.end] for span in result.extraction.spans}
    assert places == {"/chair": "Zoë Maier", "/boat": "boat 1"}


# --- summaries ----------------------------------------------------------------------------------


def numbered(prompt: str) -> str:
    """A summary that names the first day it is about."""
    day = prompt.split("day ", 1)[1].split()[0].rstrip(".")
    return f"Summary from day {day}."


def test_a_long_text_is_summarized_in_levels(mistral: Path) -> None:
    task = Task("summarize", {"style": "a poem"}, way="summary")

    def wordy(prompt: str) -> str:
        return numbered(prompt) + " Nothing was decided." * 15

    result, model = answered(task, mistral, LONG * 3, wordy, max_tokens=40)
    assert result.answer.text.startswith("Summary from day 1.")
    parts = [p for p in model.prompts if "one part of a longer text" in p]
    final = model.prompts[-1]
    assert len(parts) == len(model.prompts) - 1 > 6
    assert "a poem" in final
    assert not any("a poem" in part for part in parts)
    assert result.chunks < len(parts)  # there was more than one level
    assert result.answer.prompt_tokens == sum(len(r.prompt_token_ids) for r in model.requests)


def test_every_step_fits_the_context_that_is_opened(
    mistral: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is shorter than the model's, and the summaries of many parts would fill that."""
    for module in ("job", "pieces"):
        monkeypatch.setattr(f"mistral_cli.{module}.LONGEST_PART", 150)
    ((job,), planner) = jobs_of(SUMMARY, mistral, LONG, max_tokens=100)
    opened = planner.load.context_length
    assert opened < planner.setup.longest
    model = Model(planner, lambda prompt: f"{numbered(prompt)} Nothing was decided.")
    respond(job, Executor(planner, model), SILENT)
    assert all(len(r.prompt_token_ids) + r.max_tokens <= opened for r in model.requests)
    assert model.requests[-1].max_tokens == 100
    assert len(model.requests) > len(job.plans) + 2


def test_the_last_step_is_the_users_even_where_one_part_is_left(mistral: Path) -> None:
    """A text that is too long beside a long answer, and short enough to be one part."""
    task = Task("summarize", {"style": "a poem"}, way="summary")
    result, model = answered(task, mistral, LONG[:900], numbered, max_tokens=300)
    assert "a poem" in model.prompts[-1]
    assert len(model.prompts) == 2
    assert result.answer.text == "Summary from day 1."


def test_summaries_that_do_not_get_shorter_end(mistral: Path) -> None:
    with pytest.raises(ContextExceeded, match="no shorter than the parts"):
        answered(SUMMARY, mistral, LONG, lambda _: "More and more words about boats. " * 40)


def test_an_interrupted_summary_goes_on_where_it_was(
    mistral: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    ((job,), planner) = jobs_of(SUMMARY, mistral, LONG)
    count = len(job.plans)
    assert count > 3

    def breaks(prompt: str) -> str:
        if len(model.prompts) == 3:
            raise EngineFailed("the power is gone", hint="Wait.")
        return numbered(prompt)

    model = Model(planner, breaks)
    with pytest.raises(EngineFailed):
        respond(job, Executor(planner, model, kept=PartialAnswers.of(job.plans)), SILENT)
    (file,) = (tmp_path / "mistral-cli" / "parts").glob("*.jsonl")
    assert file.stat().st_mode & 0o077 == 0
    with file.open("a") as torn:
        torn.write('{"key": "half of a l')
    again = Model(planner, numbered)
    kept = PartialAnswers.of(job.plans)
    assert kept.found == 2
    result = respond(job, Executor(planner, again, kept=kept), SILENT)
    whole = respond(job, Executor(planner, Model(planner, numbered)), SILENT)
    assert len(again.prompts) < count
    assert result.answer.text == whole.answer.text
    assert not file.exists()


def test_ctrl_c_says_what_is_kept_and_the_same_command_goes_on(
    here: Path, mistral: Path, script: Script, run: Any
) -> None:
    (here / "long.txt").write_text(LONG, encoding="utf-8")
    command = ["summarize", "-f", "long.txt", "--engine", "fake", "-m", str(mistral)]
    script(pieces=["It met."], delay=0.3)
    process = subprocess.Popen(
        [sys.executable, "-m", "mistral_cli", *command],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    parts = here.parent / "cache" / "mistral-cli" / "parts"
    wait_for(lambda: any(count(path) for path in parts.glob("*.jsonl")))
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert (out, process.returncode) == ("", 130)
    assert "parts are kept: the same command goes on from there" in err
    script(pieces=["It met."])
    again = run(*command)
    assert (again.stdout, again.status) == ("It met.\n", 0)
    assert "parts are there from an earlier run" in again.stderr
    assert not list(parts.iterdir())


def test_other_options_are_other_parts(
    mistral: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))

    def kept(**options: Any) -> PartialAnswers:
        ((job,), _) = jobs_of(SUMMARY, mistral, LONG, **options)
        return PartialAnswers.of(job.plans)

    ((job,), planner) = jobs_of(SUMMARY, mistral, LONG)
    answer = Model(planner, numbered)(job.plans[0].request, (), lambda _: None)
    kept().put(job.plans[0], answer)
    assert kept().found == 1  # another random seed
    assert kept(seed=1).found == kept(temperature=0.7).found == kept(context_length=256).found == 0


@pytest.mark.parametrize("parallel", [1, 3])
def test_several_at_once_are_in_order_and_an_error_ends_them(mistral: Path, parallel: int) -> None:
    ((job,), planner) = jobs_of(Task("generate"), mistral, LONG, overflow=Overflow.SPLIT)
    desk = Executor(planner, Model(planner, lambda prompt: prompt[-30:]), parallel)
    answers = [answer.text for answer in desk.answers(job.plans)]
    assert answers == [plan.prompt[-30:] for plan in job.plans]

    def fails(prompt: str) -> str:
        raise EngineFailed("broken", hint="")

    with pytest.raises(EngineFailed):
        list(Executor(planner, Model(planner, fails), parallel).answers(job.plans))


# --- wishes that can be counted -----------------------------------------------------------------

ONE = "The committee met on Monday."
TWO = f"{ONE} It bought a boat."
THREE = f"{TWO} Nobody was against it."


@pytest.mark.parametrize(
    ("values", "answers", "taken", "warning"),
    [
        ({"sentences": 2}, [TWO], TWO, None),
        ({"sentences": 2}, [THREE, TWO], TWO, None),
        ({"sentences": 1}, [THREE, TWO], ONE, "wrote 3 sentences: cut after 1 sentence"),
        ({"sentences": 2}, [THREE, "Well done. I like it. Go on."], TWO, "wrote 3 sentences"),
        ({"sentences": 2}, [f"Here is the summary:\n\n{TWO}"], TWO, None),
        ({"sentences": 2}, [f"It said:\n\n{ONE}"], f"It said:\n\n{ONE}", None),
        ({"sentences": 2}, [THREE, ONE], TWO, "wrote 3 sentences: cut after 2 sentences"),
        ({"sentences": 3}, [TWO, ONE], TWO, "2 sentences, not 3 sentences"),
        ({"bullets": 2}, ["- a\n- b\n- c", "- one\n- two"], "- one\n- two", None),
        ({"bullets": 2}, ["- a", "So:\n- a\n- b\n- c"], "So:\n- a\n- b", "3 bullet points"),
        ({"bullets": 1}, ["none at all"] * 2, "none at all", "0 bullet points, not 1 bullet"),
    ],
)
def test_what_can_be_counted_is_checked_and_asked_again_once(
    mistral: Path, values: dict[str, int], answers: list[str], taken: str, warning: str | None
) -> None:
    left = list(answers)
    task = Task("summarize", values, way="summary")
    result, model = answered(task, mistral, "A text.", lambda _: left.pop(0))
    assert result.answer.text == taken
    assert left == []
    if len(answers) > 1:
        assert answers[0] in model.prompts[1]
        assert "in exactly" in model.prompts[1]
    assert warning is None or warning in result.warnings[-1]
    assert bool(result.warnings) == (warning is not None)


@pytest.mark.parametrize(
    ("first", "second", "taken", "warnings"),
    [
        (TWO, TWO, TWO, ()),
        (f"{TWO} Nobody wa", ONE, TWO, ("the model wrote 3 sentences: cut after 2 sentences",)),
        ("It met. It wa", ONE, "It met. It wa", ("the answer was cut at 7 tokens",)),
    ],
)
def test_a_sentence_that_was_cut_is_none_of_those_wished(
    mistral: Path, first: str, second: str, taken: str, warnings: tuple[str, ...]
) -> None:
    ((job,), planner) = jobs_of(Task("summarize", {"sentences": 2}, way="summary"), mistral, "x")
    model, left = Model(planner, lambda _: left.pop(0)), [first, second]

    def ask(*asked: Any) -> Answer:
        answer = model(*asked)
        return replace(answer, finish_reason="length") if len(model.prompts) == 1 else answer

    result = respond(job, Executor(planner, ask), SILENT)
    assert result.answer.text == taken
    assert len(model.prompts) == 2
    assert [warning.partition(" (")[0] for warning in result.warnings] == list(warnings)


def test_the_limit_that_the_user_set_holds_for_the_last_step_alone(mistral: Path) -> None:
    _, model = answered(SUMMARY, mistral, LONG, numbered, max_tokens=20)
    assert [request.max_tokens for request in model.requests[-1:]] == [20]
    assert all(request.max_tokens == 512 // 8 for request in model.requests[:-1])


def test_what_is_split_is_the_same_in_a_dry_run(mistral: Path, run: Any, tmp_path: Path) -> None:
    path = tmp_path / "long.txt"
    path.write_text(LONG, encoding="utf-8")
    ((job,), _) = jobs_of(SUMMARY, mistral, LONG, terminal=make_terminal())
    shown = run("summarize", "-f", path, "-m", mistral, "--dry-run", "--json")
    prompts = [json.loads(line)["prompt"] for line in shown.stdout.splitlines()]
    assert prompts == [plan.prompt for plan in job.plans]


# --- translations -------------------------------------------------------------------------------

TRANSLATION = Task("translate", {"to": "Spanish"}, way="translation")

MARKDOWN = """\
---
title: Notes
---

# The harbour

Read [the minutes](https://example.org/m) first.

```python
print("hello")
```

- Repair the pier
"""
SUBTITLES = """\
1
00:00:01,000 --> 00:00:02,500
Good morning.

2
00:00:03,000 --> 00:00:04,000
Where is the boat?
It was here.
"""


def asked_text(prompt: str) -> str:
    return prompt.split("only.\n\n", 1)[1].removesuffix("[/INST]").strip()


def upper(prompt: str) -> str:
    return asked_text(prompt).upper().replace("HTTPS://EXAMPLE.ORG/M", "https://example.org/m")


@pytest.mark.parametrize(
    ("text", "source", "pieces"),
    [(MARKDOWN, "notes.md", 3), (SUBTITLES, "film.srt", 2), ("One.\n\n  Two.\r\n\n", "a.txt", 2)],
)
def test_what_is_no_prose_stays_to_the_character(
    mistral: Path, text: str, source: str, pieces: int
) -> None:
    result, model = answered(TRANSLATION, mistral, text, upper, source=source)
    expected = text
    for words in map(asked_text, model.prompts):
        expected = expected.replace(words, upper(f"only.\n\n{words}"))
    assert result.answer.text == expected != text
    assert result.chunks == len(model.prompts) == pieces
    assert result.warnings == ()


def test_a_broken_piece_is_asked_again_then_told_and_still_in_its_place(mistral: Path) -> None:
    def loses_the_link(prompt: str) -> str:
        return "Lee las actas." if "minutes" in prompt else upper(prompt)

    result, model = answered(TRANSLATION, mistral, MARKDOWN, loses_the_link, source="notes.md")
    assert len(model.prompts) == 4
    assert "That is wrong" in model.prompts[2]
    assert len(result.warnings) == 1
    assert result.warnings[0].startswith("piece 2 of 3: ")
    assert "https://example.org/m" in result.warnings[0]

    def two_paragraphs(prompt: str) -> str:
        return "¿Dónde?\n\nAquí." if "Where" in prompt else "Buenos\ndías."

    result, _ = answered(TRANSLATION, mistral, SUBTITLES, two_paragraphs, source="film.srt")
    assert result.answer.text == (
        SUBTITLES.replace("Good morning.", "Buenos días.").replace(
            "Where is the boat?\nIt was here.", "¿Dónde?\nAquí."
        )
    )


def test_the_glossary_is_told_where_its_terms_are_and_held_to(
    mistral: Path, tmp_path: Path
) -> None:
    path = tmp_path / "terms.csv"
    path.write_text("harbour,puerto\npier,muelle\n", encoding="utf-8")
    task = Task("translate", way="translation", glossary=read_glossary(path))

    def reply(prompt: str) -> str:
        return "El puerto" if "That is wrong" in prompt else "La bahía"

    result, model = answered(task, mistral, "The harbour", reply)
    assert "harbour = puerto" in model.prompts[0]
    assert "pier" not in model.prompts[0]
    assert result.answer.text == "El puerto"
    result, _ = answered(task, mistral, "The harbour", lambda _: "La bahía")
    assert "harbour" in result.warnings[0]


def test_an_endless_translation_is_bounded(mistral: Path) -> None:
    ((job,), _) = jobs_of(TRANSLATION, mistral, "Paint.\n\nRepair.", source="a.txt")
    assert all(plan.request.max_tokens < 80 for plan in job.plans)


def test_a_paragraph_that_is_too_long_is_cut_at_its_sentences(mistral: Path) -> None:
    text = " ".join(f"This is sentence {n} of a very long paragraph." for n in range(60))
    result, model = answered(TRANSLATION, mistral, text, upper)
    assert len(model.prompts) > 3
    assert result.answer.text == text.upper()
