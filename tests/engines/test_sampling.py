"""The sampling settings on the real engines, and those that a model's file proposes."""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Iterator
from dataclasses import fields, replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from support.engine_io import GREEDY, text
from support.gguf_parts import GGUFParts, entry, words
from support.plans import request_of
from support.program import Run, needs_native
from support.terminals import make_terminal
from synthetic.models import write_mistral
from synthetic.scripted import write_scripted

from mistral_cli.engines.protocol import LoadOptions, Session
from mistral_cli.engines.registry import backend
from mistral_cli.engines.sampling import SETTINGS, FileSampling
from mistral_cli.engines.types import Request, Sampling
from mistral_cli.errors import UsageError
from mistral_cli.generation.config import GenerationConfig
from mistral_cli.generation.options import TaskOptions
from mistral_cli.generation.task import Task
from mistral_cli.generation.templates import find_template
from mistral_cli.models.gguf import read_gguf
from mistral_cli.models.gguf.types import ARRAY, BOOL, FLOAT32, INT32
from mistral_cli.structured.grammar import json_grammar

REAL = ("llama.cpp", "ctransformers", pytest.param("native", marks=needs_native))
LOOP = [" the", " of", " and", " to", " the"]
GRAMMAR = json_grammar({"type": "string", "pattern": "^[a-z ]{1,200}$"}, many=False)
HOT = {"temperature": 50.0, "seed": 3}

