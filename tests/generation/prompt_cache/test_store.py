"""The files of the prompt cache, with any content: the store does not know an engine's format."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from mistral_cli.generation.prompt_cache.store import Store


@pytest.fixture
def store(tmp_path: Path) -> Store:
    (tmp_path / "states").mkdir()
    return Store(tmp_path / "states", 10_000)


def put(store: Store, tokens: tuple[int, ...], content: bytes = b"state" * 100) -> Path:
    new = store.new("key", tokens)
    new.write_bytes(content)
    store.add(new, "key", tokens, "model")
    path = store.find("key", tokens)
    assert path
    return path


def test_find_needs_the_same_key_and_tokens(store: Store) -> None:
    path = put(store, (1, 2, 3))
    assert path.read_bytes() == b"state" * 100
    assert store.find("other", (1, 2, 3)) is None
    assert store.find("key", (1, 2)) is None
    for file in store.folder.glob("*.*"):
        assert file.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    "damage", ["cut", "longer", "changed", "gone", "sidecar cut", "no sidecar"]
)
def test_a_damaged_entry_is_not_used(store: Store, damage: str) -> None:
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


def test_the_least_recently_used_entry_is_deleted_first(store: Store) -> None:
    for number in range(4):
        put(store, (number,), b"x" * 3000)
        for path in store.folder.glob("*.json"):  # make each a minute older
            os.utime(path, (path.stat().st_atime, path.stat().st_mtime - 60))
        store.find("key", (0,))
    remaining = [number for number in range(4) if store.find("key", (number,))]
    assert remaining == [0, 2, 3]
    assert sum(path.stat().st_size for path in store.folder.glob("*.state")) <= store.limit


def test_leftovers_of_killed_processes_are_deleted(store: Store) -> None:
    for name in ("a-1.new", "a-2.unfinished", "b.state"):
        (store.folder / name).write_bytes(b"half")
        os.utime(store.folder / name, (0, 0))
    (store.folder / "c-3.new").write_bytes(b"of a process at work")
    put(store, (1,))
    names = {path.name for path in store.folder.iterdir()}
    assert "c-3.new" in names
    assert not names & {"a-1.new", "a-2.unfinished", "b.state"}


def test_two_processes_may_add_the_same_entries(store: Store) -> None:
    code = f"""
from pathlib import Path
from mistral_cli.generation.prompt_cache.store import Store
store = Store(Path({str(store.folder)!r}), 10**9)
for round in range(40):
    for number in range(3):
        tokens = (number,)
        path = store.find("key", tokens)
        assert path is None or path.read_bytes() == b"x" * 1000
        new = store.new("key", tokens)
        new.write_bytes(b"x" * 1000)
        store.add(new, "key", tokens, "model")
"""
    both = [subprocess.Popen([sys.executable, "-c", code]) for _ in range(2)]
    assert [process.wait(60) for process in both] == [0, 0]
    assert len(store.entries()) == 3
    assert not list(store.folder.glob("*.new"))
