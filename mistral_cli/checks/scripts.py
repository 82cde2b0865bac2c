"""The scripts that texts are written in."""

from __future__ import annotations

import re
from collections import Counter
from functools import cache

# The blocks with letters of each script; of characters that scripts share there are none.
_BLOCKS = {
    "Latin": "A-Za-z\u00aa\u00ba\u00c0-\u00d6\u00d8-\u00f6\u00f8-\u02af\u1e00-\u1eff",
    "Greek": "\u0370-\u03ff\u1f00-\u1fff",
    "Cyrillic": "\u0400-\u052f\u1c80-\u1c8f\u2de0-\u2dff\ua640-\ua69f",
    "Armenian": "\u0531-\u0587",
    "Hebrew": "\u05d0-\u05f4",
    "Arabic": "\u0620-\u064a\u066e-\u06d3\u06ee-\u06ff\u0750-\u077f\u08a0-\u08ff\ufb50-\ufdff"
    "\ufe70-\ufefc",
    "Devanagari": "\u0900-\u0963\u0970-\u097f\ua8e0-\ua8ff",
    "Bengali": "\u0980-\u09fe",
    "Gurmukhi": "\u0a01-\u0a76",
    "Gujarati": "\u0a81-\u0aff",
    "Oriya": "\u0b01-\u0b77",
    "Tamil": "\u0b82-\u0bd7",
    "Telugu": "\u0c00-\u0c63",
    "Kannada": "\u0c80-\u0cf3",
    "Malayalam": "\u0d00-\u0d63\u0d7a-\u0d7f",
    "Sinhala": "\u0d81-\u0df3",
    "Thai": "\u0e01-\u0e4e",
    "Lao": "\u0e81-\u0edf",
    "Tibetan": "\u0f40-\u0fbc",
    "Burmese": "\u1000-\u109f",
    "Georgian": "\u10a0-\u10ff\u1c90-\u1cbf",
    "Ethiopic": "\u1200-\u135a\u1380-\u1399\u2d80-\u2dde",
    "Khmer": "\u1780-\u17d3",
    "Mongolian": "\u1820-\u18aa",
    "Hangul": "\u1100-\u11ff\u3131-\u318e\uac00-\ud7a3",
    "Kana": "\u3041-\u3096\u309d-\u309f\u30a1-\u30fa\u30fd-\u30ff\u31f0-\u31ff\uff66-\uff9d",
    "Han": "\u3005-\u3007\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff",
}
_RUNS = re.compile("|".join(f"(?P<{name}>[{letters}]+)" for name, letters in _BLOCKS.items()))

# What a language is written in, unless it is the Latin script.
_SCRIPTS_OF = {
    "Cyrillic": "be bg ba kk ky mk mn ru sr tg tt uk",
    "Arabic": "ar arz ary fa ku ps sd ug ur",
    "Devanagari": "hi mr ne sa gom",
    "Greek": "el",
    "Hebrew": "he",
    "Bengali": "as bn",
    "Ethiopic": "am",
    "Armenian": "hy",
    "Georgian": "ka",
    "Gujarati": "gu",
    "Gurmukhi": "pa",
    "Oriya": "or",
    "Tamil": "ta",
    "Telugu": "te",
    "Kannada": "kn",
    "Malayalam": "ml",
    "Sinhala": "si",
    "Thai": "th",
    "Lao": "lo",
    "Tibetan": "dz bo",
    "Burmese": "my",
    "Khmer": "km",
    "Mongolian": "mn",
    "Hangul": "ko",
    "Kana": "ja",
    "Han": "zh ja wuu yue",
}
_ALSO_LATIN = frozenset("az ku mn sr tt ug uz".split())  # noqa: SIM905


@cache
def scripts_of(code: str) -> frozenset[str]:
    """The scripts that the language with that code is written in."""
    scripts = {script for script, codes in _SCRIPTS_OF.items() if code in codes.split()}
    if not scripts or code in _ALSO_LATIN:
        scripts.add("Latin")
    return frozenset(scripts)


@cache
def has_own_script(code: str) -> bool:
    """True if no other language that is detected here has the scripts of this one."""
    return all(
        _SCRIPTS_OF.get(each) == code for each in scripts_of(code) if each not in ("Han", "Kana")
    ) and code not in ("zh", "ja")


def script_runs(text: str) -> list[tuple[str, int, int]]:
    """Each run of letters of one script: the script, the start and the end."""
    return [
        (match.lastgroup, match.start(), match.end())
        for match in _RUNS.finditer(text)
        if match.lastgroup
    ]


def script_letters(text: str) -> Counter[str]:
    """How many letters of each script a text has."""
    letters = Counter[str]()
    for script, start, end in script_runs(text):
        letters[script] += end - start
    return letters
