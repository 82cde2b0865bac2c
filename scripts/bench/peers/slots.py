"""Many short texts: `batch` in parallel slots, and llama.cpp's own servers with as many slots."""

from __future__ import annotations

import http.client
import json
import socket
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from pathlib import Path

from results import Results, Table
from setting import Setting
from timing import Log, Unavailable, alternate, running, timed

SLOTS, _CONTEXT, _NEW = 8, 256, 64
_SERVER, _WHEEL_SERVER = "llama-server", "xllamacpp's server"
_START_SECONDS = 60.0
_names = count()


def measure(setting: Setting, results: Results, log: Log) -> None:
    """Measure tokens/s of complete runs on SmolLM2, with the start of program and model."""
    rows = [_prompt(number) for number in range(setting.tokens(64))]
    variants: dict[str, Callable[[], float]] = {
        name: lambda engine=engine: _ours(setting, engine, rows)  # type: ignore[misc]
        for engine, name in setting.engines.items()
    }
    variants[_SERVER] = lambda: _server(_native(setting), rows)
    variants[_WHEEL_SERVER] = lambda: _server(_wheel(setting), rows)
    values = alternate(variants, setting.repeats, setting.skipped, log)
    note = f"{len(rows)} requests of {_NEW} new tokens, {SLOTS} slots, the start included."
    table = Table("Parallel slots, SmolLM2", "tokens/s", values, _SERVER, note, values.failed)
    results.tables.append(table)
    pairs = (("native", _SERVER), ("llama.cpp", _WHEEL_SERVER))
    for engine, theirs in pairs:
        name = setting.engines.get(engine, engine)
        results.target(f"Batch in {SLOTS} slots, {name}, of {theirs}", table, name, theirs, 0.95)


def _prompt(number: int) -> str:
    return (
        f"This is chapter {number} of the story of the harbour town. On that morning the fisherman"
    )


def _ours(setting: Setting, engine: str, rows: list[str]) -> float:
    folder = setting.work / f"batch-{next(_names)}"
    folder.mkdir()
    texts, out = folder / "rows.jsonl", folder / "out.jsonl"
    texts.write_text("".join(json.dumps({"text": row}) + "\n" for row in rows), encoding="utf-8")
    command = setting.ours("batch", "generate", "-m", setting.smollm2, "--raw", "-n", _NEW)
    command += ["--temperature", "0", "--repetition-penalty", "1", "--engine", engine, "-q"]
    command += ["--parallel", str(SLOTS), "-o", str(out), str(texts)]
    seconds = timed(command).seconds
    records = [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]
    if len(records) != len(rows):
        raise Unavailable(f"{len(records)} of {len(rows)} rows were answered")
    return sum(record["completion_tokens"] for record in records) / seconds


def _native(setting: Setting) -> Callable[[int], list[str]]:
    program = str(setting.program("llama-server"))
    size = ["-np", str(SLOTS), "-c", str(SLOTS * _CONTEXT), "-t", setting.cores]
    return lambda port: [program, "-m", str(setting.smollm2), "--port", str(port), *size]


def _wheel(setting: Setting) -> Callable[[int], list[str]]:
    numbers = (SLOTS, SLOTS * _CONTEXT, setting.cores)
    return lambda port: setting.our_script("wheel_server.py", setting.smollm2, port, *numbers)


def _server(command: Callable[[int], list[str]], rows: list[str]) -> float:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    started = time.perf_counter()
    with (
        Path("/dev/null").open("wb") as null,
        running(command(port), stdout=null, stderr=null) as it,
    ):
        while not _healthy(port):
            if it.poll() is not None or time.perf_counter() - started > _START_SECONDS:
                raise Unavailable("the server did not start")
            time.sleep(0.02)
        with ThreadPoolExecutor(SLOTS) as pool:
            tokens = sum(pool.map(lambda row: _ask(port, row), rows))
        return tokens / (time.perf_counter() - started)


def _healthy(port: int) -> bool:
    try:
        return bool(_call(port, "GET", "/health", None).get("status") == "ok")
    except (OSError, http.client.HTTPException):
        return False


def _ask(port: int, prompt: str) -> int:
    body = {"prompt": prompt, "max_tokens": _NEW, "temperature": 0}
    return int(_call(port, "POST", "/v1/completions", body)["usage"]["completion_tokens"])


def _call(port: int, method: str, route: str, body: object) -> dict:  # type: ignore[type-arg]
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=_START_SECONDS)
    try:
        data = json.dumps(body) if body else None
        connection.request(method, route, data, {"Content-Type": "application/json"})
        return dict(json.loads(connection.getresponse().read()))
    finally:
        connection.close()
