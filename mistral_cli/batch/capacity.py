"""Plans a batch from its first rows: a context that holds them, and how many rows at once."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mistral_cli.batch.options import BatchOptions, requested_slots
from mistral_cli.engines.loader import open_tokenizer
from mistral_cli.engines.parallelism import slots_for
from mistral_cli.errors import MistralCliError
from mistral_cli.generation.chunking import PromptSizer, TokenBudget
from mistral_cli.generation.planner import RequestPlanner, fix_context, short_budget
from mistral_cli.generation.prompt_cache.prefixes import MIN_TOKENS, common_length

if TYPE_CHECKING:
    from mistral_cli.batch.prompts import RowPrompts, WorkItem
    from mistral_cli.engines.protocol import Session
    from mistral_cli.generation.config import RunConfig
    from mistral_cli.system.reporter import Reporter

_COMPARED_ROWS = 8  # whose prompts are searched for a shared prefix

# A later row that needs a longer context has the model loaded once more, which takes seconds; a
# context that is a quarter longer takes 32 MiB more for a 7B model and 1,000 tokens.
_HEAD_ROOM = 4


@dataclass(frozen=True)
class BatchPlan:
    """A planner whose context holds the first rows, and the number of streams to run at once."""

    planner: RequestPlanner
    parallel: int


def plan_batch(
    prompts: RowPrompts,
    config: RunConfig,
    first: Sequence[WorkItem],
    options: BatchOptions,
    reporter: Reporter,
    *,
    more: bool,
) -> BatchPlan:
    """Plan a batch by its `first` items; `more` says that others follow.

    Short prompts are not counted: their bytes are a bound of their tokens.
    """
    budgets = list(_budgets(prompts, config, first, reporter))
    sizes = [tokens for budget in budgets for tokens in budget.prompts]
    if more and budgets:
        longest = max(budget.context for budget in budgets)
        budgets.append(TokenBudget(longest + longest // _HEAD_ROOM))
    sizer = PromptSizer(prompts.builder, config, prompts.task.strategy, _cannot_count)
    planner = fix_context(sizer, [TokenBudget(1), *budgets], reporter)
    load, requested = planner.load, requested_slots(options)
    parallel, reason = slots_for(
        requested,
        config.selection,
        config.model,
        load.context_length,
        load.gpu_layers,
        sizes,
        more=more,
    )
    fewer = requested and parallel < requested and (more or parallel < len(sizes))
    (reporter.warn if fewer else reporter.info)(reason)
    return BatchPlan(planner, parallel)


def _budgets(
    prompts: RowPrompts, config: RunConfig, items: Sequence[WorkItem], reporter: Reporter
) -> Iterator[TokenBudget]:
    """Yield the budget of each row. A row that no context holds fails later, in its turn.

    The context of servers is fixed, and counting would take a request for each row.
    """
    if config.selection.backend.remote:
        yield from (TokenBudget(1, (0,)) for _ in items)
        return
    strategy = prompts.task.strategy
    with contextlib.ExitStack() as resources:
        tokenizer: Session | None = None
        for number, item in enumerate(items, start=1):
            with contextlib.suppress(MistralCliError):
                builder, rendered = prompts.builder_of(item.row), config.render(prompts.of(item))
                if budget := short_budget(builder, config, strategy, rendered):
                    yield budget
                    continue
                reporter.status(f"counting tokens: row {number:,} of {len(items):,} …")
                if tokenizer is None:
                    opened = open_tokenizer(config.selection.backend, config.model)
                    tokenizer = resources.enter_context(opened)
                sizer = PromptSizer(builder, config, strategy, tokenizer.tokenize)
                chunked = sizer.chunk(rendered)
                if all(map(sizer.fits, chunked.prompts)):
                    yield sizer.budget(chunked)
    reporter.clear_status()


def shared_prefix(
    prompts: RowPrompts, planner: RequestPlanner, first: Sequence[WorkItem]
) -> tuple[int, ...]:
    """Return the tokens that the first rows' prompts begin with, and so perhaps all of them.

    None if they are too few for the prompt cache, unless others may begin in another way.
    """
    encoded = []
    for item in first[:_COMPARED_ROWS]:
        with contextlib.suppress(MistralCliError):
            prompt = prompts.of(item)
            if not planner.is_far_too_long(prompt):  # it takes long, and is cut or split later
                encoded.append(planner.encode(prompt).token_ids)
    if len(encoded) < 2:
        return ()
    length = min(common_length(encoded[0], other) for other in encoded[1:])
    are_alike = prompts.inserts_text and not any(item.row.conversation for item in first)
    return () if are_alike and length < MIN_TOKENS else encoded[0][:length]


def _cannot_count(text: str) -> list[int]:
    raise NotImplementedError("the plan has no tokenizer; the open model has one")
