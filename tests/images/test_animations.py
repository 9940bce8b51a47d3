"""GIF and animated WebP: frames in, frames out, compared with Pillow's."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from picture_files import RGB, SRGB, moving, refusal, saved
from PIL import Image

from hat_deploy.images import Animation, Metadata, Picture, Pixels, decode_bytes, encode, write

FLAT = np.repeat(np.repeat(RGB[::8, ::8], 8, 0), 8, 1)
"""Fifteen colours: a palette holds them all."""
FRAMES = [FLAT, FLAT[::-1], FLAT[:, ::-1]]
CLEAR = np.dstack([FLAT, np.where(np.arange(40) < 20, 255, 0) * np.ones((24, 1))]).astype(np.uint8)


def frames_of(data: bytes) -> tuple[list[Pixels], list[int]]:
    """What Pillow sees: RGBA, and milliseconds."""
    image = Image.open(io.BytesIO(data))
    found, durations = [], []
    for number in range(getattr(image, "n_frames", 1)):
        image.seek(number)
        found.append(np.asarray(image.convert("RGBA")))
        durations.append(image.info.get("duration", 0))
    return found, durations


@pytest.mark.parametrize("disposal", [0, 1, 2])
@pytest.mark.parametrize("clear", [False, True])
def test_frames_of_a_gif_are_what_another_program_shows(disposal: int, clear: bool) -> None:
    frames = [CLEAR, CLEAR[::-1], CLEAR[:, ::-1]] if clear else FRAMES
    data = moving("GIF", frames, duration=[40, 50, 60], loop=0, disposal=disposal)
    picture = decode_bytes(data, animations=True)
    assert picture.animation == Animation(durations=(40, 50, 60), loops=0)
    expected, _ = frames_of(data)
    for frame, shown in zip(picture.frames, expected, strict=True):
        if frame.shape[2] == 4:
            assert np.array_equal(frame[..., 3], shown[..., 3])
        seen = shown[..., 3] > 0
        assert np.array_equal(frame[seen][:, :3], shown[seen][:, :3])


def test_an_opaque_gif_has_no_alpha() -> None:
    picture = decode_bytes(moving("GIF", FRAMES), animations=True)
    assert [frame.shape for frame in picture.frames] == [(24, 40, 3)] * 3
    assert decode_bytes(saved(FLAT, "GIF")).pixels.shape == (24, 40, 3)
    assert decode_bytes(encode(Picture(pixels=FLAT), ".gif")).pixels.shape == (24, 40, 3)


@pytest.mark.parametrize(("suffix", "kind"), [(".gif", "GIF"), (".webp", "WEBP")])
@pytest.mark.parametrize("loops", [0, 3])
def test_animations_come_out_as_they_came(suffix: str, kind: str, loops: int) -> None:
    source = moving(kind, FRAMES, duration=[40, 70, 100], loop=loops, lossless=True)
    picture = decode_bytes(source, animations=True)
    data = encode(picture, suffix, quality=100)
    again = decode_bytes(data, animations=True)
    assert again.animation == picture.animation
    assert again.animation is not None and again.animation.durations == (40, 70, 100)
    assert Image.open(io.BytesIO(data)).info["loop"] == Image.open(io.BytesIO(source)).info["loop"]
    shown, durations = frames_of(data)
    assert durations == [40, 70, 100]
    for frame, expected in zip(shown, FRAMES, strict=True):
        error = np.abs(frame[..., :3].astype(int) - expected).mean()
        assert error < (3 if kind == "GIF" else 0.001)


def test_gif_becomes_webp_and_webp_becomes_gif() -> None:
    gif = decode_bytes(moving("GIF", FRAMES, duration=40), animations=True)
    webp = decode_bytes(encode(gif, ".webp", quality=100), animations=True)
    assert np.array_equal(webp.pixels, gif.pixels)
    assert len(frames_of(encode(webp, ".gif"))[0]) == 3


def test_a_gif_of_gray_and_of_alpha_between_is_written(tmp_path: Path) -> None:
    gray = Picture(pixels=FLAT[..., 0])
    assert write(gray, tmp_path / "a.gif") == ("colours reduced to a palette of 256 a frame",)
    shown = frames_of((tmp_path / "a.gif").read_bytes())[0][0]
    assert np.abs(shown[..., 0].astype(int) - FLAT[..., 0]).mean() < 3
    ramp = np.dstack([FLAT, np.tile(np.linspace(0, 255, 40), (24, 1))]).astype(np.uint8)
    *_, note = write(Picture(pixels=ramp), tmp_path / "b.gif")
    assert note == "transparency became all or nothing"
    shown = frames_of((tmp_path / "b.gif").read_bytes())[0][0]
    assert np.array_equal(shown[..., 3] > 0, ramp[..., 3] >= 128)


def test_what_an_animation_loses_is_said(tmp_path: Path) -> None:
    data = moving("WEBP", FRAMES, icc_profile=SRGB)
    assert decode_bytes(data, animations=True).notes == ("colour profile of an animation dropped",)
    still = Picture(pixels=FLAT, metadata=Metadata(icc=SRGB))
    notes = write(still, tmp_path / "a.gif")
    assert notes[0].startswith("colour profile dropped: GIF")


@pytest.mark.parametrize("kind", ["GIF", "WEBP"])
def test_who_expects_one_image_is_not_given_three(kind: str) -> None:
    assert refusal(moving(kind, FRAMES)) == "it has 3 frames; an image with one was expected"


def test_all_frames_count_as_pixels() -> None:
    said = refusal(moving("GIF", FRAMES), animations=True, max_pixels=2 * 24 * 40)
    assert said.startswith("it has 40x24 pixels in each of 3 frames, and at most 1,920")


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tif", ".bmp", ".avif"])
def test_formats_of_one_image_refuse_several(suffix: str, tmp_path: Path) -> None:
    picture = decode_bytes(moving("GIF", FRAMES), animations=True)
    with pytest.raises(Exception, match=r"it has 3 frames, and \w+ holds one: use GIF or WebP"):
        write(picture, tmp_path / f"a{suffix}")


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda data: data[:-1], "the file is truncated: a GIF ends with a trailer"),
        (lambda data: data[: len(data) // 2], "its header is truncated or damaged"),
        (
            lambda data: data[:6] + b"\1\0\1\0" + data[10:],
            "the file is damaged: a GIF with a frame",
        ),
        (lambda data: data[:13], "its header is truncated or damaged"),
        (lambda data: data[:-1] + b"x", "the file is damaged: a GIF with a block"),
    ],
)
def test_damaged_gifs_are_refused(change: Any, expected: str) -> None:
    assert refusal(change(moving("GIF", FRAMES)), animations=True).startswith(expected)
