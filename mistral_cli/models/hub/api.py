"""Asks the model hub: what it has, what is in the shared cache, and downloads and uploads.

huggingface_hub handles the cache folder, tokens, endpoint, offline mode and revisions (`HF_HOME`,
`HF_TOKEN`, `HF_ENDPOINT`, `HF_HUB_OFFLINE`). It is imported only when a function needs it. The
functions here raise our errors only.
"""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from mistral_cli.errors import ModelNotAvailable, UsageError
from mistral_cli.models.disk import check_free_space
from mistral_cli.models.gguf.kinds import models_among
from mistral_cli.models.hub.cache import cache_folder, file_in_cache
from mistral_cli.models.hub.calls import hub_call
from mistral_cli.models.hub.errors import explanation_key
from mistral_cli.models.hub.remote import RemoteFile, fetch_metadata, open_range
from mistral_cli.models.hub.transfer import (
    DownloadProgress,
    download_blob,
    downloaded_size,
    is_resumable,
)

if TYPE_CHECKING:
    from mistral_cli.system.reporter import Reporter

_PLAIN_REPO = re.compile(r"(?a)(?!.*\.git$)(?=.{3,96}$)\w+(?:[.-]\w+)*/\w+(?:[.-]\w+)*")
_GONE = {"RevisionNotFoundError", "RemoteEntryNotFoundError"}


def cached_path(repo: str, filename: str, revision: str | None = None) -> Path | None:
    """Return the file's path in the shared cache, or None. Does not use the network."""
    if _PLAIN_REPO.fullmatch(repo) and _is_below(filename) and _is_below(revision or ""):
        return file_in_cache(repo, filename, revision)
    # Its import takes 0.15 s of CPU, so only for names that it may refuse, with its reason.
    with hub_call(repo, filename, revision):
        from huggingface_hub import try_to_load_from_cache

        path = try_to_load_from_cache(repo, filename, revision=revision)
    return Path(path).absolute() if isinstance(path, str) else None


def _is_below(path: str) -> bool:
    """Whether a path or a revision stays below the folder that it is joined to."""
    return ".." not in path and not path.startswith("/")


def cached_filenames(repo: str, revision: str | None = None) -> list[str]:
    """Return the names of a repository's files in the shared cache. Does not use the network."""
    with hub_call(repo, "", revision):
        from huggingface_hub import snapshot_download
        from huggingface_hub.errors import LocalEntryNotFoundError

        try:
            folder = Path(snapshot_download(repo, revision=revision, local_files_only=True))
        except LocalEntryNotFoundError as error:
            # An incomplete snapshot is an error too, which has the path of the snapshot.
            if not (incomplete := getattr(error, "snapshot_path", None)):
                return []
            folder = Path(incomplete)
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.*"))


def list_files(
    repo: str, revision: str | None = None, reporter: Reporter | None = None
) -> list[tuple[str, int]]:
    """Ask the hub for the name and size in bytes of every file in a repository.

    Raises `ModelNotAvailable` if the hub does not answer or does not have the repository.
    """
    with hub_call(repo, "", revision, reporter):
        from huggingface_hub import HfApi, constants

        # model_info, not list_repo_tree: it takes one request, and only it has a timeout.
        timeout = constants.HF_HUB_ETAG_TIMEOUT
        info = HfApi().model_info(repo, revision=revision, files_metadata=True, timeout=timeout)
    return [(file.rfilename, file.size or 0) for file in info.siblings or []]


def get_remote_file(
    repo: str, filename: str, revision: str | None = None, reporter: Reporter | None = None
) -> RemoteFile:
    """Ask the hub for the metadata of one file. The reporter shows why a request takes long.

    Raises `ModelNotAvailable` if the hub does not answer or does not have the file.
    """
    with _file_call(repo, filename, revision, reporter):
        return fetch_metadata(repo, filename, revision)


def read_range(
    file: RemoteFile, start: int, length: int, reporter: Reporter | None = None
) -> bytes:
    """Read `length` bytes of a hub file, starting at byte `start`; fewer at the end of the file.

    Raises `ModelNotAvailable` if that fails.
    """
    with (
        _file_call(file.repo, file.filename, file.commit, reporter),
        open_range(file, start, start + length) as chunks,
    ):
        data = bytearray()
        for chunk in chunks:
            data += chunk
            if len(data) >= length:  # a server that ignores ranges would send the whole file
                break
        return bytes(data[:length])


def download_files(
    repo: str, filenames: Sequence[str], revision: str | None, reporter: Reporter
) -> Path:
    """Download the parts of a model into the shared cache and return the path of the first.

    All are of the same commit, so that they lie in the same folder. Before the first download,
    the hub must have all of them, and the disk room for all. Raises as `download_file` does.
    """
    first, *others = filenames
    of_others = revision
    if others and not is_offline():
        cached = [cached_path(repo, name, revision) for name in filenames]
        reporter.status(f"{first.rpartition('/')[2]}: asking the hub")
        try:
            newest = _newest(repo, first, revision, cached[0] if all(cached) else None, reporter)
            if newest is None and cached[0]:
                return cached[0]
            # Not the revision itself, which may come to mean another commit during the download.
            of_others = newest.commit if newest else revision
            parts = [get_remote_file(repo, name, of_others, reporter) for name in filenames]
        finally:
            reporter.clear_status()
        missing = sum(part.size - downloaded_size(part) for part in parts)
        label = f"{first.rpartition('/')[2]} with its {len(others)} other parts"
        check_free_space(label, missing, cache_folder(), "HF_HOME")
    path = download_file(repo, first, revision, reporter)
    for name in others:
        download_file(repo, name, of_others, reporter)
    return path


