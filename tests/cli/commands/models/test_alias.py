"""`models alias` as a user runs it, and its changes to config.toml."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from support.model_store import Q4, Q8, REPO, Store
from support.terminals import make_terminal

from mistral_cli.models import aliases

if TYPE_CHECKING:
    from tomlkit import TOMLDocument


def config_file(tmp_path: Path) -> Path:
    return tmp_path / "config" / "mistral-cli" / "config.toml"


def test_alias_writes_lists_and_removes(store: Store, tmp_path: Path) -> None:
    assert store.ask("alias") == {"schema_version": 2, "aliases": []}
    assert store.models("alias", "work", f"{REPO}:Q8_0").status == 0
    assert store.models("alias").stdout == f"work\t{REPO}:Q8_0\n"
    (path,) = store.pull("work")
    assert store.models("path", "work").stdout == f"{path}\n"
    answer = store.ask("alias", "--remove", "work")
    assert answer["aliases"] == []
    assert store.models("path", "work").status == 3
    again = store.models("alias", "--remove", "work")
    assert (again.status, "no alias 'work'" in again.stderr) == (2, True)


def test_alias_keeps_the_rest_of_the_file(store: Store, tmp_path: Path) -> None:
    path = config_file(tmp_path)
    real = tmp_path / "dotfiles.toml"
    real.write_bytes(
        b'# mine\r\nmodel = "small" # why\r\n\r\n[aliases]\r\nsmall = "smollm2" # s\r\n'
    )
    real.chmod(0o640)
    path.parent.mkdir(parents=True)
    path.symlink_to(real)
    before = real.read_bytes()
    store.models("alias", "v0.3", Q8)
    assert real.read_bytes().startswith(before)
    assert f'"v0.3" = "{Q8}"'.encode() in real.read_bytes()
    assert (path.is_symlink(), real.stat().st_mode & 0o777) == (True, 0o640)
    store.models("alias", "--remove", "v0.3")
    assert real.read_bytes() == before
    assert [each.name for each in path.parent.iterdir()] == ["config.toml"]


def test_alias_to_a_path_is_valid_in_every_folder(
    store: Store, tmp_path: Path, mistral: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(mistral.parent)
    assert "warning" not in store.models("alias", "here", f"./{mistral.name}").stderr
    monkeypatch.chdir(tmp_path)
    assert store.models("path", "here").stdout == f"{mistral}\n"
    assert store.rows()["here"]["path"] == str(mistral)
    assert [row["model"] for row in store.ask("verify")["models"]] == ["here"]
    assert store.models("rm", "here", "--yes").status == 2
    later = store.models("alias", "later", "not-yet.gguf")
    assert (later.status, "there is no file" in later.stderr) == (0, True)


def test_alias_can_replace_a_built_in_name(store: Store) -> None:
    result = store.models("alias", "mistral", Q4)
    assert result.status == 0
    assert "replaces the built-in alias mistral" in result.stderr
    assert store.models("alias", "-q", "mistral", Q4).stderr == ""
    assert store.rows()["mistral"]["source"] == Q4


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (("a/b", Q4), 2, "cannot be an alias"),
        (("x.gguf", Q4), 2, "cannot be an alias"),
        (("", Q4), 2, "the value is empty"),
        (("work", "o//r"), 2, "not a model reference"),
        (("work", "no-such-name"), 3, "there is no model"),
        (("work",), 2, "needs a model"),
        (("work", "--remove", "work"), 2, "--remove takes only one name"),
    ],
)
def test_alias_refuses(
    store: Store, tmp_path: Path, arguments: tuple[str, ...], status: int, message: str
) -> None:
    result = store.models("alias", *arguments)
    assert (result.status, message in result.stderr) == (status, True)
    assert not config_file(tmp_path).exists()


def test_alias_does_not_change_an_invalid_file(store: Store, tmp_path: Path) -> None:
    path = config_file(tmp_path)
    path.parent.mkdir(parents=True)
    path.write_text("model = [", encoding="utf-8")
    assert store.models("alias", "work", Q4).status == 2
    assert path.read_text(encoding="utf-8") == "model = ["


def test_concurrent_aliases_are_all_kept(store: Store) -> None:
    names = [f"name{number}" for number in range(4)]
    with ThreadPoolExecutor() as pool:
        list(pool.map(lambda name: store.models("alias", name, Q4), names))
    assert sorted(row["name"] for row in store.ask("alias")["aliases"]) == names


def test_alias_waits_for_another_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the lock, both would read the file before either writes, and one alias is lost."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    read = aliases._read_document
    both = threading.Barrier(2)

    def slow_read() -> TOMLDocument:
        document = read()
        with suppress(threading.BrokenBarrierError):
            both.wait(timeout=0.5)
        return document

    monkeypatch.setattr(aliases, "_read_document", slow_read)
    with ThreadPoolExecutor() as pool:
        list(pool.map(lambda name: aliases.set_alias(name, Q4, make_terminal()), ("a", "b")))
    assert sorted(read()["aliases"]) == ["a", "b"]


def test_alias_to_a_path_that_is_not_utf_8(store: Store) -> None:
    result = store.models("alias", "work", "b\udcff.gguf")
    assert (result.status, "is not UTF-8" in result.stderr) == (2, True)
