"""Measure JSON answers: valid answers, time per token, strings that come from the text."""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
import tomllib
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from schemas import Schema, schemas
from synthetic.models import write_mistral, write_smollm2_for_ctransformers

from mistral_cli.engines.loader import open_engine
from mistral_cli.engines.options import NONE
from mistral_cli.engines.protocol import LoadOptions, Session
from mistral_cli.engines.registry import DEFAULT, backend
from mistral_cli.engines.selection import EngineRequirements, EngineSelection, select_engine
from mistral_cli.engines.types import Request, Sampling
from mistral_cli.errors import OutputCut, OutputInvalid, UsageError
from mistral_cli.generation.answer import Answer, collect
from mistral_cli.generation.json_retry import extract
from mistral_cli.generation.planner import Plan
from mistral_cli.generation.prompt import Prompt
from mistral_cli.generation.task import Task
from mistral_cli.generation.templates import find
from mistral_cli.models.chat import Message
from mistral_cli.models.chat.formats import encode
from mistral_cli.models.gguf import GGUF, read_gguf
from mistral_cli.models.references import resolve_reference
from mistral_cli.structured.fields import describe_fields, schema_from_fields
from mistral_cli.structured.spec import BoundSpec, OutputSpec
from mistral_cli.system.config import Config
from mistral_cli.system.machine import usable_cores
from mistral_cli.system.terminal import Terminal
from mistral_cli.texts.inputs import Text

TEXTS = Path(__file__).with_name("texts.toml")
UNCONSTRAINED_EVERY = 3  # every third schema also runs without its grammar
CONTEXT = 2048
RUNS = [
    ("random weights", "llama.cpp", 0.0),
    ("random weights", "llama.cpp", 1.0),
    ("random weights", "ctransformers", 0.0),
    ("random weights", "ctransformers", 1.0),
    ("SmolLM2", "llama.cpp", 0.0),
    ("SmolLM2", "ctransformers", 0.0),
]


@dataclass
class Speed:
    """Tokens and the seconds they took, without the first token of each answer."""

    tokens: int = 0
    seconds: float = 0.0

    @property
    def milliseconds(self) -> float:
        return 1000 * self.seconds / self.tokens if self.tokens else 0.0


def run(engine: Session, request: Request, speed: Speed) -> Answer:
    """Answer `request` and add its time to `speed`."""
    started = time.perf_counter()
    answer = collect(
        engine.stream(request),
        prompt_tokens=len(request.prompt_token_ids),
        load_seconds=0,
        on_progress=lambda _: None,
        on_text=lambda _: None,
    )
    speed.tokens += max(answer.completion_tokens - 1, 0)
    speed.seconds += time.perf_counter() - started - answer.timings.prompt
    return answer


def messages(text: str, schema: Schema, **more: Any) -> list[Message]:
    values = {"fields": describe_fields(schema), **more}
    set_values = {name: value for name, value in values.items() if value}
    return find("json-extract").fill(text, task_values=set_values)


class Bench:
    """The measurements of one engine on one model."""

    def __init__(self, engine: Session, model: GGUF, sampling: Sampling, limit: int) -> None:
        self.engine, self.model, self.sampling, self.limit = engine, model, sampling, limit
        self.outcomes: Counter[str] = Counter()
        self.constrained, self.unconstrained = Speed(), Speed()

    def plan(self, text: str, asked: list[Message], expected: BoundSpec) -> Plan:
        draft = Prompt(Text(text, "benchmark"), asked, expected)
        ids = tuple(encode(asked, self.model, self.engine.tokenize))
        request = Request(ids, self.limit, self.sampling, expected.grammar)
        selection = EngineSelection(backend(DEFAULT), "", 0, "")
        load = LoadOptions(self.engine.context_length, usable_cores())
        task = Task("json-extract")
        return Plan(task, draft, self.model, "", selection, load, request, 2 * self.limit, ())

    def answer_all(self, accepted: dict[str, Schema]) -> None:
        """Request a value of every schema, and as many tokens without a grammar."""
        for number, (name, schema) in enumerate(accepted.items()):
            expected, speed = BoundSpec(OutputSpec(schema), ""), Speed()
            plan = self.plan(name, messages(f"An example of: {name}", schema), expected)
            self.outcomes[self.outcome(plan, expected, speed)] += 1
            if number % UNCONSTRAINED_EVERY == 0 and speed.tokens:
                add(self.constrained, speed)
                tokens = min(speed.tokens, self.limit)
                request = replace(plan.request, grammar=None, max_tokens=tokens + 1)
                run(self.engine, request, self.unconstrained)

    def outcome(self, plan: Plan, expected: BoundSpec, speed: Speed) -> str:
        try:
            found = extract(
                plan,
                expected,
                lambda request, _: run(self.engine, request, speed),
                self.engine.tokenize,
                lambda _: None,
            )
        except OutputCut:
            return "cut"
        except OutputInvalid as error:
            print(f"  {plan.draft.text.text}: {error.message}", file=sys.stderr)
            return "invalid"
        return "retried" if found.failures else "first time"

    def ground(self, *, grounded: bool) -> Counter[str]:
        """Count the extracted strings that come from the texts."""
        count: Counter[str] = Counter()
        for sample in tomllib.loads(TEXTS.read_text(encoding="utf-8"))["texts"]:
            text, described = sample["text"].strip(), schema_from_fields(sample["fields"])
            schema = schema_from_fields(sample["fields"], nullable=grounded)
            expected = BoundSpec(OutputSpec(schema, grounded=grounded), text)
            plan = self.plan(
                text, messages(text, described, grounded=grounded, nullable=grounded), expected
            )
            answer = run(self.engine, plan.request, Speed())
            if answer.finish_reason == "length":
                count["cut"] += len(schema["properties"])
                continue
            flat = " ".join(text.split())
            for value in expected.parse(answer.text).data.values():
                stands = value is not None and " ".join(value.split()) in flat
                count["null" if value is None else "in" if stands else "out"] += 1
        return count


