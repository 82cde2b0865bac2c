"""The time to the first token, with a prefix of about 300 tokens that an earlier process cached."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count

from results import Results, Table
from setting import HERE, Setting
from timing import Log, Unavailable, alternate, in_page_cache, timed

_TEXT = HERE.parents[2] / "LICENSE"
_QUESTIONS = "May I sell copies of it?", "Who is liable if it fails?"
_COMPLETION = "llama-completion --prompt-cache"


def measure(setting: Setting, results: Results, log: Log) -> None:
    """Ask two questions about the same text in two processes, on the 7B shape."""
    variants: dict[str, Callable[[], tuple[float, float]]] = {
        name: lambda engine=engine: _ours(setting, engine)  # type: ignore[misc]
        for engine, name in setting.engines.items()
    }
    in_page_cache(setting.shape_7b)
    variants[_COMPLETION] = lambda: _completion(setting)
    measured = alternate(variants, setting.repeats, setting.skipped, log)
    values = {}
    for variant, pairs in measured.items():
        values[f"{variant}, cold"] = [cold for cold, _ in pairs]
        values[f"{variant}, seen before"] = [cached for _, cached in pairs]
    note = "From the start of the process to its first token; the question follows a licence text."
    base = f"{_COMPLETION}, cold"
    results.tables.append(
        Table("A prefix seen before, 7B shape", "s", values, base, note, measured.failed)
    )
    for name in setting.engines.values():
        table = results.tables[-1]
        ours = f"{name}, seen before"
        what = f"First token after a known prefix, {name}, of the cold time"
        results.target(what, table, ours, f"{name}, cold", 0.15, at_most=True)


_folders = count()


def _ours(setting: Setting, engine: str) -> tuple[float, float]:
    if not setting.knows("--no-cache"):
        raise Unavailable("this version has no prompt cache on disk")
    env = {"XDG_CACHE_HOME": str(setting.work / f"cache-{next(_folders)}")}
    flags = ["--no-serve"] if setting.knows("--no-serve") else []
    command = setting.generate(
        setting.shape_7b, *flags, "-n", 4, "--engine", engine, "-f", _TEXT, fresh=False
    )
    cold, cached = (timed([*command, asked], env).first_byte for asked in _QUESTIONS)
    return cold, cached


def _completion(setting: Setting) -> tuple[float, float]:
    cache, text = setting.work / f"prompt-{next(_folders)}.bin", _TEXT.read_text(encoding="utf-8")
    command = [setting.program("llama-completion"), "-m", setting.shape_7b]
    command += ["--prompt-cache", cache, "-t", setting.cores]
    command += ["-n", "4", "--temp", "0", "-no-cnv", "--no-repack", "--no-warmup"]
    command += ["--no-display-prompt"]  # the prompt would be the first text
    prompts = (f"{text}\n{asked}\n" for asked in _QUESTIONS)
    cold, cached = (timed([*command, "-p", prompt]).first_byte for prompt in prompts)
    return cold, cached
