"""`models rm` as a user runs it, with a hub on this machine."""

from __future__ import annotations

import hashlib
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest
from support.hub_client import without_privileges
from support.hub_server import COMMIT
from support.model_store import PLAIN, Q4, Q8, REPO, Store

from mistral_cli.models.hub.partial import partial_suffix

OTHER_COMMIT = "89abcdef0123456789abcdef0123456789abcdef"


def link_in_another_snapshot(path: Path) -> Path:
    """Link to the same data in a second revision, like huggingface_hub."""
    other = Path(str(path).replace(COMMIT, OTHER_COMMIT))
    other.parent.mkdir(parents=True)
    other.symlink_to(os.path.relpath(path.resolve(), other.parent))
    return other


def test_rm_without_a_terminal_needs_yes(store: Store) -> None:
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
    assert store.pull(Q4) == [gone]  # and it can be downloaded again


def test_rm_keeps_data_of_another_revision(store: Store) -> None:
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
    assert "a file of your own" in own.stderr


def test_rm_of_a_path_into_the_cache(store: Store) -> None:
    (path,) = store.pull(Q4)
    blob = store.models("rm", path.resolve(), "--yes")
    assert (blob.status, path.exists()) == (2, True)
    assert store.ask("rm", path, "--yes")["removed"][0]["model"] == Q4
    assert not path.is_symlink()


def test_rm_of_a_broken_link(store: Store) -> None:
    path, kept = store.pull(Q4, Q8)
    path.resolve().unlink()
    refused = store.models("rm", Q8, "--yes")  # the library refuses such a repository
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
    assert b"to be removed" in shown  # even with -q: the user must see the files before answering
    os.close(master)


def leave_partial_file(store: Store, name: str, size: int) -> Path:
    """Leave the partial file of an interrupted download."""
    data = store.hub.repos[REPO][name]
    blobs = store.cache / "models--owner--tiny-GGUF" / "blobs"
    blobs.mkdir(parents=True, exist_ok=True)
    part = blobs / (hashlib.sha256(data).hexdigest() + partial_suffix(name))
    part.write_bytes(data[:size])
    return part


@pytest.mark.parametrize("reference", [Q8, f"{REPO}:Q8_0"])
def test_rm_of_a_partial_download(store: Store, reference: str) -> None:
    kept = store.pull(Q4)[0]
    part = leave_partial_file(store, "sub/tiny.Q8_0.gguf", 1000)
    other = leave_partial_file(store, "tiny.gguf", 500)
    (row,) = store.ask("pull", "--dry-run", Q8)["models"]
    assert row["missing"] == row["size"] - 1000
    answer = store.ask("rm", reference, "--yes")
    assert (answer["freed"], answer["removed"][0]["path"]) == (1000, str(part))
    assert [part.exists(), other.exists(), kept.exists()] == [False, True, True]
    assert store.models("rm", reference, "--yes").status == 3


def test_rm_of_a_file_removes_its_partial_download_too(store: Store) -> None:
    (path,) = store.pull(Q4)
    old = leave_partial_file(store, "tiny.Q4_0.gguf", 100)
    size = path.stat().st_size
    assert store.ask("rm", Q4, "--yes")["freed"] == size + 100
    assert not old.exists()


def test_rm_leaves_a_running_download_alone(store: Store) -> None:
    from filelock import FileLock

    part = leave_partial_file(store, "tiny.Q4_0.gguf", 100)
    lock = store.cache / ".locks" / "models--owner--tiny-GGUF" / f"{part.name[:64]}.lock"
    lock.parent.mkdir(parents=True)
    with FileLock(lock):
        result = store.models("rm", Q4, "--yes")
    assert (result.status, part.exists()) == (3, True)
    assert "another process is downloading" in result.stderr
    assert store.models("rm", Q4, "--yes").status == 0


def test_rm_notices_a_download_that_starts_during_the_question(store: Store) -> None:
    from filelock import FileLock

    part = leave_partial_file(store, "tiny.Q4_0.gguf", 100)
    lock = store.cache / ".locks" / "models--owner--tiny-GGUF" / f"{part.name[:64]}.lock"
    master, slave = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "mistral_cli", "models", "rm", Q4],
        stdin=slave,
        stderr=slave,
        stdout=subprocess.PIPE,
    )
    os.close(slave)
    read_until(master, b"[y/N]")
    with FileLock(lock):
        os.write(master, b"y\n")
        stderr = read_until(master, b"try again")
        assert process.wait(timeout=60) == 3
    assert b"another process is downloading" in stderr
    assert part.exists()
    os.close(master)


def read_until(terminal: int, text: bytes) -> bytes:
    shown = b""
    while text not in shown:
        shown += os.read(terminal, 1000)
    return shown


def test_rm_of_a_quantization_searches_this_machine_first(store: Store) -> None:
    (path,) = store.pull(Q4)
    part = leave_partial_file(store, "tiny.Q4_0.gguf", 100)
    leave_partial_file(store, "tiny.gguf", 100)
    store.hub.requests.clear()
    answer = store.ask("rm", f"{REPO}:Q4_0", "--yes")
    assert [row["path"] for row in answer["removed"]] == [str(path), str(part)]
    assert store.hub.requests == []


def test_rm_of_a_quantization_with_several_files(store: Store) -> None:
    store.hub.repos[REPO]["other.Q4_0.gguf"] = store.hub.repos[REPO]["tiny.Q4_0.gguf"]
    paths = store.pull(Q4, f"{REPO}/other.Q4_0.gguf")
    result = store.models("rm", f"{REPO}:Q4_0", "--yes")
    assert (result.status, [path.exists() for path in paths]) == (2, [True, True])
    assert "several Q4_0 files: other.Q4_0.gguf, tiny.Q4_0.gguf" in result.stderr


def test_rm_of_a_download_without_a_link(store: Store) -> None:
    path, kept = store.pull(Q4, Q8)
    blob, size = path.resolve(), path.stat().st_size
    path.unlink()
    assert store.models("rm", PLAIN, "--yes").status == 3
    answer = store.ask("rm", Q4, "--yes")
    assert (answer["freed"], answer["removed"][0]["path"]) == (size, str(blob))
    assert (blob.exists(), kept.exists()) == (False, True)


def test_rm_of_a_model_that_is_not_here(store: Store) -> None:
    result = store.models("rm", Q4, "--yes")
    assert (result.status, "is not on this machine" in result.stderr) == (3, True)
    assert "models list" in result.stderr
    assert "Fetch" not in result.stderr


def test_rm_without_permission_to_remove_the_data(store: Store) -> None:
    path, _ = store.pull(Q4, Q8)
    blobs = path.resolve().parent
    blobs.chmod(0o555)
    result = as_ordinary_user("models", "rm", "--yes", Q4)
    blobs.chmod(0o755)
    assert (result.returncode, result.stdout) == (3, "")
    assert f"cannot remove {blobs}" in result.stderr


def test_rm_of_a_partial_download_with_the_lock_of_another_user(store: Store) -> None:
    part = leave_partial_file(store, "tiny.Q4_0.gguf", 100)
    lock = store.cache / ".locks" / "models--owner--tiny-GGUF" / f"{part.name[:64]}.lock"
    lock.parent.mkdir(parents=True)
    lock.touch(0o000)
    result = as_ordinary_user("models", "rm", "--yes", Q4)
    assert (result.returncode, part.exists()) == (3, True)
    assert "another user" in result.stderr


def as_ordinary_user(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [*without_privileges(), sys.executable, "-m", "mistral_cli", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)
