"""Ask a real model for values of schemas, and check each that is printed with jsonschema."""

from __future__ import annotations

import json
import random
import re
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import jsonschema
from json_bench import Bench, open_bench
from referencing.exceptions import Unresolvable

from mistral_cli.errors import MistralCliError, OutputCut, OutputInvalid, UsageError
from mistral_cli.generation.json_answers.retry import extract
from mistral_cli.generation.options import OnLimit
from mistral_cli.generation.prompt_cache.cache import PromptCache
from mistral_cli.generation.session import ActiveSession, Executor
from mistral_cli.models.references import resolve_reference
from mistral_cli.structured.fields import describe_fields
from mistral_cli.structured.schema import Schema, load_schema
from mistral_cli.structured.spec import OutputSpec
from mistral_cli.system.config import Config
from mistral_cli.system.terminal import Terminal

# About 140 characters with a name, a number, a date and an address, for any schema.
TEXT = (
    "Order 4711 of 3 May 2024: Ada Lovelace from Bob & Sons, 12 High Street, York, bought 3 "
    "lamps for 19.90 EUR; write to ada@example.org soon."
)

LIMITS = ("fail", "close")
"""The modes of `--on-limit`."""

OUTCOMES = ("valid", "closed", "cut (exit 6)", "invalid (exit 7)", "refused", "failed")

_CONTEXT = 8192  # as long as the model's own, as the fields of a large schema take thousands


@dataclass(frozen=True)
class Outcome:
    """What became of one request, and what an independent check says of the printed value."""

    kind: str
    seconds: float
    problem: str = ""
    text: str = ""
    warnings: list[str] = field(default_factory=list)

    @property
    def printed(self) -> bool:
        return self.kind in OUTCOMES[:2]


Outcomes = dict[str, dict[str, Outcome]]
"""The mode → the name of a schema → its outcome."""


@dataclass(frozen=True)
class Run:
    """Requests for values of schemas in `folder`, as `json-extract --schema -n LIMIT` makes them.

    Each outcome is appended to `log`, and what is in it is not asked for again.
    """

    folder: Path
    model: str
    limit: int
    threads: int | None
    log: Path | None

    def choose(
        self, files: Sequence[Path], count: int, seed: int
    ) -> tuple[dict[str, Schema], list[str]]:
        """The first `count` schemas in a random order that are accepted, and those refused."""
        accepted, refused = dict[str, Schema](), list[str]()
        for file in random.Random(seed).sample(files, len(files)):
            if len(accepted) == count:
                break
            name = str(file.relative_to(self.folder))
            try:
                schema = load_schema(str(file))
                OutputSpec(schema).check()
                accepted[name] = schema
            except UsageError:
                refused.append(name)
        return accepted, refused

    def answer_all(
        self, schemas: dict[str, Schema], modes: Sequence[str], *, progress: bool
    ) -> Outcomes:
        """Ask for a value of each schema in each mode."""
        terminal = Terminal(None, sys.stdout, sys.stderr, quiet=True)
        path = resolve_reference(self.model, Config(), terminal)
        known = {(mode, name): outcome for mode, name, outcome in self._logged()}
        outcomes: Outcomes = {mode: {} for mode in modes}
        options = {"context": _CONTEXT, "threads": self.threads}
        with open_bench("llama.cpp", path, 0.0, self.limit, **options) as bench:
            for number, (name, schema) in enumerate(schemas.items(), start=1):
                for mode in modes:
                    outcome = known.get((mode, name))
                    if not outcome:
                        outcome = ask(bench, schema, OnLimit(mode))
                        self._write(mode, name, outcome)
                    outcomes[mode][name] = outcome
                    if progress:
                        shown = f"{mode} {name}: {outcome.kind}, {outcome.seconds:.1f} s"
                        print(f"{number} of {len(schemas)}: {shown}", file=sys.stderr)
        return outcomes

    def _logged(self) -> Iterator[tuple[str, str, Outcome]]:
        if self.log and self.log.exists():
            for line in self.log.read_text().splitlines():
                values = json.loads(line)
                yield values.pop("mode"), values.pop("schema"), Outcome(**values)

    def _write(self, mode: str, name: str, outcome: Outcome) -> None:
        if self.log:
            with self.log.open("a") as file:
                print(json.dumps({"mode": mode, "schema": name, **asdict(outcome)}), file=file)


def ask(bench: Bench, schema: Schema, on_limit: OnLimit) -> Outcome:
    """Ask for a value of `schema`, and check it."""
    started = time.perf_counter()

    def outcome(kind: str, problem: str, text: str | None, *warnings: str) -> Outcome:
        seconds = round(time.perf_counter() - started, 2)
        return Outcome(kind, seconds, problem, text or "", [*warnings])

    try:
        prepared, planner = bench.prepare(TEXT, schema, {"fields": describe_fields(schema)})
        most = prepared.request.max_tokens  # also of a retry, as with -n
        prepared = replace(prepared, longest_answer=most, on_limit=on_limit)
        session = ActiveSession(planner, bench.session, cache_of(bench), load_seconds=0.0)
        executor = Executor(planner, session.ask)
        result = extract(prepared, executor, lambda _: None)
    except OutputCut as error:
        return outcome(OUTCOMES[2], "", error.details)
    except OutputInvalid as error:
        return outcome(OUTCOMES[3], error.message, error.details)
    except UsageError as error:
        return outcome("refused", error.message, "")
    except MistralCliError as error:
        return outcome("failed", error.message, error.details)
    assert result.extraction
    kind = "closed" if result.answer.finish_reason == "closed" else "valid"
    printed = json.dumps(result.extraction.data)
    return outcome(kind, independent_check(printed, schema), printed, *result.warnings)


def cache_of(bench: Bench) -> PromptCache:
    """The prompt cache of a run with `--no-cache`: it keeps nothing."""
    config, load = bench.config, bench.load
    return PromptCache(config.model, config.model_name, config.selection, load, 0, lambda _: None)


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


def print_answers(outcomes: Outcomes, row: Any, heading: Any) -> None:
    """Print how many answers had each outcome, and the answers that are not valid."""
    titles = ["--on-limit", "schemas", "printed, %", *OUTCOMES, "printed but invalid"]
    heading(*titles, "printed, not checked", "s, median", "s, longest")
    for mode, named in outcomes.items():
        counts = Counter(each.kind for each in named.values())
        printed = [each for each in named.values() if each.printed]
        wrong = sum(each.problem.startswith("INVALID") for each in printed)
        unknown = sum(each.problem.startswith("not checked") for each in printed)
        seconds = sorted(each.seconds for each in named.values()) or [0.0]
        times = (f"{each:.1f}" for each in (seconds[len(seconds) // 2], seconds[-1]))
        share = 100 * (len(printed) - wrong) / max(len(named), 1)
        numbers = (counts[kind] for kind in OUTCOMES)
        row(mode, len(named), f"{share:.1f}", *numbers, wrong, unknown, *times)
    problems = [
        (mode, name, each.kind, each.problem.replace("|", "\\|"))
        for mode, named in outcomes.items()
        for name, each in named.items()
        if each.problem or not each.printed
    ]
    if problems:
        heading("--on-limit", "schema", "outcome", "problem")
        for problem in problems:
            row(*problem)
