"""The model hub: the only module that imports huggingface_hub, and only when it is called.

Cache folder, tokens, endpoint, offline mode and revisions are huggingface_hub's own business
(`HF_HOME`, `HF_TOKEN`, `HF_ENDPOINT`, `HF_HUB_OFFLINE`). What leaves this module is a path or
one of our errors.
"""

from __future__ import annotations

import difflib
import logging
import re
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, cast

from mistral_cli.errors import MistralCliError, ModelNotAvailable, UsageError
from mistral_cli.models.hub_errors import explain, kind
from mistral_cli.terminal import Terminal


@dataclass(frozen=True)
class CachedFile:
    """A GGUF file in the shared hub cache; `revision` is None for the main branch."""

    repo: str
    filename: str
    revision: str | None
    path: Path
    size: int


def locate(repo: str, filename: str, revision: str | None = None) -> Path | None:
    """The file's path in the shared cache, or None. Never touches the network."""
    with _seam(repo, filename, revision):
        from huggingface_hub import try_to_load_from_cache

        path = try_to_load_from_cache(repo, filename, revision=revision)
    return Path(path) if isinstance(path, str) else None


def cached_files(repo: str, revision: str | None = None) -> list[str]:
    """Names of the files of one repository that are on this machine. No network."""
    with _seam(repo, "", revision):
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


def cached_ggufs() -> list[CachedFile]:
    """Every GGUF file in the shared hub cache, whoever downloaded it, sorted by name."""
    with _seam("the hub cache"):
        from huggingface_hub import CacheNotFound, constants, scan_cache_dir

        try:
            repos = scan_cache_dir(constants.HF_HUB_CACHE).repos
        except CacheNotFound:
            return []
    found = []
    for repo in repos:
        for snapshot in repo.revisions:
            revision = None if "main" in snapshot.refs else snapshot.commit_hash
            for file in snapshot.files:
                if file.file_name.lower().endswith(".gguf"):
                    name = file.file_path.relative_to(snapshot.snapshot_path).as_posix()
                    found.append(
                        CachedFile(repo.repo_id, name, revision, file.file_path, file.size_on_disk)
                    )
    return sorted(found, key=lambda file: (file.repo, file.filename, file.revision or ""))


def list_files(repo: str, revision: str | None = None) -> list[tuple[str, int]]:
    """Name and size in bytes of every file the repository holds, from the hub.

    Raises `ModelNotAvailable` when the hub cannot be asked or knows no such repository.
    """
    with _seam(repo, "", revision):
        from huggingface_hub import HfApi, constants

        # model_info, not list_repo_tree: one request, and it is the one with a timeout.
        timeout = constants.HF_HUB_ETAG_TIMEOUT
        info = HfApi().model_info(repo, revision=revision, files_metadata=True, timeout=timeout)
    return [(file.rfilename, file.size or 0) for file in info.siblings or []]


def download(repo: str, filename: str, revision: str | None, terminal: Terminal) -> Path:
    """Bring one file into the shared cache and return its path there.

    Progress goes to the terminal: one passing line, or plain lines in a log, or nothing with
    `-q`. Raises `ModelNotAvailable`; Ctrl-C stays a `KeyboardInterrupt`.
    """

    class Progress(_Progress):
        pass

    Progress.terminal, Progress.label = terminal, filename.rpartition("/")[2]
    terminal.status(f"{Progress.label}: asking the hub")
    try:
        with _seam(repo, filename, revision, terminal):
            from huggingface_hub import hf_hub_download

            path = hf_hub_download(
                repo, filename, revision=revision, tqdm_class=cast(Any, Progress)
            )
    finally:
        terminal.clear_status()
    if Progress.used:
        terminal.note(f"saved {path}")
    return Path(path)


def format_size(size: float) -> str:
    """Bytes for people, in the decimal units that the hub's pages show."""
    for unit in ("B", "kB", "MB"):
        if size < 999.5:
            return f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:.2f} GB"


