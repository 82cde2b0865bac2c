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
from mistral_cli.generation.job import TokenBudget, need_of, settle_context
from mistral_cli.generation.planner import Planner
from mistral_cli.generation.prompt_cache import common

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

    planner: Planner
    parallel: int
    needs: Mapping[str, TokenBudget]

    @property
    def in_parts(self) -> bool:
        """Whether some row is asked about in parts."""
        return any(len(need.prompts) > 1 for need in self.needs.values())

    def size(self, key: str) -> int:
        """The prompt tokens of a row."""
        return sum(self.needs[key].prompts) if key in self.needs else 0


@contextlib.contextmanager
def planned(
    asks: RowPrompts,
    setup: RunConfig,
    todo: Sequence[Item],
    options: BatchOptions,
    reporter: Reporter,
) -> Iterator[BatchPlan]:
    """The plan for the rows `todo`; its tokenizer is open meanwhile."""
    with open_tokenizer(setup.selection.backend, setup.model) as tokenizer:
        planner = Planner(asks.drafter, setup, tokenizer.tokenize, setup.load)
        needs = dict(_needs(asks, planner, todo, reporter))
        planner = settle_context(planner, [TokenBudget(1), *needs.values()], reporter)
        planner = replace(planner, beginning=_beginning(asks, planner, todo))
        load, number = planner.load, requested_slots(options)
        prompts = [n for item in todo if item.key in needs for n in needs[item.key].prompts]
        parallel, why = slots_for(
            number,
            setup.selection,
            setup.model,
            load.context_length,
            load.gpu_layers,
            prompts,
        )
        fewer = number and parallel < min(number, len(prompts))
        (reporter.warn if fewer else reporter.info)(why)
        yield BatchPlan(planner, parallel, needs)


def _needs(
    asks: RowPrompts, planner: Planner, todo: Sequence[Item], reporter: Reporter
) -> Iterator[tuple[str, TokenBudget]]:
    """What each row wants; a row that cannot be asked says so when its turn comes."""
    for number, item in enumerate(todo, start=1):
        reporter.status(f"counting tokens: row {number:,} of {len(todo):,} …")
        with contextlib.suppress(MistralCliError):
            draft = asks.draft(item.row)
            own = replace(planner, drafter=asks.drafter_of(item.row))
            yield item.key, need_of(own, draft)
    reporter.clear_status()


def _beginning(asks: RowPrompts, planner: Planner, todo: Sequence[Item]) -> tuple[int, ...]:
    """The tokens that the prompts of the first rows, and so perhaps of all, begin with."""
    prompts = []
    for item in todo[:_LOOKED_AT]:
        with contextlib.suppress(MistralCliError):
            prompts.append(planner.encode(asks.draft(item.row)))
    if len(prompts) < 2:
        return ()
    return prompts[0][: min(common(prompts[0], other) for other in prompts[1:])]
