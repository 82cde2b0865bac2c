"""Measure JSON answers: schemas held, cost a token, strings that stand in the text."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
import tomllib
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2] / "tests"))

from gguf_files import write_mistral, write_smollm2_for_ctransformers
from schemas import Schema, schemas

from mistral_cli.config import Config
from mistral_cli.engines import (
    Engine,
    Finish,
    LoadOptions,
    Piece,
    Request,
    Sampling,
    choose,
    open_engine,
)
from mistral_cli.errors import OutputInvalid, UsageError
from mistral_cli.gguf import GGUF, read
from mistral_cli.instruct.formats import encode
from mistral_cli.machine import usable_cores
from mistral_cli.models.references import resolve
from mistral_cli.structured.fields import describe_fields, schema_from_fields
from mistral_cli.structured.shape import Expected, Shape
from mistral_cli.templates import find
from mistral_cli.terminal import Terminal

FREE_EVERY = 3  # one schema in so many is also run without its grammar


@dataclass
class Speed:
    """Tokens and the seconds they took, the first token of each answer left out."""

    tokens: int = 0
    seconds: float = 0.0

    @property
    def milliseconds(self) -> float:
        return 1000 * self.seconds / self.tokens if self.tokens else 0.0


@dataclass
class Row:
    """What one engine did with all schemas."""

    name: str
    outcomes: Counter[str] = field(default_factory=Counter)
    held: Speed = field(default_factory=Speed)
    compared: Speed = field(default_factory=Speed)
    free: Speed = field(default_factory=Speed)


def run(engine: Engine, request: Request, speed: Speed) -> tuple[str, str]:
    """The text of an answer and how it ended."""
    text, reason, first = "", "", 0.0
    for event in engine.stream(request):
        if isinstance(event, Piece):
            first = first or time.perf_counter()
            text += event.text
        elif isinstance(event, Finish):
            reason = event.reason
            speed.tokens += max(event.completion_tokens - 1, 0)
            speed.seconds += time.perf_counter() - (first or time.perf_counter())
    return text, reason


def prompt(
    text: str, schema: Schema, model: GGUF, engine: Engine, **values: Any
) -> tuple[int, ...]:
    given = {"fields": describe_fields(schema), **values}
    messages = find("json-extract").fill(text, task_values={k: v for k, v in given.items() if v})
    return tuple(encode(messages, model, engine.tokenize))


def hold_all(
    engine: Engine,
    model: GGUF,
    accepted: dict[str, Schema],
    limit: int,
    sampling: Sampling,
    row: Row,
) -> None:
    for number, (name, schema) in enumerate(accepted.items()):
        expected = Expected(Shape(schema), "")
        ids = prompt(f"An example of: {name}", schema, model, engine)
        once = Speed()
        text, reason = run(engine, Request(ids, limit, sampling, expected.grammar), once)
        add(row.held, once)
        if number % FREE_EVERY == 0 and once.tokens:
            add(row.compared, once)
            run(engine, Request(ids, once.tokens + 1, sampling), row.free)
        if reason == "length":
            row.outcomes["cut"] += 1
            continue
        try:
            expected.read(text)
            row.outcomes["valid"] += 1
        except OutputInvalid as error:
            row.outcomes["refused after validation"] += 1
            print(f"  {row.name}: {name}: {error.message}", file=sys.stderr)


def add(total: Speed, part: Speed) -> None:
    total.tokens += part.tokens
    total.seconds += part.seconds


def sort_out(count: int) -> tuple[dict[str, Schema], dict[str, str], int]:
    """The accepted schemas, why the others are refused, how many need validation."""
    accepted: dict[str, Schema] = {}
    refused: dict[str, str] = {}
    noted = 0
    for name, schema in schemas(count):
        try:
            noted += bool(Shape(schema).check())
            accepted[name] = schema
        except UsageError as error:
            refused[name] = error.message
    return accepted, refused, noted


def ground_all(engine: Engine, model: GGUF) -> dict[str, Counter[str]]:
    """How many extracted strings stand in their text, with grounding and without."""
    texts = tomllib.loads(Path(__file__).with_name("texts.toml").read_text(encoding="utf-8"))
    counts: dict[str, Counter[str]] = {"free": Counter(), "grounded": Counter()}
    for sample in texts["texts"]:
        text, fields = sample["text"].strip(), sample["fields"]
        for kind, count in counts.items():
            grounded = kind == "grounded"
            schema = schema_from_fields(fields, nullable=grounded)
            expected = Expected(Shape(schema, grounded=grounded), text)
            told = schema_from_fields(fields)
            ids = prompt(text, told, model, engine, grounded=grounded)
            greedy = Sampling(0.0, 0, 1.0, 1.0, 1)
            answer, reason = run(engine, Request(ids, 300, greedy, expected.grammar), Speed())
            if reason == "length":
                count["cut"] += len(schema["properties"])
                continue
            for value in expected.read(answer).data.values():
                count["null" if value is None else "in" if value in text else "out"] += 1
    return counts


@contextmanager
def opened(name: str, path: Path) -> Iterator[tuple[Engine, GGUF]]:
    model = read(path)
    choice = choose(name, model, gpu_layers="0", require_gpu=False)
    context = min(model.context_length, 2048)
    with open_engine(choice, model, LoadOptions(context, usable_cores())) as engine:
        yield engine, model


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--schemas", type=int, default=300)
    parser.add_argument("--max-tokens", type=int, default=256)
    arguments = parser.parse_args()
    accepted, refused, noted = sort_out(arguments.schemas)
    print(f"{len(accepted) + len(refused)} schemas: {len(accepted)} accepted "
          f"({noted} of them with keywords left to validation), {len(refused)} refused.\n")  # fmt: skip
    for name, why in refused.items():
        print(f"- {name}: {why}")
    terminal = Terminal(None, sys.stdout, sys.stderr, quiet=True)
    with tempfile.TemporaryDirectory() as folder:
        smollm2 = resolve("smollm2", Config(), terminal)
        smollm2_old = write_smollm2_for_ctransformers(smollm2, Path(folder) / "smollm2.gguf")
        tiny = write_mistral(Path(folder) / "random.gguf", context_length=2048)
        greedy, hot = Sampling(0.0, 0, 1.0, 1.0, 1), Sampling(1.0, 0, 1.0, 1.0, 1)
        runs = [
            ("SmolLM2", "llama.cpp", smollm2, greedy),
            ("SmolLM2", "ctransformers", smollm2_old, greedy),
            ("random weights", "llama.cpp", tiny, hot),
            ("random weights", "ctransformers", tiny, hot),
        ]
        print("\n| model | engine | valid | cut | refused after validation | ms a token "
              "| without grammar | ratio |\n|---|---|---|---|---|---|---|---|")  # fmt: skip
        grounding = {}
        for name, engine_name, path, sampling in runs:
            row = Row(f"{name}, {engine_name}")
            with opened(engine_name, path) as (engine, model):
                hold_all(engine, model, accepted, arguments.max_tokens, sampling, row)
                if name == "SmolLM2":
                    grounding[row.name] = ground_all(engine, model)
            held, free = row.compared.milliseconds, row.free.milliseconds
            counts = [row.outcomes[key] for key in ("valid", "cut", "refused after validation")]
            print(f"| {name} | {engine_name} | {counts[0]} | {counts[1]} | {counts[2]} "
                  f"| {held:.2f} | {free:.2f} | {held / free:.2f} |", flush=True)  # fmt: skip
    print(
        "\n| strings of SmolLM2 | in the text | not in the text | null | cut |\n|---|---|---|---|---|"
    )
    for name, kinds in grounding.items():
        for kind, count in kinds.items():
            print(f"| {name}, {kind} | {count['in']} | {count['out']} | {count['null']} | {count['cut']} |")  # fmt: skip
    print(json.dumps({"cores": usable_cores()}), file=sys.stderr)


if __name__ == "__main__":
    main()
