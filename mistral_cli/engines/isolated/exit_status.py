"""How a process ended, in words."""

from __future__ import annotations

import signal

_TELLING = ("error", "assert", "fail", "abort", "terminate", "killed")


def describe_exit(status: int, log: str) -> str:
    """`status` as `subprocess` has it, with the line of `log` that tells of an error, or its last.

    Of several telling lines the last counts.
    """
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    telling = [line for line in lines if any(word in line.lower() for word in _TELLING)]
    words = (telling or lines or [""])[-1]
    return f"{_ending(status)}: {words}" if words else _ending(status)


def _ending(status: int) -> str:
    if status == -signal.SIGKILL:
        return "the engine was killed (SIGKILL: out of memory?)"
    if status < 0:
        known = {each.value: each.name for each in signal.Signals}
        return f"the engine ended by {known.get(-status, f'signal {-status}')}"
    return f"the engine ended with exit code {status}"
