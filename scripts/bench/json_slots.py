"""Measure JSON in parallel slots: rows under a grammar against free text of the same length."""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from queue import Empty, SimpleQueue

from mistral_cli.engines.llama_cpp.in_process import LlamaCppSession
from mistral_cli.engines.protocol import LoadOptions
from mistral_cli.engines.types import Finish, Request, Sampling, TextDelta
from mistral_cli.models.chat import Message
from mistral_cli.models.chat.formats import encode
from mistral_cli.models.gguf import read_gguf
from mistral_cli.models.references import resolve_reference
from mistral_cli.structured.fields import schema_from_fields
from mistral_cli.structured.spec import OutputSpec
from mistral_cli.system.config import Config
from mistral_cli.system.terminal import Terminal

NAMES = ["Alice Martin", "Bob Stone", "Chloe Dubois", "Dan Brown", "Eve Lang", "Finn Mole"]
NAMES += ["Gil Roy", "Hana Abe", "Ivo Kos", "Jan Novak", "Kim Li", "Lea Weiss", "Nia Long"]
FIELDS = "full_name, age int, job, company, city, problem, date, summary"
LONGEST_STRING, CONTEXT, LIMIT, THREADS = 120, 1024, 160, 2


@dataclass(frozen=True)
class Run:
    """The answers to some rows, each with its tokens, and the time that they took together."""

    answers: dict[int, tuple[str, int]]
    seconds: float
    cpu: float

    @property
    def tokens(self) -> int:
        return sum(tokens for _, tokens in self.answers.values())


class Bench:
    """A session with `slots`; every run has prompts of its own, so none finds one in a slot."""

    def __init__(self, model: str, slots: int) -> None:
        terminal = Terminal(None, sys.stdout, sys.stderr, quiet=True)
        self.model = read_gguf(resolve_reference(model, Config(), terminal))
        load = LoadOptions(CONTEXT, THREADS, parallel=slots)
        self.session, self.slots, self.runs = LlamaCppSession(self.model, load), slots, 0
        self.sampling = Sampling(0.0, 0, 1.0, 1.0, 1)
        schema = schema_from_fields(FIELDS)
        for each in schema["properties"].values():
            if each["type"] == "string":
                each["maxLength"] = LONGEST_STRING
        self.grammar = OutputSpec(schema).grammar

    def requests(self, rows: int) -> list[Request]:
        self.runs += 1
        texts = [
            f"Row {self.runs}-{row}. From the text, extract {FIELDS} as JSON:\n{name}, "
            f"{30 + row}, works as a software developer for Acme Corp in Lyon and wrote about two "
            f"broken laptops on 3 May 202{row % 6}."
            for row, name in zip(range(rows), NAMES * rows, strict=False)
        ]
        prompts = [
            encode([Message("user", text)], self.model, self.session.tokenize, None)
            for text in texts
        ]
        return [
            Request(tuple(ids), LIMIT, self.sampling, self.grammar, stream=False) for ids in prompts
        ]

    def run(self, requests: Sequence[Request]) -> Run:
        todo, answers = SimpleQueue[tuple[int, Request]](), dict[int, tuple[str, int]]()
        for each in enumerate(requests):
            todo.put(each)

        def work() -> None:
            while True:
                try:
                    number, request = todo.get_nowait()
                except Empty:
                    return
                text, tokens = "", 0
                for event in self.session.stream(request):
                    if isinstance(event, TextDelta):
                        text += event.text
                    if isinstance(event, Finish):
                        tokens = event.completion_tokens
                answers[number] = text, tokens

        threads = [threading.Thread(target=work) for _ in range(self.slots)]
        started, cpu = time.perf_counter(), time.process_time()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return Run(answers, time.perf_counter() - started, time.process_time() - cpu)

    def compare(self, rows: int) -> dict[str, Run]:
        """Rows under the grammar and as many tokens of free text.

        The grammar is followed by the server, as with this vocabulary, and by us, as with those
        of SentencePiece.
        """
        found = dict[str, Run]()
        for name in ("by the server", "by us"):
            self.session._leaves_grammars = name == "by the server"
            found[name] = self.run(self.requests(rows))
        lengths = [tokens for _, (_, tokens) in sorted(found["by us"].answers.items())]
        found["free"] = self.run(
            [
                replace(request, grammar=None, ignore_eos=True, max_tokens=most)
                for request, most in zip(self.requests(rows), lengths, strict=True)
            ]
        )
        return found


def compare_slots(numbers: Sequence[int], rows: int, rounds: int) -> None:
    """Print how fast rows under a grammar are beside free text, in so many slots."""
    print("| slots | the grammar is followed | tokens/s | of free text | by CPU time | objects |")
    print("|---|---|---|---|---|---|")
    for slots in numbers:
        bench = Bench("smollm2", slots)
        bench.compare(slots)  # the first answers are checked for NaN, which costs time
        for _ in range(rounds):
            runs = bench.compare(rows)
            free = runs.pop("free")
            for name, run in runs.items():
                speed = run.tokens / run.seconds
                by_wall = speed * free.seconds / free.tokens
                by_cpu = free.cpu / free.tokens * run.tokens / run.cpu
                objects = sum(_is_object(text) for text, _ in run.answers.values())
                shown = f"{speed:.0f} | {by_wall:.2f} | {by_cpu:.2f} | {objects} of {rows}"
                print(f"| {slots} | {name} | {shown} |", flush=True)
        bench.session.close()


def _is_object(text: str) -> bool:
    try:
        return isinstance(json.loads(text), dict)
    except ValueError:
        return False
