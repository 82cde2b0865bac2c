"""`models/hub.py` against a hub on this machine, through the real huggingface_hub client."""

from __future__ import annotations

import errno
import hashlib
import inspect
import io
import logging
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
from support.hub_client import (
    DATA,
    FILE,
    REPO,
    client_env,
    drive,
    run_without_waiting,
    without_privileges,
)
from support.hub_server import COMMIT, HubServer
from support.program import Result
from support.terminals import TerminalStream, make_terminal, shown

from mistral_cli.errors import ModelNotAvailable, UsageError
from mistral_cli.models.disk import format_size
from mistral_cli.models.hub import api as hub
from mistral_cli.models.hub import errors as hub_errors
from mistral_cli.models.hub.cache import cached_ggufs
from mistral_cli.models.hub.calls import seam
from mistral_cli.models.hub.transfer import Progress


def download(filename: str = FILE, repo: str = REPO, revision: str | None = None) -> Path:
    return hub.download(repo, filename, revision, make_terminal())


def test_download_then_locate_without_network(server: HubServer) -> None:
    assert hub.locate(REPO, FILE) is None
    assert not server.requests
    path = download()
    assert path.read_bytes() == DATA
    asked = len(server.requests)
    assert hub.locate(REPO, FILE) == path
    assert hub.locate(REPO, FILE, COMMIT) == path
    assert hub.locate(REPO, FILE, "other") is None
    assert hub.cached_files(REPO) == [FILE]
    assert hub.cached_files("owner/other") == []
    assert len(server.requests) == asked


def test_second_download_fetches_no_bytes_and_says_nothing(server: HubServer) -> None:
    download()
    terminal = make_terminal()
    hub.download(REPO, FILE, None, terminal)
    assert server.count("storage") == 1
    assert shown(terminal) == ""


def test_token_goes_to_the_hub_only(server: HubServer) -> None:
    download()
    tokens = {request.place: request.token for request in server.requests}
    assert (tokens["resolve"], tokens["storage"]) == ("Bearer hf_test", None)


def test_list_files_and_subfolders(server: HubServer) -> None:
    expected = {FILE: len(DATA), "sub/model.Q8_0.gguf": 999, "README.md": 7}
    assert dict(hub.list_files(REPO)) == expected
    assert download("sub/model.Q8_0.gguf").read_bytes() == DATA[:999]


def test_revision(server: HubServer) -> None:
    server.revisions.add("refs/pr/1")
    path = download(revision="refs/pr/1")
    assert hub.locate(REPO, FILE, "refs/pr/1") == path
    assert hub.locate(REPO, FILE) is None


def test_remote_file(server: HubServer) -> None:
    found = hub.remote_file(REPO, FILE)
    assert (found.size, found.commit) == (len(DATA), COMMIT)
    assert found.sha256 == hashlib.sha256(DATA).hexdigest()
    assert server.count("storage") == 0
    with pytest.raises(ModelNotAvailable, match=r"no file model.Q4_K\.gguf") as caught:
        hub.remote_file(REPO, "model.Q4_K.gguf")
    assert FILE in caught.value.hint


@pytest.mark.parametrize("fault", ["", "no ranges"])
def test_read_range(server: HubServer, fault: str) -> None:
    server.faults = {"storage": fault}
    file = hub.remote_file(REPO, FILE)
    assert hub.read_range(file, 0, 24) == DATA[:24]
    assert hub.read_range(file, 300_001, 200_000) == DATA[300_001:500_001]
    assert hub.read_range(file, len(DATA) - 5, 20) == DATA[-5:]
    ranges = [request.range for request in server.requests if request.place == "storage"]
    assert ranges[1] == "bytes=300001-500000"


def test_read_range_faults(server: HubServer) -> None:
    file = hub.remote_file(REPO, FILE)
    for place, fault, message in (
        ("storage", "cut", "broke off"),
        ("storage", "garbage", "does not answer like a model hub"),
        ("storage", "later range", "bytes after those"),
        ("resolve", "gated", "gated"),
    ):
        server.faults = {place: fault}
        with pytest.raises(ModelNotAvailable, match=message):
            hub.read_range(file, 1000, 200_000)


