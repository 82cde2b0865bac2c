"""Finds names in an answer that its text does not have; `names.toml` has the words to tell them."""

from __future__ import annotations

import re
import tomllib
import unicodedata
from collections import defaultdict
from collections.abc import Iterator
from functools import cache, cached_property
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from mistral_cli.checks.facts.lexicon import small_words
from mistral_cli.checks.facts.numbers import roman_value
from mistral_cli.checks.facts.units import lookup
from mistral_cli.texts.languages import language_rules

if TYPE_CHECKING:
    from mistral_cli.checks.facts.reader import FactText

_WORD = re.compile(r"[^\W\d_]+(?:[-'&][^\W\d_]+)*")
_PLAIN_WORD = re.compile(r"[^\W\d_]++(?!')")  # not the "d" of "d'Amérique"
_OPENING = re.compile(  # marks of Markdown, lists and quotations may stand at the beginning
    r"(?:\A|[.!?…:;]|[\n\r|])[\s*_#>'\")(\[\]»“”«„•\d.)-]*\Z|[«„“”\"(\[]\Z"
)
_HEADING = re.compile(
    r"\*\*[^*\n]{1,60}\*\*|^#{1,6} [^\n]{1,80}$|^[^\n:.]{1,40}:(?=\s|\Z)", re.MULTILINE
)
_TITLE = re.compile(r"(\w+)\.? \Z")
_UPPER = "A-Z\u00c0-\u00d6\u00d8-\u00de\u0100-\u017f\u0391-\u03a9\u0401-\u042f"
_CAPITAL = re.compile(rf"(?<!\w)[{_UPPER}]")
_SMALL = "of|the|and|for|de|la|le|des|du|der|die|das|für|und|di|del|y|e|en|van"
_RUN = re.compile(rf"(?<!\w)[{_UPPER}]\w*+(?:[ \n-](?:(?:{_SMALL})[ \n]){{0,2}}[{_UPPER}]\w*+)*+")
_CONTRACTION = re.compile(r"(?:n't|'(?:ll|re|ve|d|m))\Z")
_PLACE_ENDING = re.compile(
    r"(?:dorf|burg|berg|stadt|heim|hausen|furt|ingen|kirchen|brücken|münde|walde|roda|bach)\Z"
)
_ADJECTIVE = re.compile(  # "Костромской", "sopocka", of the place that it belongs to
    "(?:[\u0456\u043e]\u0432\u0441\u044c\u043a|\u0441\u044c\u043a|\u0446\u044c\u043a"
    "|[\u043e\u0435\u0438]?[\u0432\u0439]?\u0441\u043a|\u0446\u043a|[oie]?wsk|[ni]?sk|ck|dzk)"
    r"\w{1,4}\Z"
)
_VOWELS = "aeiouy\u0456\u043e\u0435\u0438\u0430\u0443\u044e"
_HONORIFIC = re.compile(
    r"([\u4e00-\u9fff\u30a0-\u30ff]{1,4})(さん|様|氏|先生|女士|小姐|经理|經理|社長|部長)"
)

_PREDICATE = re.compile(  # what follows the name of a person more often than another word
    r"'s |(?:,| and \w+)? ?(?:is|was|has|had|will|would|can|may|must|says|said|asks|asked|wants"
    r"|wrote|told|thinks|plans|won|lost|left|made|took|came|comes|got|gets|went|\w+ed)\b"
)
_CAPITALIZES_NOUNS = "de"
_HAS_COMMON_WORDS = "en"


class Name(NamedTuple):
    """A capitalized word of an answer."""

    text: str
    start: int
    end: int
    opens: bool  # it begins a sentence, a line, a quotation


@cache
def _words(table: str) -> frozenset[str]:
    tables = _tables()
    key = "common" if table == "english" else "words"
    return frozenset(tables[table][key].split())


@cache
def _tables() -> dict[str, dict[str, str]]:
    return tomllib.loads(Path(__file__).with_suffix(".toml").read_text(encoding="utf-8"))


@cache
def _countries() -> dict[str, str]:
    words = _tables()["nations"]["words"].split()
    return dict(zip(words[1::2], words[::2], strict=True))


def folded(word: str) -> str:
    """A word without case and accents."""
    word = word.casefold()
    if word.isascii():
        return word
    plain = unicodedata.normalize("NFD", word)
    return "".join(char for char in plain if not unicodedata.combining(char))


