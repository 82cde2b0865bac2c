"""Results → an SVG of horizontal bars, without a library, readable on light and dark pages."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape

from report import number
from results import Results, Table
from timing import median

TITLES = (
    "One-off call, 7B shape",
    "A prefix seen before, 7B shape",
    "Prompt tokens/s, 7B shape",
    "Generated tokens/s, 7B shape",
    "Parallel slots, SmolLM2",
    "Start",
)
_WIDTH, _LABELS, _VALUES, _BAR, _HEAD = 900, 370, 70, 20, 44
_OURS, _THEIRS = "#2a78d6", "#9a9890"


def svg(results: Results) -> str:
    """Draw the chart."""
    tables = [table for title in TITLES for table in results.tables if table.title == title]
    height, parts = 8, list[str]()
    for table in tables:
        parts += _panel(table, height)
        height += _HEAD + _BAR * len(_rows(table))
    style = "font: 13px system-ui, sans-serif"
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height + 8}" '
        f'style="{style}"><rect width="100%" height="100%" fill="#fff"/>\n'
    )
    return head + "".join(parts) + "</svg>\n"


def _rows(table: Table) -> list[tuple[str, float]]:
    pairs = [(variant, median(values)) for variant, values in table.values.items()]
    return [(variant, value) for variant, value in pairs if value]


def _panel(table: Table, top: int) -> Iterator[str]:
    rows = _rows(table)
    longest = max((value for _, value in rows), default=1.0)
    better = "less is better" if table.unit in ("s", "ms") else "more is better"
    unit = "" if table.unit in table.title.partition(",")[0].split() else f", {table.unit}"
    title = f"{table.title}{unit}: {better}"
    yield f'<text x="8" y="{top + 26}" font-weight="600" fill="#222">{escape(title)}</text>\n'
    for row, (variant, value) in enumerate(rows):
        y = top + _HEAD - 8 + row * _BAR
        length = (_WIDTH - _LABELS - _VALUES) * value / longest
        name = variant.replace("`", "")
        colour = _OURS if name.startswith("mistral-cli") else _THEIRS
        yield (
            f'<text x="{_LABELS - 8}" y="{y + 13}" text-anchor="end" fill="#222">'
            f"{escape(name)}</text>"
            f'<rect x="{_LABELS}" y="{y + 2}" width="{length:.1f}" height="{_BAR - 5}" '
            f'fill="{colour}"/>'
            f'<text x="{_LABELS + length + 6:.1f}" y="{y + 13}" fill="#222">'
            f"{number(value)}</text>\n"
        )
