"""Subtitles of every kind: which words are translated, what is reported, what is refused."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mistral_cli.errors import UsageError
from mistral_cli.texts.structure import (
    detect_format,
    left_out,
    place,
    segments,
    with_breaks,
    without_breaks,
)
from mistral_cli.texts.subtitles import check_subtitles

SRT = """\
1
00:00:01,000 --> 00:00:02,500 X1:100 X2:200 Y1:10 Y2:20
{\\an8}<i>Good morning.</i>
{name} is here.

After a blank line.

  And after two.

2
00:00:03 -> 00:00:04
No milliseconds.

14
0:00:05.5 --> 0:00:06,25
- Who?
- I.
00:00:07,000 \u2013 00:00:08,000
No number and a dash.

16
00:00:09,000 --> 00:00:10,000 On the line.
17
00:00:11,000 -->
Until when?
"""
VTT = """\
WEBVTT - A talk
Kind: captions

STYLE
::cue(.loud) { color: red }

REGION
id:bob

NOTE for the translator:
keep it short

intro
00:01.000 --> 00:02.000 align:start position:10%
<v.loud Bob Brown>Hi <00:01.500><c.red>there</c>

A second paragraph.

NOTE one line

00:02.000 --> 00:03.000
Right away.
00:03.000 --> 00:04.000
No blank line.
"""
ASS = """\
[Script Info]
; Made by hand
Title: The lamp
ScriptType: v4.00+

[V4+ Styles]
Format: Name, Fontname, Fontsize
Style: Default,Arial Black,20

