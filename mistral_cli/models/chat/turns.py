"""Messages in any order → turns that alternate, as many chat formats require."""

from __future__ import annotations

from collections.abc import Sequence

from mistral_cli.models.chat import Message


def merge_turns(messages: Sequence[Message]) -> list[Message]:
    """Return the same texts as at most one system message, and turns that alternate after it.

    Texts of one role are joined by an empty line, as `mistral-common` does. The system message is
    first, wherever its texts were; a conversation without other messages is the user's.
    """
    system = "\n\n".join(m.content for m in messages if m.role == "system")
    turns = list[Message]()
    for message in messages:
        if message.role == "system":
            continue
        if turns and turns[-1].role == message.role:
            message = Message(message.role, f"{turns.pop().content}\n\n{message.content}")
        turns.append(message)
    if not turns:
        return [Message("user", system)]
    return [Message("system", system), *turns] if system else turns