class NameIndex:
    """The words of a text, for finding the names of an answer among them."""

    def __init__(self, source: FactText) -> None:
        text = source.prepared
        found = _WORD.findall(text)
        self._text = text
        uninflected = source.lexicon.code in small_words("uninflected")
        self._endings = small_words("plurals" if uninflected else "endings")
        self._inflecting = source.lexicon.code in small_words("inflecting")
        self._spelled = set(found)
        self._words = {folded(word) for word in self._spelled}
        for word in [*self._words]:
            if "-" in word or "'" in word or "&" in word:
                self._words.update(re.split("[-'&]", word))

    @cached_property
    def _by_start(self) -> dict[str, list[str]]:
        words = defaultdict(list)
        for word in self._words:
            words[word[:3]].append(word)
        return words

    @cached_property
    def _acronyms(self) -> set[str]:
        parts = (part for word in self._spelled for part in _PLAIN_WORD.findall(word))
        return {part for part in parts if len(part) > 1 and part.isupper()}

    @cached_property
    def _long(self) -> set[str]:
        return {folded(word) for word in self._spelled if len(word) > 5 and word[0].isupper()}

    @cached_property
    def _initials(self) -> set[str]:
        return _initials(self._text)

    @cached_property
    def _pairs(self) -> dict[str, set[str]]:
        pairs = defaultdict(set)
        last: re.Match[str] | None = None
        for match in _WORD.finditer(self._text):
            adjacent = last is not None and last.end() + 1 == match.start()
            if last and adjacent and last[0][0].isupper() and match[0][0].isupper():
                pairs[folded(last[0])].add(folded(match[0]))
            last = match
        return pairs

    def has(self, word: str) -> bool:
        """True if the text has the word, perhaps inflected."""
        parts = re.split("[-'&]", word)
        word = folded(word)
        if word in self._words:
            return True
        if len(word) == 1:
            return any(each.startswith(word) for each in self._words)
        if len(parts) > 1:
            names = [part for part in parts if part[:1].isupper()] or parts  # "Texas-based"
            return all(len(part) < 3 or self.has(part) for part in names)
        return any(self._same(word, each) for each in self._by_start.get(word[:3], ()))

    def _same(self, word: str, other: str) -> bool:
        shared = 0
        for left, right in zip(word, other, strict=False):
            if left != right:
                break
            shared += 1
        rests = word[shared:], other[shared:]
        if "" in rests and (rests[0] or rests[1]) in self._endings and shared > 2:
            return True
        if self._inflecting:
            for one, two in ((word, other), (other, word)):
                stem = _ADJECTIVE.sub("", one)
                derived = stem != one and len(stem) > 2 and two.startswith(stem)
                if len(stem) == 3 and two[3:4] not in _VOWELS:
                    continue  # "Gajda" and "Gajewski"
                if derived and len(two) < len(stem) + 4:
                    return True
            shortest = min(len(word), len(other))
            least = max(3, shortest - 1 if shortest < 6 else shortest - 2)
            return shared >= least and max(map(len, rests)) <= 3
        if "" in rests and {*rests} & {"a", "e", "er", "i", "y"}:
            return False  # "Martin" and "Martina", "Thorn" and "Thorne"
        return shared > 3 and {*rests} <= {"", *small_words("derived")}

    def has_acronym(self, word: str) -> bool:
        """True if capitalized words of the text begin with the letters of an acronym."""
        lower = folded(word)
        if any(lower in initials for initials in self._initials):
            return True
        return len(word) < 4 and any(_is_within(lower, each) for each in self._long)

    def expansions(self, text: str) -> Iterator[tuple[int, int]]:
        """The places of words that begin with the letters of an acronym of the text.

        "Organisation mondiale de la santé" is one of "OMS".
        """
        words = [
            word
            for word in _PLAIN_WORD.finditer(text)
            if word[0].lower() not in small_words("small")
        ]
        initials = "".join(folded(word[0])[0] for word in words)
        for acronym in self._acronyms:
            at = -1
            while (at := initials.find(folded(acronym), at + 1)) >= 0:
                last = words[at + len(acronym) - 1]
                capitals = words[at][0][0].isupper(), last[0][0].isupper()
                if all(capitals) or (capitals[0] and len(acronym) > 2):
                    yield words[at].start(), last.end()

    def nations(self) -> set[str]:
        """The countries that the text names, by name or by their people."""
        countries = _countries()
        named = {countries[word] for word in self._words & countries.keys()}
        return named | (self._words & set(countries.values()))

    def contains(self, piece: str) -> bool:
        """True if the text has these characters."""
        return piece in self._text

    def followers(self, word: str) -> set[str]:
        """The capitalized words that directly follow a word in the text."""
        return self._pairs.get(folded(word), set())


def _is_within(letters: str, word: str) -> bool:
    """True if a word begins with the first letter and has the others after it, in their order."""
    if not word.startswith(letters[0]):
        return False
    at = 0
    for letter in letters:
        at = word.find(letter, at) + 1
        if not at:
            return False
    return True


def _initials(text: str) -> set[str]:
    """The first letters of each run of capitalized words; small words may stand between them."""
    runs = {run for run in _RUN.findall(text) if " " in run or "-" in run}
    return {folded("".join(_CAPITAL.findall(run))) for run in runs}


