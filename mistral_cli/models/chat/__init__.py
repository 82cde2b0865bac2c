"""Conversations: their turns, and (in the modules) how they become token ids of a model."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Literal

Role = Literal["system", "user", "assistant"]


@dataclass(frozen=True)
class Message:
    """One turn of a conversation."""

    role: Role
    content: str


def merge_turns(messages: Sequence[Message]) -> list[Message]:
    """Return the same texts as at most one system message, and turns that alternate after it.

    Texts of one role are joined by an empty line, as `mistral-common` does. The system message is
    first, wherever its texts were; a conversation without other messages is the user's.
    """
    system = _joined(m for m in messages if m.role == "system")
    others = groupby((m for m in messages if m.role != "system"), key=lambda m: m.role)
    turns = [Message(role, _joined(group)) for role, group in others]
    if not turns:
        return [Message("user", system)]
    return [Message("system", system), *turns] if system else turns


def _joined(messages: Iterable[Message]) -> str:
    return "\n\n".join(message.content for message in messages)
