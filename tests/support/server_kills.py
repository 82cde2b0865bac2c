"""A batch over several servers, in which servers and the batch itself are killed at random."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from support.scripted_server import ScriptedServer

_ENDED = (0, 10)
_SIGNALS = (signal.SIGKILL, signal.SIGKILL, signal.SIGTERM, signal.SIGINT)


@dataclass
class KilledServer:
    """A server that can be cut off at any time, and started again at the same address."""

    script: ScriptedServer
    running: contextlib.ExitStack | None = None

    def start(self) -> None:
        """Listen."""
        self.running = contextlib.ExitStack()
        self.running.enter_context(self.script.running())

    def stop(self) -> None:
        """Cut every connection, and listen no more."""
        if self.running:
            self.running.close()
            self.running = None


@dataclass
class KillTest:
    """`rounds` batches of `rows` rows over `servers` servers, in the folder `folder`.

    `kills` counts what was killed: servers and runs of the batch.
    """

    folder: Path
    kind: str = "llama-server"
    servers: int = 3
    rows: int = 120
    seed: int = 1
    server_kills: int = 0
    batch_kills: int = 0
    requests: int = 0
    chance: random.Random = field(init=False)

    def __post_init__(self) -> None:
        self.chance = random.Random(self.seed)

    def round(self, number: int, server_kills: int, batch_kills: int) -> None:
        """Run one batch to its end. Raises AssertionError if a row is lost, doubled or wrong."""
        folder = self.folder / str(number)
        folder.mkdir()
        texts = {str(row): f"row {number} {row}" for row in range(self.rows)}
        lines = (json.dumps({"id": row, "text": text}) for row, text in texts.items())
        (folder / "rows.jsonl").write_text("".join(f"{line}\n" for line in lines))
        with self._servers() as servers:
            self._run(folder, servers, server_kills, batch_kills)
            self.requests += sum(len(each.script.answered()) for each in servers)
        records = [json.loads(line) for line in (folder / "out.jsonl").read_text().splitlines()]
        found = {each["id"]: each["text"] for each in records}
        assert len(records) == len(found), "a row was done twice"
        assert found == texts, "rows are missing or wrong"
        assert not any(each["error"] for each in records)

    @contextlib.contextmanager
    def _servers(self) -> Iterator[list[KilledServer]]:
        servers = [
            KilledServer(ScriptedServer(self.kind, delay=0.02, slots=2))
            for _ in range(self.servers)
        ]
        try:
            for each in servers:
                each.start()
            yield servers
        finally:
            for each in servers:
                each.stop()

    def _run(
        self, folder: Path, servers: list[KilledServer], server_kills: int, batch_kills: int
    ) -> None:
        """Run the batch until it ends by itself, and kill what there is to kill meanwhile."""
        status, victims = None, [*["server"] * server_kills, *["batch"] * batch_kills]
        self.chance.shuffle(victims)
        while status not in _ENDED:
            running = self._batch(folder, servers)
            struck = False
            while running.poll() is None:
                time.sleep(self.chance.uniform(0.02, 0.2))
                for each in servers:
                    if each.running is None and self.chance.random() < 0.5:
                        each.start()
                if not victims or not (folder / "out.jsonl").exists():
                    continue
                if victims.pop() == "batch":
                    running.send_signal(self.chance.choice(_SIGNALS))
                    self.batch_kills += 1
                    struck = True
                    break
                self.chance.choice(servers).stop()
                self.server_kills += 1
            for each in servers:
                if each.running is None:
                    each.start()
            _, stderr = running.communicate(timeout=120)
            status = running.returncode
            assert struck or status in _ENDED, stderr

    def _batch(self, folder: Path, servers: list[KilledServer]) -> subprocess.Popen[str]:
        urls = [part for each in servers for part in ("--server", each.script.url)]
        command = [sys.executable, "-m", "mistral_cli", "batch", "generate", "rows.jsonl"]
        return subprocess.Popen(
            [*command, "-o", "out.jsonl", "--temperature", "0", *urls],
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ},
        )
