"""Room for results in memory and in nameless files, and the memory that large ones take."""

from __future__ import annotations

import errno
import json
import os
import resource
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from picture_files import RGB

from hat_deploy.errors import PictureError
from hat_deploy.images import Picture, blank, decode, encode, release, write

MEASURE = """
import json, sys
from pathlib import Path
import numpy as np
from hat_deploy.images import Picture, blank, release, write
from peak import peak

target, side, memory = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
write(Picture(pixels=np.zeros((2000, 6000, 3), np.uint8)), target.with_name("warm" + target.suffix))
before = peak()
pixels = blank((side, side, 3), np.dtype(np.uint8), folder=target.parent, memory=memory)
ramp = np.add.outer(np.arange(512), np.arange(side)).astype(np.uint8)[..., None]
for top in range(0, side, 512):
    rows = pixels[top : top + 512]
    rows[...] = ramp[: len(rows)] + np.array([0, top // 512, 7], np.uint8)
    release(pixels)
write(Picture(pixels=pixels), target, consume=True)
print(json.dumps({"bytes": pixels.nbytes, "grown": peak() - before}))
"""


def test_small_room_is_memory_and_large_room_a_file_without_a_name(tmp_path: Path) -> None:
    small = blank((4, 5, 3), np.dtype(np.uint16), folder=tmp_path / "no", memory=120)
    assert type(small) is np.ndarray and not (tmp_path / "no").exists()
    release(small)
    large = blank((4, 5, 3), np.dtype(np.uint16), folder=tmp_path / "out", memory=119)
    assert isinstance(large, np.memmap) and large.shape == (4, 5, 3)
    assert list((tmp_path / "out").iterdir()) == []
    large[...] = 7
    release(large[1:, :, 0])
    assert (large == 7).all()


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".tif", ".bmp"])
def test_a_mapped_result_is_written_like_any_other(
    suffix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.modules["hat_deploy.images.encode"], "_IN_MEMORY", 0)
    pixels = blank(RGB.shape, RGB.dtype, folder=tmp_path, memory=0)
    pixels[...] = RGB
    target = tmp_path / f"é{suffix}"
    write(Picture(pixels=pixels), target, quality=90)
    assert target.read_bytes() == encode(Picture(pixels=RGB), suffix, quality=90)
    np.testing.assert_array_equal(pixels, RGB)
    write(Picture(pixels=pixels), target, quality=90, consume=True)
    assert target.read_bytes() == encode(Picture(pixels=RGB), suffix, quality=90)
    assert [path.name for path in tmp_path.iterdir()] == [target.name]


def test_names_that_opencv_cannot_open_are_written_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.modules["hat_deploy.images.encode"], "_IN_MEMORY", 0)
    folder = tmp_path / os.fsdecode(b"\xff\xfe")
    write(Picture(pixels=RGB), folder / "a.png")
    np.testing.assert_array_equal(decode(folder / "a.png").pixels, RGB)


def test_a_full_disk_is_told_before_anything_is_computed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(descriptor: int, offset: int, length: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "posix_fallocate", full, raising=False)
    with pytest.raises(PictureError, match=r"0\.0 GiB.*No space left"):
        blank((9, 9), np.dtype(np.uint8), folder=tmp_path, memory=0)


@contextmanager
def files_end_at(length: int) -> Iterator[None]:
    """As if the disk were full: nothing is written past a length."""
    _, hard = limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (length, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


@pytest.mark.parametrize("directly", [True, False])
@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".tif", ".bmp"])
def test_a_result_that_lost_its_end_never_gets_its_name(
    suffix: str, directly: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """OpenCV's encoders report success for some."""
    monkeypatch.setattr(
        sys.modules["hat_deploy.images.encode"], "_IN_MEMORY", 0 if directly else 2**20
    )
    with files_end_at(1000), pytest.raises(PictureError, match="result cannot be"):
        write(Picture(pixels=RGB), tmp_path / f"a{suffix}")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
@pytest.mark.parametrize(
    ("suffix", "side", "memory"),
    [(".png", 6_000, 2**40), (".jpg", 6_000, 2**40), (".tif", 6_000, 2**40), (".tif", 9_600, 0)],
)
def test_peak_memory_of_large_results(suffix: str, side: int, memory: int, tmp_path: Path) -> None:
    """In memory: the result and 64 MiB. From a file, as a tiled TIFF: 64 MiB."""
    target = tmp_path / f"large{suffix}"
    found = measured(target, side, memory)
    held = found["bytes"] if memory else 0
    assert held // 2 <= found["grown"] < held + 2**26
    expected = (5_000 % 512 + 17) % 256
    assert abs(int(decode(target).pixels[5_000, 10, 2]) - expected) < 9


def measured(target: Path, side: int, memory: int) -> dict[str, int]:
    command = [sys.executable, "-c", MEASURE, str(target), str(side), str(memory)]
    done = subprocess.run(
        command, check=True, capture_output=True, text=True, cwd=Path(__file__).parent
    )
    found: dict[str, int] = json.loads(done.stdout)
    return found