pytestmark = pytest.mark.usefixtures("native")


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of few tokens: it repeats itself early, and DRY reads all of them for a request."""
    return write_mistral(tmp_path_factory.mktemp("m") / "small.gguf", vocabulary=1000)


@pytest.fixture(scope="module")
def opened(small: Path) -> Iterator[Callable[[str], Session]]:
    sessions: dict[str, Session] = {}

    def opened(engine: str) -> Session:
        if engine not in sessions:
            options = LoadOptions(256, threads=1)
            sessions[engine] = backend(engine).open(read_gguf(small), options)
        return sessions[engine]

    yield opened
    for session in sessions.values():
        session.close()


def answer(session: Session, limit: int = 30, grammar: str | None = None, **settings: Any) -> str:
    prompt = (1, *session.tokenize("Once upon a time"))
    request = Request(prompt, limit, replace(GREEDY, **settings), grammar)
    return text(list(session.stream(request)))


# --- each setting has its effect ---------------------------------------------------------------


@pytest.mark.parametrize("engine", REAL)
@pytest.mark.parametrize("grammar", [None, GRAMMAR], ids=["text", "JSON"])
def test_each_way_to_be_greedy(
    opened: Callable[[str], Session], engine: str, grammar: str | None
) -> None:
    session = opened(engine)
    greedy = answer(session, grammar=grammar)
    for one_token in ({"min_p": 1.0}, {"top_k": 1}, {"top_p": 0.0}):
        assert answer(session, grammar=grammar, **HOT, **one_token) == greedy, one_token
    assert answer(session, grammar=grammar, **HOT) != greedy


PENALTIES: list[dict[str, Any]] = [
    {"repetition_penalty": 1.5},
    {"presence_penalty": 2.0},
    {"frequency_penalty": 2.0},
]


@pytest.mark.parametrize("grammar", [None, GRAMMAR], ids=["text", "JSON"])
@pytest.mark.parametrize("engine", REAL)
def test_the_window_of_the_penalties(
    opened: Callable[[str], Session], engine: str, grammar: str | None
) -> None:
    ask = partial(answer, opened(engine), 100, grammar)
    greedy = ask()
    for penalty in PENALTIES:
        assert ask(**penalty) != greedy, penalty
        assert ask(**penalty, repeat_last_n=0) == greedy
        assert ask(**penalty, repeat_last_n=2) != ask(**penalty, repeat_last_n=1000), penalty


@pytest.mark.parametrize("grammar", [None, GRAMMAR], ids=["text", "JSON"])
@pytest.mark.parametrize("settings", [*PENALTIES, {**HOT, "min_p": 1.0, "repeat_last_n": 7}])
def test_all_engines_agree(
    opened: Callable[[str], Session], settings: dict[str, Any], grammar: str | None
) -> None:
    texts = {answer(opened(e), 20, grammar, **settings) for e in ("llama.cpp", "ctransformers")}
    assert len(texts) == 1
    assert "" not in texts


def test_dry_ends_a_loop(small: Path, tmp_path: Path) -> None:
    """A model that says "the of and to" forever; as JSON its tokens are sampled one by one."""
    path = write_scripted(tmp_path / "loop.gguf", small, "{{ messages }}", LOOP)
    loop = "the of and to "
    with backend("llama.cpp").open(read_gguf(path), LoadOptions(256, threads=1)) as session:
        for grammar in (None, GRAMMAR):
            ask = partial(answer, session, 60, grammar)
            dry = partial(ask, dry_multiplier=0.8)
            assert 12 * loop in ask(), grammar
            assert 8 * loop not in dry(), grammar
            assert 12 * loop in dry(dry_penalty_last_n=0), grammar
            assert 10 * loop in dry(dry_allowed_length=40), grammar
            assert 3 * loop not in dry(dry_base=3.0), grammar
            assert 5 * loop in dry(dry_base=1.2), grammar


# --- which engines have them -------------------------------------------------------------------


def test_only_an_engine_that_has_dry_is_used(mistral: Path) -> None:
    with pytest.raises(UsageError, match="ctransformers does not have the DRY sampler") as caught:
        request_of(Task("generate"), mistral, "hi", engine="ctransformers", dry_multiplier=0.8)
    assert caught.value.hint == "Use --engine llama.cpp, or leave dry_multiplier at 0."
    _, planner = request_of(Task("generate"), mistral, "hi", dry_multiplier=0.8)
    assert planner.config.selection.backend.dry
    # A multiplier of 0, or settings of DRY without one, need nothing.
    request_of(Task("generate"), mistral, "hi", engine="ctransformers", dry_multiplier=0.0)
    request_of(Task("generate"), mistral, "hi", engine="ctransformers", dry_base=2.0)


def test_a_setting_of_dry_alone_has_no_effect(run: Run, mistral: Path) -> None:
    arguments = ["generate", "-m", mistral, "--engine", "fake", "--dry-run", "hi"]
    result = run(*arguments, "--dry-base", "2")
    assert "warning: --dry-base has no effect" in result.stderr
    assert "warning" not in run(*arguments).stderr


def test_a_template_that_uses_dry_needs_such_an_engine_too(mistral: Path, tmp_path: Path) -> None:
    template = tmp_path / "dry.txt"
    template.write_text("+++\n[options]\ndry_multiplier = 1\n+++\n{{ text }}", encoding="utf-8")
    with pytest.raises(UsageError, match="DRY"):
        request_of(Task("generate"), mistral, "hi", template=template, engine="ctransformers")
    request_of(
        Task("generate"),
        mistral,
        "hi",
        template=template,
        engine="ctransformers",
        dry_multiplier=0.0,
    )


# --- what a model's file proposes --------------------------------------------------------------


def real(value: float) -> Callable[[str], bytes]:
    return partial(entry, kind=FLOAT32, value=struct.pack("<f", value))


def whole(value: int) -> Callable[[str], bytes]:
    return partial(entry, kind=INT32, value=struct.pack("<i", value))


def proposing(source: Path, path: Path, **values: Callable[[str], bytes]) -> Path:
    parts = GGUFParts(source)
    for key, value in values.items():
        parts.put(value(f"general.sampling.{key}"))
    path.write_bytes(parts.build())
    return path


def test_where_each_setting_comes_from(mistral: Path, tmp_path: Path) -> None:
    model = proposing(
        mistral, tmp_path / "m.gguf", temp=real(0.6), top_p=real(0.95), min_p=real(0.05)
    )
    template = tmp_path / "own.txt"
    template.write_text("+++\n[options]\ntop_p = 0.5\n+++\n{{ text }}", encoding="utf-8")
    prepared, _ = request_of(Task("generate"), model, "hi", template=template, min_p=0.2, seed=1)
    sampling, sources = prepared.request.sampling, prepared.sources
    assert (sampling.temperature, sources["temperature"]) == (0.6, "model")
    assert (sampling.top_p, sources["top_p"]) == (0.5, "template")
    assert (sampling.min_p, sources["min_p"]) == (0.2, "option")
    assert (sampling.top_k, sources["top_k"]) == (55, "default")
    assert (sampling.repetition_penalty, sources["repetition_penalty"]) == (1.0, "default")
    assert (sampling.seed, sources["seed"]) == (1, "option")
    assert set(sources) == {"max_tokens", "on_limit", *(each.name for each in fields(Sampling))}
    prepared, _ = request_of(Task("generate"), mistral, "hi")
    article = prepared.request.sampling
    assert (article.temperature, article.top_k, article.top_p) == (0.9, 55, 0.93)
    assert article.repetition_penalty == 1.2
    assert prepared.sources["seed"] == "random"


@pytest.mark.parametrize("name", ["summarize", "summarize-part", "translate", "json-extract"])
def test_a_task_keeps_the_values_of_its_template(name: str) -> None:
    proposed = {"temperature": 1.5, "top_k": 5, "top_p": 0.5, "min_p": 0.5}
    proposed["repetition_penalty"] = 1.7
    samplings = [
        GenerationConfig.resolve(find_template(name), TaskOptions(seed=1), values).sampling
        for values in (proposed, {})
    ]
    assert samplings[0] == samplings[1]


@pytest.mark.parametrize(
    ("key", "value", "used"),
    [
        ("temp", real(0.7), 0.7),
        ("temp", whole(1), 1),
        ("temp", real(math.nan), None),
        ("temp", real(math.inf), None),
        ("temp", real(-0.5), None),
        ("temp", partial(words, value="0.7"), None),
        ("temp", partial(entry, kind=BOOL, value=b"\1"), None),
        ("top_k", whole(20), 20),
        ("top_k", real(20.0), None),
        ("top_k", whole(-1), None),
        ("top_p", real(1.5), None),
        ("min_p", partial(entry, kind=ARRAY, value=struct.pack("<IQi", INT32, 1, 0)), None),
        ("penalty_repeat", real(0.0), None),
        ("penalty_last_n", whole(2**31 - 1), None),
    ],
)
def test_a_value_of_the_file_is_checked(
    key: str, value: Callable[[str], bytes], used: float | None, mistral: Path, tmp_path: Path
) -> None:
    found = FileSampling.of(read_gguf(proposing(mistral, tmp_path / "m.gguf", **{key: value})))
    assert list(found.values.values()) == ([] if used is None else [used])
    assert [f"'general.sampling.{key}' is " in each for each in found.invalid] == (
        [True] if used is None else []
    )


def test_samplers_that_are_not_supported_are_named_with_verbose(
    mistral: Path, tmp_path: Path
) -> None:
    values = {"mirostat": whole(2), "sequence": partial(words, value="top_k;temp")}
    found = FileSampling.of(read_gguf(proposing(mistral, tmp_path / "m.gguf", **values)))
    assert (dict(found.values), found.invalid) == ({}, ())
    for verbose, named in ((True, True), (False, False)):
        terminal = make_terminal(verbose=verbose)
        found.report(terminal)
        stderr = terminal.stderr.getvalue()  # type: ignore[attr-defined]
        assert [f"general.sampling.{key}" in stderr for key in values] == [named, named]


def test_every_setting_is_an_option_and_a_part_of_sampling() -> None:
    assert set(SETTINGS) == {each.name for each in fields(Sampling)} - {"seed"}
    assert set(SETTINGS) <= {each.name for each in fields(TaskOptions)}
    neutral = Sampling(1.0, 0, 1.0, 1.0, 1)
    for name, setting in SETTINGS.items():
        assert setting.allows(getattr(neutral, name)), name
