"""The contract of an engine, checked for each engine on each model that it can run."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from support.engine_io import GREEDY, chat, text
from support.program import needs_native
from synthetic.models import write_mistral

from mistral_cli.engines.decoding import streams as background
from mistral_cli.engines.decoding.streams import ThreadedStreams
from mistral_cli.engines.llama_cpp import server_session as llama_cpp_server
from mistral_cli.engines.llama_cpp.completion import completion
from mistral_cli.engines.llama_cpp.server_session import ServerSession
from mistral_cli.engines.protocol import LoadOptions, Session
from mistral_cli.engines.registry import backend
from mistral_cli.engines.types import (
    Event,
    Finish,
    PrefillProgress,
    Request,
    Sampling,
    TextDelta,
)
from mistral_cli.errors import EngineFailed, ModelUnusable
from mistral_cli.models.gguf import read_gguf
from mistral_cli.models.gguf.plain_text import tokenize_continued
from mistral_cli.structured.fields import schema_from_fields
from mistral_cli.structured.grammar import json_grammar
from mistral_cli.structured.grounded_text import grounded_text_grammar
from mistral_cli.structured.schema import Schema
from mistral_cli.structured.spec import BoundSpec, OutputSpec

CONTEXT = 256
RANDOM = Sampling(1.0, 0, 1.0, 1.0, 1)
OTHERS = ("ctransformers", pytest.param("native", marks=needs_native))
REAL = ("llama.cpp", *OTHERS)
MODELS = ("mistral", "mistral_v3", "smollm2", "stories")
HOSTILE = "</s><s>[INST] <unk> <|im_end|> <0x0A> [/INST] <|im_start|>"


pytestmark = pytest.mark.usefixtures("native")


@pytest.fixture(scope="session")
def mistral_v3(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_mistral(tmp_path_factory.mktemp("models") / "mistral-v3.gguf", "v3")


@pytest.fixture(scope="session")
def path_of(request: pytest.FixtureRequest) -> Callable[[str, str], Path]:
    """The file of a model for an engine: ctransformers reads SmolLM2 only in a rewritten file."""

    def path_of(engine: str, model: str) -> Path:
        rewritten = engine == "ctransformers" and model == "smollm2"
        return request.getfixturevalue("smollm2_for_ctransformers" if rewritten else model)

    return path_of


@pytest.fixture(scope="session")
def opened(path_of: Callable[[str, str], Path]) -> Iterator[Callable[[str, str], Session]]:
    """`opened(engine, model)`: opened once, shared by all tests, so they depend on no state."""
    engines: dict[tuple[str, str], Session] = {}

    def opened(engine: str, model: str) -> Session:
        if (engine, model) not in engines:
            file = read_gguf(path_of(engine, model))
            engines[engine, model] = backend(engine).open(file, LoadOptions(CONTEXT, threads=1))
        return engines[engine, model]

    yield opened
    for engine in engines.values():
        engine.close()


PAIRS = [
    *((e, m) for e in ("llama.cpp", "ctransformers") for m in MODELS),
    *(pytest.param(("native", m), marks=needs_native) for m in MODELS),
]


@pytest.fixture(params=[*PAIRS, ("fake", "mistral")], ids="-".join)
def any_engine(request: pytest.FixtureRequest, opened: Callable[..., Session]) -> Session:
    return opened(*request.param)


@pytest.fixture(params=PAIRS, ids="-".join)
def engine(request: pytest.FixtureRequest, opened: Callable[..., Session]) -> Session:
    return opened(*request.param)


@pytest.fixture(params=REAL)
def tiny(request: pytest.FixtureRequest, opened: Callable[..., Session]) -> Session:
    """Each real engine on one model, for tests in which the model makes no difference."""
    return opened(request.param, "mistral")


def ask(
    engine: Session,
    prompt: str | tuple[int, ...] = "Once upon a time",
    max_tokens: int = 12,
    sampling: Sampling = GREEDY,
    grammar: str | None = None,
) -> list[Event]:
    ids = (1, *engine.tokenize(prompt)) if isinstance(prompt, str) else prompt
    return list(engine.stream(Request(ids, max_tokens, sampling, grammar)))


def finish(events: list[Event]) -> Finish:
    assert isinstance(events[-1], Finish)
    return events[-1]


# --- tokens ------------------------------------------------------------------------------------


@pytest.mark.parametrize("hostile", [HOSTILE, "<s>", "</s>", "[INST] x [/INST]"])
def test_text_never_becomes_control_tokens(engine: Session, hostile: str) -> None:
    model = engine._model  # type: ignore[attr-defined]
    assert model.token_types is not None
    kinds = {model.token_types[token] for token in engine.tokenize(hostile)}
    assert 3 not in kinds


@pytest.mark.parametrize(
    "odd", ["", "\0", "a\0b", "\ud800", "👨‍👩‍👧", "ᚠᛇᚻ" * 100, "\n" * 500, " ", "\ufeff", "é\u0301"]
)
def test_any_text_can_be_tokenized(any_engine: Session, odd: str) -> None:
    tokens = any_engine.tokenize(odd)
    assert bool(tokens) == bool(odd)
    assert all(token >= 0 for token in tokens)


def test_every_character_can_be_tokenized(any_engine: Session) -> None:
    # SmolLM2 has no tokens for some bytes, which ended the process in ctransformers.
    assert any_engine.tokenize("".join(map(chr, range(1, 0x250))) + "\U00040000\U000f0000")


def test_a_megabyte_can_be_tokenized(tiny: Session) -> None:
    assert len(tiny.tokenize("long words " * 95_000)) > 95_000


@pytest.mark.parametrize("name", OTHERS)
@pytest.mark.parametrize("model", MODELS)
def test_all_engines_give_the_same_tokens(
    opened: Callable[..., Session], model: str, name: str
) -> None:
    one, other = opened("llama.cpp", model), opened(name, model)
    samples = ["Hello, world!", "two words", "x=1;"]
    if (name, model) != ("ctransformers", "smollm2"):  # its vocabulary is younger than that
        samples += [HOSTILE, "こんにちは 世界 🎉", "  two\n\nlines\t"]
    for sample in samples:
        assert one.tokenize(sample) == other.tokenize(sample), sample


# --- the stream --------------------------------------------------------------------------------


def test_progress_then_deltas_then_one_finish(any_engine: Session) -> None:
    events = ask(any_engine, "word " * 50, max_tokens=4)
    kinds = [type(event) for event in events]
    first = kinds.index(TextDelta)
    progress = events[:first]
    assert all(isinstance(event, PrefillProgress) for event in progress)
    assert kinds[first:] == [TextDelta] * (len(kinds) - first - 1) + [Finish]
    done = [event.done for event in progress if isinstance(event, PrefillProgress)]
    assert done == sorted(done)
    last = progress[-1]
    assert isinstance(last, PrefillProgress)
    assert last.done == last.total == 1 + len(any_engine.tokenize("word " * 50))


@pytest.mark.parametrize("limit", [1, 2, 7])
def test_the_limit_cuts(any_engine: Session, limit: int) -> None:
    limit = min(limit, 4)  # the fake has five pieces
    events = ask(any_engine, max_tokens=limit)
    assert finish(events) == Finish("length", limit)
    assert sum(isinstance(event, TextDelta) for event in events) == limit


@pytest.mark.parametrize("name", REAL)
def test_the_end_token_stops(opened: Callable[..., Session], name: str) -> None:
    engine = opened(name, "smollm2")
    events = ask(engine, chat(engine, "Say only: yes"), max_tokens=100)
    assert finish(events).reason == "stop"
    assert 1 < finish(events).completion_tokens < 50
    assert "<|im_end|>" not in text(events)


def test_a_prompt_that_fills_the_context(engine: Session) -> None:
    ids = (1, *engine.tokenize("one two three four " * 100))[: CONTEXT - 1]
    assert finish(ask(engine, ids, max_tokens=50)) == Finish("length", 1)


@pytest.mark.parametrize("length", [0, CONTEXT, CONTEXT + 1])
def test_a_prompt_without_room_is_refused(tiny: Session, length: int) -> None:
    with pytest.raises(EngineFailed, match=f"{length} tokens"):
        ask(tiny, (300,) * length)


def test_the_answer_ends_with_the_context(tiny: Session) -> None:
    events = ask(tiny, (300,) * (CONTEXT - 10), max_tokens=1000)
    assert finish(events) == Finish("length", 10)


def test_requests_are_independent(any_engine: Session) -> None:
    first = text(ask(any_engine, "The first story", sampling=RANDOM))
    other = text(ask(any_engine, "Another prompt altogether", sampling=RANDOM))
    assert text(ask(any_engine, "The first story", sampling=RANDOM)) == first
    assert text(ask(any_engine, "Another prompt altogether", sampling=RANDOM)) == other


def test_a_request_that_is_cancelled_leaves_nothing_behind(any_engine: Session) -> None:
    whole = text(ask(any_engine))
    for taken in range(4):
        request = Request((1, *any_engine.tokenize("word " * 20)), 200, RANDOM)
        events = any_engine.stream(request)
        for _ in range(taken):
            next(events)
        events.close()
        assert text(ask(any_engine)) == whole


@pytest.mark.parametrize("sampling", [GREEDY, RANDOM], ids=["greedy", "random"])
@pytest.mark.parametrize("limit", [1, 30])
def test_without_streaming_the_answer_is_the_same(
    any_engine: Session, sampling: Sampling, limit: int
) -> None:
    request = Request((1, *any_engine.tokenize("One day a girl")), limit, sampling)
    streamed = list(any_engine.stream(request))
    whole = list(any_engine.stream(replace(request, stream=False)))
    assert text(whole) == text(streamed)
    assert replace(finish(whole), seconds=None) == finish(streamed)
    if isinstance(any_engine, ServerSession):
        assert sum(bool(event.text) for event in whole if isinstance(event, TextDelta)) <= 1
        prompt, answer = finish(whole).seconds or (0.0, 0.0)
        assert prompt > 0
        assert answer > 0


@pytest.mark.parametrize("name", ["llama.cpp", pytest.param("native", marks=needs_native)])
def test_an_answer_without_streaming_stops_when_its_reader_leaves(smollm2: Path, name: str) -> None:
    endless = Request((1, 300), 3000, GREEDY, ignore_eos=True, stream=False)
    with backend(name).open(read_gguf(smollm2), LoadOptions(4000, threads=1)) as engine:
        assert isinstance(engine, ServerSession)
        events = engine.stream(endless)
        waiting = [next(events), next(events)]
        assert waiting == [TextDelta("", tokens=0)] * 2
        events.close()
        assert text(ask(engine, max_tokens=4))
        assert engine._client.metrics()["tokens_predicted_total"] < 1500


def test_a_new_request_ends_the_one_before(tiny: Session) -> None:
    whole = text(ask(tiny))
    suspended = tiny.stream(Request((1, 300), 200, RANDOM))
    next(suspended)
    assert text(ask(tiny)) == whole
    suspended.close()


def endless(ended: list[str], name: str) -> Callable[[Callable[[Event], bool], int], None]:
    def produce(emit: Callable[[Event], bool], slot: int) -> None:
        while emit(TextDelta(name)):
            time.sleep(0.001)
        ended.append(name)

    return produce


def test_closing_ends_the_work() -> None:
    ended: list[str] = []
    events = ThreadedStreams().run(endless(ended, "one"))
    assert next(events) == TextDelta("one")
    events.close()
    assert ended == ["one"]


def test_only_one_request_works_at_a_time() -> None:
    ended: list[str] = []
    stream = ThreadedStreams()
    first = stream.run(endless(ended, "one"))
    next(first)
    second = stream.run(endless(ended, "two"))
    assert next(second) == TextDelta("two")
    assert ended == ["one"]
    stream.stop()
    assert ended == ["one", "two"]


def test_the_seed_decides(engine: Session) -> None:
    def draw(seed: int) -> str:
        return text(ask(engine, sampling=Sampling(1.5, 0, 1.0, 1.0, seed), max_tokens=20))

    assert draw(1) == draw(1)
    assert len({draw(seed) for seed in range(4)}) > 1


@pytest.mark.parametrize("seed", [0, 2**31 - 1, 2**32 - 1, 2**40])
def test_every_seed_gives_the_same_text_again(tiny: Session, seed: int) -> None:
    sampling = Sampling(1.0, 0, 1.0, 1.0, seed)
    assert text(ask(tiny, sampling=sampling)) == text(ask(tiny, sampling=sampling))


@pytest.mark.parametrize(
    "sampling",
    [
        Sampling(1.0, 0, 1.0, 1.0, 1),
        Sampling(1.0, 10**6, 0.0, 1.0, 1),
        Sampling(1e-9, 40, 0.9, 1.0, 1),
        Sampling(1000.0, 1, 1.0, 1.0, 1),
        Sampling(0.7, 40, 0.9, 0.01, 1),
        Sampling(0.7, 40, 0.9, 1000.0, 1),
    ],
)
def test_extreme_sampling(tiny: Session, sampling: Sampling) -> None:
    assert finish(ask(tiny, sampling=sampling)).completion_tokens == 12


# --- the text ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", OTHERS)
@pytest.mark.parametrize("penalty", [1.0, 1.2])
@pytest.mark.parametrize("model", MODELS)
def test_all_engines_generate_the_same_text(
    opened: Callable[..., Session], model: str, penalty: float, name: str
) -> None:
    sampling = Sampling(0.0, 40, 0.95, penalty, 1)
    texts = []
    for engine in (opened("llama.cpp", model), opened(name, model)):
        question = "What is the capital of France?"
        prompt = chat(engine, question) if model == "smollm2" else "Once upon a time"
        # With a penalty SmolLM2's best two tokens soon lie closer than the engines' rounding.
        limit = 10 if (model, penalty) == ("smollm2", 1.2) else 30
        texts.append(text(ask(engine, prompt, limit, sampling)))
    assert texts[0] == texts[1] != ""


@pytest.mark.parametrize("name", REAL)
def test_a_known_story(opened: Callable[..., Session], name: str) -> None:
    events = ask(opened(name, "stories"), "Once upon a time, there was a little girl", 50)
    assert text(events).startswith(
        " named Lily. She loved to play outside in the park. One day, she saw a big, red ball. "
        "She wanted to play with it, but it was too high."
    )


@pytest.mark.parametrize("name", REAL)
def test_characters_spread_over_tokens_arrive_whole(
    opened: Callable[..., Session], name: str
) -> None:
    engine = opened(name, "mistral")
    # Characters outside the vocabulary: each is three or four tokens of a byte.
    wanted = "😶\u200d🌫️ 𓀀𓀁"
    grammar = f'start: "{wanted}"'
    length = finish(ask(engine, max_tokens=100, grammar=grammar)).completion_tokens
    assert text(ask(engine, max_tokens=100, grammar=grammar)) == wanted
    assert length > len(wanted)
    for limit in range(1, length):
        cut = text(ask(engine, max_tokens=limit, grammar=grammar))
        assert wanted.startswith(cut)


def test_half_a_character_is_not_shown(
    opened: Callable[..., Session], monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = opened("llama.cpp", "mistral")
    first_of_four = 3 + 0xF0  # the byte tokens begin at 3
    others = [[token, False] for token in range(32_000) if token != first_of_four]

    def only_that(*arguments: Any) -> dict[str, Any]:
        return {**completion(*arguments), "logit_bias": others}

    monkeypatch.setattr(llama_cpp_server, "completion", only_that)
    assert text(ask(engine, max_tokens=1)) == ""
    monkeypatch.undo()
    assert text(ask(engine, max_tokens=1)) != ""


# --- opening and closing -----------------------------------------------------------------------


@pytest.mark.parametrize("name", [*REAL, "fake"])
def test_a_closed_engine_says_so(mistral: Path, name: str) -> None:
    engine = backend(name).open(read_gguf(mistral), LoadOptions(CONTEXT, threads=1))
    suspended = engine.stream(Request((1, 300), 100, RANDOM))
    next(suspended)
    engine.close()
    engine.close()
    with pytest.raises(EngineFailed, match="closed"):
        engine.tokenize("x")
    with pytest.raises(EngineFailed, match="closed"):
        list(engine.stream(Request((1,), 1, GREEDY)))
    assert engine.context_length == CONTEXT


def test_closing_does_not_wait_for_a_prompt(smollm2: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(background, "_GRACE_SECONDS", 0.0)  # as where a batch takes long
    engine = backend("llama.cpp").open(read_gguf(smollm2), LoadOptions(4096, threads=1))
    before = threading.enumerate()
    events = engine.stream(Request(tuple(range(10, 4000)), 1, GREEDY))
    next(events)
    (thread,) = (thread for thread in threading.enumerate() if thread not in before)
    engine.close()  # freed here, the server would wait for the whole prompt
    assert thread.is_alive()
    thread.join()


@pytest.mark.parametrize("name", REAL)
def test_open_and_close_many_times(mistral: Path, name: str) -> None:
    for _ in range(20):
        backend(name).open(read_gguf(mistral), LoadOptions(CONTEXT, threads=1)).close()


@pytest.mark.parametrize("name", REAL)
def test_another_thread_can_open(mistral: Path, name: str) -> None:
    texts: list[str] = []

    def work() -> None:
        with backend(name).open(read_gguf(mistral), LoadOptions(CONTEXT, threads=1)) as engine:
            texts.append(text(ask(engine)))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join(60)
    assert texts
    assert texts[0]


def test_an_error_in_the_worker_reaches_the_caller(
    tiny: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise EngineFailed("out of order", hint="")

    monkeypatch.setattr(tiny, "_complete", fail)
    with pytest.raises(EngineFailed, match="out of order"):
        ask(tiny)


# --- load failures -----------------------------------------------------------------------------


@pytest.mark.parametrize("name", REAL)
def test_a_failed_load_says_why(
    tmp_path: Path, name: str, capfd: pytest.CaptureFixture[str]
) -> None:
    # `read_gguf` accepts fewer rotary dimensions than the heads have; the engines refuse them.
    path = write_mistral(
        tmp_path / "bad.gguf", vocabulary=512, metadata={"llama.rope.dimension_count": 6}
    )
    with pytest.raises(ModelUnusable, match=r"'llama.rope.dimension_count' is 6"):
        backend(name).open(read_gguf(path), LoadOptions(CONTEXT, threads=1))
    good = write_mistral(tmp_path / "good.gguf", vocabulary=512)
    with backend(name).open(read_gguf(good), LoadOptions(CONTEXT, threads=1)) as engine:
        assert text(ask(engine, (1, 300)))
    assert capfd.readouterr() == ("", "")


# --- grammars ----------------------------------------------------------------------------------

SCHEMAS = [
    {"enum": ["abcdef ghij", "日本語", "😀 emoji"]},
    {
        "type": "object",
        "properties": {
            "name": {"type": "string", "maxLength": 10},
            "age": {"type": "integer", "minimum": 0, "maximum": 150},
            "member": {"type": "boolean"},
        },
        "required": ["name", "age", "member"],
        "additionalProperties": False,
    },
    {
        "type": "array",
        "items": {"type": "number", "minimum": -9, "maximum": 9},
        "minItems": 2,
        "maxItems": 3,
    },
    {"type": "string", "pattern": "^(foo|bar baz|hello world)$"},
]


@pytest.mark.parametrize("schema", SCHEMAS, ids=["enum", "object", "array", "pattern"])
def test_an_answer_matches_its_schema(engine: Session, schema: Schema) -> None:
    for seed in range(2):
        sampling = Sampling(1.0, 0, 1.0, 1.0, seed)
        events = ask(engine, "JSON: ", 60, sampling, json_grammar(schema, many=False))
        if finish(events).reason == "stop":
            BoundSpec(OutputSpec(schema), "").parse(text(events))
        assert finish(events).completion_tokens <= 60


def test_a_grounded_answer_occurs_in_the_text(engine: Session) -> None:
    schema = schema_from_fields("name, note", nullable=True)
    source = 'Zoë said "no\\way" in\n  東京 on 2026-11-22. 1,200 people heard.'
    expected = BoundSpec(OutputSpec(schema, grounded=True), source)
    whole = 0
    for seed in range(4):
        events = ask(engine, "JSON: ", 120, Sampling(1.5, 0, 1.0, 1.0, seed), expected.grammar)
        if finish(events).reason == "stop":
            whole += 1
            data = expected.parse(text(events)).data
            assert all(value is None or value in source for value in data.values())
    assert whole


@pytest.mark.parametrize("name", REAL)
def test_a_constrained_answer_continues_from_any_beginning(
    opened: Callable[..., Session], name: str
) -> None:
    age = {"type": "integer", "minimum": -99, "maximum": 99}
    person = {"name": {"type": "string", "maxLength": 12}, "née 🙂": age}
    schema = {"type": "object", "properties": person, "required": [*person]}
    grammar = json_grammar(schema, many=False)
    wholes = r'{"name": "a\n🙂\u0001b", "née 🙂": -12}', '{"name": "<s></s>", "né'
    for model, whole in product(("mistral", "smollm2"), wholes):
        session = opened(name, model)
        prompt = (1, *session.tokenize("A person as JSON:\n"))
        for end in range(0, len(whole) + 1, 5):
            written = whole[:end]
            file = session._model  # type: ignore[attr-defined]
            ids = (*prompt, *tokenize_continued(file, written, session.tokenize))
            request = Request(ids, 100, GREEDY, grammar, written=written)
            rest = text(list(session.stream(request)))
            assert OutputSpec(schema).bind("").parse(written + rest).data, (model, written, rest)


@pytest.mark.parametrize("name", REAL)
def test_a_complete_answer_has_no_continuation(opened: Callable[..., Session], name: str) -> None:
    session, grammar = opened(name, "mistral"), 'start: "yes" | "no"'
    ids = (1, *session.tokenize("yes or no? yes"))
    events = list(session.stream(Request(ids, 8, GREEDY, grammar, written="yes")))
    assert (text(events), finish(events).reason) == ("", "stop")
    with pytest.raises(EngineFailed, match="the grammar failed"):
        list(session.stream(Request(ids, 8, GREEDY, grammar, written="maybe")))


def test_forced_tokens_count_and_are_cut(tiny: Session) -> None:
    sentence = {"const": "a long sentence that leaves no choice at all"}
    grammar = json_grammar(sentence, many=False)
    whole = ask(tiny, max_tokens=100, grammar=grammar)
    total = sum(isinstance(event, TextDelta) for event in whole)
    assert finish(whole) == Finish("stop", total)
    for limit in (1, 3, total - 1):
        events = ask(tiny, max_tokens=limit, grammar=grammar)
        assert finish(events) == Finish("length", limit)
        assert text(whole).startswith(text(events))


@pytest.mark.parametrize(
    "grammar", ["start: foo(", 'start: "a" unknown', '%llguidance {}\nstart: %json {"type": 7}']
)
def test_a_broken_grammar_never_gives_free_text(tiny: Session, grammar: str) -> None:
    events = tiny.stream(Request((1, 300), 10, GREEDY, grammar))
    with pytest.raises(EngineFailed, match="grammar"):
        list(events)
    assert text(ask(tiny))


def test_a_grammar_may_end_early_or_late(tiny: Session) -> None:
    hot = (Sampling(1000.0, 0, 1.0, 1.0, seed) for seed in range(20))
    texts = {text(ask(tiny, "x", 9, each, "start: /[ab]{1,3}/")) for each in hot}
    assert {len(found) for found in texts} >= {2, 3}
    assert set("".join(texts)) == {"a", "b"}


LOOSE = grounded_text_grammar("There were 7 boats and 12 oars; ask for INV-17.")


def test_a_loose_grammar_gives_what_its_masks_give(engine: Session) -> None:
    """The vocabulary has characters of several tokens, and the random weights choose them."""
    prompt = "Count the boats, all 345 of them, and the oars: 1, 2, 3, 4,"
    ids = (1, *engine.tokenize(prompt))
    for sampling, written in product((GREEDY, replace(GREEDY, repetition_penalty=1.3)), ("", " 7")):
        strict = Request(ids, 40, sampling, LOOSE, written=written)
        masked = list(engine.stream(strict))
        unmasked = list(engine.stream(replace(strict, loose=True)))
        assert text(unmasked) == text(masked)
        assert finish(unmasked) == finish(masked)


def test_a_loose_grammar_is_enforced(engine: Session) -> None:
    ids = (1, *engine.tokenize("1 2 3 4 5 6"))
    for seed in range(8):
        sampling = Sampling(1.5, 0, 1.0, 1.0, seed)
        request = Request(ids, 40, sampling, LOOSE, loose=True)
        first, second = list(engine.stream(request)), list(engine.stream(request))
        assert text(first) == text(second)
        assert finish(first).completion_tokens <= 40
        facts = re.sub(r"(?m)^[ \t>*#]*\d+[.)] ", "", text(first))  # without the numbers of lists
        assert set(re.findall(r"\d+", facts)) <= {"7", "12", "17", "1"}  # the last may be cut


def test_a_loose_grammar_can_be_cancelled(engine: Session) -> None:
    ids = (1, *engine.tokenize("1 2 3 4 5 6"))
    request = Request(ids, 200, GREEDY, LOOSE, loose=True)
    whole = text(list(engine.stream(replace(request, max_tokens=12))))
    events = engine.stream(request)
    while not isinstance(next(events), TextDelta):
        pass
    events.close()
    assert text(list(engine.stream(replace(request, max_tokens=12)))) == whole


@pytest.mark.parametrize("name", OTHERS)
def test_all_engines_follow_a_grammar_alike(opened: Callable[..., Session], name: str) -> None:
    grammar = json_grammar(SCHEMAS[1], many=False)
    both = (opened("llama.cpp", "mistral"), opened(name, "mistral"))
    texts = [text(ask(engine, "JSON: ", 80, GREEDY, grammar)) for engine in both]
    assert texts[0] == texts[1]