def add(total: Speed, part: Speed) -> None:
    total.tokens += part.tokens
    total.seconds += part.seconds


def check_all(count: int) -> tuple[dict[str, Schema], dict[str, str], int]:
    """Check the schemas: the accepted ones, why others are rejected, how many need validation."""
    accepted: dict[str, Schema] = {}
    rejected: dict[str, str] = {}
    unenforced = 0
    for name, schema in schemas(count):
        try:
            unenforced += bool(OutputSpec(schema).check())
            accepted[name] = schema
        except UsageError as error:
            rejected[name] = error.message
    return accepted, rejected, unenforced


@contextmanager
def open_bench(name: str, path: Path, sampling: Sampling, limit: int) -> Iterator[Bench]:
    model = read_gguf(path)
    selection = select_engine(EngineRequirements(name, gpu_layers=NONE), model)
    context = min(model.context_length, CONTEXT)
    options = LoadOptions(context, usable_cores())
    with open_engine(selection, model, options, print) as engine:
        yield Bench(engine, model, sampling, limit)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--schemas", type=int, default=200)
    parser.add_argument("--max-tokens", type=int, default=64)
    arguments = parser.parse_args()
    accepted, rejected, unenforced = check_all(arguments.schemas)
    print(
        f"{len(accepted) + len(rejected)} schemas: {len(accepted)} accepted ({unenforced} of them "
        f"with\nkeywords left to validation), {len(rejected)} rejected before a model is loaded.\n"
    )
    for name, why in rejected.items():
        print(f"- {name}: {why}")
    terminal = Terminal(None, sys.stdout, sys.stderr, quiet=True)
    with tempfile.TemporaryDirectory() as folder:
        smollm2 = resolve_reference("smollm2", Config(), terminal)
        smollm2_old = write_smollm2_for_ctransformers(smollm2, Path(folder) / "smollm2.gguf")
        tiny = write_mistral(Path(folder) / "random.gguf", context_length=CONTEXT)
        files = {"SmolLM2": (smollm2, smollm2_old), "random weights": (tiny, tiny)}
        ground_texts(smollm2)
        titles = "model | engine | temperature | valid | after a retry | cut | invalid"
        heading(*titles.split(" | "), "ms per token", "without a grammar", "ratio")
        for name, engine_name, temperature in RUNS:
            path = files[name][engine_name == "ctransformers"]
            sampling = Sampling(temperature, 0, 1.0, 1.0, 1)
            with open_bench(engine_name, path, sampling, arguments.max_tokens) as bench:
                bench.answer_all(accepted)
            counts = map(bench.outcomes.get, ("first time", "retried", "cut", "invalid"))
            constrained = bench.constrained.milliseconds
            free = bench.unconstrained.milliseconds
            ratio = constrained / max(free, 1e-9)
            numbers = f"{constrained:.2f}", f"{free:.2f}", f"{ratio:.2f}"
            table(name, engine_name, temperature, *counts, *numbers)


def ground_texts(model: Path) -> None:
    """Print how many strings of SmolLM2's answers come from the text, grounded or not."""
    heading("strings", "in the text", "not in the text", "null", "cut")
    with open_bench("llama.cpp", model, Sampling(0.0, 0, 1.0, 1.0, 1), 300) as bench:
        for grounded in (False, True):
            count = bench.ground(grounded=grounded)
            shown = "grounded" if grounded else "not grounded"
            table(shown, *map(count.get, ("in", "out", "null", "cut")))


def heading(*titles: str) -> None:
    print()
    table(*titles)
    table(*["---"] * len(titles))


def table(*cells: object) -> None:
    print("| " + " | ".join(str(cell or 0) for cell in cells) + " |", flush=True)


if __name__ == "__main__":
    main()
