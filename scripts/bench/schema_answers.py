"""Ask a real model for values of schemas, and check each that is printed with jsonschema."""

from __future__ import annotations

import json
import random
import re
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import jsonschema
from json_bench import Speed, open_bench, run
from referencing.exceptions import Unresolvable

from mistral_cli.errors import MistralCliError, OutputCut, OutputInvalid, UsageError
from mistral_cli.generation.json_answers.retry import extract
from mistral_cli.generation.options import OnLimit
from mistral_cli.generation.session import Executor
from mistral_cli.models.references import resolve_reference
from mistral_cli.structured.schema import Schema, load_schema
from mistral_cli.structured.spec import OutputSpec
from mistral_cli.system.config import Config
from mistral_cli.system.terminal import Terminal

# About 140 characters with a name, a number, a date and an address, for any schema.
TEXT = (
    "Order 4711 of 3 May 2024: Ada Lovelace from Bob & Sons, 12 High Street, York, bought 3 "
    "lamps for 19.90 EUR; write to ada@example.org soon."
)

OUTCOMES = ("valid", "closed", "cut (exit 6)", "invalid (exit 7)", "refused", "failed")


@dataclass(frozen=True)
class Outcome:
    """What became of one request, and what an independent check says of the printed value."""

    kind: str
    seconds: float
    check: str = ""


def chosen(files: Sequence[Path], count: int, seed: int) -> Iterator[tuple[Path, Schema]]:
    """Yield `count` schemas that are accepted, in a random order."""
    order = random.Random(seed).sample(files, len(files))
    found = 0
    for file in order:
        if found == count:
            return
        try:
            schema = load_schema(str(file))
            OutputSpec(schema).check()
        except UsageError:
            continue
        found += 1
        yield file, schema


def answer_all(
    model: str, schemas: Sequence[tuple[Path, Schema]], limit: int
) -> dict[str, dict[Path, Outcome]]:
    """Ask for a value of each schema: failing at the limit, and closing there."""
    terminal = Terminal(None, sys.stdout, sys.stderr, quiet=True)
    path = resolve_reference(model, Config(), terminal)
    outcomes: dict[str, dict[Path, Outcome]] = {"fail": {}, "close": {}}
    with open_bench("llama.cpp", path, 0.0, limit) as bench:
        for file, schema in schemas:
            prepared, planner = bench.prepare(TEXT, schema, {})
            executor = Executor(planner, lambda request, *_: run(bench.session, request, Speed()))
            for mode, kinds in outcomes.items():
                started = time.perf_counter()
                kind, check = "failed", ""
                try:
                    at_limit = replace(prepared, on_limit=OnLimit(mode))
                    result = extract(at_limit, executor, lambda _: None)
                    assert result.extraction
                    kind = "closed" if any("clos" in w for w in result.warnings) else "valid"
                    check = independent_check(json.dumps(result.extraction.data), schema)
                except OutputCut:
                    kind = OUTCOMES[2]
                except OutputInvalid as error:
                    kind, check = OUTCOMES[3], error.message
                except UsageError as error:
                    kind, check = "refused", error.message
                except MistralCliError as error:
                    check = error.message
                kinds[file] = Outcome(kind, time.perf_counter() - started, check)
    return outcomes


def independent_check(printed: str, schema: Schema) -> str:
    """Say what jsonschema alone finds wrong with the printed value; "" if it is valid."""
    draft = jsonschema.validators.validator_for(schema, default=jsonschema.Draft202012Validator)
    try:
        draft(schema, format_checker=draft.FORMAT_CHECKER).validate(json.loads(printed))
    except jsonschema.ValidationError as error:
        return f"INVALID: {error.message[:200]}"
    except (Unresolvable, re.error, RecursionError) as error:
        return f"not checked: {error}"[:200]
    return ""


def print_answers(outcomes: dict[str, dict[Path, Outcome]], row: Any, heading: Any) -> None:
    """Print how many answers had each outcome, and the answers that are not valid."""
    heading("--on-limit", *OUTCOMES, "printed and invalid", "printed and not checked", "s, median")
    for mode, kinds in outcomes.items():
        counts = Counter(each.kind for each in kinds.values())
        printed = [each for each in kinds.values() if each.kind in OUTCOMES[:2]]
        wrong = sum(each.check.startswith("INVALID") for each in printed)
        unknown = sum(each.check.startswith("not checked") for each in printed)
        seconds = sorted(each.seconds for each in kinds.values())
        median = seconds[len(seconds) // 2] if seconds else 0.0
        row(mode, *(counts[kind] for kind in OUTCOMES), wrong, unknown, f"{median:.1f}")
    problems = [
        (mode, file.name, each.kind, each.check.replace("|", "\\|"))
        for mode, kinds in outcomes.items()
        for file, each in kinds.items()
        if each.check
    ]
    if problems:
        heading("--on-limit", "schema", "outcome", "problem")
        for problem in problems:
            row(*problem)
