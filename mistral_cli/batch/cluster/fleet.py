"""The actors of a batch: started on each node that is alive, and again where one ended."""

from __future__ import annotations

import contextlib
import re
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from mistral_cli.batch.cluster.actor import ActorJob, ActorReady, RowActor
from mistral_cli.batch.cluster.nodes import ActorSize, Nodes, NodeState
from mistral_cli.errors import EngineDied, EngineFailed, MistralCliError

if TYPE_CHECKING:
    from mistral_cli.system.reporter import Reporter

_LISTING_SECONDS = 1.0  # between two looks at the nodes of the cluster
_NO_ANSWER_SECONDS = 45.0  # of the cluster's head; Ray ends this process after 60
_NO_NODE_SECONDS = 300.0  # to wait for a node to join while there is none; a cloud takes minutes
_CLOSE_SECONDS = 5.0  # for all actors to save their prompt caches
_WINDOW = 2  # rows an actor has for each of its slots: one that runs, one that waits
_COLOR = re.compile(r"\x1b\[[0-9;]*m")


@dataclass
class RowOnTheWay:
    """A row that has left for an actor, or is about to.

    `suspicion` is how an engine died, perhaps of this row, and `losses` the number of actors that
    ended while they had it.
    """

    item: Any
    suspicion: str = ""
    losses: int = 0


@dataclass(eq=False)
class RemoteActor:
    """An actor as the driver sees it; without slots its model is not open yet.

    `rows` are those that it has, by number. While it is `taking`, a call of `take` is on its way.
    `deaths` counts those of its engine since it answered a row.
    """

    handle: Any
    state: NodeState
    slots: int = 0
    rows: dict[int, RowOnTheWay] = field(default_factory=dict)
    taking: bool = False
    deaths: int = 0

    @property
    def capacity(self) -> int:
        """How many rows more it may have."""
        return max(0, _WINDOW * self.slots - len(self.rows))