@contextmanager
def _seam(
    repo: str, filename: str = "", revision: str | None = None, terminal: Terminal | None = None
) -> Iterator[None]:
    """Around every call of the library: its exceptions become ours, its notes the terminal's."""
    try:
        # Imported here for its side effect: it installs the log handler that is replaced below.
        from huggingface_hub import constants, utils  # noqa: F401
    except ValueError as error:
        raise UsageError(
            f"a HF_* environment variable has a wrong value: {error}", hint="Correct it."
        ) from error
    logger = logging.getLogger("huggingface_hub")
    handlers, logger.handlers = logger.handlers, [_Notes(terminal)]
    try:
        with warnings.catch_warnings():
            if terminal:
                warnings.showwarning = lambda message, *_: terminal.warn(str(message))
            yield
    except MistralCliError:
        raise
    except Exception as error:
        ours = explain(
            error, repo=repo, file=filename, revision=revision, endpoint=constants.ENDPOINT
        )
        if filename and kind(error) == "RemoteEntryNotFoundError":
            ours.hint = _closest(repo, filename, revision) or ours.hint
        raise ours from error
    finally:
        logger.handlers = handlers


def _closest(repo: str, filename: str, revision: str | None) -> str:
    try:
        names = [name for name, _ in list_files(repo, revision) if name.lower().endswith(".gguf")]
    except ModelNotAvailable:
        return ""
    if not names:
        return "It has no GGUF file at all; look for a repository whose name ends in -GGUF."
    close = difflib.get_close_matches(filename, names, n=3, cutoff=0.4) or sorted(names)[:3]
    return f"It has {', '.join(close)}."


class _Notes(logging.Handler):
    """The library's log ("Retrying in 4s"): its first line says why it takes so long, the
    others pass by on a terminal and stay with `-v`."""

    def __init__(self, terminal: Terminal | None) -> None:
        super().__init__()
        self.terminal = terminal
        self.say = terminal.note if terminal else None

    def emit(self, record: logging.LogRecord) -> None:
        if self.terminal and self.say:
            # The addresses of the storage host carry a signature: not for logs.
            message = re.sub(r"\?\S+", "", " ".join(record.getMessage().split()))
            self.say(f"waiting for the hub: {message}")
            self.say = self.terminal.info
            self.terminal.status(message)


class _Progress:
    """Stands in for the tqdm bar that huggingface_hub counts bytes with.

    The library makes the object itself, so the terminal is on the class. Defining
    `update_transfer` asks the Xet client for one bar per file instead of two.
    """

    terminal: ClassVar[Terminal]
    label: ClassVar[str]
    used: ClassVar[bool] = False

    def __init__(self, *, total: int | None = None, initial: int = 0, **_: object) -> None:
        type(self).used = True
        self.total, self.n = total, initial
        self._started, self._start = time.monotonic(), initial
        self._shown, self._tenths = 0.0, 0
        size = format_size(total) if total else "size unknown"
        self.terminal.note(f"downloading {self.label} ({size}) ...")

    def update(self, n: float | None = 1) -> None:
        self.n += int(n or 0)
        if self.terminal.stderr_is_terminal:
            self._show_status(time.monotonic())
        elif self.total and (tenths := 10 * self.n // self.total) > self._tenths:
            self._tenths = tenths
            if tenths < 10:
                self.terminal.note(f"{self.label}: {10 * tenths} % of {format_size(self.total)}")

    def _show_status(self, now: float) -> None:
        if now - self._shown < 0.1:
            return
        self._shown = now
        rate = (self.n - self._start) / max(now - self._started, 1e-3)
        text = f"{self.label}: {format_size(self.n)}, {format_size(rate)}/s"
        if self.total and rate > 0:
            left = int((self.total - self.n) / rate)
            text += f", {100 * self.n // self.total} %, {left // 60}:{left % 60:02} left"
        self.terminal.status(text)

    def _ignore(self, *_: object, **__: object) -> None:
        pass

    close = refresh = set_postfix_str = set_transfer_postfix_str = update_transfer = _ignore

    def __enter__(self) -> _Progress:
        return self

    __exit__ = _ignore
