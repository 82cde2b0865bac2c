"""Measure --grounded: invented numbers in summaries of real texts, and CPU time per token."""

from __future__ import annotations

import argparse
import re
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from mistral_cli.engines.gpu_layers import NONE
from mistral_cli.engines.loader import open_session
from mistral_cli.engines.protocol import Session
from mistral_cli.engines.reasoning import SessionCalls, stream_answer
from mistral_cli.engines.types import Finish, Request, TextDelta
from mistral_cli.generation.config import resolve_config
from mistral_cli.generation.options import TaskOptions
from mistral_cli.generation.planner import RequestPlanner
from mistral_cli.generation.prompt import PromptBuilder
from mistral_cli.generation.task import Task
from mistral_cli.system.config import Config
from mistral_cli.system.terminal import Terminal
from mistral_cli.texts.inputs import Text

ROOT = Path(__file__).parents[2]
CONTEXT = 1536
PASSAGE = range(400, 2000)  # characters
LEAST_NUMBERS = 3

NUMBER = re.compile(r"\d+(?:[.,'\u2019 \u00a0\u202f]\d{3})*(?:[.,:]\d+)*")
LIST_NUMBER = re.compile(r"(?m)^[ \t>*#]*\d{1,2}[.)] ")


@dataclass
class Mode:
    """Summaries, their invented numbers, and the CPU time of all tokens after the first."""

    summaries: int = 0
    inventing: int = 0
    numbers: int = 0
    tokens: int = 0
    seconds: float = 0.0
    wall: float = 0.0


def passages(paths: list[Path]) -> Iterator[str]:
    """Paragraphs, or several short ones, with at least three numbers."""
    for path in paths:
        text = ""
        for paragraph in re.split(r"\n\s*\n", path.read_text(encoding="utf-8", errors="replace")):
            text = f"{text}\n\n{paragraph}".strip()
            if len(text) >= PASSAGE.start:
                if len(text) < PASSAGE.stop and len(NUMBER.findall(text)) >= LEAST_NUMBERS:
                    yield text
                text = ""


def invented(source: str, summary: str) -> list[str]:
    """The numbers of `summary` whose digits no number or run of digits of `source` has.

    This knows nothing of the grammar, and is more lenient: it would let a part of a code pass.
    """
    known = {digits(each) for each in NUMBER.findall(source)} | {*re.findall(r"\d+", source)}
    found = NUMBER.findall(LIST_NUMBER.sub("", summary))
    return [each for each in found if digits(each) not in known]


def digits(number: str) -> str:
    return re.sub(r"\D", "", number)


def answer(session: Session, request: Request, mode: Mode) -> str:
    """The answer to `request`; its time is added to `mode`."""
    text, first = "", (0.0, 0.0)
    for event in stream_answer(SessionCalls(session.stream, session.tokenize), request):
        if isinstance(event, TextDelta):
            first = first if text else (time.process_time(), time.perf_counter())
            text += event.text
        elif isinstance(event, Finish) and text:
            mode.seconds += time.process_time() - first[0]
            mode.wall += time.perf_counter() - first[1]
            mode.tokens += event.completion_tokens - 1
    return text


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("files", type=Path, nargs="*", help="texts (default: the documentation)")
    parser.add_argument("-m", "--model", default="smollm2")
    parser.add_argument("--engine", default="llama.cpp")
    parser.add_argument("--summaries", type=int, default=200)
    parser.add_argument("--max-tokens", type=int, default=100)
    parser.add_argument("--temperature", type=float)
    parser.add_argument("--masks", action="store_true", help="also with a mask for each token")
    arguments = parser.parse_args()
    options = TaskOptions(
        model=arguments.model,
        engine=arguments.engine,
        gpu_layers=NONE,
        context_length=CONTEXT,
        max_tokens=arguments.max_tokens,
        temperature=arguments.temperature,
        seed=1,
        no_cache=True,
    )
    terminal = Terminal(None, sys.stdout, sys.stderr, quiet=True)
    task = Task("summarize", grounded=True)
    builder = PromptBuilder.of(task, options)
    config = resolve_config(
        builder.template, options, Config(), terminal, strategy=task.strategy, constrained=True
    )
    free, grounded, masked = Mode(), Mode(), Mode()
    texts = list(passages(arguments.files or sorted(ROOT.glob("docs/**/*.md"))))
    with open_session(config.selection, config.model, config.load, print) as session:
        planner = RequestPlanner(
            builder, config, task.strategy, session.tokenize, config.load, shared_prefix=()
        )
        for seed in range(arguments.summaries):
            text = texts[seed % len(texts)]
            request = planner.prepare(planner.encode(builder.build(Text(text, "file")))).request
            request = replace(request, sampling=replace(request.sampling, seed=seed))
            requests = [(grounded, request), (free, replace(request, grammar=None, loose=False))]
            requests += [(masked, replace(request, loose=False))] if arguments.masks else []
            for mode, each in requests if seed % 2 else requests[::-1]:
                summary = answer(session, each, mode)
                wrong = invented(text, summary)
                mode.summaries += 1
                mode.inventing += bool(wrong)
                mode.numbers += len(wrong)
                if wrong and mode is not free:
                    print(f"  {wrong} in {summary!r}", file=sys.stderr)
    print("| mode | summaries | with invented numbers | numbers | tokens | CPU ms | ms a token |")
    print("|---|---|---|---|---|---|---|")
    for name, mode in (("free", free), ("grounded", grounded), ("masks", masked)):
        if mode.tokens:
            cpu, wall = (1000 * each / mode.tokens for each in (mode.seconds, mode.wall))
            print(
                f"| {name} | {mode.summaries} | {mode.inventing} | {mode.numbers} | {mode.tokens}"
                f" | {cpu:.2f} | {wall:.2f} |"
            )


if __name__ == "__main__":
    main()
