"""Judges the marks of a paragraph: where a sentence ends, and how likely.

`sentencex` knows the abbreviations of many languages, but answers yes or no where there is doubt:
alone it counts 254 of the 406 texts of `tests/texts/sentence_cases.txt` right.
"""

from __future__ import annotations

import re
import unicodedata
from bisect import bisect_right
from collections.abc import Iterator
from enum import IntEnum
from functools import cached_property
from itertools import accumulate
from typing import NamedTuple

from mistral_cli.texts.languages import (
    Language,
    ends_enumeration,
    is_abbreviation,
    may_be_abbreviation,
)

_LETTER = r"[^\W\d_]"
BLANK = " \t\n\u00a0\u202f\u3000"
MARKUP = "*_`~"
_CJK_STOPS = "\u3002\uff01\uff1f\uff61\uff0e"  # no space follows them
_OTHER_STOPS = (
    "\u0964\u0965\u06d4\u061f\u0589\u1362\u1367\u1368\u104a\u104b\u17d4\u17d5\u0df4\u1803\u1c7e"
)
_CJK_CLOSERS = "\u300d\u300f\u3011\u300b\u3009\u3015\uff09\uff3d"
_CLOSERS = f"\"'\u201c\u201d\u2019\u00bb\u00ab\u203a\u2039)\\]}}{_CJK_CLOSERS}{MARKUP}"
_QUOTES = "\"'\u201e\u201c\u201d\u2018\u201a\u00ab\u00bb\u2039\u203a"
_CJK_OPENERS = "\u300c\u300e\u3010\u300a\u3008\u3014\uff08\uff3b"
_OPENERS = f"{_QUOTES}(\\[{{{_CJK_OPENERS}\u00bf\u00a1{MARKUP}\u2013\u2014-"

_STOP = re.compile(
    rf"(?P<mark>(?:\.(?:\s?\.)+|[!?\u2026](?:\s+[.!?]+)+|"
    rf"[.!?\u2026\u203c\u2047-\u2049{_CJK_STOPS}{_OTHER_STOPS}]+)+)"
    # Closing marks (French has a space before them), and the numbers of footnotes.
    rf"(?P<closers>(?:[{_CLOSERS}]|[{BLANK}][\u00bb\u203a](?=[{BLANK}]|\Z)"
    rf"|\[\d+\]|[\u00b9\u00b2\u00b3]|(?<={_LETTER}\.)\d{{1,3}}(?:[, ]\d{{1,3}})*(?=\s)"
    rf"|(?<=[)\u201d\"]\.)\d{{1,3}}(?=\s))*)"
    rf"(?P<gap>\s*)(?P<openers>(?:[`{_OPENERS}]|,,)*[{BLANK}]*)(?P<next>\S*)"
)

# Quotations and brackets. An apostrophe is a quotation mark only around words.
_SPAN = re.compile(
    '\u201e[^\u201e]*?[\u201c\u201d"]|\u201c[^\u201c\u201d]*\u201d|\u201d[^\u201c\u201d]*\u201d'
    "|\u00ab[^\u00ab\u00bb]*\u00bb|\u00bb[^\u00ab\u00bb]*\u00ab|\u2018[^\u2018]*?\u2019(?!\\w)"
    "|\u300c[^\u300c\u300d]*\u300d|\u300e[^\u300e\u300f]*\u300f|\uff08[^\uff08\uff09]*\uff09"
    "|\u3008[^\u3008\u3009]*\u3009|\u3014[^\u3014\u3015]*\u3015|\uff3b[^\uff3b\uff3d]*\uff3d"
    "|\u3010[^\u3010\u3011]*\u3011|\u300a[^\u300a\u300b]*\u300b|\\([^()]*\\)|\\[[^\\[\\]]*\\]"
    '|(?<!\\w)"(?=\\S)[^"]*(?<=\\S)"(?!\\w)|(?<!\\w)\'(?=\\w)[^\\n]*?(?<=[\\w.!?,])\'(?!\\w)'
)

# What `sentencex` is not shown: it sees no end between two quotation marks or brackets, and takes
# marks of two quotations for one pair.
_NO_WORD = re.compile(rf"[{MARKUP}\n\"()\[\]]|(?<!\w)[{_QUOTES}]|[{_QUOTES}](?!\w)|,,")

