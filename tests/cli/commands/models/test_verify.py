"""`models verify` as a user runs it, with a hub on this machine."""

from __future__ import annotations

import hashlib
import os
import shutil
from pathlib import Path

from support.gguf_parts import GGUFParts
from support.model_store import Q4, Q8, REPO, TINY, Store
from synthetic.models import write_mistral


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
    assert "does not exist" in stderr


def test_verify_of_a_file_without_a_published_digest(
    store: Store, tmp_path: Path, mistral: Path
) -> None:
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


def test_weights_that_are_no_numbers_are_damage(store: Store, tmp_path: Path) -> None:
    path = write_mistral(tmp_path / "m.gguf", **TINY)
    assert store.verdict(path)[0] == 0
    parts = GGUFParts(path)
    place = next(each.offset for each in parts.tensors if each.name == "blk.1.attn_q.weight")
    parts.data = parts.data[:place] + b"\0\0\xc0\x7f" + parts.data[place + 4 :]
    path.write_bytes(parts.build())
    status, row, error = store.verdict(path)
    assert (status, row["status"]) == (4, "damaged")
    assert "tensor 'blk.1.attn_q.weight' has weights that are no numbers" in error