[Events]
Format: Layer, Start, End, Style, Name, MarginL, MarginR, MarginV, Effect, Text
Dialogue: 0,0:00:01.00,0:00:02.00,Default,Bob,0,0,0,,{\\i1}Well, yes{\\i0}, he\\Nsaid.{\\r}
Comment: 0,0:00:02.00,0:00:03.00,Default,,0,0,0,,A remark
Dialogue: 0,0:00:02.00,0:00:03.00,Default,,0,0,0,,{\\p1}m 0 0 l 100 0 b c{\\p0}
Dialogue: 0,0:00:03.00,0:00:04.00,Default,,0,0,0,,Yes.
"""
SSA = ASS.replace("Layer, ", "Marked, ").replace("V4+ Styles", "V4 Styles")
SBV = "0:00:01.000,0:00:02.000\nOne line[br]and two.\n\n0:00:03.000,0:00:04.000\nThe end.\n"
SUBVIEWER = "[TITLE]\n00:00:01.00,00:00:02.00\nOne line.\n"
LRC = "[ti:The lamp]\n[00:01.20]Burn, lamp\n[00:02.00][00:09.00] <00:02.10> all day\nloose words\n"
MICRODVD = "{1}{1}25\n{10}{20}{y:i}Hi there|you all.\n{30}{}/No end.\n"
MPL2 = "[10][20]/Hi there|you all.\n[30][40]Bye.\n"
TMPLAYER = "00:00:01:Hi there|you all.\n00:00:04:Bye.\n"


@pytest.mark.parametrize(
    ("text", "translated", "rest"),
    [
        (
            SRT,
            [
                "Good morning.</i>\n{name} is here.",
                "After a blank line.",
                "And after two.",
                "No milliseconds.",
                "Who?",
                "I.",
                "No number and a dash.",
                "On the line.",
                "Until when?",
            ],
            [],
        ),
        (
            VTT,
            [
                "Hi <00:01.500><c.red>there",
                "A second paragraph.",
                "Right away.",
                "No blank line.",
            ],
            ["not translated: 1 header field (line 1), 2 comments (lines 10, 19)"],
        ),
        (
            ASS,
            ["Well, yes{\\i0}, he\\Nsaid.", "Yes."],
            ["not translated: 2 comments (lines 2, 13), 1 header field (line 3)"],
        ),
        (
            SSA,
            ["Well, yes{\\i0}, he\\Nsaid.", "Yes."],
            ["not translated: 2 comments (lines 2, 13), 1 header field (line 3)"],
        ),
        (SBV, ["One line[br]and two.", "The end."], []),
        (SUBVIEWER, ["One line."], ["not translated: 1 untimed line (line 1)"]),
        (
            LRC,
            ["Burn, lamp", "all day", "loose words"],
            ["not translated: 1 header field (line 1)"],
        ),
        (MICRODVD, ["Hi there|you all.", "No end."], []),
        (MPL2, ["Hi there|you all.", "Bye."], []),
        (TMPLAYER, ["Hi there|you all.", "Bye."], []),
    ],
)
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_words_are_translated_and_the_rest_is_reported(
    text: str, translated: list[str], rest: list[str], end: str, mark: str
) -> None:
    document = mark + text.replace("\n", end)
    parts = segments(document, "subtitles")
    assert "".join(part.text for part in parts) == document
    words = [part.text for part in parts if part.translate]
    assert [word.replace(end, "\n") for word in words] == translated
    assert left_out(document, "subtitles") == rest
    for word in words:
        assert with_breaks(word, without_breaks(word, "subtitles"), "subtitles") == word
    check_subtitles("film.srt", document)


TWO_CUES = "1\n00:00:01,000 --> 00:00:02,000\nOne.\n%s2\n%s\nTwo.\n"


@pytest.mark.parametrize("blank", ["", "\n"])
@pytest.mark.parametrize(
    ("time", "reported"),
    [
        ("-00:00:03,000 --> 00:00:04,000", False),
        ("--> 00:00:04,000", False),
        ("0:3 --> 0:4", False),
        ("00:00:60:00,000 --> 00:00:61:00,000", False),
        ("00:00:03,000 --> 00:00:04:00,000", False),
        ("3 -> 4", False),
        ("-0:00:03.000,0:00:04.000", False),
        ("00h03 --> 00h04", True),
        ("3s -> 4s", True),
        ("00:00:03,000 to 00:00:04,000", True),
        ("00:00:03,000 \u2192 ?", False),
        ("0.5 \u2014\u2014> 1.5", False),
        ("12 --&gt; 13", False),
        ("00;00;03 00;00;04", False),
        ("--> 00:00:04,000 On the line", True),
    ],
)
def test_a_time_in_an_unknown_form_stays(time: str, reported: bool, blank: str) -> None:
    text = TWO_CUES % (blank, time)
    parts = segments(text, "subtitles")
    assert [part.text for part in parts if part.translate] == ["One.", "Two."]
    assert "".join(part.text for part in parts) == text
    line = 5 + len(blank)
    assert left_out(text, "subtitles") == (
        [f"not translated: 1 unread line (line {line})"] if reported else []
    )
    assert place(text, text.index("Two"), "subtitles") == "cue 2"


@pytest.mark.parametrize(
    "text",
    [
        "{1}{2}One.\n{-3}{4}Two.\n",
        "00:00:01:One.\n-00:00:04:Two.\n",
        "00:00:01:One.\n0:0:5.5:Two.\n",
        "[-00:01.20]One.\n[00:00:02,00]Two.\n",
    ],
)
def test_an_odd_time_before_the_words_stays(text: str) -> None:
    parts = [part.text for part in segments(text, "subtitles") if part.translate]
    assert parts == ["One.", "Two."]


def test_an_arrow_between_words_is_translated() -> None:
    text = TWO_CUES % ("", "00:00:03 --> 00:00:04\nPress A --> B, 3 -> 4.")
    words = [part.text for part in segments(text, "subtitles") if part.translate]
    assert words == ["One.", "Press A --> B, 3 -> 4.\nTwo."]


@pytest.mark.parametrize(
    ("line", "translated", "rest"),
    [
        ("dialogue: 0,0:00:01.00,0:00:02.00,Default,Bob,0,0,0,,Hi you", ["Hi you"], []),
        ("Dialogue: 0,1,2,D,B,0,0,0,,{\\p1}m 0 0 l 1 2{\\p0}After.", ["After."], []),
        ("Dialogue: 0,1,2,D,B,0,0,0,,One {\\b1\\p2}m 0 b c{\\p0} two", ["One", "two"], []),
        ("Dialog: 0,1,2,D,B,0,0,0,,Hi", [], ["not translated: 1 unread line (line 15)"]),
        ("a line without its event", [], ["not translated: 1 unread line (line 15)"]),
        ("Picture: 0,1,2,D,B,0,0,0,,lamp.png", [], []),
    ],
)
def test_every_line_of_events_is_translated_or_reported(
    line: str, translated: list[str], rest: list[str]
) -> None:
    text = ASS.replace("; Made by hand\n", "").replace("Title: The lamp", "x: y")
    text = text.replace("Comment:", "Command:") + line + "\n"
    words = [part.text for part in segments(text, "subtitles") if part.translate]
    assert words[2:] == translated
    assert left_out(text, "subtitles") == rest


LINES = """00:00:01,000 --> 00:00:02,000|00:01 -> 00:02|0:00:03.5 --> 0:00:04 Words|1|14||  |Words
- Words|Words, words.|<i>Words</i>|[Words]|00:00:01,000 -->|NOTE Words
{\\an8}Words|10:30 Words|Words:"""


@given(st.lists(st.sampled_from(re.split(r"[|\n]", LINES)), max_size=16), st.booleans())
def test_every_word_is_translated_or_reported(lines: list[str], untimed: bool) -> None:
    document = "\n".join(["Words"] * untimed + ["1", "00:00:01,000 --> 00:00:02,000", *lines])
    words = "".join(part.text for part in segments(document, "subtitles") if part.translate)
    reported = left_out(document, "subtitles") == ["not translated: 1 untimed line (line 1)"]
    assert reported is untimed
    assert len(re.findall("(?i)words", words)) + untimed == len(re.findall("(?i)words", document))


@pytest.mark.parametrize("text", [SRT, VTT, ASS, SSA, SBV, LRC.partition("\n")[2], MPL2, TMPLAYER])
def test_content_shows_subtitles(text: str) -> None:
    assert detect_format("stdin", text) == "subtitles"


@pytest.mark.parametrize(
    "text", ["At 10:30 --> lunch\n", "10:30 Tea\n11:00 Cake\n", "1\nOne\n", "[1] A\n[2] B\n[3] C\n"]
)
def test_other_texts_with_times_are_not_subtitles(text: str) -> None:
    assert detect_format("stdin", text) == "text"


def test_line_breaks_are_written_as_in_the_file() -> None:
    assert without_breaks("One\\Ntwo|three", "subtitles") == "One\ntwo\nthree"
    assert with_breaks("One\\Ntwo|three", "Eins\nzwei\ndrei", "subtitles") == "Eins\\Nzwei|drei"
    assert with_breaks("One\\Ntwo", "Eins\nzwei\ndrei", "subtitles") == "Eins\\Nzwei\\Ndrei"
    assert with_breaks("One\r\ntwo", "Eins\nzwei", "text") == "Eins\r\nzwei"
    assert without_breaks("a|b \\N", "text") == "a|b \\N"


@pytest.mark.parametrize(
    ("text", "words", "where"),
    [
        (SRT, "No milliseconds", "cue 2"),
        (SRT, "Who?", "cue 14"),
        (SRT, "No number", "cue 4"),
        (SRT, "Until", "cue 17"),
        (VTT, "Right", "cue 2"),
        (SBV, "The end", "cue 2"),
        (ASS, "Yes.", "line 15"),
        (LRC, "all day", "line 3"),
    ],
)
def test_a_place_is_named_by_its_cue_or_line(text: str, words: str, where: str) -> None:
    for document in (text, "\ufeff" + text.replace("\n", "\r\n")):
        assert place(document, document.index(words), "subtitles") == where


@pytest.mark.parametrize(
    ("source", "text", "why"),
    [
        ("film.ttml", "<tt><p>Hi there</p></tt>", "film.ttml has TTML subtitles"),
        ("stdin", '<?xml version="1.0"?>\n<tt xmlns="x"><p>Hi</p></tt>', "stdin has TTML"),
        ("film.smi", "<SAMI>", "film.smi has SAMI subtitles"),
        ("stdin", "\n<sami>", "stdin has SAMI subtitles"),
        ("film.stl", "x", "STL"),
        ("film.srt", "Just words.\n\nAnd more.\n", "film.srt has no cue"),
        ("film.ass", "Just words.\n", "film.ass has no cue"),
    ],
)
def test_subtitles_that_cannot_be_read_are_refused(source: str, text: str, why: str) -> None:
    with pytest.raises(UsageError, match=why) as refused:
        check_subtitles(source, text)
    assert "SRT" in refused.value.hint
