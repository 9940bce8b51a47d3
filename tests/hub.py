"""A model hub on loopback: the part of its protocol that a download takes."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

COMMIT = "0123456789abcdef" * 2 + "01234567"


@dataclass
class Hub:
    """One repository, and what the server does wrong."""

    repository: str = "org/hat"
    files: dict[str, bytes] = field(default_factory=dict)
    revisions: tuple[str, ...] = ("main", "v1", COMMIT)
    token: str | None = None
    """What a reader has to show."""
    gated: bool = False
    """Whether a reader is told to ask for access."""
    status: int | None = None
    """The answer to everything."""
    cut: int | None = None
    """After how many bytes a download ends."""
    spoiled: bool = False
    """Whether downloads have other bytes than their hash says."""
    url: str = ""
    requests: list[str] = field(default_factory=list)
    agents: set[str] = field(default_factory=set)


@contextmanager
def served(hub: Hub) -> Iterator[Hub]:
    """The hub at ``hub.url`` inside the block."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *arguments: object) -> None: ...

        def do_HEAD(self) -> None:
            self.answer()

        def do_GET(self) -> None:
            self.answer()

        def answer(self) -> None:
            path = urlsplit(self.path).path
            hub.requests.append(f"{self.command} {path}")
            hub.agents.add(self.headers.get("User-Agent", ""))
            shown = self.headers.get("Authorization", "").removeprefix("Bearer ")
            if hub.status is not None:
                self.send(hub.status, b"busy")
            elif path.startswith(f"/large/{hub.repository}/"):  # a store of signed addresses
                self.send_content(path.removeprefix(f"/large/{hub.repository}/"))
            elif hub.gated:
                self.send(403, b"ask", {"X-Error-Code": "GatedRepo"})
            elif hub.token is not None and shown != hub.token:
                self.send(401, b"who?", {"X-Error-Code": "RepoNotFound"})
            elif path.startswith(f"/api/models/{hub.repository}/revision/"):
                self.send_info(path.rpartition("/")[2])
            elif path.startswith(f"/{hub.repository}/resolve/"):
                revision, _, file = path.removeprefix(f"/{hub.repository}/resolve/").partition("/")
                self.send_file(revision, file)
            else:
                self.send(404, b"", {"X-Error-Code": "RepoNotFound"})

        def send_info(self, revision: str) -> None:
            if revision not in hub.revisions:
                self.send(404, b"", {"X-Error-Code": "RevisionNotFound"})
                return
            siblings = [{"rfilename": name} for name in hub.files]
            info = {"id": hub.repository, "modelId": hub.repository, "sha": COMMIT}
            self.send(200, json.dumps(info | {"siblings": siblings}).encode())

        def send_file(self, revision: str, file: str) -> None:
            commit = {"X-Repo-Commit": COMMIT}
            if revision not in hub.revisions:
                self.send(404, b"", {"X-Error-Code": "RevisionNotFound"})
            elif file not in hub.files:
                self.send(404, b"", commit | {"X-Error-Code": "EntryNotFound"})
            elif file.endswith(".json"):  # small files are sent at once
                tag = {"ETag": f'"{hashlib.sha1(hub.files[file]).hexdigest()}"'}
                self.send(200, hub.files[file], commit | tag)
            else:
                content = hub.files[file]
                linked = {
                    "X-Linked-Size": str(len(content)),
                    "X-Linked-ETag": f'"{hashlib.sha256(content).hexdigest()}"',
                    "Location": f"{elsewhere}/large/{hub.repository}/{file}",
                }
                self.send(302, b"", commit | linked)

        def send_content(self, file: str) -> None:
            content = hub.files[file]
            if hub.spoiled:
                content = bytes(len(content))
            tag = {"ETag": f'"{hashlib.sha256(hub.files[file]).hexdigest()}"'}
            first = int(self.headers.get("Range", "bytes=0-").removeprefix("bytes=").split("-")[0])
            status = 206 if first else 200
            self.send(status, content[first:], tag, cut=hub.cut)

        def send(
            self,
            status: int,
            body: bytes,
            headers: dict[str, str] | None = None,
            cut: int | None = None,
        ) -> None:
            self.send_response(status)
            for name, value in (headers or {}).items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(body[:cut])
            if cut is not None and cut < len(body):
                self.close_connection = True

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    hub.url = f"http://127.0.0.1:{server.server_port}"
    elsewhere = f"http://localhost:{server.server_port}"  # as the real one's store of large files
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
