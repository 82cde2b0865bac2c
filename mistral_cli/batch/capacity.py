"""Plans a batch: a context that holds every row, and how many rows to process at once."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from mistral_cli.batch.options import BatchOptions, requested_slots
from mistral_cli.engines.loader import open_tokenizer
from mistral_cli.engines.parallelism import slots_for
from mistral_cli.errors import MistralCliError
from mistral_cli.generation.chunking import PromptSizer, TokenBudget
from mistral_cli.generation.planner import RequestPlanner, fix_context
from mistral_cli.generation.prompt_cache.prefixes import common_length

if TYPE_CHECKING:
    from mistral_cli.batch.prompts import RowPrompts, WorkItem
    from mistral_cli.generation.config import RunConfig
    from mistral_cli.system.reporter import Reporter

_COMPARED_ROWS = 8  # whose prompts are searched for a shared prefix


@dataclass(frozen=True)
class BatchPlan:
    """A planner whose context holds every row, and the number of streams to run at once.

    `budgets` has the token budget of each row by its key, except rows without a prompt.
    """

    planner: RequestPlanner
    parallel: int
    budgets: Mapping[str, TokenBudget]

    @property
    def in_chunks(self) -> bool:
        """True if some row is longer than one chunk."""
        return any(len(budget.prompts) > 1 for budget in self.budgets.values())

    def size(self, key: str) -> int:
        """Return the prompt tokens of the row with that key."""
        return sum(self.budgets[key].prompts) if key in self.budgets else 0


@contextlib.contextmanager
def plan_batch(
    prompts: RowPrompts,
    config: RunConfig,
    todo: Sequence[WorkItem],
    options: BatchOptions,
    reporter: Reporter,
) -> Iterator[BatchPlan]:
    """Plan the items `todo`; the plan's tokenizer is open inside the `with` block only."""
    with open_tokenizer(config.selection.backend, config.model) as tokenizer:
        sizer = PromptSizer(prompts.builder, config, prompts.task.strategy, tokenizer.tokenize)
        budgets = dict(_budgets(prompts, sizer, todo, reporter))
        planner = fix_context(sizer, [TokenBudget(1), *budgets.values()], reporter)
        planner = replace(planner, shared_prefix=_shared_prefix(planner, todo))
        load, requested = planner.load, requested_slots(options)
        sizes = [n for item in todo if item.key in budgets for n in budgets[item.key].prompts]
        parallel, reason = slots_for(
            requested,
            config.selection,
            config.model,
            load.context_length,
            load.gpu_layers,
            sizes,
        )
        fewer = requested and parallel < min(requested, len(sizes))
        (reporter.warn if fewer else reporter.info)(reason)
        yield BatchPlan(planner, parallel, budgets)


def _budgets(
    prompts: RowPrompts, sizer: PromptSizer, todo: Sequence[WorkItem], reporter: Reporter
) -> Iterator[tuple[str, TokenBudget]]:
    """Yield each row's key and budget. A row that no context holds fails later, in its turn."""
    for number, item in enumerate(todo, start=1):
        reporter.status(f"counting tokens: row {number:,} of {len(todo):,} …")
        with contextlib.suppress(MistralCliError):
            row_sizer = replace(sizer, builder=prompts.builder_of(item.row))
            rendered = sizer.config.render(item.built_prompt())
            chunked = row_sizer.chunk(rendered)
            if all(map(row_sizer.fits, chunked.prompts)):
                yield item.key, row_sizer.budget(chunked)
    reporter.clear_status()


def _shared_prefix(planner: RequestPlanner, todo: Sequence[WorkItem]) -> tuple[int, ...]:
    """Return the tokens that the first rows' prompts begin with, and so perhaps all of them."""
    encoded = []
    for item in todo[:_COMPARED_ROWS]:
        with contextlib.suppress(MistralCliError):
            prompt = item.built_prompt()
            if not planner.is_far_too_long(prompt):  # it takes long, and is cut or split later
                encoded.append(planner.encode(prompt).token_ids)
    if len(encoded) < 2:
        return ()
    return encoded[0][: min(common_length(encoded[0], other) for other in encoded[1:])]
