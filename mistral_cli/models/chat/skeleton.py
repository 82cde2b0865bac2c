"""What a chat template writes around the texts of a conversation, from a process with limits.

A template comes from the network, and Jinja's sandbox bounds neither time nor memory: nested
loops, `'x' * 10**9`, `'%999999999d' % 1`, `| center(10**9)`, macros that call themselves. A sandbox
that counts would have to know every operation of Jinja and Python; the kernel limits a process
whatever it does. The process takes 80 ms of CPU time (Qwen3's template, 2 cores), where compiling
and rendering took 30 ms in ours. So each result is kept: it has the places of the texts and not
the texts, which makes it the same for all texts. A call that finds one takes 0.2 ms.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from mistral_cli.errors import MistralCliError
from mistral_cli.models.chat.jinja_process import CPU_SECONDS
from mistral_cli.system.config import cache_dir
from mistral_cli.system.files import write_atomically
from mistral_cli.system.strict_json import read_object

Conversation = Sequence[Mapping[str, Any]]
"""The messages in the form that templates read."""

_PROGRAM = Path(__file__).with_name("jinja_process.py")
_WALL_SECONDS = 30  # on a busy machine; a template cannot wait for anything
_MOST_KEPT = 200  # files of some kilobytes, one for each template and number of turns
_MOST_TIMES, _LONGEST_PATTERN = 8, 64

_known: dict[str, dict[str, Any]] = {}


@dataclass(frozen=True)
class Rendering:
    """One use of a template: for the first of the `conversations` that the template accepts.

    It accepts one by writing all the `needed` characters. `values` are its other variables.
    """

    conversations: Sequence[Conversation]
    values: Mapping[str, Any]
    needed: str = ""


def skeletons(source: str, renderings: Sequence[Rendering]) -> list[str | TemplateFailed]:
    """The output of the template `source` for each of the renderings, or why there is none.

    Raises MistralCliError if no process can be started.
    """
    job = {"source": source, "renderings": [vars(each) for each in renderings]}
    key = hashlib.sha256(_PROGRAM.read_bytes() + json.dumps(job).encode()).hexdigest()
    done = _known.get(key) or _load(key)
    if done is None or not _is_current(done):
        try:
            done = _run(job)
        except TemplateFailed as failure:  # not kept: the same job may succeed the next time
            return [failure for _ in renderings]
        if _is_current(done) and "text" in done["results"][0]:
            _save(key, done)
    if len(_known) >= _MOST_KEPT:
        _known.clear()
    _known[key] = done
    return [
        str(each["text"]) if "text" in each else TemplateFailed(each["problem"])
        for each in done["results"]
    ]


def skeleton(source: str, rendering: Rendering) -> str:
    """The output of the template `source` for one rendering. Raises TemplateFailed too."""
    [result] = skeletons(source, [rendering])
    if isinstance(result, TemplateFailed):
        raise result
    return result


class TemplateFailed(Exception):
    """The template cannot render the conversation; the message says why."""


def _is_current(done: Mapping[str, Any]) -> bool:
    """Whether the template would get the same answers from the clock now."""
    clock: Mapping[str, str] = done["clock"]
    if len(clock) > _MOST_TIMES or any(len(pattern) > _LONGEST_PATTERN for pattern in clock):
        return False
    return all(datetime.now().strftime(pattern) == time for pattern, time in clock.items())


def _load(key: str) -> dict[str, Any] | None:
    with contextlib.suppress(OSError, ValueError, TypeError, KeyError):
        path = _folder() / f"{key}.json"
        done = read_object(path.read_bytes())
        os.utime(path)
        return {"results": [dict(each) for each in done["results"]], "clock": dict(done["clock"])}
    return None


def _save(key: str, done: Mapping[str, Any]) -> None:
    with contextlib.suppress(OSError):  # a full disk, or a folder of another user
        folder = _folder()
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        files = sorted(folder.glob("*.json"), key=lambda path: path.stat().st_mtime)
        for path in files[:-_MOST_KEPT]:
            path.unlink(missing_ok=True)
        write_atomically(folder / f"{key}.json", json.dumps(done).encode())


def _folder() -> Path:
    return cache_dir() / "chat-templates"


def _run(job: Mapping[str, Any]) -> dict[str, Any]:
    """Run the job in a process of its own, and return what it writes.

    Raises TemplateFailed if the process ends for another reason than the template.
    """
    command = [sys.executable, "-I", "-S", os.fspath(_PROGRAM)]
    content = json.dumps({**job, "path": sys.path}).encode()
    try:
        done = subprocess.run(
            command,
            input=content,
            capture_output=True,
            timeout=_WALL_SECONDS,
            start_new_session=True,  # the terminal's Ctrl-C is for us
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise TemplateFailed(f"it takes more than {_WALL_SECONDS} seconds") from error
    except OSError as error:
        raise MistralCliError(
            f"cannot start a process for the chat template: {error}", hint="Close other programs."
        ) from error
    if done.returncode == -signal.SIGXCPU:  # however busy the machine is
        problem = f"it takes more than {CPU_SECONDS} seconds"
        return {"results": [{"problem": problem} for _ in job["renderings"]], "clock": {}}
    with contextlib.suppress(ValueError):
        result: dict[str, Any] = json.loads(done.stdout)
        return result
    reason = done.stderr.decode(errors="replace").strip().splitlines()
    raise TemplateFailed(reason[-1] if reason else f"its process ends with {done.returncode}")
