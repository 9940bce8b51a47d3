"""Folder runs from and to a bucket: the same results as on a disk, whole, once, and resumed."""

from __future__ import annotations

import json
import socket
import sys
import threading
from contextlib import ExitStack, closing
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import s3fs
from commands import Run
from fakes import IdentityEngine
from stores import Faulty
from werkzeug.serving import make_server

from hat_deploy import folders
from hat_deploy.api import Upscaler
from hat_deploy.errors import UsageError
from hat_deploy.files import sha256_of
from hat_deploy.folders import job_list, journal_segments
from hat_deploy.folders.job_stream import share_of, stream_jobs
from hat_deploy.folders.journal_index import Entry
from hat_deploy.folders.journal_segments import FOLDER, RemoteJournal, segments
from hat_deploy.folders.places import listing, patience
from hat_deploy.folders.places.remote import Location, Remote
from hat_deploy.folders.places.stores import Store, StoreError, store_of
from hat_deploy.folders.shards import WHOLE, Shard
from hat_deploy.folders.status import status_of
from hat_deploy.images import Picture, encode

sys.path.insert(0, str(Path(__file__).parents[1] / "folders"))
from folder_runs import kinds, picture, results


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Attempts follow each other at once."""
    monkeypatch.setattr(patience, "FIRST_PAUSE", 0.001)


def noise(seed: int, suffix: str = ".png", size: tuple[int, int] = (6, 5)) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, (*size, 3), np.uint8)
    return encode(Picture(pixels=pixels), suffix)


def fill(folder: Remote, count: int) -> None:
    for number in range(count):
        store_of(folder).write(noise(number), folder / f"{number:03}.png")


def upscale(
    source: Location, output: Location | None, shard: Shard = WHOLE, **options: object
) -> dict[str, folders.Outcome]:
    """Outcomes by the names of the sources."""
    listed = share_of(stream_jobs([source], mark="-x2", output=output, recursive=True), shard)
    run = folders.run_list(
        listed, Upscaler(IdentityEngine()), folders.Options(shard=shard, **options)
    )
    with closing(run) as outcomes:
        return {outcome.source.name: outcome for outcome in outcomes}


def objects(folder: Remote) -> dict[str, str]:
    """Names and hashes of all results."""
    found = listing.objects(folder, recursive=True)
    return {
        place.url.removeprefix(f"{folder}/"): sha256_of(store_of(place).read(place))
        for place in found
        if FOLDER not in place.url
    }


def lines(folder: Remote) -> list[str]:
    """The names in the journals' entries, each as often as it is there."""
    found = []
    for _, data in segments(folder):
        rows = map(json.loads, data.splitlines())
        found += [row["output"] for row in rows if "output" in row]
    return sorted(found)


@pytest.mark.slow
def test_a_bucket_gives_what_a_disk_gives(bucket: Remote, tmp_path: Path) -> None:
    for name in ("a.png", "sub/b.png", "c.jpg", "sub/deep/d.webp"):
        file = picture(tmp_path / "in" / name, seed=len(name))
        store_of(bucket).upload(file, bucket / f"in/{name}")
    store_of(bucket).write(b"x", bucket / "in/notes.txt")
    store_of(bucket).write(b"x", bucket / "in/.hidden.png")
    listed = job_list.list_jobs([tmp_path / "in"], mark="", output=tmp_path / "out", recursive=True)
    list(folders.run(listed.jobs, Upscaler(IdentityEngine())))
    assert set(kinds(upscale(bucket / "in", bucket / "out")).values()) == {"Done"}
    assert objects(bucket / "out") == results(tmp_path / "out")
    assert set(kinds(upscale(bucket / "in", bucket / "out")).values()) == {"Skipped"}
    assert set(kinds(upscale(tmp_path / "in", bucket / "up")).values()) == {"Done"}
    assert set(kinds(upscale(bucket / "in", tmp_path / "down")).values()) == {"Done"}
    assert objects(bucket / "up") == results(tmp_path / "down") == results(tmp_path / "out")
    assert lines(bucket / "out") == sorted(objects(bucket / "out"))


def test_results_go_beside_a_folder_and_are_not_read_again(bucket: Remote) -> None:
    fill(bucket, 2)
    assert len(upscale(bucket, None)) == 2
    assert [*objects(bucket / "x2")] == ["000.png", "001.png"]
    assert kinds(upscale(bucket, None)) == {"000.png": "Skipped", "001.png": "Skipped"}


