"""Where actors run: the nodes of a cluster, how many actors each gets, and which are given up."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

MAX_FAILURES = 5  # of a node's actors in a row, none of which answered a row


@dataclass(frozen=True)
class ClusterNode:
    """A node that is alive; `cpus` and `gpus` are what Ray may reserve there."""

    id: str
    name: str
    cpus: float
    gpus: float

    @classmethod
    def of(cls, fields: Mapping[str, Any]) -> ClusterNode:
        """A node as `ray.nodes()` describes it."""
        resources = fields["Resources"]
        return cls(
            fields["NodeID"],
            fields["NodeManagerHostname"] or fields["NodeManagerAddress"],
            resources.get("CPU", 0.0),
            resources.get("GPU", 0.0),
        )


@dataclass(frozen=True)
class ActorSize:
    """The number of actors of a node, and what each of them reserves there."""

    count: int
    cpus: float
    gpus: int

    @classmethod
    def on(
        cls, node: ClusterNode, requested: int | None, threads: int | None, *, uses_gpu: bool
    ) -> ActorSize:
        """`requested` actors, by default one for each GPU or else one; they divide the cores.

        None on a node without CPUs, such as a head node that is not to compute.
        """
        if not node.cpus:
            return cls(0, 0, 0)
        gpus = int(node.gpus) if uses_gpu else 0
        count = min(requested or gpus or 1, gpus or 10**6)
        share = node.cpus / count
        if gpus:
            share = min(share, 1.0)
        if threads:
            share = min(share, float(threads))
        # Ray accepts fractions below 1 only.
        return cls(count, int(share) if share >= 1 else share, 1 if gpus else 0)


@dataclass
class NodeState:
    """What happened to the actors of a node so far.

    `failures` counts those that ended since one answered a row; `has_answered` tells whether any
    ever did. `most_slots` is the limit after the node ran out of memory. `refusal` is the reason
    why it gets no more actors.
    """

    node: ClusterNode
    failures: int = 0
    has_answered: bool = False
    most_slots: int | None = None
    refusal: str | None = None
    starts_at: float = 0.0
    alive: bool = True

    def answer(self) -> None:
        """Take note that an actor has answered a row."""
        self.failures, self.has_answered = 0, True

    def fail(self, reason: str, now: float, *, out_of_memory: bool = False) -> None:
        """Count the end of an actor: the next one waits, or there is none.

        It waits for longer if the node is `out_of_memory`, which another program may need.
        """
        self.failures += 1
        if self.failures >= MAX_FAILURES:
            self.refusal = f"{self.failures} actors ended one after another, the last one: {reason}"
        pause = min(0.25 * 2**self.failures, 8.0)
        self.starts_at = now + pause * (8 if out_of_memory else 1)


@dataclass
class Nodes:
    """All nodes that were seen during a run, by their ids."""

    states: dict[str, NodeState] = field(default_factory=dict)

    def update(self, listing: Iterable[Mapping[str, Any]]) -> None:
        """Take over what `ray.nodes()` lists now."""
        alive = {each["NodeID"]: ClusterNode.of(each) for each in listing if each["Alive"]}
        for state in self.states.values():
            state.alive = state.node.id in alive
        for id, node in alive.items():
            self.states.setdefault(id, NodeState(node))

    @property
    def usable(self) -> list[NodeState]:
        """The nodes that are alive and not refused."""
        return [each for each in self.states.values() if each.alive and not each.refusal]

    @property
    def refused(self) -> list[NodeState]:
        """The nodes that were given up and are still alive."""
        return [each for each in self.states.values() if each.alive and each.refusal]
