"""One model and several callers: threads, callbacks, forked processes, and the end."""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from fakes import IdentityEngine
from PIL import Image

from hat_deploy import Upscaler
from hat_deploy.engines.base import Array
from hat_deploy.errors import UsageError

PIXELS = np.random.default_rng(0).integers(0, 256, (20, 20, 3), np.uint8)


class Watched(IdentityEngine):
    """Notices two callers at once, and waits for one that closes it."""

    inside = 0
    closed = 0
    most = 0

    def run(self, batch: Array) -> Array:
        self.inside += 1
        self.most = max(self.most, self.inside)
        result = super().run(batch)
        self.inside -= 1
        return result

    def close(self) -> None:
        assert not self.inside
        self.closed += 1


def test_threads_share_one_that_takes_them_in_turns() -> None:
    engine = Watched(tile=(8, 8))
    images = [np.full((40 + i, 30, 3), i, np.uint8) for i in range(16)]
    with Upscaler(engine) as upscaler, ThreadPoolExecutor(8) as pool:
        results = list(pool.map(upscaler.upscale, images))
    for image, result in zip(images, results, strict=True):
        assert np.array_equal(result, image.repeat(2, 0).repeat(2, 1))
    assert (engine.most, engine.closed) == (1, 1)


def uses(folder: Path) -> dict[str, Callable[[Upscaler], object]]:
    """Every way of using one."""
    Image.fromarray(PIXELS).save(folder / "a.png")
    return {
        "upscale": lambda upscaler: upscaler.upscale(PIXELS),
        "many": lambda upscaler: list(upscaler.upscale_many([PIXELS])),
        "async": lambda upscaler: upscaler.upscale_async(PIXELS).send(None),
        "file": lambda upscaler: upscaler.upscale_file(folder / "a.png", folder / "b.png"),
        "folder": lambda upscaler: upscaler.upscale_folder(folder),
        "with": lambda upscaler: upscaler.__enter__(),
    }


def test_after_its_end_every_use_says_so(tmp_path: Path) -> None:
    engine = Watched()
    upscaler = Upscaler(engine)
    upscaler.close()
    upscaler.close()
    assert engine.closed == 1
    for use in uses(tmp_path).values():
        with pytest.raises(UsageError, match=r"^this Upscaler is closed: open another one$"):
            use(upscaler)
    assert engine.calls == 0


def test_the_end_waits_for_the_call_at_work() -> None:
    begun, go_on = threading.Event(), threading.Event()

    class Slow(Watched):
        def run(self, batch: Array) -> Array:
            begun.set()
            assert go_on.wait(60)
            return super().run(batch)

    engine = Slow()
    upscaler = Upscaler(engine)
    with ThreadPoolExecutor(2) as pool:
        result = pool.submit(upscaler.upscale, PIXELS)
        assert begun.wait(60)
        ended = pool.submit(upscaler.close)
        assert not engine.closed
        go_on.set()
        assert result.result(60).shape == (40, 40, 3)
        ended.result(60)
    assert engine.closed == 1


def test_a_callback_is_told_that_it_cannot_call_again(tmp_path: Path) -> None:
    ways = uses(tmp_path)
    del ways["async"], ways["with"]
    for use in (*ways.values(), Upscaler.close):
        upscaler = Upscaler(IdentityEngine())
        with pytest.raises(UsageError, match="from a callback"):
            upscaler.upscale(PIXELS, progress=lambda *_, use=use, own=upscaler: use(own))
        assert upscaler.upscale(PIXELS).shape == (40, 40, 3), "it is free again"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.parametrize("backend", ["openvino", "onnxruntime"])
def test_a_forked_process_is_told_and_ends(backend: str, tiny_onnx: Path) -> None:
    with Upscaler(tiny_onnx, backend=backend) as upscaler:
        expected = upscaler.upscale(PIXELS)
        context = multiprocessing.get_context("fork")
        told = context.SimpleQueue()

        def use() -> None:
            with pytest.raises(UsageError, match="forked"):
                upscaler.upscale(PIXELS)
            upscaler.close()
            told.put("forked")

        child = context.Process(target=use)
        child.start()
        child.join(60)
        alive = child.is_alive()
        child.kill()
        assert not alive and child.exitcode == 0
        assert told.get() == "forked"
        assert np.array_equal(upscaler.upscale(PIXELS), expected), "the parent goes on"
