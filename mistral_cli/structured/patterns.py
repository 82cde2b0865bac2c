"""Regular expressions of schemas (ECMA-262) → what a grammar can enforce, and a check of a value.

Schemas are written for many libraries, so this also reads what Python and PCRE add: `(?P<name>…)`,
`\\A`, `\\Z`, `{,3}`, a leading `(?i)`. A grammar has no look-around, no back references and no
anchors within: where a pattern has these, the grammar admits more, and the check decides.
"""

from __future__ import annotations

import json
import re
import sys
import unicodedata
import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import lru_cache

Range = tuple[int, int]
Ranges = tuple[Range, ...]
"""Characters, as sorted ranges that do not touch; both ends are included."""

_LAST = sys.maxunicode
_DIGITS: Ranges = ((48, 57),)
_WORD: Ranges = ((48, 57), (65, 90), (95, 95), (97, 122))
_LINES: Ranges = ((10, 10), (13, 13), (0x2028, 0x2029))
_SPACES: Ranges = (
    *((9, 13), (32, 32), (0xA0, 0xA0), (0x1680, 0x1680), (0x2000, 0x200A), (0x2028, 0x2029)),
    *((0x202F, 0x202F), (0x205F, 0x205F), (0x3000, 0x3000), (0xFEFF, 0xFEFF)),
)
_SETS = {"d": _DIGITS, "w": _WORD, "s": _SPACES}
_ESCAPES = {"t": 9, "n": 10, "v": 11, "f": 12, "r": 13}
_SURROGATES: Ranges = ((0xD800, 0xDFFF),)

_ANYTHING = "(?s:.*)"
_QUANTIFIER = re.compile(r"([*+?]|\{(\d*)(,?)(\d*)\})(\??)")
_HALF = re.compile(r"\\u[dD][89a-fA-F]")  # of a surrogate pair


class UnknownPattern(ValueError):
    """The pattern uses a syntax that is not read here."""


@dataclass(frozen=True)
class Pattern:
    """A pattern of a schema: `enforced` is what a grammar can express of it.

    `enforced` has several expressions if all of them must match; none if any string may match.
    """

    enforced: tuple[str, ...]
    exact: bool
    searches: tuple[re.Pattern[str], ...]

    def matches(self, text: str) -> bool:
        """Whether the pattern occurs in `text`: in its own dialect and, if it can, in Python's.

        Both must agree, because other programs will check the answer with either.
        """
        return all(search.search(text) for search in self.searches)


@lru_cache(maxsize=2048)
def read_pattern(source: str) -> Pattern:
    """Read a pattern of a schema. Raises ValueError if nothing can read it."""
    as_python, problem = _compiled(source)
    if _HALF.search(source):  # Python has whole characters only
        as_python = None
    try:
        tree = _Reader(source).read()
        translated, problem_of_ours = _compiled(tree.python())
        if not translated:
            raise UnknownPattern(problem_of_ours)
        printer = _Printer()
        enforced = printer.conjuncts(tree)
    except (UnknownPattern, RecursionError) as error:
        if not as_python:
            raise ValueError(f"{source!r} is not a regular expression: {problem}") from error
        return Pattern((), False, (as_python,))
    searches = (translated, as_python) if as_python else (translated,)
    return Pattern(enforced, printer.exact, searches)


def _compiled(source: str) -> tuple[re.Pattern[str] | None, str]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of what a future Python may read in another way
        try:
            return re.compile(source), ""
        except (re.error, OverflowError, RecursionError) as error:
            return None, str(error)


@lru_cache(maxsize=2048)
def are_disjoint(*expressions: str) -> bool:
    """Whether no text matches two of `expressions`, which a grammar can express."""
    import llguidance

    if len(expressions) < 2:
        return True
    keys = {"patternProperties": dict.fromkeys(expressions, True)}
    grammar = f"%llguidance {{}}\nstart: %json {json.dumps(keys)}\n"
    failed, notes = llguidance.LLMatcher.validate_grammar_with_warnings(grammar)
    return not (failed and "not disjoint" in notes[0]) and len({*expressions}) == len(expressions)


