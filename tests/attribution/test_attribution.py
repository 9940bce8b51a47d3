from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from tiny import random_network, tiny_config
from torch import Tensor, nn

from hat_deploy import cli, images
from hat_deploy.attribution import lam, overlay, spread
from hat_deploy.attribution.box import Box
from hat_deploy.attribution.report import AttributeOptions, attribute
from hat_deploy.errors import CheckFailed, UsageError
from hat_deploy.images import samples
from hat_deploy.networks.checkpoint import save_checkpoint

BOX = Box(x=12, y=9, width=4, height=5)


class Enlarging(nn.Module):
    """A convolution of a known reach, then every pixel twice."""

    def __init__(self, side: int) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv = nn.Conv2d(3, 3, side, padding=side // 2).requires_grad_(False)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.conv(x)
        return y.repeat_interleave(2, 2).repeat_interleave(2, 3)


def noise(height: int, width: int) -> Tensor:
    return torch.rand(1, 3, height, width, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    path = Path(samples.__file__).parent / "pictures" / "astronaut.png"
    pixels = samples.read(path, 3).pixels[30:70, 40:90]
    target = tmp_path / "photo.png"
    images.write(images.Picture(pixels=pixels.copy()), target)
    return target


@pytest.mark.parametrize("side", [1, 3, 7])
def test_nothing_is_attributed_beyond_the_receptive_field(side: int) -> None:
    found = lam.attribute(Enlarging(side), noise(28, 30), BOX, 2, steps=4)
    reach = side // 2
    # The detector also looks at the neighbours to the right and below the box.
    rows = slice(BOX.y - reach, BOX.y + BOX.height + 1 + reach)
    columns = slice(BOX.x - reach, BOX.x + BOX.width + 1 + reach)
    inside = found.map[rows, columns]
    assert inside.sum() == pytest.approx(found.map.sum())
    assert (inside > 0).mean() > 0.9
    assert found.map[0, 0] == 0
    shares = spread.by_halo(found.map, BOX, 28, 2)
    assert [s.halo for s in shares] == list(range(14))
    assert all(s.share == pytest.approx(0, abs=1e-9) for s in shares if s.halo > reach)
    assert (shares[reach].share > 0) is True


def test_attributions_add_up_to_what_the_path_changes() -> None:
    network = nn.Sequential(Enlarging(3), nn.GELU(), nn.Conv2d(3, 3, 3, padding=1))
    few, many = (lam.attribute(network, noise(20, 24), BOX, 2, steps=n) for n in (3, 60))
    assert many.values.sum() == pytest.approx(many.end - many.start, rel=2e-3)
    assert many.completeness == pytest.approx(1, abs=2e-3)
    assert abs(few.completeness - 1) > abs(many.completeness - 1)


def test_the_map_is_the_magnitude_of_the_sum_over_channels() -> None:
    """As the authors' code has it: red and green of opposite signs cancel."""
    values = np.array([[[3.0, 1.0]], [[-2.0, 0.5]], [[0.0, -4.0]]])
    found = lam.Attribution(values=values, start=0.0, end=1.0)
    assert found.map.tolist() == [[1.0, 2.5]]


def test_the_ends_of_the_path_are_the_blurred_picture_and_the_picture() -> None:
    picture = noise(12, 10)
    blurred = lam.blurred(picture, lam.SIGMA)
    expected = cv2.GaussianBlur(
        picture[0].permute(1, 2, 0).numpy(), (9, 9), lam.SIGMA, borderType=cv2.BORDER_REFLECT_101
    )
    assert np.allclose(blurred[0].permute(1, 2, 0).numpy(), expected, atol=1e-6)
    assert torch.equal(lam.blurred(picture, 0.0), picture)
    path = list(lam._path(picture, 5, lam.SIGMA))
    moved = sum((move for _, move in path), torch.zeros_like(picture))
    assert torch.allclose(blurred + moved, picture, atol=1e-6)


def test_the_detector_counts_detail_in_the_patch_alone() -> None:
    result = torch.zeros(1, 3, 20, 20)
    result[..., 10:] = 0.5
    edge, flat = Box(x=4, y=2, width=2, height=3), Box(x=0, y=0, width=4, height=4)
    assert float(lam.detail(result, edge, 2)) == pytest.approx(3 * 6 * 0.5, abs=1e-3)
    assert float(lam.detail(result, flat, 2)) == pytest.approx(0, abs=1e-3)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([1, 1, 1, 1], 0.0),
        ([0, 0, 0, 8], 0.75),
        ([1, 3], 0.25),
        ([0, 1, 2, 3, 4], 0.4),
    ],
)
def test_the_gini_coefficient_of_known_values(values: Sequence[float], expected: float) -> None:
    array = np.array(values, float)
    assert spread.gini(array) == pytest.approx(expected)
    pairs = np.abs(array[:, None] - array).sum() / (2 * array.size**2 * array.mean())
    assert spread.gini(array) == pytest.approx(pairs)


@pytest.mark.parametrize("values", [[], [0.0, 0.0], [1.0, -1.0]])
def test_a_gini_coefficient_needs_something_to_share(values: list[float]) -> None:
    with pytest.raises(ValueError, match="not all 0"):
        spread.gini(np.array(values))