_BEFORE_OWN = re.compile(rf"[:.!?\u2026{_CJK_STOPS}{_OTHER_STOPS}][{_CLOSERS}]*\Z")
_DOT = re.compile(rf"\.[{BLANK}]?")
_WORD = re.compile(
    rf"(?:(?<!\w){_LETTER}{{1,3}}\.[{BLANK}]?)*[\w\u2019'-]*[\w\u00b0](?:[./]\w+)*\Z"
)  # with what "U.S" and "z. B" have before
_NEXT_PARTS = re.compile(rf"\.[{BLANK}]?({_LETTER}{{1,4}}(?:\.[{BLANK}]?{_LETTER}{{1,4}})*)\.")
_HANGUL = re.compile("[\uac00-\ud7a3]")  # a syllable, which may be a word
_INDIC = re.compile("[\u0900-\u0dff]")  # their vowel signs are no letters to `re`
_ELISION = re.compile(rf"\A{_LETTER}{{1,4}}['\u2019](?=\w)")  # "l'art. 5"
_DOTTED = re.compile(rf"{_LETTER}{{1,2}}(?:\.{_LETTER}{{1,3}})+\Z")
LABEL = re.compile(r"\d{1,4}|\d{1,2}(?:\.\d{1,2}){1,3}")
_ROMAN = re.compile(r"[IVX]{1,6}\Z")
_BEFORE = 200  # characters that a full stop is judged by: all of a long text take too long
_LONG_QUOTATION = 10  # words: "Stop. Go home." counts as one sentence
_LONG_WORD = 8  # letters: of a longer word, `sentencex` doubts what follows
_HOST = re.compile(r"[\w-]{3,}\.[a-z]{2,3}\Z")
_NO_VOWEL = re.compile(r"[bcdfghj-np-tv-xz]{1,7}\Z", re.IGNORECASE)
_SHORTENED = re.compile(  # most end in a consonant
    rf"{_LETTER}{{1,2}}\Z|{_LETTER}{{3,5}}(?<![aeiouàáâãäåèéêëìíîïòóôõöøùúûüýæœ])\Z"
)
_AFTER_MISSING_SPACE = re.compile(r"[^\W\d_][^\W\d_A-Z]+([,;:.]?)(?:\s|\Z)")

# Thai, Lao and Tibetan end sentences as they separate clauses.
_CLAUSE_END = re.compile(r"(?<=[\u0e01-\u0eff])[ \u00a0]+(?=[\u0e01-\u0eff])|\u0f0d\s+(?=\S)")
_LINE_END = re.compile(rf"(?<=[\w)%])[ \t]*\n\s*({_LETTER})")

# After a quotation or bracket, a Japanese particle or a Chinese verb of speech goes on.
_SPEECH = re.compile(
    "[\u3068\u3063\u3066\u306e\u306f\u304c\u3092\u306b\u3082\u3067\u3084\u3078\u3060]|\u306a\u3069"
    "|[^\u3002\uff01\uff1f\u3041-\u30ff]{0,6}[\u8bf4\u8aaa\u9053\u95ee\u554f\u558a\u7b54\u53eb\u66f0]"
)

_UNSPACED = re.compile("[\u3041-\u30ff\u3400-\u9fff]")  # no space follows a mark in Japanese

# `sentencex` takes these words for abbreviations.
_WORDS = """
No me no ok ill id re may art arc ref fed med sat sun mar gen rep sen mag is am us in it so go do
all an as at be by he up we old son mich det
""".split()  # noqa: SIM905

_SCRIPTS = {
    "arabic": "ar", "devanagari": "hi", "bengali": "bn", "tamil": "ta", "telugu": "te",
    "kannada": "kn", "malayalam": "ml", "gujarati": "gu", "gurmukhi": "pa", "cyrillic": "ru",
    "armenian": "hy", "ethiopic": "am", "greek": "el", "hebrew": "he",
}  # fmt: skip
_OTHER_MEANINGS = {"el": {ord(";"): "?"}, "hy": {ord(":"): "\u0589"}}  # what they mean there


