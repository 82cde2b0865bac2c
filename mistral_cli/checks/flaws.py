"""Finds flaws that no answer may have: it repeats itself or the instruction, is empty, is the text.

Each check lets pass what real texts have: refrains, tables, code, a text that repeats itself.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from mistral_cli.checks.check import Check, Finding
from mistral_cli.checks.language import check_language, language_name, named_language
from mistral_cli.checks.preamble import is_only_preamble
from mistral_cli.checks.scripts import script_letters, script_runs, scripts_of

_REPEATED_WORDS = 8  # are a repetition,
_REPETITIONS = 3  # if they come as often
_UNSPACED = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17d3\u3005-\u30ff\u3400-\u9fff\uf900-\ufaff"
_WORD = re.compile(
    rf"[{_UNSPACED}\U00020000-\U0003ffff]|(?:(?![{_UNSPACED}])[\w\u0900-\u0dff])"
    rf"(?:[\u2019']?(?![{_UNSPACED}])[\w\u0300-\u036f\u0900-\u0dff])*"
)
_UNSPACED_LETTER = re.compile(rf"[{_UNSPACED}\U00020000-\U0003ffff]")
_LETTERS_A_WORD = 3  # characters of a script without spaces that weigh as much as a word
_STUTTER = re.compile(r"(?=[^\W\d_])(\S{1,12}?)\1{19,}")  # "hahaha…", without spaces
_CODE = re.compile(
    r"^[ \t]*(?P<fence>```|~~~).*?(?:^[ \t]*(?P=fence)|\Z)|(?P<ticks>`+)[^`]+(?P=ticks)"
    r"|^(?: {4}|\t)\S.*$|^[ \t]*\|.*$|^.* \| .*$",
    re.MULTILINE | re.DOTALL,
)
_LEAST_LOOP = 2.5  # times the words of a repetition, for a loop of fewer words
_SHARE = 0.5  # of the words of an answer that a loop or repeated sentences make up at least
_LOOP_SHARE = 0.2

_UNCHANGED_WORDS = 25  # of a text that may not be its own summary
_UNTRANSLATED_WORDS = 6

_SHOWN = 60  # characters of a finding


def find_flaws(
    answer: str,
    *,
    source: str = "",
    instruction: str = "",
    language: str | None = None,
    control_texts: Iterable[str] = (),
) -> tuple[Check, ...]:
    """The checks for flaws that apply to an answer, in the order of their weight.

    `source` is the text that was summarized or translated, if there was one, `language` the one
    that was asked for, and `control_texts` how the model's control tokens are spelled.
    """
    if not any(map(str.isalnum, answer)):
        empty = not answer.strip() and "the answer is empty"
        return (Check("empty", False, found=empty or "the answer has no letters or digits"),)
    if is_only_preamble(answer, source):
        return (Check("empty", False, found="the answer announces a text that does not follow"),)
    checks = [
        Check("empty", True),
        _check("repetition", _repetitions(answer, source)),
        _check("control tokens", _control_tokens(answer, source + instruction, control_texts)),
    ]
    if source:
        checks.append(_check("instruction", _echoes(answer, source, instruction)))
        checks.append(_unchanged(answer, source, language))
        checks.append(_check("script", _other_scripts(answer, source + instruction, language)))
    return tuple(checks)


def _check(name: str, findings: Iterable[Finding]) -> Check:
    found = tuple(findings)
    return Check(name, not found, findings=found)


def _finding(answer: str, start: int, end: int, why: str) -> Finding:
    return Finding(answer[start : min(end, start + _SHOWN)], why, start, min(end, start + _SHOWN))


@dataclass(frozen=True)
class _Words:
    """The words of a text, folded, and their places; a letter without spaces is one."""

    folded: tuple[str, ...]
    places: tuple[tuple[int, int], ...]

    @classmethod
    def of(cls, text: str) -> _Words:
        """The words outside of code and tables."""
        prose = _CODE.sub(lambda match: " " * len(match[0]), text)
        matches = list(_WORD.finditer(prose))
        folded = tuple(match[0].casefold() for match in matches)
        return cls(folded, tuple(match.span() for match in matches))

    @property
    def window(self) -> int:
        """How many of them make up a repetition: more if they are letters."""
        single = sum(bool(_UNSPACED_LETTER.match(word)) for word in self.folded)
        return _REPEATED_WORDS * (_LETTERS_A_WORD if 2 * single > len(self.folded) else 1)

    def starts(self, size: int) -> dict[tuple[str, ...], list[int]]:
        """Where each run of so many words starts."""
        found = defaultdict[tuple[str, ...], list[int]](list)
        for start in range(len(self.folded) - size + 1):
            found[self.folded[start : start + size]].append(start)
        return found


def _repetitions(answer: str, source: str) -> Iterator[Finding]:
    """The first repetition: a loop, a sentence that comes again and again, or a stutter."""
    if stutter := _STUTTER.search(_CODE.sub(lambda match: " " * len(match[0]), answer)):
        yield _finding(answer, *stutter.span(), "repeated over and over")
        return
    words = _Words.of(answer)
    size = words.window
    repeated = {
        run: starts for run, starts in words.starts(size).items() if len(starts) >= _REPETITIONS
    }
    if not repeated:
        return
    run = max(repeated, key=lambda run: _times(repeated[run], size))
    times = _times(repeated[run], size)
    if times < max(_REPETITIONS, _most_repetitions(source) + 1):
        return
    covered = {
        at for starts in repeated.values() for start in starts for at in range(start, start + size)
    }
    share = len(covered) / len(words.folded)
    loop = _is_loop(repeated[run], size)
    if (loop and share >= _LOOP_SHARE) or share >= _SHARE or (source and not loop):
        first = repeated[run][0]
        place = words.places[first][0], words.places[first + size - 1][1]
        yield _finding(answer, *place, f"{times} times")


def _times(starts: Sequence[int], size: int) -> int:
    """How often a run of `size` words comes, or in a loop of fewer words, how many fill it."""
    gaps = {second - first for first, second in pairwise(starts)}
    length = starts[-1] - starts[0] + size
    if len(gaps) == 1 and max(gaps) < size:
        return length // max(gaps) if length >= _LEAST_LOOP * size else 1
    times, end = 0, -1
    for start in starts:
        if start >= end:
            times, end = times + 1, start + size
    return times


def _is_loop(starts: Sequence[int], size: int) -> bool:
    """True if a run of words comes at even distances with little else between."""
    gaps = {second - first for first, second in pairwise(starts)}
    return len(gaps) == 1 and max(gaps) <= 4 * size


def _most_repetitions(source: str) -> int:
    """How often the text itself repeats itself; in another language the words are fewer or more."""
    words = _Words.of(source)
    size = max(words.window // 2, 3)
    return max((_times(starts, size) for starts in words.starts(size).values()), default=0)


# How the formats of common models mark turns; a model may also write those of another one.
_CONTROL = re.compile(
    r"<\|[a-z][a-z0-9_]{1,30}\|>|<\uff5c[^<>\n]{2,40}\uff5c>|\[/?INST\]|<</?SYS>>"
    r"|<(?:start|end)_of_(?:turn|text|image)>|</?s>(?!\w)|<(?:unk|pad|bos|eos|mask)>"
    r"|<0x[0-9A-F]{2}>|^#{2,3} (?:Instruction|Response|Input|Assistant|Human):\s*$"
    r"|\[(?:/?AVAILABLE_TOOLS|TOOL_CALLS|/?TOOL_RESULTS|/?SYSTEM_PROMPT)\]|\u2581\w+\u2581",
    re.MULTILINE,
)
_STRUCK = re.compile(r"<s>[^<>]*</s>")  # HTML's mark for what no longer holds
_LEAST_CONTROL = 3  # characters; a shorter token may be a word


def _control_tokens(answer: str, given: str, control_texts: Iterable[str]) -> Iterator[Finding]:
    """The control tokens in an answer that neither the text nor the instruction has."""
    prose = _CODE.sub(lambda match: " " * len(match[0]), answer)
    prose = _STRUCK.sub(lambda match: " " * len(match[0]), prose)
    own = [re.escape(text) for text in control_texts if _is_control(text)]
    patterns = [_CONTROL, *([re.compile("|".join(own))] if own else [])]
    places = {match.span() for pattern in patterns for match in pattern.finditer(prose)}
    for start, end in sorted(places):
        if answer[start:end] not in given:
            yield _finding(answer, start, end, "a control token")


def _is_control(text: str) -> bool:
    """True for a spelling that no word has."""
    return len(text) >= _LEAST_CONTROL and not text.strip("-_ ").isalnum()


_ECHOED_WORDS = 8


def _echoes(answer: str, source: str, instruction: str) -> Iterator[Finding]:
    """The first words of the instruction in the answer, unless the text has them too."""
    words = _Words.of(answer)
    size = _ECHOED_WORDS * (words.window // _REPEATED_WORDS)
    runs = _Words.of(instruction).starts(size).keys() - _Words.of(source).starts(size).keys()
    places = [starts[0] for run, starts in words.starts(size).items() if run in runs]
    if places:
        first = min(places)
        place = words.places[first][0], words.places[first + size - 1][1]
        yield _finding(answer, *place, "words of the instruction")


def _unchanged(answer: str, source: str, language: str | None) -> Check:
    """Check that an answer is not its text; a text in the right language may be its translation."""
    words = _Words.of(source).folded
    same = words == _Words.of(answer).folded and answer.split() == source.split()
    least = _UNCHANGED_WORDS
    if same and language:
        check = check_language(source, language)
        same, least = check is not None and not check.ok, _UNTRANSLATED_WORDS
    wrong = same and len(words) >= least
    return Check(
        "unchanged", not wrong, found="the answer is the text, unchanged" if wrong else None
    )


_LEAST_FOREIGN = 2  # letters; one may be a symbol, such as a Greek one
_COMMON_SCRIPTS = frozenset({"Latin"})  # names and units


def _other_scripts(answer: str, given: str, language: str | None) -> Iterator[Finding]:
    """Words in a script that neither the text nor the language has."""
    code = named_language(language) if language else None
    own = scripts_of(code) if code else frozenset[str]()
    prose = _CODE.sub(lambda match: " " * len(match[0]), answer)
    allowed = own | _COMMON_SCRIPTS | set(script_letters(given))
    if language and not code:  # it may be written in any script
        return
    for script, start, end in script_runs(prose):
        if script not in allowed and end - start >= _LEAST_FOREIGN:
            why = f"{script} script" + (f" in {language_name(code)}" if code else "")
            yield _finding(answer, start, end, why)
