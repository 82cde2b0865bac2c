"""`models.hub.transfer`: cut, killed, concurrent and wrong downloads, with the real client."""

from __future__ import annotations

import hashlib
import os
import random
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from support.hub_client import DATA, FILE, REPO, client_env, drive, start_pull, without_privileges
from support.hub_server import COMMIT, HubServer
from support.processes import wait_for
from support.terminals import make_terminal, shown

from mistral_cli.errors import ModelNotAvailable
from mistral_cli.models.disk import format_size
from mistral_cli.models.hub.api import (
    cached_filenames,
    cached_path,
    download_file,
    get_remote_file,
)
from mistral_cli.models.hub.cache import cached_ggufs
from mistral_cli.models.hub.partial import partial_suffix
from mistral_cli.models.hub.transfer import DownloadProgress, download_blob, is_resumable
from mistral_cli.system.terminal import Terminal


def download(revision: str | None = None) -> Path:
    return download_file(REPO, FILE, revision, make_terminal())


def make_progress(terminal: Terminal) -> type[DownloadProgress]:
    class Progress(DownloadProgress):
        pass

    Progress.reporter, Progress.label = terminal, FILE
    return Progress


def partial_files(folder: Path) -> list[Path]:
    return list(folder.rglob("*.incomplete"))


def ranges(server: HubServer) -> list[str | None]:
    return [request.range for request in server.requests if request.endpoint == "storage"]


def leave_partial_file(server: HubServer, folder: Path) -> Path:
    """Leave the partial file of a run that failed in the middle."""
    server.faults = {"storage": "cut"}
    with pytest.raises(ModelNotAvailable):
        download()
    server.faults = {}
    server.requests.clear()
    (partial,) = partial_files(folder)
    os.truncate(partial, 300_000)
    return partial


def test_continues_a_cut_download(server: HubServer) -> None:
    server.faults, server.fault_count = {"storage": "cut"}, 2
    terminal = make_terminal()
    assert download_file(REPO, FILE, None, terminal).read_bytes() == DATA
    assert ranges(server) == [None, "bytes=512000-", "bytes=768000-"]
    assert server.sent == len(DATA)
    assert shown(terminal).count("trying again") == 2


@pytest.mark.parametrize("fault", ["broken", "rate limit", "drop"])
def test_retries_after_a_transient_fault(server: HubServer, fault: str) -> None:
    server.faults, server.fault_count = {"storage": fault}, 3
    assert download().read_bytes() == DATA
    assert server.count("storage") == 4


def test_a_failed_run_reports_where_the_next_continues(server: HubServer, tmp_path: Path) -> None:
    server.faults = {"storage": "cut"}
    with pytest.raises(ModelNotAvailable, match="was lost") as caught:
        download()
    (partial,) = partial_files(tmp_path)
    size = partial.stat().st_size
    assert partial.read_bytes() == DATA[:size]
    assert caught.value.hint.endswith(f"The next run continues at {format_size(size)}.")
    # The partial file does not count as a file of the repository.
    assert cached_path(REPO, FILE) is None
    assert (cached_filenames(REPO), cached_ggufs()) == ([], [])
    server.faults = {}
    assert download().read_bytes() == DATA
    assert server.sent == len(DATA)
    assert partial_files(tmp_path) == []


def test_other_tools_see_an_incomplete_file(server: HubServer, tmp_path: Path) -> None:
    from huggingface_hub import scan_cache_dir

    partial = leave_partial_file(server, tmp_path)
    scan = scan_cache_dir(tmp_path / "hub")
    assert [file.file_path for file in scan.incomplete_files] == [partial]
    assert scan.warnings == []


