"""Measure JSON answers: valid answers, time per token, strings that come from the text."""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
import tomllib
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from json_slots import compare_slots
from schemas import Schema, schemas
from synthetic.models import write_mistral, write_smollm2_for_ctransformers

from mistral_cli.engines.gpu_layers import NONE
from mistral_cli.engines.loader import open_session
from mistral_cli.engines.protocol import LoadOptions, Session
from mistral_cli.engines.types import Request
from mistral_cli.errors import OutputCut, OutputInvalid, UsageError
from mistral_cli.generation.answer import Answer, collect
from mistral_cli.generation.config import RunConfig, resolve_config
from mistral_cli.generation.json_answers.retry import extract
from mistral_cli.generation.options import TaskOptions
from mistral_cli.generation.planner import PreparedRequest, RequestPlanner
from mistral_cli.generation.prompt import PromptBuilder
from mistral_cli.generation.session import Executor, OnText
from mistral_cli.generation.task import Task
from mistral_cli.models.references import resolve_reference
from mistral_cli.structured.fields import describe_fields, schema_from_fields
from mistral_cli.structured.spec import OutputSpec
from mistral_cli.system.config import Config
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


def run(
    session: Session, request: Request, speed: Speed, on_text: OnText = lambda _: None
) -> Answer:
    """Answer `request` and add its time to `speed`."""
    started = time.perf_counter()
    answer = collect(
        session.stream(request),
        prompt_tokens=len(request.prompt_token_ids),
        load_seconds=0,
        on_progress=lambda _: None,
        on_text=on_text,
    )
    speed.tokens += max(answer.completion_tokens - 1, 0)
    speed.seconds += time.perf_counter() - started - answer.timings.prompt
    return answer


