"""YUV to RGB and back, against values computed by hand and by exact fractions."""

from __future__ import annotations

from fractions import Fraction

import av
import numpy as np
import pytest

from hat_deploy.errors import PictureError
from hat_deploy.video.chroma import CENTRE, LEFT, TOP_LEFT, Siting, enlarge, reduce
from hat_deploy.video.colour import Colour, matrix_of, planes_of, rgb_of
from hat_deploy.video.layout import Layout, frame_of, planes_in

CHANCE = np.random.default_rng(0)
WEIGHTS = {
    1: (Fraction(2126, 10000), Fraction(722, 10000)),
    6: (Fraction(299, 1000), Fraction(114, 1000)),
    9: (Fraction(2627, 10000), Fraction(593, 10000)),
}


def colour(matrix: int = 1, *, full: bool = False, siting: Siting = LEFT) -> Colour:
    return Colour(matrix=matrix, full=full, primaries=1, transfer=1, siting=siting)


def yuv444(*triples: tuple[int, int, int], bits: int = 8) -> tuple[np.ndarray, ...]:
    kind = np.uint8 if bits == 8 else np.uint16
    return tuple(np.array([values], kind) for values in zip(*triples, strict=True))


@pytest.mark.parametrize(
    ("matrix", "full", "code", "expected"),
    [
        (1, False, (16, 128, 128), (0, 0, 0)),
        (1, False, (235, 128, 128), (255, 255, 255)),
        (1, False, (63, 102, 240), (255, 1, 0)),  # red of BT.709: 255.5, 0.6, -0.2
        (6, False, (81, 90, 240), (254, 0, 0)),  # red of BT.601: 254.4, -0.5, -1.0
        (1, True, (128, 128, 128), (128, 128, 128)),
        (6, True, (76, 85, 255), (254, 0, 0)),  # JPEG's red: 254.1, 0.1, -0.2
        (9, False, (126, 128, 128), (128, 128, 128)),  # 110 / 219 * 255 = 128.08
    ],
)
def test_known_colours(
    matrix: int, full: bool, code: tuple[int, int, int], expected: tuple[int, int, int]
) -> None:
    found = rgb_of(yuv444(code), Layout(kind="yuv", bits=8), colour(matrix, full=full))
    assert found.tolist() == [[list(expected)]]


@pytest.mark.parametrize("bits", [8, 10, 12])
@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize("matrix", sorted(WEIGHTS))
def test_to_rgb_and_back_is_what_fractions_give(matrix: int, full: bool, bits: int) -> None:
    """Rounded half up from exact arithmetic, for random codes and colours."""
    kr, kb = WEIGHTS[matrix]
    kg = 1 - kr - kb
    most, top = (1 << bits) - 1, 255 if bits == 8 else 65535
    unit = 1 << (bits - 8)
    black, luma, zero, chroma = (
        (0, most, 1 << (bits - 1), most)
        if full
        else (16 * unit, 219 * unit, 128 * unit, 224 * unit)
    )
    layout = Layout(kind="yuv", bits=bits)
    codes = [tuple(map(int, CHANCE.integers(0, most + 1, 3))) for _ in range(300)]
    found = rgb_of(yuv444(*codes, bits=bits), layout, colour(matrix, full=full))[0]
    for (y, u, v), given in zip(codes, found, strict=True):
        light, blue, red = (
            Fraction(y - black, luma),
            Fraction(u - zero, chroma),
            Fraction(v - zero, chroma),
        )
        exact = (
            light + 2 * (1 - kr) * red,
            light - 2 * kb * (1 - kb) / kg * blue - 2 * kr * (1 - kr) / kg * red,
            light + 2 * (1 - kb) * blue,
        )
        assert given.tolist() == [half_up(value * top, top) for value in exact]
    pixels = CHANCE.integers(0, top + 1, (1, 300, 3)).astype(found.dtype)
    planes = planes_of(pixels, layout, colour(matrix, full=full))
    for at, (r, g, b) in enumerate(pixels[0].tolist()):
        r, g, b = Fraction(r, top), Fraction(g, top), Fraction(b, top)
        light = kr * r + kg * g + kb * b
        exact = (
            black + luma * light,
            zero + chroma * (b - light) / (2 * (1 - kb)),
            zero + chroma * (r - light) / (2 * (1 - kr)),
        )
        assert [int(plane[0, at]) for plane in planes] == [half_up(x, most) for x in exact]


def half_up(value: Fraction, top: int) -> int:
    return min(top, max(0, (value + Fraction(1, 2)).__floor__()))


def test_every_code_of_luma_returns(bits: int = 10) -> None:
    layout = Layout(kind="yuv", bits=bits)
    codes = np.arange(64, 941, dtype=np.uint16)[None]
    gray = np.full_like(codes, 512)
    for matrix in WEIGHTS:
        there = rgb_of((codes, gray, gray), layout, colour(matrix))
        back = planes_of(there, layout, colour(matrix))
        assert np.array_equal(back[0], codes) and np.array_equal(back[1], gray)


