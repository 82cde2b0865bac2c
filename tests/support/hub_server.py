"""A model hub on 127.0.0.1 that answers the real requests of huggingface_hub.

Like the real hub it has two servers: one serves metadata and redirects requests for GGUF files to
a storage host (another origin). So redirects, tokens and resumed downloads take their real paths.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from time import sleep  # the name, which tests do not patch
from typing import Any
from urllib.parse import unquote, urlsplit

COMMIT = "0123456789abcdef0123456789abcdef01234567"
"""The commit that every branch and tag of every repository points to."""

_BLOCK = 32 * 1024

# Status, X-Error-Code and X-Error-Message, as the real hub sends them.
_ANSWERS = {
    "gated": (403, "GatedRepo", "Access to this model is restricted."),
    "private": (401, "RepoNotFound", "Repository not found"),
    "disabled": (403, "", "Access to this resource is disabled."),
    "bad token": (401, "", "Invalid credentials in Authorization header"),
    "forbidden": (403, "", "Forbidden"),
    "rate limit": (429, "", "Too many requests"),
    "broken": (500, "", "Internal error"),
    "no repo": (404, "RepoNotFound", "Repository not found"),
    "no revision": (404, "RevisionNotFound", "Invalid rev id"),
    "no file": (404, "EntryNotFound", "Entry not found"),
}


@dataclass
class Request:
    """One request that a server received, with the headers that tests check."""

    endpoint: str
    method: str
    path: str
    token: str | None
    range: str | None


@dataclass
class HubServer:
    """The state of the hub: `repos` maps names to files; `faults` maps an endpoint to its fault.

    The endpoints are "api" (file lists), "resolve" (metadata of a file), "storage" (its bytes) and
    "upload" (every request of an upload).
    Faults are the keys of `_ANSWERS`, "drop" (close the connection without an answer), "garbage"
    (status 200 from a server that is not a hub), "circle" (redirect to the same URL), and for
    "storage" also "cut" (half of the bytes, then close the connection), "stall" (half of the
    bytes, then nothing), "short" (half of the bytes as if they were all), "no ranges" (always the
    whole file), "later range" (a range that starts too late), "endless" (an unknown number of
    bytes that does not end with the file) and "wrong bytes". `fault_count` limits the number of
    faults; `pace` is the pause of the storage after each 32 KiB, in seconds.
    """

    repos: dict[str, dict[str, bytes]]
    revisions: set[str] = field(default_factory=lambda: {"main", COMMIT})
    faults: dict[str, str] = field(default_factory=dict)
    fault_count: float = float("inf")
    pace: float = 0.0
    sent: int = 0  # bytes of files, over all requests
    uploaded: dict[str, bytes] = field(default_factory=dict)  # by SHA-256
    requests: list[Request] = field(default_factory=list)
    hub_url: str = ""
    storage_url: str = ""

    def count(self, endpoint: str) -> int:
        """Return the number of requests to an endpoint."""
        return sum(request.endpoint == endpoint for request in self.requests)

    def fault(self, endpoint: str) -> str:
        """Return the fault of this request, or ""."""
        if endpoint not in self.faults or self.fault_count <= 0:
            return ""
        self.fault_count -= 1
        return self.faults[endpoint]


@contextmanager
def running(repos: dict[str, dict[str, bytes]]) -> Iterator[HubServer]:
    """Yield a hub with these repositories that serves until the block ends."""
    state = HubServer(repos)
    servers = []
    for handler in (_Hub, _Storage):
        server = ThreadingHTTPServer(
            ("127.0.0.1", 0), type(handler.__name__, (handler,), {"state": state})
        )
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        servers.append(server)
    state.hub_url, state.storage_url = (
        f"http://127.0.0.1:{server.server_address[1]}" for server in servers
    )
    try:
        yield state
    finally:
        for server in servers:
            server.shutdown()
            server.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    state: HubServer

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        path = unquote(urlsplit(self.path).path)
        endpoint = self.endpoint(path)
        self.state.requests.append(
            Request(
                endpoint, self.command, path, self.headers["authorization"], self.headers["range"]
            )
        )
        fault = self.state.fault(endpoint)
        if fault == "drop":
            self.close_connection = True
        elif fault == "garbage":
            self.send(200, b"<html>Please log in</html>", {"Content-Type": "text/html"})
        elif fault == "circle":
            self.send(302, b"", {"Location": self.path})
        elif fault in _ANSWERS:
            self.fail(fault)
        else:
            self.answer(path, fault)

    def endpoint(self, path: str) -> str:
        raise NotImplementedError

    def answer(self, path: str, fault: str) -> None:
        raise NotImplementedError

    def fail(self, fault: str) -> None:
        status, code, message = _ANSWERS[fault]
        self.send(status, b"", {"X-Error-Code": code, "X-Error-Message": message})

    def send(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.head(status, {"Content-Length": str(len(body)), **headers})
        if self.command != "HEAD":
            self.wfile.write(body)

    def head(self, status: int, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            if value:
                self.send_header(name, value)
        self.end_headers()


class _Hub(_Handler):
    def endpoint(self, path: str) -> str:
        if path.startswith("/api/models/"):
            return "api"
        return "resolve" if "/resolve/" in path else "other"  # such as /api/agent-harnesses

    def answer(self, path: str, fault: str) -> None:
        if path.startswith("/api/models/"):
            repo, _, revision = path.removeprefix("/api/models/").partition("/revision/")
            filename = ""
        else:
            repo, _, rest = path.removeprefix("/").partition("/resolve/")
            # A revision with slashes in it arrives quoted; look for a known one.
            revision = next((r for r in self.state.revisions if rest.startswith(f"{r}/")), "?")
            filename = rest.removeprefix(f"{revision}/")
        if repo not in self.state.repos:
            self.fail("no repo")
        elif (revision or "main") not in self.state.revisions:
            self.fail("no revision")
        elif not filename:
            self.listing(repo)
        elif filename not in self.state.repos[repo]:
            self.fail("no file")
        else:
            self.file(repo, filename)

    def listing(self, repo: str) -> None:
        files = self.state.repos[repo].items()
        siblings = [{"rfilename": name, "size": len(data), "blobId": "0"} for name, data in files]
        info = {"id": repo, "modelId": repo, "sha": COMMIT, "siblings": siblings}
        self.send(200, json.dumps(info).encode(), {"Content-Type": "application/json"})

    def file(self, repo: str, filename: str) -> None:
        data = self.state.repos[repo][filename]
        digest = hashlib.sha256(data).hexdigest()
        if not filename.endswith(".gguf"):
            self.send(200, data, {"ETag": f'"{digest}"', "X-Repo-Commit": COMMIT})
            return
        headers = {
            "ETag": '"of-the-pointer-file"',
            "X-Repo-Commit": COMMIT,
            "X-Linked-ETag": f'"{digest}"',
            "X-Linked-Size": str(len(data)),
            # Like the real hub. Our client must not use them: nothing here implements Xet.
            "X-Xet-Hash": digest,
            "Link": f'<{self.state.hub_url}/api/xet-read-token>; rel="xet-auth"',
            "Location": f"{self.state.storage_url}/{repo}/{filename}?signature=secret",
        }
        self.send(302, b"", headers)

    def do_POST(self) -> None:
        """Answer the requests of an upload: the repository, each file's upload mode, the commit."""
        path = unquote(urlsplit(self.path).path)
        body = self.rfile.read(int(self.headers["content-length"] or 0))
        endpoint = "upload"
        self.state.requests.append(
            Request(endpoint, self.command, path, self.headers["authorization"], None)
        )
        if (fault := self.state.fault(endpoint)) in _ANSWERS:
            self.fail(fault)
        elif path == "/api/repos/create":
            requested = json.loads(body)
            repo = "/".join(filter(None, (requested.get("organization"), requested["name"])))
            self.state.repos.setdefault(repo, {})
            self.send_json({"url": f"{self.state.hub_url}/{repo}", "name": repo})
        elif path == "/api/validate-yaml":
            self.send_json({"errors": [], "warnings": []})
        elif "/preupload/" in path:
            files = [
                {"path": file["path"], "uploadMode": _upload_mode(file["path"])}
                for file in json.loads(body)["files"]
            ]
            self.send_json({"files": [file | {"shouldIgnore": False} for file in files]})
        elif path.endswith(".git/info/lfs/objects/batch"):
            self.send_json({"transfer": "basic", "objects": self.upload_urls(json.loads(body))})
        else:
            repo = path.removeprefix("/api/models/").partition("/commit/")[0]
            self.commit(repo, [json.loads(line) for line in body.splitlines()])

    def upload_urls(self, requested: dict[str, Any]) -> list[dict[str, Any]]:
        """Return the objects with the URLs to upload them to."""
        address = self.state.storage_url
        return [
            item | {"actions": {"upload": {"href": f"{address}/new/{item['oid']}"}}}
            for item in requested["objects"]
        ]

    def commit(self, repo: str, lines: list[dict[str, Any]]) -> None:
        files = self.state.repos[repo]
        for line in lines:
            value = line["value"]
            if line["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                files[value["path"]] = self.state.uploaded[value["oid"]]
        url = f"{self.state.hub_url}/{repo}/commit/{COMMIT}"
        self.send_json({"success": True, "commitUrl": url, "commitOid": COMMIT})

    def send_json(self, content: dict[str, Any]) -> None:
        self.send(200, json.dumps(content).encode(), {"Content-Type": "application/json"})


def _upload_mode(path: str) -> str:
    return "lfs" if path.endswith((".gguf", ".safetensors", ".png")) else "regular"


class _Storage(_Handler):
    def do_PUT(self) -> None:
        oid = self.path.rpartition("/")[2]
        data = self.rfile.read(int(self.headers["content-length"]))
        assert hashlib.sha256(data).hexdigest() == oid
        self.state.uploaded[oid] = data
        self.send(200, b"", {})

    def endpoint(self, path: str) -> str:
        return "storage"

    def answer(self, path: str, fault: str) -> None:
        owner, name, filename = path.removeprefix("/").split("/", 2)
        data = self.state.repos[f"{owner}/{name}"][filename]
        if fault == "wrong bytes":
            data = data[::-1]
        if fault == "endless":
            self.stream(200, data * 100, {"Content-Length": ""}, fault)
            return
        requested = re.match(r"bytes=(\d+)-(\d*)", self.headers["range"] or "")
        if not requested or fault == "no ranges":
            self.stream(200, data, {}, fault)
            return
        start, stop = int(requested[1]), int(requested[2] or len(data) - 1) + 1
        start += fault == "later range"
        if start >= len(data):
            self.send(416, b"", {"Content-Range": f"bytes */{len(data)}"})
            return
        body = data[start:stop]
        headers = {"Content-Range": f"bytes {start}-{start + len(body) - 1}/{len(data)}"}
        self.stream(206, body, headers, fault)

    def stream(self, status: int, body: bytes, headers: dict[str, str], fault: str) -> None:
        """Send a file's bytes at the given pace, or fewer of them, according to the fault."""
        half = body[: len(body) // 2]
        length = len(half if fault == "short" else body)
        self.head(status, {"Content-Length": str(length), **headers})
        body = half if fault in ("cut", "stall", "short") else body
        with suppress(ConnectionError):  # the client may leave in the middle
            for start in range(0, len(body), _BLOCK):
                self.wfile.write(body[start : start + _BLOCK])
                self.state.sent += len(body[start : start + _BLOCK])
                if self.state.pace:
                    sleep(self.state.pace)
            if fault == "stall":
                self.rfile.read(1)  # until the client goes away
        self.close_connection = self.close_connection or fault in ("cut", "stall", "endless")