class ActorFleet:
    """The actors on the cluster that this process is connected to, for one job.

    `on_nodes` gets what `ray.nodes()` returns every second, or the error; in another thread.
    `on_result` gets an actor and the future of a call; in another thread too.
    """

    def __init__(
        self,
        job: ActorJob,
        reporter: Reporter,
        *,
        requested: int | None,
        uses_gpu: bool,
        on_nodes: Callable[[list[Any] | MistralCliError], None],
        on_result: Callable[[RemoteActor, Any], None],
    ) -> None:
        import ray

        self._job, self._reporter = ray.put(job), reporter
        self._requested, self._threads, self._uses_gpu = requested, job.threads, uses_gpu
        self._on_nodes, self._on_result = on_nodes, on_result
        self._nodes = Nodes()
        self._refusal: MistralCliError | None = None
        self._warned = set[str]()
        self._had_nodes_at = self._listed_at = time.monotonic()
        self._ended = threading.Event()
        self.actors = list[RemoteActor]()
        threading.Thread(target=self._list_nodes, daemon=True, name="ray-nodes").start()

    @property
    def ready(self) -> list[RemoteActor]:
        """The actors whose model is open."""
        return [each for each in self.actors if each.slots]

    def call(self, actor: RemoteActor, method: Any, *arguments: Any) -> None:
        """Call a method of the actor's handle, for `on_result`."""
        future = method.remote(*arguments).future()
        future.add_done_callback(lambda done: self._on_result(actor, done))

    def update(self, listing: Iterable[Any]) -> None:
        """Start what is missing on the nodes that are alive. Raises EngineFailed if none is."""
        now = self._listed_at = time.monotonic()
        self._nodes.update(listing)
        for state in self._nodes.usable:
            size = ActorSize.on(state.node, self._requested, self._threads, uses_gpu=self._uses_gpu)
            if size.count:
                self._had_nodes_at = now
            running = sum(1 for each in self.actors if each.state is state)
            if state.starts_at <= now:
                for _ in range(size.count - running):
                    self._start(state, size)
        if self.actors:
            self._had_nodes_at = now
        elif (refused := self._nodes.refused) and self._had_nodes_at < now:
            hint = self._refusal.hint if self._refusal else ""
            raise EngineFailed(
                f"no node can run rows; {refused[0].node.name}: {refused[0].refusal}",
                hint=hint or "Try another --engine, a smaller -c, or --parallel 1.",
            )
        elif now - self._had_nodes_at > _NO_NODE_SECONDS:
            raise EngineFailed(
                f"the cluster has had no node with CPUs for {_NO_NODE_SECONDS:.0f} s",
                hint="Start nodes, and run the same command again to continue.",
            )

    def check_contact(self) -> None:
        """Raise EngineFailed if the head of the cluster has not answered for long."""
        if time.monotonic() - self._listed_at > _NO_ANSWER_SECONDS:
            raise EngineFailed(
                f"the head of the Ray cluster has not answered for {_NO_ANSWER_SECONDS:.0f} s",
                hint="Start the cluster again, and run the same command to continue.",
            )

    def opened(self, actor: RemoteActor, ready: ActorReady) -> None:
        """Take note that the model of an actor is open."""
        actor.slots = ready.slots
        self.warn(actor, ready.warnings)
        layers = f", {ready.gpu_layers} layers on the GPU" if ready.gpu_layers else ""
        count = len(self.ready)
        self._reporter.info(
            f"actor on {ready.host}: {ready.slots} {'slot' if ready.slots == 1 else 'slots'}"
            f"{layers}; {count} {'actor' if count == 1 else 'actors'} ready"
        )

    def refused(self, actor: RemoteActor, error: MistralCliError) -> None:
        """Give up the node of an actor that cannot open the model."""
        self._drop(actor)
        if isinstance(error, EngineDied):  # perhaps of a lack of memory
            actor.state.fail(error.message, time.monotonic())
        else:
            actor.state.refusal = error.message
        self._refusal = error
        if actor.state.refusal:
            self.warn(actor, [f"gets no rows: {actor.state.refusal}"])

    def lost(self, actor: RemoteActor, error: BaseException) -> str:
        """Drop an actor that has ended, or must; return the reason."""
        self._drop(actor)
        state, why = actor.state, reason(error)
        out_of_memory = "low on memory" in str(error)
        if out_of_memory and actor.slots > 1:
            state.most_slots = actor.slots // 2
            self.warn(actor, [f"out of memory; {state.most_slots} slots from now on"])
        else:
            self._reporter.info(f"an actor on {state.node.name} ended: {why}")
        if isinstance(error, EngineFailed) and not state.has_answered:
            state.refusal = why
        else:
            state.fail(why, time.monotonic(), out_of_memory=out_of_memory)
        if state.refusal:
            self.warn(actor, [f"gets no more rows: {state.refusal}"])
        return why

    def warn(self, actor: RemoteActor, warnings: Iterable[str]) -> None:
        """Pass on the warnings of an actor, each once."""
        for warning in warnings:
            text = f"{actor.state.node.name}: {warning}"
            if text not in self._warned:
                self._warned.add(text)
                self._reporter.warn(text)

    def close(self, *, at_once: bool) -> None:
        """End the actors; unless `at_once`, they close their models first.

        Those of a driver that ends are ended by the cluster.
        """
        import ray

        self._ended.set()
        if at_once:
            return
        closing = [each.handle.close.remote() for each in self.ready]
        with contextlib.suppress(Exception):
            ray.wait(closing, num_returns=len(closing), timeout=_CLOSE_SECONDS)
        for actor in list(self.actors):
            self._drop(actor)

    def _list_nodes(self) -> None:
        """Report the nodes again and again; in a thread, since the answer may take a minute."""
        import ray

        while not self._ended.is_set():
            try:
                self._on_nodes(ray.nodes())
            except Exception as error:
                lost = EngineFailed(
                    f"the connection to the Ray cluster is lost: {reason(error)}",
                    hint="Start the cluster again, and run the same command to continue.",
                )
                self._on_nodes(lost)
                return
            self._ended.wait(_LISTING_SECONDS)

    def _start(self, state: NodeState, size: ActorSize) -> None:
        import ray
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        remote = ray.remote(RowActor).options(
            num_cpus=size.cpus,
            num_gpus=size.gpus,
            max_concurrency=4,  # open or take, give, close
            max_restarts=0,
            scheduling_strategy=NodeAffinitySchedulingStrategy(state.node.id, soft=False),
        )
        handle = remote.remote(self._job, size.count, state.most_slots)
        actor = RemoteActor(handle, state)
        self.actors.append(actor)
        self.call(actor, handle.open)

    def _drop(self, actor: RemoteActor) -> None:
        import ray

        self.actors.remove(actor)
        with contextlib.suppress(Exception):  # it has ended already
            ray.kill(actor.handle)


def reason(error: BaseException) -> str:
    """What Ray says about an end, in one line: the exception itself, if it was one of Python's."""
    lines = [each.strip() for each in _COLOR.sub("", str(error)).splitlines() if each.strip()]
    if not lines:
        return type(error).__name__
    return lines[-1] if "an error raised in" in lines[0] else lines[0].partition(". ")[0]
