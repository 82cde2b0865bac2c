"""A grammar for free text whose numbers, codes, e-mail addresses and URLs are those of a source.

Words are free; whatever has a digit must be one of the source's spellings. The text is one
terminal, a regular language: what joins letters and digits is one thing, which is either a word
without digits or a spelling that the source allows.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import groupby
from operator import itemgetter
from os.path import commonprefix

from mistral_cli.errors import OutputInvalid
from mistral_cli.structured.spellings import CONNECTORS, SPACES, UNSPACED, has_digit, spellings_of

# Endings of addresses that are not also words: "end.it" is two words whose space is missing.
_DOMAINS = """
com org net edu gov mil io ai app dev info biz eu uk de fr es nl ch at se dk fi pl cz pt ru jp cn br
au ca co tv
""".split()  # noqa: SIM905

_CONNECTORS = re.escape(CONNECTORS).replace("/", r"\/")
_SPECIAL = re.compile(r"[\\.+*?()|\[\]{}^$#&~/-]")
_LETTER = rf"[\p{{L}}\p{{M}}_--[{UNSPACED}]]"

# A run ends at a space, except in "40 000" and "3 p.m.", or at a script without spaces.
_LAST_RUN = re.compile(
    rf"(?:(?<![^\W{UNSPACED}])(?<![{_CONNECTORS}])\d"
    rf"(?:\d{{0,2}}[{SPACES}](?:\d{{3}}[{SPACES}])*\d{{0,3}}|[\d.:]*[{SPACES}](?:[ap]\.?)?)"
    rf"|[^\s{UNSPACED}]+)\Z",
    re.IGNORECASE,
)
_LONGEST_RUN = 300  # characters; what a longer run begins with is not held back
_IN_ADDRESS = re.compile(r"@|\w:/|\bwww\b|\w\.\w")
_GOES_ON = re.compile(rf"[\w{_CONNECTORS}@=?&#%{SPACES}]\Z")

_MAX_SIZE = 600_000  # characters: those of 10,000 numbers; llguidance rejects those of 25,000

# A separator has a character that joins nothing: a space, a bracket, a currency sign, a letter of
# a script without spaces. Only words may be joined by connectors alone ("well-known", "e.g."), and
# only a number may have a suffix ("14th", "3-month"). A list has at most 50 items, as `--bullets`.
_GRAMMAR = rf"""%llguidance {{}}
start: TEXT
TEXT: (LIST_NUMBER | SEPARATOR | CONNECTOR+)? (UNIT (SEPARATOR UNIT)* CONNECTOR*)? SEPARATOR?
WORDS: FIRST (JOINT WORD | "." NOT_DOMAIN)* | /(?i:www)/
FIRST: WORD & ~/(?i:www)/
WORD: /{_LETTER}+/
NOT_DOMAIN: WORD & ~/{"|".join(_DOMAINS)}/
JOINT: /\/?[-:,'\u2019\u00b7\u2010\u2011]+\/?|\/|[.]{{2,}}/
SUFFIX: /st|nd|rd|th|er|re|e|\u00e8me|\u00ba|\u00aa|['\u2019:\/]\p{{Ll}}+|(-\p{{L}}\p{{Ll}}+)+/
PREFIX: /(?i:mid|pre|post)-/
CONNECTOR: /[{_CONNECTORS}@]/
FREE: /[^\p{{L}}\p{{M}}\p{{N}}_{_CONNECTORS}@]|[{UNSPACED}]/
SEPARATOR: CONNECTOR* PART (CONNECTOR | PART)*
PART: FREE | "\n" LIST_NUMBER
LIST_NUMBER: /[ \t>*#]*([1-9]|[1-4][0-9]|50)[.)] /
"""


def grounded_text_grammar(source: str) -> str:
    """The grammar for a text about `source`. Raises OutputInvalid if that has too many numbers."""
    spellings = spellings_of(source)
    numbers = {each for each in spellings if not re.search(r"[^\W\d_]|@", each)}
    units, terminals = ["WORDS"], ""
    if numbers:
        units += ["PREFIX? NUMBER SUFFIX?"]
        terminals += f"NUMBER: /{_any_of([*numbers])}/\n"
    if codes := spellings - numbers:
        units += ["CODE"]
        terminals += f"CODE: /(?i:{_any_of([*codes])})/\n"
    if len(terminals) > _MAX_SIZE:
        raise OutputInvalid(
            f"the text has {len(spellings)} spellings of numbers, too many for --grounded",
            hint="Split the text, or leave out --grounded.",
        )
    return f"{_GRAMMAR}UNIT: {' | '.join(units)}\n{terminals}"


def last_run(text: str) -> str:
    """The end of `text` that more text may change: "40," may become "40,000", "40 " "40 000".

    It may be a word or empty.
    """
    found = _LAST_RUN.search(text[-_LONGEST_RUN:])
    return found[0] if found else ""


def is_cut(run: str) -> bool:
    """Whether a text that ends with `run` may have part of a number, code or address there."""
    grounded = has_digit(run) or _IN_ADDRESS.search(run)
    return bool(grounded and _GOES_ON.search(run))


def _any_of(texts: Sequence[str]) -> str:
    """A regular expression for `texts` that writes their common beginnings once."""
    if len(texts) == 1:
        return _SPECIAL.sub(r"\\\g<0>", texts[0])
    branches = []
    for _, alike in groupby(sorted(filter(None, texts)), key=itemgetter(0)):
        group = [*alike]
        start = commonprefix(group)  # noqa: RUF071 - of texts, not of paths
        branches.append(_any_of([start]) + _any_of([text[len(start) :] for text in group]))
    return f"(?:{'|'.join(branches)}){'?' if '' in texts else ''}"
