"""Open a pool of actors for a planned batch, as `open_planned` opens a session."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from mistral_cli.batch.cluster.actor import ActorJob
from mistral_cli.batch.cluster.address import LOCAL, checked_address
from mistral_cli.batch.cluster.connection import connected
from mistral_cli.batch.cluster.pool import RayPool
from mistral_cli.batch.formats import failure_record
from mistral_cli.batch.options import BatchOptions, requested_slots
from mistral_cli.engines.gpu_layers import NONE
from mistral_cli.errors import MistralCliError, UsageError
from mistral_cli.models.checksums import model_digest
from mistral_cli.models.references import parse_reference
from mistral_cli.models.sources import LocalFile
from mistral_cli.system.config import load_config

if TYPE_CHECKING:
    from mistral_cli.batch.formats import Record
    from mistral_cli.batch.progress import BatchProgress
    from mistral_cli.batch.prompts import RowPrompts, WorkItem
    from mistral_cli.generation.planner import RequestPlanner
    from mistral_cli.system.terminal import Terminal

_COMPARED_ROWS = 8
_CHARACTERS_PER_TOKEN = 4
_LOCAL_ACTORS = 2  # one would only be slower than the same batch without Ray


@contextlib.contextmanager
def open_ray_pool(
    prompts: RowPrompts,
    planner: RequestPlanner,
    first: Sequence[WorkItem],
    options: BatchOptions,
    progress: BatchProgress,
    terminal: Terminal,
) -> Iterator[RayPool]:
    """Connect to the cluster that `--ray` names, and yield a pool for rows like the `first` ones.

    Raises UsageError, EngineFailed.
    """
    assert options.ray is not None
    first = [each for each in first if not (each.error or each.row.error)]
    characters = sum(each.size for each in first) // max(1, len(first))
    address = checked_address(options.ray, terminal.env)
    config, settings = planner.config, load_config(terminal.env)
    if config.selection.backend.remote:
        raise UsageError(
            "--ray runs engines of its own, and --server is one",
            hint="Drop one of them; a batch uses several servers without --ray.",
        )
    source = parse_reference(config.model_name, settings)
    job = ActorJob(
        prompts,
        replace(planner, tokenize=_not_open),
        tuple(first[:_COMPARED_ROWS]),
        settings,
        str(config.model.path.absolute()) if isinstance(source, LocalFile) else config.model_name,
        model_digest(config.model, terminal),
        requested_slots(options),
        characters // _CHARACTERS_PER_TOKEN,
        options.threads,
        options.timeout,
        options.raw,
        options.offline,
    )
    began_at, started = time.time(), time.monotonic()

    def clock() -> dict[str, float]:
        seconds = time.monotonic() - started
        return {"run_began_at": round(began_at, 3), "finished_at": round(seconds, 3)}

    def failure(item: WorkItem, error: MistralCliError) -> Record:
        return failure_record(item.row, item.key, error, clock=clock())

    with connected(address, terminal):
        pool = RayPool(
            job,
            failure,
            clock,
            progress,
            terminal,
            requested=options.ray_actors or (_LOCAL_ACTORS if address == LOCAL else None),
            uses_gpu=config.requirements.gpu_layers != NONE,
        )
        progress.actors = lambda: pool.actors
        yield pool


def _not_open(text: str) -> list[int]:
    """Stands in the driver's plan for the tokenizer, which each actor has its own."""
    raise NotImplementedError(text)