# --- the tree ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Characters:
    ranges: Ranges

    def python(self) -> str:
        return "[" + "".join(map(_python_range, self.ranges)) + "]" if self.ranges else "(?!)"


@dataclass(frozen=True)
class _Assertion:
    kind: str
    """`^`, `$`, or `\\b`, `\\B`."""

    def python(self) -> str:
        # Python's \b knows all letters; that of ECMA-262 those of ASCII.
        return {"^": r"\A", "$": r"\Z"}.get(self.kind, f"(?a:{self.kind})")


@dataclass(frozen=True)
class _Look:
    opening: str
    inner: _Node

    def python(self) -> str:
        return f"{self.opening}{self.inner.python()})"


@dataclass(frozen=True)
class _Back:
    number: int

    def python(self) -> str:
        # In ECMA-262 a group that took no part matches the empty text.
        return f"(?({self.number})\\{self.number}|)"


@dataclass(frozen=True)
class _Group:
    inner: _Node
    number: int = 0
    flags: str = ""

    def python(self) -> str:
        opening = "(" if self.number else f"(?{self.flags}:"
        return f"{opening}{self.inner.python()})"


@dataclass(frozen=True)
class _Repeat:
    inner: _Node
    bounds: str

    def python(self) -> str:
        return f"(?:{self.inner.python()}){self.bounds}"


@dataclass(frozen=True)
class _Sequence:
    parts: tuple[_Node, ...]

    def python(self) -> str:
        return "".join(part.python() for part in self.parts)


@dataclass(frozen=True)
class _Either:
    options: tuple[_Node, ...]

    def python(self) -> str:
        return "|".join(option.python() for option in self.options)


_Node = _Characters | _Assertion | _Look | _Back | _Group | _Repeat | _Sequence | _Either


def _python_range(bounds: Range) -> str:
    first, last = (f"\\U{bound:08x}" for bound in bounds)
    return first if first == last else f"{first}-{last}"


# --- reading -------------------------------------------------------------------------------------


