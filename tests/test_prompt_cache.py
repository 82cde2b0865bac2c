"""The prompt cache: what is restored equals what was read, and nothing in it can do harm."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import Result
from gguf_files import write_mistral

from mistral_cli.engines import (
    Choice,
    Event,
    Finish,
    LoadOptions,
    Piece,
    Prefix,
    PromptProgress,
    Request,
    Sampling,
    engine_class,
)
from mistral_cli.engines.llama_cpp import LlamaCpp
from mistral_cli.gguf import read
from mistral_cli.prompt_cache import Store
from mistral_cli.prompt_cache.identity import fingerprint, key_of

GREEDY = Sampling(0.0, 0, 1.0, 1.0, 1)
LLAMA = Choice(LlamaCpp, "a test", 0, "")
DOCUMENT = (Path(__file__).parent / "documents" / "rfc.txt").read_text(encoding="utf-8")
CONTEXT = 1024


@pytest.fixture(params=["stories", "smollm2"])
def model(request: pytest.FixtureRequest) -> Path:
    path: Path = request.getfixturevalue(request.param)
    return path


def opened(model: Path, states: Path | None, parallel: int = 1) -> LlamaCpp:
    return LlamaCpp(read(model), LoadOptions(CONTEXT, 1, parallel=parallel, states=states))


def prompt_of(engine: LlamaCpp, tokens: int) -> tuple[int, ...]:
    return tuple(engine.tokenize(DOCUMENT)[:tokens])


def ask(engine: Any, request: Request) -> tuple[str, int]:
    """The answer, and how many tokens of the prompt needed no reading."""
    events: list[Event] = list(engine.stream(request))
    assert isinstance(events[-1], Finish)
    cached = [event.cached for event in events if isinstance(event, PromptProgress)][-1]
    return "".join(event.text for event in events if isinstance(event, Piece)), cached


@pytest.mark.parametrize("lengths", [(37,), (64,), (30, 151), (199,)], ids=str)
def test_restored_prompts_get_the_same_answers(
    model: Path, lengths: tuple[int, ...], tmp_path: Path
) -> None:
    with opened(model, tmp_path) as engine:
        prompt = prompt_of(engine, 200)
        prefixes = tuple(Prefix(prompt[:n], tmp_path / f"{n}.state") for n in lengths)
        request = Request(prompt, 48, GREEDY, prefixes=prefixes)
        cold = ask(engine, request)
    assert {path.name for path in tmp_path.iterdir()} == {f"{n}.state" for n in lengths}
    with opened(model, tmp_path) as engine:
        warm = ask(engine, request)
    without_files = tuple(Prefix(prefix.token_ids) for prefix in prefixes)
    with opened(model, None) as engine:
        off = ask(engine, dataclasses.replace(request, prefixes=without_files))
    assert cold[1] == off[1] == 0
    assert warm == (cold[0], lengths[-1])
    assert off[0] == cold[0]


def test_slots_share_what_one_of_them_has_read(stories: Path, tmp_path: Path) -> None:
    with opened(stories, tmp_path, parallel=3) as engine:
        prompt = prompt_of(engine, 300)
        prefixes = (Prefix(prompt[:250], tmp_path / "a.state", least_seconds=1e9),)
        answers: list[tuple[str, int]] = []

        def one(rest: int) -> None:
            request = Request(prompt[: 260 + rest], 20, GREEDY, prefixes=prefixes)
            answers.append(ask(engine, request))

        threads = [threading.Thread(target=one, args=(n,)) for n in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(cached for _, cached in answers) == [0, 250, 250]


def test_a_prefix_of_another_prompt_does_not_count(stories: Path, tmp_path: Path) -> None:
    with opened(stories, tmp_path) as engine:
        prompt = prompt_of(engine, 200)
        wrong = Prefix(prompt[50:150], tmp_path / "a.state")
        assert ask(engine, Request(prompt, 5, GREEDY, prefixes=(wrong,)))[1] == 0
    assert not list(tmp_path.iterdir())


def test_a_state_that_cannot_be_restored_is_read_again(
    stories: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Of another number of slots: whole, but not for this engine."""
    with opened(stories, tmp_path, parallel=2) as engine:
        prompt = prompt_of(engine, 200)
        request = Request(prompt, 9, GREEDY, prefixes=(Prefix(prompt[:150], tmp_path / "a.state"),))
        ask(engine, request)
    with opened(stories, tmp_path) as engine:
        assert ask(engine, request)[1] == 0
    assert capfd.readouterr() == ("", "")


