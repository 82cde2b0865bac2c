"""Prompt and generated tokens/s: this tool, llama-bench, and the library in the wheel."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from results import Results, Table
from setting import Setting
from timing import Log, alternate, in_page_cache, median, timed

BENCH, BENCH_AS_IT_IS = "llama-bench", "llama-bench --repack 0"
LIBRARY, LIBRARY_AS_IT_IS = "xllamacpp itself", "xllamacpp itself, not repacked"
_PROMPT, _NEW, _SHARE = "prompt_tokens_per_second", "generated_tokens_per_second", "share"


def measure(setting: Setting, results: Results, log: Log) -> None:
    """Compare the speeds on both models."""
    for model, path in setting.models.items():
        in_page_cache(path)
        sizes = (96, 48) if model == "7B shape" else (512, 128)
        prompt, new = (setting.tokens(size) for size in sizes)
        variants = _variants(setting, path, prompt, new)
        measured = alternate(variants, setting.repeats, setting.skipped, log)
        tables = {}
        for measure, what, size in ((_PROMPT, "Prompt", prompt), (_NEW, "Generated", new)):
            values = {
                variant: [each[measure] for each in runs] for variant, runs in measured.items()
            }
            note = f"{size} tokens; the time to load the model is not counted."
            tables[measure] = Table(
                f"{what} tokens/s, {model}", "tokens/s", values, BENCH, note, measured.failed
            )
            results.tables.append(tables[measure])
        if model == "7B shape":
            _targets(setting, results, tables, measured)


def _targets(
    setting: Setting,
    results: Results,
    tables: dict[str, Table],
    measured: dict[str, list[dict[str, float]]],
) -> None:
    wheel = setting.engines["llama.cpp"]
    built = setting.engines.get("native", "")
    results.target(
        "Prompt tokens/s, machine build, of llama-bench", tables[_PROMPT], built, BENCH, 0.95
    )
    best = _faster(tables[_PROMPT], LIBRARY, LIBRARY_AS_IT_IS)
    results.target(
        "Prompt tokens/s, wheel, of its library's best", tables[_PROMPT], wheel, best, 0.97
    )
    repacked = f"{built}, repacked"
    pairs = ((built, BENCH_AS_IT_IS, "not repacked"), (repacked, BENCH, "repacked"))
    for ours, theirs, how in pairs:
        what = f"Generated tokens/s, machine build, {how}, of llama-bench"
        results.target(what, tables[_NEW], ours, theirs, 0.97)
    pairs = (
        (wheel, LIBRARY_AS_IT_IS, "not repacked"),
        (f"{wheel}, repacked", LIBRARY, "repacked"),
    )
    for ours, theirs, how in pairs:
        what = f"Generated tokens/s, wheel, {how}, of its library"
        results.target(what, tables[_NEW], ours, theirs, 0.97)
    for variant, runs in measured.items():
        if share := median([run[_SHARE] for run in runs if run.get(_SHARE)]):
            tables[_NEW].note += f" {variant} reaches {share:.0%} of the memory's bandwidth."


def _faster(table: Table, one: str, other: str) -> str:
    return max((one, other), key=lambda variant: median(table.values.get(variant)) or 0.0)


def _variants(
    setting: Setting, path: Path, prompt: int, new: int
) -> dict[str, Callable[[], dict[str, float]]]:
    sizes = ("-p", str(prompt), "-n", str(new), "-r", "1")

    def ours(engine: str, *flags: str) -> dict[str, float]:
        command = setting.ours("bench", "-m", path, "--engine", engine, "--json", "-q", *sizes)
        (measured,) = json.loads(timed([*command, *flags]).stdout)["benchmarks"]
        return {
            _PROMPT: measured[_PROMPT],
            _NEW: measured[_NEW],
            _SHARE: measured["bandwidth_share"],
        }

    def bench(repack: int) -> dict[str, float]:
        command = [setting.program("llama-bench"), "-m", path, "-t", setting.cores, *sizes]
        tests = json.loads(timed([*command, "-o", "json", "--repack", str(repack)]).stdout)
        speeds = {bool(test["n_gen"]): test["avg_ts"] for test in tests}
        return {_PROMPT: speeds[False], _NEW: speeds[True]}

    def library(repack: int) -> dict[str, float]:
        command = setting.our_script("wheel_library.py", path, prompt, new, setting.cores, repack)
        measured: dict[str, Any] = json.loads(timed(command).stdout)
        return {_PROMPT: measured["prompt"], _NEW: measured["new"]}

    variants: dict[str, Callable[[], dict[str, float]]] = {}
    # llama.cpp does not repack Q4_1, the type of SmolLM2.
    both = setting.knows("--repack", "bench") and path == setting.shape_7b
    for engine, name in setting.engines.items():
        as_it_is = ("--no-repack",) if both else ()
        variants[name] = lambda engine=engine, flags=as_it_is: ours(engine, *flags)  # type: ignore[misc]
        if both:
            variants[f"{name}, repacked"] = lambda engine=engine: ours(engine, "--repack")  # type: ignore[misc]
    variants[BENCH] = lambda: bench(1)
    variants[BENCH_AS_IT_IS] = lambda: bench(0)
    variants[LIBRARY] = lambda: library(1)
    variants[LIBRARY_AS_IT_IS] = lambda: library(0)
    return variants
