"""`models.hub.api` with a hub on this machine, through the real huggingface_hub client."""

from __future__ import annotations

import contextlib
import hashlib
import io
import logging
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from support.hub_client import (
    DATA,
    FILE,
    REPO,
    client_env,
    drive,
)
from support.hub_server import COMMIT, HubServer
from support.program import Result
from support.terminals import TerminalStream, make_terminal, shown

from mistral_cli.errors import MistralCliError, ModelNotAvailable, UsageError
from mistral_cli.models.hub.api import (
    cached_filenames,
    cached_path,
    download_file,
    get_remote_file,
    list_files,
    read_range,
)
from mistral_cli.models.hub.cache import cached_ggufs


def download(filename: str = FILE, repo: str = REPO, revision: str | None = None) -> Path:
    return download_file(repo, filename, revision, make_terminal())


def test_a_downloaded_file_is_found_without_a_network(server: HubServer) -> None:
    assert cached_path(REPO, FILE) is None
    assert not server.requests
    path = download()
    assert path.read_bytes() == DATA
    asked = len(server.requests)
    assert cached_path(REPO, FILE) == path
    assert cached_path(REPO, FILE, COMMIT) == path
    assert cached_path(REPO, FILE, "other") is None
    assert cached_filenames(REPO) == [FILE]
    assert cached_filenames("owner/other") == []
    assert len(server.requests) == asked


def test_a_second_download_transfers_no_bytes_and_prints_nothing(server: HubServer) -> None:
    download()
    terminal = make_terminal()
    download_file(REPO, FILE, None, terminal)
    assert server.count("storage") == 1
    assert shown(terminal) == ""


def test_only_the_hub_receives_the_token(server: HubServer) -> None:
    download()
    tokens = {request.endpoint: request.token for request in server.requests}
    assert (tokens["resolve"], tokens["storage"]) == ("Bearer hf_test", None)


def test_list_files_and_subfolders(server: HubServer) -> None:
    expected = {FILE: len(DATA), "sub/model.Q8_0.gguf": 999, "README.md": 7}
    assert dict(list_files(REPO)) == expected
    assert download("sub/model.Q8_0.gguf").read_bytes() == DATA[:999]


def test_revision(server: HubServer) -> None:
    server.revisions.add("refs/pr/1")
    path = download(revision="refs/pr/1")
    assert cached_path(REPO, FILE, "refs/pr/1") == path
    assert cached_path(REPO, FILE) is None


def test_get_remote_file(server: HubServer) -> None:
    found = get_remote_file(REPO, FILE)
    assert (found.size, found.commit) == (len(DATA), COMMIT)
    assert found.sha256 == hashlib.sha256(DATA).hexdigest()
    assert server.count("storage") == 0
    with pytest.raises(ModelNotAvailable, match=r"no file model.Q4_K\.gguf") as caught:
        get_remote_file(REPO, "model.Q4_K.gguf")
    assert FILE in caught.value.hint


@pytest.mark.parametrize("fault", ["", "no ranges"])
def test_read_range(server: HubServer, fault: str) -> None:
    server.faults = {"storage": fault}
    file = get_remote_file(REPO, FILE)
    assert read_range(file, 0, 24) == DATA[:24]
    assert read_range(file, 300_001, 200_000) == DATA[300_001:500_001]
    assert read_range(file, len(DATA) - 5, 20) == DATA[-5:]
    ranges = [request.range for request in server.requests if request.endpoint == "storage"]
    assert ranges[1] == "bytes=300001-500000"


def test_read_range_faults(server: HubServer) -> None:
    file = get_remote_file(REPO, FILE)
    for endpoint, fault, message in (
        ("storage", "cut", "was lost"),
        ("storage", "garbage", "does not answer like a model hub"),
        ("storage", "later range", "starts after the requested bytes"),
        ("resolve", "gated", "gated"),
    ):
        server.faults = {endpoint: fault}
        with pytest.raises(ModelNotAvailable, match=message):
            read_range(file, 1000, 200_000)


@pytest.mark.parametrize(
    ("endpoint", "fault", "message", "hint"),
    [
        ("resolve", "gated", "gated", "HF_TOKEN"),
        ("resolve", "private", "no repository owner/model-GGUF", "HF_TOKEN"),
        ("resolve", "disabled", "disabled", "Choose another"),
        ("resolve", "bad token", "refused the token", "HF_TOKEN"),
        ("resolve", "forbidden", "forbids access", "HF_TOKEN"),
        ("resolve", "rate limit", "rate limit", "HF_TOKEN"),
        ("resolve", "broken", "HTTP 500", "try again later"),
        ("resolve", "no revision", "no revision main", "branches"),
        ("resolve", "garbage", "does not answer like a model hub", "HF_ENDPOINT"),
        ("resolve", "drop", "connection to http://127.0.0.1:\\d+ was lost", "network"),
        ("storage", "forbidden", "forbids access", "HF_TOKEN"),
        ("storage", "broken", "HTTP 500", "try again later"),
        ("storage", "drop", "was lost", "network"),
        ("storage", "cut", "was lost", "network"),
        ("resolve", "circle", "redirects in a circle", "HF_ENDPOINT"),
        ("storage", "circle", "redirects in a circle", "HF_ENDPOINT"),
    ],
)
def test_faults_of_a_download(
    server: HubServer, endpoint: str, fault: str, message: str, hint: str
) -> None:
    server.faults = {endpoint: fault}
    with pytest.raises(ModelNotAvailable, match=message) as caught:
        download()
    assert hint in caught.value.hint
    assert caught.value.__cause__ is not None
    assert "secret" not in caught.value.message + caught.value.hint
    assert cached_path(REPO, FILE) is None


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("gated", "gated"),
        ("no repo", "no repository"),
        ("broken", "HTTP 500"),
        ("drop", "was lost"),
        ("garbage", "does not answer like a model hub"),
    ],
)
def test_faults_of_a_list(server: HubServer, fault: str, message: str) -> None:
    server.faults = {"api": fault}
    with pytest.raises(ModelNotAvailable, match=message):
        list_files(REPO)


