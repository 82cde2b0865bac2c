"""Summaries of a text's own sentences, chosen by their numbers."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from support.batch_program import lines_of
from support.grammars import admitted
from support.plans import LONG, answered
from support.program import Run

from mistral_cli.errors import UsageError
from mistral_cli.generation.summaries.extractive import choice_grammar
from mistral_cli.tasks.summarize import summarize
from mistral_cli.texts.sentence_spans import full_sentences, sentence_spans

ROOT = Path(__file__).parents[3]
TEXT = """# Minutes of May

The committee met on Tuesday. It bought
a boat for 40,000 euros, e.g. for Mr. Hore.

- Nothing else was decided.
1. "Is it ours?" asked one.

Thanks.
"""
SENTENCES = [
    "The committee met on Tuesday.",
    "It bought\na boat for 40,000 euros, e.g. for Mr. Hore.",
    "Nothing else was decided.",
    '"Is it ours?" asked one.',
]


def of(text: str, spans: Any) -> list[str]:
    return [text[each.start : each.end] for each in spans]


def test_headings_and_single_words_are_no_choice() -> None:
    assert of(TEXT, full_sentences(TEXT)) == SENTENCES
    assert of(TEXT, sentence_spans(TEXT)) == ["Minutes of May", *SENTENCES, "Thanks."]
    assert of("Thanks.", full_sentences("Thanks.")) == ["Thanks."]
    assert full_sentences("-- \n") == []
    assert full_sentences("| a | b |\n|---|---|\n| 1 | 2 |\n") == []
    assert full_sentences("```\nx = 1\n```\n", "notes.md") == []
    chinese = "\u59d4\u5458\u4f1a\u661f\u671f\u4e8c\u5f00\u4f1a\u3002" * 2
    assert len(full_sentences(chinese)) == 2


README = """---
title: The boats of the committee
---
The boats of the committee, an overview
=======================================

