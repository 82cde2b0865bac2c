"""Where a text is continued."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mistral_cli.errors import UsageError
from mistral_cli.generation.completions.gap import GapFinder
from mistral_cli.texts.inputs import Text, text_from_bytes

CODE = "def f(x):\n    return\n"


def text(content: str) -> Text:
    return Text(content, "argument")


@pytest.mark.parametrize(
    ("cursor", "before", "after"),
    [
        ("1:1", "", CODE),
        ("1:7", "def f(", "x):\n    return\n"),
        ("1:10", "def f(x):", "\n    return\n"),
        ("2", "def f(x):\n    return", "\n"),
        ("3:1", CODE, ""),
        ("return", "def f(x):\n    ", "\n"),
    ],
)
def test_a_cursor_splits_the_text(cursor: str, before: str, after: str) -> None:
    assert GapFinder(cursor=cursor).find(text(CODE)) == (before, after)


@pytest.mark.parametrize(
    ("cursor", "message"),
    [
        ("4:1", "line 4, and the text has 3 lines"),
        ("0:1", "line 0"),
        ("1:11", "column 11, and line 1 has 9 characters"),
        ("1:0", "column 0"),
        ("9" * 5000, "9' is not in the text"),
        ("<here>", "'<here>' is not in the text"),
        ("f", "'f' is more than once"),
    ],
)
def test_a_place_that_the_text_does_not_have_is_an_error(cursor: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        GapFinder(cursor=cursor).find(text("def f(f):\n    return\n"))


@given(st.text(alphabet="ab \n\r", max_size=30), st.data())
def test_every_place_of_a_text_can_be_named(content: str, data: st.DataObject) -> None:
    lines = content.split("\n")
    line = data.draw(st.integers(1, len(lines)))
    column = data.draw(st.integers(1, len(lines[line - 1].removesuffix("\r")) + 1))
    before, after = GapFinder(cursor=f"{line}:{column}").find(text(content))
    assert before + (after or "") == content
    assert before.count("\n") == line - 1
    assert len(before.rpartition("\n")[2]) == column - 1


def test_without_options_all_of_the_text_is_continued() -> None:
    assert GapFinder().find(text(CODE)) == (CODE, None)
    assert GapFinder(suffix="end").find(text(CODE)) == (CODE, "end")


@pytest.mark.parametrize("content", ["a\n", "a", "a\n\n", "a\r\nb\r\n", "\ufeffa\n", "a \n \n"])
def test_the_whitespace_of_a_file_is_kept(content: str) -> None:
    read = text_from_bytes(content.encode(), "f.txt", "auto")
    assert GapFinder().find(read).before == content.removeprefix("\ufeff")
