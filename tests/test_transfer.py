"""Downloads that are cut, killed, doubled or wrong: the real huggingface_hub client and processes."""

from __future__ import annotations

import errno
import hashlib
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import BinaryIO

import pytest
from hub_server import COMMIT, HubServer
from test_hub import DATA, FILE, REPO, Screen, drive, make_terminal, server, shown  # noqa: F401

from mistral_cli.errors import ModelNotAvailable
from mistral_cli.models import hub, transfer

LARGE = random.Random(0).randbytes(8_000_000)


def download(revision: str | None = None) -> Path:
    return hub.download(REPO, FILE, revision, make_terminal())


def parts(folder: Path) -> list[Path]:
    return list(folder.rglob("*.incomplete"))


def ranges(server: HubServer) -> list[str | None]:
    return [request.range for request in server.requests if request.place == "storage"]


def leave_a_part(server: HubServer, folder: Path) -> Path:
    """What a run leaves that is given up in the middle."""
    server.faults = {"storage": "cut"}
    with pytest.raises(ModelNotAvailable):
        download()
    server.faults = {}
    server.requests.clear()
    (part,) = parts(folder)
    return part


def test_a_cut_download_is_continued(server: HubServer) -> None:
    server.faults, server.fault_count = {"storage": "cut"}, 2
    terminal = make_terminal()
    assert hub.download(REPO, FILE, None, terminal).read_bytes() == DATA
    assert ranges(server) == [None, "bytes=512000-", "bytes=768000-"]
    assert server.sent == len(DATA)
    assert shown(terminal).count("trying again") == 2


@pytest.mark.parametrize("fault", ["broken", "rate limit", "drop"])
def test_a_fault_that_passes(server: HubServer, fault: str) -> None:
    server.faults, server.fault_count = {"storage": fault}, 3
    assert download().read_bytes() == DATA
    assert server.count("storage") == 4


def test_a_run_that_is_given_up_says_where_the_next_continues(
    server: HubServer, tmp_path: Path
) -> None:
    server.faults = {"storage": "cut"}
    with pytest.raises(ModelNotAvailable, match="broke off") as caught:
        download()
    (part,) = parts(tmp_path)
    size = part.stat().st_size
    assert part.read_bytes() == DATA[:size]
    assert caught.value.hint.endswith(f"The next run continues at {hub.format_size(size)}.")
    # Nobody takes the part for a file.
    assert hub.locate(REPO, FILE) is None
    assert (hub.cached_files(REPO), hub.cached_ggufs()) == ([], [])
    server.faults = {}
    assert download().read_bytes() == DATA
    assert server.sent == len(DATA)
    assert parts(tmp_path) == []


def test_other_tools_see_a_part_as_incomplete(server: HubServer, tmp_path: Path) -> None:
    from huggingface_hub import scan_cache_dir

    part = leave_a_part(server, tmp_path)
    scan = scan_cache_dir(tmp_path / "hub")
    assert [file.file_path for file in scan.incomplete_files] == [part]
    assert scan.warnings == []


def test_a_server_that_ignores_ranges(server: HubServer, tmp_path: Path) -> None:
    leave_a_part(server, tmp_path)
    server.faults = {"storage": "no ranges"}
    assert download().read_bytes() == DATA


def test_a_server_that_always_ends_early(server: HubServer) -> None:
    server.faults = {"storage": "short"}
    with pytest.raises(ModelNotAvailable, match="the server ended after"):
        download()


def test_wrong_bytes(server: HubServer, tmp_path: Path) -> None:
    server.faults = {"storage": "wrong bytes"}
    with pytest.raises(ModelNotAvailable, match="is published; what came is deleted") as caught:
        download()
    assert hashlib.sha256(DATA[::-1]).hexdigest() in caught.value.message
    assert "next run continues" not in caught.value.hint
    assert hub.locate(REPO, FILE) is None
    assert [path for path in tmp_path.glob("hub/models*/blobs/*")] == []
    server.faults = {}
    assert download().read_bytes() == DATA


@pytest.mark.parametrize("content", [b"x" * 1000, DATA + b"x", b"x" * len(DATA)])
def test_a_part_that_was_damaged(server: HubServer, tmp_path: Path, content: bytes) -> None:
    part = leave_a_part(server, tmp_path)
    part.write_bytes(content)
    with pytest.raises(ModelNotAvailable, match="is published"):
        download()
    assert not part.exists()
    assert download().read_bytes() == DATA


def test_a_part_that_is_whole_needs_no_bytes(server: HubServer, tmp_path: Path) -> None:
    leave_a_part(server, tmp_path).write_bytes(DATA)
    assert download().read_bytes() == DATA
    assert server.count("storage") == 0


def test_the_file_has_changed_meanwhile(server: HubServer, tmp_path: Path) -> None:
    old = leave_a_part(server, tmp_path)
    server.repos[REPO][FILE] = DATA[::-1]
    assert download().read_bytes() == DATA[::-1]
    assert ranges(server) == [None]
    assert not old.exists()


def test_an_older_part_that_is_being_written_stays(server: HubServer, tmp_path: Path) -> None:
    from huggingface_hub.utils import WeakFileLock

    old = leave_a_part(server, tmp_path)
    server.repos[REPO][FILE] = DATA[::-1]
    lock = tmp_path / "hub" / ".locks" / old.parent.parent.name / f"{old.name[:64]}.lock"
    assert lock.exists()
    with WeakFileLock(lock):
        download()
    assert old.exists()


def test_parts_of_other_files_stay(server: HubServer, tmp_path: Path) -> None:
    part = leave_a_part(server, tmp_path)
    hub.download(REPO, "sub/model.Q8_0.gguf", None, make_terminal())
    assert parts(tmp_path) == [part]


def test_a_newer_version_is_fetched_and_an_unreachable_hub_is_no_harm(server: HubServer) -> None:
    path = download()
    server.faults = {"resolve": "broken"}
    terminal = make_terminal()
    assert hub.download(REPO, FILE, None, terminal) == path
    assert "the file that is here is taken" in shown(terminal)
    server.faults = {"resolve": "no file"}
    with pytest.raises(ModelNotAvailable, match="has no file"):
        download()


def test_too_little_space(
    server: HubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    leave_a_part(server, tmp_path)
    monkeypatch.setattr("shutil.disk_usage", lambda path: SimpleNamespace(free=10))
    with pytest.raises(ModelNotAvailable, match=r"needs [\d.]+ kB more in .*blobs, and 10 B") as found:
        download()
    assert "HF_HOME" in found.value.hint
    assert server.count("storage") == 0


def test_a_full_disk(server: HubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = transfer._fill

    def fill(part: BinaryIO, *rest: object) -> str:
        def write(data: bytes) -> int:
            raise OSError(errno.ENOSPC, "No space left on device")

        full = SimpleNamespace(read=part.read, tell=part.tell, write=write)
        return real(full, *rest)  # type: ignore[arg-type]

    leave_a_part(server, tmp_path)
    monkeypatch.setattr(transfer, "_fill", fill)
    with pytest.raises(ModelNotAvailable, match="no space left") as caught:
        download()
    assert "HF_HOME" in caught.value.hint
    assert "The next run continues at" in caught.value.hint
    monkeypatch.undo