[![build status of main](https://ci.example.com/a.svg)](https://ci.example.com)

The committee has three boats. Install them:

    this indented code is not a sentence

```sh
# This is a long comment about the boats.
pip install boats of the committee
```

| boat | what it carries |
|---|---|
| first boat | all people of the committee |

- [How to sail the first boat](sail.md)
- [How to repair it](repair.md) and [where it is](place.md)
- Read [the guide](guide.md) before you sail.

[guide]: https://example.com "The title of the guide"
"""
PROSE = ["The committee has three boats.", "Read [the guide](guide.md) before you sail."]


def test_code_tables_and_mere_links_are_no_choice() -> None:
    assert of(README, full_sentences(README, "README.md")) == PROSE
    assert of(README, full_sentences(README)) == PROSE  # recognized as Markdown
    code = "We met on Tuesday, as planned.\n```\nfor each boat: sail it home\n```\nAll went home."
    sentences = ["We met on Tuesday, as planned.", "All went home."]
    assert of(code, full_sentences(code)) == sentences
    letter = "    We met on Tuesday, as planned."  # indented code only in Markdown
    assert of(letter, full_sentences(letter)) == [letter.strip()]
    only_code = "```\nfor each boat: sail it home\n```"
    assert full_sentences(only_code) == []


def test_a_readme_has_only_prose_to_choose() -> None:
    for file in (ROOT / "README.md", ROOT / "tests/support/files/readme.md"):
        text = file.read_text(encoding="utf-8")
        sentences = of(text, full_sentences(text, str(file)))
        assert len(sentences) > 5
        assert not [each for each in sentences if re.search(r"```|^\||\|$|^\$ ", each)]


@pytest.mark.parametrize("text", ["\U0001f600\U0001f389", "! ! !\n"])
def test_a_text_without_a_sentence_is_refused(mistral: Path, text: str) -> None:
    with pytest.raises(UsageError, match="no sentence to choose"):
        answered(summarize(extractive=True), mistral, text, lambda _: "1")


def test_a_choice_is_ascending_distinct_and_complete() -> None:
    numbers = range(1, 6)
    pairs = [f"{a}, {b}" for a in numbers for b in numbers]
    assert admitted(choice_grammar(5, 2), [*pairs, "1", "1, 2, 3", "1,2", "", "5, 6"]) == [
        f"{a}, {b}" for a in numbers for b in numbers if a < b
    ]
    assert admitted(choice_grammar(3, 3), ["1, 2, 3", "2, 3"]) == ["1, 2, 3"]
    assert admitted(choice_grammar(120, 1), ["1", "119", "120", "121"]) == ["1", "119", "120"]


def test_the_chosen_sentences_stand_as_in_the_text(mistral: Path) -> None:
    result, model = answered(
        summarize(sentences=2, extractive=True), mistral, TEXT, lambda _: "2, 4"
    )
    assert result.answer.text == f"{SENTENCES[1]}\n{SENTENCES[3]}"
    assert result.quotes is not None
    assert of(TEXT, result.quotes) == [SENTENCES[1], SENTENCES[3]]
    assert "[2] It bought a boat for 40,000 euros" in model.prompts[0]
    (request,) = model.requests
    assert request.grammar == choice_grammar(4, 2)
    assert (request.loose, request.sampling.temperature) == (False, 0.0)
    assert result.warnings == ()


def test_a_text_may_have_too_few(mistral: Path) -> None:
    result, _ = answered(
        summarize(extractive=True), mistral, "One boat came. It left again.", lambda _: "1, 2"
    )
    assert result.answer.text == "One boat came.\nIt left again."
    assert result.warnings == ("the text has only 2 sentences",)


def test_a_long_text_is_chosen_from_in_levels(
    mistral: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mistral_cli.generation.chunking.LONGEST_CHUNK", 260)

    def last_two(prompt: str) -> str:
        count = max(map(int, re.findall(r"\[(\d+)\]", prompt)))
        return f"{count - 1}, {count}"

    result, model = answered(summarize(sentences=2, extractive=True), mistral, LONG, last_two)
    assert result.answer.text == "It talked about boat 59.\nNothing was decided."
    assert result.quotes is not None
    assert result.quotes[-1].end == len(LONG)
    levels = len(model.prompts) - result.chunks
    assert result.chunks > 10
    assert levels > 2  # several chunks on the second level, and one at the end
    longest = max(len(request.prompt_token_ids) for request in model.requests)
    assert longest <= 260
    assert result.answer.prompt_tokens == sum(len(r.prompt_token_ids) for r in model.requests)


@pytest.mark.parametrize(
    ("option", "value"),
    [("words", "60"), ("bullets", 2), ("max_chars", 9), ("style", "formal"), ("language", "de"),
     ("grounded", True), ("strict", True), ("preamble", True)],
)  # fmt: skip
def test_what_would_change_the_sentences_is_refused(option: str, value: Any) -> None:
    with pytest.raises(
        UsageError, match=f"--extractive and --{option.replace('_', '-')} cannot"
    ) as raised:
        summarize(extractive=True, **{option: value})
    assert "Drop one" in (raised.value.hint or "")


@pytest.mark.parametrize(
    "options", [{"raw": True}, {"template": "summarize"}, {"overflow": "head"}, {"param": ["a=b"]}]
)
def test_what_would_replace_the_prompt_is_refused(mistral: Path, options: dict[str, Any]) -> None:
    from mistral_cli.generation.options import Overflow, TaskOptions
    from mistral_cli.generation.prompt import PromptBuilder

    task = summarize(extractive=True)
    builder = PromptBuilder.of(task, TaskOptions(**options))
    overflow = Overflow(options["overflow"]) if "overflow" in options else None
    with pytest.raises(UsageError, match="--extractive and -"):
        task.strategy.check(builder, overflow)


@pytest.mark.parametrize("engine", ["llama.cpp", "ctransformers"])
def test_both_engines_choose(run: Run, mistral: Path, tmp_path: Path, engine: str) -> None:
    """Random weights choose anything that the grammar allows."""
    page = tmp_path / "page.md"
    page.write_text(TEXT)
    options = ("--extractive", "--sentences", 2, "-m", mistral, "--engine", engine)
    answer = json.loads(run("summarize", *options, "--json", "-f", page).stdout)
    quotes = [TEXT[each["start"] : each["end"]] for each in answer["sentences"]]
    assert len(quotes) == 2
    assert quotes == sorted(quotes, key=SENTENCES.index)
    assert answer["text"] == "\n".join(quotes)
    rows = tmp_path / "rows.jsonl"
    rows.write_text(json.dumps({"text": TEXT}) + "\n")
    (line,) = lines_of(run("batch", "summarize", *options, rows).stdout)
    assert (line["text"], line["sentences"]) == (answer["text"], answer["sentences"])
