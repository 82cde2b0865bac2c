"""A Ray cluster of several nodes on this machine, and the processes that belong to it."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

OBJECT_STORE = 80 * 2**20  # bytes, near the least that Ray accepts

# Ray finds out that a node died after 0.5 s · 3, instead of up to 15 s.
_HEALTH = {
    "health_check_initial_delay_ms": 0,
    "health_check_period_ms": 500,
    "health_check_failure_threshold": 3,
}


class RayNodes:
    """A cluster with a head node that computes nothing, and `count` nodes with `cpus` CPUs each."""

    def __init__(self, count: int, cpus: int = 1) -> None:
        os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
        from ray.cluster_utils import Cluster

        head = {
            "num_cpus": 0,
            "include_dashboard": False,
            "object_store_memory": OBJECT_STORE,
            "_system_config": _HEALTH,
        }
        self._cpus = cpus
        self._cluster = Cluster(initialize_head=True, head_node_args=head)
        self.nodes = [self._add() for _ in range(count)]

    @property
    def address(self) -> str:
        """What `--ray` needs."""
        return str(self._cluster.address)

    def replace(self, index: int) -> None:
        """Kill a node without warning, and start another."""
        self._cluster.remove_node(self.nodes[index], allow_graceful=False)
        self.nodes[index] = self._add()

    def actors(self) -> list[int]:
        """The ids of the processes of our actors."""
        return [pid for pid in _descendants(os.getpid()) if "RowActor" in _command(pid)]

    def engines(self) -> list[int]:
        """The ids of the processes of their engines."""
        engines = (pid for actor in self.actors() for pid in _descendants(actor))
        return [pid for pid in engines if "isolated.child" in _command(pid)]

    def close(self) -> None:
        """End all processes."""
        self._cluster.shutdown()

    def _add(self) -> Any:
        return self._cluster.add_node(
            wait=False, num_cpus=self._cpus, object_store_memory=OBJECT_STORE
        )


@contextlib.contextmanager
def ray_nodes(count: int, cpus: int = 1) -> Iterator[RayNodes]:
    """Yield a cluster; end it after the block."""
    nodes = RayNodes(count, cpus)
    try:
        yield nodes
    finally:
        nodes.close()


def kill(pid: int) -> None:
    """Kill a process that may have ended."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def _command(pid: int) -> str:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
    return ""


def _descendants(pid: int) -> Iterator[int]:
    with contextlib.suppress(OSError):
        for thread in Path(f"/proc/{pid}/task").iterdir():
            for child in map(int, (thread / "children").read_text().split()):
                yield child
                yield from _descendants(child)
