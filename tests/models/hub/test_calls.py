"""`models.hub.calls`: the library's log and its errors about tokens, as the user sees them."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
from support.hub_client import FILE, REPO, drive, run_without_waiting, without_privileges
from support.hub_server import HubServer
from support.terminals import make_terminal, shown

from mistral_cli.models.hub.api import download_file
from mistral_cli.models.hub.calls import hub_call


@pytest.mark.parametrize("verbose", [False, True])
def test_the_librarys_log_goes_to_the_reporter(
    server: HubServer, verbose: bool, capfd: pytest.CaptureFixture[str]
) -> None:
    server.faults, server.fault_count = {"resolve": "broken"}, 3
    terminal = make_terminal(verbose=verbose)
    download_file(REPO, FILE, None, terminal)
    assert "mistral-cli: waiting for the hub: HTTP Error 500 thrown" in shown(terminal)
    assert ("Retrying in 2s" in shown(terminal)) == verbose
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("quiet", [(), ("-q",)])
@pytest.mark.parametrize("command", [("pull", "--dry-run"), ("show",)])
def test_a_slow_hub_is_named_while_the_user_waits(
    server: HubServer, tmp_path: Path, command: tuple[str, ...], quiet: tuple[str, ...],
    mistral: Path,
) -> None:  # fmt: skip
    """In a new process, where the library has not set up its log yet."""
    server.repos[REPO][FILE] = mistral.read_bytes()
    server.faults, server.fault_count = {"resolve": "broken"}, 2
    reference = f"{REPO}/{FILE}"
    result = run_without_waiting(server, tmp_path / "h", "models", *command, *quiet, reference)
    assert result.returncode == 0
    lines = result.stderr.splitlines()
    assert [line[:44] for line in lines] == ["mistral-cli: waiting for the hub: HTTP Error"] * (
        not quiet
    )


@pytest.mark.parametrize("token", ["hf_geheim\x0bx", "hf_geh\u00e9im", "hf_geheim\udcff"])
def test_a_token_with_an_invalid_character_is_not_shown(
    server: HubServer, tmp_path: Path, token: str
) -> None:
    result = drive(server, tmp_path / "home", HF_TOKEN=token)
    assert result.returncode == 3
    assert "has characters that a token cannot have" in result.stderr
    assert "HF_TOKEN" in result.stderr
    assert "geh" not in result.stderr


def test_an_unreadable_token_file(server: HubServer, tmp_path: Path) -> None:
    token = tmp_path / "home" / "token"
    token.parent.mkdir()
    token.touch(0o000)
    result = drive(server, tmp_path / "home", *without_privileges(), HF_TOKEN="")
    assert result.returncode == 3
    assert "the file with the hub's token cannot be read" in result.stderr
    assert str(token) in result.stderr


def test_log_lines_do_not_contain_signed_urls() -> None:
    terminal = make_terminal()
    with hub_call("owner/model", reporter=terminal):
        logging.getLogger("huggingface_hub").warning("Error at https://cdn/file?signature=secret !")
    assert "Error at https://cdn/file !" in shown(terminal)
