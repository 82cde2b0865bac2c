"""Downloads a hub file to a verified blob in the shared cache, over several runs if needed.

huggingface_hub downloads to a file of its own process and starts at zero in the next; its Xet
client cannot continue in another process at all. Therefore this module downloads over plain HTTP
to a partial file that later runs continue. The library then makes the links to the blob.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, ClassVar

from mistral_cli.errors import ModelNotAvailable, first_line
from mistral_cli.models.disk import check_free_space, format_size
from mistral_cli.models.hub.cache import repo_folder
from mistral_cli.models.hub.calls import hub_call
from mistral_cli.models.hub.errors import is_transient
from mistral_cli.models.hub.partial import partial_suffix, size_of
from mistral_cli.models.hub.remote import RemoteFile, open_range
from mistral_cli.models.lock import hold_lock, lock_if_free

if TYPE_CHECKING:
    from mistral_cli.system.reporter import Reporter

_ATTEMPTS = 5  # in a row without a new byte
_CHUNK = 1 << 20


class DownloadProgress:
    """Shows the progress of one download, in place of the tqdm bar of huggingface_hub.

    The library creates the object, so the reporter is a class variable: each download makes a
    subclass. Because `update_transfer` exists, the Xet client uses one bar per file, not two.
    """

    reporter: ClassVar[Reporter]
    label: ClassVar[str]
    used: ClassVar[bool] = False

    def __init__(self, *, total: int | None = None, initial: int = 0, **_: object) -> None:
        type(self).used = True
        self.total, self.n = total, initial
        self._started, self._start = time.monotonic(), initial
        self._shown, self._tenths = 0.0, 10 * initial // total if total else 0
        size = format_size(total) if total else "size unknown"
        already = f"; {format_size(initial)} already downloaded" if initial else ""
        self.reporter.note(f"downloading {self.label} ({size}{already}) ...")

    def update(self, n: float | None = 1) -> None:
        """Count `n` more bytes."""
        self.n += int(n or 0)
        if self.reporter.stderr_is_terminal:
            self._show_status(time.monotonic())
        elif self.total and (tenths := 10 * self.n // self.total) > self._tenths:
            self._tenths = tenths
            if tenths < 10:
                self.reporter.note(f"{self.label}: {10 * tenths} % of {format_size(self.total)}")

    def _show_status(self, now: float) -> None:
        if now - self._shown < 0.1:
            return
        self._shown = now
        rate = (self.n - self._start) / max(now - self._started, 1e-3)
        text = f"{self.label}: {format_size(self.n)}, {format_size(rate)}/s"
        if self.total and rate > 0:
            left = int((self.total - self.n) / rate)
            text += f", {100 * self.n // self.total} %, {left // 60}:{left % 60:02} left"
        self.reporter.status(text)

    def _ignore(self, *_: object, **__: object) -> None:
        pass

    close = refresh = set_postfix_str = set_transfer_postfix_str = update_transfer = _ignore

    def __enter__(self) -> DownloadProgress:
        return self

    __exit__ = _ignore


@dataclass(frozen=True)
class _BlobPaths:
    """The paths of one file's content in the shared cache."""

    blob: Path
    partial: Path
    lock: Path

    @classmethod
    def of(cls, file: RemoteFile) -> _BlobPaths:
        from huggingface_hub.file_download import are_symlinks_supported

        folder = repo_folder(file.repo)
        linked, unlinked = _possible_blobs(file)
        return cls(
            blob=linked if are_symlinks_supported(folder.parent) else unlinked,
            partial=folder / "blobs" / (file.etag + partial_suffix(file.filename)),
            # The library's own lock: other downloads of the file wait for us, and we for them.
            lock=folder.parent / ".locks" / folder.name / f"{file.etag}.lock",
        )


def _possible_blobs(file: RemoteFile) -> tuple[Path, Path]:
    """Return where the content is with symbolic links, and without: in the place of the link."""
    folder = repo_folder(file.repo)
    return folder / "blobs" / file.etag, folder / "snapshots" / file.commit / file.filename


def is_cached(file: RemoteFile) -> bool:
    """Return True if the cache has content of the file's length."""
    linked, unlinked = _possible_blobs(file)
    return size_of(linked) == file.size or (
        not unlinked.is_symlink() and size_of(unlinked) == file.size  # not a link to another blob
    )


def downloaded_size(file: RemoteFile) -> int:
    """Return how many bytes of the file the cache has, complete or in a partial file."""
    if is_cached(file):
        return file.size
    blobs = repo_folder(file.repo) / "blobs"
    return size_of(blobs / (file.etag + partial_suffix(file.filename)))


def is_resumable(file: RemoteFile) -> bool:
    """Return True if `download_blob` can fetch the file: SHA-256 known, not too large for HTTP."""
    from huggingface_hub import constants

    return file.sha256 is not None and file.size <= constants.MAX_HTTP_DOWNLOAD_SIZE