def test_a_file_system_without_links_keeps_one_copy(
    server: HubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_SYMLINKS", True)
    leave_partial_file(server, tmp_path)
    path = download()
    assert path.read_bytes() == DATA
    assert not path.is_symlink()
    assert [
        file for file in tmp_path.rglob("*") if file.is_file() and file.stat().st_size > 999
    ] == [path]
    assert [file.path for file in cached_ggufs()] == [path]
    assert download() == path


def test_without_links_a_new_commit_copies_the_content_of_an_older_one(
    server: HubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_SYMLINKS", True)
    newer = download()
    older = Path(str(newer).replace(COMMIT, "f" * 40))
    older.parent.mkdir()
    newer.rename(older)
    server.requests.clear()
    assert download() == newer
    assert (newer.read_bytes(), older.read_bytes()) == (DATA, DATA)
    assert server.count("storage") == 0
    newer.unlink()
    older.write_bytes(DATA[::-1])
    assert download().read_bytes() == DATA


def test_a_server_that_ignores_ranges(server: HubServer, tmp_path: Path) -> None:
    leave_partial_file(server, tmp_path)
    server.faults = {"storage": "no ranges"}
    assert download().read_bytes() == DATA


def test_a_server_that_always_ends_early(server: HubServer, tmp_path: Path) -> None:
    leave_partial_file(server, tmp_path)
    server.faults = {"storage": "short"}
    with pytest.raises(ModelNotAvailable, match="the server closed the connection after"):
        download()


def test_faults_between_progress_do_not_add_up(server: HubServer) -> None:
    server.faults, server.fault_count = (
        {"storage": "cut"},
        8,
    )  # more than the limit of faults in a row
    assert download().read_bytes() == DATA


@pytest.mark.parametrize("endpoint", ["storage", "resolve"])
def test_a_web_page_in_place_of_the_bytes(server: HubServer, endpoint: str) -> None:
    """A login page is not part of the file; the download continues after it."""
    file = get_remote_file(REPO, FILE)
    server.faults, server.fault_count = {endpoint: "garbage"}, 1
    terminal = make_terminal()
    download_blob(file, terminal, make_progress(terminal))
    assert "the answer is a web page; trying again" in shown(terminal)
    server.faults = {}
    assert download().read_bytes() == DATA


@pytest.mark.parametrize(
    ("fault", "begun"), [("garbage", False), ("garbage", True), ("short", False)]
)
def test_a_run_that_receives_only_other_bytes(
    server: HubServer, tmp_path: Path, fault: str, begun: bool
) -> None:
    size = leave_partial_file(server, tmp_path).stat().st_size if begun else 0
    server.faults = {"storage": fault}
    with pytest.raises(ModelNotAvailable, match="does not answer like a model hub"):
        download()
    assert [partial.stat().st_size for partial in partial_files(tmp_path)] == [size]
    server.faults = {}
    assert download().read_bytes() == DATA
    assert ranges(server)[-1] == (f"bytes={size}-" if begun else None)


def test_a_server_that_starts_too_late(server: HubServer, tmp_path: Path) -> None:
    partial = leave_partial_file(server, tmp_path)
    server.faults = {"storage": "later range"}
    with pytest.raises(ModelNotAvailable, match="starts after the requested bytes"):
        download()
    assert partial.read_bytes() == DATA[:300_000]


def test_a_server_that_does_not_end(server: HubServer) -> None:
    server.repos[REPO][FILE] = DATA[:200_000]
    server.faults = {"storage": "endless"}
    with pytest.raises(ModelNotAvailable, match="published"):
        download()
    assert server.count("storage") == 1
    assert server.sent < 100 * 200_000  # a few megabytes may be in flight


def test_a_file_too_large_for_the_hubs_http_is_not_resumable(
    server: HubServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = get_remote_file(REPO, FILE)
    assert is_resumable(file)
    monkeypatch.setattr("huggingface_hub.constants.MAX_HTTP_DOWNLOAD_SIZE", len(DATA) - 1)
    assert not is_resumable(file)


@pytest.mark.parametrize("links", [True, False])
@pytest.mark.parametrize("content", [b"", DATA[:1000], DATA + b"x"])
def test_a_file_of_the_wrong_length_is_replaced(
    server: HubServer, monkeypatch: pytest.MonkeyPatch, content: bytes, links: bool
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_SYMLINKS", not links)
    path = download()
    path.write_bytes(content)
    assert download() == path
    assert path.read_bytes() == DATA


def test_a_cached_file_needs_no_writable_cache(server: HubServer, tmp_path: Path) -> None:
    home = tmp_path / "home"
    first = drive(server, home)
    folders = [home, *(folder for folder in home.rglob("*") if folder.is_dir())]
    for folder in folders:
        folder.chmod(0o555)
    again = drive(server, home, *without_privileges())
    for folder in folders:
        folder.chmod(0o755)
    assert (again.returncode, again.stdout, again.stderr) == (0, first.stdout, "")


def test_wrong_bytes(server: HubServer, tmp_path: Path) -> None:
    server.faults = {"storage": "wrong bytes"}
    with pytest.raises(ModelNotAvailable, match=r"published .*; the download is deleted") as caught:
        download()
    assert hashlib.sha256(DATA[::-1]).hexdigest() in caught.value.message
    assert "next run continues" not in caught.value.hint
    assert cached_path(REPO, FILE) is None
    assert not list(tmp_path.glob("hub/models*/blobs/*"))
    server.faults = {}
    assert download().read_bytes() == DATA


@pytest.mark.parametrize("content", [b"x" * 1000, DATA + b"x", b"x" * len(DATA)])
def test_a_damaged_partial_file(server: HubServer, tmp_path: Path, content: bytes) -> None:
    partial = leave_partial_file(server, tmp_path)
    partial.write_bytes(content)
    with pytest.raises(ModelNotAvailable, match="published"):
        download()
    assert not partial.exists()
    assert download().read_bytes() == DATA


def test_a_complete_partial_file_needs_no_bytes(server: HubServer, tmp_path: Path) -> None:
    leave_partial_file(server, tmp_path).write_bytes(DATA)
    assert download().read_bytes() == DATA
    assert server.count("storage") == 0


def test_the_file_changes_between_two_runs(server: HubServer, tmp_path: Path) -> None:
    old = leave_partial_file(server, tmp_path)
    server.repos[REPO][FILE] = DATA[::-1]
    assert download().read_bytes() == DATA[::-1]
    assert ranges(server) == [None]
    assert not old.exists()


def test_keeps_an_older_partial_file_with_the_lock_of_another_user(
    server: HubServer, tmp_path: Path
) -> None:
    home = tmp_path / "home"
    drive(server, home)  # makes the folders
    (blobs,) = home.glob("hub/models*/blobs")
    old = blobs / ("0" * 64 + partial_suffix(FILE))
    old.touch()
    lock = home / "hub" / ".locks" / blobs.parent.name / ("0" * 64 + ".lock")
    lock.touch(0o000)
    server.repos[REPO][FILE] = DATA[::-1]
    result = drive(server, home, *without_privileges())
    assert result.returncode == 0, result.stderr
    assert old.exists()


def test_keeps_an_older_partial_file_in_use(server: HubServer, tmp_path: Path) -> None:
    from huggingface_hub.utils import WeakFileLock

    old = leave_partial_file(server, tmp_path)
    server.repos[REPO][FILE] = DATA[::-1]
    lock = tmp_path / "hub" / ".locks" / old.parent.parent.name / f"{old.name[:64]}.lock"
    assert lock.exists()
    with WeakFileLock(lock):
        download()
    assert old.exists()


def test_keeps_partial_files_of_other_files(server: HubServer, tmp_path: Path) -> None:
    partial = leave_partial_file(server, tmp_path)
    download_file(REPO, "sub/model.Q8_0.gguf", None, make_terminal())
    assert partial_files(tmp_path) == [partial]


def test_uses_the_cached_file_if_the_hub_does_not_answer(server: HubServer) -> None:
    path = download()
    server.faults = {"resolve": "broken"}
    terminal = make_terminal()
    assert download_file(REPO, FILE, None, terminal) == path
    assert "using the file on this machine" in shown(terminal)
    server.faults = {"resolve": "no file"}
    with pytest.raises(ModelNotAvailable, match="has no file"):
        download()


def test_too_little_space(
    server: HubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    leave_partial_file(server, tmp_path)
    monkeypatch.setattr("shutil.disk_usage", lambda path: SimpleNamespace(free=10))
    message = r"needs 724 kB more in .*blobs, but only 10 B"
    with pytest.raises(ModelNotAvailable, match=message) as caught:
        download()
    assert "HF_HOME" in caught.value.hint
    assert server.count("storage") == 0


def test_a_full_disk(server: HubServer, tmp_path: Path) -> None:
    """Another program fills the disk in the middle of a download; later there is room again."""
    server.pace = 0.03
    fill = """
        mount -t tmpfs -o size=1200k none "$HF_HOME" || exit 77
        (until ls "$HF_HOME"/hub/models*/blobs/*.incomplete; do sleep 0.02; done
         head -c 1000k /dev/zero >"$HF_HOME/filler") >"$HF_HOME/log" 2>&1 &
        "$@"; echo "status $?"
        wait; rm "$HF_HOME/filler"
        "$@" && sha256sum "$HF_HOME"/hub/models*/snapshots/*/*"""
    (tmp_path / "home").mkdir()
    unshare = shutil.which("unshare") or "false"
    result = drive(server, tmp_path / "home", unshare, "-rm", "sh", "-c", fill, "sh")
    if result.returncode == 77 or not server.requests:
        pytest.skip("no file system can be mounted here")
    assert "no space left on the disk" in result.stderr
    assert "set HF_HOME to a folder on a larger disk. The next run continues at" in result.stderr
    assert "status 3" in result.stdout
    assert result.returncode == 0
    assert hashlib.sha256(DATA).hexdigest() in result.stdout
    first, second = ranges(server)
    assert first is None
    assert second
    assert int(second.removeprefix("bytes=").rstrip("-")) > 0


def test_a_file_system_without_large_files(server: HubServer, tmp_path: Path) -> None:
    limit = ("sh", "-c", 'ulimit -f 600 && exec "$@"', "sh")
    result = drive(server, tmp_path / "home", *limit)
    assert result.returncode == 3
    assert "too large for a file in the hub cache" in result.stderr
    assert drive(server, tmp_path / "home").returncode == 0


def test_a_server_that_stops_sending(server: HubServer, tmp_path: Path) -> None:
    server.faults, server.fault_count = {"storage": "stall"}, 1
    result = drive(server, tmp_path / "home", HF_HUB_DOWNLOAD_TIMEOUT="1")
    assert result.returncode == 0, result.stderr
    assert ranges(server) == [None, "bytes=512000-"]


@pytest.fixture
def model(server: HubServer, mistral: Path) -> bytes:
    """A real model on a hub that sends slowly."""
    data = mistral.read_bytes()
    server.repos[REPO][FILE] = data
    server.pace = 0.001
    return data


# Bytes that the server may have written and a killed client may not have read.
IN_FLIGHT = 1_500_000


def test_continues_after_kill_9_at_random_moments(
    server: HubServer, model: bytes, tmp_path: Path
) -> None:
    moments = sorted(random.Random(5).sample(range(len(model)), 6))
    for moment in moments:
        process = start_pull(server, tmp_path)
        wait_for(lambda moment=moment: server.sent >= moment)  # type: ignore[misc]
        process.kill()
        process.communicate()
        assert not list(tmp_path.glob("hub/models*/snapshots/*/*"))
    process = start_pull(server, tmp_path)
    stdout, stderr = process.communicate(timeout=60)
    assert process.returncode == 0, stderr
    assert Path(stdout.strip()).read_bytes() == model
    assert server.sent < len(model) + len(moments) * IN_FLIGHT
    assert partial_files(tmp_path) == []


def test_ctrl_c_reports_where_the_next_run_continues(
    server: HubServer, model: bytes, tmp_path: Path
) -> None:
    process = start_pull(server, tmp_path)
    wait_for(lambda: server.sent > 2_000_000)
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 130
    (partial,) = partial_files(tmp_path)
    size = format_size(partial.stat().st_size)
    last = f"mistral-cli: stopped; run the same command again to continue at {size}"
    assert stderr.splitlines()[-1] == last
    process = start_pull(server, tmp_path)
    stdout, stderr = process.communicate(timeout=60)
    assert f"downloading {FILE} (17.4 MB; {size} already downloaded) ..." in stderr
    assert " 10 % of" not in stderr
    assert Path(stdout.strip()).read_bytes() == model
    assert server.sent < len(model) + IN_FLIGHT


def second_pull(server: HubServer, home: Path) -> tuple[subprocess.Popen[str], ...]:
    """Return a pull in the middle of its download, and another that waits for it."""
    server.pace = 0.05
    first = start_pull(server, home)
    wait_for(lambda: server.sent > 0)
    second = start_pull(server, home)
    assert second.stderr
    line = second.stderr.readline()
    assert line == f"mistral-cli: another process is downloading {FILE}; waiting for it ...\n"
    server.pace = 0.001
    return first, second


def test_ctrl_c_while_waiting(server: HubServer, model: bytes, tmp_path: Path) -> None:
    first, second = second_pull(server, tmp_path)
    second.send_signal(signal.SIGINT)
    assert (second.communicate(timeout=60), second.returncode) == (("", ""), 130)
    assert first.wait(timeout=60) == 0


def test_two_processes_download_once(server: HubServer, model: bytes, tmp_path: Path) -> None:
    outputs = [p.communicate(timeout=60) for p in second_pull(server, tmp_path)]
    assert outputs[0][0] == outputs[1][0]
    assert outputs[1][1] == ""
    assert Path(outputs[0][0].strip()).read_bytes() == model
    assert (server.count("storage"), server.sent) == (1, len(model))


def test_the_second_process_continues_after_the_first_is_killed(
    server: HubServer, model: bytes, tmp_path: Path
) -> None:
    first, second = second_pull(server, tmp_path)
    first.kill()
    first.communicate()
    stdout, _ = second.communicate(timeout=60)
    assert Path(stdout.strip()).read_bytes() == model
    assert server.count("storage") == 2
    assert server.sent < len(model) + IN_FLIGHT


def test_other_tools_wait_for_our_lock(server: HubServer, model: bytes, tmp_path: Path) -> None:
    server.pace = 0.002
    ours = start_pull(server, tmp_path)
    wait_for(lambda: server.sent > 0)
    code = "import sys, huggingface_hub; print(huggingface_hub.hf_hub_download(*sys.argv[1:]))"
    theirs = subprocess.run(
        [sys.executable, "-c", code, REPO, FILE],
        env=client_env(server, tmp_path),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert theirs.stdout == ours.communicate(timeout=60)[0]
    assert server.count("storage") == 1


def test_progress_of_a_xet_download() -> None:
    """The Xet client needs a real Xet store, so the test calls its reporter itself."""
    from huggingface_hub.utils import _xet_progress_reporting as xet

    terminal = make_terminal()

    class Shown(DownloadProgress):
        pass

    Shown.reporter, Shown.label = terminal, FILE
    with xet.XetDownloadProgressReporter(
        reconstruction_desc="", total=1000, log_level=30, tqdm_class=Shown
    ) as reporter:
        for done in range(0, 1001, 250):
            report = SimpleNamespace(
                total_bytes=1000,
                total_bytes_completed=done,
                total_bytes_completion_rate=None,
                total_transfer_bytes_completed=done // 2,
                total_transfer_bytes_completion_rate=1.0,
            )
            reporter.update_progress(report)
    assert [line.split(":")[-1] for line in shown(terminal).splitlines()] == [
        f" downloading {FILE} (1 kB) ...", " 20 % of 1 kB", " 50 % of 1 kB", " 70 % of 1 kB",
    ]  # fmt: skip