@dataclass
class _Reader:
    source: str
    at: int = 0
    groups: int = 0
    names: dict[str, int] = field(default_factory=dict)
    dot_all: bool = False

    def read(self) -> _Node:
        flags = self._leading_flags()
        tree = self._either()
        if self.at < len(self.source):
            raise UnknownPattern(f"unexpected ')' at {self.at}")
        return _Group(tree, flags="i") if "i" in flags else tree

    def _leading_flags(self) -> str:
        if not (match := re.match(r"\(\?([a-zA-Z]+)\)", self.source)):
            return ""
        if not {*match[1]} <= {*"isu"}:
            raise UnknownPattern(f"unknown flags {match[1]}")
        self.at, self.dot_all = match.end(), "s" in match[1]
        return match[1]

    def _either(self) -> _Node:
        options = [self._sequence()]
        while self._take("|"):
            options.append(self._sequence())
        return options[0] if len(options) == 1 else _Either(tuple(options))

    def _sequence(self) -> _Node:
        parts: list[_Node] = []
        while self.at < len(self.source) and self.source[self.at] not in "|)":
            part = self._atom()
            if (match := _QUANTIFIER.match(self.source, self.at)) and match[1] != "{}":
                if match[1] == "{,}" or isinstance(part, _Assertion):
                    raise UnknownPattern(f"a quantifier of nothing at {self.at}")
                self.at = match.end()
                part = _Repeat(part, _bounds(match))
                if self.source[self.at : self.at + 1] in ("*", "+"):
                    raise UnknownPattern(f"two quantifiers at {self.at}")
            parts.append(part)
        return parts[0] if len(parts) == 1 else _Sequence(tuple(parts))

    def _atom(self) -> _Node:
        character = self._next()
        if character in "^$":
            return _Assertion(character)
        if character == ".":
            return _Characters(((0, _LAST),) if self.dot_all else _complement(_LINES))
        if character == "(":
            return self._group()
        if character == "[":
            return _Characters(self._class())
        if character in "*+?":
            raise UnknownPattern(f"nothing to repeat at {self.at - 1}")
        if character == "\\":
            return self._escape()
        return _Characters(((ord(character), ord(character)),))

    def _group(self) -> _Node:
        number, flags, opening = 0, "", ""
        if look := self._take_match(r"\?(=|!|<=|<!)"):
            opening = f"({look[0]}"
        elif named := self._take_match(r"\?P?<([^>]*)>"):
            number = self._capture(named[1])
        elif reference := self._take_match(r"\?P=([^)]*)"):
            self._close()
            return _Back(self._named(reference[1]))
        elif flagged := self._take_match(r"\?([is]*):"):
            flags, outer = flagged[1].replace("s", ""), self.dot_all
            self.dot_all = outer or "s" in flagged[1]
            inner = self._either()
            self.dot_all = outer
            self._close()
            return _Group(inner, flags=flags)
        elif self._take("?"):
            raise UnknownPattern(f"an unknown kind of group at {self.at}")
        else:
            number = self._capture()
        inner = self._either()
        self._close()
        return _Look(opening, inner) if opening else _Group(inner, number, flags)

    def _capture(self, name: str | None = None) -> int:
        self.groups += 1
        if name is not None:
            self.names[name] = self.groups
        return self.groups

    def _named(self, name: str) -> int:
        if name not in self.names:
            raise UnknownPattern(f"no group has the name {name!r}")
        return self.names[name]

    def _escape(self) -> _Node:
        if assertion := self._take_match(r"[bBAZz]"):
            return _Assertion({"A": "^", "Z": "$", "z": "$"}.get(assertion[0], f"\\{assertion[0]}"))
        if reference := self._take_match(r"k<([^>]*)>"):
            return _Back(self._named(reference[1]))
        if number := self._take_match(r"[1-9]\d*"):
            # A group that is not closed yet, or comes later, has matched nothing.
            if int(number[0]) > self.groups:
                raise UnknownPattern(f"no group has the number {number[0]}")
            return _Back(int(number[0]))
        ranges = self._escaped()
        if (high := ranges[0][0]) == ranges[0][1] and 0xD800 <= high < 0xDC00:
            low = self._take_match(r"\\u([dD][c-fC-F][0-9a-fA-F]{2})")
            if low:  # one character, written as its two halves
                code = 0x10000 + ((high - 0xD800) << 10) + int(low[1], 16) - 0xDC00
                ranges = ((code, code),)
        return _Characters(ranges)

    def _escaped(self) -> Ranges:
        """The characters that an escape stands for, in a class or outside."""
        if self.at >= len(self.source):
            raise UnknownPattern("it ends with a backslash")
        if known := self._take_match(r"[pP](?:\{(\^?)([^}]*)\}|([A-Z]))"):
            ranges = _category(known[2] or known[3])
            return _complement(ranges) if (known[0][0] == "P") != bool(known[1]) else ranges
        if code := self._take_match(r"x([0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|[ux]\{([0-9a-fA-F]+)\}"):
            value = int(code[1] or code[2] or code[3], 16)
            if value > _LAST:
                raise UnknownPattern(f"no character has the code {value:x}")
            return ((value, value),)
        if control := self._take_match(r"c([A-Za-z])"):
            return ((ord(control[1]) % 32, ord(control[1]) % 32),)
        if octal := self._take_match(r"0[0-7]{0,2}"):
            return ((int(octal[0], 8), int(octal[0], 8)),)
        character = self._next()
        if character.lower() in _SETS:
            ranges = _SETS[character.lower()]
            return _complement(ranges) if character.isupper() else ranges
        value = _ESCAPES.get(character, ord(character))
        return ((value, value),)

    def _class(self) -> Ranges:
        negated, found = self._take("^"), list[Range]()
        while not self._take("]"):
            first = self._class_item()
            if self._take_match(r"-(?!\])") is None:
                found += first
                continue
            last = self._class_item()
            single = len(first) == len(last) == 1 and first[0][0] == first[0][1]
            if not (single and last[0][0] == last[0][1]):  # [\w-.] has no range
                found += [*first, (45, 45), *last]
            elif first[0][0] > last[0][0]:
                raise UnknownPattern(f"a range in reverse order at {self.at}")
            else:
                found.append((first[0][0], last[0][0]))
        ranges = _joined(found)
        return _complement(ranges) if negated else ranges

    def _class_item(self) -> Ranges:
        if self._take_match(r"\\b"):
            return ((8, 8),)
        if self._take("\\"):
            return self._escaped()
        character = self._next()
        return ((ord(character), ord(character)),)

    def _next(self) -> str:
        if self.at >= len(self.source):
            raise UnknownPattern("it ends too early")
        self.at += 1
        return self.source[self.at - 1]

    def _take(self, text: str) -> bool:
        found = self.source.startswith(text, self.at)
        self.at += len(text) if found else 0
        return found

    def _take_match(self, expression: str) -> re.Match[str] | None:
        if match := re.compile(expression).match(self.source, self.at):
            self.at = match.end()
        return match

    def _close(self) -> None:
        if not self._take(")"):
            raise UnknownPattern("a group is not closed")


