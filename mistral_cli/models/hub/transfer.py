"""A hub file's bytes → a verified blob in the shared cache, over as many runs as it takes.

huggingface_hub downloads into a file of its own process and starts at zero in the next; its Xet
client cannot continue in another process at all. So the bytes come over plain HTTP into a part
that later runs continue, and the library is left what comes after: the links to the blob.
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
from mistral_cli.models.disk import check_space, format_size
from mistral_cli.models.hub.cache import repo_folder
from mistral_cli.models.hub.calls import seam
from mistral_cli.models.hub.errors import is_passing
from mistral_cli.models.hub.partial import part_suffix, size_of
from mistral_cli.models.hub.remote import RemoteFile, open_at
from mistral_cli.models.lock import if_free, one_at_a_time

if TYPE_CHECKING:
    from mistral_cli.system.reporter import Reporter

_ATTEMPTS = 5  # in a row that bring no byte
_CHUNK = 1 << 20


class Progress:
    """Stands in for the tqdm bar that huggingface_hub counts bytes with.

    The library makes the object itself, so the terminal is on the class. Defining
    `update_transfer` asks the Xet client for one bar per file instead of two.
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
        at = f"; {format_size(initial)} are here" if initial else ""
        self.reporter.note(f"downloading {self.label} ({size}{at}) ...")

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

    def __enter__(self) -> Progress:
        return self

    __exit__ = _ignore


@dataclass(frozen=True)
class _Places:
    """The paths of one file's content in the shared cache."""

    blob: Path
    part: Path
    lock: Path

    @classmethod
    def of(cls, file: RemoteFile) -> _Places:
        from huggingface_hub.file_download import are_symlinks_supported

        folder = repo_folder(file.repo)
        linked, instead = _blobs(file)
        return cls(
            blob=linked if are_symlinks_supported(folder.parent) else instead,
            part=folder / "blobs" / (file.etag + part_suffix(file.filename)),
            # The library's own lock: whatever else downloads the file waits for us, and we for it.
            lock=folder.parent / ".locks" / folder.name / f"{file.etag}.lock",
        )


def _blobs(file: RemoteFile) -> tuple[Path, Path]:
    """Where the file's content is, with symbolic links, and without: in the link's place."""
    folder = repo_folder(file.repo)
    return folder / "blobs" / file.etag, folder / "snapshots" / file.commit / file.filename


def is_here(file: RemoteFile) -> bool:
    """Whether the cache has the file's content, as far as its length tells."""
    linked, instead = _blobs(file)
    return size_of(linked) == file.size or (
        not instead.is_symlink() and size_of(instead) == file.size  # a link leads to another blob
    )


def is_resumable(file: RemoteFile) -> bool:
    """Whether this module can bring the file: its SHA-256 is known, and HTTP serves its length."""
    from huggingface_hub import constants

    return file.sha256 is not None and file.size <= constants.MAX_HTTP_DOWNLOAD_SIZE


def bring(file: RemoteFile, reporter: Reporter, progress: type[Progress]) -> None:
    """Put the file's verified bytes among the blobs of the shared cache, unless they are there.

    A blob of another length is replaced. Raises `ModelNotAvailable`. That and Ctrl-C leave a part
    from which the next run continues, and say so; only wrong bytes leave none.
    """
    if is_here(file):  # asked before `_Places`, which writes: the cache may be read-only
        return
    places = _Places.of(file)
    with (
        seam(file.repo, file.filename, file.commit, reporter),
        one_at_a_time(places.lock, f"fetching {progress.label}", reporter),
        _going_on(places.part, reporter),
        seam(file.repo, file.filename, file.commit, reporter),
    ):
        if is_here(file):  # brought by the process that was waited for
            return
        places.part.parent.mkdir(parents=True, exist_ok=True)
        # Without it a scan of the cache calls the repository damaged.
        (places.part.parent.parent / "snapshots").mkdir(exist_ok=True)
        missing = file.size - size_of(places.part)
        check_space(file.filename, missing, places.part.parent, "HF_HOME")
        _take_from_another_commit(places, file)
        # Not "a": where locks do not work, two processes write the same bytes to the same places.
        with places.part.open("r+b" if places.part.exists() else "w+b") as part:
            digest = _fill(part, file, reporter, progress)
        if digest != file.sha256:
            places.part.unlink()
            raise _wrong_bytes(file, digest)
        places.blob.parent.mkdir(parents=True, exist_ok=True)
        places.part.replace(places.blob)
        _remove_stale(places)


