"""Child processes: start one of our modules, have it die with its parent, describe how it ended.

As a script it becomes another program, which ends when the process that started it does:
`python -I -S children.py LIFE PROGRAM ARGUMENTS…`. LIFE is the reading end of a pipe to which
nothing is ever written; as `-LIFE` its end sends SIGTERM to the program's whole process group.
PR_SET_PDEATHSIG would not do: it depends on the thread that started the program. The script
imports little, because it delays each start of that program.
"""

from __future__ import annotations

import os
import sys

DEATH_HINT = "Run it again; if that fails too, use a smaller -c, another file or another --engine."

_TELLING_WORDS = ("error", "assert", "fail", "abort", "terminate", "killed")
_MEMORY_WORDS = (
    "memoryerror", "bad_alloc", "out of memory", "allocate memory", "failed to allocate",
    "unable to allocate",
)  # fmt: skip


def child_command(module: str, *arguments: object) -> tuple[list[str], dict[str, str]]:
    """The command line and the environment that run `module` in a child process.

    The child imports this package from where we did, and nothing from the current folder.
    """
    here = os.path.abspath(__file__)  # noqa: PTH100
    for _ in range(4):
        here = os.path.dirname(here)  # noqa: PTH120
    path = os.pathsep.join(filter(None, (here, os.environ.get("PYTHONPATH"))))
    environment = {**os.environ, "PYTHONPATH": path, "PYTHONSAFEPATH": "1"}
    return [sys.executable, "-m", module, *map(str, arguments)], environment


def die_with(life: int, *, group: bool = False) -> bool:
    """End this process when the other end of `life` closes, even while it is in native code.

    With `group` all processes of its process group get SIGTERM instead (Linux).

    The kernel then sends SIGIO, which kills a process that does not handle it (Linux).
    Returns False if that end is closed already: then no signal comes.
    """
    import fcntl
    import select

    fcntl.fcntl(life, fcntl.F_SETOWN, -os.getpgrp() if group else os.getpid())
    if group:
        import signal

        # ninja runs each compiler in a group of its own, and ends them when it gets this signal.
        fcntl.fcntl(life, fcntl.F_SETSIG, signal.SIGTERM)
    fcntl.fcntl(life, fcntl.F_SETFL, fcntl.fcntl(life, fcntl.F_GETFL) | os.O_ASYNC)
    return not select.select([life], [], [], 0)[0]


def describe_exit(status: int, log: str) -> str:
    """`status`, as `subprocess` reports it, with the line of `log` that names an error.

    Of several such lines the last counts; without any, it is the last line.
    """
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    telling = [line for line in lines if _has(line, (*_TELLING_WORDS, *_MEMORY_WORDS))]
    words = (telling or lines or [""])[-1]
    if _has(words, _MEMORY_WORDS):
        return f"the engine ran out of memory: {words}"
    return f"{_ending(status)}: {words}" if words else _ending(status)


def _has(line: str, words: tuple[str, ...]) -> bool:
    return any(word in line.lower() for word in words)


def _ending(status: int) -> str:
    import signal

    if status == -signal.SIGKILL:
        return "the engine was killed (SIGKILL: out of memory?)"
    if status < 0:
        known = {each.value: each.name for each in signal.Signals}
        return f"the engine ended by {known.get(-status, f'signal {-status}')}"
    return f"the engine ended with exit code {status}"


def _main() -> None:
    life = sys.argv[1]
    if die_with(abs(int(life)), group=life.startswith("-")):
        os.execv(sys.argv[2], sys.argv[2:])


if __name__ == "__main__":
    _main()
