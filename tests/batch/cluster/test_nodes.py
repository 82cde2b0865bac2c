"""Which nodes get actors, how many, and when a node is given up."""

from __future__ import annotations

from typing import Any

import pytest

from mistral_cli.batch.cluster.nodes import MAX_FAILURES, ActorSize, ClusterNode, Nodes


def node(cpus: float, gpus: float = 0, name: str = "a") -> ClusterNode:
    return ClusterNode(name, name, cpus, gpus)


@pytest.mark.parametrize(
    ("cpus", "gpus", "requested", "threads", "expected"),
    [
        (8, 0, None, None, ActorSize(1, 8, 0)),
        (8, 0, 2, None, ActorSize(2, 4, 0)),
        (8, 0, 3, None, ActorSize(3, 2, 0)),
        (2, 0, 4, None, ActorSize(4, 0.5, 0)),  # more actors than CPUs
        (8, 0, 2, 3, ActorSize(2, 3, 0)),
        (8, 0, 2, 16, ActorSize(2, 4, 0)),
        (8, 4, None, None, ActorSize(4, 1, 1)),  # one for each GPU
        (8, 4, 2, None, ActorSize(2, 1, 1)),
        (8, 2, 4, None, ActorSize(2, 1, 1)),  # no GPU is shared
        (0, 0, None, None, ActorSize(0, 0, 0)),  # a head node that computes nothing
    ],
)
def test_the_actors_of_a_node(
    cpus: float, gpus: float, requested: int | None, threads: int | None, expected: ActorSize
) -> None:
    assert ActorSize.on(node(cpus, gpus), requested, threads, uses_gpu=True) == expected


def test_without_gpu_layers_no_gpu_is_reserved() -> None:
    assert ActorSize.on(node(8, 4), None, None, uses_gpu=False) == ActorSize(1, 8, 0)


def listed(name: str, *, alive: bool = True, **resources: float) -> dict[str, Any]:
    address = {"NodeManagerHostname": name, "NodeManagerAddress": "10.0.0.1"}
    return {"NodeID": name, "Alive": alive, "Resources": resources, **address}


def test_nodes_die_and_join() -> None:
    nodes = Nodes()
    nodes.update([listed("a", CPU=2), listed("b", CPU=1, GPU=1)])
    assert [each.node for each in nodes.usable] == [node(2, name="a"), node(1, 1, name="b")]
    nodes.update([listed("a", alive=False), listed("b", CPU=1, GPU=1), listed("c", CPU=4)])
    assert [each.node.name for each in nodes.usable] == ["b", "c"]


def test_a_node_whose_actors_keep_ending_is_given_up() -> None:
    nodes = Nodes()
    nodes.update([listed("a", CPU=2), listed("b", CPU=2)])
    state = nodes.states["a"]
    for number in range(MAX_FAILURES):
        assert state.refusal is None
        state.fail("it crashed", now=10.0)
        assert state.starts_at > 10 + 0.25 * number  # a longer pause each time
    assert state.refusal == "5 actors ended one after another, the last one: it crashed"
    assert [each.node.name for each in nodes.usable] == ["b"]
    assert [each.node.name for each in nodes.refused] == ["a"]
    nodes.update([listed("b", CPU=2)])
    assert nodes.refused == []


def test_a_node_without_memory_gets_more_time() -> None:
    nodes = Nodes()
    nodes.update([listed("a", CPU=2), listed("b", CPU=2)])
    nodes.states["a"].fail("it crashed", now=10.0)
    nodes.states["b"].fail("low on memory", now=10.0, out_of_memory=True)
    assert nodes.states["b"].starts_at - 10 > 4 * (nodes.states["a"].starts_at - 10)
    nodes.states["b"].answer()
    assert nodes.states["b"].failures == 0
