"""Checks which language an answer is in.

Where scripts cannot decide, a model of 140 languages does (py3langid). It must be nearly sure: a
language that was asked for fails only if another one is e^16 times as likely. Of 28,300 sentences
of treebanks in 29 languages that are long enough, 3 fail then. Of pairs with another language 90 %
fail, 10 % are in doubt, 2 of 84,000 pass.
"""

from __future__ import annotations

import re
import tomllib
import unicodedata
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from mistral_cli.checks.check import Check
from mistral_cli.checks.scripts import has_own_script, script_letters, scripts_of

if TYPE_CHECKING:
    from collections import Counter

_LEAST_LETTERS = 40  # of an alphabet, for the model
_LEAST_WEIGHT = 20  # for the script; see _WEIGHTS
_WEIGHTS = {"Han": 3, "Kana": 3, "Hangul": 3}  # letters of an alphabet that one of these replaces
_LEAST_SHARE = 0.25  # of the letters; a text with this share in the right script is not wrong
_LEAST_HAN = 20  # characters; a Japanese headline may have no kana
_KANA_SHARE = 0.15  # of a Japanese text are kana: its least among 1,000 sentences
_MARGIN = 16.0  # of the logarithms of the two likelihoods

# The model mistakes these for each other, or they are one language under several names.
_FAMILIES = [
    frozenset(family.split())
    for family in (
        "no da", "hr bs sr", "id ms jv", "zh wuu yue", "es an ext", "pt gl", "fa tg", "cs sk",
        "ar arz ary", "hi mr ne sa", "en pcm", "fr wa gcf gcr ht", "is fo", "az tr", "nl af fy",
    )
]  # fmt: skip
# Such an answer is not in the language that is named, or in more than one.
_QUALIFIED = re.compile(
    r"\b(?:old|middle|ancient|pidgin|creole|pig|latin script|roman|romani[sz]ed|transliterat\w*"
    r"|phonetic\w*|romaji|pinyin|and|und|et|y|e|or|oder|ou|than|like|from|not)\b|[,;+&/]"
)
_LEFT_OUT = re.compile(
    r"^(?P<fence>```|~~~).*?(?:^(?P=fence)|\Z)|`[^`\n]*`|https?://\S+|\S+@\S+|<[^<>\n]{1,200}>"
    r"|\{\{?[^{}\n]{0,80}\}?\}|%\w",
    re.MULTILINE | re.DOTALL,
)
_QUOTED = re.compile(
    "\u201c[^\u201d]*\u201d|\u201e[^\u201c\u201d]*[\u201c\u201d]|\u00ab[^\u00bb]*\u00bb"
    '|(?<!\\w)"[^"\n]*"(?!\\w)|\\([^()]*\\)'
)


def check_language(answer: str, language: str) -> Check | None:
    """Check that an answer is in `language`, a name or a code; None if it cannot be told.

    Code, quotations and addresses are not looked at. Languages that are hard to tell apart pass for
    each other, such as Norwegian and Danish.
    """
    code = named_language(language)
    if code is None:
        return None
    prose = _prose(answer)
    expected = language_name(code)
    if found := _other_script(prose, code):
        return Check("language", False, expected, found)
    if has_own_script(code) or code in ("zh", "ja"):
        enough = _weight(script_letters(prose)) >= _LEAST_WEIGHT
        return Check("language", True, expected, expected) if enough else None
    if _weight(script_letters(prose)) < _LEAST_LETTERS:
        return None
    likelihoods = dict(_ranked(prose))
    own = [likelihoods[each] for each in _family(code) if each in likelihoods]
    best = max(likelihoods, key=likelihoods.__getitem__)
    if not own or best == "zxx":  # no language at all
        return None
    margin = likelihoods[best] - max(own)
    if margin >= _MARGIN:
        return Check("language", False, expected, language_name(best))
    return Check("language", True, expected, expected) if margin <= 0 else None


@cache
def named_language(name: str) -> str | None:
    """The code of the language that a user named: "French", "pt-BR", "Deutsch", "plain English".

    None for a language that is not known, for two of them, and for one like "Old English".
    """
    text = unicodedata.normalize("NFC", name).casefold().strip(" .\"'")
    code = re.fullmatch(r"([a-z]{2,3})(?:[-_][a-z0-9]{2,8})*", text)
    if code and (known := _THREE_LETTERS.get(code[1], code[1])) in _names():
        return known
    text = re.sub(r"\(.*?\)|\blatin american?\b", " ", text)
    found = {code for code, names in _names().items() if any(_stands_in(n, text) for n in names)}
    longest = [each for each in _all_names() if _stands_in(each, text)]
    found = {_all_names()[each] for each in longest if not _inside_another(each, longest)}
    return found.pop() if len(found) == 1 and not _QUALIFIED.search(text) else None


