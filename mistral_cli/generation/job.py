"""Texts → jobs: what has to be asked so that a text of any length is answered."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from operator import add
from typing import TYPE_CHECKING

from mistral_cli.engines.loader import open_tokenizer
from mistral_cli.engines.repacking import repack_pays
from mistral_cli.engines.selection import fit_gpu_layers
from mistral_cli.errors import about
from mistral_cli.generation.chunking import LONGEST_PART, ChunkedText, chunk
from mistral_cli.generation.planner import Plan, Planner, within_served
from mistral_cli.generation.prompt import Prompt, PromptBuilder
from mistral_cli.serving.client import ServedSession

if TYPE_CHECKING:
    from mistral_cli.engines.protocol import Session
    from mistral_cli.generation.config import RunConfig
    from mistral_cli.system.reporter import Reporter
    from mistral_cli.texts.structure import TextFormat


@dataclass(frozen=True)
class Job:
    """One text and what is asked about it.

    `pieces` are the plans in the order of the text, and the text between them that stays as
    it is. `left_out` says what of the text nobody is asked about. With `split` the plans are
    about parts of it. `subject` names the text among several, else it is empty.
    """

    draft: Prompt
    pieces: tuple[Plan | str, ...]
    left_out: str = ""
    kind: TextFormat = "text"
    split: bool = False
    subject: str = ""

    @property
    def plans(self) -> list[Plan]:
        """What is asked, in the order of the text."""
        return [piece for piece in self.pieces if isinstance(piece, Plan)]


@dataclass(frozen=True)
class TokenBudget:
    """What the job for a text wants, in tokens: of context, of each prompt, of usual answers."""

    context: int
    prompts: tuple[int, ...] = ()
    answers: int = 0


def make_jobs(
    drafter: PromptBuilder,
    setup: RunConfig,
    drafts: Sequence[tuple[str, Prompt]],
    reporter: Reporter,
) -> tuple[list[Job], Planner]:
    """One job for each draft, given with its subject, and the planner that made them.

    They share one context length, for the longest of them. Raises UsageError, ContextExceeded.
    """
    with _tokenizer(setup) as tokenizer:
        planner = Planner(drafter, setup, tokenizer.tokenize, setup.load)
        found = []
        for subject, draft in drafts:
            with about(subject):
                found.append((subject, chunk(planner, draft)))
        needs = [_need(planner, pieces) for _, pieces in found]
        planner = settle_context(planner, needs, reporter)
        return _jobs(planner, found), planner


def _tokenizer(setup: RunConfig) -> AbstractContextManager[Session]:
    if setup.served:
        return ServedSession(setup.served, setup.model)
    return open_tokenizer(setup.selection.backend, setup.model)


def jobs_of(planner: Planner, drafts: Sequence[tuple[str, Prompt]]) -> list[Job]:
    """The jobs for drafts, given with their subjects, in a context that is settled.

    Raises UsageError, ContextExceeded.
    """
    return _jobs(planner, [(subject, chunk(planner, draft)) for subject, draft in drafts])


def job_of(planner: Planner, draft: Prompt) -> Job:
    """The job for one draft in a context that is settled. Raises UsageError, ContextExceeded."""
    return _job(planner, chunk(planner, draft))


def need_of(planner: Planner, draft: Prompt) -> TokenBudget:
    """What the job for `draft` wants. Raises UsageError, ContextExceeded."""
    return _need(planner, chunk(planner, draft))


def settle_context(planner: Planner, needs: Sequence[TokenBudget], reporter: Reporter) -> Planner:
    """`planner` with a context for all of the `needs`, and the layers that fit beside it."""
    planner = planner.opened([need.context for need in needs], reporter)
    planner = within_served(planner, reporter)
    selection = fit_gpu_layers(
        planner.setup.selection, planner.setup.model, planner.load.context_length
    )
    reporter.info(f"{selection.gpu_layers} layers on the GPU: {selection.gpu_reason}")
    if selection.warning:
        reporter.warn(selection.warning)
    load = replace(planner.load, gpu_layers=selection.gpu_layers)
    setup = replace(planner.setup, selection=selection)
    # Guesses make batches, which are computed faster as the weights are in the file.
    if selection.backend.repacking and not selection.gpu_layers and not load.speculative:
        prompts, answers = sum(sum(n.prompts) for n in needs), sum(n.answers for n in needs)
        memory = selection.backend.memory(setup.model, load.context_length, 0)
        repack, why = repack_pays(
            selection.backend.repacking, setup.model, prompts, answers, memory
        )
        reporter.info(f"weights {why}")
        load = replace(load, repack=repack)
    return replace(planner, load=load, setup=setup)


def _jobs(planner: Planner, found: Sequence[tuple[str, ChunkedText]]) -> list[Job]:
    jobs = []
    for subject, pieces in found:
        with about(subject):
            jobs.append(replace(_job(planner, pieces), subject=subject))
    return jobs


def _job(planner: Planner, found: ChunkedText) -> Job:
    pieces = [p if isinstance(p, str) else planner.plan(p) for p in found.pieces]
    return Job(found.draft, tuple(pieces), found.left_out, found.kind, found.split)


def _need(planner: Planner, found: ChunkedText) -> TokenBudget:
    drafts = [piece for piece in found.pieces if isinstance(piece, Prompt)]
    prompts = tuple(len(planner.encode(draft)) for draft in drafts)
    answers = map(planner.longest_answer, drafts)
    longest = max(map(add, prompts, answers), default=1)
    if found.split and planner.drafter.task.way == "summary":
        answer = max(map(planner.longest_answer, [*drafts, found.draft]))
        longest = max(longest, min(planner.setup.longest, LONGEST_PART + answer))
    return TokenBudget(longest, prompts, sum(map(planner.usual_answer, drafts)))