def test_shares_beyond_a_halo_by_side() -> None:
    found = np.zeros((10, 10))
    box = Box(x=4, y=4, width=2, height=2)
    for row, column, value in ((4, 4, 90), (4, 0, 4), (0, 5, 3), (9, 9, 2), (5, 6, 1)):
        found[row, column] = value
    none, two, four = (spread.beyond(found, box, halo) for halo in (0, 2, 4))
    assert none.share == pytest.approx(0.10)
    assert none.sides == pytest.approx({"left": 0.04, "top": 0.03, "right": 0.03, "bottom": 0.02})
    assert two.share == pytest.approx(0.09)
    assert two.sides["right"] == pytest.approx(0.02)
    assert four.share == 0
    assert spread.advised([none, two]) is None
    assert spread.advised([none, two, four]) == 4


@pytest.mark.parametrize("text", ["", "1,2,3", "1,2,3,4,5", "a,b,c,d", "-1,0,4,4", "1.5,0,4,4"])
def test_a_box_is_four_whole_numbers(text: str) -> None:
    with pytest.raises(UsageError, match="four whole numbers"):
        Box.parse(text)


def test_a_box_has_an_area_inside_the_picture() -> None:
    assert Box.parse("3, 4,5,6".replace(" ", "")) == Box(x=3, y=4, width=5, height=6)
    with pytest.raises(UsageError, match="at least 1"):
        Box.parse("0,0,0,4")
    Box(x=0, y=0, width=8, height=6).require_inside(6, 8)
    with pytest.raises(UsageError, match="ends at column 9 and row 6"):
        Box(x=1, y=0, width=8, height=6).require_inside(6, 8)
    with pytest.raises(ValueError, match="not inside"):
        lam.attribute(Enlarging(1), noise(8, 8), BOX, 2)
    with pytest.raises(ValueError, match="0 steps"):
        lam.attribute(Enlarging(1), noise(28, 30), BOX, 2, steps=0)


def test_a_checkpoint_is_explained_on_a_piece_of_the_picture(
    tiny_checkpoint: Path, photo: Path
) -> None:
    options = AttributeOptions(around=9, tile=32, steps=6)
    box = Box(x=22, y=15, width=6, height=6)
    report = attribute(tiny_checkpoint, photo, box, options)
    assert (report.rows, report.columns) == (range(4, 32), range(12, 40))
    assert report.map.shape == (28, 28)
    assert report.room == {"left": 10, "top": 11, "right": 12, "bottom": 11}
    assert report.completeness == pytest.approx(1, abs=0.05)
    assert 0 < report.diffusion_index < 100
    shares = [found.share for found in report.shares]
    assert shares == sorted(shares, reverse=True)
    assert [found.halo for found in report.shares] == [0, 2, 4, 6, 8, 10, 12]
    text = json.dumps(report.to_dict(), allow_nan=False)
    assert json.loads(text)["looked_at"] == {"x": 12, "y": 4, "width": 28, "height": 28}
    drawn = overlay.draw(report)
    inner = report.inner_box
    zoom = drawn.shape[1] // 28
    assert tuple(drawn[inner.y * zoom, inner.x * zoom]) == (255, 255, 255)


def test_a_box_at_the_edge_says_that_it_tells_nothing_there(
    tiny_checkpoint: Path, photo: Path
) -> None:
    options = AttributeOptions(around=8, tile=32, steps=2)
    report = attribute(tiny_checkpoint, photo, Box(x=0, y=16, width=4, height=4), options)
    assert report.room["left"] == 0
    assert "too near to the picture's edge to tell on the left" in report.advice


def test_halos_are_advised_for_a_tile_that_fits_the_window(photo: Path, tmp_path: Path) -> None:
    checkpoint = tmp_path / "twelve.pth"
    save_checkpoint(random_network(tiny_config(window_size=12)), checkpoint)
    options = AttributeOptions(around=8, steps=1)
    report = attribute(checkpoint, photo, Box(x=22, y=15, width=4, height=4), options)
    assert report.options.tile == 264
    assert [found.halo % 6 for found in report.shares] == [0] * len(report.shares)


def test_a_flat_picture_has_nothing_to_attribute(tiny_checkpoint: Path, tmp_path: Path) -> None:
    flat = tmp_path / "flat.png"
    images.write(images.Picture(pixels=np.full((20, 20, 3), 90, np.uint8)), flat)
    options = AttributeOptions(around=8, tile=32, steps=2)
    with pytest.raises(CheckFailed, match="edges or texture"):
        attribute(tiny_checkpoint, flat, Box(x=8, y=8, width=4, height=4), options)


def exit_code(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> int:
    monkeypatch.setattr(sys, "argv", ["hat-deploy", *map(str, arguments)])
    with pytest.raises(SystemExit) as raised:
        cli.main()
    return int(raised.value.code or 0)


def test_the_command(
    tiny_checkpoint: Path,
    photo: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    target = tmp_path / "new" / "map.png"
    command = ("attribute", photo, "--box", "20,16,6,6", "--model", tiny_checkpoint)
    short = ("--around", 8, "--tile", 32, "--steps", 2)
    assert exit_code(monkeypatch, *command, *short, "-o", target) == 0
    output = capsys.readouterr().out
    assert "diffusion index" in output
    assert "bottom" in output
    assert images.decode(target).pixels.shape[2] == 3
    assert exit_code(monkeypatch, *command, *short, "-o", target, "--json") == 0
    assert json.loads(capsys.readouterr().out)["box"]["x"] == 20
    for wrong, says in (
        (("-o", "map.jpg"), "drawn as a .png"),
        (("-o", target, "--box", "60,0,8,8"), "the picture has 50 columns"),
        (("-o", target, "--tile", 30), "not a multiple"),
    ):
        assert exit_code(monkeypatch, *command, *short, *wrong) == 2
        assert says in capsys.readouterr().err
