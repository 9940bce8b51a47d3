"""Many arrays in one call, and calls of an event loop: they share batches and keep their order."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator

import numpy as np
import pytest
from fakes import IdentityEngine, NaNEngine

from hat_deploy import TargetSize, Upscaler
from hat_deploy.engines.base import Array
from hat_deploy.errors import ArtifactError, CheckFailed, UsageError
from hat_deploy.tiles.enlarger import AHEAD


def noise(height: int, width: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def enlarged(pixels: Array) -> Array:
    return pixels.repeat(2, 0).repeat(2, 1)


SMALL = [noise(5 + seed, 12 - seed, seed) for seed in range(8)]
"""Each takes one tile."""


class Gated(IdentityEngine):
    """Computes a batch only when it is let."""

    def __init__(self, **options: object) -> None:
        super().__init__(**options)  # type: ignore[arg-type]
        self.begun = threading.Semaphore(0)
        self.go_on = threading.Semaphore(0)

    def run(self, batch: Array) -> Array:
        self.begun.release()
        assert self.go_on.acquire(timeout=60)
        return super().run(batch)


class TestMany:
    def test_images_share_batches_and_keep_their_order(self) -> None:
        engine = IdentityEngine(batch=4)
        large = noise(40, 40)
        images = [*SMALL[:3], large, *SMALL[3:]]
        results = list(Upscaler(engine).upscale_many(images))
        for image, result in zip(images, results, strict=True):
            assert np.array_equal(result, enlarged(image))
        tiles = sum(Upscaler(engine).tiles(*image.shape[:2]) for image in images)
        assert engine.calls == -(-tiles // 4)

    def test_they_are_taken_as_they_are_needed(self) -> None:
        taken = []

        def source() -> Iterator[Array]:
            for number in range(10 * AHEAD):
                taken.append(number)
                yield SMALL[0]

        results = Upscaler(IdentityEngine()).upscale_many(source())
        next(results)
        assert len(taken) == AHEAD
        assert len(list(results)) == 10 * AHEAD - 1

    def test_another_call_between_two_results_is_no_matter(self) -> None:
        upscaler = Upscaler(IdentityEngine())
        for result in upscaler.upscale_many(SMALL):
            assert np.array_equal(upscaler.upscale(result), enlarged(result))

    def test_each_gets_the_size_that_is_asked_for(self) -> None:
        upscaler = Upscaler(IdentityEngine(batch=3))
        for scale in (0.5, 1.5, 3):
            size = TargetSize(scale=scale)
            results = list(upscaler.upscale_many(SMALL, size=size))
            for image, result in zip(SMALL, results, strict=True):
                assert np.array_equal(result, upscaler.upscale(image, size=size))

    def test_an_error_comes_in_its_turn(self) -> None:
        upscaler = Upscaler(IdentityEngine())

        def source() -> Iterator[Array]:
            yield from SMALL[:2]
            raise OSError("the disk is gone")

        cases = [([*SMALL[:2], "a.png"], TypeError), (source(), OSError)]
        for images, kind in cases:
            results = upscaler.upscale_many(images)  # type: ignore[arg-type]
            for image in SMALL[:2]:
                assert np.array_equal(next(results), enlarged(image))
            with pytest.raises(kind):
                next(results)
        with pytest.raises(CheckFailed, match="not finite"):
            next(Upscaler(NaNEngine()).upscale_many(SMALL))

    def test_one_image_is_not_taken_for_a_list_of_its_rows(self) -> None:
        with pytest.raises(TypeError, match="a list was expected"):
            next(Upscaler(IdentityEngine()).upscale_many(SMALL[0]))
        stack = np.stack([SMALL[0], SMALL[0]])
        assert len(list(Upscaler(IdentityEngine()).upscale_many(stack))) == 2


class TestAsync:
    def test_calls_at_the_same_time_share_batches(self) -> None:
        engine = Gated(batch=4)

        async def serve(upscaler: Upscaler) -> None:
            first = asyncio.create_task(upscaler.upscale_async(SMALL[0]))
            await asyncio.to_thread(engine.begun.acquire, timeout=60)
            others = [asyncio.create_task(upscaler.upscale_async(image)) for image in SMALL[1:]]
            await asyncio.sleep(0)  # all of them wait now
            engine.go_on.release(20)
            for image, task in zip(SMALL, [first, *others], strict=True):
                assert np.array_equal(await task, enlarged(image))

        with Upscaler(engine) as upscaler:
            asyncio.run(serve(upscaler))
        assert engine.calls == 1 + 2

    def test_a_cancelled_call_is_dropped(self) -> None:
        engine = Gated()
        large = noise(100, 100)

        async def serve(upscaler: Upscaler) -> None:
            task = asyncio.create_task(upscaler.upscale_async(large))
            await asyncio.to_thread(engine.begun.acquire, timeout=60)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            engine.go_on.release(1000)
            assert np.array_equal(await upscaler.upscale_async(SMALL[0]), enlarged(SMALL[0]))

        with Upscaler(engine) as upscaler:
            tiles = upscaler.tiles(100, 100)
            asyncio.run(serve(upscaler))
        assert engine.calls < tiles / 2

    def test_errors_reach_the_call_they_are_about(self) -> None:
        class Broken(IdentityEngine):
            def run(self, batch: Array) -> Array:
                raise ArtifactError("the GPU is gone")

        async def serve() -> None:
            with Upscaler(NaNEngine()) as upscaler:
                small = asyncio.create_task(upscaler.upscale_async(SMALL[0], size=HALF))
                with pytest.raises(CheckFailed):
                    await upscaler.upscale_async(SMALL[1])
                assert (await small).shape == (3, 6, 3)
            with Upscaler(Broken()) as upscaler:
                for _ in range(2):
                    with pytest.raises(ArtifactError, match="the GPU is gone"):
                        await upscaler.upscale_async(SMALL[0])
            with pytest.raises(TypeError):
                await upscaler.upscale_async("a.png")  # type: ignore[arg-type]

        asyncio.run(serve())

    def test_the_end_finishes_what_has_begun_and_refuses_the_rest(self) -> None:
        engine = Gated()
        upscaler = Upscaler(engine)

        async def serve() -> None:
            begun = asyncio.create_task(upscaler.upscale_async(SMALL[0]))
            await asyncio.to_thread(engine.begun.acquire, timeout=60)
            waiting = asyncio.create_task(upscaler.upscale_async(SMALL[1]))
            ending = asyncio.create_task(asyncio.to_thread(upscaler.close))
            while not upscaler._gate._closed:
                await asyncio.sleep(0)
            engine.go_on.release(20)
            assert np.array_equal(await begun, enlarged(SMALL[0]))
            with pytest.raises(UsageError, match="closed"):
                await waiting
            await ending

        asyncio.run(serve())
        assert engine.calls == 1

    def test_its_thread_ends_when_nothing_waits(self) -> None:
        with Upscaler(IdentityEngine()) as upscaler:
            for image in SMALL[:3]:
                asyncio.run(upscaler.upscale_async(image))
        for thread in threading.enumerate():
            if thread.name == "hat-deploy requests":
                thread.join(60)
                assert not thread.is_alive()


HALF = TargetSize(scale=0.5)
