"""The markup inside a sentence: links, code, tags, placeholders, formulas."""

from __future__ import annotations

import html
import re
from collections import Counter
from collections.abc import Iterator

# An opening mark whose end is missing must not make each of its repetitions search the whole text:
# 20 kB of `{{` took 1.4 s. So what lies between two marks has a length that no real text exceeds.
_INSIDE = r".{,4000}?"
_CODE = rf"(?<!`)(?P<ticks>`+)(?!`){_INSIDE}(?<!`)(?P=ticks)(?!`)"
_FORMULA = r"\$\$.+?\$\$|(?<![\\$\w])\$(?=\S)[^$\n]+?(?<=\S)\$(?![\w$])"
_CODE_ELEMENT = rf"<(?P<element>code|kbd|samp|tt)\b[^<>]*>{_INSIDE}</(?P=element)\s*>"
_TAG = (
    r"</?[A-Za-z][\w.-]*(?:\s(?:\"[^\"]*\"|'[^']*'|[^<>\"'])*)?/?>"
    rf"|<!--{_INSIDE}-->"
    r"|<\d[\d:.]*>"  # a time inside a WebVTT cue
)
_OVERRIDE = r"\{\\[^{}]*\}|\\[hn](?![a-z])"  # of SSA and ASS
_AUTOLINK = r"<[A-Za-z][A-Za-z0-9+.-]*:[^\s<>]*>|<[^\s<>@]+@[^\s<>@]+>"
_TARGET = r"(?<=\])\(\s*<?(?P<target>[^\s()<>]*(?:\([^\s()]*\)[^\s()<>]*)*)"
_LABEL = r"(?<=\])\[[^\]]*\]|\[\^[^\]\s]{1,999}\]"  # as long as CommonMark allows
_URL = r"\b(?:(?:https?|ftp)://|www\.)[^\s<>\"'`)\]|]*[^\s<>\"'`)\]|.,;:!?]"
_PLACEHOLDER = (
    rf"(?<!\{{)\{{\{{{_INSIDE}\}}\}}"
    r"|\$?\{[\w.:!-]*\}|(?<![\d%])%(?:\(\w+\))?[#0+-]*+\d*(?:\.\d+)?[sdifrxg]\b"
)

_MARKUP = re.compile(
    f"{_CODE}|{_CODE_ELEMENT}|{_FORMULA}|{_AUTOLINK}|{_TAG}|{_OVERRIDE}|{_TARGET}|{_LABEL}|{_URL}"
    f"|{_PLACEHOLDER}",
    re.DOTALL,
)
_TAG_NAME = re.compile(r"</?[A-Za-z][\w-]*")
_ADDRESS = re.compile(r"(?:src|href)\s*=\s*[\"']?([^\"'\s>]+)")
_LETTER = re.compile(r"[^\W\d_]")
_WORD = re.compile(r"[^\W\d_]{2}|[\u2e80-\uffdc]")
_SHOWN = 5  # lost or added marks in a message

_BLOCK = re.compile(r"(?:#{1,6}[ \t]|>|[-*+][ \t]|\d{1,9}[.)][ \t]|```|~~~|\||[-=]{2,}\s*$)")
_BAR = re.compile(r"(?<!\\)\|")


def has_words(text: str, letters: int = 2) -> bool:
    """Whether `text` has more than markup and numbers: a word of at least 1 or 2 `letters`."""
    word = _WORD if letters > 1 else _LETTER
    return bool(word.search(html.unescape(_MARKUP.sub(" ", text))))


def has_markup(text: str) -> bool:
    """Whether `text` has markup that a translation must keep."""
    return bool(_MARKUP.search(text))


def changed_markup(original: str, translation: str, *, markdown: bool) -> str | None:
    """Name the markup that `translation` lacks or adds; None if it kept all of it."""
    before, after = Counter(_markup(original)), Counter(_markup(translation))
    changes = (("lacks", list(before - after)), ("adds", list(after - before)))
    if problems := [f"the answer {verb} {_listed(marks)}" for verb, marks in changes if marks]:
        return "; ".join(problems)
    if not markdown:
        return None
    if (block := _BLOCK.match(translation.lstrip())) and not _BLOCK.match(original.lstrip()):
        return f"the answer begins with {block.group().strip()}"
    bars = [len(_BAR.findall(_MARKUP.sub("", text))) for text in (original, translation)]
    return None if bars[0] == bars[1] else "the answer has other column separators (|)"


def _listed(marks: list[str]) -> str:
    more = [f"{len(marks) - _SHOWN} more"] if len(marks) > _SHOWN else []
    return ", ".join([*marks[:_SHOWN], *more])


def _markup(text: str) -> Iterator[str]:
    """Yield the markup that a translation must keep; of a tag, its name and its address."""
    for match in _MARKUP.finditer(text):
        if match["target"] is not None:
            yield match["target"]
        elif (name := _TAG_NAME.match(match.group())) and "://" not in name.string[: match.end()]:
            yield f"{name.group()}>"
            yield from _ADDRESS.findall(match.group())
        else:
            yield match.group()
