"""A hub on the loopback that speaks the protocol of huggingface.co as `huggingface_hub` asks it, and fails as told.

Repositories are folders. What a path is answered with instead is in `faults`; all requests are in `requests`. Large
files lie on another host, as on huggingface.co: a redirect leads there, and no token may follow it.
"""

import hashlib
import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from urllib.parse import unquote, urlsplit

COMMIT = "0123456789abcdef0123456789abcdef01234567"
# As the hub words it; `huggingface_hub` reads the code.
GATED = (403, {"X-Error-Code": "GatedRepo", "X-Error-Message": "Access to model somebody/tiny is restricted."})
NO_REPOSITORY = (404, {"X-Error-Code": "RepoNotFound", "X-Error-Message": "Repository not found"})
NO_REVISION = (404, {"X-Error-Code": "RevisionNotFound", "X-Error-Message": "Invalid rev id: v9"})
NO_FILE = (404, {"X-Error-Code": "EntryNotFound", "X-Error-Message": "Entry not found", "X-Repo-Commit": COMMIT})

Fault = tuple[int, dict[str, str]] | Callable[["Handler"], None]


@dataclass
class Hub:
    """Where it listens, what it holds, what it was asked, and how it fails."""

    repositories: dict[str, Path] = field(default_factory=dict)
    revisions: dict[str, str] = field(default_factory=lambda: {"main": COMMIT, COMMIT: COMMIT})
    faults: dict[str, list[Fault]] = field(default_factory=dict)
    requests: list[str] = field(default_factory=list)
    tokens: list[tuple[str, str]] = field(default_factory=list)
    large: int = 10_000
    port: int = 0

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def asked(self, method: str = "") -> list[str]:
        """The paths that were asked for, without those of what is not a file."""
        return [line.partition(" ")[2] for line in self.requests if line.startswith(method)]


@contextmanager
def running(hub: Hub) -> Iterator[Hub]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Bound", (Handler,), {"hub": hub}))
    server.daemon_threads = True
    hub.port = server.server_port
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class Handler(BaseHTTPRequestHandler):
    hub: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        """The requests are in a list."""

    def do_HEAD(self) -> None:
        self.answer()

    def do_GET(self) -> None:
        self.answer()

    def answer(self) -> None:
        path = unquote(urlsplit(self.path).path)
        self.hub.requests.append(f"{self.command} {path}")
        if token := self.headers.get("authorization"):
            self.hub.tokens.append((path, token))
        waiting = next((faults for ending, faults in self.hub.faults.items() if path.endswith(ending) and faults), None)
        if waiting is not None:
            # The last one stays.
            fault = waiting.pop(0) if len(waiting) > 1 else waiting[0]
            if callable(fault):
                return fault(self)
            return self.send(fault[0], json.dumps({"error": fault[1].get("X-Error-Message", "")}).encode(), fault[1])
        if path.startswith("/api/models/"):
            return self.list_files(path)
        if path.startswith("/large/"):
            return self.send_file(self.file_of(path.removeprefix("/large/")))
        return self.send_file(self.file_of(path), is_first=True)

    def list_files(self, path: str) -> None:
        owner, name, *rest = path.removeprefix("/api/models/").split("/")
        folder = self.hub.repositories.get(f"{owner}/{name}")
        revision = "/".join(rest[1:]) or "main"
        if folder is None:
            return self.send(NO_REPOSITORY[0], b"{}", NO_REPOSITORY[1])
        if revision not in self.hub.revisions:
            return self.send(NO_REVISION[0], b"{}", NO_REVISION[1])
        files = []
        for file in sorted(each for each in folder.rglob("*") if each.is_file()):
            data = file.read_bytes()
            entry = {"rfilename": file.relative_to(folder).as_posix(), "size": len(data), "blobId": git_name(data)}
            if len(data) > self.hub.large:
                entry["lfs"] = {"sha256": sha256(data), "size": len(data), "pointerSize": 130}
            files.append(entry)
        answer = {"id": f"{owner}/{name}", "sha": self.hub.revisions[revision], "siblings": files}
        return self.send(200, json.dumps(answer).encode(), {"Content-Type": "application/json"})

    def file_of(self, path: str) -> Path | None:
        repository, _, rest = path.lstrip("/").partition("/resolve/")
        folder, name = self.hub.repositories.get(repository), rest.partition("/")[2]
        return folder / name if folder is not None and (folder / name).is_file() else None

    def send_file(self, file: Path | None, *, is_first: bool = False) -> None:
        if file is None:
            return self.send(NO_FILE[0], b"{}", NO_FILE[1])
        data = file.read_bytes()
        if is_first and len(data) > self.hub.large:
            elsewhere = f"http://localhost:{self.hub.port}/large{self.path}"
            headers = {"X-Repo-Commit": COMMIT, "X-Linked-ETag": f'"{sha256(data)}"', "X-Linked-Size": str(len(data))}
            return self.send(302, b"", headers | {"Location": elsewhere})
        return self.send_part(data, {"X-Repo-Commit": COMMIT, "ETag": f'"{git_name(data)}"'})

    def send_part(self, data: bytes, headers: dict[str, str], *, cut: int | None = None) -> None:
        """The bytes that are asked for; `cut` of them, and then nothing more."""
        first = int(self.headers.get("Range", "bytes=0-").removeprefix("bytes=").rstrip("-"))
        if first:
            headers = headers | {"Content-Range": f"bytes {first}-{len(data) - 1}/{len(data)}"}
        self.send(206 if first else 200, data[first:], headers | {"Accept-Ranges": "bytes"}, cut=cut)

    def send(self, status: int, data: bytes, headers: dict[str, str], *, cut: int | None = None) -> None:
        self.send_response(status)
        for name, value in ({"Content-Length": str(len(data))} | headers).items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data if cut is None else data[:cut])
        if cut is not None:
            self.close_connection = True


def cut_after(count: int, file: Path) -> Fault:
    """The first `count` of the bytes asked for, and then a closed connection."""
    return lambda handler: handler.send_part(file.read_bytes(), {}, cut=count)


def silent(seconds: float) -> Fault:
    """No answer for so long, and then none."""

    def wait(handler: Handler) -> None:
        time.sleep(seconds)
        handler.close_connection = True

    return wait


def page(handler: Handler) -> None:
    """What a café's network answers to everything."""
    handler.send(200, b"<html>Welcome! Please sign in.</html>", {"Content-Type": "text/html"})


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def git_name(data: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()
