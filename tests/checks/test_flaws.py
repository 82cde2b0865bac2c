"""Flaws are found, and no real text has any."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mistral_cli.checks.flaws import find_flaws

ROOT = Path(__file__).parents[2]
SOURCE = (
    "The committee met on Tuesday in Bern and decided to close the old bridge for the summer. "
    "Engineers had found cracks in two of its pillars, and the repair will cost 1.5 million euros. "
    "Buses will use the new bridge. The mayor said that the work would end in September."
)
POEM = """\
Row, row, row your boat,
Gently down the stream,
Merrily, merrily, merrily, merrily,
Life is but a dream.
"""
SONG = """\
The night is young and the road is long,
and nobody knows where we will sleep.

Oh, carry me home to the house by the sea, carry me home tonight.

The stars are out and the wind is strong,
the water below us is cold and deep.

Oh, carry me home to the house by the sea, carry me home tonight.

The morning comes with a different song,
a promise that no one will have to keep.

Oh, carry me home to the house by the sea, carry me home tonight.
"""
TABLE = (
    "| name | ok |\n|---|---|\n" + "| the same name in each of the eight rows here | yes |\n" * 8
)
CODE = (
    "Use this:\n\n```python\n"
    + "print('the same line of code again and again, ten times')\n" * 10
    + "```\n"
)


def flaws(answer: str, **given: object) -> list[str]:
    return [check.name for check in find_flaws(answer, **given) if not check.ok]  # type: ignore[arg-type]


@pytest.mark.parametrize("answer", ["", " \n", "...", "- \n-"])
def test_an_answer_without_words_is_empty(answer: str) -> None:
    assert flaws(answer) == ["empty"]


def test_an_answer_that_only_announces_a_text_is_empty() -> None:
    assert flaws("Sure, here is the summary:") == ["empty"]
    assert flaws("**Here is the summary:**", source="The pier is closed.") == ["empty"]
    assert flaws("Voici le r\u00e9sum\u00e9 :", source="Here is the summary:") == []
    assert flaws("Sure, here is the summary: it rained.") == []
    assert flaws("Of course!") == []


LOOP = "The committee decided to close the old bridge for the summer. "
REPEATED = [
    LOOP * 3,
    "It met. " + LOOP * 30,
    "- " + LOOP.strip() + "\n" + f"- {LOOP}\n" * 3,
    "1. one two three four five six seven eight\n2. one two three four five six seven eight\n"
    "3. one two three four five six seven eight",
    "I think that it is so and " * 12,
    "no " * 60,
    "the plan is the plan is the plan is the plan is the plan is the plan is the plan is the plan",
    "ha" * 60,
    "\u59d4\u5458\u4f1a\u661f\u671f\u4e8c\u5f00\u4f1a\u51b3\u5b9a\u590f\u5929\u5173\u95ed\u65e7\u6865\u8fdb\u884c\u5168\u9762\u7ef4\u4fee\u548c\u68c0\u67e5\u5de5\u4f5c\u3002"
    * 3,
    "\u59d4\u54e1\u4f1a\u306f\u706b\u66dc\u65e5\u306b\u958b\u304b\u308c\u3001\u53e4\u3044\u6a4b\u3092\u590f\u306e\u9593\u9589\u9396\u3059\u308b\u3053\u3068\u3092\u6c7a\u3081\u305f\u3002"
    * 4,
]


@pytest.mark.parametrize("answer", REPEATED)
def test_a_repetition_is_found(answer: str) -> None:
    assert flaws(answer) == ["repetition"]
    assert "repetition" in flaws(answer, source=SOURCE)
    (finding,) = next(c for c in find_flaws(answer) if c.name == "repetition").findings
    assert answer[finding.start : finding.end] == finding.text


def test_a_sentence_that_a_summary_has_three_times_is_a_repetition() -> None:
    others = SOURCE.split(". ")
    answer = ". ".join([LOOP.strip(" ."), others[1], LOOP.strip(" ."), others[2], LOOP.strip(" .")])
    assert flaws(answer, source=SOURCE) == ["repetition"]


@pytest.mark.parametrize(
    "answer", [POEM, POEM * 2, SONG, TABLE, CODE, "5 " * 7, "..........", "=" * 99]
)
def test_refrains_tables_and_code_are_no_repetitions(answer: str) -> None:
    assert not {"repetition"} & set(flaws(answer))


def test_what_the_text_repeats_may_be_repeated() -> None:
    psalm = "".join(
        f"He made thing {n}: for his mercy endureth for ever and ever, amen.\n" for n in range(9)
    )
    assert not flaws(psalm, source=psalm + "And so on.")
    german = "".join(
        f"Er schuf {n}: denn seine Gnade dauert f\u00fcr immer und ewig, amen.\n" for n in range(9)
    )
    assert not flaws(german, source=psalm, language="German")


@given(st.lists(st.sampled_from(SOURCE.split()), min_size=1, max_size=40), st.integers(3, 6))
def test_a_loop_of_any_words_is_found(words: list[str], times: int) -> None:
    unit = " ".join(words)
    if len(words) >= 8:
        assert "repetition" in flaws(f"{unit} " * times)


INSTRUCTION = "Summarize the text above in exactly three sentences. Answer with the summary only."


def test_the_instruction_in_the_answer_is_found() -> None:
    answer = f"The bridge is closed. {INSTRUCTION}"
    assert flaws(answer, source=SOURCE, instruction=INSTRUCTION) == ["instruction"]
    assert flaws(INSTRUCTION, source=SOURCE, instruction=INSTRUCTION) == ["instruction"]
    assert not flaws(answer, source=SOURCE + INSTRUCTION, instruction=INSTRUCTION)
    assert not flaws("The text above has three sentences.", source=SOURCE, instruction=INSTRUCTION)
    assert not flaws(INSTRUCTION, instruction=INSTRUCTION)  # a prompt may be quoted
    chinese = "\u8bf7\u7528\u4e2d\u6587\u7b80\u8981\u6982\u62ec\u4e0b\u9762\u7684\u6587\u672c" * 2
    chinese += "\u4e0d\u8981\u6dfb\u52a0\u4efb\u4f55\u522b\u7684\u4fe1\u606f"
    assert flaws(chinese, source="\u7801\u5934", instruction=chinese) == ["instruction"]
    assert not flaws(chinese, source=f"\u7801\u5934{chinese}", instruction=chinese)


GERMAN = (
    "Der Ausschuss traf sich am Dienstag in Bern und beschloss, die alte Br\u00fccke im Sommer zu "
    "schlie\u00dfen. Ingenieure hatten Risse in zwei Pfeilern gefunden. Die Reparatur kostet 1,5 "
    "Millionen Euro."
)


@pytest.mark.parametrize(
    ("source", "language", "wrong"),
    [
        (SOURCE, None, True),
        (SOURCE, "German", True),
        (GERMAN, "English", True),
        (GERMAN, "German", False),  # the text was in German already
        ("The bridge is closed for the whole summer, said the mayor.", "German", True),
        ("The bridge is closed.", None, False),  # its own summary
        ("Anna Schmidt, Berlin", "French", False),
        ("Taxi", "German", False),
        ("x = 5 # 7", "German", False),
    ],
)
def test_the_text_unchanged(source: str, language: str | None, wrong: bool) -> None:
    assert ("unchanged" in flaws(f" {source}\n", source=source, language=language)) == wrong
    assert "unchanged" not in flaws(source + " And more.", source=source, language=language)


def test_a_script_that_neither_text_nor_language_has() -> None:
    assert flaws("The bridge is \u5173\u95ed for the summer.", source=SOURCE) == ["script"]
    assert flaws(
        "Die Br\u00fccke ist \u0437\u0430\u043a\u0440\u044b\u0442\u0430.",
        source=SOURCE,
        language="German",
    ) == ["script"]
    assert not flaws(
        "Die Br\u00fccke ist zu.",
        source="\u6a4b\u304c\u9589\u9396\u3055\u308c\u305f",
        language="German",
    )
    assert not flaws(
        "\u041c\u043e\u0441\u0442 \u0437\u0430\u043a\u0440\u044b\u0442.",
        source=SOURCE,
        language="Russian",
    )
    assert not flaws("It is 5 \u03bcm or 3 k\u03a9 wide, \u0394 = 2.", source=SOURCE)
    assert not flaws("Tokyo is \u6771\u4eac in Japanese.")  # there is no text
    assert not flaws(
        "\u041c\u043e\u0441\u0442 \u0437\u0430\u043a\u0440\u044b\u0442.",
        source=SOURCE,
        language="Klingon",
    )


@pytest.mark.parametrize(
    "answer",
    [
        "The bridge is closed.<|im_end|>",
        "The bridge is closed.</s>",
        "[INST] The bridge is closed.",
        "The bridge is closed.<end_of_turn>",
        "The bridge is closed.<\uff5cend\u2581of\u2581sentence\uff5c>",
        "The bridge is closed.\n\n### Response:\nIt is.",
        "The bridge<0x0A>is closed.",
        "The bridge is closed. [control_5]",
    ],
)
def test_a_leaked_control_token_is_found(answer: str) -> None:
    assert flaws(answer, source=SOURCE, control_texts=["[control_5]", "a", "the"]) == [
        "control tokens"
    ]
    assert not flaws(answer, source=answer, control_texts=["[control_5]", "a", "the"])
    assert not flaws(f"A token: `{answer.splitlines()[0]}`")


@pytest.mark.parametrize(
    "answer",
    [
        "It cost <s>5</s> 4 euros.",
        "a <- b | c",
        "<b>bold</b>",
        "# Response",
        "List<int>",
        "[1] [2]",
    ],
)
def test_markup_is_no_control_token(answer: str) -> None:
    assert not flaws(answer)


def test_no_text_of_this_project_has_a_flaw() -> None:
    files = [*ROOT.glob("docs/**/*.md"), *ROOT.glob("docs/examples/**/*.*"), ROOT / "README.md"]
    files += [*(ROOT / "tests/support/files").glob("*.*"), ROOT / "CHANGELOG.md"]
    files = [path for path in files if path.suffix in (".md", ".txt", ".srt", ".json")]
    texts = [path.read_text(encoding="utf-8") for path in files]
    texts += (ROOT / "tests/texts/sentence_cases.txt").read_text(encoding="utf-8").splitlines()
    for text in filter(str.strip, texts):
        assert not flaws(text, instruction=INSTRUCTION), text[:80]
        assert not set(flaws(text, source=text, instruction=INSTRUCTION)) - {"unchanged"}, text[:80]


@given(st.text(), st.text(), st.text())
def test_any_text_can_be_checked(answer: str, source: str, instruction: str) -> None:
    for check in find_flaws(answer, source=source, instruction=instruction):
        for finding in check.findings:
            assert answer[finding.start : finding.end] == finding.text
