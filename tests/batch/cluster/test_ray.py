"""Batches on a real Ray cluster: a head node that computes nothing, and two nodes of one CPU each.

All nodes are on this machine. `scripts/bench_ray kills` kills more of it, for longer.
"""

from __future__ import annotations

import random
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from bench.ray_cluster import RayNodes, ray_nodes
from bench.ray_kills import RayKills, comparable
from support.batch_program import OURS, Batch, Start, count, lines_of, texts_of, write_rows
from support.fake_engine import Script, write_script
from support.processes import wait_for

pytestmark = [pytest.mark.alone, pytest.mark.timeout(400)]


@dataclass
class OnRay:
    """The cluster, and the script that the engines on it follow from the next batch on."""

    nodes: RayNodes
    folder: Path

    def script(self, **entries: object) -> None:
        write_script(self.folder / "fake.json", **{"echo": True, **entries})

    @property
    def options(self) -> tuple[str, ...]:
        return ("--ray", self.nodes.address)


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OnRay]:
    folder = tmp_path_factory.mktemp("ray")
    with pytest.MonkeyPatch.context() as patch:  # the nodes keep this environment
        patch.setenv("MISTRAL_CLI_FAKE", str(folder / "fake.json"))
        patch.setenv("MISTRAL_CLI_PROMPT_CACHE", "0")
        patch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
        patch.setenv("XDG_CONFIG_HOME", str(folder / "config"))
        patch.setenv("CUDA_VISIBLE_DEVICES", "-1")
        with ray_nodes(2) as nodes:
            yield OnRay(nodes, folder)


@pytest.fixture
def on_ray(started: OnRay) -> OnRay:
    started.script()
    return started


def same(lines: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    return {line["key"]: comparable(line) for line in lines}


def test_the_results_are_those_of_a_batch_here(batch: Batch, here: Path, on_ray: OnRay) -> None:
    write_rows(here / "rows.jsonl", *(f"I am Ann, {number}." for number in range(24)))
    arguments = ("json-extract", "rows.jsonl", "--fields", "name", "--parallel", 2, "--seed", 7)
    on_ray.script(pieces=['{"name":', ' "Ann"}'], echo=False, delay=0.1)
    write_script(here.parent / "script" / "fake.json", pieces=['{"name":', ' "Ann"}'])
    local = batch(*arguments)
    result = batch(*arguments, *on_ray.options, "-v")
    assert result.status == 0, result.stderr
    assert same(lines_of(result.stdout)) == same(lines_of(local.stdout))  # and nothing of Ray's
    assert "2 slots; 2 actors ready" in result.stderr
    assert "24 of 24 rows done, 0 failed" in result.stderr


def test_a_row_that_crashes_its_engine_fails_alone(batch: Batch, here: Path, on_ray: OnRay) -> None:
    """It takes longer than an actor waits for a row, also when it is tried alone."""
    on_ray.script(crash_on="killer", delay=0.6)
    write_rows(here / "rows.jsonl", "row 1", "killer", "row 3", "killer", "row 5", "row 6")
    result = batch("generate", "rows.jsonl", *on_ray.options, "-o", "out.jsonl", "--parallel", 2)
    assert result.status == 10, result.stderr
    assert len(texts_of(here / "out.jsonl")) == 6
    lines = lines_of(here / "out.jsonl")
    assert {line["id"] for line in lines if line["error"]} == {"2", "4"}
    assert "SIGABRT" in next(line["error"]["message"] for line in lines if line["error"])


def test_an_engine_that_keeps_crashing_ends_the_batch(
    batch: Batch, here: Path, on_ray: OnRay
) -> None:
    on_ray.script(crash_on="row")
    write_rows(here / "rows.jsonl", *(f"row {number}" for number in range(60)))
    result = batch("generate", "rows.jsonl", *on_ray.options, "-o", "out.jsonl", "--parallel", 1)
    assert result.status == 9
    assert "no node can run rows" in result.stderr
    assert "its engine keeps crashing" in result.stderr


def test_kills_lose_and_double_no_row(
    here: Path, mistral: Path, batch: Batch, on_ray: OnRay
) -> None:
    write_rows(here / "rows.jsonl", *(f"row {number}" for number in range(40)))
    arguments = ("generate", "rows.jsonl", "--seed", 7, "--parallel", 2)
    assert batch(*arguments, "-o", "whole.jsonl").status == 0
    on_ray.script(delay=0.1)
    options = ("--engine", "fake", "-m", str(mistral))
    killing = RayKills(
        on_ray.nodes,
        [*OURS, *map(str, arguments), *options],
        here / "out.jsonl",
        same(lines_of(here / "whole.jsonl")),
        random.Random(5),
    )
    killing.run(5)
    assert killing.kinds.total() >= 5


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_keeps_the_finished_rows_and_ends_the_actors(
    start: Start, here: Path, on_ray: OnRay, number: int, code: int
) -> None:
    on_ray.script(delay=0.2)
    write_rows(here / "rows.jsonl", *(f"row {number}" for number in range(60)))
    running = start("generate", "rows.jsonl", *on_ray.options, "-o", "out.jsonl", "--parallel", 2)
    wait_for(lambda: count(here / "out.jsonl") >= 2)
    wait_for(on_ray.nodes.engines)
    running.send_signal(number)
    _, stderr = running.communicate(timeout=60)
    assert running.returncode == code
    done = len(texts_of(here / "out.jsonl"))
    assert f"stopped: {done} of 60 rows done, 0 failed, {60 - done} left" in stderr
    wait_for(lambda: not on_ray.nodes.actors() and not on_ray.nodes.engines())


def test_a_ray_of_our_own(batch: Batch, here: Path, script: Script) -> None:
    """Two actors on this machine, without an address."""
    script(delay=0.3)
    write_rows(here / "rows.jsonl", *(f"row {number}" for number in range(12)))
    result = batch("generate", "--ray", "rows.jsonl", "-o", "out.jsonl", "-v", "--parallel", 1)
    assert result.status == 0, result.stderr
    assert len(texts_of(here / "out.jsonl")) == 12
    assert "1 slot; 2 actors ready" in result.stderr
    assert not list(here.glob("*ray*"))


def test_an_address_where_nothing_listens(batch: Batch, here: Path) -> None:
    write_rows(here / "rows.jsonl", "row")
    result = batch("generate", "rows.jsonl", "--ray", "127.0.0.1:9", "-o", "out.jsonl")
    assert result.status == 9
    assert "no Ray cluster answers at 127.0.0.1:9: Connection refused" in result.stderr
    assert "ray start --head" in result.stderr
