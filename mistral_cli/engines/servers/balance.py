"""Several servers with one model: which of them gets the next request.

Each request goes to the server with the fewest outstanding ones. How many a server gets at once is
found by additive increase and multiplicative decrease, as TCP finds its window. A server that fails
is left alone for a while, longer each time, and then tried with a single request.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar

from mistral_cli.engines.servers.facts import MOST_OUTSTANDING, ServedFacts, ServerKind
from mistral_cli.engines.servers.trouble import ServerTrouble, ServerUnusable, understood
from mistral_cli.errors import ServersGone

if TYPE_CHECKING:
    from mistral_cli.engines.servers.client import ServerClient

Found = TypeVar("Found")

_FIRST_LIMIT = 8.0  # of a server that does not tell how many requests it works on
_CUT_SECONDS = 1.0  # requests that fail together halve a limit once
_POLL_SECONDS = 0.5
_RESTART_SECONDS = 2.0  # no server loads a model, and no person restarts one, in less
_FAILURES_TOLD = 4  # in a row: a server that is restarted is back before
MOST_TRIES = 8
"""How often one request is sent: it may be what makes servers fail."""


@dataclass(frozen=True)
class Patience:
    """Seconds: for how long all servers may fail before the work ends, and the first pause.

    Restarting a server takes a while. The pauses double up to `longest`, and each is a random part
    of that, so that clients which failed together do not come back together.
    """

    seconds: float = 60.0
    pause: float = 0.5
    longest: float = 8.0


@dataclass(eq=False)
class Server:
    """A server, what is known of it, and how it fares. Its pool's lock guards what changes."""

    client: ServerClient
    kind: ServerKind
    facts: ServedFacts
    limit: float = field(init=False)
    most: int = field(init=False)
    outstanding: int = 0
    taken_at: float = 0.0
    answered: int = 0
    failures: int = 0
    failed_at: float = 0.0
    free_at: float = 0.0
    cut_at: float = 0.0
    unusable: ServerUnusable | None = None
    asks_to_wait: bool = False
    seen_at: float = field(default_factory=time.monotonic)
    unchecked: bool = False
    """Whether it may have been restarted since it was found out what model it has."""
    told: bool = False
    """Whether the user has been told that it does not answer."""
    probing: threading.Lock = field(default_factory=threading.Lock)
    structured: str | None = None
    """The way to ask it for JSON that was found to work; "" for none, None before that is known."""

    def __post_init__(self) -> None:
        slots = self.facts.slots
        self.most = min(slots or MOST_OUTSTANDING, MOST_OUTSTANDING)
        self.limit = float((slots and self.most) or min(_FIRST_LIMIT, self.most))

    def accepts(self, now: float) -> bool:
        """Whether it may get another request now."""
        if self.unusable or now < self.free_at:
            return False
        # After a failure a single request finds out whether it works again.
        is_new = self.failures or self.unchecked
        return self.outstanding < (1 if is_new else int(self.limit))