def find_names(answer: FactText, index: NameIndex) -> Iterator[tuple[int, int]]:
    """The places of names in an answer that the text does not have."""
    names = [*_capitalized(answer)]
    code = answer.lexicon.code
    unknown = [name for at, name in enumerate(names) if _is_unknown(names, at, answer, index)]
    merged: list[list[Name]] = []
    for name in unknown:
        if merged and answer.prepared[merged[-1][-1].end : name.start] == " ":
            merged[-1].append(name)
        else:
            merged.append([name])
    expansions = [*index.expansions(answer.prepared)] if merged else []
    for group in merged:
        start, end = group[0].start, group[-1].end
        if not any(first <= start and end <= last for first, last in expansions):
            yield start, end
    if code in ("zh", "ja"):
        yield from _with_honorific(answer.prepared, index, answer)


def _capitalized(answer: FactText) -> Iterator[Name]:
    text = answer.masked
    taken = [(fact.start, fact.end) for fact in answer.facts]
    headings = [match.span() for match in _HEADING.finditer(answer.text)]
    spans = iter([*taken, (len(text) + 1, len(text) + 1)])
    span = next(spans)
    for match in _WORD.finditer(text):
        while span[1] <= match.start():
            span = next(spans)
        word = match[0]
        if span[0] < match.end() or not any(char.isupper() for char in word):
            continue
        if _CONTRACTION.search(word):
            continue
        start, end = match.span()
        if word.endswith("'s"):
            end -= 2
        elif "'" in word and word[1:2] == "'":  # "l'Europe"
            start += 2
        word = text[start:end]
        if word[:1].isupper() or any(char.isupper() for char in word[1:]):
            before = text[max(0, start - 8) : start]
            title = _TITLE.search(before)
            titled = title is not None and title[1].lower() in small_words("addresses")
            headed = any(left <= start < right for left, right in headings)
            opens = headed or (bool(_OPENING.search(before)) and not titled)
            yield Name(word, start, end, opens)


def _is_unknown(names: list[Name], at: int, answer: FactText, index: NameIndex) -> bool:
    name = names[at]
    text = name.text
    lower = text.lower()
    lexicon = answer.lexicon
    if (
        len(text) < 2
        or lower in _words("titles")
        or lower in _words("institutions")
        or lower in lexicon.months
        or lower in lexicon.weekdays
    ):
        return False
    if index.has(text) or lookup(text) or lower in lexicon.parts:
        return False
    if text.isupper():
        return not (
            text in _words("acronyms")
            or index.has_acronym(text)
            or roman_value(text)
            or (name.opens and len(text) > 4 and not answer.masked[name.end + 1 :][:1].islower())
        )
    if lower in _countries():
        nations = index.nations()
        return bool(nations) and _countries()[lower] not in nations
    if any(char.isupper() for char in text[1:]) and "-" not in text:
        return True  # "LogiTrack"
    previous = names[at - 1] if at and names[at - 1].end + 1 == name.start else None
    following = (
        names[at + 1] if at + 1 < len(names) and names[at + 1].start == name.end + 1 else None
    )
    if lexicon.code == _CAPITALIZES_NOUNS:
        return _is_german_name(name, previous, answer, index)
    if lower in _words("given") or lower in _words("places"):
        return True
    if not name.opens:
        return lexicon.code != "en" or not (lower in _words("english") and previous is None)
    if lexicon.code != _HAS_COMMON_WORDS or lower in _words("english") or _is_common_form(lower):
        return False
    if following is not None and not following.text.isupper():
        return True
    return bool(_PREDICATE.match(answer.masked, name.end))


def _is_common_form(word: str) -> bool:
    common = _words("english")
    if word.endswith(tuple(small_words("english_endings"))) or "-" in word:
        return True
    if word.endswith("s") and not word.endswith("ss"):
        return True
    stems = (word.removesuffix(ending) for ending in ("er", "ers", "al", "est", "y"))
    return any(stem in common for stem in stems if stem != word)


def _is_german_name(name: Name, previous: Name | None, answer: FactText, index: NameIndex) -> bool:
    """German capitalizes all nouns: only what stands where a name does is taken for one."""
    lower = name.text.lower()
    if lower in _words("given") or lower in _words("places"):
        return True
    before = answer.masked[max(0, name.start - 24) : name.start]
    title = re.search(r"(\w+)\.? \Z", before)
    if title is None or title[1].lower() == lower:
        return False
    word = title[1].lower()
    if word in _words("titles") or (word in _words("given") and title[1][0].isupper()):
        return True
    if word in small_words("before_place") and _PLACE_ENDING.search(lower):
        return True
    if word in language_rules("de").openers:
        return False
    followers = index.followers(word)
    return bool(followers) and not lookup(title[1]) and previous is not None


def _with_honorific(text: str, index: NameIndex, answer: FactText) -> Iterator[tuple[int, int]]:
    for match in _HONORIFIC.finditer(text):
        shortest = 1 if answer.lexicon.code == "zh" else 2  # of a family name
        if not index.contains(match[1][-shortest:]):
            yield match.span()