def _take_from_another_commit(places: _Places, file: RemoteFile) -> None:
    """Where the cache has no links, copy the same content from an older snapshot."""
    linked, instead = _blobs(file)
    if places.blob == linked or size_of(places.part):
        return
    snapshots = linked.parent.parent / "snapshots"
    for commit in snapshots.iterdir():
        other = commit / instead.relative_to(snapshots / file.commit)
        if size_of(other) == file.size and _digest(other) == file.sha256:
            shutil.copyfile(other, places.part)
            return


def _digest(path: Path) -> str:
    with path.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def _fill(part: BinaryIO, file: RemoteFile, reporter: Reporter, progress: type[Progress]) -> str:
    """Read what is there, get the rest, and return the SHA-256 of it all."""
    digest = hashlib.sha256()
    reporter.status(f"{progress.label}: checking what is here already")
    while chunk := part.read(_CHUNK):
        digest.update(chunk)
    bar, failures = progress(total=file.size, initial=part.tell()), 0
    while (start := part.tell()) < file.size:
        try:
            for chunk in _rest(file, start):
                part.write(chunk)
                digest.update(chunk)
                bar.update(len(chunk))
            error: Exception = OSError(f"the server ended after {part.tell()} of {file.size} bytes")
        except Exception as caught:
            if not is_passing(caught):
                raise
            error = caught
        failures = 0 if part.tell() > start else failures + 1
        if failures == _ATTEMPTS:
            raise error
        if part.tell() < file.size:
            reporter.note(f"{progress.label}: {first_line(error)}; trying again ...")
            time.sleep(min(2**failures, 8))
    part.flush()
    os.fsync(part.fileno())  # before the rename: a power cut must not leave a hollow blob
    return digest.hexdigest()


def _rest(file: RemoteFile, start: int) -> Iterator[bytes]:
    """The file's bytes from `start` on, and not many more than it has."""
    # Asked of the hub every time: the storage host's signed addresses are soon out of date.
    with open_at(file, start) as chunks:
        for chunk in chunks:
            yield chunk
            start += len(chunk)
            if start > file.size:
                return


def _wrong_bytes(file: RemoteFile, digest: str) -> ModelNotAvailable:
    return ModelNotAvailable(
        f"{file.filename} has come with SHA-256 {digest}, and {file.sha256} is published; "
        "what came is deleted",
        hint="Run the same command again; if that is no help, check HF_ENDPOINT and the proxy.",
    )


@contextmanager
def _going_on(part: Path, reporter: Reporter) -> Iterator[None]:
    """Say at which byte the next run continues."""
    try:
        yield
    except ModelNotAvailable as error:
        if size := size_of(part):
            error.hint += f" The next run continues at {format_size(size)}."
        raise
    except KeyboardInterrupt:
        reporter.clear_status()
        if size := size_of(part):
            reporter.note(f"stopped; run the same command again to continue at {format_size(size)}")
        raise


def _remove_stale(places: _Places) -> None:
    """Remove the parts of other contents of the same file, which nobody will finish now."""
    name = places.part.name.partition(".")[2]
    for part in places.part.parent.glob(f"*.{name}"):
        with if_free(places.lock.with_name(part.name.removesuffix(name) + "lock")) as free:
            if free:
                part.unlink(missing_ok=True)