def test_the_hint_for_a_missing_file_names_similar_files(server: HubServer) -> None:
    with pytest.raises(ModelNotAvailable, match=r"no file model.Q4_K\.gguf") as caught:
        download("model.Q4_K.gguf")
    assert caught.value.hint.startswith(f"It has {FILE}")
    assert "README" not in caught.value.hint


def test_a_missing_file_if_the_hub_cannot_list_its_files(server: HubServer) -> None:
    server.faults = {"api": "broken"}
    with pytest.raises(ModelNotAvailable, match="no file") as caught:
        download("x.gguf")
    assert f"{server.hub_url}/{REPO}" in caught.value.hint


def test_unknown_repository_and_malformed_name(server: HubServer) -> None:
    with pytest.raises(ModelNotAvailable, match="no repository owner/nothing"):
        download(repo="owner/nothing")
    with pytest.raises(UsageError, match="not a repository name"):
        download(repo="owner/--..")


def test_an_unreachable_hub(server: HubServer, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    template = "http://127.0.0.1:1/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:1")
    with pytest.raises(ModelNotAvailable, match=r"cannot reach http://127\.0\.0\.1:1"):
        download()
    with pytest.raises(ModelNotAvailable, match=r"cannot reach http://127\.0\.0\.1:1"):
        list_files(REPO)


def test_a_cache_folder_that_cannot_be_created(
    server: HubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import constants

    (tmp_path / "file").touch()
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "file" / "hub"))
    with pytest.raises(ModelNotAvailable, match="hub cache cannot be used"):
        download()


def test_progress_without_a_terminal(server: HubServer) -> None:
    terminal = make_terminal()
    path = download_file(REPO, FILE, None, terminal)
    lines = shown(terminal).splitlines()
    assert lines[0] == f"mistral-cli: downloading {FILE} (1.02 MB) ..."
    assert lines[1:-1] == [f"mistral-cli: {FILE}: {n} % of 1.02 MB" for n in range(10, 100, 10)]
    assert lines[-1] == f"mistral-cli: saved {path}"


def test_progress_on_a_terminal(server: HubServer) -> None:
    terminal = make_terminal(stderr=TerminalStream())
    download_file(REPO, FILE, None, terminal)
    lines = shown(terminal).split("\n")
    assert f"{FILE}: asking the hub" in lines[0]
    assert any("MB/s" in part or "GB/s" in part for part in shown(terminal).split("\r"))
    assert lines[-2].endswith(FILE)  # saved
    assert lines[-1] == ""


@pytest.mark.parametrize("stream", [io.StringIO, TerminalStream])
def test_quiet_downloads_print_nothing(
    server: HubServer, stream: type[io.StringIO], capfd: pytest.CaptureFixture[str]
) -> None:
    server.faults, server.fault_count = {"storage": "cut"}, 1  # which the library logs, too
    terminal = make_terminal(stderr=stream(), quiet=True)
    handlers = list(logging.getLogger("huggingface_hub").handlers)
    assert download_file(REPO, FILE, None, terminal).read_bytes() == DATA
    assert logging.getLogger("huggingface_hub").handlers == handlers
    assert shown(terminal) == ""
    assert capfd.readouterr() == ("", "")


def test_a_relative_cache_folder(
    server: HubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", "relative")
    path = download()
    assert path.is_relative_to(tmp_path)
    assert [file.path for file in cached_ggufs()] == [path] == [cached_path(REPO, FILE)]


def test_environment_variables(server: HubServer, tmp_path: Path) -> None:
    home = tmp_path / "home"
    offline = drive(server, home, HF_HUB_OFFLINE="1")
    assert offline.returncode == 3
    assert "the network is disabled (--offline, HF_HUB_OFFLINE)" in offline.stderr
    assert server.requests == []
    online = drive(server, home, HF_TOKEN="hf_other")
    assert online.returncode == 0, online.stderr
    assert Path(online.stdout.strip()).is_relative_to(home / "hub")
    tokens = {request.endpoint: request.token for request in server.requests}
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


def test_offline_with_a_cached_file(
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


def test_imports_nothing_heavy() -> None:
    code = (
        "import sys, mistral_cli.system.config, mistral_cli.models.references\n"
        "import mistral_cli.models.hub.api, mistral_cli.models.pypi\n"
        "heavy = {'huggingface_hub', 'httpx', 'httpx2', 'tqdm', 'rich', 'platformdirs', 'numpy'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (result.stdout.strip(), result.stderr) == ("[]", "")


@pytest.mark.parametrize("name", ["../" * 8 + "etc/hostname", "/etc/hostname"])
def test_no_file_outside_the_cache_is_found(server: HubServer, name: str) -> None:
    download()
    with contextlib.suppress(MistralCliError):
        assert cached_path(REPO, name) is None
    with contextlib.suppress(MistralCliError):
        assert cached_path(REPO, "hostname", "../" * 8 + "etc") is None
    with contextlib.suppress(MistralCliError):
        assert cached_path("../..", FILE) is None
