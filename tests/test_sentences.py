"""How many sentences a text has, and the grammar that yields as many."""

from __future__ import annotations

import random
import re
from pathlib import Path

import llguidance
import pytest
from grammars import admits

from mistral_cli.long.sentences import count_sentences, sentences_grammar

RFC = (Path(__file__).parent / "documents" / "rfc.txt").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("text", "sentences"),
    [
        ("", 0),
        (" \n ...\n---\n", 0),
        ("No stop at the end", 1),
        ('Hello world. It costs 3.5 euros. "Why?" he asked. Yes!', 4),
        ("He lives in the U.S. It is nice there.", 2),
        ("The U.S. Government moved. Dr. No and Mr. And came.", 2),
        ("Read e.g. Fig. 3 of example.com. Then stop.", 2),
        ("He told me. Ann is ok. You may. Go!", 4),
        ("(He left.) She stayed.", 2),
        ('He said "Go. Now." Then he left.', 2),
        ("Wait... what? He left\u2026 She stayed.", 3),
        ("**Bold.** Then plain. _The end._", 3),
        ("- one\n- two goes\n  on\n- three. And four.", 4),
        ("1. First.\n2. Second", 2),
        ("# A title\nA text that\nis wrapped. Its end.\n\n\nA paragraph", 4),
        ("\u3053\u308c\u306f\u6587\u3067\u3059\u3002\u6b21\u306e\u6587\u3067\u3059\u3002", 2),
        ("\u4f60\u597d\u3002\u6211\u4eec\u8d70\u3002\u597d\u5417\uff1f\u662f\uff01", 4),
    ],
)
def test_count(text: str, sentences: int) -> None:
    assert count_sentences(text) == sentences


def test_the_language_brings_its_abbreviations() -> None:
    assert count_sentences("Das ist z. B. so. Und das auch.", "de") == 2


@pytest.mark.parametrize(
    ("text", "sentences"),
    [
        ("Hello big world.", 1),
        ("He lives in the U.S.", 1),
        ("\u00dc ist ein Buchstabe!", 1),
        ("We met Dr. Smith and J. K. Rowling. They left us.", 2),
        ("The U.S.-based firm, etc., costs $3.5 million. See example.com or Node.js for it.", 2),
        ("Pears, e.g. the red ones, are good. Fig. 3 shows it?", 2),
        ("(He left home.) She stayed there. He said \u201cgo home now.\u201d", 3),
        ('The "big" dog \u2013 a pug (see there) \u2013 barks. "Lantern" is its name.', 2),
        ("\u3053\u308c\u306f\u6587\u3067\u3059\u3002\u6b21\u306e\u6587\u3067\u3059\u3002", 2),
    ],
)
def test_the_grammar_admits_sentences(text: str, sentences: int) -> None:
    assert admits(sentences_grammar(sentences), text)
    assert count_sentences(text) == sentences
    assert not admits(sentences_grammar(sentences + 1), text)


@pytest.mark.parametrize(
    "text",
    [
        "Hello big world. Bye",
        "Hello big world.  Bye big world.",
        " Hello big world. Bye big world.",
        "Hello big world. Bye big world. ",
        "Hello big\nworld. Bye big world.",
        "Hello big world.\nBye big world.",
        "Hi. Bye you two.",
        "Hello big world. Bye big world. And more of it.",
        "We saw Mr. Hello big world.",
        'Hello "big world. Bye" big world.',
    ],
)
def test_the_grammar_refuses_what_is_not_two_sentences(text: str) -> None:
    assert not admits(sentences_grammar(2), text)


def test_many_sentences_compile() -> None:
    grammar = sentences_grammar(20)
    assert not llguidance.LLMatcher.validate_grammar(grammar)
    assert admits(grammar, " ".join(["This is a sentence."] * 20))


PHRASES = re.findall(r"[a-z]+(?: [a-z]+)*[,:;]?", RFC)
PHRASES += 4 * [
    "Mr.",
    "Dr.",
    "U.S.",
    "e.g.",
    "etc.",
    '"good"',
    "(so",
    "it",
    "says)",
    "(see",
    "3.5",
    "3,000",
    "isn't",
    '"say',
    "so.",
    "No.",
]
ENDS = [*(6 * [" "]), *(3 * [". "]), "? ", "! ", "\u2026 ", '." ', ") ", '" ', ""]


def sample(sentences: int, chance: random.Random) -> str | None:
    """Phrases and stops at random, as far as the grammar admits each; None if they find no end."""
    tokenizer = llguidance.LLTokenizer("byte")
    matcher = llguidance.LLMatcher(tokenizer, sentences_grammar(sentences))
    text = ""
    for _ in range(4000):
        if matcher.is_accepting():
            return text
        phrase = chance.choice(PHRASES) + chance.choice(ENDS)
        if chance.random() < 0.4:
            phrase = phrase.capitalize()
        phrase = chance.choice([phrase] * 9 + list(' ."?!),') + ["So"])
        tokens = list(phrase.encode())
        if matcher.validate_tokens(tokens) == len(tokens):
            assert matcher.consume_tokens(tokens)
            text += phrase
    return None
    return text


def test_what_the_grammar_admits_counts_as_many() -> None:
    """Nine in ten even of this nonsense; what a model writes is tamer."""
    chance = random.Random(7)
    wanted = [chance.randint(1, 5) for _ in range(60)]
    texts = [(sample(sentences, chance), sentences) for sentences in wanted]
    ended = [(text, sentences) for text, sentences in texts if text]
    assert len(ended) > 40
    wrong = [text for text, sentences in ended if count_sentences(text) != sentences]
    assert len(wrong) <= len(ended) / 10, wrong
