"""Text in which no control token is spelled."""

from __future__ import annotations

import re

from mistral_cli.engines.servers.facts import MARKERS

JOINER = "\u2060"
"""The word joiner: it is invisible, has no width, and nothing breaks there."""

# What only control tokens look like, and the plain names of the families (`</s>`, `[INST]`). Not
# `<think>` alone: as text it is harmless after the prompt's end, and people write about it.
_MARKER = re.compile(
    r"[<\[][|\uff5c][^\s<>\[\]]{0,64}[>\]]|[<\[][^\s<>\[\]]{1,64}[|\uff5c][>\]]|"
    + "|".join(re.escape(each) for each in sorted(MARKERS, key=len, reverse=True))
)


def without_controls(text: str) -> str:
    """`text` with a word joiner in each control token that it spells."""
    return _MARKER.sub(lambda match: f"{match[0][0]}{JOINER}{match[0][1:]}", text)


def spells_controls(text: str) -> bool:
    """Whether `text` spells a control token."""
    return bool(_MARKER.search(text))
