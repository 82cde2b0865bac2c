"""Prompt lookup (`--lookup`): an answer that copies its prompt and one that does not."""

from __future__ import annotations

import json
from collections.abc import Callable

from results import Results, Table
from setting import Setting
from timing import Log, alternate, timed

_TEXT = (
    "The harbour of Kestrel Bay was built in 1874 by the engineer Thomas Aldwin, who had studied "
    "the tides for eleven years before the first stone was laid. Its breakwater, 640 metres long, "
    "was the first on the coast to be made of cast concrete blocks. Each block weighed twenty tons "
    "and was carried by a steam crane that moved on rails along the finished part of the wall. The "
    "work took nine summers, since nothing could be laid between October and March. In the winter "
    "of 1881 a storm broke the outer end, and forty blocks were lost. Aldwin had them replaced "
    "with blocks of thirty tons, keyed into one another, and no storm has moved them since."
)
_PROMPTS = {
    "copying": f"List the sentences of this text, one per line:\n\n{_TEXT}",
    "free text": "Explain why the sky is blue and why sunsets are red.",
}
_TARGETS = {"copying": 2.0, "free text": 0.97}


def measure(setting: Setting, results: Results, log: Log) -> None:
    """Measure tokens/s of SmolLM2's answers, and of the 7B shape when forced to copy."""
    if not setting.knows("--lookup"):
        setting.skipped.append("prompt lookup: this version has no `--lookup`")
        return
    for kind, prompt in _PROMPTS.items():
        variants = _variants(setting, prompt)
        measured = alternate(variants, setting.repeats, setting.skipped, log)
        first = next(iter(variants))
        note = "Only the answer's tokens count; greedy, with the same prompt."
        table = Table(
            f"Prompt lookup, {kind}, SmolLM2", "tokens/s", measured, first, note, measured.failed
        )
        results.tables.append(table)
        for name in setting.engines.values():
            what = f"Tokens/s with prompt lookup, {kind}, {name}, of those without"
            results.target(what, table, f"{name}, --lookup", name, _TARGETS[kind])
    _shape(setting, results, log)


def _shape(setting: Setting, results: Results, log: Log) -> None:
    def forced(lookup: int) -> float:
        command = setting.our_script(
            "forced_copy.py", setting.shape_7b, _TEXT, setting.tokens(100), lookup
        )
        return float(timed(command).stdout)

    without = setting.engines["llama.cpp"]
    variants = {without: lambda: forced(0), f"{without}, --lookup": lambda: forced(1)}
    measured = alternate(variants, setting.repeats, setting.skipped, log)
    note = "A grammar forces the model to repeat 100 tokens of its prompt."
    table = Table(
        "Prompt lookup, copying, 7B shape", "tokens/s", measured, without, note, measured.failed
    )
    results.tables.append(table)
    what = f"Tokens/s with prompt lookup, copying, 7B shape, {without}, of those without"
    results.target(what, table, f"{without}, --lookup", without, _TARGETS["copying"])


def _variants(setting: Setting, prompt: str) -> dict[str, Callable[[], float]]:
    def ours(engine: str, *flags: str) -> float:
        asked = ("--json", "-n", setting.tokens(160), "--engine", engine, *flags, prompt)
        measured = json.loads(timed(setting.generate(setting.smollm2, *asked)).stdout)
        return float(measured["timings"]["tokens_per_second"])

    variants: dict[str, Callable[[], float]] = {}
    for engine, name in setting.engines.items():
        variants[name] = lambda engine=engine: ours(engine)  # type: ignore[misc]
        variants[f"{name}, --lookup"] = lambda engine=engine: ours(engine, "--lookup")  # type: ignore[misc]
    return variants
