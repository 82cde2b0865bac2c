"""Concurrent streams: in threads, in llama.cpp's slots, and how many of them."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from support.engine_io import GREEDY, chat
from synthetic.models import write_mistral

from mistral_cli.engines import (
    loader as opening,
)
from mistral_cli.engines import (
    parallelism as slots,
)
from mistral_cli.engines.decoding.streams import ThreadedStreams
from mistral_cli.engines.fake import Fake
from mistral_cli.engines.hardware.gpu import Gpu
from mistral_cli.engines.hardware.memory import needed
from mistral_cli.engines.protocol import Backend, LoadOptions, Session
from mistral_cli.engines.registry import backend
from mistral_cli.engines.selection import EngineSelection, fit_gpu_layers
from mistral_cli.engines.types import (
    Event,
    Finish,
    PrefillProgress,
    Request,
    TextDelta,
)
from mistral_cli.errors import ContextExceeded
from mistral_cli.models.gguf import GGUF, read_gguf
from mistral_cli.structured.grammar import json_grammar

CONTEXT = 256
OBJECT = json_grammar(
    {
        "type": "object",
        "properties": {
            "name": {"type": "string", "maxLength": 12},
            "age": {"type": "integer", "minimum": 0, "maximum": 150},
        },
        "required": ["name", "age"],
        "additionalProperties": False,
    },
    many=False,
)

# --- the streams of one engine -----------------------------------------------------------------


class Endless:
    """Calls that go on until they are stopped, with a record of each."""

    def __init__(self, streams: ThreadedStreams) -> None:
        self._streams = streams
        self.slots: dict[str, int] = {}
        self.ended: list[str] = []

    def start(self, name: str) -> Iterator[Event]:
        def produce(emit: Callable[[Event], bool], slot: int) -> None:
            self.slots[name] = slot
            while emit(TextDelta(name)):
                time.sleep(0.001)
            self.ended.append(name)

        events = self._streams.run(produce)
        assert next(events) == TextDelta(name)
        return events


def test_each_call_has_a_slot_to_itself() -> None:
    calls = Endless(streams := ThreadedStreams(3))
    one, two, three = (calls.start(name) for name in ("one", "two", "three"))
    assert sorted(calls.slots.values()) == [0, 1, 2]
    two.close()  # type: ignore[attr-defined]
    assert calls.ended == ["two"]
    four = calls.start("four")
    assert calls.slots["four"] == calls.slots["two"]
    assert [next(events) for events in (one, three, four)] == [
        TextDelta("one"),
        TextDelta("three"),
        TextDelta("four"),
    ]
    streams.stop()
    assert sorted(calls.ended) == ["four", "one", "three", "two"]


def test_one_call_too_many_ends_the_oldest() -> None:
    calls = Endless(ThreadedStreams(2))
    kept = [calls.start(name) for name in ("one", "two", "three")]
    assert calls.ended == ["one"]
    kept.append(calls.start("four"))
    assert calls.ended == ["one", "two"]
    assert TextDelta("three") in kept[2]


def test_a_call_that_was_closed_goes_before_the_oldest(monkeypatch: pytest.MonkeyPatch) -> None:
    """Native code may need longer to stop than closing waits."""
    monkeypatch.setattr("mistral_cli.engines.decoding.streams._GRACE_SECONDS", 0.0)
    streams, release = ThreadedStreams(2), threading.Event()
    calls = Endless(streams)
    oldest = calls.start("oldest")

    def slow(emit: Callable[[Event], bool], slot: int) -> None:
        emit(TextDelta("slow"))
        release.wait(30)

    closed = streams.run(slow)
    next(closed)
    closed.close()
    threading.Timer(0.2, release.set).start()
    calls.start("new")
    assert calls.ended == []
    assert TextDelta("oldest") == next(oldest)
    streams.stop()


# --- llama.cpp's slots -------------------------------------------------------------------------


@pytest.fixture(scope="module")
def models(
    mistral: Path, smollm2: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Path]:
    v3 = write_mistral(tmp_path_factory.mktemp("models") / "mistral-v3.gguf", "v3")
    return {"mistral": mistral, "mistral_v3": v3, "smollm2": smollm2}


def llama_cpp(path: Path, parallel: int = 1, context: int = CONTEXT) -> Session:
    return backend("llama.cpp").open(read_gguf(path), LoadOptions(context, 1, parallel=parallel))


def ask(engine: Session, request: Request) -> list[Event]:
    return list(engine.stream(request))


def answer(engine: Session, request: Request) -> tuple[str, Event]:
    events = ask(engine, request)
    return "".join(event.text for event in events if isinstance(event, TextDelta)), events[-1]


def requests(engine: Session, name: str) -> list[Request]:
    """Prompts with a common beginning, of different lengths, with and without grammars.

    All greedy: batches of other shapes round otherwise, and a draw may fall between.
    """

    def prompt(row: int) -> tuple[int, ...]:
        if name == "smollm2":  # questions whose answers no rounding changes
            return chat(engine, f"What is the capital of {CAPITALS[row % len(CAPITALS)]}?")
        return (1, *engine.tokenize("The same beginning. " * 8 + f"Row {row}. " * (1 + row % 4)))

    limit = 8 if name == "smollm2" else 30
    free = [Request(prompt(row), limit, GREEDY) for row in range(8)]
    held = [Request(prompt(row), 40, GREEDY, OBJECT) for row in range(4)]
    return [*free, *held]


CAPITALS = ("France", "Germany", "Spain", "Italy")


@pytest.mark.parametrize("parallel", [2, 4, 8])
@pytest.mark.parametrize("name", ["mistral", "mistral_v3", "smollm2"])
def test_concurrent_answers_equal_serial_ones(
    models: dict[str, Path], name: str, parallel: int
) -> None:
    with llama_cpp(models[name]) as engine:
        asked = requests(engine, name)
        serial = [answer(engine, request) for request in asked]
    with llama_cpp(models[name], parallel) as engine, ThreadPoolExecutor(parallel) as pool:
        found = list(pool.map(lambda request: answer(engine, request), asked))
    assert found == serial
    assert len({text for text, _ in serial}) > 4


@pytest.mark.parametrize("grammar", [None, "start: /[a-z ]{60,}/"], ids=["free", "grammar"])
def test_closing_one_stops_no_other(mistral: Path, grammar: str | None) -> None:
    with llama_cpp(mistral, parallel=3) as engine, ThreadPoolExecutor(3) as pool:
        prompt = (1, *engine.tokenize("Once upon a time"))
        whole = ask(engine, Request(prompt, 60, GREEDY, grammar))
        assert isinstance(whole[-1], Finish)

        def cut_short(row: int) -> None:
            events = engine.stream(Request((*prompt, 300 + row), 60, GREEDY, grammar))
            for _ in range(row % 4):
                next(events)
            events.close()

        kept = []
        for row in range(12):
            pool.submit(cut_short, row)
            kept.append(pool.submit(answer, engine, Request(prompt, 60, GREEDY, grammar)))
        texts = {future.result() for future in kept}
    assert texts == {("".join(e.text for e in whole if isinstance(e, TextDelta)), whole[-1])}


def test_every_slot_has_a_whole_context(mistral: Path) -> None:
    with llama_cpp(mistral, parallel=4) as engine, ThreadPoolExecutor(4) as pool:
        assert engine.context_length == CONTEXT
        full = (1, *engine.tokenize("one two three four " * 100))[: CONTEXT - 10]
        barrier = threading.Barrier(4)

        def fill(_: int) -> Event:
            barrier.wait(30)
            return ask(engine, Request(full, 100, GREEDY))[-1]

        assert list(pool.map(fill, range(4))) == [Finish("length", 10)] * 4


def test_a_common_prefix_is_prefilled_once_per_slot(mistral: Path) -> None:
    with llama_cpp(mistral, parallel=2) as engine, ThreadPoolExecutor(2) as pool:
        common = (1, *engine.tokenize("A template that all rows share. " * 30))
        barrier = threading.Barrier(2)

        def first_progress(row: int) -> int:
            barrier.wait(30)
            asked = Request((*common, 400 + row, 300), 40, GREEDY)
            events = [e for e in engine.stream(asked) if isinstance(e, PrefillProgress)]
            return events[0].done

        cold = list(pool.map(first_progress, range(2)))
        warm = list(pool.map(first_progress, range(2, 8)))
    assert max(cold) <= 128 < len(common) - 2
    assert min(warm) >= len(common)


@pytest.mark.parametrize(("name", "most"), [("llama.cpp", 128), ("ctransformers", 1)])
def test_an_engine_runs_its_maximum_of_streams(mistral: Path, name: str, most: int) -> None:
    engine = backend(name)
    assert engine.max_parallel == most
    with engine.open(read_gguf(mistral), LoadOptions(32, 1, parallel=most)) as opened:
        assert ask(opened, Request((1, 300), 2, GREEDY))


def test_many_caches_have_to_fit(mistral: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = read_gguf(mistral)
    one = needed(model, CONTEXT, 0).kv_ram
    monkeypatch.setattr(opening, "available_memory", lambda: 3 * one)
    taken = EngineSelection(backend("fake"), "", 0, "")
    opening.open_engine(taken, model, LoadOptions(CONTEXT, 1, parallel=3), print)
    with pytest.raises(ContextExceeded, match="256 tokens, 4 times, needs") as caught:
        opening.open_engine(taken, model, LoadOptions(CONTEXT, 1, parallel=4), print)
    assert "--parallel" in caught.value.hint


# --- how many slots ----------------------------------------------------------------------------


class Any(Fake):
    """An engine with one GPU of `usable` bytes."""

    usable = 0

    def gpus(self) -> tuple[Gpu, ...]:
        total = 2**40
        margin = 512 * 2**20 + total // 20
        return (Gpu("a GPU", total, self.usable + margin),)


class One(Any):
    """An engine for one text at a time."""

    name = "single"
    max_parallel = 1


def on(kind: type[Backend]) -> EngineSelection:
    return EngineSelection(kind(), "", 0, "", gpus=kind().gpus())


@pytest.fixture
def tiny(mistral: Path, monkeypatch: pytest.MonkeyPatch) -> GGUF:
    """A small model on a machine with memory for all."""
    monkeypatch.setattr(slots, "available_memory", lambda: 2**40)
    monkeypatch.setattr(slots, "usable_cores", lambda: 2)
    return read_gguf(mistral)


def test_as_many_slots_as_help(tiny: GGUF, monkeypatch: pytest.MonkeyPatch) -> None:
    assert slots.slots_for(None, on(Any), tiny, CONTEXT, 0, [10] * 100) == (
        8,
        "8 slots: a small model",
    )
    assert slots.slots_for(None, on(Any), tiny, CONTEXT, 0, [10] * 3) == (
        3,
        "3 slots: one per text",
    )
    assert slots.slots_for(None, on(Any), tiny, CONTEXT, 0, [])[0] == 1
    assert slots.slots_for(None, on(Any), tiny, CONTEXT, 0, [10, 5000, 5000]) == (
        1,
        "1 slot: long texts keep the cores busy one by one",
    )
    assert slots.slots_for(2, on(Any), tiny, CONTEXT, 0, [5000] * 3)[0] == 2
    assert slots.slots_for(16, on(Any), tiny, CONTEXT, 0, [10] * 100) == (
        16,
        "16 slots: as requested",
    )
    monkeypatch.setattr(slots, "_SMALL", 0)
    assert slots.slots_for(None, on(Any), tiny, CONTEXT, 0, [10] * 100) == (
        1,
        "1 slot: a large model on 2 cores",
    )
    monkeypatch.setattr(slots, "usable_cores", lambda: 16)
    assert slots.slots_for(None, on(Any), tiny, CONTEXT, 0, [10] * 100)[0] == 4
    monkeypatch.setattr(Any, "usable", 2**40)
    assert slots.slots_for(None, on(Any), tiny, CONTEXT, tiny.block_count + 1, [10] * 100) == (
        8,
        "8 slots: the GPU computes all layers",
    )


@pytest.mark.parametrize("wanted", [None, 5])
def test_as_many_slots_as_the_engine_supports(tiny: GGUF, wanted: int | None) -> None:
    found = slots.slots_for(wanted, on(One), tiny, CONTEXT, 0, [10] * 100)
    assert found == (1, "1 slot: single works on one text at a time")


@pytest.mark.parametrize(
    ("wanted", "caches", "fit"), [(None, 8, 4), (None, 1, 1), (6, 8, 6), (9, 8, 8), (9, 0, 1)]
)
@pytest.mark.parametrize("where", ["memory", "GPU memory"])
def test_as_many_slots_as_fit(
    tiny: GGUF,
    monkeypatch: pytest.MonkeyPatch,
    where: str,
    wanted: int | None,
    caches: int,
    fit: int,
) -> None:
    layers = tiny.block_count + 1 if where == "GPU memory" else 0
    one = needed(tiny, CONTEXT, layers)
    if layers:
        monkeypatch.setattr(Any, "usable", one.gpu + one.kv_gpu * (caches - 1))
    else:
        free = one.ram + one.kv_ram * (caches - 1)
        monkeypatch.setattr(slots, "available_memory", lambda: free)
    count, why = slots.slots_for(wanted, on(Any), tiny, CONTEXT, layers, [10] * 100)
    assert count == fit
    if count != wanted:
        assert f"of free {where}" in why
        assert ("half of" in why) == (wanted is None)


def test_layers_leave_room_for_every_cache(tiny: GGUF, monkeypatch: pytest.MonkeyPatch) -> None:
    everything = tiny.block_count + 1
    monkeypatch.setattr(Any, "usable", needed(tiny, CONTEXT, everything, 4).gpu)
    asked = replace(on(Any), gpu_layers=everything, automatic_layers=True)
    assert fit_gpu_layers(asked, tiny, CONTEXT, 4).gpu_layers == everything
    assert fit_gpu_layers(asked, tiny, CONTEXT, 5).gpu_layers < everything
