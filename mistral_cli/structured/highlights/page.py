"""One HTML page that shows the values extracted from texts, highlighted where they stand."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from mistral_cli.structured.grounding.text_index import TextIndex
from mistral_cli.structured.highlights.segments import MarkedText, cut, first_segments
from mistral_cli.structured.highlights.values import Kind, PlacedValue, placed_values
from mistral_cli.system.controls import on_one_line
from mistral_cli.system.html.page import check_page, render, write_page

if TYPE_CHECKING:
    from mistral_cli.structured.schema import Schema
    from mistral_cli.structured.spec import Extraction

OPTION = "--html"

_GENERATOR = "mistral-cli json-extract"
_COLOURS, _LINES = 8, 4  # the classes k1 to k8 and l1 to l4 of page.css
_LISTED_KEYS = 64


@dataclass(frozen=True)
class Section:
    """One text with its values; the text is in `blocks`, and a `warning` is about the answer."""

    name: str
    values: Sequence[PlacedValue]
    blocks: Sequence[Sequence[MarkedText]]
    warnings: Sequence[str] = ()

    @classmethod
    def of(
        cls,
        name: str,
        text: str,
        extraction: Extraction,
        schema: Schema,
        warnings: Sequence[str] = (),
    ) -> Section:
        """Place the values of `extraction` in `text`."""
        index = TextIndex(text)
        values = placed_values(extraction.data, extraction.spans, schema, index)
        shown = tuple(on_one_line(warning) for warning in warnings)
        return cls(on_one_line(name), values, cut(text, values, index), shown)

    @cached_property
    def anchors(self) -> list[int]:
        """For each value the number of the segment where it begins, or -1."""
        return first_segments(self.blocks, self.values)

    @property
    def missing(self) -> int:
        """How many values are not in the text."""
        return sum(value.kind is Kind.MISSING for value in self.values)

    @property
    def tally(self) -> str:
        """The number of values of each kind."""
        return tally(self.values)


@dataclass
class HighlightsPage:
    """The page at `path`: sections are added, then it is written."""

    path: Path
    sections: list[Section] = field(default_factory=list)

    def write(self, facts: Mapping[str, str], notes: Sequence[str] = ()) -> None:
        """Write the page; `facts` are shown at the top, `notes` say what is not on it.

        Raises MistralCliError.
        """
        keys: dict[str, list[PlacedValue]] = {}
        for value in (value for section in self.sections for value in section.values):
            keys.setdefault(value.key, []).append(value)
        styles = {key: _style(number) for number, key in enumerate(keys)}
        page = render(
            Path(__file__).parent,
            _GENERATOR,
            sections=self.sections,
            facts=facts,
            notes=notes,
            found=Kind.FOUND,
            styles=styles,
            legend=[(key, styles[key], tally(keys[key])) for key in list(keys)[:_LISTED_KEYS]],
            left_out=max(len(keys) - _LISTED_KEYS, 0),
        )
        write_page(self.path, page, OPTION)


def check_highlights(path: Path, others: Mapping[str, Path | None] | None = None) -> None:
    """Raise UsageError if the page must not be at `path`: see `check_page`."""
    check_page(path, OPTION, _GENERATOR, others)


def tally(values: Sequence[PlacedValue]) -> str:
    """Return the number of values of each kind, as in "2 found, 1 not in the text"."""
    counts = Counter(value.kind for value in values)
    return ", ".join(f"{counts[kind]:,} {kind}" for kind in Kind if counts[kind]) or "no values"


def _style(number: int) -> str:
    """Return the classes of the key with this number: a colour, and a kind of line under it."""
    return f"k{number % _COLOURS + 1} l{number // _COLOURS % _LINES + 1}"
