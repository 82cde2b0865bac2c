"""Texts → jobs: what has to be asked so that a text of any length is answered."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from operator import add
from typing import TYPE_CHECKING

from mistral_cli.draft import Draft, Drafter
from mistral_cli.engines import OpenEngine, open_tokenizer, place, repack_pays
from mistral_cli.errors import ContextExceeded, UsageError, about
from mistral_cli.options import Overflow
from mistral_cli.plan import Plan, Planner, within_served
from mistral_cli.serving.warm import WarmEngine

if TYPE_CHECKING:
    from mistral_cli.long.structure import Kind
    from mistral_cli.setup import Setup
    from mistral_cli.terminal import Terminal

# Tokens of a prompt about a part. The time to read one grows with its square, shorter ones
# have more summaries: 2,048 to 4,096 are the quickest on a CPU, measured and by arithmetic.
_LONGEST_PART = 3072
_TRANSLATION_SHARE, _SUMMARY_SHARE = 3, 8
_LEAST_TRANSLATION, _LONGEST_TRANSLATION = 48, 3  # tokens, and tokens for each of the text's
_JSON_SHARE = 4  # keys and quotes around words make JSON of a text several times as long
_ANY = "."
_MARGIN = 8  # tokens that a text may have more of between two others than alone


@dataclass(frozen=True)
class Job:
    """One text and what is asked about it.

    `pieces` are the plans in the order of the text, and the text between them that stays as
    it is. `left_out` says what of the text nobody is asked about. With `split` the plans are
    about parts of it. `subject` names the text among several, else it is empty.
    """

    draft: Draft
    pieces: tuple[Plan | str, ...]
    left_out: str = ""
    kind: Kind = "text"
    split: bool = False
    subject: str = ""

    @property
    def plans(self) -> list[Plan]:
        """What is asked, in the order of the text."""
        return [piece for piece in self.pieces if isinstance(piece, Plan)]


@dataclass(frozen=True)
class _Pieces:
    """A job before the context is settled."""

    draft: Draft
    pieces: list[Draft | str]
    left_out: str = ""
    kind: Kind = "text"
    split: bool = False


@dataclass(frozen=True)
class Need:
    """What the job for a text wants, in tokens: of context, of each prompt, of usual answers."""

    context: int
    prompts: tuple[int, ...] = ()
    answers: int = 0


def make_jobs(
    drafter: Drafter, setup: Setup, drafts: Sequence[tuple[str, Draft]], terminal: Terminal
) -> tuple[list[Job], Planner]:
    """One job for each draft, given with its subject, and the planner that made them.

    They share one context length, for the longest of them. Raises UsageError, ContextExceeded.
    """
    with _tokenizer(setup) as tokenizer:
        planner = Planner(drafter, setup, tokenizer.tokenize, setup.load)
        found = []
        for subject, draft in drafts:
            with about(subject):
                found.append((subject, _pieces(planner, draft)))
        needs = [_need(planner, pieces) for _, pieces in found]
        planner = settle_context(planner, needs, terminal)
        return _jobs(planner, found), planner


def _tokenizer(setup: Setup) -> AbstractContextManager[OpenEngine]:
    if setup.served:
        return WarmEngine(setup.served, setup.model)
    return open_tokenizer(setup.choice.engine, setup.model)


def jobs_of(planner: Planner, drafts: Sequence[tuple[str, Draft]]) -> list[Job]:
    """The jobs for drafts, given with their subjects, in a context that is settled.

    Raises UsageError, ContextExceeded.
    """
    return _jobs(planner, [(subject, _pieces(planner, draft)) for subject, draft in drafts])


def job_of(planner: Planner, draft: Draft) -> Job:
    """The job for one draft in a context that is settled. Raises UsageError, ContextExceeded."""
    return _job(planner, _pieces(planner, draft))


def need_of(planner: Planner, draft: Draft) -> Need:
    """What the job for `draft` wants. Raises UsageError, ContextExceeded."""
    return _need(planner, _pieces(planner, draft))


def settle_context(planner: Planner, needs: Sequence[Need], terminal: Terminal) -> Planner:
    """`planner` with a context for all of the `needs`, and the layers that fit beside it."""
    planner = planner.opened([need.context for need in needs], terminal)
    planner = within_served(planner, terminal)
    choice = place(planner.setup.choice, planner.setup.model, planner.load.context_length)
    terminal.info(f"{choice.gpu_layers} layers on the GPU: {choice.gpu_reason}")
    if choice.warning:
        terminal.warn(choice.warning)
    load = replace(planner.load, gpu_layers=choice.gpu_layers)
    setup = replace(planner.setup, choice=choice)
    # Guesses make batches, which are computed faster as the weights are in the file.
    if choice.engine.repacking and not choice.gpu_layers and not load.guessing:
        prompts, answers = sum(sum(n.prompts) for n in needs), sum(n.answers for n in needs)
        memory = choice.engine.memory(setup.model, load.context_length, 0)
        repack, why = repack_pays(choice.engine.repacking, setup.model, prompts, answers, memory)
        terminal.info(f"weights {why}")
        load = replace(load, repack=repack)
    return replace(planner, load=load, setup=setup)


def is_one_part(planner: Planner, draft: Draft) -> bool:
    """Whether what was made of the parts needs no more parts.

    Answered from the model's context, not from the open one, which other texts may enlarge.
    """
    return len(planner.encode(draft)) <= min(planner.room(draft), _LONGEST_PART)


def parts_of(planner: Planner, draft: Draft) -> list[Plan]:
    """The plans that summarize a text in parts."""
    return [planner.plan(each) for each in _split(planner, draft, "text")]


def _jobs(planner: Planner, found: Sequence[tuple[str, _Pieces]]) -> list[Job]:
    jobs = []
    for subject, pieces in found:
        with about(subject):
            jobs.append(replace(_job(planner, pieces), subject=subject))
    return jobs


def _job(planner: Planner, found: _Pieces) -> Job:
    pieces = [p if isinstance(p, str) else planner.plan(p) for p in found.pieces]
    return Job(found.draft, tuple(pieces), found.left_out, found.kind, found.split)


def _need(planner: Planner, found: _Pieces) -> Need:
    drafts = [piece for piece in found.pieces if isinstance(piece, Draft)]
    prompts = tuple(len(planner.encode(draft)) for draft in drafts)
    answers = map(planner.longest_answer, drafts)
    longest = max(map(add, prompts, answers), default=1)
    if found.split and planner.drafter.task.way == "summary":
        answer = max(map(planner.longest_answer, [*drafts, found.draft]))
        longest = max(longest, min(planner.setup.longest, _LONGEST_PART + answer))
    return Need(longest, prompts, sum(map(planner.usual_answer, drafts)))


def _pieces(planner: Planner, draft: Draft) -> _Pieces:
    policy, task = planner.setup.overflow, planner.drafter.task
    if task.way == "translation" and policy is Overflow.SPLIT and isinstance(draft.prompt, list):
        kind = _kind_of(draft)
        found = _Pieces(draft, list(_segments(planner, draft, kind)), kind=kind)
        if any(isinstance(piece, Draft) for piece in found.pieces):
            return found
        return _Pieces(draft, [draft])  # code, or timings alone: whatever the model says
    if planner.fits(draft) or policy is Overflow.ERROR or not draft.text.text:
        return _Pieces(draft, [draft])
    if policy is Overflow.SPLIT:
        kind = _kind_of(draft)
        return _Pieces(draft, list(_split(planner, draft, kind)), kind=kind, split=True)
    return _cut(planner, draft, policy)


def _kind_of(draft: Draft) -> Kind:
    from mistral_cli.long.structure import kind_of

    return kind_of(draft.text.source, draft.text.text)


def _cut(planner: Planner, draft: Draft, policy: Overflow) -> _Pieces:
    from mistral_cli.long.split import keep_head, keep_tail

    text = draft.text.text

    def fits(part: str) -> bool:
        return planner.fits(planner.drafter.again(draft, part))

    _check_frame(planner, draft)
    kept = keep_head(text, fits) if policy is Overflow.HEAD else keep_tail(text, fits)
    where = "last" if policy is Overflow.HEAD else "first"
    left_out = f"the {where} {len(text) - len(kept)} of {len(text)} characters"
    return _Pieces(draft, [planner.drafter.again(draft, kept)], left_out)


def _split(planner: Planner, draft: Draft, kind: Kind) -> Iterator[Draft]:
    """The drafts for the parts of a text that does not fit."""
    from mistral_cli.long.split import split

    least = _part(planner, draft, _ANY)
    room = min(planner.room(least), _LONGEST_PART) - len(planner.encode(least)) - _MARGIN
    if draft.expected:
        room //= _JSON_SHARE
    if room < 1:
        _check_frame(planner, draft)
    parts = split(draft.text.text, planner.count, max(room, 1), markdown=kind == "markdown")
    yield from (_part(planner, draft, part.strip("\n")) for part in parts)


def _part(planner: Planner, draft: Draft, text: str) -> Draft:
    """What is asked about a part; the summary of one must be much shorter than it."""
    if planner.drafter.task.way != "summary":
        return planner.drafter.again(draft, text)
    part = planner.drafter.part_of(draft, text)
    limit = min(planner.settings(part)["max_tokens"], planner.setup.longest // _SUMMARY_SHARE)
    return replace(part, settings={**part.settings, "max_tokens": max(limit, 1)})


def _segments(planner: Planner, draft: Draft, kind: Kind) -> Iterator[Draft | str]:
    """What is translated, each for itself, and what stays as it is."""
    from mistral_cli.long.split import split
    from mistral_cli.long.structure import segments

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


def _bounded(planner: Planner, piece: Draft) -> Draft:
    """`piece` with a limit by its own length: a weak model may go on about two words for ever."""
    limit = _LEAST_TRANSLATION + _LONGEST_TRANSLATION * planner.count(piece.text.text)
    limit = min(int(planner.settings(piece)["max_tokens"]), limit)
    return replace(piece, settings={**piece.settings, "max_tokens": limit})


def _translation_limit(planner: Planner, draft: Draft) -> int:
    """Tokens of a part whose translation, somewhat longer, still has its room."""
    frame = len(planner.encode(planner.drafter.again(draft, _ANY)))
    free = min(planner.setup.longest, _LONGEST_PART) - frame - _MARGIN
    if free < _TRANSLATION_SHARE:
        _check_frame(planner, draft)
    answer = int(planner.settings(draft)["max_tokens"])
    return max(min(free // _TRANSLATION_SHARE, answer // 2), 1)


def _check_frame(planner: Planner, draft: Draft) -> None:
    """Refuse what does not fit even without its text."""
    again = planner.drafter.again(draft, _ANY)
    if not planner.fits(again):
        raise ContextExceeded(
            f"the prompt has {len(planner.encode(again))} tokens without its text, and "
            f"{planner.room(draft)} fit",
            hint="Shorten the instruction, or raise -c/--context-length.",
        )


def check_split(drafter: Drafter, overflow: Overflow | None) -> None:
    """Refuse to split where the answers cannot be put together. Raises UsageError."""
    shape = drafter.shape
    if overflow is not Overflow.SPLIT or shape is None or shape.many:
        return
    if shape.schema.get("type") != "object":
        raise UsageError(
            "answers of this schema cannot be put together", hint="Add --many for a list of them."
        )
