"""A text → its pieces: what is asked about, whole, cut or part by part, and what stays as it is."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from mistral_cli.errors import ContextExceeded, UsageError
from mistral_cli.generation.options import Overflow
from mistral_cli.generation.prompt import Prompt, PromptBuilder

if TYPE_CHECKING:
    from mistral_cli.generation.planner import Plan, Planner
    from mistral_cli.texts.structure import TextFormat

# Tokens of a prompt about a part. The time to read one grows with its square, shorter ones
# have more summaries: 2,048 to 4,096 are the quickest on a CPU, measured and by arithmetic.
LONGEST_PART = 3072
_TRANSLATION_SHARE, _SUMMARY_SHARE = 3, 8
_LEAST_TRANSLATION, _LONGEST_TRANSLATION = 48, 3  # tokens, and tokens for each of the text's
_JSON_SHARE = 4  # keys and quotes around words make JSON of a text several times as long
_ANY = "."
_MARGIN = 8  # tokens that a text may have more of between two others than alone


@dataclass(frozen=True)
class ChunkedText:
    """The pieces of a text in its order, before the context is settled; see Job."""

    draft: Prompt
    pieces: list[Prompt | str]
    left_out: str = ""
    kind: TextFormat = "text"
    split: bool = False


def chunk(planner: Planner, draft: Prompt) -> ChunkedText:
    """The pieces of the text of `draft`. Raises ContextExceeded."""
    policy, task = planner.setup.overflow, planner.drafter.task
    if task.way == "translation" and policy is Overflow.SPLIT and isinstance(draft.prompt, list):
        kind = _kind_of(draft)
        found = ChunkedText(draft, list(_segments(planner, draft, kind)), kind=kind)
        if any(isinstance(piece, Prompt) for piece in found.pieces):
            return found
        return ChunkedText(draft, [draft])  # code, or timings alone: whatever the model says
    if planner.fits(draft) or policy is Overflow.ERROR or not draft.text.text:
        return ChunkedText(draft, [draft])
    if policy is Overflow.SPLIT:
        kind = _kind_of(draft)
        return ChunkedText(draft, list(_split(planner, draft, kind)), kind=kind, split=True)
    return _cut(planner, draft, policy)


def is_one_part(planner: Planner, draft: Prompt) -> bool:
    """Whether what was made of the parts needs no more parts.

    Answered from the model's context, not from the open one, which other texts may enlarge.
    """
    return len(planner.encode(draft)) <= min(planner.room(draft), LONGEST_PART)


def parts_of(planner: Planner, draft: Prompt) -> list[Plan]:
    """The plans that summarize a text in parts."""
    return [planner.plan(each) for each in _split(planner, draft, "text")]


def _kind_of(draft: Prompt) -> TextFormat:
    from mistral_cli.texts.structure import detect_format

    return detect_format(draft.text.source, draft.text.text)


def _cut(planner: Planner, draft: Prompt, policy: Overflow) -> ChunkedText:
    from mistral_cli.texts.split import keep_head, keep_tail

    text = draft.text.text

    def fits(part: str) -> bool:
        return planner.fits(planner.drafter.again(draft, part))

    _check_frame(planner, draft)
    kept = keep_head(text, fits) if policy is Overflow.HEAD else keep_tail(text, fits)
    where = "last" if policy is Overflow.HEAD else "first"
    left_out = f"the {where} {len(text) - len(kept)} of {len(text)} characters"
    return ChunkedText(draft, [planner.drafter.again(draft, kept)], left_out)


def _split(planner: Planner, draft: Prompt, kind: TextFormat) -> Iterator[Prompt]:
    """The drafts for the parts of a text that does not fit."""
    from mistral_cli.texts.split import split

    least = _part(planner, draft, _ANY)
    room = min(planner.room(least), LONGEST_PART) - len(planner.encode(least)) - _MARGIN
    if draft.expected:
        room //= _JSON_SHARE
    if room < 1:
        _check_frame(planner, draft)
    parts = split(draft.text.text, planner.count, max(room, 1), markdown=kind == "markdown")
    yield from (_part(planner, draft, part.strip("\n")) for part in parts)


def _part(planner: Planner, draft: Prompt, text: str) -> Prompt:
    """What is asked about a part; the summary of one must be much shorter than it."""
    if planner.drafter.task.way != "summary":
        return planner.drafter.again(draft, text)
    part = planner.drafter.part_of(draft, text)
    limit = min(planner.settings(part)["max_tokens"], planner.setup.longest // _SUMMARY_SHARE)
    return replace(part, settings={**part.settings, "max_tokens": max(limit, 1)})


def _segments(planner: Planner, draft: Prompt, kind: TextFormat) -> Iterator[Prompt | str]:
    """What is translated, each for itself, and what stays as it is."""
    from mistral_cli.texts.split import split
    from mistral_cli.texts.structure import segments

    limit = _translation_limit(planner, draft)
    for segment in segments(draft.text.text, kind):
        if not segment.translate:
            yield segment.text
            continue
        for part in split(segment.text, planner.count, limit, markdown=False):
            words = part.strip()
            start = part.index(words)
            yield from filter(None, (part[:start],))
            yield _bounded(planner, planner.drafter.again(draft, words))
            yield from filter(None, (part[start + len(words) :],))


def _bounded(planner: Planner, piece: Prompt) -> Prompt:
    """`piece` with a limit by its own length: a weak model may go on about two words for ever."""
    limit = _LEAST_TRANSLATION + _LONGEST_TRANSLATION * planner.count(piece.text.text)
    limit = min(int(planner.settings(piece)["max_tokens"]), limit)
    return replace(piece, settings={**piece.settings, "max_tokens": limit})


def _translation_limit(planner: Planner, draft: Prompt) -> int:
    """Tokens of a part whose translation, somewhat longer, still has its room."""
    frame = len(planner.encode(planner.drafter.again(draft, _ANY)))
    free = min(planner.setup.longest, LONGEST_PART) - frame - _MARGIN
    if free < _TRANSLATION_SHARE:
        _check_frame(planner, draft)
    answer = int(planner.settings(draft)["max_tokens"])
    return max(min(free // _TRANSLATION_SHARE, answer // 2), 1)


def _check_frame(planner: Planner, draft: Prompt) -> None:
    """Refuse what does not fit even without its text."""
    again = planner.drafter.again(draft, _ANY)
    if not planner.fits(again):
        raise ContextExceeded(
            f"the prompt has {len(planner.encode(again))} tokens without its text, and "
            f"{planner.room(draft)} fit",
            hint="Shorten the instruction, or raise -c/--context-length.",
        )


def check_split(drafter: PromptBuilder, overflow: Overflow | None) -> None:
    """Refuse to split where the answers cannot be put together. Raises UsageError."""
    shape = drafter.shape
    if overflow is not Overflow.SPLIT or shape is None or shape.many:
        return
    if shape.schema.get("type") != "object":
        raise UsageError(
            "answers of this schema cannot be put together", hint="Add --many for a list of them."
        )
