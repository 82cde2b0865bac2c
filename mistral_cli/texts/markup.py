"""The markup inside a sentence: links, code, tags, placeholders, formulas."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator

_CODE = r"(?<!`)(?P<ticks>`+)(?!`).+?(?<!`)(?P=ticks)(?!`)"
_FORMULA = r"\$\$.+?\$\$|(?<![\\$\w])\$(?=\S)[^$\n]+?(?<=\S)\$(?![\w$])"
_TAG = r"</?[A-Za-z][\w-]*(?:\s[^<>]*)?/?>|<!--.*?-->"
_AUTOLINK = r"<[A-Za-z][A-Za-z0-9+.-]*:[^\s<>]*>|<[^\s<>@]+@[^\s<>@]+>"
_TARGET = r"(?<=\])\(\s*<?(?P<target>[^\s()<>]*(?:\([^\s()]*\)[^\s()<>]*)*)"
_LABEL = r"(?<=\])\[[^\]]*\]|\[\^[^\]\s]+\]"
_URL = r"\b(?:https?|ftp)://[^\s<>\"'`)\]|]*[^\s<>\"'`)\]|.,;:!?]"
_PLACEHOLDER = (
    r"\{\{.*?\}\}|\$?\{[\w.:!-]*\}|(?<![\d%])%(?:\(\w+\))?[#0+-]*\d*(?:\.\d+)?[sdifrxg]\b"
)

_MARKUP = re.compile(
    f"{_CODE}|{_FORMULA}|{_AUTOLINK}|{_TAG}|{_TARGET}|{_LABEL}|{_URL}|{_PLACEHOLDER}", re.DOTALL
)
_TAG_NAME = re.compile(r"</?[A-Za-z][\w-]*")
_ADDRESS = re.compile(r"(?:src|href)\s*=\s*[\"']?([^\"'\s>]+)")
_WORD = re.compile(r"[^\W\d_]{2}|[\u2e80-\uffdc]")

_BLOCK = re.compile(r"(?:#{1,6}[ \t]|>|[-*+][ \t]|\d{1,9}[.)][ \t]|```|~~~|\||[-=]{2,}\s*$)")
_BAR = re.compile(r"(?<!\\)\|")


def has_words(text: str) -> bool:
    """Whether `text` has more than markup, numbers and single letters."""
    return bool(_WORD.search(_MARKUP.sub(" ", text)))


def changed_markup(original: str, translation: str, *, markdown: bool) -> str | None:
    """Name the first markup that `translation` lacks or adds; None if it kept all of it."""
    before, after = Counter(_markup(original)), Counter(_markup(translation))
    for text in before - after:
        return f"the answer lacks {text}"
    for text in after - before:
        return f"the answer adds {text}"
    if not markdown:
        return None
    if (block := _BLOCK.match(translation.lstrip())) and not _BLOCK.match(original.lstrip()):
        return f"the answer begins with {block.group().strip()}"
    bars = [len(_BAR.findall(_MARKUP.sub("", text))) for text in (original, translation)]
    return None if bars[0] == bars[1] else "the answer has other column separators (|)"


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