@pytest.mark.parametrize(
    ("place", "fault", "message", "hint"),
    [
        ("resolve", "gated", "gated", "HF_TOKEN"),
        ("resolve", "private", "no repository owner/model-GGUF", "HF_TOKEN"),
        ("resolve", "disabled", "disabled", "Choose another"),
        ("resolve", "bad token", "refused the token", "HF_TOKEN"),
        ("resolve", "forbidden", "forbids access", "HF_TOKEN"),
        ("resolve", "rate limit", "limits how often", "HF_TOKEN"),
        ("resolve", "broken", "HTTP 500", "try again later"),
        ("resolve", "no revision", "no revision main", "branches"),
        ("resolve", "garbage", "does not answer like a model hub", "HF_ENDPOINT"),
        ("resolve", "drop", "connection to http://127.0.0.1:\\d+ broke off", "network"),
        ("storage", "forbidden", "forbids access", "HF_TOKEN"),
        ("storage", "broken", "HTTP 500", "try again later"),
        ("storage", "drop", "broke off", "network"),
        ("storage", "cut", "broke off", "network"),
        ("resolve", "circle", "redirects in a circle", "HF_ENDPOINT"),
        ("storage", "circle", "redirects in a circle", "HF_ENDPOINT"),
    ],
)
def test_faults_of_a_download(
    server: HubServer, place: str, fault: str, message: str, hint: str
) -> None:
    server.faults = {place: fault}
    with pytest.raises(ModelNotAvailable, match=message) as caught:
        download()
    assert hint in caught.value.hint
    assert caught.value.__cause__ is not None
    assert "secret" not in caught.value.message + caught.value.hint
    assert hub.locate(REPO, FILE) is None


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("gated", "gated"),
        ("no repo", "no repository"),
        ("broken", "HTTP 500"),
        ("drop", "broke off"),
        ("garbage", "does not answer like a model hub"),
    ],
)
def test_faults_of_a_list(server: HubServer, fault: str, message: str) -> None:
    server.faults = {"api": fault}
    with pytest.raises(ModelNotAvailable, match=message):
        hub.list_files(REPO)


def test_a_missing_file_names_the_closest(server: HubServer) -> None:
    with pytest.raises(ModelNotAvailable, match=r"no file model.Q4_K\.gguf") as caught:
        download("model.Q4_K.gguf")
    assert caught.value.hint.startswith(f"It has {FILE}")
    assert "README" not in caught.value.hint


def test_a_missing_file_when_the_list_fails_too(server: HubServer) -> None:
    server.faults = {"api": "broken"}
    with pytest.raises(ModelNotAvailable, match="no file") as caught:
        download("x.gguf")
    assert f"{server.hub_url}/{REPO}" in caught.value.hint


def test_unknown_repository_and_malformed_name(server: HubServer) -> None:
    with pytest.raises(ModelNotAvailable, match="no repository owner/nothing"):
        download(repo="owner/nothing")
    with pytest.raises(UsageError, match="not a repository name"):
        download(repo="owner/--..")


def test_nobody_listens(server: HubServer, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    template = "http://127.0.0.1:1/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:1")
    with pytest.raises(ModelNotAvailable, match=r"cannot reach http://127\.0\.0\.1:1"):
        download()
    with pytest.raises(ModelNotAvailable, match=r"cannot reach http://127\.0\.0\.1:1"):
        hub.list_files(REPO)


def test_a_cache_that_cannot_be_made(
    server: HubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import constants

    (tmp_path / "file").touch()
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "file" / "hub"))
    with pytest.raises(ModelNotAvailable, match="hub cache cannot be used"):
        download()


def test_progress_in_a_log(server: HubServer) -> None:
    terminal = make_terminal()
    path = hub.download(REPO, FILE, None, terminal)
    lines = shown(terminal).splitlines()
    assert lines[0] == f"mistral-cli: downloading {FILE} (1.02 MB) ..."
    assert lines[1:-1] == [f"mistral-cli: {FILE}: {n} % of 1.02 MB" for n in range(10, 100, 10)]
    assert lines[-1] == f"mistral-cli: saved {path}"


