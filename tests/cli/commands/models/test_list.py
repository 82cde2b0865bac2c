"""`models list` and `models path` as a user runs them; output of several commands."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from support.gguf_parts import GGUFParts
from support.hub_client import without_privileges
from support.model_store import PLAIN, Q4, Q8, REPO, Store
from support.terminals import on_a_terminal

from mistral_cli.models.catalog import ALIASES
from mistral_cli.models.hub.partial import partial_suffix


def test_list_shows_local_files_and_the_default(store: Store, tmp_path: Path) -> None:
    store.pull(Q4, PLAIN)
    before = store.rows()
    assert before["mistral"] == {
        "name": "mistral",
        "source": "TheBloke/Mistral-7B-Instruct-v0.1-GGUF/mistral-7b-instruct-v0.1.Q4_K_M.gguf",
        "path": None,
        "size": None,
        "quantization": "Q4_K_M",
        "last_used": None,
        "default": True,
        "verified": False,
    }
    assert (before["smollm2"]["verified"], before[Q4]["verified"]) == (True, None)
    assert (before[Q4]["quantization"], before[Q4]["source"]) == ("Q4_0", "hub cache")
    assert before[PLAIN]["quantization"] == "F16"  # from its header, not from its name
    assert before[Q4]["size"] == len(store.hub.repos[REPO]["tiny.Q4_0.gguf"])
    by_default = store.ask("list", MISTRAL_CLI_MODEL=f"{REPO}:Q4_0")["models"]
    assert [row["name"] for row in by_default if row["default"]] == [f"{REPO}:Q4_0"]
    assert Q4 not in [row["name"] for row in by_default]


def test_inspecting_a_file_does_not_count_as_use(store: Store) -> None:
    (path,) = store.pull(PLAIN)
    os.utime(path, (1_000_000_000, path.stat().st_mtime))
    store.ask("show", PLAIN)
    store.ask("verify")
    assert store.rows()[PLAIN]["last_used"] == "2001-09-09T01:46:40+00:00"
    assert f"{PLAIN}\t" in store.models("list", TZ="UTC").stdout
    assert "\t2001-09-09\t" in store.models("list", TZ="UTC").stdout


def test_list_survives_a_damaged_cache(store: Store) -> None:
    gone, _ = store.pull(Q4, Q8)
    gone.resolve().unlink()
    (store.cache / "models--owner--empty").mkdir()
    (store.cache / "models--a--b" / "snapshots").mkdir(parents=True)
    (store.cache / "models--a--b" / "snapshots" / "file").touch()
    rows = store.rows()
    assert rows[Q8]["quantization"] == "Q8_0"
    assert (rows[Q4]["size"], rows[Q4]["source"]) == (None, "hub cache: a broken link")
    assert "broken link" in store.models("list").stdout
    assert store.models("path", Q4).status == 3


def test_list_survives_a_file_without_tensors(store: Store) -> None:
    (path,) = store.pull(PLAIN)
    parts = GGUFParts(path)
    parts.tensors.clear()
    parts.entries.pop("general.file_type", None)
    path.resolve().write_bytes(parts.build())
    row = store.rows()[PLAIN]
    assert row["source"] == "hub cache: a vocabulary that has no weights"
    assert row["quantization"] is None
    parts.entries.pop("general.architecture")
    path.resolve().write_bytes(parts.build())
    assert store.rows()[PLAIN]["quantization"] is None


def test_quiet_list_prints_paths(store: Store) -> None:
    paths = store.pull(Q4, Q8)
    assert sorted(store.models("list", "-q").stdout.split()) == sorted(map(str, paths))


def test_path(store: Store, smollm2: Path) -> None:
    (path,) = store.pull(Q4)
    assert store.ask("path", Q4) == {"schema_version": 2, "model": Q4, "path": str(path)}
    missing = store.models("path", "mistral")
    assert (missing.status, missing.stdout) == (3, "")
    assert "models pull mistral" in missing.stderr


def test_quiet_prints_paths_only(store: Store) -> None:
    (path,) = store.pull(Q4)
    for command in (("path",), ("show",), ("verify",), ("pull", "--dry-run")):
        result = store.models(*command, "-q", Q4)
        assert (result.stdout, result.stderr, result.status) == (f"{path}\n", "", 0)
    assert store.models("show", "-q", Q8).stdout == ""
    assert store.models("pull", "--dry-run", "-q", Q8).stdout == ""
    path.write_bytes(path.read_bytes()[:-1])
    assert (store.models("verify", "-q").stdout, store.models("verify", "-q").status) == ("", 4)


def test_list_shows_partial_downloads(store: Store) -> None:
    blobs = store.cache / "models--owner--tiny-GGUF" / "blobs"
    blobs.mkdir(parents=True)
    for name in ("tiny.Q4_0.gguf", "tiny.gguf"):
        digest = hashlib.sha256(store.hub.repos[REPO][name]).hexdigest()
        (blobs / (digest + partial_suffix(name))).write_bytes(bytes(7_700_000))
    store.models("alias", "work", Q4)
    rows = store.rows()
    assert (rows[Q4]["size"], rows[REPO]["size"]) == (7_700_000, 7_700_000)
    text = "partial download, 7.7 MB; `models pull` continues it"
    assert (rows[Q4]["source"], rows[Q4]["path"], rows[REPO]["source"]) == (text, None, text)


def test_commands_in_hints_can_be_pasted(store: Store) -> None:
    result = store.models("path", f"{REPO}/a b.gguf")
    assert f"mistral-cli models pull '{REPO}/a b.gguf'" in result.stderr


def test_unreadable_folders_are_left_out(store: Store) -> None:
    (path,) = store.pull(Q4)
    for name, mode in (("models--a--b", 0o000), ("models--c--d", 0o444)):
        snapshot = store.cache / name / "snapshots" / "1"
        snapshot.mkdir(parents=True)
        (snapshot / "x.gguf").touch()
        snapshot.chmod(mode)
        (store.cache / name).chmod(mode)
    for command in (("list", "-q"), ("verify", "-q"), ("path", Q4)):
        result = subprocess.run(
            [*without_privileges(), sys.executable, "-m", "mistral_cli", "models", *command],
            env={**os.environ, "XDG_CACHE_HOME": str(store.cache)},
            capture_output=True,
            text=True,
            check=False,
        )
        assert (result.stdout, result.stderr) == (f"{path}\n", "")


@pytest.mark.parametrize("command", ["list", "verify"])
def test_a_narrow_terminal_does_not_cut_texts_that_users_copy(store: Store, command: str) -> None:
    name = "a-rather-long-name-of-a-file-as-they-are-on-the-hub.Q4_0.gguf"
    store.hub.repos[REPO][name] = store.hub.repos[REPO]["tiny.Q4_0.gguf"]
    store.pull(f"{REPO}/{name}")
    shown = titled("models", command)
    assert max(map(len, shown.splitlines())) <= 80
    (digest,) = (row["sha256"] for row in store.ask("verify")["models"])
    for text in (f"{REPO}/{name}", *([digest] if command == "verify" else [])):
        left = text
        for word in shown.split():
            if len(word) > 1:
                left = left.removeprefix(word)
        assert left == ""


def test_a_narrow_terminal_cuts_the_source_first(store: Store) -> None:
    shown = titled("models", "list")
    assert [line.split()[0] for line in shown.splitlines()[1:]] == list(ALIASES)
    assert "…" in shown


def titled(*arguments: str) -> str:
    """Return the table that the program prints on a terminal, without the titles' style."""
    shown = on_a_terminal(*arguments, stderr=subprocess.DEVNULL)
    return re.sub(r"\x1b\[[0-9;]*m", "", shown)


def test_paths_are_printed_byte_for_byte(store: Store, mistral: Path, tmp_path: Path) -> None:
    path = os.fsencode(tmp_path) + b"/b\xff.gguf"
    shutil.copy(mistral, path)
    command = [sys.executable, "-m", "mistral_cli", "models", "path", path]
    assert subprocess.run(command, capture_output=True, check=True).stdout == path + b"\n"
    printed = subprocess.run([*command, "--json"], capture_output=True, check=True).stdout
    assert os.fsencode(json.loads(printed)["path"]) == path