@pytest.mark.slow
def test_what_is_redone_and_what_is_left_alone(bucket: Remote, store: Store) -> None:
    fill(bucket / "in", 4)
    store.write(b"somebody's", bucket / "out/003.png")
    upscale(bucket / "in", bucket / "out")
    assert store.read(bucket / "out/003.png") == b"somebody's"
    store.write(noise(9), bucket / "in/000.png")
    store.remove([bucket / "out/001.png"])
    found = upscale(bucket / "in", bucket / "out")
    assert "".join(kinds(found)[name][0] for name in sorted(found)) == "DDSS"
    assert "the journal does not know it" in str(found["003.png"].reason)
    # 001.png came out as its line says already.
    assert lines(bucket / "out") == ["000.png", "000.png", "001.png", "002.png"]
    found = upscale(bucket / "in", bucket / "out", overwrite=True)
    assert set(kinds(found).values()) == {"Done"}


def test_one_bad_image_stops_nothing(bucket: Remote, store: Store) -> None:
    fill(bucket / "in", 3)
    store.write(b"no image", bucket / "in/bad.png")
    found = upscale(bucket / "in", bucket / "out")
    assert "".join(kinds(found)[name][0] for name in sorted(found)) == "DDDF"
    told = status_of(bucket / "out")
    assert (told.done, told.missing, [failure.source for failure in told.failures]) == (
        3, 0, [str(bucket / "in/bad.png")],
    )  # fmt: skip
    store.write(noise(7), bucket / "in/bad.png")
    upscale(bucket / "in", bucket / "out")
    assert not status_of(bucket / "out").failures


def test_a_run_with_nothing_to_do_tells_how_many_images_there_are(
    bucket: Remote, store: Store
) -> None:
    """As after a run that was killed between its last image and its end."""
    fill(bucket / "in", 2)
    upscale(bucket / "in", bucket / "out")
    for segment, data in segments(bucket / "out"):
        rows = data.splitlines(keepends=True)
        store.write(b"".join(row for row in rows if b'"images"' not in row), segment.place)
    assert status_of(bucket / "out").missing is None
    assert set(kinds(upscale(bucket / "in", bucket / "out")).values()) == {"Skipped"}
    assert status_of(bucket / "out").missing == 0
    before = len(list(segments(bucket / "out")))
    upscale(bucket / "in", bucket / "out")
    assert len(list(segments(bucket / "out"))) == before


@pytest.mark.slow
def test_shards_divide_a_folder_and_know_what_others_did(bucket: Remote) -> None:
    fill(bucket / "in", 12)
    parts = [upscale(bucket / "in", bucket / "out", Shard(number, 2)) for number in range(2)]
    assert sorted(name for part in parts for name in part) == [f"{n:03}.png" for n in range(12)]
    assert all(0 < len(part) < 12 for part in parts)
    assert lines(bucket / "out") == [f"{n:03}.png" for n in range(12)]
    found = status_of(bucket / "out")
    assert (found.done, found.missing, found.shards, found.failures) == (12, 0, 2, [])
    store_of(bucket).write(noise(99), bucket / "in/new.png")
    again = [upscale(bucket / "in", bucket / "out", Shard(number, 3)) for number in range(3)]
    made = [
        name for part in again for name, found in part.items() if isinstance(found, folders.Done)
    ]
    assert made == ["new.png"]


def test_segments_are_put_together_and_nothing_is_lost(
    bucket: Remote, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal_segments, "FAN", 4)
    journal = RemoteJournal(bucket / "out")
    count = 2 * 4**2 + 4 + 3
    for number in range(count):
        sha = f"{number:064x}"
        journal.append(
            Entry(
                output=f"{number}.png", output_size=1, output_sha256=sha, source="a",
                source_size=1, source_mtime_ns=1, source_sha256=sha, settings={},
            )
        )  # fmt: skip
    assert len(list(segments(bucket / "out"))) == 2 + 1 + 3
    again = RemoteJournal(bucket / "out")
    assert [again.last(f"{number}.png") is not None for number in range(count)] == [True] * count
    assert again.last("x.png") is None
    journal.close()
    again.close()