def test_progress_on_a_terminal(server: HubServer) -> None:
    terminal = make_terminal(stderr=TerminalStream())
    hub.download(REPO, FILE, None, terminal)
    lines = shown(terminal).split("\n")
    assert f"{FILE}: asking the hub" in lines[0]
    assert any("MB/s" in part or "GB/s" in part for part in shown(terminal).split("\r"))
    assert lines[-2].endswith(FILE)  # saved
    assert lines[-1] == ""


@pytest.mark.parametrize("stream", [io.StringIO, TerminalStream])
def test_quiet(
    server: HubServer, stream: type[io.StringIO], capfd: pytest.CaptureFixture[str]
) -> None:
    server.faults, server.fault_count = {"storage": "cut"}, 1  # makes the library log, too
    terminal = make_terminal(stderr=stream(), quiet=True)
    handlers = list(logging.getLogger("huggingface_hub").handlers)
    assert hub.download(REPO, FILE, None, terminal).read_bytes() == DATA
    assert logging.getLogger("huggingface_hub").handlers == handlers
    assert shown(terminal) == ""
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("verbose", [False, True])
def test_the_librarys_log_goes_to_the_terminal(
    server: HubServer, verbose: bool, capfd: pytest.CaptureFixture[str]
) -> None:
    server.faults, server.fault_count = {"resolve": "broken"}, 3
    terminal = make_terminal(verbose=verbose)
    hub.download(REPO, FILE, None, terminal)
    assert "mistral-cli: waiting for the hub: HTTP Error 500 thrown" in shown(terminal)
    assert ("Retrying in 2s" in shown(terminal)) == verbose
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("quiet", [(), ("-q",)])
@pytest.mark.parametrize("command", [("pull", "--dry-run"), ("show",)])
def test_looking_up_says_what_it_waits_for(
    server: HubServer, tmp_path: Path, command: tuple[str, ...], quiet: tuple[str, ...],
    mistral: Path,
) -> None:  # fmt: skip
    """In a new process, where the library has not yet set up its log."""
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
def test_a_token_with_a_wrong_character_is_not_shown(
    server: HubServer, tmp_path: Path, token: str
) -> None:
    result = drive(server, tmp_path / "home", HF_TOKEN=token)
    assert result.returncode == 3
    assert "has characters that no token has" in result.stderr
    assert "HF_TOKEN" in result.stderr
    assert "geh" not in result.stderr


def test_a_token_file_that_cannot_be_read(server: HubServer, tmp_path: Path) -> None:
    token = tmp_path / "home" / "token"
    token.parent.mkdir()
    token.touch(0o000)
    result = drive(server, tmp_path / "home", *without_privileges(), HF_TOKEN="")
    assert result.returncode == 3
    assert "the file with the hub's token cannot be read" in result.stderr
    assert str(token) in result.stderr


