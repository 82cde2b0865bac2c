"""The `models` commands with a model in several files, in a folder of a repository."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import pytest
from support.hub_server import COMMIT
from support.model_store import Store
from support.split_models import split_model

from mistral_cli.models.hub.partial import partial_suffix

REPO = "owner/big-GGUF"
NAMES = [f"Q4_0/Big-Q4_0-0000{number}-of-00003.gguf" for number in (1, 2, 3)]
MODEL = f"{REPO}/{NAMES[0]}"
QUANT = f"{REPO}:Q4_0"


@pytest.fixture(scope="session")
def whole(gguf_bytes: dict[str, bytes], tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("split") / "whole.gguf"
    path.write_bytes(gguf_bytes["tiny.Q4_0.gguf"])
    return path


@pytest.fixture(scope="session")
def parts(whole: Path) -> list[Path]:
    return split_model(whole, whole.parent / "Q4_0", "Big-Q4_0")


@pytest.fixture
def big(store: Store, parts: list[Path]) -> Store:
    store.hub.repos[REPO] = {f"Q4_0/{part.name}": part.read_bytes() for part in parts}
    store.hub.repos[REPO]["mmproj-Q4_0.gguf"] = b"GGUF"
    return store


def total(parts: list[Path]) -> int:
    return sum(part.stat().st_size for part in parts)


def mine(rows: dict[str, Any]) -> dict[str, Any]:
    return {name: row for name, row in rows.items() if name.startswith(REPO)}


def test_pull_list_show_verify_and_remove(big: Store, parts: list[Path], whole: Path) -> None:
    (plan,) = big.ask("pull", "--dry-run", QUANT)["models"]
    assert (plan["source"], plan["size"], plan["path"]) == (MODEL, total(parts), None)
    assert plan["missing"] == total(parts)
    assert big.ask("show", QUANT)["path"] is None  # from the headers on the hub
    (path,) = big.pull(QUANT)
    assert path.name == parts[0].name
    (plan,) = big.ask("pull", "--dry-run", f"{REPO}/{NAMES[2]}")["models"]
    assert (plan["missing"], plan["path"]) == (0, str(path))
    rows = mine(big.rows())
    assert list(rows) == [MODEL]
    row = rows[MODEL]
    assert (row["path"], row["size"], row["source"]) == (str(path), total(parts), "hub cache")
    assert (row["quantization"], row["last_used"] is None) == ("Q4_0", False)
    generate = ("generate", "-n", 8, "--temperature", 0, "--raw", "Once upon a time", "-m")
    assert big.call(*generate, QUANT).stdout == big.call(*generate, whole).stdout
    facts = big.ask("show", f"{REPO}/{NAMES[1]}")
    assert (facts["path"], facts["size"], facts["files"]) == (str(path), total(parts), 3)
    assert facts["engines"]["ctransformers"].startswith("no: it loads a model from one file")
    checked = big.ask("verify", QUANT)["models"]
    assert [row["model"] for row in checked] == [f"{REPO}/{name}" for name in NAMES]
    assert [row["status"] for row in checked] == ["ok"] * 3
    assert [row["sha256"] for row in checked] == [
        hashlib.sha256(part.read_bytes()).hexdigest() for part in parts
    ]
    assert big.ask("verify")["models"] == checked
    assert big.ask("path", QUANT)["path"] == str(path)
    removed = big.ask("rm", f"{REPO}/{NAMES[1]}", "--yes")
    assert [row["model"] for row in removed["removed"]] == [f"{REPO}/{name}" for name in NAMES]
    assert removed["freed"] == total(parts)
    assert not mine(big.rows())


def test_an_interrupted_pull_continues(big: Store, parts: list[Path]) -> None:
    """The second part was cut: the first stays, and only the rest is downloaded."""
    (path,) = big.pull(QUANT)
    blob = path.with_name(parts[1].name).resolve()
    for part in parts[1:]:
        link = path.with_name(part.name)
        content = link.read_bytes()
        link.resolve().unlink()
        link.unlink()
        if part is parts[1]:
            blob.with_name(blob.name + partial_suffix(NAMES[1])).write_bytes(content[:1000])
    rows = mine(big.rows())
    here = parts[0].stat().st_size
    assert rows[MODEL]["source"] == "hub cache: 1 of 3 parts; `models pull` continues it"
    assert (rows[MODEL]["size"], rows[MODEL]["path"]) == (here, None)
    assert rows[REPO]["size"] == 1000
    missing = big.models("path", MODEL)
    assert (missing.status, f"part 2 of 3 of {MODEL} is not on this machine" in missing.stderr) == (
        3,
        True,
    )
    assert f"models pull {MODEL}" in missing.stderr
    status, row, stderr = verdicts(big, MODEL)
    assert (status, [each["status"] for each in row]) == (3, ["ok", None])
    assert f"part 2 of 3 of the model is missing: there is no file {path.parent}" in stderr
    (plan,) = big.ask("pull", "--dry-run", QUANT)["models"]
    assert plan["missing"] == total(parts) - here - 1000
    sent = big.hub.sent
    assert big.models("pull", "-q", QUANT).status == 0
    assert big.hub.sent - sent == plan["missing"]
    assert [row["status"] for row in big.ask("verify", QUANT)["models"]] == ["ok"] * 3


def verdicts(store: Store, reference: object) -> tuple[int, list[dict[str, Any]], str]:
    result = store.models("verify", reference, "--json")
    return result.status, json.loads(result.stdout)["models"], result.stderr


def test_rm_of_an_unfinished_pull(big: Store, parts: list[Path]) -> None:
    (path,) = big.pull(QUANT)
    path.with_name(parts[2].name).resolve().unlink()  # the link is broken
    path.with_name(parts[1].name).unlink()
    rows = mine(big.rows())
    assert rows[MODEL]["source"] == "hub cache: a broken link"
    status, checked, stderr = verdicts(big, QUANT)
    assert (status, [row["status"] for row in checked]) == (4, ["ok", "damaged", None])
    assert f"models pull {REPO}/{NAMES[2]}" in stderr
    assert big.pull(f"{REPO}/{NAMES[2]}") == [path]  # also links the second part again
    path.with_name(parts[2].name).resolve().unlink()
    path.with_name(parts[2].name).unlink()
    path.with_name(parts[1].name).unlink()
    # Also the data of the second part, whose link is gone.
    assert big.ask("rm", QUANT, "--yes")["freed"] == total(parts[:2])
    assert not path.is_symlink()
    assert not list(big.cache.rglob("*.gguf"))


def test_a_damaged_part(big: Store, parts: list[Path]) -> None:
    (path,) = big.pull(QUANT)
    part = path.with_name(parts[1].name)
    with part.open("r+b") as file:
        file.seek(-40, 2)
        file.write(b"\xff")
    status, rows, stderr = verdicts(big, QUANT)
    assert (status, [row["status"] for row in rows]) == (4, ["ok", "damaged", "ok"])
    assert str(part) in stderr
    sent = big.hub.sent
    assert f"rm {part.resolve()} && mistral-cli models pull {REPO}/{NAMES[1]}" in stderr
    part.resolve().unlink()
    assert big.pull(f"{REPO}/{NAMES[1]}") == [path]
    assert big.hub.sent - sent == parts[1].stat().st_size == part.stat().st_size
    part.write_bytes(part.read_bytes()[:-1000])
    result = big.call("generate", "-m", QUANT, "hi")
    assert result.status == 4
    assert f"{part}: is truncated" in result.stderr


def test_parts_of_one_commit(big: Store, parts: list[Path]) -> None:
    """All parts lie in the folder of the commit that the branch named at the start."""
    (path,) = big.pull(f"{QUANT.replace(':', '@main:')}")
    assert COMMIT in str(path)
    assert sorted(each.name for each in path.parent.iterdir()) == [p.name for p in parts]
    assert big.pull(f"{REPO}@{COMMIT}:Q4_0") == [path]


def test_files_of_the_user(big: Store, parts: list[Path], tmp_path: Path) -> None:
    folder = tmp_path / "own"
    folder.mkdir()
    own = [Path(folder, part.name) for part in parts]
    for part, copy in zip(parts, own, strict=True):
        copy.write_bytes(part.read_bytes())
    assert big.models("alias", "big", own[1]).status == 0
    row = big.rows()["big"]
    assert (row["path"], row["size"]) == (str(own[0]), total(parts))
    status, rows, _ = verdicts(big, "big")
    assert (status, [row["status"] for row in rows]) == (0, ["not published"] * 3)
    assert [row["path"] for row in rows] == list(map(str, own))
    _, rows, _ = verdicts(big, str(own[1]))  # another part than the first is named
    assert [row["model"] for row in rows] == list(map(str, own))
    assert big.models("show", folder).stderr.endswith(f"It has a model: use {own[0]}.\n")
    assert big.models("rm", "big", "--yes").status == 2
    own[2].unlink()
    row = big.rows()["big"]
    assert (row["path"], row["source"].endswith(": 2 of 3 parts")) == (None, True)
    for command in (("show",), ("path",), ("verify",)):
        result = big.models(*command, "big")
        assert result.status == 3
        assert f"part 3 of 3 of the model is missing: there is no file {own[2]}" in result.stderr
    os.mkfifo(own[2])
    status, rows, problems = verdicts(big, "big")
    assert (status, rows[2]["status"]) == (4, "damaged")
    assert f"{own[2]}: is not a regular file" in problems
