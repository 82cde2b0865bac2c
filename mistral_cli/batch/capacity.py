"""Before a batch begins: the context that holds every row, and how many prompts at once."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from mistral_cli.batch.options import BatchOptions, requested_slots
from mistral_cli.engines.loader import open_tokenizer
from mistral_cli.engines.parallelism import slots_for
from mistral_cli.errors import MistralCliError
from mistral_cli.generation.planner import PromptSizer, RequestPlanner, TokenBudget, fix_context
from mistral_cli.generation.prompt_cache.prefixes import common

if TYPE_CHECKING:
    from mistral_cli.batch.prompts import Item, RowPrompts
    from mistral_cli.generation.config import RunConfig
    from mistral_cli.system.reporter import Reporter

_LOOKED_AT = 8  # rows, for what their prompts begin with


@dataclass(frozen=True)
class BatchPlan:
    """A planner whose context holds every row, the prompts to ask at once, and what is wanted.

    `needs` has no rows that cannot be asked.
    """

    planner: RequestPlanner
    parallel: int
    budgets: Mapping[str, TokenBudget]

    @property
    def in_parts(self) -> bool:
        """Whether some row is asked about in parts."""
        return any(len(budget.prompts) > 1 for budget in self.budgets.values())

    def size(self, key: str) -> int:
        """The prompt tokens of a row."""
        return sum(self.budgets[key].prompts) if key in self.budgets else 0


@contextlib.contextmanager
def plan_batch(
    prompts: RowPrompts,
    config: RunConfig,
    todo: Sequence[Item],
    options: BatchOptions,
    reporter: Reporter,
) -> Iterator[BatchPlan]:
    """The plan for the rows `todo`; its tokenizer is open meanwhile."""
    with open_tokenizer(config.selection.backend, config.model) as tokenizer:
        sizer = PromptSizer(prompts.builder, config, tokenizer.tokenize)
        budgets = dict(_budgets(prompts, sizer, todo, reporter))
        planner = fix_context(sizer, [TokenBudget(1), *budgets.values()], reporter)
        planner = replace(planner, shared_prefix=_shared_prefix(planner, todo))
        load, number = planner.load, requested_slots(options)
        sizes = [n for item in todo if item.key in budgets for n in budgets[item.key].prompts]
        parallel, why = slots_for(
            number,
            config.selection,
            config.model,
            load.context_length,
            load.gpu_layers,
            sizes,
        )
        fewer = number and parallel < min(number, len(sizes))
        (reporter.warn if fewer else reporter.info)(why)
        yield BatchPlan(planner, parallel, budgets)


def _budgets(
    prompts: RowPrompts, sizer: PromptSizer, todo: Sequence[Item], reporter: Reporter
) -> Iterator[tuple[str, TokenBudget]]:
    """What each row needs; a row that cannot be asked about fails when its turn comes."""
    for number, item in enumerate(todo, start=1):
        reporter.status(f"counting tokens: row {number:,} of {len(todo):,} …")
        with contextlib.suppress(MistralCliError):
            encoded = sizer.encode(item.built())
            own = replace(sizer, builder=prompts.builder_of(item.row))
            yield item.key, own.budget(own.chunk(encoded))
    reporter.clear_status()


def _shared_prefix(planner: RequestPlanner, todo: Sequence[Item]) -> tuple[int, ...]:
    """The tokens that the prompts of the first rows, and so perhaps of all, begin with."""
    encoded = []
    for item in todo[:_LOOKED_AT]:
        with contextlib.suppress(MistralCliError):
            encoded.append(planner.encode(item.built()).token_ids)
    if len(encoded) < 2:
        return ()
    return encoded[0][: min(common(encoded[0], other) for other in encoded[1:])]
