"""The prefixes that the program saves and restores, for one-off calls and batches."""

from __future__ import annotations

import json
from pathlib import Path

from support.prompt_cache import TEXT, CachingProgram


def test_another_question_about_a_text_restores_the_text(
    caching_program: CachingProgram, text_file: Path
) -> None:
    total, cached = caching_program.tokens("generate", "What is this?", "-f", text_file)
    assert cached == 0
    again = caching_program.tokens("generate", "Who wrote it, and why?", "-f", text_file)
    assert again[0] - again[1] < 60 < again[1] < total
    assert caching_program.tokens("generate", "A third one?", "-f", text_file, "--no-cache")[1] == 0
    listed = caching_program("cache", "list").stdout.split("\t")
    assert listed[:2] == [str(caching_program.model), str(again[1])]


def test_the_instruction_before_a_text_is_saved_without_the_text(
    caching_program: CachingProgram, text_file: Path, tmp_path: Path
) -> None:
    template = tmp_path / "about.txt"
    template.write_text("Say in few words what the following text is about.\n\n{{ text }}")
    first = caching_program.tokens("generate", "--template", template, "-f", text_file)
    (saved,) = caching_program.saved_tokens()
    assert 16 <= saved < first[0] - len(TEXT)
    assert caching_program.tokens("generate", "--template", template, "another text") == (
        first[0] - len(TEXT) + len("another text"),
        saved,
    )
    assert caching_program.saved_tokens() == [saved]


def test_a_text_without_a_question_of_the_users_is_not_saved(
    caching_program: CachingProgram, text_file: Path
) -> None:
    caching_program.tokens("summarize", "-f", text_file)
    assert caching_program.saved_tokens() == []


def test_a_system_prompt_is_saved(caching_program: CachingProgram) -> None:
    system = "You are a pirate who answers in rhymes."
    caching_program.tokens("generate", "hi", "--system", system)
    assert caching_program.tokens("generate", "What is a boat?", "--system", system)[1] >= len(
        system
    )


def test_short_prompts_are_not_saved(caching_program: CachingProgram) -> None:
    caching_program.tokens("generate", "What is a boat?")
    caching_program.tokens("generate", "What is a boat?", "--raw")
    assert caching_program.saved_tokens() == []


def test_a_batch_saves_the_prefix_that_its_rows_share(
    caching_program: CachingProgram, tmp_path: Path
) -> None:
    rows = tmp_path / "rows.txt"
    rows.write_text("one\nand two\nthree\nfour\n", encoding="utf-8")
    prompt = "Tell me in one word what kind of thing this is: {text}"
    command = ("batch", "generate", "--prompt", prompt, "--input-format", "lines", rows)

    def cached(out: str, *more: str) -> list[int]:
        result = caching_program(*command, "-o", tmp_path / out, "--parallel", 2, *more)
        assert result.status == 0, result.stderr
        lines = (tmp_path / out).read_text(encoding="utf-8").splitlines()
        return sorted(json.loads(line)["cached_tokens"] for line in lines)

    cached("first.jsonl")
    (saved,) = caching_program.saved_tokens()
    assert len(prompt) - 10 < saved
    assert cached("second.jsonl") == [saved] * 4
    # With --no-cache the slots of one run still share, and nothing stays on disk.
    assert cached("third.jsonl", "--no-cache")[-1] == saved
    assert caching_program.saved_tokens() == [saved]