class ServerPool:
    """The servers of a session; safe for several threads.

    `warn` gets a message for people. `check` raises ServerUnusable if a server that was restarted
    has another model, and ServerTrouble if it does not answer.
    """

    def __init__(
        self,
        servers: Sequence[Server],
        patience: Patience,
        warn: Callable[[str], None] = lambda _: None,
        check: Callable[[Server], None] = lambda _: None,
    ) -> None:
        self.servers, self.patience = tuple(servers), patience
        self.warn, self.check = warn, check
        self._changed = threading.Condition()
        self._worked_at = time.monotonic()
        self._trouble: ServerTrouble | None = None
        self._closed = False
        self._random = random.Random()

    @property
    def most(self) -> int:
        """The most requests that they may get at once."""
        return sum(server.most for server in self.servers)

    def recruit(self, join: Callable[[], Server | None], seconds: float) -> None:
        """Have a thread ask for a server that does not answer yet, until it may `join`.

        `join` returns None for one that cannot, and raises ServerTrouble if it is to be asked
        again, after some `seconds`.
        """

        def ask() -> None:
            while not self._closed:
                time.sleep(self._random.uniform(0.5, 1.0) * seconds)
                try:
                    server = join()
                except ServerTrouble:
                    continue
                with self._changed:
                    if server:
                        self.servers = (*self.servers, server)
                    self._changed.notify_all()
                return

        threading.Thread(target=ask, daemon=True, name="recruit").start()

    def take(self) -> Lease:
        """Wait for a server that accepts a request. Raises ServersGone."""
        with self._changed:
            while True:
                self._check()
                now = time.monotonic()
                ready = [each for each in self.servers if each.accepts(now)]
                if ready:
                    server = min(ready, key=lambda each: (each.outstanding, each.taken_at))
                    server.outstanding, server.taken_at = server.outstanding + 1, now
                    return Lease(self, server, now)
                later = [each.free_at - now for each in self.servers if each.free_at > now]
                self._changed.wait(min([_POLL_SECONDS, *later]))

    def call(self, work: Callable[[Server], Found]) -> Found:
        """The result of a short request to any server that works, and to another if it fails.

        Raises ServersGone, and the ServerTrouble of a request that keeps failing.
        """
        tries = 0
        while True:
            with self._changed:
                while not (ready := self._working()):
                    self._check()
                    self._changed.wait(_POLL_SECONDS / 4)
                server = min(ready, key=lambda each: each.outstanding)
                lease = Lease(self, server, time.monotonic(), counted=False)
            try:
                lease.check()
                with understood(server.client.name):
                    found = work(server)
            except ServerTrouble as trouble:
                lease.failed(trouble)
                tries += trouble.received and not trouble.overloaded
                if tries >= MOST_TRIES or self._closed:
                    raise
            else:
                lease.ended()
                return found

    def _working(self) -> list[Server]:
        now = time.monotonic()
        return [each for each in self.servers if not each.unusable and now >= each.free_at]

    def close(self) -> None:
        """End all requests."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        for server in self.servers:
            server.client.close()

    @property
    def closed(self) -> bool:
        """Whether it has been closed."""
        return self._closed

    def _check(self) -> None:
        """Raise ServersGone if it was closed, or if no server has worked for a while."""
        if self._closed:
            raise ServersGone("the connection to the servers is closed", hint="Open it again.")
        usable = [each for each in self.servers if not each.unusable]
        waits = [each.free_at for each in usable if each.asks_to_wait]
        patient_until = max([self._worked_at + self.patience.seconds, *waits])
        if usable and not all(each.failures for each in usable):
            return
        if usable and time.monotonic() < patient_until:
            return
        troubles = [each for server in self.servers if (each := server.unusable)]
        trouble = self._trouble or troubles[0]
        messages = dict.fromkeys(each.message for each in (*troubles, trouble))
        which = "the server" if len(self.servers) == 1 else "every server"
        raise ServersGone(f"{which} has failed: {'; '.join(messages)}", hint=trouble.hint)

    def _release(self, lease: Lease, trouble: ServerTrouble | None, *, worked: bool) -> None:
        with self._changed:
            server, now = lease.server, time.monotonic()
            server.seen_at = now
            if lease.counted:
                at_limit = server.outstanding >= int(server.limit)
                server.outstanding -= 1
                if worked and at_limit:
                    server.limit = min(server.most, server.limit + 1 / server.limit)
            if worked:
                server.failures, server.asks_to_wait = 0, False
                server.answered += lease.counted
                self._worked_at = now
            if trouble:
                self._trouble = trouble
                self._note_failure(lease, trouble, now)
            self._changed.notify_all()
            tell = self._is_news(server)
        if trouble and tell:
            later = "not asked any more" if server.unusable else "tried again later"
            self.warn(f"a server is {later}: {trouble.message}")

    def _is_news(self, server: Server) -> bool:
        """Whether the user must be told of a server that fails while others work."""
        if self._closed or server.told or len(self.servers) == 1:
            return False
        server.told = bool(server.unusable) or server.failures >= _FAILURES_TOLD
        return server.told

    def _note_failure(self, lease: Lease, trouble: ServerTrouble, now: float) -> None:
        server = lease.server
        if isinstance(trouble, ServerUnusable):
            if not server.unusable:
                server.unusable, server.told = trouble, False
            return
        server.unchecked |= trouble.may_be_gone
        if trouble.overloaded and now - server.cut_at > _CUT_SECONDS:
            server.limit, server.cut_at = max(1.0, server.limit / 2), now
        if lease.taken_at < server.failed_at:  # it failed together with one that was counted
            return
        server.failures, server.failed_at = server.failures + 1, now
        pause = self.patience.pause * 2 ** min(server.failures - 1, 20)
        wait = self._random.uniform(0, min(pause, self.patience.longest))
        server.asks_to_wait = trouble.after is not None
        server.free_at = now + max(wait, trouble.after or 0.0)


@dataclass(frozen=True)
class Lease:
    """One request to `server`: how it ended must be told by one of these methods."""

    pool: ServerPool
    server: Server
    taken_at: float
    counted: bool = True

    def check(self) -> None:
        """Make sure that a server which may have been gone has the same model.

        A connection that ends while no request is in progress is opened again without a failure.
        Raises ServerTrouble.
        """
        server = self.server
        if server.unchecked or self.taken_at - server.seen_at > _RESTART_SECONDS:
            self.pool.check(server)
            server.unchecked = False

    def ended(self) -> None:
        """The server answered."""
        self.pool._release(self, None, worked=True)

    def left(self) -> None:
        """The reader left before the answer was complete."""
        self.pool._release(self, None, worked=False)

    def failed(self, trouble: ServerTrouble) -> None:
        """The server did not answer."""
        self.pool._release(self, trouble, worked=False)
