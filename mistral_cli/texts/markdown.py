"""Finds the prose in a Markdown document, by CommonMark's block structure."""

from __future__ import annotations

import re
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator
from functools import cache
from typing import TYPE_CHECKING, Any

from mistral_cli.texts.html_blocks import html_spans
from mistral_cli.texts.markup import has_words
from mistral_cli.texts.spans import SYNTAX, Span, lines_of, stripped

if TYPE_CHECKING:
    from markdown_it import MarkdownIt

# A document may also begin with a rule (---). Front matter is a mapping: after comments it begins
# with a key, and has nothing but keys, list items, comments and indented lines.
_YAML_BEGIN = r"(?=\S)(?=(?:#.*\r?\n|[ \t]*\r?\n)*+[\w\"'].*?:\s)"
_TOML_BEGIN = r"(?=(?:#.*\r?\n|[ \t]*\r?\n)*+(?:[\w\"'][\w\"' .-]*=|\[[^\r\n]*\][ \t]*[\r\n#]))"
_YAML_LINE = r"(?:[\w\"'].*?:(?:[ \t].*)?|-[ \t].*|[ \t#].*|[\]}],?)?[ \t]*"
_TOML_LINE = r"(?:[\w\"'][\w\"' .-]*=.*|\[.*|[ \t#\]\"'].*)?[ \t]*"
_END = r"[ \t]*(?:\r?\n|\Z)"
_FRONT_MATTER = re.compile(
    rf"(---)[ \t]*\r?\n{_YAML_BEGIN}(?:(?!---|\.\.\.)(?>{_YAML_LINE}\r?\n))++(?:---|\.\.\.){_END}"
    rf"|(\+\+\+)[ \t]*\r?\n{_TOML_BEGIN}(?:(?!\+\+\+)(?>{_TOML_LINE}\r?\n))*+\+\+\+{_END}"
)
# Extensions that CommonMark lacks: check boxes, alerts, containers, attributes.
_MARKER = re.compile(
    r"\[[ xX]\]\s+|\[!\w+\][-+]?\s*|:\s+|\[\^[^\]\s]+\]:\s*"
    r"|:::+[ \t]*(?:\{[^{}]*\}|[\w-]*)[ \t]*|\{[:%#.][^{}]*\}\s*\Z"
)
_TITLE = re.compile(r"\[!\w+\]|:::")  # such a line is not continued by the next one
_SHORTCUT = re.compile(r"\[((?:\\.|[^\[\]\\])+)\](?:\[\]|(?![\[(:]))")
_MAX_NESTING = (
    100  # of blocks, twice per list; the preset's 20 loses 10 lists. 2 Python frames each
)
_PARAGRAPH = ["paragraph_open", "inline", "paragraph_close"]
_FENCE = "$$"
_NO_PROSE = {"heading_open", "code_block", "html_block"}


def markdown_spans(text: str) -> Iterator[Span]:
    """Yield each paragraph, heading, table cell and HTML sentence, without its markers, in order.

    Front matter, code, formulas, HTML comments and the titles of link definitions are left out.
    """
    begin = 1 if text.startswith("\ufeff") else 0
    if front := _FRONT_MATTER.match(text, begin):
        yield Span(front.end(front.lastindex or 0), front.end(), "front matter block")
        begin = front.end()
    source = text.replace("\0", "\ufffd")  # as the parser does
    yield from sorted(_block_spans(source, begin))


def blocks_without_prose(text: str, *, in_markdown: bool) -> Iterator[Span]:
    """Yield the front matter, fenced code and tables of any text, in order.

    Those of a document in Markdown include headings, indented code, HTML and link definitions,
    which look like prose elsewhere.
    """
    begin = 0
    if front := _FRONT_MATTER.match(text):
        begin = front.end()
        yield Span(0, begin)
    lines, env = lines_of(text, begin), dict[str, Any]()
    tokens = _parser().parse(text[begin:].replace("\0", "\ufffd"), env)
    kinds = {"fence", "table_open"} | (_NO_PROSE if in_markdown else set())
    places = [token.map for token in tokens if token.type in kinds and token.map]
    if in_markdown:
        definitions = (*env.get("references", {}).values(), *env.get("duplicate_refs", ()))
        places += [definition["map"] for definition in definitions]
    for first, last in sorted(places):
        yield Span(lines[first].start, lines[last - 1].end)


def link_labels(text: str) -> frozenset[str]:
    """The labels that the document's link definitions have, in the form that compares them."""
    env: dict[str, Any] = {}
    _parser().parse(text, env)
    return frozenset(env.get("references", {}))


