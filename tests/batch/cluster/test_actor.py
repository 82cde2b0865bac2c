"""The actor of a node, in this process and without Ray: all that it gets and returns is pickled."""

from __future__ import annotations

import contextlib
import io
import pickle
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from bench.ray_kills import comparable
from support.batch_program import Batch, lines_of, write_rows
from support.fake_engine import Script

from mistral_cli.batch.cluster import open as opening
from mistral_cli.batch.cluster.actor import ActorJob, ActorReady, Finished, RowActor
from mistral_cli.cli import app
from mistral_cli.engines.isolated.messages import RemoteError
from mistral_cli.errors import EngineDied, ModelNotAvailable, ModelUnusable, UsageError
from mistral_cli.system.terminal import Terminal


def pickled(value: Any) -> Any:
    return pickle.loads(pickle.dumps(value))


class OneActor:
    """Stands in for the pool: one actor, which is not elsewhere."""

    def __init__(self, job: ActorJob, *_: Any, **__: Any) -> None:
        self.job = job

    def records(self, items: Any, tick: Callable[[], None]) -> Iterator[Any]:
        with running(self.job) as actor:
            rows = list(items)
            actor.give(
                pickled([(number, replace(row, prompt=None)) for number, row in enumerate(rows)])
            )
            numbers = set[int]()
            while len(numbers) < len(rows):
                tick()
                for number, record in pickled(actor.take()).outcomes:
                    numbers.add(number)
                    yield record


@contextlib.contextmanager
def running(job: ActorJob) -> Iterator[RowActor]:
    actor = RowActor(pickled(job), 1, None)
    assert isinstance(pickled(actor.open()), ActorReady)
    try:
        yield actor
    finally:
        actor.close()


@pytest.fixture
def on_ray(here: Path, mistral: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., ActorJob]:
    """Run `batch … --ray` with one actor in this process, and return its job."""
    jobs = list[ActorJob]()

    def pool(job: ActorJob, *_: Any, **__: Any) -> OneActor:
        jobs.append(job)
        return OneActor(job)

    monkeypatch.setattr(opening, "connected", lambda *_: contextlib.nullcontext())
    monkeypatch.setattr(opening, "RayPool", pool)

    def run(*arguments: object) -> ActorJob:
        more = ("--ray", "--engine", "fake", "-m", mistral)
        stderr = io.StringIO()
        status = app.run(
            list(map(str, ("batch", *arguments, *more))), Terminal(None, io.StringIO(), stderr)
        )
        assert status == 0, stderr.getvalue()
        return jobs[-1]

    return run


@pytest.mark.parametrize(
    "task",
    [
        ("generate", "--prompt", "Say {text} of {id}", "--overflow", "head"),
        ("translate", "--to", "German"),
        ("summarize", "--words", "9"),
        ("complete", "--lines", "1"),
        ("classify", "--labels", "good,bad", "--explain"),
        ("classify", "--labels", "good,bad", "--both-orders"),
    ],
    ids=" ".join,
)
def test_the_answers_are_those_of_a_batch_here(
    on_ray: Callable[..., ActorJob], batch: Batch, here: Path, task: tuple[str, ...]
) -> None:
    write_rows(
        here / "rows.jsonl", *(f"row {number} is good" for number in range(5)), "long " * 3000
    )
    arguments = (*task, "rows.jsonl", "--seed", 7, "--parallel", 2)
    assert batch(*arguments, "-o", "local.jsonl").status == 0
    on_ray(*arguments, "-o", "ray.jsonl")
    assert same(here / "ray.jsonl") == same(here / "local.jsonl")


def same(path: Path) -> dict[str, Any]:
    return {line["key"]: comparable(line) for line in lines_of(path)}


@pytest.fixture
def job(on_ray: Callable[..., ActorJob], here: Path) -> ActorJob:
    write_rows(here / "rows.jsonl", "a row")
    return on_ray("generate", "rows.jsonl", "-o", "out.jsonl", "--seed", 7)


@pytest.mark.parametrize(
    ("changes", "kind", "message"),
    [
        ({"digest": "0" * 64}, ModelUnusable, "its SHA-256 differs"),
        ({"version": "0.1"}, UsageError, "and 0.1 here"),
        ({"reference": "/nowhere/m.gguf"}, ModelNotAvailable, "/nowhere/m.gguf"),
    ],
    ids=["another file", "another version", "no file"],
)
def test_a_node_that_cannot_answer_as_the_driver_refuses(
    job: ActorJob, changes: dict[str, Any], kind: type[Exception], message: str
) -> None:
    refusal = pickled(RowActor(replace(job, **changes), 1, None).open())
    assert isinstance(refusal, RemoteError)
    assert refusal.kind is kind
    assert message in refusal.message
    assert refusal.error().hint


def test_an_adapter_must_be_there_too(job: ActorJob, tmp_path: Path) -> None:
    from mistral_cli.engines.protocol import LoraAdapter

    (tmp_path / "a.gguf").write_bytes(b"another one")
    adapter = LoraAdapter(tmp_path / "a.gguf", 1.0, "0" * 64)
    config = replace(job.planner.config, adapters=(adapter,))
    refusal = RowActor(replace(job, planner=replace(job.planner, config=config)), 1, None).open()
    assert isinstance(refusal, RemoteError)
    assert "is missing there, or is another file" in refusal.message


def test_an_engine_that_dies_is_the_outcome_of_its_row(job: ActorJob, script: Script) -> None:
    script(crash_on="killer")
    row = job.first[0]
    killer = replace(row, row=replace(row.row, text="a killer"))
    with running(job) as actor:
        actor.give([(1, killer), (2, row)])
        outcomes = dict[int, Any]()
        while len(outcomes) < 2:
            outcomes.update(actor.take().outcomes)
    assert isinstance(outcomes[1], RemoteError)
    assert outcomes[1].kind is EngineDied
    assert isinstance(outcomes[2], RemoteError) or outcomes[2]["error"] is None


def test_slots_and_memory(job: ActorJob) -> None:
    """The number is the driver's, the machine's, or what is left after it ran out of memory."""
    for slots, most, expected in [(3, None, 3), (3, 1, 1), (None, None, 8), (None, 4, 4)]:
        actor = RowActor(replace(job, slots=slots), 1, most)
        ready = actor.open()
        assert isinstance(ready, ActorReady)
        assert ready.slots == expected
        actor.close()


def test_an_idle_actor_shows_that_it_is_alive(job: ActorJob) -> None:
    with running(job) as actor:
        assert actor.take() == Finished()