def test_a_cache_folder_that_is_given_from_here(
    server: HubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", "relative")
    path = download()
    assert path.is_relative_to(tmp_path)
    assert [file.path for file in cached_ggufs()] == [path] == [hub.locate(REPO, FILE)]


def test_log_lines_do_not_carry_signed_addresses() -> None:
    terminal = make_terminal()
    with seam("owner/model", reporter=terminal):
        logging.getLogger("huggingface_hub").warning("Error at https://cdn/file?signature=secret !")
    assert "Error at https://cdn/file !" in shown(terminal)


def test_progress_of_a_xet_download() -> None:
    """The Xet client needs a real Xet store; its reporter is driven by hand."""
    from huggingface_hub.utils import _xet_progress_reporting as xet

    terminal = make_terminal()

    class Shown(Progress):
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


@pytest.mark.parametrize(
    ("size", "text"),
    [(0, "0 B"), (999, "999 B"), (999_900, "1 MB"), (98_362_432, "98.4 MB"), (4.368e9, "4.37 GB")],
)
def test_format_size(size: float, text: str) -> None:
    assert format_size(size) == text


# Of huggingface_hub.errors, what looking up and downloading files never raises.
IRRELEVANT = re.compile(
    "Inference|TextGeneration|Validation|Generation|Overloaded|IncompleteGeneration|Unknown"
    "|Safetensors|NotASafetensors|Bucket|Job|StrictDataclass|DDUF|CLI|Confirmation|Sandbox"
    "|FileDuplication|HfUri|DryRun|CachedRepoTree|CacheNotFound|RevisionResolution"
)
EXPLAINED_AS_ITS_BASE = {
    "BadRequestError": "HfHubHTTPError",
    "IncompleteSnapshotError": "LocalEntryNotFoundError",
    "EntryNotFoundError": "Exception",  # never raised itself
}


def test_every_exception_of_the_library_is_explained() -> None:
    """Fails when a new huggingface_hub brings a class that nobody has thought about."""
    from huggingface_hub import errors

    relevant = [
        value
        for name, value in vars(errors).items()
        if inspect.isclass(value)
        and issubclass(value, Exception)
        and value.__module__ == errors.__name__
        and not IRRELEVANT.match(name)
    ]
    assert len(relevant) > 15
    kinds = {value.__name__: hub_errors.kind(value.__new__(value)) for value in relevant}
    assert kinds == {name: EXPLAINED_AS_ITS_BASE.get(name, name) for name in kinds}


def test_the_table_has_no_dead_rows() -> None:
    import builtins
    import json

    import httpx2
    from huggingface_hub import errors

    places = (errors, httpx2, builtins, json, errno)
    names = [name for name in hub_errors.EXPLANATIONS if not name.isdigit()]
    assert [name for name in names if not any(hasattr(place, name) for place in places)] == []


def test_environment_variables(server: HubServer, tmp_path: Path) -> None:
    home = tmp_path / "home"
    offline = drive(server, home, HF_HUB_OFFLINE="1")
    assert offline.returncode == 3
    assert "may not be asked (--offline, HF_HUB_OFFLINE)" in offline.stderr
    assert server.requests == []
    online = drive(server, home, HF_TOKEN="hf_other")
    assert online.returncode == 0, online.stderr
    assert Path(online.stdout.strip()).is_relative_to(home / "hub")
    tokens = {request.place: request.token for request in server.requests}
    assert (tokens["resolve"], tokens["storage"]) == ("Bearer hf_other", None)
    lines = online.stderr.splitlines()
    assert all(line.startswith("mistral-cli: ") for line in lines)
    again = drive(server, home, HF_HUB_OFFLINE="1")
    assert (again.returncode, again.stdout, again.stderr) == (0, online.stdout, "")


@pytest.mark.parametrize("command", [("models", "pull"), ("generate", "hi", "-m")])
@pytest.mark.parametrize("reference", [f"{REPO}/{FILE}", f"{REPO}:Q4_K_M", "smollm2"])
def test_offline_option(
    run: Callable[..., Result], server: HubServer, tmp_path: Path, command: tuple[str, ...],
    reference: str,
) -> None:  # fmt: skip
    env = client_env(server, tmp_path / "home", XDG_CACHE_HOME=str(tmp_path))
    result = run(*command, reference, "--offline", **env)
    assert (result.status, result.stdout) == (3, "")
    assert "is not on this machine" in result.stderr
    assert "--offline" in result.stderr
    assert server.requests == []


def test_offline_with_the_file_here(
    run: Callable[..., Result], server: HubServer, tmp_path: Path, mistral: Path
) -> None:
    server.repos[REPO] = {FILE: mistral.read_bytes()}
    env = client_env(server, tmp_path / "home")
    pulled = run("models", "pull", f"{REPO}/{FILE}", **env)
    assert pulled.status == 0, pulled.stderr
    server.requests.clear()
    for reference in (f"{REPO}/{FILE}", f"{REPO}:Q4_K_M"):
        again = run("models", "pull", "--offline", reference, **env)
        assert (again.stdout, again.stderr) == (pulled.stdout, "")
    assert server.requests == []


def test_importing_imports_nothing_heavy() -> None:
    code = (
        "import sys, mistral_cli.system.config, mistral_cli.models.references\n"
        "import mistral_cli.models.hub.api, mistral_cli.models.pypi\n"
        "heavy = {'huggingface_hub', 'httpx', 'httpx2', 'tqdm', 'rich', 'platformdirs', 'numpy'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (result.stdout.strip(), result.stderr) == ("[]", "")