@pytest.mark.parametrize(
    ("siting", "row"),
    [
        (LEFT, [0, 4, 8, 12, 16, 16]),
        (TOP_LEFT, [0, 4, 8, 12, 16, 16]),
        (CENTRE, [0, 2, 6, 10, 14, 16]),
    ],
)
def test_chroma_lies_where_its_siting_says(siting: Siting, row: list[int]) -> None:
    plane = np.array([[0, 8, 16]], np.uint8)
    assert enlarge(plane, 2, 6, 1, centred=siting.across).tolist() == [row]
    assert enlarge(plane.T, 2, 5, 0, centred=siting.across).ravel().tolist() == row[:5]


def test_chroma_is_averaged_around_its_place() -> None:
    row = np.array([[0, 0, 8, 0, 0, 0]], float)
    assert reduce(row, 2, 1, centred=False).tolist() == [[0, 4, 0]]
    assert reduce(row, 2, 1, centred=True).tolist() == [[1, 3, 0]]
    assert reduce(np.array([[7.0, 7, 7, 7, 7]]), 2, 1, centred=True).tolist() == [[7, 7, 7]]
    ramp = np.arange(32.0)[None]  # linear: each sample is the ramp's value at its place
    assert reduce(ramp, 4, 1, centred=True)[0, 1:-1].tolist() == [5.5, 9.5, 13.5, 17.5, 21.5, 25.5]
    assert reduce(ramp, 2, 1, centred=False)[0, 1:-1].tolist() == list(range(2, 30, 2))


@pytest.mark.parametrize("name", ["gbrp", "gbrp10le", "gbrap12le", "gbrap", "gbrp16le"])
def test_rgb_returns_exactly(name: str) -> None:
    layout = Layout.of(name)
    assert layout.name == name
    planes = tuple(
        CHANCE.integers(0, 1 << layout.bits, (5, 7)).astype(layout.dtype)
        for _ in range(4 if layout.alpha else 3)
    )
    there = rgb_of(planes, layout, colour(0, full=True))
    for plane, back in zip(planes, planes_of(there, layout, colour(0, full=True)), strict=True):
        assert np.array_equal(plane, back)


@pytest.mark.parametrize("name", ["gray", "gray10le", "yuv420p", "yuva444p10le", "yuv410p"])
@pytest.mark.parametrize("size", [(1, 1), (5, 7), (16, 16)])
def test_frames_hold_their_planes(name: str, size: tuple[int, int]) -> None:
    layout = Layout.of(name)
    assert layout.name == name
    small = layout.chroma_size(*size)
    shapes = [size, small, small][: 1 if layout.kind == "gray" else 3]
    shapes += [size] if layout.alpha else []
    planes = tuple(
        CHANCE.integers(0, 1 << layout.bits, shape).astype(layout.dtype) for shape in shapes
    )
    for plane, back in zip(planes, planes_in(frame_of(planes, layout), layout), strict=True):
        assert np.array_equal(plane, back)
    image = rgb_of(planes, layout, colour(1))
    assert image.shape == (*size, 4 if layout.alpha else 3)
    assert [plane.shape for plane in planes_of(image, layout, colour(1))] == shapes


@pytest.mark.parametrize(
    "packed",
    ["nv12", "nv21", "nv16", "p010le", "yuyv422", "uyvy422", "rgb24", "bgr0", "rgba", "rgb48le"],
)
def test_packed_formats_are_taken_apart_without_loss(packed: str) -> None:
    layout = Layout.of(packed)
    size = (16, 32)
    small = layout.chroma_size(*size)
    shapes = [size, *([small] * 2 if layout.kind == "yuv" else [size] * 2)]
    shapes += [size] if layout.alpha else []
    planes = tuple(
        CHANCE.integers(0, 1 << layout.bits, shape).astype(layout.dtype) for shape in shapes
    )
    frame = frame_of(planes, layout).reformat(format=packed)
    assert frame.format.name == packed
    for plane, back in zip(planes, planes_in(frame, layout), strict=True):
        assert np.array_equal(plane, back)


def test_what_cannot_be_read_is_said() -> None:
    for name in ("rgb565le", "xyz12le", "bayer_bggr8", "nonsense"):
        with pytest.raises(PictureError, match=name):
            Layout.of(name)
    with pytest.raises(PictureError, match=r"matrix 14 of H\.273, which is not known here"):
        matrix_of(14, Layout.of("yuv420p"), 720)


def test_a_clip_that_does_not_say_is_taken_as_players_take_it() -> None:
    layout = Layout.of("yuv420p")
    assert [matrix_of(2, layout, height) for height in (480, 576, 720)] == [6, 6, 1]
    assert matrix_of(9, layout, 480) == 9
    assert av.VideoFormat("yuv420p").name == layout.name