class Bench:
    """The measurements of one session; `limit` is the number of tokens of an answer."""

    def __init__(
        self, session: Session, config: RunConfig, options: TaskOptions, load: LoadOptions
    ) -> None:
        self.session, self.config, self.options, self.load = session, config, options, load
        self.limit = config.generation.max_tokens
        self.outcomes: Counter[str] = Counter()
        self.constrained, self.unconstrained = Speed(), Speed()

    def prepare(
        self, text: str, schema: Schema, values: dict[str, Any], *, is_grounded: bool = False
    ) -> tuple[PreparedRequest, RequestPlanner]:
        """Plan the request for a value of `schema`; a retry may use twice as many tokens."""
        values = {name: value for name, value in values.items() if value}
        task = Task("json-extract", values, schema=schema, grounded=is_grounded)
        builder = PromptBuilder.of(task, self.options)
        planner = RequestPlanner(
            builder, self.config, task.strategy, self.session.tokenize, self.load, shared_prefix=()
        )
        prepared = planner.prepare(planner.encode(builder.build(Text(text, "benchmark"))))
        return replace(prepared, longest_answer=2 * self.limit), planner

    def answer_all(self, accepted: dict[str, Schema]) -> None:
        """Request a value of every schema, and as many tokens without a grammar."""
        for number, (name, schema) in enumerate(accepted.items()):
            speed, fields = Speed(), {"fields": describe_fields(schema)}
            prepared, planner = self.prepare(f"An example of: {name}", schema, fields)
            self.outcomes[self.outcome(name, prepared, planner, speed)] += 1
            if number % UNCONSTRAINED_EVERY == 0 and speed.tokens:
                add(self.constrained, speed)
                tokens = min(speed.tokens, self.limit)
                request = replace(prepared.request, grammar=None, max_tokens=tokens + 1)
                run(self.session, request, self.unconstrained)

    def outcome(
        self, name: str, prepared: PreparedRequest, planner: RequestPlanner, speed: Speed
    ) -> str:
        def ask(request: Request, _: Sequence[str], on_text: OnText) -> Answer:
            return run(self.session, request, speed, on_text)

        try:
            result = extract(prepared, Executor(planner, ask), lambda _: None)
        except OutputCut:
            return "cut"
        except OutputInvalid as error:
            print(f"  {name}: {error.message}", file=sys.stderr)
            return "invalid"
        return "retried" if result.warnings else "first time"

    def ground(self, samples: list[dict[str, str]], *, grounded: bool) -> Counter[str]:
        """Count the extracted strings that come from the texts."""
        count: Counter[str] = Counter()
        for sample in samples:
            text = sample["text"].strip()
            fields = describe_fields(schema_from_fields(sample["fields"]))
            schema = schema_from_fields(sample["fields"], nullable=grounded)
            values = {"fields": fields, "grounded": grounded, "nullable": grounded}
            prepared, _ = self.prepare(text, schema, values, is_grounded=grounded)
            answer = run(self.session, prepared.request, Speed())
            if answer.finish_reason == "length":
                count["cut"] += len(schema["properties"])
                continue
            flat = " ".join(text.split())
            assert prepared.prompt.spec
            for value in prepared.prompt.spec.parse(answer.text).data.values():
                in_text = value is not None and " ".join(value.split()) in flat
                count["null" if value is None else "in" if in_text else "out"] += 1
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
def open_bench(
    name: str,
    path: Path,
    temperature: float,
    limit: int,
    *,
    context: int = CONTEXT,
    threads: int | None = None,
) -> Iterator[Bench]:
    options = TaskOptions(
        model=str(path),
        engine=name,
        gpu_layers=NONE,
        context_length=context,
        threads=threads,
        max_tokens=limit,
        temperature=temperature,
        top_k=0,
        top_p=1.0,
        repetition_penalty=1.0,
        seed=1,
        no_cache=True,
    )
    terminal = Terminal(None, sys.stdout, sys.stderr, quiet=True)
    template = PromptBuilder.of(Task("json-extract"), options).template
    strategy = Task("json-extract").strategy
    config = resolve_config(template, options, Config(), terminal, strategy=strategy)
    with open_session(config.selection, config.model, config.load, print) as session:
        yield Bench(session, config, options, config.load)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--schemas", type=int, default=200)
    parser.add_argument("--max-tokens", type=int, default=64)
    parser.add_argument(
        "--slots", type=int, nargs="+", help="only compare JSON with free text in so many slots"
    )
    parser.add_argument("--rows", type=int, default=16, help="rows of --slots")
    parser.add_argument("--rounds", type=int, default=3, help="rounds of --slots")
    parser.add_argument("--quick", action="store_true", help="one text and one run, as a check")
    arguments = parser.parse_args()
    if arguments.slots:
        compare_slots(arguments.slots, arguments.rows, arguments.rounds)
        return
    runs = RUNS[:1] if arguments.quick else RUNS
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
        samples = tomllib.loads(TEXTS.read_text(encoding="utf-8"))["texts"]
        ground_texts(smollm2, samples[:1] if arguments.quick else samples)
        titles = "model | engine | temperature | valid | after a retry | cut | invalid"
        heading(*titles.split(" | "), "ms per token", "without a grammar", "ratio")
        for name, engine_name, temperature in runs:
            path = files[name][engine_name == "ctransformers"]
            with open_bench(engine_name, path, temperature, arguments.max_tokens) as bench:
                bench.answer_all(accepted)
            counts = map(bench.outcomes.get, ("first time", "retried", "cut", "invalid"))
            constrained = bench.constrained.milliseconds
            free = bench.unconstrained.milliseconds
            ratio = constrained / max(free, 1e-9)
            numbers = f"{constrained:.2f}", f"{free:.2f}", f"{ratio:.2f}"
            table(name, engine_name, temperature, *counts, *numbers)


def ground_texts(model: Path, samples: list[dict[str, str]]) -> None:
    """Print how many strings of SmolLM2's answers come from the text, grounded or not."""
    heading("strings", "in the text", "not in the text", "null", "cut")
    with open_bench("llama.cpp", model, 0.0, 300) as bench:
        for grounded in (False, True):
            count = bench.ground(samples, grounded=grounded)
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
