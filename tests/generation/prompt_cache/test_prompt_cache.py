"""The prompt cache: what is restored equals what was read, and nothing in it can do harm."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from support.engine_io import GREEDY
from support.program import Result
from synthetic.models import write_mistral

from mistral_cli.engines.protocol import LoadOptions, Session
from mistral_cli.engines.registry import backend
from mistral_cli.engines.types import (
    Event,
    Finish,
    PrefillProgress,
    Prefix,
    Request,
    TextDelta,
)
from mistral_cli.generation.prompt_cache.key import fingerprint, key_of
from mistral_cli.generation.prompt_cache.store import Store
from mistral_cli.models.gguf import read_gguf

LLAMA_CPP = backend("llama.cpp")

DOCUMENT = (Path(__file__).parents[2] / "support" / "files" / "rfc.txt").read_text(encoding="utf-8")
TEXT = (
    "The harbour committee met on Tuesday. It decided to repair the north pier, because the storm "
)
TEXT += "in March broke eleven planks and two lamps."
CONTEXT = 1024


@pytest.fixture(params=["stories", "smollm2"])
def model(request: pytest.FixtureRequest) -> Path:
    path: Path = request.getfixturevalue(request.param)
    return path


def opened(model: Path, states: Path | None, parallel: int = 1) -> Session:
    return LLAMA_CPP.open(
        read_gguf(model), LoadOptions(CONTEXT, 1, parallel=parallel, states=states)
    )


def prompt_of(engine: Session, tokens: int) -> tuple[int, ...]:
    return tuple(engine.tokenize(DOCUMENT)[:tokens])


def ask(engine: Any, request: Request) -> tuple[str, int]:
    """The answer, and how many tokens of the prompt needed no reading."""
    events: list[Event] = list(engine.stream(request))
    assert isinstance(events[-1], Finish)
    cached = [event.cached for event in events if isinstance(event, PrefillProgress)][-1]
    return "".join(event.text for event in events if isinstance(event, TextDelta)), cached


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
from mistral_cli.engines.protocol import LoadOptions
from mistral_cli.engines.registry import backend
from mistral_cli.engines.types import Finish, Prefix, Request, Sampling
from mistral_cli.models.gguf import read_gguf
from pathlib import Path
folder = Path({str(tmp_path)!r})
options = LoadOptions(1024, 1, states=folder)
with backend("llama.cpp").open(read_gguf(Path({str(stories)!r})), options) as engine:
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
from mistral_cli.generation.prompt_cache.store import Store
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
    assert fingerprint(read_gguf(one)) != fingerprint(read_gguf(other))
    before = fingerprint(read_gguf(one))
    os.utime(one, (1, 1))
    assert fingerprint(read_gguf(one)) != before


def test_every_option_of_a_load_counts_unless_it_is_known_not_to(stories: Path) -> None:
    model, load = read_gguf(stories), LoadOptions(512, 1)
    key = key_of(model, LLAMA_CPP, load)
    assert key == key_of(model, LLAMA_CPP, LoadOptions(1024, 2, states=Path("/elsewhere")))
    assert key != key_of(model, LLAMA_CPP, LoadOptions(512, 1, parallel=2))
    assert key != key_of(model, LLAMA_CPP, LoadOptions(512, 1, gpu_layers=3))
    assert key != key_of(model, backend("fake"), load)


# The program.


@dataclass
class Program:
    """The program with the scripted engine, which "reads" a prefix in 0.3 s, and a cache."""

    run: Callable[..., Result]
    model: Path
    folder: Path

    def __call__(self, *arguments: object, **env: str) -> Result:
        return self.run(*arguments, **(self.environment | env))

    @property
    def environment(self) -> dict[str, str]:
        script = self.folder / "script.json"
        script.write_text('{"delay": 0.3, "pieces": ["yes"]}', encoding="utf-8")
        return {
            "XDG_CACHE_HOME": str(self.folder / "cache"),
            "MISTRAL_CLI_PROMPT_CACHE": "1 GB",
            "MISTRAL_CLI_FAKE": str(script),
            "MISTRAL_CLI_ENGINE": "fake",
            "MISTRAL_CLI_MODEL": str(self.model),
        }

    @property
    def states(self) -> Path:
        return self.folder / "cache" / "mistral-cli" / "states"

    def tokens(self, *arguments: object, **env: str) -> tuple[int, int]:
        """Those of the prompt, and how many were cached."""
        result = self(*arguments, "--json", **env)
        assert result.status == 0, result.stderr
        told = json.loads(result.stdout)
        return told["prompt_tokens"], told["cached_tokens"]

    def kept(self) -> list[int]:
        """The tokens of each entry."""
        listed = json.loads(self("cache", "list", "--json").stdout)["entries"]
        return sorted(entry["tokens"] for entry in listed)


@pytest.fixture
def program(run: Callable[..., Result], mistral: Path, tmp_path: Path) -> Program:
    return Program(run, mistral, tmp_path)


@pytest.fixture
def text(tmp_path: Path) -> Path:
    path = tmp_path / "text.txt"
    path.write_text(TEXT, encoding="utf-8")
    return path


def test_another_question_finds_the_text_read(program: Program, text: Path) -> None:
    total, cached = program.tokens("generate", "What is this?", "-f", text)
    assert cached == 0
    again = program.tokens("generate", "Who wrote it, and why?", "-f", text)
    assert again[0] - again[1] < 60 < again[1] < total
    assert program.tokens("generate", "A third one?", "-f", text, "--no-cache")[1] == 0
    listed = program("cache", "list").stdout.split("\t")
    assert listed[:2] == [str(program.model), str(again[1])]


def test_an_instruction_before_the_text_is_kept_and_not_the_text(
    program: Program, text: Path, tmp_path: Path
) -> None:
    template = tmp_path / "about.txt"
    template.write_text("Say in few words what the following text is about.\n\n{{ text }}")
    first = program.tokens("generate", "--template", template, "-f", text)
    (kept,) = program.kept()
    assert 16 <= kept < first[0] - len(TEXT)
    assert program.tokens("generate", "--template", template, "another text") == (
        first[0] - len(TEXT) + len("another text"),
        kept,
    )
    assert program.kept() == [kept]


def test_a_text_that_is_asked_nothing_of_the_users_is_not_kept(
    program: Program, text: Path
) -> None:
    program.tokens("summarize", "-f", text)
    assert program.kept() == []


def test_a_system_text_is_kept(program: Program) -> None:
    system = "You are a pirate who answers in rhymes."
    program.tokens("generate", "hi", "--system", system)
    assert program.tokens("generate", "What is a boat?", "--system", system)[1] >= len(system)


def test_short_prompts_cost_nothing(program: Program) -> None:
    program.tokens("generate", "What is a boat?")
    program.tokens("generate", "What is a boat?", "--raw")
    assert program.kept() == []


def test_nothing_is_kept_of_what_is_read_at_once(program: Program, text: Path) -> None:
    (program.folder / "fast.json").write_text('{"delay": 0.2}', encoding="utf-8")
    fast = {"MISTRAL_CLI_FAKE": str(program.folder / "fast.json")}
    program.tokens("generate", "What is this?", "-f", text, **fast)
    assert program.kept() == []


def test_a_batch_keeps_what_its_rows_begin_with(program: Program, tmp_path: Path) -> None:
    rows = tmp_path / "rows.txt"
    rows.write_text("one\nand two\nthree\nfour\n", encoding="utf-8")
    asked = "Tell me in one word what kind of thing this is: {text}"
    command = ("batch", "generate", "--prompt", asked, "--input-format", "lines", rows)

    def cached(out: str, *more: str) -> list[int]:
        result = program(*command, "-o", tmp_path / out, "--parallel", 2, *more)
        assert result.status == 0, result.stderr
        lines = (tmp_path / out).read_text(encoding="utf-8").splitlines()
        return sorted(json.loads(line)["cached_tokens"] for line in lines)

    cached("first.jsonl")
    (kept,) = program.kept()
    assert len(asked) - 10 < kept
    assert cached("second.jsonl") == [kept] * 4
    # Off, its slots still share; and nothing stays.
    assert cached("third.jsonl", "--no-cache")[-1] == kept
    assert program.kept() == [kept]


def test_a_folder_that_cannot_be_used_is_no_error(program: Program, text: Path) -> None:
    program.states.parent.mkdir(parents=True)
    program.states.write_text("a file where the folder should be", encoding="utf-8")
    result = program("generate", "What is this?", "-f", text, "-v")
    assert (result.stdout, result.status) == ("yes\n", 0)
    assert "the prompt cache is not used" in result.stderr
    assert program("generate", "What is this?", "-f", text).stderr == ""


def test_clear_and_path(program: Program, text: Path) -> None:
    assert program("cache", "path").stdout == f"{program.states}\n"
    assert program("cache", "clear").status == 0
    program.tokens("generate", "What is this?", "-f", text)
    (program.states / "x-1.new").write_bytes(b"half")
    freed = json.loads(program("cache", "clear", "--json").stdout)["freed"]
    assert freed > 4
    assert program.kept() == []
    assert not list(program.states.glob("*.*"))
    assert program.states.stat().st_mode & 0o777 == 0o700


def test_killed_at_any_instant_the_next_run_is_right(program: Program, text: Path) -> None:
    command = [sys.executable, "-m", "mistral_cli", "generate", "What is this?", "-f", str(text)]
    for instant in (0.6, 0.9, 1.1, 1.3):
        process = subprocess.Popen(
            command, env={**os.environ, **program.environment}, stdout=subprocess.DEVNULL
        )
        time.sleep(instant)
        process.send_signal(signal.SIGKILL)
        process.wait()
        result = program("generate", "What is this?", "-f", text)
        assert (result.stdout, result.stderr, result.status) == ("yes\n", "", 0)
        shutil.rmtree(program.states)


def test_a_large_state_is_not_kept(program: Program, text: Path) -> None:
    """The model's cache takes 256 bytes a token: two layers, two heads of 16, two bytes."""
    small = {"MISTRAL_CLI_PROMPT_CACHE": "40 KB"}
    result = program("generate", "What is this?", "-f", text, "-v", **small)
    assert "too large" in result.stderr
    assert program.kept() == []
