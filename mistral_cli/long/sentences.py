"""How many sentences a text has, and a grammar that holds a model to a number of them."""

from __future__ import annotations

import re
from itertools import pairwise

_ITEM = re.compile(r"\s*(?:[-*+\u2022\u2013]|\d{1,3}[.)]|#{1,6})\s+")
_MARKS = re.compile(r"[*_`~]+")  # of Markdown; between a stop and a space they hide the stop

# Where the library sees no end: after words that are also short for others, and after these
# stops. No regular expression of ours could do its part for a hundred languages.
_WORDS = "[Mm]e|[Nn]o|[Oo][Kk]|ill|id|re|may|art|arc|ref|fed|med"
_CLOSING = "[\"'\u201d\u2019\u00bb]*"
_JOINED = re.compile(
    rf"(?:\b(?:{_WORDS})\.{_CLOSING}|[.!?\u2026][)\]]{_CLOSING}|\u2026{_CLOSING})"
    r"\s+(?=[\"'(\u201c\u201e\u00ab\u2018]?(?:[^\W\d_a-z]))"
)


def count_sentences(text: str, language: str = "en") -> int:
    """How many sentences `text` has; `language` is a code such as "en" or "de".

    A heading or an item of a list is at least one, whether or not it ends with a stop. Lines
    without such a mark go on the sentence of the line before.
    """
    import sentencex

    return sum(
        any(map(str.isalnum, piece))
        for line in _unwrapped(text)
        for segment in sentencex.segment(language, line)
        for piece in _apart(segment)
    )


def _unwrapped(text: str) -> list[str]:
    """The paragraphs, headings and items of `text`, a line each and without their marks."""
    result: list[str] = []
    goes_on = False
    for line in text.splitlines():
        item = _ITEM.match(line)
        words = _MARKS.sub("", line[item.end() :] if item else line).strip()
        if goes_on and words and not item:
            result[-1] += f" {words}"
        elif words:
            result.append(words)
        goes_on = bool(words) and not line.lstrip().startswith("#")
    return result


def _apart(segment: str) -> list[str]:
    """The sentences of a segment in which the library did not see the end of the first."""
    cuts = [0, *(end.end() for end in _JOINED.finditer(segment)), len(segment)]
    return [segment[start:end] for start, end in pairwise(cuts)]


# --- the grammar ---------------------------------------------------------------------------------

# A stop with a space after it ends a sentence, but after these. Titles may stand before a name,
# the others before a small letter or a number; only the last sentence may end with one.
_TITLES = r"Mr|Mrs|Ms|Dr|Prof|St|Gen|Col|Capt|Lt|Sgt|Rev|Gov|Sen|Rep|Mt|\p{Lu}|(\p{Lu}\.)+\p{Lu}"
_SHORT = r"Inc|Ltd|Co|Corp|[Vv]s|etc|al|[Cc]f|[Ff]ig|[Nn]os?|pp|[Ss]ec|[Ee]d|[Vv]ol|Jr|Sr|ca"
_SHORT += r"|\p{Ll}|(\p{Ll}\.)+\p{Ll}|Ph\.D"

_GRAMMAR = r"""%llguidance {}
start: <START>
next: NEXT " " | CJK
last: LAST | CJK
NEXT: SENTENCE & PAIRED & ~SHORTENED
LAST: SENTENCE & PAIRED
SENTENCE: /(<FIRST>|<OPEN>(<TITLES>|Fig|Nos?|Sec|Vol)\.)( (<WORD>|<OPEN>(<TITLES>)\.|<OPEN>(<SHORT>)\. [\p{Ll}\p{N}](<WORD>)?)){2,60}<STOP><CLOSE>/
SHORTENED: /(.*[ '"(“„‘«-])?(<TITLES>|<SHORT>)\.<CLOSE>/
PAIRED: /([^"“”„«»()\[\]]|"[^"]*"|[“„][^“”„]*[“”]|[«»][^«»]*[«»]|\([^()]*\)|\[[^\[\]]*\])*/
CJK: /[「『（]?[\p{Lo}\p{N}]([^.!?。！？"“”\p{C}\p{Z}]|[0-9]\.[0-9]){3,150}[。！？]{1,2}[」』）]?/
"""
_PARTS = {
    "FIRST": r"<OPEN>[\p{Lu}\p{Lt}\p{Lo}\p{N}](<WORD>)?",
    "WORD": r"(<PLAIN>(\.[\p{Ll}\p{N},;:-])?|(\p{Lu}\.)+\p{Lu}(\.[,;:-])?)+",
    "PLAIN": r"[^.!?…。！？\p{C}\p{Z}]",
    "OPEN": r"""["'“„‘«(\[]?""",
    "STOP": r"(\.\.\.|\.|…|[!?]{1,2})",
    "CLOSE": r"""["'”“’»)\]]{0,2}""",
    "TITLES": _TITLES,
    "SHORT": _SHORT,
}


def sentences_grammar(n: int) -> str:
    """A grammar that admits `n` sentences on one line, as `count_sentences` counts them.

    Each has at least three words, or in Chinese and Japanese four characters.
    """
    grammar = _GRAMMAR.replace("<START>", " ".join([*["next"] * (n - 1), "last"]))
    for name, pattern in _PARTS.items():
        grammar = grammar.replace(f"<{name}>", pattern)
    return grammar
