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
    rf"(?:\b(?:{_WORDS})\.{_CLOSING}(?=\s+[^\W\d])|[.!?\u2026][)\]]{_CLOSING}|\u2026{_CLOSING})"
    r"\s+(?=[\"'(\u201c\u201e\u00ab\u2018]?[^\W_a-z])"
)
# Where it sees one that is none: between a title and a name that is also a word.
_TITLE = re.compile(r"\b(?:Mr|Mrs|Ms|Dr|Prof|St|Gen|Col|Capt|Lt|Sgt|Rev|Gov|Sen|Rep|Mt)\.\s+\Z")


def count_sentences(text: str, language: str = "en") -> int:
    """How many sentences `text` has; `language` is a code such as "en" or "de".

    A heading or an item of a list is at least one, whether or not it ends with a stop. Lines
    without such a mark go on the sentence of the line before.
    """
    import sentencex

    pieces = (
        piece
        for line in _unwrapped(text)
        for segment in sentencex.segment(language, line)
        for piece in _apart(segment)
    )
    return sum(any(map(str.isalnum, piece)) and not _TITLE.search(piece) for piece in pieces)


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

# A stop with a space after it ends a sentence, but for abbreviations: titles stand before a name,
# the others before a small letter or a number; only the last sentence may end with one. What is
# opened is closed in the same sentence, for a stop within it would not count. A lexeme takes all
# bytes that may be its own, and gives none back: where a word may hold an inner stop or
# apostrophe, the last stop or quotation mark has to be of the same lexeme.
_SENTENCE = r"""
next: (begin ((TITLE " "){0,3} END | pair STOP | quote) | whole) " " | CJK
last: begin ((TITLE " "){0,3} (STOPPED | SHORT) | TITLE | pair STOP | quote) | whole | CJK
begin: (NAME | named | FIGURE | titled COMMA?) " " ((word | pair COMMA?) " "){1,60}
word: WORD | named | SHORT (" " LOW | COMMA) | DASH
named: (TITLE " "){1,3} NAME
pair: "(" words PLAIN ")" | "\"" words PLAIN "\"" | OPENED words ENCLOSED
titled: "\"" (NAME "\"" | capital PLAIN "\"") | OPENED (NAMED | capital ENCLOSED)
quote: "\"" words STOPPED "\"" | OPENED words SPOKEN
whole: "(" capital STOPPED ")" | "\"" capital STOPPED "\"" | OPENED capital SPOKEN
words: (word " "){0,30}
capital: NAME " " words

NAME: (/[\p{Lu}\p{Lt}\p{Lo}\p{N}]/ REST | INITIALS) /[,;:]?/
LOW: /[\p{Ll}\p{N}]/ REST /[,;:]?/
WORD: PLAIN /[,;:]?/
PLAIN: /[\p{L}\p{N}\p{Sc}\p{Sm}\p{So}#@]|\p{Pd}[\p{N}\p{Sc}]/ REST | INITIALS
INITIALS: /(\p{Lu}\.)+\p{Lu}(\.\p{Pd}\p{L}+)?/
REST: /([\p{L}\p{N}\p{M}\p{Sc}\p{Sm}\p{So}\p{Pd}%&@#_'’\/]|[.,:][\p{Ll}\p{N}])*/
STOPPED: PLAIN STOP
END: STOPPED & ~(/.*\p{Pd}/? (TITLE | SHORT | /\p{Ll}\./))
STOP: /\.\.\.|\.|…|[!?]{1,2}/
COMMA: /[,;:]/
DASH: /\p{Pd}/
OPENED: /[“„«]/
ENCLOSED: PLAIN /[“”»]/
NAMED: NAME /[“”»]/
SPOKEN: STOPPED /[“”»]/

TITLE: /(Mr|Mrs|Ms|Dr|Prof|St|Gen|Col|Capt|Lt|Sgt|Rev|Gov|Sen|Rep|Mt|(\p{Lu}\.)*\p{Lu})\./
SHORT: /(Inc|Ltd|Co|Corp|Jr|Sr|[Vv]s|etc|al|[Cc]f|[Ff]ig|[Nn]os?|pp?|[Ss]ec|[Ee]d|[Vv]ol|ca)\./
     | /((\p{Ll}\.)+\p{Ll}|(\p{Lu}\.)+\p{Lu}|Ph\.D)\./
FIGURE: /(Fig|Nos?|Sec|Vol)\. \p{N}/ REST

CJK: /[「『（]?[\p{Lo}\p{N}]/ BRUSHED{3,150} /[。！？][」』）]?/
BRUSHED: /[\p{L}\p{N}\p{M}、，・：；「」『』（）]|[0-9]\.[0-9]/
"""


def sentences_grammar(n: int) -> str:
    """A grammar that admits `n` sentences on one line, as `count_sentences` counts them.

    Each has at least three words, or in Chinese and Japanese four characters.
    """
    return f"%llguidance {{}}\nstart: {'next ' * (n - 1)}last\n{_SENTENCE}"
