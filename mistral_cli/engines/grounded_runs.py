"""End a grounded text that reached its limit before a number that the limit cut."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import closing
from dataclasses import replace

from mistral_cli.engines.types import Event, Finish, TextDelta


def without_cut_run(events: Generator[Event, None, None]) -> Generator[Event, None, None]:
    """Leave out a number, code or address at the end of a text that was cut.

    The grammar allows only those of the source, but the limit may come in the middle of one: "40"
    of "40,000" is an invented number. A run of characters is held back until it is complete, so
    that text streams word by word.
    """
    from mistral_cli.structured.grounded_text import is_cut, last_run

    held = ""
    with closing(events):
        for event in events:
            if isinstance(event, TextDelta):
                text = held + event.text
                held = last_run(text)
                yield replace(event, text=text[: len(text) - len(held)])
                continue
            if isinstance(event, Finish) and held:
                if event.reason == "stop" or not is_cut(held):
                    yield TextDelta(held, tokens=0)
                held = ""
            yield event