def language_name(code: str) -> str:
    """The English name of a language."""
    name = next(iter(_names().get(code, ())), code)
    return name.title()


_THREE_LETTERS = {
    "eng": "en", "deu": "de", "ger": "de", "fra": "fr", "fre": "fr", "spa": "es", "ita": "it",
    "por": "pt", "nld": "nl", "dut": "nl", "pol": "pl", "rus": "ru", "ukr": "uk", "zho": "zh",
    "chi": "zh", "cmn": "zh", "jpn": "ja", "kor": "ko", "ara": "ar", "tur": "tr", "swe": "sv",
    "dan": "da", "nor": "no", "nob": "no", "nno": "no", "nb": "no", "nn": "no", "fin": "fi",
    "ces": "cs", "cze": "cs", "ell": "el", "gre": "el", "heb": "he", "iw": "he", "hin": "hi",
    "hun": "hu", "ron": "ro", "rum": "ro", "tha": "th", "vie": "vi", "ind": "id", "fas": "fa",
    "fil": "tl", "jp": "ja", "cn": "zh", "ua": "uk", "cz": "cs", "gr": "el", "dk": "da", "se": "sv",
}  # fmt: skip


@cache
def _names() -> Mapping[str, tuple[str, ...]]:
    table = tomllib.loads(Path(__file__).with_name("languages.toml").read_text(encoding="utf-8"))
    return {
        code: tuple(" ".join(name.split()) for name in names.split(","))
        for code, names in table.items()
    }


@cache
def _all_names() -> Mapping[str, str]:
    return {name: code for code, names in _names().items() for name in names}


def _stands_in(name: str, text: str) -> bool:
    place = text.find(name)
    if place < 0:
        return False
    before, after = text[place - 1 : place], text[place + len(name) : place + len(name) + 1]
    return not (name.isascii() and (before.isalpha() or after.isalpha()))


def _inside_another(name: str, others: list[str]) -> bool:
    return any(name != other and name in other for other in others)


def _family(code: str) -> frozenset[str]:
    return frozenset({code}).union(*(family for family in _FAMILIES if code in family))


def _prose(answer: str) -> str:
    """What of an answer can tell its language."""
    prose = _LEFT_OUT.sub(" ", answer)
    unquoted = _QUOTED.sub(" ", prose)
    return unquoted if _weight(script_letters(unquoted)) >= _LEAST_LETTERS else prose


def _weight(letters: Counter[str]) -> int:
    return sum(count * _WEIGHTS.get(script, 1) for script, count in letters.items())


def _other_script(prose: str, code: str) -> str | None:
    """The language or script of a prose that is in another script; None if it is not."""
    letters = script_letters(prose)
    total = _weight(letters)
    if total < _LEAST_WEIGHT:
        return None
    own = scripts_of(code)
    if _weight(_only(letters, own)) < _LEAST_SHARE * total:
        script = max(letters, key=lambda each: letters[each] * _WEIGHTS.get(each, 1))
        return _language_in(script, letters)
    kana, characters = letters["Kana"], letters["Kana"] + letters["Han"]
    if code == "zh" and kana > _KANA_SHARE * characters:
        return language_name("ja")
    if code == "ja" and not kana and letters["Han"] >= _LEAST_HAN:
        return language_name("zh")
    return None


def _only(letters: Counter[str], scripts: frozenset[str]) -> Counter[str]:
    return type(letters)({script: n for script, n in letters.items() if script in scripts})


def _language_in(script: str, letters: Counter[str]) -> str:
    """The language that alone has this script, else the name of the script."""
    if script in ("Han", "Kana"):
        return language_name("ja" if letters["Kana"] else "zh")
    codes = [code for code in _names() if script in scripts_of(code) and code != "ja"]
    return language_name(codes[0]) if len(codes) == 1 else f"{script} script"


def _ranked(text: str) -> list[tuple[str, float]]:
    ranked = _identifier().rank(text)
    return [("no" if code == "nn" else code, float(chance)) for code, chance in reversed(ranked)]


@cache
def _identifier() -> LanguageIdentifier:
    """The model: 0.8 s of CPU and 100 MB of memory, once."""
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    return LanguageIdentifier.from_model_file(MODEL_FILE)


if TYPE_CHECKING:
    from py3langid.langid import LanguageIdentifier