class Chance(IntEnum):
    """The chance that a sentence ends at a mark."""

    UNLIKELY = 0
    LIKELY = 1
    CERTAIN = 2


class End(NamedTuple):
    """A place where a sentence ends or may end, behind its closing marks.

    `span` numbers the quotation or bracket that goes on there: either all of its ends count, or
    none.
    """

    position: int
    chance: Chance
    span: int | None = None


class Block:
    """One paragraph, heading or list item."""

    def __init__(self, text: str, code: str | None, rules: Language) -> None:
        self.text = text.translate(_OTHER_MEANINGS.get(_script(text) or "", {}))
        self.code = code
        self.rules = rules
        self.cased = any(map(str.isupper, text))
        self.spans = [match.span() for match in _SPAN.finditer(self.text)]

    def ends(self) -> Iterator[End]:
        """The ends in order; the last is the end of the block."""
        stop = len(self.text.rstrip())
        yield from sorted([*self._marked_ends(stop), *self._unmarked_ends(stop)])
        yield End(stop, Chance.CERTAIN)

    def _marked_ends(self, stop: int) -> Iterator[End]:
        position = 0
        while match := _STOP.search(self.text, position):
            position = match.end("closers")
            if position >= stop:
                return
            chance, span = self._judge(match), self._span(match.start(), position)
            if chance is None:
                continue
            if span is not None:
                own = self._has_own_sentences(span)
                chance = min(chance, Chance.LIKELY) if own else Chance.UNLIKELY
            yield End(position, chance, span)

    def _unmarked_ends(self, stop: int) -> Iterator[End]:
        for match in _CLAUSE_END.finditer(self.text, 0, stop):
            yield End(match.start(), Chance.UNLIKELY)
        for match in _LINE_END.finditer(self.text, 0, stop):
            if not match[1].islower():
                yield End(match.start(), Chance.UNLIKELY)

    def _span(self, start: int, stop: int) -> int | None:
        """The number of the quotation or bracket that goes on after a mark."""
        around = (n for n, (begin, end) in enumerate(self.spans) if begin < start and end > stop)
        return next(around, None)

    def _has_own_sentences(self, span: int) -> bool:
        """True for a long quotation or bracket that begins where a sentence may begin."""
        begin, end = self.spans[span]
        before = self.text[:begin].rstrip(f"{BLANK}\u2013\u2014-")
        first = not before.strip(MARKUP)
        if not first and not _BEFORE_OWN.search(before):
            return False
        alone = first and end == len(self.text.rstrip(BLANK + MARKUP))
        return alone or len(self.text[begin:end].split()) >= _LONG_QUOTATION

    def _judge(self, stop: re.Match[str]) -> Chance | None:
        """The chance that a mark ends a sentence; None if it certainly does not."""
        mark, following = stop["mark"], stop["next"]
        closed = bool(stop["closers"].strip(MARKUP))
        if any(each in _CJK_STOPS for each in mark):
            return self._judge_cjk(stop)
        if any(each in _OTHER_STOPS for each in mark):
            return Chance.CERTAIN
        if not stop["gap"]:
            return self._judge_without_space(stop)
        if (self.cased and following[:1].islower()) or following.startswith("/"):
            return None
        if self.text.endswith(("(", "["), 0, stop.start()):  # "[...]" or "(!)"
            return None
        if mark != "." and not mark.strip(". \u2026"):
            return Chance.UNLIKELY if following == "I" else Chance.LIKELY
        if mark != ".":
            return Chance.LIKELY if closed else Chance.CERTAIN
        if closed:  # in a script without capitals, what follows a quotation may go on
            caseless = following[:1].isalpha() and not following[:1].isupper()
            quoted = bool(stop["closers"].strip(f"{MARKUP})]"))
            return Chance.LIKELY if caseless and quoted else Chance.CERTAIN
        return self._judge_full_stop(stop, following)

    def _judge_cjk(self, stop: re.Match[str]) -> Chance | None:
        if stop["mark"] == "\uff0e" and stop["next"][:1].isdigit():
            return None
        if stop["gap"] or not stop["closers"].endswith(tuple(f"\"'\u201d\u2019){_CJK_CLOSERS}")):
            return Chance.CERTAIN
        speech = _SPEECH.match(self.text, stop.end("gap"))
        return Chance.UNLIKELY if speech else Chance.LIKELY

    def _judge_without_space(self, stop: re.Match[str]) -> Chance | None:
        """A space may be missing, as in "the world.Today is"."""
        if stop["mark"].strip(".\u2026") and _UNSPACED.match(stop["next"]) and not stop["openers"]:
            return Chance.LIKELY if stop["closers"] else Chance.CERTAIN
        before, after = self.text[max(stop.start() - 2, 0) : stop.start()], stop["next"]
        if len(before) < 2 or stop["openers"] or not after[:1].isupper():
            return None
        missing = _AFTER_MISSING_SPACE.match(self.text, stop.start("next"))
        if missing is None or not (before.islower() or before.isdigit()):
            return None
        word = missing[0].strip().removesuffix(missing[1])
        if missing[1] == ".":  # "Tuesday.Mr. Smith", but not "Node.Js."
            return Chance.LIKELY if self.rules.stands_before(word) else Chance.UNLIKELY
        likely = before.islower() or word.lower() in self.rules.openers
        return Chance.LIKELY if likely else Chance.UNLIKELY

    def _judge_full_stop(self, stop: re.Match[str], following: str) -> Chance | None:
        before = self.text[max(stop.start() - _BEFORE, 0) : stop.start()].rstrip()
        token = before.split()[-1].strip(f"{_QUOTES}([{{{MARKUP}") if before else ""
        match = _WORD.search(before)
        if match is None or _INDIC.search(token):
            doubtful = self.rules.may_end(token)
            chance = Chance.UNLIKELY if doubtful else self._library_chance(stop)
            return None if self.rules.stands_before(token) else chance
        chain = self._chain(match[0])
        word = chain.rpartition(".")[2]
        opens = re.split(r"[^\w-]", following.lower())[0] in self.rules.openers
        if not before[: match.start()].strip(f"{BLANK}([{MARKUP}") and _is_label(chain):
            return None
        if token.isdigit():
            return self._judge_number(before, following, opens)
        if (chain in _WORDS or _HOST.match(chain)) and not following[:1].isdigit():
            return Chance.CERTAIN
        if self.rules.stands_before(chain) or self._begins_abbreviation(stop, word):
            inside = chain[0].isupper() or "." in chain or not following[:1].isupper()
            return None if inside else Chance.UNLIKELY
        if self.rules.may_end(chain):
            likely = opens or ends_enumeration(chain)
            if following[:1].isdigit() and not likely:
                return Chance.UNLIKELY
            counted = before[: match.start()].rstrip()[-1:].isdigit() and "." not in chain
            # "for 5 min. And", not "at 5 a.m. Mr."; German nouns are capitalized too, and a
            # Russian year often stands before a name.
            unit = counted and following[:1].isupper() and self.code not in ("de", "ru")
            return Chance.LIKELY if likely or unit else self._library_chance(stop, Chance.LIKELY)
        if re.search(r"[/@\d\u00b0]", token):
            return Chance.CERTAIN
        if len(word) > 1 and _ROMAN.match(word) and not self.rules.ordinals:
            return Chance.LIKELY
        if (
            _DOTTED.match(chain)
            or (len(word) == 1 and not _HANGUL.match(word))
            or _ROMAN.match(word)
        ):
            return _judge_letters(word, following, opens)
        return self._judge_word(stop, word, following, opens)

    def _judge_number(self, before: str, following: str, opens: bool) -> Chance | None:
        *words, number = before.split()
        short = len(number) <= 2
        ordinals = self.rules.ordinals and self.cased  # no script without capitals has them
        if following[:1].isdigit():
            return None if ordinals and short else Chance.LIKELY
        if following.strip(",.;:!?").lower() in self.rules.months and short:
            return None if ordinals else Chance.UNLIKELY
        if not ordinals or (len(number) == 4 and opens):
            return Chance.CERTAIN
        counted = bool(words) and is_abbreviation(words[-1].rstrip("."))  # "Nr. 5", not "5th"
        return Chance.LIKELY if opens or counted or len(number) > 3 else Chance.UNLIKELY

    def _judge_word(
        self, stop: re.Match[str], word: str, following: str, opens: bool
    ) -> Chance | None:
        number = following[:1].isdigit()
        if (_NO_VOWEL.match(word) and not word.isupper()) or word.endswith("str"):
            unit = (
                self.text[max(stop.start() - _BEFORE, 0) : stop.start() - len(word)]
                .rstrip()[-1:]
                .isdigit()
            )
            return Chance.LIKELY if (opens or unit) and not number else Chance.UNLIKELY
        # Before a number the library sees no end, whatever the word is.
        longest = _LONG_WORD - 2 if number else _LONG_WORD
        known = len(word) < longest or may_be_abbreviation(word)
        if known and self._library_chance(stop) is Chance.UNLIKELY:
            return Chance.LIKELY if opens else Chance.UNLIKELY
        if number and len(word) <= 5 and word.isalpha():
            return Chance.UNLIKELY if is_abbreviation(word) else Chance.LIKELY
        return Chance.LIKELY if self._may_be_abbreviation(word, opens) else Chance.CERTAIN

    def _may_be_abbreviation(self, word: str, opens: bool) -> bool:
        """True for a word that no list of this language has, but which has the form ("Fam.").

        A frequent word is none, and before one it is none unless another language has it.
        """
        if not self.cased or word.lower() in self.rules.openers:
            return False
        if opens:
            return is_abbreviation(word)
        return may_be_abbreviation(word) or bool(_SHORTENED.match(word))

    def _chain(self, words: str) -> str:
        """The abbreviation at the end of `words`: "z.B" of "z. B", but "mevr" of "o.a. mevr"."""
        parts = re.split(rf"(?<=\.)[{BLANK}]", words)
        parts[-1] = _ELISION.sub("", parts[-1])
        chains = ["".join(parts[first:]) for first in range(len(parts))]
        known = (c for c in chains if self.rules.stands_before(c) or self.rules.may_end(c))
        return next(known, chains[0])

    def _begins_abbreviation(self, stop: re.Match[str], word: str) -> bool:
        """True for the first full stop of "z. B." and "e. g."."""
        rest = _NEXT_PARTS.match(self.text, stop.start())
        if rest is None or len(word) > 3:
            return False
        parts = [word, *_DOT.split(rest[1])]
        chains = (".".join(parts[:n]) for n in range(2, len(parts) + 1))
        return any(self.rules.stands_before(each) or self.rules.may_end(each) for each in chains)

    def _library_chance(self, stop: re.Match[str], end: Chance = Chance.CERTAIN) -> Chance:
        """`end` if `sentencex` sees the end of a sentence at a full stop."""
        return Chance.UNLIKELY if stop.start() in self._library_inside else end

    @cached_property
    def _library_inside(self) -> frozenset[int]:
        """The places of the full stops at which `sentencex` sees no end."""
        from sentencex import segment

        plain = _NO_WORD.sub(lambda found: " " * len(found[0]), self.text)
        cuts = [*accumulate(map(len, segment(self.code or _script(plain) or "en", plain)))]
        stops = (each.span() for each in re.finditer(r"\.(?=\s)\W*", plain))
        return frozenset(
            start for start, end in stops if bisect_right(cuts, start) == bisect_right(cuts, end)
        )


def _judge_letters(word: str, following: str, opens: bool) -> Chance | None:
    """The full stop after an initial, a Roman number or letters with full stops between them."""
    single, initial = len(word) == 1, following[:1].isupper() and following[1:2] == "."
    if single and (initial or (word.islower() and following[:1].isdigit())):
        return None
    return Chance.LIKELY if opens else Chance.UNLIKELY


def _is_label(word: str) -> bool:
    """True for what numbers a list item or a heading: "1", "b"."""
    return bool(LABEL.fullmatch(word)) or (word.isalpha() and len(word) == 1)


def _script(text: str) -> str | None:
    """The code of a language in the script of the first letter; None for Latin and others."""
    letter = next(filter(str.isalpha, text), " ")
    return _SCRIPTS.get(unicodedata.name(letter, "").partition(" ")[0].lower())
