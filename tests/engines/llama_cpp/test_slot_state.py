"""Prefix states in llama.cpp's slots: a restored prompt gets the same answer as a prefilled one."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from support.engine_io import GREEDY

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
from mistral_cli.models.gguf import read_gguf

LLAMA_CPP = backend("llama.cpp")
DOCUMENT = (Path(__file__).parents[2] / "support" / "files" / "rfc.txt").read_text(encoding="utf-8")
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
    """The answer, and how many tokens of the prompt were cached."""
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
        request = Request(prompt, 24, GREEDY, prefixes=prefixes)
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


def test_slots_share_a_prefix_that_one_of_them_prefilled(stories: Path, tmp_path: Path) -> None:
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


def test_a_prefix_of_another_prompt_is_ignored(stories: Path, tmp_path: Path) -> None:
    with opened(stories, tmp_path) as engine:
        prompt = prompt_of(engine, 200)
        wrong = Prefix(prompt[50:150], tmp_path / "a.state")
        assert ask(engine, Request(prompt, 5, GREEDY, prefixes=(wrong,)))[1] == 0
    assert not list(tmp_path.iterdir())


def test_a_prefix_whose_state_cannot_be_restored_is_prefilled(
    stories: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """The state is undamaged, but another number of slots saved it."""
    with opened(stories, tmp_path, parallel=2) as engine:
        prompt = prompt_of(engine, 200)
        request = Request(prompt, 9, GREEDY, prefixes=(Prefix(prompt[:150], tmp_path / "a.state"),))
        ask(engine, request)
    with opened(stories, tmp_path) as engine:
        assert ask(engine, request)[1] == 0
    assert capfd.readouterr() == ("", "")


def test_a_full_disk_leaves_no_half_file(stories: Path, tmp_path: Path) -> None:
    """A limit on the file size makes a write fail as a full disk does."""
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