def _bounds(match: re.Match[str]) -> str:
    if match[1] in "*+?":
        return match[1]
    least, comma, most = match[2] or "0", match[3], match[4]
    if most and int(least) > int(most):
        raise UnknownPattern(f"{match[1]} asks for fewer than it needs")
    return f"{{{least}{comma}{most}}}"


def _joined(ranges: Iterable[Range]) -> Ranges:
    result: list[Range] = []
    for first, last in sorted(ranges):
        if result and first <= result[-1][1] + 1:
            result[-1] = (result[-1][0], max(last, result[-1][1]))
        else:
            result.append((first, last))
    return tuple(result)


def _complement(ranges: Ranges) -> Ranges:
    edges = [-1, *(edge for bounds in ranges for edge in bounds), _LAST + 1]
    pairs = zip(edges[::2], edges[1::2], strict=True)
    return tuple((left + 1, right - 1) for left, right in pairs if left + 1 < right)


@lru_cache(maxsize=32)
def _category(name: str) -> Ranges:
    """The characters of a Unicode category such as `L`, `Lu` or `Letter`."""
    name = name.partition("=")[2] if name.startswith(("gc=", "General_Category=")) else name
    short = {"Letter": "L", "Number": "N", "Punctuation": "P", "Symbol": "S", "Separator": "Z"}
    short |= {"Uppercase_Letter": "Lu", "Lowercase_Letter": "Ll", "Decimal_Number": "Nd"}
    short |= {"Mark": "M", "Other": "C", "Alphabetic": "L", "Lu": "Lu"}
    name = short.get(name, name)
    if not re.fullmatch("[CLMNPSZ][a-z]?", name):
        raise UnknownPattern(f"\\p{{{name}}} is not known here")
    category = unicodedata.category
    codes = (code for code in range(_LAST + 1) if category(chr(code)).startswith(name))
    return _joined((code, code) for code in codes)


# --- what a grammar can express ------------------------------------------------------------------