def download_file(repo: str, filename: str, revision: str | None, reporter: Reporter) -> Path:
    """Download one file into the shared cache and return its path there.

    The reporter shows progress: a status line on a terminal, otherwise one line per 10 %. Raises
    `ModelNotAvailable`, or `KeyboardInterrupt` for Ctrl-C. After either, the next call continues
    where this one stopped.
    """

    class Progress(DownloadProgress):
        pass

    Progress.reporter, Progress.label = reporter, filename.rpartition("/")[2]
    cached = cached_path(repo, filename, revision)
    if cached and is_offline():
        return cached
    reporter.status(f"{Progress.label}: asking the hub")
    try:
        file = _newest(repo, filename, revision, cached, reporter)
        if cached and not file:
            return cached
        with _file_call(repo, filename, revision, reporter):
            from huggingface_hub import hf_hub_download

            if file and is_resumable(file):
                download_blob(file, reporter, Progress)
            bar = cast(Any, Progress)
            path = hf_hub_download(repo, filename, revision=revision, tqdm_class=bar)
    finally:
        reporter.clear_status()
    if Progress.used:
        reporter.note(f"saved {path}")
    return Path(path).absolute()


def download_weights(repo: str, reporter: Reporter) -> Path:
    """Download the safetensors weights of a repository into the shared cache; return the folder.

    Raises `ModelNotAvailable`.
    """
    reporter.note(f"downloading the weights of {repo}")
    with hub_call(repo, "", None, reporter):
        from huggingface_hub import snapshot_download

        folder = snapshot_download(repo, allow_patterns=["*.json", "*.safetensors"])
    return Path(folder)


def upload_files(
    files: Mapping[str, Path | bytes], repo: str, message: str, reporter: Reporter
) -> str:
    """Commit `files` (by their names in the repository) to `repo`, and return its address.

    Creates the repository, as a private one, if it does not exist. Raises `ModelNotAvailable` if
    the hub does not answer or refuses, and `UsageError` for an invalid repository name.
    """
    if repo.count("/") != 1:
        raise UsageError(f"{repo!r} is not a repository name", hint="Write it as owner/name.")
    reporter.status(f"uploading to {repo}")
    try:
        with hub_call(repo, "", None, reporter):
            from huggingface_hub import CommitOperationAdd, HfApi
            from huggingface_hub.utils.tqdm import disable_progress_bars

            disable_progress_bars()
            api = HfApi()
            url = api.create_repo(repo, private=True, exist_ok=True)
            additions = [
                CommitOperationAdd(name, content if isinstance(content, bytes) else str(content))
                for name, content in files.items()
            ]
            api.create_commit(repo, additions, commit_message=message)
    finally:
        reporter.clear_status()
    return str(url)


def go_offline() -> None:
    """Disable the network for this process. Call it before any other function of this module.

    The library reads the variable once, when it is imported.
    """
    os.environ["HF_HUB_OFFLINE"] = "1"


def is_offline() -> bool:
    """Return True if `--offline` or `HF_HUB_OFFLINE` disables the network."""
    with hub_call("the hub"):
        from huggingface_hub import is_offline_mode

        return is_offline_mode()


def _newest(
    repo: str, filename: str, revision: str | None, cached: Path | None, reporter: Reporter
) -> RemoteFile | None:
    """Ask the hub for a file's metadata; None if it does not answer and the file is `cached`."""
    try:
        with _file_call(repo, filename, revision, reporter):
            return fetch_metadata(repo, filename, revision, retry=cached is None)
    except ModelNotAvailable as error:
        if cached is None or _cause(error) in _GONE:
            raise
        reporter.note(f"{error.message}; using the file on this machine")
        return None


@contextmanager
def _file_call(
    repo: str, filename: str, revision: str | None, reporter: Reporter | None = None
) -> Iterator[None]:
    """A `hub_call` about one file; if the hub lacks it, the hint names the most similar files."""
    try:
        with hub_call(repo, filename, revision, reporter):
            yield
    except ModelNotAvailable as error:
        if _cause(error) != "RemoteEntryNotFoundError":
            raise
        hint = _similar_files(repo, filename, revision) or error.hint
        raise error.with_hint(hint) from error.__cause__


def _cause(error: ModelNotAvailable) -> str:
    return explanation_key(error.__cause__) if isinstance(error.__cause__, Exception) else ""


def _similar_files(repo: str, filename: str, revision: str | None) -> str:
    try:
        names = models_among(name for name, _ in list_files(repo, revision))
    except ModelNotAvailable:
        return ""
    if not names:
        return "It has no GGUF files; look for a repository whose name ends in -GGUF."
    close = difflib.get_close_matches(filename, names, n=3, cutoff=0.4) or sorted(names)[:3]
    return f"It has {', '.join(close)}."
