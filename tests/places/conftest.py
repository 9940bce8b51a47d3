"""A bucket on a real server of this machine, for tests and the commands they run."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from commands import Run, runner
from stores import BUCKET, ENVIRONMENT, Faulty, serving

from hat_deploy.folders.places import stores
from hat_deploy.folders.places.remote import Remote
from hat_deploy.folders.places.stores import Store, store_of


@pytest.fixture(scope="module")
def server() -> Iterator[tuple[str, Faulty]]:
    with serving() as found:
        yield found


@pytest.fixture
def app(server: tuple[str, Faulty]) -> Iterator[Faulty]:
    """The server's application, which fails at its ``share`` of requests."""
    yield server[1]
    server[1].share = 0.0


@pytest.fixture
def bucket(server: tuple[str, Faulty], monkeypatch: pytest.MonkeyPatch) -> Iterator[Remote]:
    """An empty bucket."""
    for name, value in {**ENVIRONMENT, "AWS_ENDPOINT_URL": server[0]}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(stores, "_open", {})
    place = Remote(f"s3://{BUCKET}")
    files = store_of(place).files
    files.mkdir(BUCKET)
    yield place
    server[1].share = 0.0
    files.rm(BUCKET, recursive=True)
    type(files).clear_instance_cache()


@pytest.fixture
def store(bucket: Remote) -> Store:
    return store_of(bucket)


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    return runner(monkeypatch, capsys)
