"""The model hub: the only module that imports huggingface_hub, and only when it is called.

Cache folder, tokens, endpoint, offline mode and revisions are huggingface_hub's own business
(`HF_HOME`, `HF_TOKEN`, `HF_ENDPOINT`, `HF_HUB_OFFLINE`). What leaves this module is a path or
one of our errors.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from mistral_cli.errors import ModelNotAvailable, UsageError
from mistral_cli.models.hub import remote
from mistral_cli.models.hub.calls import seam
from mistral_cli.models.hub.errors import kind
from mistral_cli.models.hub.transfer import Progress, bring, is_resumable

if TYPE_CHECKING:
    from mistral_cli.models.hub.remote import RemoteFile
    from mistral_cli.system.reporter import Reporter

_GONE = {"RevisionNotFoundError", "RemoteEntryNotFoundError"}


def locate(repo: str, filename: str, revision: str | None = None) -> Path | None:
    """The file's path in the shared cache, or None. Never touches the network."""
    with seam(repo, filename, revision):
        from huggingface_hub import try_to_load_from_cache

        path = try_to_load_from_cache(repo, filename, revision=revision)
    return Path(path).absolute() if isinstance(path, str) else None


def cached_files(repo: str, revision: str | None = None) -> list[str]:
    """Names of the files of one repository that are on this machine. No network."""
    with seam(repo, "", revision):
        from huggingface_hub import snapshot_download
        from huggingface_hub.errors import LocalEntryNotFoundError

        try:
            folder = Path(snapshot_download(repo, revision=revision, local_files_only=True))
        except LocalEntryNotFoundError as error:
            # A snapshot known to lack some files is an error too, but says where it is.
            if not (incomplete := getattr(error, "snapshot_path", None)):
                return []
            folder = Path(incomplete)
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.*"))


def list_files(
    repo: str, revision: str | None = None, reporter: Reporter | None = None
) -> list[tuple[str, int]]:
    """Name and size in bytes of every file the repository holds, from the hub.

    Raises `ModelNotAvailable` when the hub cannot be asked or knows no such repository.
    """
    with seam(repo, "", revision, reporter):
        from huggingface_hub import HfApi, constants

        # model_info, not list_repo_tree: one request, and it is the one with a timeout.
        timeout = constants.HF_HUB_ETAG_TIMEOUT
        info = HfApi().model_info(repo, revision=revision, files_metadata=True, timeout=timeout)
    return [(file.rfilename, file.size or 0) for file in info.siblings or []]


def remote_file(
    repo: str, filename: str, revision: str | None = None, reporter: Reporter | None = None
) -> RemoteFile:
    """What the hub says of one file, without its bytes; the terminal is told of waiting.

    Raises `ModelNotAvailable` when the hub cannot be asked or has no such file.
    """
    with _asking(repo, filename, revision, reporter):
        return remote.metadata(repo, filename, revision)


def read_range(
    file: RemoteFile, start: int, length: int, reporter: Reporter | None = None
) -> bytes:
    """`length` bytes of a hub file from byte `start` on; fewer only where the file ends.

    Raises `ModelNotAvailable` when they cannot be had.
    """
    with (
        _asking(file.repo, file.filename, file.commit, reporter),
        remote.open_at(file, start, start + length) as chunks,
    ):
        data = bytearray()
        for chunk in chunks:
            data += chunk
            if len(data) >= length:  # a server that ignores ranges would send the whole file
                break
        return bytes(data[:length])


def download(repo: str, filename: str, revision: str | None, reporter: Reporter) -> Path:
    """Bring one file into the shared cache and return its path there.

    Progress goes to the terminal: one passing line, or plain lines in a log, or nothing with
    `-q`. Raises `ModelNotAvailable`; Ctrl-C stays a `KeyboardInterrupt`. After either the next
    call continues where this one stopped.
    """

    class Shown(Progress):
        pass

    Shown.reporter, Shown.label = reporter, filename.rpartition("/")[2]
    here = locate(repo, filename, revision)
    if here and is_offline():
        return here
    reporter.status(f"{Shown.label}: asking the hub")
    try:
        file = _ask(repo, filename, revision, here, reporter)
        if here and not file:
            return here
        with _asking(repo, filename, revision, reporter):
            from huggingface_hub import hf_hub_download

            if file and is_resumable(file):
                bring(file, reporter, Shown)
            path = hf_hub_download(repo, filename, revision=revision, tqdm_class=cast(Any, Shown))
    finally:
        reporter.clear_status()
    if Shown.used:
        reporter.note(f"saved {path}")
    return Path(path).absolute()


