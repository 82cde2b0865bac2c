"""Stop signals where Python cannot act on them at once, or where they come again and again."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest
from support.processes import wait_for

pytestmark = pytest.mark.alone

_BEGIN = """
import ctypes, sys, time
from mistral_cli.system.files import scratch_folder
from mistral_cli.system.signals import StopRequested, native_load, on_stop, stoppable, watch
watch()
"""
_STOPS = pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGINT, signal.SIGTERM])


def start(short_folder: Path, monkeypatch: pytest.MonkeyPatch, code: str) -> subprocess.Popen[str]:
    """Start a program with its own folder for temporary files, and wait until it sleeps."""
    monkeypatch.setenv("TMPDIR", str(short_folder))
    running = subprocess.Popen(
        [sys.executable, "-c", _BEGIN + code],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert running.stdout
    assert running.stdout.readline() == "ready\n"
    stat = Path(f"/proc/{running.pid}/stat")
    wait_for(lambda: stat.read_text().rpartition(")")[2].split()[0] == "S")
    return running


@_STOPS
def test_a_stop_during_a_native_call_that_does_not_return(
    short_folder: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    code = """
mutex = ctypes.create_string_buffer(64)  # locking it twice waits forever, whatever signal comes
lock = ctypes.CDLL(None).pthread_mutex_lock
lock(mutex)
with stoppable(), scratch_folder():
    print("ready", flush=True)
    lock(mutex)
"""
    running = start(short_folder, monkeypatch, code)
    running.send_signal(number)
    assert running.communicate(timeout=30) == ("", "")
    assert running.returncode == 128 + number
    assert not list(short_folder.iterdir())


@_STOPS
def test_a_stop_during_a_load_that_holds_the_lock_of_python(
    short_folder: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    code = """
with stoppable(), scratch_folder() as folder:
    (folder / "file").touch()
    with native_load():
        print("ready", flush=True)
        ctypes.PyDLL(None).sleep(100)
"""
    running = start(short_folder, monkeypatch, code)
    running.send_signal(number)
    assert running.communicate(timeout=30) == ("", "")
    assert running.returncode == -number
    wait_for(lambda: not list(short_folder.iterdir()))


def test_a_load_within_on_stop_is_completed(
    short_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = """
from mistral_cli.system.signals import request_stop
try:
    with stoppable(), on_stop(request_stop), native_load():
        print("ready", flush=True)
        ctypes.PyDLL(None).usleep(300_000)
        print("loaded", flush=True)
except StopRequested as stopped:
    print(stopped.number, flush=True)
"""
    running = start(short_folder, monkeypatch, code)
    running.send_signal(signal.SIGTERM)
    running.send_signal(signal.SIGTERM)
    assert running.communicate(timeout=30) == (f"loaded\n{signal.SIGTERM}\n", "")


def test_later_signals_do_not_interrupt_the_clean_up(
    short_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = """
try:
    with stoppable():
        try:
            print("ready", flush=True)
            time.sleep(100)
        finally:
            print("cleaning up", flush=True)
            time.sleep(0.4)
            print("cleaned up", flush=True)
except StopRequested as stopped:
    sys.exit(128 + stopped.number)
"""
    running = start(short_folder, monkeypatch, code)
    assert running.stdout
    running.send_signal(signal.SIGTERM)
    assert running.stdout.readline() == "cleaning up\n"
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        running.send_signal(number)
    assert running.communicate(timeout=30) == ("cleaned up\n", "")
    assert running.returncode == 128 + signal.SIGTERM


def test_a_clean_up_that_hangs_is_cut_short(
    short_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = """
with stoppable(), scratch_folder():
    try:
        print("ready", flush=True)
        time.sleep(100)
    finally:
        time.sleep(100)
"""
    running = start(short_folder, monkeypatch, code)
    running.send_signal(signal.SIGTERM)
    assert running.communicate(timeout=30) == ("", "")
    assert running.returncode == 128 + signal.SIGTERM
    assert not list(short_folder.iterdir())


def test_patience_waits_until_a_stop_is_requested(
    short_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As training does, which ends after the current step at the first signal."""
    code = """
from mistral_cli.system.signals import request_stop
numbers = []
def act(number):
    numbers.append(number)
    print(len(numbers), flush=True)
    if len(numbers) == 2:
        request_stop(number)
try:
    with stoppable(), on_stop(act, patient=True):
        print("ready", flush=True)
        while True:
            time.sleep(100)
except StopRequested as stopped:
    sys.exit(128 + stopped.number)
"""
    running = start(short_folder, monkeypatch, code)
    assert running.stdout
    running.send_signal(signal.SIGTERM)
    assert running.stdout.readline() == "1\n"
    with pytest.raises(subprocess.TimeoutExpired):
        running.wait(2)
    running.send_signal(signal.SIGTERM)
    assert running.communicate(timeout=30) == ("2\n", "")
    assert running.returncode == 128 + signal.SIGTERM
