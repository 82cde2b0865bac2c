"""The encoding of a text, guessed from its bytes: those of one byte a letter or more, and UTF-16.

chardet scores the encodings; this module chooses those worth scoring, and says how far a guess can
be trusted.
"""

from __future__ import annotations

import codecs
import contextlib
import re
import unicodedata
from dataclasses import dataclass, replace

_SAMPLE = 50_000  # bytes from which an encoding is guessed
_WIDE_SAMPLE = 10_000  # characters of which each is looked at
_ASCII = 0x7F

# What text files are written in, the commonest of a script first. chardet knows 40 more (EBCDIC,
# national variants), and a short text often looks like one of those: of 112 short texts it
# recognizes 106 among all, and 110 among these.
# fmt: off
_CANDIDATES = (
    "cp1252", "iso8859-1", "iso8859-15", "cp1250", "iso8859-2", "cp1251", "koi8-r", "koi8-u",
    "cp1253", "cp1254", "cp1255", "cp1256", "cp1257", "cp1258", "cp874", "tis-620", "iso8859-5",
    "iso8859-6", "iso8859-7", "iso8859-8", "iso8859-9", "iso8859-13", "cp850", "cp437", "cp852",
    "cp866", "mac-roman", "mac-cyrillic", "cp932", "euc_jis_2004", "iso2022_jp_2",
    "iso2022_jp_ext", "gb18030", "big5hkscs", "cp949", "johab", "iso2022_kr",
)
_RARE = (
    "cp437", "cp850", "cp852", "cp1257", "cp1258", "iso8859-13", "johab", "mac-roman",
    "mac-cyrillic",
)
# fmt: on
_USUAL_NAMES = {"euc_jis_2004": "euc_jp", "iso2022_jp_2": "iso2022_jp", "big5hkscs": "big5"}
# The commonest one wins a tie, and those that are rarely met lose one.
_BONUS = {"cp1252": 0.002, **dict.fromkeys(_RARE, -0.01)}

# Of 3,007 passages of 20 to 1,000 characters (man pages in 20 languages and 16 encodings), 51 are
# guessed wrong. These two limits call 46 of them doubtful, and 1,037 of those that are right.
_MARGIN = 0.01  # of the score, to the next candidate with another text
_FEW = 5  # bytes beyond ASCII

# Signs of a wrong guess: a Greek, Cyrillic, Hebrew or Arabic letter beside a Latin one or alone, a
# line of a box alone, and within a word a capital letter or a sign that is not a letter.
_STRAY = re.compile(
    r"(?<=[A-Za-z])[\u0370-\u06ff]|[\u0370-\u06ff](?=[A-Za-z])"
    r"|(?<![\u0370-\u06ff])[\u0370-\u06ff](?![\u0370-\u06ff])"
    r"|(?<![\u2500-\u25ff])[\u2500-\u25ff](?![\u2500-\u25ff])"
    r"|(?<=[a-z])[\xc0-\xde\u0152\u0160\u0178\u017d]"
    r"|(?<=[A-Za-z])[\xa1-\xa9\xab-\xb4\xb6\xb8\xb9\xbb-\xbf](?=[A-Za-z])"
)
_NOT_ASCII = re.compile(r"[^\0-\x7f]")

# Seven-bit encodings, whose bytes are valid UTF-8: what switches to two bytes a letter.
_SHIFT = re.compile(rb"\x1b\$[@AB(]|\x1b\$\)C")

_CONTROLS = re.compile(rb"[\0-\x06\x0e-\x1a\x1c-\x1f]")
_SHARE_OF_CONTROLS = 4  # more than one in four bytes
_PRINTABLE = re.compile(rb"[\n\r\t -~]")
_MOST_PRINTABLE = 0.9  # of the bytes; in Japanese UTF-16 it is 0.8
_COMMON = re.compile(r"[\n -/:-?\u3001-\u30ff\uff01-\uff5e]")  # spaces, punctuation, kana
_NO_TEXT = {"Cc", "Cn", "Co", "Cs"}  # control, unassigned, private, surrogate


def may_be_wide(head: bytes) -> bool:
    """Whether a text that begins with `head` may be UTF-16 or UTF-32, though it may be UTF-8 too.

    They have a NUL beside each Latin letter, and other control bytes beside other letters.
    """
    return b"\0" in head or len(_CONTROLS.findall(head)) * _SHARE_OF_CONTROLS > len(head)


