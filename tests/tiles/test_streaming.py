from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator

import numpy as np
import pytest
from fakes import IdentityEngine, NaNEngine
from hypothesis import given
from hypothesis import strategies as st

from hat_deploy.engines.base import Array
from hat_deploy.errors import ArtifactError
from hat_deploy.tiles.enlargement import Enlargement
from hat_deploy.tiles.streaming import stream


class Deep(IdentityEngine):
    """Keeps several batches in flight: takes them all before it gives its first result."""

    depth = 3

    def stream(self, batches: Iterable[Array]) -> Iterator[Array]:
        flying: deque[Array] = deque()
        for batch in batches:
            flying.append(batch)
            if len(flying) == self.depth:
                yield self.run(flying.popleft())
        while flying:
            yield self.run(flying.popleft())


class Script:
    """A feed that follows a script: pictures, and None where none comes soon."""

    def __init__(self, steps: Iterable[Enlargement | None]) -> None:
        self._steps = deque(steps)

    @property
    def ended(self) -> bool:
        return not self._steps

    def take(self) -> Enlargement | None:
        return self._steps.popleft() if self._steps else None


def noise(shape: tuple[int, ...], seed: int = 0, dtype: type = np.uint8) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, np.iinfo(dtype).max + 1, shape, dtype)


def enlarged(pixels: np.ndarray) -> np.ndarray:
    return pixels.repeat(2, 0).repeat(2, 1)


@given(
    sizes=st.lists(st.tuples(st.integers(1, 40), st.integers(1, 40)), min_size=1, max_size=6),
    gaps=st.lists(st.booleans(), min_size=6, max_size=6),
    batch=st.integers(1, 5),
    deep=st.booleans(),
)
def test_whatever_shares_a_batch_every_picture_comes_out(
    sizes: list[tuple[int, int]], gaps: list[bool], batch: int, deep: bool
) -> None:
    engine = (Deep if deep else IdentityEngine)((16, 16), batch=batch)
    kinds = [(), (3,), (4,)]
    pictures = [noise((*s, *kinds[i % 3]), i) for i, s in enumerate(sizes)]
    works = [Enlargement(pixels, engine, 2) for pixels in pictures]
    steps: list[Enlargement | None] = []
    for work, gap in zip(works, gaps, strict=False):
        steps += [None, work] if gap else [work]
    counted = sum(len(pieces) for pieces in stream(Script(steps)))
    assert counted == sum(work.total for work in works)
    for pixels, work in zip(pictures, works, strict=True):
        assert work.finished and work.error is None
        assert np.array_equal(work.result, enlarged(pixels))


def test_tiles_of_several_pictures_fill_batches() -> None:
    engine = IdentityEngine((16, 16), batch=4)
    works = [Enlargement(noise((16, 16, 3), i), engine, 0) for i in range(10)]
    assert [len(pieces) for pieces in map(list, stream(Script(works)))] == [4, 4, 2]


def test_a_batch_is_not_kept_waiting_for_pictures_that_do_not_come() -> None:
    engine = Deep((16, 16), batch=4)
    first, second = (Enlargement(noise((16, 16, 3), i), engine, 0) for i in range(2))
    steps = stream(Script([first, None, None, second]))
    assert len(next(steps)) == 1
    assert first.finished and not second.done


def test_batches_in_flight_come_back_before_the_feed_is_waited_for() -> None:
    """A feed that gives its second picture only once the first is finished must not hang."""
    engine = Deep((16, 16))
    first, second = (Enlargement(noise((16, 16, 3), i), engine, 0) for i in range(2))

    class Waiting(Script):
        def take(self) -> Enlargement | None:
            if self._steps and self._steps[0] is second and not first.finished:
                return None
            return super().take()

    for _ in stream(Waiting([first, second])):
        pass
    assert second.finished


def test_only_the_picture_with_values_that_are_not_finite_fails() -> None:
    class Spoiling(IdentityEngine):
        """NaN wherever a tile is white."""

        def run(self, batch: Array) -> Array:
            result = super().run(batch)
            result[batch.min(axis=(1, 2, 3)) == 1] = np.nan
            return result

    engine = Spoiling((16, 16), batch=3)
    pictures = [noise((40, 40, 3), i) // 2 for i in range(3)]
    pictures[1][:] = 255
    works = [Enlargement(pixels, engine, 2) for pixels in pictures]
    for _ in stream(Script(works)):
        pass
    assert [work.error is None for work in works] == [True, False, True]
    assert engine.calls < sum(work.total for work in works) / 3 + 1  # its other tiles are dropped
    for i in (0, 2):
        assert np.array_equal(works[i].result, enlarged(pictures[i]))


def test_pictures_for_two_engines_share_no_batch_and_fill_theirs() -> None:
    bytes_, floats = (
        IdentityEngine((16, 16), batch=4, layout=layout) for layout in ("NHWC", "NCHW")
    )
    works = []
    for i in range(8):
        works.append(Enlargement(noise((16, 16, 3), i), bytes_, 0))
        works.append(Enlargement(noise((16, 16, 3), i, np.uint16), floats, 0))
    for pieces in stream(Script(works)):
        assert len({piece.picture.engine for piece in pieces}) == 1
    assert bytes_.calls == floats.calls == 2
    for i, work in enumerate(works):
        dtype = np.uint16 if i % 2 else np.uint8
        assert np.array_equal(work.result, enlarged(noise((16, 16, 3), i // 2, dtype)))


def test_an_engine_that_fails_is_not_hidden() -> None:
    class Broken(IdentityEngine):
        def run(self, batch: Array) -> Array:
            raise ArtifactError("out of memory")

    work = Enlargement(noise((4, 4)), Broken(), 0)
    with pytest.raises(ArtifactError, match="out of memory"):
        list(stream(Script([work])))


def test_gray_of_nan_is_an_error_too() -> None:
    work = Enlargement(noise((4, 4)), NaNEngine(), 0)
    list(stream(Script([work])))
    assert work.error is not None