def test_a_full_disk_leaves_no_half_file(stories: Path, tmp_path: Path) -> None:
    """The limit on a file's size fails a write as a full disk does."""
    code = f"""
import resource
from mistral_cli.engines import *
from mistral_cli.engines.llama_cpp import LlamaCpp
from mistral_cli.gguf import read
from pathlib import Path
folder = Path({str(tmp_path)!r})
with LlamaCpp(read(Path({str(stories)!r})), LoadOptions(1024, 1, states=folder)) as engine:
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
    prompt = tuple(engine.tokenize("once upon a time " * 60))
    prefix = Prefix(prompt[:200], folder / "a.state")
    greedy = Sampling(0.0, 0, 1.0, 1.0, 1)
    events = list(engine.stream(Request(prompt, 5, greedy, prefixes=(prefix,))))
    assert isinstance(events[-1], Finish)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert not list(tmp_path.iterdir())


# What is kept, with files of any content: the store does not know what an engine writes.


@pytest.fixture
def store(tmp_path: Path) -> Store:
    (tmp_path / "states").mkdir()
    return Store(tmp_path / "states", 10_000)


def put(store: Store, tokens: tuple[int, ...], content: bytes = b"state" * 100) -> Path:
    new = store.new("key", tokens)
    new.write_bytes(content)
    store.add(new, "key", tokens, "model")
    found = store.find("key", tokens)
    assert found
    return found


def test_an_entry_is_found_by_its_key_and_tokens_alone(store: Store) -> None:
    path = put(store, (1, 2, 3))
    assert path.read_bytes() == b"state" * 100
    assert store.find("other", (1, 2, 3)) is None
    assert store.find("key", (1, 2)) is None
    for file in store.folder.glob("*.*"):
        assert file.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("damage", ["cut", "longer", "changed", "gone", "sidecar cut", "not told"])
def test_a_torn_entry_is_deleted_and_not_used(store: Store, damage: str) -> None:
    path = put(store, (1, 2, 3))
    sidecar = path.with_suffix(".json")
    content = path.read_bytes()
    if damage == "cut":
        path.write_bytes(content[:-1])
    elif damage == "longer":
        path.write_bytes(content + b"x")
    elif damage == "changed":
        path.write_bytes(b"S" + content[1:])
    elif damage == "gone":
        path.unlink()
    elif damage == "sidecar cut":
        sidecar.write_bytes(sidecar.read_bytes()[:-9])
    else:
        sidecar.unlink()
    assert store.find("key", (1, 2, 3)) is None
    put(store, (1, 2, 3))


def test_what_was_used_longest_ago_goes_first(store: Store) -> None:
    for number in range(4):
        put(store, (number,), b"x" * 3000)
        for path in store.folder.glob("*.json"):  # all of them older by a minute
            os.utime(path, (path.stat().st_atime, path.stat().st_mtime - 60))
        store.find("key", (0,))
    kept = [number for number in range(4) if store.find("key", (number,))]
    assert kept == [0, 2, 3]
    assert sum(path.stat().st_size for path in store.folder.glob("*.state")) <= store.limit


def test_leftovers_of_killed_processes_are_swept(store: Store) -> None:
    for name in ("a-1.new", "a-2.unfinished", "b.state"):
        (store.folder / name).write_bytes(b"half")
        os.utime(store.folder / name, (0, 0))
    (store.folder / "c-3.new").write_bytes(b"of a process at work")
    put(store, (1,))
    names = {path.name for path in store.folder.iterdir()}
    assert "c-3.new" in names
    assert not names & {"a-1.new", "a-2.unfinished", "b.state"}


def test_two_processes_may_keep_the_same_at_once(store: Store) -> None:
    code = f"""
from pathlib import Path
from mistral_cli.prompt_cache import Store
store = Store(Path({str(store.folder)!r}), 10**9)
for round in range(40):
    for number in range(3):
        tokens = (number,)
        found = store.find("key", tokens)
        assert found is None or found.read_bytes() == b"x" * 1000
        new = store.new("key", tokens)
        new.write_bytes(b"x" * 1000)
        store.add(new, "key", tokens, "model")
"""
    both = [subprocess.Popen([sys.executable, "-c", code]) for _ in range(2)]
    assert [process.wait(60) for process in both] == [0, 0]
    assert len(store.entries()) == 3
    assert not list(store.folder.glob("*.new"))


def test_models_of_the_same_shape_have_their_own_states(tmp_path: Path) -> None:
    one = write_mistral(tmp_path / "one.gguf", seed=1)
    other = write_mistral(tmp_path / "other.gguf", seed=2)
    os.utime(other, ns=(one.stat().st_atime_ns, one.stat().st_mtime_ns))
    assert one.stat().st_size == other.stat().st_size
    assert fingerprint(read(one)) != fingerprint(read(other))
    before = fingerprint(read(one))
    os.utime(one, (1, 1))
    assert fingerprint(read(one)) != before


def test_every_option_of_a_load_counts_unless_it_is_known_not_to(stories: Path) -> None:
    model, load = read(stories), LoadOptions(512, 1)
    key = key_of(model, LlamaCpp, load)
    assert key == key_of(model, LlamaCpp, LoadOptions(1024, 2, states=Path("/elsewhere")))
    assert key != key_of(model, LlamaCpp, LoadOptions(512, 1, parallel=2))
    assert key != key_of(model, LlamaCpp, LoadOptions(512, 1, gpu_layers=3))
    assert key != key_of(model, engine_class("fake"), load)


# The program.


@pytest.fixture
def cached(
    run: Callable[..., Result], tmp_path: Path, stories: Path
) -> Callable[..., dict[str, Any]]:
    """Ask the real small model, with a cache of this test's own."""

    def cached(*arguments: object, limit: str = "1 GB", model: Path = stories) -> dict[str, Any]:
        result = run(
            *arguments,
            *("-m", model, "--temperature", 0, "--repetition-penalty", 1, "-n", 12, "--json", "-v"),
            XDG_CACHE_HOME=str(tmp_path / "cache"),
            MISTRAL_CLI_PROMPT_CACHE=limit,
        )
        assert result.status == 0, result.stderr
        return {**json.loads(result.stdout), "stderr": result.stderr}

    return cached