def lost_links(original: str, translation: str, labels: frozenset[str]) -> list[str]:
    """The links of `original` that are their own label, [like this], and lost it."""
    from markdown_it.common.utils import normalizeReference

    def links(text: str) -> Counter[str]:
        return Counter(normalizeReference(link[1]) for link in _SHORTCUT.finditer(text))

    if not labels:
        return []
    lost = links(original) - links(translation)
    names = (link[1] for link in _SHORTCUT.finditer(original))
    return [
        f"[{name}]"
        for name in dict.fromkeys(names)
        if normalizeReference(name) in labels.intersection(lost)
    ]


def new_block(original: str, translation: str) -> str | None:
    """Name the first block in `translation` that `original` has not; None for a paragraph."""
    blocks, others = (
        [token.type for token in _parser().parse(text)] for text in (original, translation)
    )
    if others in (blocks, _PARAGRAPH):
        return None
    new = next((block for block in others if block not in blocks), "other")
    return new.removesuffix("_open").replace("_", " ")


def _block_spans(text: str, begin: int) -> Iterator[Span]:
    lines = lines_of(text, begin)
    env: dict[str, Any] = {}
    row: Span | None = None  # what is left of the table row
    for token in _parser().parse(text[begin:], env):
        if token.type == "tr_close":
            row = None
        if token.map is None:
            continue
        first, last = token.map
        if token.type == "tr_open":
            row = lines[first]
        elif token.type == "inline" and row:
            cell = _cell(text, row, token.content)
            row = Span(cell.end, row.end)
            yield cell
        elif token.type == "inline":
            content = token.content.split("\n")
            yield from _runs(text, lines[first : first + len(content)], content)
        elif token.type == "fence":
            yield lines[first]._replace(kind=SYNTAX)
            if first + 1 < last:
                yield Span(lines[first + 1].start, lines[last - 1].end, "code block")
        elif token.type == "code_block":
            yield Span(lines[first].start, lines[last - 1].end, "code block")
        elif token.type == "html_block":
            yield from _html(lines[first:last], token.content)
    for definition in (*env.get("references", {}).values(), *env.get("duplicate_refs", ())):
        first, last = definition["map"]
        kind = "link title" if definition["title"] else SYNTAX
        yield Span(lines[first].start, lines[last - 1].end, kind)


@cache
def _parser() -> MarkdownIt:
    from markdown_it import MarkdownIt
    from mdit_py_plugins.deflist import deflist_plugin
    from mdit_py_plugins.footnote import footnote_plugin

    parser = MarkdownIt("commonmark", {"maxNesting": _MAX_NESTING}).enable("table")
    parser.use(deflist_plugin).use(footnote_plugin)
    return parser.disable(["inline", "footnote_tail"])


def _cell(text: str, row: Span, content: str) -> Span:
    """The span of a cell in what is left of its row; the parser removed the escapes of bars."""
    words = content.strip().replace("|", "\\|")
    start = text.find(words, row.start, row.end) if has_words(words) else -1
    return Span(start, start + len(words)) if start >= 0 else Span(row.start, row.start)


def _html(lines: list[Span], content: str) -> Iterator[Span]:
    """Yield the spans in a block of HTML, whose `content` lacks what stands before each line."""
    ends = [end.start() for end in re.finditer(r"\n|\Z", content)]

    def position(at: int) -> int:
        number = bisect_left(ends, at)
        return lines[number].end - ends[number] + at

    for start, end, kind in html_spans(content):
        yield Span(position(start), position(end - 1) + 1, kind)


def _runs(text: str, lines: list[Span], content: list[str]) -> Iterator[Span]:
    """Yield runs of neighbouring lines of a paragraph, outside its formulas and markers."""
    run: list[Span] = []
    formula = after_title = False
    for (start, end, _), line in zip(lines, content, strict=True):
        words = line.strip()
        at = max(text.rfind(words, start, end), start)
        begin, end, _ = _unmarked(text, at, at + len(words))
        fences = words.count(_FENCE)
        in_formula = formula or (fences and words.startswith(_FENCE))
        formula ^= bool(fences % 2)
        if run and (after_title or begin > at or in_formula or begin == end):
            yield Span(run[0].start, run[-1].end)
            run = []
        after_title = bool(_TITLE.match(text, at, end))
        yield Span(at, begin, SYNTAX)
        if begin < end:
            if in_formula:
                yield Span(begin, end, "formula")
            else:
                run.append(Span(begin, end))
    if run:
        yield Span(run[0].start, run[-1].end)


def _unmarked(text: str, start: int, end: int) -> Span:
    while marker := _MARKER.match(text, start, end):
        start = marker.end()
    return stripped(text, start, end)
