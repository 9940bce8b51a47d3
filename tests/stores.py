"""A real S3 server on loopback, that may fail now and then.

    python tests/stores.py SHARE    runs one until its standard input ends, and prints its address

SHARE of the requests, at random, get a 503, or the connection is reset before or after they were
answered.
"""

from __future__ import annotations

import logging
import random
import socket
import struct
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from moto.server import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import make_server

BUCKET = "bucket"
ENVIRONMENT = {
    "AWS_ACCESS_KEY_ID": "somebody",
    "AWS_SECRET_ACCESS_KEY": "something",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_EC2_METADATA_DISABLED": "true",
}
SLOW_DOWN = (
    b"<Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>"
)


class Faulty:
    """A WSGI application that fails at random."""

    def __init__(self, share: float, seed: int = 0) -> None:
        self._app = DomainDispatcherApplication(create_backend_app)
        self._chance = random.Random(seed)
        self._lock = threading.Lock()
        self.share = share
        self.counts: Counter[str] = Counter()

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Any:
        with self._lock:
            drawn, kind = self._chance.random(), self._chance.randrange(3)
            fails = drawn < self.share
            self.counts["requests"] += 1
            self.counts[("503", "reset before", "reset after")[kind]] += fails
        if not fails:
            return self._app(environ, start_response)
        length = int(environ.get("CONTENT_LENGTH") or 0)
        if kind == 0:
            environ["wsgi.input"].read(length)
            start_response("503 Slow Down", [("Content-Type", "application/xml")])
            return [SLOW_DOWN]
        if kind == 2:  # done, and nobody learns of it
            list(self._app(environ, lambda *_: lambda _: None))
        connection = environ["werkzeug.socket"]
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.shutdown(socket.SHUT_RDWR)
        raise ConnectionAbortedError


@contextmanager
def serving(share: float = 0.0) -> Iterator[tuple[str, Faulty]]:
    """A server in a thread, and its address."""
    logging.getLogger("werkzeug").setLevel(logging.CRITICAL)
    app = Faulty(share)
    server = make_server("127.0.0.1", 0, app, threaded=True)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", app
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


if __name__ == "__main__":
    with serving(float(sys.argv[1])) as (address, app):
        print(address, flush=True)
        sys.stdin.read()
        print(dict(app.counts), file=sys.stderr, flush=True)
