"""Files that are replaced as a whole or not at all."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from mistral_cli.errors import MistralCliError, UsageError
from mistral_cli.system import files
from mistral_cli.system.files import (
    refuse_to_overwrite,
    removed_if_killed,
    scratch_folder,
    temporary_file_errors,
    write_atomically,
)


def test_the_file_is_replaced_and_nothing_is_left_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "page.html"
    path.write_bytes(b"old")
    write_atomically(path, b"new")
    assert path.read_bytes() == b"new"
    assert list(tmp_path.iterdir()) == [path]


def test_permissions_are_what_the_umask_leaves(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        write_atomically(tmp_path / "page.html", b"")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "page.html").stat().st_mode) == 0o640


def test_a_failure_leaves_the_old_file_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(descriptor: int) -> None:
        (temporary,) = tmp_path.glob(".*")
        assert temporary.read_bytes() == b"new"
        raise OSError(28, "No space left on device")

    path = tmp_path / "page.html"
    path.write_bytes(b"old")
    monkeypatch.setattr(files.os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write_atomically(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        write_atomically(tmp_path / "missing" / "page.html", b"")


def test_the_longest_name_fits(tmp_path: Path) -> None:
    path = tmp_path / ("x" * 255)
    write_atomically(path, b"new")
    assert path.read_bytes() == b"new"


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "latest.html").symlink_to("page.html")
    write_atomically(tmp_path / "latest.html", b"new")
    assert (tmp_path / "latest.html").is_symlink()
    assert (tmp_path / "page.html").read_bytes() == b"new"


def test_a_pipe_is_written_to_and_stays_one(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    try:
        write_atomically(pipe, b"new")
        assert os.read(reader, 10) == b"new"
    finally:
        os.close(reader)
    assert pipe.is_fifo()


def test_folders_of_killed_processes_are_removed(tmp_path: Path) -> None:
    other = tmp_path / "mistral-cli-notes"
    other.mkdir()
    code = "import pathlib, sys, time, mistral_cli.system.files as s\n"
    code += "with s.scratch_folder(pathlib.Path(sys.argv[1])) as f: print(f, flush=1)"
    child = subprocess.Popen(
        [sys.executable, "-c", f"{code}; time.sleep(60)", tmp_path],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert child.stdout
    folder_of_child = Path(child.stdout.readline().strip())
    (folder_of_child / "s.sock").touch()
    with scratch_folder(tmp_path) as folder:
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        assert sorted(tmp_path.iterdir()) == sorted([folder_of_child, other, folder])
    child.kill()
    child.communicate()
    with scratch_folder(tmp_path) as folder:
        assert sorted(tmp_path.iterdir()) == sorted([other, folder])
    assert list(tmp_path.iterdir()) == [other]


def test_folders_stay_after_an_error_of_a_call_that_could_have_ended_the_process(
    tmp_path: Path,
) -> None:
    with scratch_folder(tmp_path) as folder:
        with pytest.raises(ValueError, match="failed"), removed_if_killed():
            raise ValueError("the load failed")
        assert folder.exists()


def test_another_thread_may_add_a_folder_where_a_signal_may_end_the_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Growing(type(tmp_path)):  # type: ignore[misc]
        def __fspath__(self) -> str:
            files._leftovers.add(tmp_path / "of-another-thread")
            return super().__fspath__()

    monkeypatch.setattr(files, "_leftovers", {Growing(tmp_path / name) for name in "ab"})
    with removed_if_killed():
        assert len(files._leftovers) == 3


def test_the_same_process_id_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In another container that shares the folder, another process or none has this number."""
    monkeypatch.setattr(os, "getpid", lambda: 2**22 + 1)  # here there is no such process
    with scratch_folder(tmp_path) as first, scratch_folder(tmp_path):
        assert first.exists()


def test_no_temporary_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", "/nowhere")
    with (
        pytest.raises(MistralCliError, match="cannot create a temporary folder"),
        scratch_folder(),
    ):
        pass


@pytest.mark.parametrize("link", [None, "symbolic", "hard"])
def test_an_input_is_not_an_output_under_another_name(tmp_path: Path, link: str | None) -> None:
    model = tmp_path / "models" / "a.gguf"
    model.parent.mkdir()
    model.touch()
    output = model
    if link:
        output = tmp_path / "b.gguf"
        (output.symlink_to if link == "symbolic" else output.hardlink_to)(model)
    with pytest.raises(UsageError, match="is an input of this command"):
        refuse_to_overwrite([model], "-o", output)
    with pytest.raises(UsageError, match="contains the input"):
        refuse_to_overwrite([model], "-o", tmp_path / "models")
    refuse_to_overwrite([model], "-o", tmp_path / "c.gguf")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="Linux has /dev/full")
def test_an_error_of_a_temporary_file_names_the_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with (
        pytest.raises(MistralCliError) as caught,
        Path("/dev/full").open("wb", buffering=0) as file,
        temporary_file_errors(),
    ):
        file.write(b"row")
    assert caught.value.message == (
        f"cannot write a temporary file in {tmp_path}: No space left on device"
    )
    assert "TMPDIR" in (caught.value.hint or "")
