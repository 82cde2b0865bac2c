"""Glossary files, the terms of a text, and answers that ignore them."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.terminals import make_terminal

from mistral_cli.errors import UsageError
from mistral_cli.texts.glossary import Glossary, read_glossary

LAMPS = Glossary({"lamp": "Leuchte", "lamp post": "Laternenpfahl", "Owner": "Eigent\u00fcmer"})


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.csv", "lamp,Leuchte\nhello, world,x\n".replace("hello, world", '"hello, world"')),
        ("a.csv", '\ufeffTerm,Translation\r\n\r\n# by Ann\r\nlamp, Leuchte\r\n"hello, world", x'),
        ("a.tsv", "source\ttarget\nlamp\tLeuchte\nhello, world\tx\n"),
        ("a.txt", "lamp\tLeuchte\nhello, world\tx\nLAMP\tLeuchte\n"),
        ("a.csv", "lamp;Leuchte\nhello, world;x\n"),
        ("a.csv", "sep=;\r\nTerm ; Translation\r\nlamp; Leuchte\r\n;\r\nhello, world;x;;\r\n"),
        ("a.csv", "hello, world|x\nlamp|Leuchte\n|\n"),
        ("a.csv", "hello, world;x\r# it's an \"old Mac\r\rlamp;Leuchte\r"),
    ],
)
def test_a_file_is_comma_or_tab_separated(tmp_path: Path, name: str, text: str) -> None:
    path = tmp_path / name
    path.write_text(text, encoding="utf-8", newline="")
    assert read_glossary(path, make_terminal()).terms == {"lamp": "Leuchte", "hello, world": "x"}


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("lamp,Leuchte\n\n# x\nlamp\n", "line 4: not a term"),
        ("lamp,Leuchte,die\n", "line 1: not a term"),
        ("lamp,\n", "line 1: not a term"),
        ("lamp,Leuchte\nLamp,Lampe\n", "line 2: 'Lamp' has another translation on line 1"),
        ("# nothing\n", "has no terms"),
        ("term,translation\n", "has no terms"),
    ],
)
def test_a_file_in_another_form_is_rejected(tmp_path: Path, text: str, problem: str) -> None:
    path = tmp_path / "a.csv"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(UsageError, match=problem) as caught:
        read_glossary(path, make_terminal())
    assert caught.value.hint


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be read"):
        read_glossary(tmp_path / "missing.csv", make_terminal())
    (tmp_path / "binary.csv").write_bytes(b"lamp,\0\xff")
    with pytest.raises(UsageError, match="not a text file"):
        read_glossary(tmp_path / "binary.csv", make_terminal())


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1252"])
def test_a_file_may_have_any_encoding(tmp_path: Path, encoding: str) -> None:
    path, terminal = tmp_path / "a.csv", make_terminal()
    path.write_bytes("lamp,Straßenleuchte\nowner,Eigentümer\n".encode(encoding))
    terms = {"lamp": "Straßenleuchte", "owner": "Eigentümer"}
    assert read_glossary(path, terminal, "cp1252").terms == terms
    assert terminal.warnings == []
    assert read_glossary(path, terminal).terms == terms
    assert len(terminal.warnings) == (encoding == "cp1252")


@pytest.mark.parametrize(
    ("text", "terms"),
    [
        ("The LAMP burns.", ["lamp"]),
        ("Lamps and clamps, lampshade", []),
        ("the lamp\n  post of its owner", ["lamp post", "Owner"]),
        ("a lamp post and a lamp", ["lamp post", "lamp"]),
        ("", []),
    ],
)
def test_terms_are_whole_words(text: str, terms: list[str]) -> None:
    assert [*LAMPS.terms_in(text)] == terms


def test_terms_in_scripts_without_spaces() -> None:
    glossary = Glossary({"\u706f": "lamp", "\u8def\u706f": "street lamp"})
    assert glossary.terms_in("\u8fd9\u662f\u8def\u706f\u3002") == {"\u8def\u706f": "street lamp"}
    assert glossary.missing("\u8fd9\u662f\u706f\u3002", "This is a Lamp.") == []


@pytest.mark.parametrize(
    ("original", "translation", "missing"),
    [
        ("The lamp burns.", "Die leuchte brennt.", []),
        ("The lamp burns.", "Die Leuchten brennen.", []),
        ("The lamp burns.", "Die Lampe brennt.", ["lamp"]),
        ("the owner", "des Eigent\u00fcmers", []),
        ("the lamp post, the owner", "die Leuchte des Besitzers", ["lamp post", "Owner"]),
        ("Nothing of it.", "Nichts davon.", []),
    ],
)
def test_missing_terms(original: str, translation: str, missing: list[str]) -> None:
    assert LAMPS.missing(original, translation) == missing


def test_an_empty_glossary_finds_nothing() -> None:
    assert Glossary({}).terms_in("any text") == {}
