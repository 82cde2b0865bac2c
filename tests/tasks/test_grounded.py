"""`--grounded`: summaries and translations have the numbers of their texts."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest
from support.checked_pairs import read_pairs
from support.engine_io import text as events_text
from support.grammars import admitted
from support.plans import LLAMA_CPP, LONG, jobs_of

from mistral_cli.generation.task import Task
from mistral_cli.structured.grounded_text import last_run
from mistral_cli.tasks.summarize import SummaryStrategy
from mistral_cli.tasks.translate import TranslationStrategy
from mistral_cli.texts.glossary import Glossary

PAIRS = Path(__file__).parents[1] / "checks" / "facts" / "pairs"
NUMBER = re.compile(r"\d+(?:[.,]\d+)*")
IN_WORDS = re.compile(
    r"(?i)[ap]\.?m\b|o'clock|hundred|thousand|million|dozen|[a-z]+teen\b|[a-z]+ty\b|"
    r"\b(?:one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve)\b|[^\x00-\x7f]"
)
LIST_NUMBER = re.compile(r"(?m)^[ \t>*#]*\d{1,2}[.)] ")


def passages(count: int) -> list[str]:
    """Texts with several numbers, all of them in digits and of one spelling."""
    sources = dict.fromkeys(pair.source.strip() for pair in read_pairs(PAIRS))
    numbered = (t for t in sources if len(NUMBER.findall(t)) > 2 and not IN_WORDS.search(t))
    return [text for text, _ in zip(numbered, range(count), strict=False)]


def invented(source: str, summary: str) -> list[str]:
    """The numbers whose digits are neither a number of the source nor a part of one."""
    known = {re.sub(r"\D", "", each) for each in NUMBER.findall(source)}
    known |= {*re.findall(r"\d+", source)}
    found = NUMBER.findall(LIST_NUMBER.sub("", summary))
    return [each for each in found if re.sub(r"\D", "", each) not in known]


def test_summaries_have_no_number_of_their_own(smollm2: Path) -> None:
    """A high temperature invents: without the grammar some of these have other numbers."""
    texts = passages(12)
    task = Task("summarize", grounded=True, strategy=SummaryStrategy())
    settings = {"temperature": 1.2, "top_k": 0, "top_p": 1.0, "max_tokens": 40, "seed": 1}
    jobs, planner = jobs_of(task, smollm2, *texts, **settings)
    wrong: dict[bool, list[str]] = {True: [], False: []}
    with LLAMA_CPP.open(planner.config.model, planner.load) as session:
        for text, job in zip(texts, jobs, strict=True):
            grounded = job.requests[0].request
            for request in (grounded, replace(grounded, grammar=None, loose=False)):
                summary = events_text(list(session.stream(request)))
                finished = summary.removesuffix(last_run(summary))  # as the program cuts it
                wrong[request.loose] += invented(text, finished)
    assert len(jobs) == 12
    assert wrong[True] == []
    assert wrong[False] != []


def test_each_part_of_a_text_is_grounded_in_itself(mistral: Path) -> None:
    task = Task("summarize", grounded=True, strategy=SummaryStrategy())
    ((job,), _) = jobs_of(task, mistral, LONG, max_tokens=100)
    first, last = job.requests[0].request, job.requests[-1].request
    assert len(job.requests) > 1
    assert first.loose
    assert last.grammar
    assert admitted(last.grammar, ["On day 1.", "On day 59."]) == ["On day 59."]


def test_a_glossary_may_bring_numbers(mistral: Path) -> None:
    strategy = TranslationStrategy(Glossary({"the new system": "System 12"}))
    task = Task("translate", grounded=True, strategy=strategy)
    ((job,), _) = jobs_of(task, mistral, "We use the new system for 40,000 euros.")
    grammar = job.requests[0].request.grammar
    assert grammar
    german = ["System 12 kostet 40.000 Euro.", "System 13 kostet nichts."]
    assert admitted(grammar, german) == german[:1]


@pytest.mark.parametrize("task", ["generate", "json-extract"])
def test_what_has_no_grammar_is_free(mistral: Path, task: str) -> None:
    ((job,), _) = jobs_of(Task(task), mistral, "Hello 12")
    request = job.requests[0].request
    assert (request.grammar, request.loose) == (None, False)


@pytest.mark.parametrize(
    ("text", "grounded", "invented"),
    [
        (
            "Eleven boats carry forty thousand people.",
            "11 boats, 40,000 or 40.000",
            "12 boats|40 p",
        ),
        (
            "Elf der Boote tragen zweihundert Kisten, und wir sind nicht da.",
            "11 Boote und 200 Kisten",
            "2 Kisten|100 Kisten",
        ),
        (
            "Millions came, and one second later they left.",
            "Millions came",
            "2 came|1,000,000 came",
        ),
    ],
)
def test_number_words_of_the_text_may_be_digits(
    mistral: Path, text: str, grounded: str, invented: str
) -> None:
    task = Task("summarize", grounded=True, strategy=SummaryStrategy())
    ((job,), _) = jobs_of(task, mistral, text)
    grammar = job.requests[0].request.grammar
    assert grammar
    assert admitted(grammar, [grounded, *invented.split("|")]) == [grounded]
