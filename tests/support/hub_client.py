"""Helpers for tests of the hub's client, in this process and in processes of its own."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.hub_server import HubServer, running

REPO = "owner/model-GGUF"
FILE = "model.Q4_K_M.gguf"
DATA = bytes(range(256)) * 4000


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[HubServer]:
    """A hub, and a client in this process that uses it and does not wait between retries."""
    from huggingface_hub import constants

    files = {FILE: DATA, "sub/model.Q8_0.gguf": DATA[:999], "README.md": b"# model"}
    with running({REPO: files}) as hub_server:
        # The client reads its environment only when it is imported, so patch its constants.
        monkeypatch.setattr(constants, "ENDPOINT", hub_server.hub_url)
        template = hub_server.hub_url + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
        monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "token"))
        harnesses = str(tmp_path / "harnesses")  # newer clients write this file
        monkeypatch.setattr(constants, "AGENT_HARNESSES_PATH", harnesses, raising=False)
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        monkeypatch.setenv("HF_TOKEN", "hf_test")
        monkeypatch.setattr("time.sleep", lambda seconds: None)
        yield hub_server


DRIVER = """
import sys, time
from mistral_cli.models.hub.api import download_file
from mistral_cli.errors import MistralCliError
from mistral_cli.system.terminal import Terminal
time.sleep = lambda seconds: None
terminal = Terminal.from_process()
try:
    print(download_file(sys.argv[1], sys.argv[2], None, terminal))
except MistralCliError as error:
    terminal.error(error.message, error.hint)
    sys.exit(error.exit_code)
"""


def client_env(server: HubServer, home: Path, **env: str) -> dict[str, str]:
    """Return the environment of a process that uses this hub only."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
    return clean | {
        "HF_HOME": str(home),
        "HF_ENDPOINT": server.hub_url,
        "NO_PROXY": "127.0.0.1",
        **env,
    }


def without_privileges() -> tuple[str, ...]:
    """Return a command prefix under which file permissions apply even to root."""
    if os.geteuid() != 0:
        return ()
    if not (setpriv := shutil.which("setpriv")):
        pytest.skip("root has all permissions, and setpriv is not installed")
    return (setpriv, "--bounding-set", "-dac_override,-dac_read_search")


def drive(
    server: HubServer, home: Path, *before: str, **env: str
) -> subprocess.CompletedProcess[str]:
    """Download in a process of its own, with the command prefix `before` if there is one."""
    command = [*before, sys.executable, "-c", DRIVER, REPO, FILE]
    env = client_env(server, home, **env)
    return subprocess.run(command, env=env, capture_output=True, text=True, timeout=60)


WITHOUT_WAITING = """
import sys, time
time.sleep = lambda seconds: None
from mistral_cli.cli.app import main
sys.argv[0] = "mistral-cli"
main()
"""


def run_without_waiting(
    server: HubServer, home: Path, *arguments: str, **env: str
) -> subprocess.CompletedProcess[str]:
    """Run the program in a process of its own, without waiting between retries."""
    return subprocess.run(
        [sys.executable, "-c", WITHOUT_WAITING, *arguments],
        env=client_env(server, home, **env),
        capture_output=True,
        text=True,
        timeout=60,
    )


def start_pull(server: HubServer, home: Path) -> subprocess.Popen[str]:
    """Start `models pull` and return while it runs."""
    return subprocess.Popen(
        [sys.executable, "-m", "mistral_cli", "models", "pull", f"{REPO}/{FILE}"],
        env=client_env(server, home),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