@pytest.mark.slow
def test_what_fails_for_a_moment_is_done_all_the_same(bucket: Remote, app: Faulty) -> None:
    fill(bucket / "in", 30)
    app.share = 0.1
    found = upscale(bucket / "in", bucket / "out")
    app.share = 0.0
    assert set(kinds(found).values()) == {"Done"}
    assert min(app.counts[kind] for kind in ("503", "reset before", "reset after")) > 0
    assert len(objects(bucket / "out")) == 30


def test_a_server_that_is_not_up_yet_is_asked_again(
    bucket: Remote, app: Faulty, monkeypatch: pytest.MonkeyPatch
) -> None:
    store_of(bucket).write(b"image", bucket / "a.png")
    with socket.socket() as held, ExitStack() as stack:
        held.bind(("127.0.0.1", 0))  # without listening: connections are refused
        port = held.getsockname()[1]
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{port}")
        s3fs.S3FileSystem.clear_instance_cache()
        files = Store("s3").files

        def begin(_: float) -> None:
            held.listen()
            server = make_server("127.0.0.1", port, app, threaded=True, fd=held.fileno())
            threading.Thread(target=server.serve_forever, daemon=True).start()
            stack.callback(server.shutdown)

        assert patience.patiently(lambda: files.cat_file("bucket/a.png"), 2, begin) == b"image"


def test_what_never_works_is_told_at_once(bucket: Remote, monkeypatch: pytest.MonkeyPatch) -> None:
    nowhere = Remote("s3://nowhere/in")
    for source, output in ((nowhere, bucket / "out"), (bucket, nowhere)):
        with pytest.raises(StoreError, match=r"s3://nowhere/in: there is no bucket nowhere"):
            upscale(source, output)
    with pytest.raises(StoreError, match=r"s3://bucket/none does not exist"):
        upscale(bucket / "none", bucket / "out")
    with pytest.raises(UsageError, match="a web address can only be read"):
        upscale(bucket, Remote("https://example.org/out"))


def test_a_web_address_is_read(tmp_path: Path) -> None:
    picture(tmp_path / "in" / "a b.png")
    handler = partial(SimpleHTTPRequestHandler, directory=str(tmp_path / "in"))
    handler.func.log_message = lambda *_: None  # type: ignore[method-assign]
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}"
        found = upscale(Remote(f"{address}/a%20b.png"), tmp_path / "out")
        assert kinds(found) == {"a b.png": "Done"}
        with pytest.raises(UsageError, match="cannot be listed"):
            upscale(Remote(address), tmp_path / "out")
        found = upscale(Remote(f"{address}/none.png"), tmp_path / "out")
        assert "does not exist" in str(found["none.png"].reason)
        server.shutdown()
    assert [*results(tmp_path / "out")] == ["a b.png"]


@pytest.mark.slow
def test_the_command_upscales_a_bucket(
    bucket: Remote, tiny_onnx: Path, tmp_path: Path, run: Run
) -> None:
    fill(bucket / "in", 3)
    here_and_there = "upscale s3://bucket/in/ -o s3://bucket/out/ --engine"
    ended = run(here_and_there, tiny_onnx)
    assert ended.code == 0
    assert "3 upscaled" in ended.out and "results in s3://bucket/out" in ended.out
    assert "3 skipped" in run(here_and_there, tiny_onnx).out
    assert "3 to upscale" in run("upscale s3://bucket/in -o s3://bucket/x --dry-run").out
    assert len(objects(bucket / "out")) == 3
    assert run(here_and_there, tiny_onnx, "--keep-times").refused("--keep-times", "object")
    assert run("upscale ftp://x/y").refused("ftp://", "s3://")
    store_of(bucket).write(b"source\nin/001.png\nnone.png\n", bucket / "list.csv")
    listed = run(
        "upscale --manifest s3://bucket/list.csv -o", tmp_path / "here", "--engine", tiny_onnx
    )
    assert listed.code == 3 and "s3://bucket/none.png does not exist" in listed.err
    assert [*results(tmp_path / "here")] == ["in/001.png"]
    told = run("status --json", tmp_path / "here")
    assert told.code == 3 and json.loads(told.out)["done"] == 1
    assert "0 missing" in run("status s3://bucket/out").out
