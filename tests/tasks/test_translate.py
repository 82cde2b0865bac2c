"""Translations: preserved structure, checks and retries of segments, glossaries."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from support.fake_engine import Script
from support.plans import answered, jobs_of, respond
from support.program import Run
from support.terminals import make_terminal

from mistral_cli.engines.types import Request
from mistral_cli.errors import UsageError
from mistral_cli.generation.answer import Answer, Timings
from mistral_cli.generation.session import Executor
from mistral_cli.generation.task import Task
from mistral_cli.tasks.translate import TranslationStrategy
from mistral_cli.texts.glossary import read_glossary
from mistral_cli.texts.inputs import text_from_bytes

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


def test_a_link_that_is_its_own_label_is_kept(mistral: Path) -> None:
    text = "See [the lamp] and [sic].\n\n[The Lamp]: /lamp\n"
    result, _ = answered(TRANSLATION, mistral, text, lambda _: "Siehe [die Lampe].", source="a.md")
    assert result.warnings == ("line 1: the answer lacks [the lamp]",)
    result, _ = answered(TRANSLATION, mistral, text, lambda _: "Siehe [The lamp].", source="a.md")
    assert result.warnings == ()


@pytest.mark.parametrize(
    ("source", "text"), [("a.md", "```\nsome code\n```\n"), ("a.srt", "00:01 --> 00:02\n\u266a\n")]
)
def test_a_document_without_words_is_refused(mistral: Path, source: str, text: str) -> None:
    with pytest.raises(UsageError, match="no words to translate"):
        jobs_of(TRANSLATION, mistral, text, source=source)


# --- to the character ----------------------------------------------------------------------------

FILES = {
    "crlf.srt": "\ufeff1\r\n00:00:01,000 --> 00:00:02,000\r\nGood morning, all."
    "\r\n\r\nIt is late.\r\n\r\n2\r\n00:00:03,000 --> 00:00:04,000\r\n- Who are you?"
    "\r\n- It is me.\r\n\r\n\r\n",
    "unix.srt": "1\n00:00:01 -> 00:00:02\nNo final newline.",
    "mac.vtt": "WEBVTT\r\r00:01.000 --> 00:02.000 line:0\r<v Bob>One short line\r",
    "film.ass": "\ufeff[Events]\r\nDialogue: 0,0:00:01.00,0:02:00.00,D,,0,0,0,,{\\i1}So he said",
    "film.lrc": "[00:01.20]Burn, little lamp\n\n\n",
    "film.sbv": "0:00:01.000,0:00:02.000\r\nOne short line\r\n",
    "film.sub": "{10}{20}Hi there, you\r\n",
    "crlf.md": "\ufeff\r\n# The lamp burns  \r\n\r\n- All day long\t\r\n\r\n<p>\r\nBy the way",
    "mixed.md": "The lamp burns\r\n\n\tcode = 1\n\n* It is off\n\n\n",
    "plain.txt": "\ufeff\r\n  The lamp burns. \r\n\r\n\tAll day long.\r\n\r\n",
    "one.txt": "The lamp burns.",
    "line.txt": "The lamp burns.\r\n",
}
LINES = {
    "a.srt": "\ufeff1\r\n00:01 --> 00:02\r\nOne line\r\nand two\r\n\r\nand\r\nthree\r\n",
    "a.vtt": "WEBVTT\r\r00:01.000 --> 00:02.000\rOne line\rand two",
    "a.ass": "[Events]\nDialogue: 0,0:00:01.00,0:00:02.00,D,,0,0,0,,{\\i1}Well,\\Nyes{\\i0}, no\n",
    "a.sbv": "0:00:01.000,0:00:02.000\r\nOne[br]two\r\nthree\r\n",
    "a.sub": "{10}{20}{y:i}Hi there|you\n\n",
    "a.md": "> It burns\r\n> on\r\n\r\n- and\r\n  on\r\n\r\n<td>\r\n a <b>big</b>\r\n lamp</td>",
    "b.md": "mixed\r\nline\nends  \nhere\n",
    "a.txt": "\r\n\r\n  Two\r\n  lines {x}\r\n",
}


@pytest.mark.parametrize("name", [*FILES, *LINES])
def test_a_model_that_repeats_the_text_returns_the_file(mistral: Path, name: str) -> None:
    document = {**FILES, **LINES}[name]
    text = text_from_bytes(document.encode(), name, "utf-8")
    result, model = answered(TRANSLATION, mistral, text, text_of, source=name)
    start, end = text.ends
    assert start + result.answer.text.removeprefix("\ufeff").strip() + end == document
    assert not any("\r" in prompt or "\\N" in prompt for prompt in model.prompts)


@pytest.fixture
def echo(
    tmp_path: Path, mistral: Path, monkeypatch: pytest.MonkeyPatch, script: Script
) -> dict[str, bytes]:
    """Let the model answer with the last three words, and write files with no more in a segment."""
    script()
    monkeypatch.setenv("MISTRAL_CLI_MODEL", str(mistral))
    monkeypatch.setenv("MISTRAL_CLI_ENGINE", "fake")
    monkeypatch.chdir(tmp_path)
    data = {name: text.encode() for name, text in FILES.items()}
    for name, content in data.items():
        Path(name).write_bytes(content)
    return data


def test_a_translated_file_is_the_file_but_for_its_words(echo: dict[str, bytes], run: Run) -> None:
    for name, content in echo.items():
        result = run("translate", "-f", name)
        assert (result.status, result.stdout.encode()) == (0, content), name
    piped = run("translate", stdin=FILES["plain.txt"])
    assert piped.stdout == FILES["plain.txt"]


def test_several_files_stay_apart(echo: dict[str, bytes], run: Run) -> None:
    result = run("translate", "-f", "one.txt", "-f", "line.txt", "-f", "one.txt")
    assert result.stdout == "The lamp burns.\nThe lamp burns.\r\nThe lamp burns."
    assert run("translate", "It is late", "and it burns").stdout == "It is late\nand it burns\n"


def test_a_batch_writes_the_files_but_for_their_words(echo: dict[str, bytes], run: Run) -> None:
    result = run("batch", "translate", *echo, "--output-dir", "de")
    assert result.status == 0, result.stderr
    assert {name: (Path("de") / name).read_bytes() for name in echo} == echo
    Path("crlf.md").write_bytes(echo["crlf.md"].replace(b"\r\n", b"\n"))
    result = run("batch", "translate", *echo, "--output-dir", "de")
    assert f"{len(echo) - 1} of them in earlier runs" in result.stderr
    assert Path("de/crlf.md").read_bytes() == Path("crlf.md").read_bytes()


def test_what_is_not_translated_is_in_the_json_and_in_the_row(
    echo: dict[str, bytes], run: Run
) -> None:
    Path("a.vtt").write_text("WEBVTT\n\nNOTE Keep this\n\n00:01.000 --> 00:02.000\nHi there\n")
    message = "not translated: 1 comment (line 3)"
    result = run("translate", "-f", "a.vtt", "--json")
    assert json.loads(result.stdout)["warnings"] == [message]
    assert f"warning: {message}" in run("translate", "-f", "a.vtt").stderr
    row = json.loads(run("batch", "translate", "a.vtt").stdout)
    assert row["warnings"] == [message]


def test_subtitles_that_cannot_be_kept_are_refused(echo: dict[str, bytes], run: Run) -> None:
    Path("a.smi").write_text("<SAMI><BODY>Hi there</BODY></SAMI>")
    refused = run("translate", "-f", "a.smi")
    assert refused.status == 2
    assert "a.smi has SAMI subtitles" in refused.stderr
    row = json.loads(run("batch", "translate", "a.smi", "plain.txt").stdout.splitlines()[0])
    assert "SAMI" in row["error"]["message"]


def test_all_problems_of_a_segment_are_reported_with_its_place(mistral: Path) -> None:
    def cut(request: Request, stop: Any, on_text: Any) -> Answer:
        return Answer("See.", "length", 3, Timings(0, 1, 1))

    text = "\n\nSee [it](a.md) and[^1] `this`.\n"
    ((job,), planner) = jobs_of(TRANSLATION, mistral, text, source="a.md")
    result = respond(job, Executor(planner, cut))
    assert result.warnings == (
        "line 3: the translation was cut at its limit; the answer lacks a.md, [^1], `this`",
    )
