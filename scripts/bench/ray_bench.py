"""Batches on Ray: the `throughput` of 1 and 4 actors, or `kills` at random."""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import tempfile
import time
from pathlib import Path

from bench.ray_cluster import ray_nodes
from bench.ray_kills import RayKills, prepare
from synthetic.models import write_mistral


def throughput(rows: int, delay: float, model: Path, folder: Path) -> float:
    """Print the rows per second of 1 and of 4 actors, each of one slot; return the ratio.

    Between the moments at which 30 % and 90 % of the rows were finished: actors load before.
    """
    command, _ = prepare(folder, rows, delay, model)
    rates = {}
    with ray_nodes(1, cpus=4) as nodes:
        for actors in (1, 4):
            out = folder / f"{actors}.jsonl"
            more = ["--ray", nodes.address, "--ray-actors", str(actors), "--parallel", "1", "-q"]
            subprocess.run([*command, *more, "-o", str(out)], check=True)
            times = sorted(
                json.loads(line)["timings"]["finished_at"] for line in out.read_text().splitlines()
            )
            first, last = int(rows * 0.3), int(rows * 0.9)
            rates[actors] = (last - first) / (times[last] - times[first])
            print(f"{actors} actor(s): {rates[actors]:.2f} rows/s, {times[-1]:.1f} s in all")
    ratio = rates[4] / rates[1]
    print(f"4 actors are {ratio:.2f} times as fast as 1 (an engine that sleeps {delay:g} s)")
    return ratio


def kills(number: int, seed: int, model: Path, folder: Path) -> None:
    """Kill `number` actors, engines, nodes and drivers, and print what became of the batches."""
    command, expected = prepare(folder, 80, 0.1, model)
    started = time.monotonic()
    with ray_nodes(3) as nodes:
        killing = RayKills(
            nodes, command, folder / "out.jsonl", expected, random.Random(seed), print_now
        )
        killing.run(number)
    print(
        f"{killing.kinds.total()} kills ({dict(killing.kinds)}) in {killing.batches} batches of "
        f"{len(expected)} rows, {time.monotonic() - started:.0f} s: no row lost, none double, all "
        f"answers as without Ray; {killing.failed} rows failed at first and were retried"
    )


def print_now(line: str) -> None:
    print(line, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=["throughput", "kills"])
    parser.add_argument("--number", type=int, default=60, help="kills")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--rows", type=int, default=400)
    parser.add_argument("--delay", type=float, default=0.05, help="seconds before each token")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model = write_mistral(folder / "model.gguf")
        if arguments.what == "throughput":
            throughput(arguments.rows, arguments.delay, model, folder)
        else:
            kills(arguments.number, arguments.seed, model, folder)


if __name__ == "__main__":
    main()
