"""A call to a served model: the overhead above the engine until the first token."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable

from one_off import PROMPT
from results import Results, Table, Target
from setting import Setting
from timing import Log, Unavailable, alternate, median, running, timed

_COLD, _WARM, _ENGINE = "not served", "served", "the engine's part of it"
_START_SECONDS = 60.0


def measure(setting: Setting, results: Results, log: Log) -> None:
    """Generate one token with SmolLM2, with and without `mistral-cli serve`."""
    if not setting.knows("--no-serve"):
        setting.skipped.append("a warm model: this version has no `serve`")
        return
    runtime = setting.work / "run"
    runtime.mkdir(mode=0o700, exist_ok=True)
    env = {"XDG_RUNTIME_DIR": str(runtime)}
    command = setting.ours("serve", "-m", setting.smollm2, "-q")
    streams = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    try:
        with running(command, env, **streams):
            _wait(setting, env)
            values = alternate(_variants(setting, env), 3 * setting.repeats, setting.skipped, log)
    except Unavailable as error:
        setting.skipped.append(f"a warm model: {error}")
        return
    values[_ENGINE] = [each[1] for each in values[_WARM]]
    for variant in (_COLD, _WARM):
        values[variant] = [each[0] for each in values[variant]]
    note = "From start to exit of the process; one token, SmolLM2."
    results.tables.append(Table("A warm model", "ms", values, _WARM, note, values.failed))
    warm, engine = median(values[_WARM]), median(values[_ENGINE])
    above = None if warm is None or engine is None else warm - engine
    what = "Overhead of a call to a warm model above the engine, in ms"
    results.targets.append(Target(what, above, 150.0, at_most=True))


def _variants(
    setting: Setting, env: dict[str, str]
) -> dict[str, Callable[[], tuple[float, float]]]:
    asked = ("--raw", "-n", 1, "--json", PROMPT)

    def call(*flags: str) -> tuple[float, float]:
        command = setting.generate(setting.smollm2, *flags, *asked, fresh=False)
        done = timed(command, env)
        answer = json.loads(done.stdout)
        return 1000 * done.seconds, 1000 * answer["timings"]["prompt_seconds"]

    return {_COLD: lambda: call("--no-serve"), _WARM: call}


def _wait(setting: Setting, env: dict[str, str]) -> None:
    end = time.monotonic() + _START_SECONDS
    while time.monotonic() < end:
        if json.loads(timed(setting.ours("serve", "status", "--json"), env).stdout)["served"]:
            return
        time.sleep(0.1)
    raise Unavailable("`mistral-cli serve status` names no model")