def download_blob(file: RemoteFile, reporter: Reporter, progress: type[DownloadProgress]) -> None:
    """Download and verify the blob of a file, unless the shared cache has it already.

    Replaces a blob of another length. Raises `ModelNotAvailable`. After that or Ctrl-C, a partial
    file remains and a message says where the next run continues; only after wrong bytes nothing
    remains.
    """
    if is_cached(file):  # before `_BlobPaths`, which writes: the cache may be read-only
        return
    paths = _BlobPaths.of(file)
    with (
        hub_call(file.repo, file.filename, file.commit, reporter),
        hold_lock(paths.lock, f"downloading {progress.label}", reporter),
        _reporting_resume_point(paths.partial, reporter),
        hub_call(file.repo, file.filename, file.commit, reporter),
    ):
        if is_cached(file):  # by the process that held the lock
            return
        paths.partial.parent.mkdir(parents=True, exist_ok=True)
        # Without this folder a scan of the cache reports a damaged repository.
        (paths.partial.parent.parent / "snapshots").mkdir(exist_ok=True)
        missing = file.size - size_of(paths.partial)
        check_free_space(file.filename, missing, paths.partial.parent, "HF_HOME")
        _copy_from_another_commit(paths, file)
        # Not mode "a": where locks do not work, two processes write the same bytes to the same
        # offsets.
        with paths.partial.open("r+b" if paths.partial.exists() else "w+b") as partial:
            digest = _complete(partial, file, reporter, progress)
        if digest != file.sha256:
            paths.partial.unlink()
            raise _wrong_bytes(file, digest)
        paths.blob.parent.mkdir(parents=True, exist_ok=True)
        paths.partial.replace(paths.blob)
        _remove_stale(paths)


def _copy_from_another_commit(paths: _BlobPaths, file: RemoteFile) -> None:
    """In a cache without links, copy the same content from another snapshot if one has it."""
    linked, unlinked = _possible_blobs(file)
    if paths.blob == linked or size_of(paths.partial):
        return
    snapshots = linked.parent.parent / "snapshots"
    for commit in snapshots.iterdir():
        other = commit / unlinked.relative_to(snapshots / file.commit)
        if size_of(other) == file.size and _digest(other) == file.sha256:
            shutil.copyfile(other, paths.partial)
            return


def _digest(path: Path) -> str:
    with path.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def _complete(
    partial: BinaryIO, file: RemoteFile, reporter: Reporter, progress: type[DownloadProgress]
) -> str:
    """Download the rest of a partial file; return the SHA-256 of the whole file."""
    digest = hashlib.sha256()
    reporter.status(f"{progress.label}: checking the bytes on this machine")
    while chunk := partial.read(_CHUNK):
        digest.update(chunk)
    bar, failures = progress(total=file.size, initial=partial.tell()), 0
    while (start := partial.tell()) < file.size:
        try:
            for chunk in _bytes_from(file, start):
                partial.write(chunk)
                digest.update(chunk)
                bar.update(len(chunk))
            received = f"{partial.tell()} of {file.size} bytes"
            error: Exception = OSError(f"the server closed the connection after {received}")
        except Exception as caught:
            if not is_transient(caught):
                raise
            error = caught
        failures = 0 if partial.tell() > start else failures + 1
        if failures == _ATTEMPTS:
            raise error
        if partial.tell() < file.size:
            reporter.note(f"{progress.label}: {first_line(error)}; trying again ...")
            time.sleep(min(2**failures, 8))
    partial.flush()
    os.fsync(partial.fileno())  # before the rename: a power cut must not leave a hollow blob
    return digest.hexdigest()


def _bytes_from(file: RemoteFile, start: int) -> Iterator[bytes]:
    """Yield the file's bytes from `start`, and few more if the server sends too many."""
    # Each attempt asks the hub again: the signed URLs of the storage host soon expire.
    with open_range(file, start) as chunks:
        for chunk in chunks:
            yield chunk
            start += len(chunk)
            if start > file.size:
                return


def _wrong_bytes(file: RemoteFile, digest: str) -> ModelNotAvailable:
    return ModelNotAvailable(
        f"the downloaded {file.filename} has SHA-256 {digest}, but the hub published "
        f"{file.sha256}; the download is deleted",
        hint="Run the same command again; if it fails again, check HF_ENDPOINT and the proxy.",
    )


@contextmanager
def _reporting_resume_point(partial: Path, reporter: Reporter) -> Iterator[None]:
    """After an error or Ctrl-C, report at which byte the next run continues."""
    try:
        yield
    except ModelNotAvailable as error:
        if not (size := size_of(partial)):
            raise
        hint = f"{error.hint} The next run continues at {format_size(size)}."
        raise error.with_hint(hint) from error.__cause__
    except KeyboardInterrupt:
        reporter.clear_status()
        if size := size_of(partial):
            reporter.note(f"stopped; run the same command again to continue at {format_size(size)}")
        raise


def _remove_stale(paths: _BlobPaths) -> None:
    """Remove partial downloads of other revisions of the file, which will never be completed."""
    suffix = paths.partial.name.partition(".")[2]
    for partial in paths.partial.parent.glob(f"*.{suffix}"):
        with lock_if_free(paths.lock.with_name(partial.name.removesuffix(suffix) + "lock")) as free:
            if free:
                partial.unlink(missing_ok=True)
