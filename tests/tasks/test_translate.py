"""Translations: preserved structure, checks and retries of segments, glossaries."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.plans import answered, jobs_of
from support.terminals import make_terminal

from mistral_cli.generation.task import Task
from mistral_cli.tasks.translate import TranslationStrategy
from mistral_cli.texts.glossary import read_glossary

TRANSLATION = Task("translate", {"to": "Spanish"}, strategy=TranslationStrategy())


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


def text_of(prompt: str) -> str:
    return prompt.split("only.\n\n", 1)[1].removesuffix("[/INST]").strip()


def upper(prompt: str) -> str:
    return text_of(prompt).upper().replace("HTTPS://EXAMPLE.ORG/M", "https://example.org/m")


@pytest.mark.parametrize(
    ("text", "source", "segments"),
    [(MARKDOWN, "notes.md", 3), (SUBTITLES, "film.srt", 2), ("One.\n\n  Two.\r\n\n", "a.txt", 2)],
)
def test_everything_but_prose_stays_unchanged(
    mistral: Path, text: str, source: str, segments: int
) -> None:
    result, model = answered(TRANSLATION, mistral, text, upper, source=source)
    expected = text
    for words in map(text_of, model.prompts):
        expected = expected.replace(words, upper(f"only.\n\n{words}"))
    assert result.answer.text == expected != text
    assert result.chunks == len(model.prompts) == segments
    kept = ("not translated: 1 front matter block (line 1), 1 code block (line 10)",)
    assert result.warnings == (kept if source == "notes.md" else ())


def test_a_broken_segment_is_retried_then_reported_and_stays_in_its_place(mistral: Path) -> None:
    def loses_the_link(prompt: str) -> str:
        return "Lee las actas." if "minutes" in prompt else upper(prompt)

    result, model = answered(TRANSLATION, mistral, MARKDOWN, loses_the_link, source="notes.md")
    assert len(model.prompts) == 4
    assert "That is wrong" in model.prompts[2]
    assert result.warnings[0] == "line 7: the answer lacks https://example.org/m"
    assert "code block" in result.warnings[1]

    def two_paragraphs(prompt: str) -> str:
        return "¿Dónde?\n\nAquí." if "Where" in prompt else "Buenos\ndías."

    result, _ = answered(TRANSLATION, mistral, SUBTITLES, two_paragraphs, source="film.srt")
    assert result.answer.text == (
        SUBTITLES.replace("Good morning.", "Buenos días.").replace(
            "Where is the boat?\nIt was here.", "¿Dónde?\nAquí."
        )
    )


def test_glossary_terms_in_a_segment_are_in_the_prompt_and_enforced(
    mistral: Path, tmp_path: Path
) -> None:
    path = tmp_path / "terms.csv"
    path.write_text("harbour,puerto\npier,muelle\n", encoding="utf-8")
    task = Task("translate", strategy=TranslationStrategy(read_glossary(path, make_terminal())))

    def reply(prompt: str) -> str:
        return "El puerto" if "That is wrong" in prompt else "La bahía"

    result, model = answered(task, mistral, "The harbour", reply)
    assert "harbour = puerto" in model.prompts[0]
    assert "pier" not in model.prompts[0]
    assert result.answer.text == "El puerto"
    result, _ = answered(task, mistral, "The harbour", lambda _: "La bahía")
    assert "harbour" in result.warnings[0]


def test_the_length_of_a_translation_is_limited(mistral: Path) -> None:
    ((job,), _) = jobs_of(TRANSLATION, mistral, "Paint.\n\nRepair.", source="a.txt")
    assert all(prepared.request.max_tokens < 80 for prepared in job.requests)


def test_a_paragraph_that_is_too_long_is_split_at_sentences(mistral: Path) -> None:
    text = " ".join(f"This is sentence {n} of a very long paragraph." for n in range(60))
    result, model = answered(TRANSLATION, mistral, text, upper)
    assert len(model.prompts) > 3
    assert result.answer.text == text.upper()