def may_be_seven_bit(data: bytes) -> bool:
    """Whether ASCII bytes may be ISO-2022, the encoding of much Japanese and Korean mail."""
    return data.isascii() and _SHIFT.search(data) is not None


@dataclass(frozen=True)
class Guess:
    """The name of an encoding, and how far it can be trusted."""

    name: str
    doubt: str = "a guess"


@dataclass(frozen=True)
class _Candidate:
    name: str
    text: str
    score: float


def guess_bytes(data: bytes) -> Guess | None:
    """Return the encoding that the bytes resemble most; None if they resemble none."""
    sample = _telling(data)
    candidates = _candidates(sample)
    if not candidates:
        return None
    best = candidates[0]
    others = candidates[1:]
    lead = best.score - (others[0].score if others else 0)
    letters = sum(byte > _ASCII for byte in sample)
    if lead >= _MARGIN and (letters >= _FEW or best.name.startswith("iso2022")):
        return Guess(best.name)
    names = " or ".join(each.name for each in others[:2])
    return Guess(best.name, f"a doubtful guess{f' (it may be {names})' if names else ''}")


def _telling(data: bytes) -> bytes:
    """Return the lines that have letters beyond ASCII: the others speak for English alone."""
    lines = [line for line in data.split(b"\n") if not line.isascii()]
    return b"\n".join(lines or [data])[:_SAMPLE]


def _candidates(sample: bytes) -> list[_Candidate]:
    """Return the encodings that can be that of `sample`, the likeliest first."""
    import chardet

    found = chardet.detect_all(
        sample, ignore_threshold=True, compat_names=False, include_encodings=_CANDIDATES
    )
    scores = {each["encoding"]: each["confidence"] for each in found}
    candidates = dict[str, _Candidate]()
    for detected in _CANDIDATES:
        if (score := scores.get(detected)) is None:
            continue
        name = _USUAL_NAMES.get(detected, detected)
        with contextlib.suppress(UnicodeDecodeError):
            # The sample may end in the middle of a character.
            text = codecs.getincrementaldecoder(name)().decode(sample)
            if any(map(_is_no_text, text[:_WIDE_SAMPLE])):
                continue
            # One text has the name of its commonest encoding, and its best score.
            known = candidates.get(text) or _Candidate(name, text, 0)
            score = score * max(0, 1 - 2 * _stray_share(text)) + _BONUS.get(name, 0)
            candidates[text] = replace(known, score=max(score, known.score))
    return sorted(candidates.values(), key=lambda each: -each.score)


def _stray_share(text: str) -> float:
    """Return the share of the characters beyond ASCII that hardly stand where they do."""
    return len(_STRAY.findall(text)) / max(1, len(_NOT_ASCII.findall(text)))


def guess_wide(data: bytes, *, is_whole: bool = True) -> Guess | None:
    """Return the form of UTF-16 or UTF-32 that `data` without a byte order mark can be, or None.

    Data that is not the whole text may end in the middle of a character.

    The text has no control characters or code points without a character. In the right byte
    order, it has spaces, punctuation or kana, and its letters are of few blocks of Unicode.
    """
    head = data[:_SAMPLE]
    if len(_PRINTABLE.findall(head)) > _MOST_PRINTABLE * len(head):
        return None
    ranks = dict[str, tuple[int, int]]()
    for name in ("utf-32-le", "utf-32-be", "utf-16-le", "utf-16-be"):
        try:
            text = codecs.getincrementaldecoder(name)().decode(data, final=is_whole)
        except UnicodeDecodeError:
            continue
        sample = text[:_WIDE_SAMPLE]
        if sample and not any(map(_is_no_text, sample)):
            if name.startswith("utf-32"):  # no other bytes can be decoded as this
                return Guess(name)
            blocks = len({ord(character) >> 8 for character in sample})
            common = len(_COMMON.findall(sample))
            if common or 2 * blocks <= len(sample):  # else any few bytes would be a text
                ranks[name] = -common, blocks
    best = min(ranks, key=lambda name: ranks[name], default=None)
    return Guess(best) if best else None


def _is_no_text(character: str) -> bool:
    return unicodedata.category(character) in _NO_TEXT and character not in "\t\n\r\f\x1b"
