"""One file of the hub, asked about and read over huggingface_hub's session.

Tokens, redirects, proxies and waiting out a busy server are the library's work. What leaves this
module is raised as the library raised it; `hub_seam` translates.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass


@dataclass(frozen=True)
class RemoteFile:
    """What the hub publishes of one file: `size` in bytes, `commit` that `revision` leads to.

    `etag` names the file's content; for a large file it is the SHA-256 of its bytes, and then
    `sha256` is the same, otherwise None.
    """

    repo: str
    filename: str
    commit: str
    etag: str
    size: int

    @property
    def sha256(self) -> str | None:
        """The published SHA-256 in lower-case hexadecimal, where the hub publishes one."""
        return self.etag if re.fullmatch(r"[0-9a-f]{64}", self.etag) else None


def metadata(repo: str, filename: str, revision: str | None, *, patient: bool = True) -> RemoteFile:
    """What the hub says of one file; only a `patient` question is repeated when it fails."""
    from huggingface_hub import constants, get_hf_file_metadata, hf_hub_url
    from huggingface_hub.errors import FileMetadataError

    found = get_hf_file_metadata(
        hf_hub_url(repo, filename, revision=revision),
        timeout=constants.HF_HUB_ETAG_TIMEOUT,
        retry_on_errors=patient,
    )
    if found.commit_hash is None or found.etag is None or found.size is None:
        raise FileMetadataError("The answer lacks what a model hub says of a file.")
    return RemoteFile(repo, filename, found.commit_hash, found.etag, found.size)


@contextmanager
def open_at(file: RemoteFile, start: int, stop: int | None = None) -> Iterator[Iterator[bytes]]:
    """Yield an iterator over the file's bytes from `start` on; `stop` is only asked for.

    Raises what huggingface_hub raises, also in the middle of the bytes, and before the first one
    `FileMetadataError` for an answer that is not about this file.
    """
    from huggingface_hub import constants, hf_hub_url
    from huggingface_hub.errors import FileMetadataError
    from huggingface_hub.utils import (  # type: ignore[attr-defined]
        build_hf_headers,
        hf_raise_for_status,
        http_stream_backoff,
    )

    headers = {**build_hf_headers(), "Accept-Encoding": "identity"}
    if start or stop:
        headers["Range"] = f"bytes={start}-{stop - 1 if stop else ''}"
    with http_stream_backoff(
        "GET",
        hf_hub_url(file.repo, file.filename, revision=file.commit),
        headers=headers,
        timeout=constants.HF_HUB_DOWNLOAD_TIMEOUT,
        retry_on_exceptions=(),  # it cannot retry once bytes have come
    ) as response:
        hf_raise_for_status(response)
        if problem := _not_about(file, response.status_code, response.headers):
            raise FileMetadataError(problem)
        # A server may ignore the range and send the whole file, or begin before `start`.
        begin = re.match(r"bytes (\d+)-", response.headers.get("Content-Range", ""))
        yield _drop(start - (int(begin[1]) if begin else 0), response.iter_bytes())


def _not_about(file: RemoteFile, status: int, headers: Mapping[str, str]) -> str:
    """Why an answer cannot be this file, or "": a login page, too, comes with status 200."""
    if headers.get("Content-Type", "").startswith("text/html"):
        return "the answer is a web page"
    name = "Content-Range" if status == 206 else "Content-Length"
    size = re.search(r"\d+$", headers.get(name, ""))
    if size and int(size[0]) != file.size:
        return f"the answer is of {size[0]} bytes, the file of {file.size}"
    return ""


def _drop(count: int, chunks: Iterator[bytes]) -> Iterator[bytes]:
    """The chunks without their first `count` bytes."""
    if count < 0:
        raise OSError("the server answers with bytes after those that were asked for")
    for chunk in chunks:
        kept, count = chunk[count:], max(count - len(chunk), 0)
        if kept:
            yield kept
