"""Metadata and bytes of one hub file, over huggingface_hub's HTTP session.

The library handles tokens, redirects, proxies and a busy server. Functions here raise the
library's exceptions, which `hub_call` translates.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass


@dataclass(frozen=True)
class RemoteFile:
    """The metadata of one file on the hub.

    `size` is in bytes; `commit` is the one that the revision points to. `etag` identifies the
    content. For a large file it is the SHA-256 of the content.
    """

    repo: str
    filename: str
    commit: str
    etag: str
    size: int

    @property
    def sha256(self) -> str | None:
        """The published SHA-256 in lower-case hexadecimal, or None for a small file."""
        return self.etag if re.fullmatch(r"[0-9a-f]{64}", self.etag) else None


def fetch_metadata(
    repo: str, filename: str, revision: str | None, *, retry: bool = True
) -> RemoteFile:
    """Ask the hub for the metadata of one file; with `retry` a failed request is repeated."""
    from huggingface_hub import constants, get_hf_file_metadata, hf_hub_url
    from huggingface_hub.errors import FileMetadataError

    metadata = get_hf_file_metadata(
        hf_hub_url(repo, filename, revision=revision),
        timeout=constants.HF_HUB_ETAG_TIMEOUT,
        retry_on_errors=retry,
    )
    if metadata.commit_hash is None or metadata.etag is None or metadata.size is None:
        raise FileMetadataError("The answer does not have the headers of a model hub.")
    return RemoteFile(repo, filename, metadata.commit_hash, metadata.etag, metadata.size)


@contextmanager
def open_range(file: RemoteFile, start: int, stop: int | None = None) -> Iterator[Iterator[bytes]]:
    """Yield an iterator over the file's bytes from `start`.

    The request asks for the bytes up to `stop`, but a server may send more. Raises exceptions of
    huggingface_hub, also while the bytes arrive, and `FileMetadataError` before the first byte
    if the answer is not this file.
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
        retry_on_exceptions=(),  # the library cannot retry once bytes have arrived
    ) as response:
        hf_raise_for_status(response)
        if problem := _mismatch(file, response.status_code, response.headers):
            raise FileMetadataError(problem)
        # A server may ignore the range and send the whole file, or start before `start`.
        begin = re.match(r"bytes (\d+)-", response.headers.get("Content-Range", ""))
        yield _drop(start - (int(begin[1]) if begin else 0), response.iter_bytes())


def _mismatch(file: RemoteFile, status: int, headers: Mapping[str, str]) -> str:
    """Return why an answer cannot be this file, or "". A login page has status 200, too."""
    if headers.get("Content-Type", "").startswith("text/html"):
        return "the answer is a web page"
    name = "Content-Range" if status == 206 else "Content-Length"
    size = re.search(r"\d+$", headers.get(name, ""))
    if size and int(size[0]) != file.size:
        return f"the answer has {size[0]} bytes, but the file has {file.size}"
    return ""


def _drop(count: int, chunks: Iterator[bytes]) -> Iterator[bytes]:
    """Yield the chunks without their first `count` bytes."""
    if count < 0:
        raise OSError("the server's answer starts after the requested bytes")
    for chunk in chunks:
        kept, count = chunk[count:], max(count - len(chunk), 0)
        if kept:
            yield kept