class _Printer:
    """Prints a tree in the dialect of grammars; `exact` tells whether nothing was left out."""

    def __init__(self) -> None:
        self.exact = True
        self._groups: dict[int, _Node] = {}

    def conjuncts(self, tree: _Node) -> tuple[str, ...]:
        """Expressions that all match: one for the whole, and one for each look-ahead at its start.

        They match a text from its start to its end.
        """
        parts = list(tree.parts) if isinstance(tree, _Sequence) else [tree]
        ahead: list[_Node] = []
        if parts[:1] == [_Assertion("^")]:
            while len(parts) > 1 and isinstance(parts[1], _Look) and parts[1].opening == "(?=":
                look = parts.pop(1)
                assert isinstance(look, _Look)
                ahead.append(_Sequence((parts[0], look.inner)))
        whole = [*ahead, _Sequence(tuple(parts))]
        texts = dict.fromkeys(self._whole(each, starts=True, ends=True) for each in whole)
        return tuple(f"^(?:{text})$" for text in texts if text != _ANYTHING)

    def _whole(self, node: _Node, *, starts: bool, ends: bool) -> str:
        """Print `node` with what may come before it and after it, where it has no anchors."""
        if isinstance(node, _Either):
            options = [self._whole(each, starts=starts, ends=ends) for each in node.options]
            return _ANYTHING if _ANYTHING in options else f"(?:{'|'.join(options)})"
        if isinstance(node, _Group) and _anchors(node):
            inner = self._whole(node.inner, starts=starts, ends=ends)
            self._groups[node.number] = node.inner
            return f"(?{node.flags}:{inner})"
        parts = list(node.parts) if isinstance(node, _Sequence) else [node]
        before = _ANYTHING if starts and not (parts and _may_anchor(parts[0], "^")) else ""
        after = _ANYTHING if ends and not (parts and _may_anchor(parts[-1], "$")) else ""
        if starts and parts[:1] == [_Assertion("^")]:
            parts, starts = parts[1:], False
        if ends and parts[-1:] == [_Assertion("$")]:
            parts, ends = parts[:-1], False
        middle = ""
        for index, part in enumerate(parts):
            first = starts and index == 0 and not before
            last = ends and index == len(parts) - 1 and not after
            if first or last:
                middle += self._whole(part, starts=first, ends=last)
            else:
                middle += self._inside(part)
        return before if before == after and not middle else f"{before}{middle}{after}"

    def _inside(self, node: _Node) -> str:
        """Print `node` alone; what cannot be expressed is left out, which admits more."""
        match node:
            case _Characters(ranges):
                return _rust_class(ranges)
            case _Group(inner, number, flags):
                text = f"(?{flags}:{self._inside(inner)})"
                self._groups[number] = inner
                return text
            case _Repeat(inner, bounds):
                text = self._inside(inner)
                return f"(?:{text}){bounds}" if text else ""
            case _Sequence(parts):
                return "".join(map(self._inside, parts))
            case _Either(options):
                return f"(?:{'|'.join(map(self._inside, options))})"
            case _Back(number):
                self.exact = False
                group = self._groups.get(number)
                return f"(?:{self._inside(group) if group else _ANYTHING})?"
            case _Assertion() | _Look():
                self.exact = False
                return ""


def _anchors(node: _Node) -> bool:
    return _may_anchor(node, "^") or _may_anchor(node, "$")


def _may_anchor(node: _Node, kind: str) -> bool:
    """Whether `node` is, or some of its options begin or end with, the anchor `kind`."""
    match node:
        case _Assertion():
            return node.kind == kind
        case _Group(inner):
            return _may_anchor(inner, kind)
        case _Either(options):
            return any(_may_anchor(each, kind) for each in options)
        case _Sequence(parts) if parts:
            return _may_anchor(parts[0 if kind == "^" else -1], kind)
        case _:
            return False


def _rust_class(ranges: Ranges) -> str:
    """A class in the dialect of grammars, which has no surrogates."""
    without = _complement(_joined([*_complement(ranges), *_SURROGATES]))
    if not without:
        raise UnknownPattern("it is about halves of surrogate pairs")
    (first, last), *others = without
    if not others and first == last and (chr(first).isalnum() and first < 128):
        return chr(first)
    negative = _complement(_joined([*ranges, *_SURROGATES]))
    write: Callable[[Range], str] = _rust_range
    if len(negative) < len(without):
        return f"[^{''.join(map(write, negative))}]" if negative else "(?s:.)"
    return f"[{''.join(map(write, without))}]"


def _rust_range(bounds: Range) -> str:
    first, last = (
        chr(bound) if bound < 128 and chr(bound).isalnum() else f"\\x{{{bound:x}}}"
        for bound in bounds
    )
    return first if first == last else f"{first}-{last}"
