"""Messages in any order → turns that alternate, as many chat formats require."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import groupby

from mistral_cli.models.chat import Message


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