def download_weights(repo: str, reporter: Reporter) -> Path:
    """Bring a repository of safetensors weights into the shared cache; its folder there.

    Raises `ModelNotAvailable`.
    """
    reporter.note(f"fetching the weights of {repo}")
    with seam(repo, "", None, reporter):
        from huggingface_hub import snapshot_download

        folder = snapshot_download(repo, allow_patterns=["*.json", "*.safetensors"])
    return Path(folder)


def upload(files: Mapping[str, Path | bytes], repo: str, message: str, reporter: Reporter) -> str:
    """Commit `files`, by their names there, to `repo`, and return its address.

    A repository that is not there yet is made, private. Raises ModelNotAvailable where the
    hub cannot be reached or refuses, UsageError for a name that no repository can have.
    """
    if repo.count("/") != 1:
        raise UsageError(f"{repo!r} is not a repository name", hint="Write it as owner/name.")
    reporter.status(f"uploading to {repo}")
    try:
        with seam(repo, "", None, reporter):
            from huggingface_hub import CommitOperationAdd, HfApi
            from huggingface_hub.utils.tqdm import disable_progress_bars

            disable_progress_bars()
            api = HfApi()
            url = api.create_repo(repo, private=True, exist_ok=True)
            parts = [
                CommitOperationAdd(name, content if isinstance(content, bytes) else str(content))
                for name, content in files.items()
            ]
            api.create_commit(repo, parts, commit_message=message)
    finally:
        reporter.clear_status()
    return str(url)


def go_offline() -> None:
    """Never use the network from now on; to be called before anything else of this module.

    The library reads the variable once, when it is imported.
    """
    os.environ["HF_HUB_OFFLINE"] = "1"


def is_offline() -> bool:
    """Whether the network is forbidden: `--offline`, or `HF_HUB_OFFLINE`."""
    with seam("the hub"):
        from huggingface_hub import is_offline_mode

        return is_offline_mode()


def _ask(
    repo: str, filename: str, revision: str | None, here: Path | None, reporter: Reporter
) -> RemoteFile | None:
    """What the hub says of a file; None where it cannot be asked and the file is `here`."""
    try:
        with _asking(repo, filename, revision, reporter):
            return remote.metadata(repo, filename, revision, patient=here is None)
    except ModelNotAvailable as error:
        if here is None or _cause(error) in _GONE:
            raise
        reporter.note(f"{error.message}; the file that is here is taken")
        return None


@contextmanager
def _asking(
    repo: str, filename: str, revision: str | None, reporter: Reporter | None = None
) -> Iterator[None]:
    """The seam for questions about one file: where it is missing, the hint names what is there."""
    try:
        with seam(repo, filename, revision, reporter):
            yield
    except ModelNotAvailable as error:
        if _cause(error) == "RemoteEntryNotFoundError":
            error.hint = _closest(repo, filename, revision) or error.hint
        raise


def _cause(error: ModelNotAvailable) -> str:
    return kind(error.__cause__) if isinstance(error.__cause__, Exception) else ""


def _closest(repo: str, filename: str, revision: str | None) -> str:
    try:
        names = [name for name, _ in list_files(repo, revision) if name.lower().endswith(".gguf")]
    except ModelNotAvailable:
        return ""
    if not names:
        return "It has no GGUF file at all; look for a repository whose name ends in -GGUF."
    close = difflib.get_close_matches(filename, names, n=3, cutoff=0.4) or sorted(names)[:3]
    return f"It has {', '.join(close)}."
