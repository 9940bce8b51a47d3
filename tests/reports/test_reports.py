from __future__ import annotations

import base64
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
from browser import Page, chromium, find_chromium
from fakes import IdentityEngine, NaNEngine

from hat_deploy import cli, images
from hat_deploy.engines.base import Array
from hat_deploy.images import samples
from hat_deploy.images.samples import Sample
from hat_deploy.networks.hat.network import HAT
from hat_deploy.reports import album, figures, page, pixels
from hat_deploy.reports.verification import _section
from hat_deploy.verify.comparison import Comparison

PHONE, DESKTOP = (375, 667), (1200, 900)
ONE_SLIDER = (
    '{% extends "page.html" %}{% import "pieces.html" as pieces %}'
    "{% block content %}{{ pieces.slider(figure) }}{% endblock %}"
)


def photo(height: int, width: int) -> Array:
    path = Path(samples.__file__).parent / "pictures" / "astronaut.png"
    return np.ascontiguousarray(samples.read(path, 3).pixels[20 : 20 + height, 40 : 40 + width])


def saved(pixels_: Array, path: Path) -> Path:
    path.parent.mkdir(exist_ok=True)
    images.write(images.Picture(pixels=pixels_), path)
    return path


def exit_code(*arguments: object) -> int:
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(sys, "argv", ["hat-deploy", *map(str, arguments)])
        with pytest.raises(SystemExit) as raised:
            cli.main()
    return int(raised.value.code or 0)


@pytest.fixture(scope="module")
def verified(
    tiny_onnx: Path, tiny_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A page of ``verify`` without a halo; the picture's name is HTML."""
    folder = tmp_path_factory.mktemp("verified")
    picture = saved(photo(40, 56), folder / "<b>&amp;.png")
    target = folder / "page.html"
    asked = ("--engine", tiny_onnx, "--reference", tiny_checkpoint, picture, "--halo", 0)
    assert exit_code("verify", *asked, "--layers", "--report", target) == 0
    return target


@pytest.fixture(scope="module")
def evaluated(tiny_onnx: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("evaluated")
    saved(photo(48, 64), folder / "hr" / "colour.png")
    saved(photo(48, 64)[..., 1], folder / "hr" / "gray.png")
    (folder / "hr" / "broken.png").write_bytes(b"")
    target = folder / "page.html"
    asked = ("--hr", folder / "hr", "--engine", tiny_onnx)
    assert exit_code("evaluate", *asked, "--report", target) == 3
    return target


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    program = find_chromium()
    if program is None:
        pytest.skip("no Chromium on this machine's PATH")
    with chromium(program, tmp_path_factory.mktemp("profile")) as page:
        yield page


def shown(page: Page, selector: str) -> dict[str, float]:
    """Where an element is in the window, once it has been scrolled to the middle."""
    found = page.evaluate(
        f"(() => {{ const e = document.querySelector({selector!r});"
        "e.scrollIntoView({block: 'center'}); const b = e.getBoundingClientRect();"
        "return {x: b.x, y: b.y, width: b.width, height: b.height}; })()"
    )
    assert found["width"] > 0
    return dict(found)


def seen_of_left(page: Page) -> float:
    """The share of the left picture that its clip leaves, as the browser computed it."""
    clip = page.evaluate("getComputedStyle(document.querySelector('.compare img.left')).clipPath")
    found = re.search(r"calc\(100% - ([\d.]+)%\)|inset\(0(?:px)? ([\d.]+)%", clip)
    assert found, clip
    return float(found[1]) if found[1] else 100 - float(found[2])


def test_the_page_is_one_file_that_fetches_nothing(verified: Path, evaluated: Path) -> None:
    for path in (verified, evaluated):
        text = path.read_text(encoding="utf-8")
        assert len(text) < album.BUDGET
        sources = re.findall(r'(?:src|href)="([^"]*)"', text)
        assert len(sources) > 4
        assert all(source.startswith("data:") for source in sources)
        assert "@import" not in text
        assert "url(" not in text
        assert "viewport" in text


def test_the_page_tells_the_figures_limits_machine_and_versions(verified: Path) -> None:
    text = verified.read_text(encoding="utf-8")
    for expected in ("Verified", "at least 90.0 dB", "SSIM", "max abs", "tiling alone", "CPU"):
        assert expected in text
    for expected in ("numpy 2", "no block stands out", "layers.1.residual_group.overlap_attn"):
        assert expected in text


def test_names_are_text_not_html(verified: Path) -> None:
    text = verified.read_text(encoding="utf-8")
    assert "<b>" not in text
    assert "&lt;b&gt;&amp;amp;.png" in text


def test_pictures_have_a_description(verified: Path, evaluated: Path) -> None:
    for path in (verified, evaluated):
        tags = re.findall(r"<img [^>]*>", path.read_text(encoding="utf-8"))
        assert tags
        assert all(re.search(r'alt="[^"]+"', tag) for tag in tags)


def test_the_evaluation_shows_all_three_and_what_was_not_scored(evaluated: Path) -> None:
    text = evaluated.read_text(encoding="utf-8")
    for name in ("bicubic", "model", "original"):
        assert text.count(f'alt="{name}"') == 2
    assert "not scored: " in text
    assert "broken.png" in text


def test_a_failed_verification_is_reported_too(
    tiny_onnx: Path, tiny_checkpoint: Path, tmp_path: Path
) -> None:
    picture = saved(photo(24, 16), tmp_path / "a.png")
    asked = ("--engine", tiny_onnx, "--reference", tiny_checkpoint, picture, "--min-psnr", 500)
    target = tmp_path / "page.html"
    assert exit_code("verify", *asked, "--report", target) == 1
    text = target.read_text(encoding="utf-8")
    assert "Not verified" in text
    assert "at least 500.0 dB" in text


def test_a_report_is_refused_before_anything_runs(
    tiny_checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = ("--engine", tmp_path / "none.onnx", "--reference", tiny_checkpoint)
    assert exit_code("verify", *asked, "--report", "page.pdf") == 2
    assert "ends in .html" in capsys.readouterr().err
    assert exit_code("evaluate", "--hr", tmp_path, "--report", "page.pdf") == 2
    assert "ends in .html" in capsys.readouterr().err


def test_errors_are_the_largest_of_the_channels_and_what_is_not_finite_stands_out() -> None:
    reference = np.zeros((3, 2, 2), np.float32)
    candidate = reference.copy()
    candidate[:, 0, 0] = (0.25, -0.5, 0)
    candidate[1, 1, 1] = np.nan
    found = pixels.error(reference, candidate)
    assert found[0].tolist() == [0.5, 0]
    assert np.isnan(found[1, 1])
    heat = pixels.heat_map(found, 100)
    assert tuple(heat.image[1, 1]) == pixels.BROKEN == tuple(pixels.to_rgb(candidate)[1, 1])
    assert heat.largest == heat.full == 0.5
    assert heat.image[0, 0].sum() > heat.image[0, 1].sum()


def test_a_large_map_is_shrunk_without_losing_its_largest_error() -> None:
    found = np.zeros((1001, 300), np.float32)
    found[1000, 7] = 0.2
    heat = pixels.heat_map(found, 100)
    assert heat.image.shape == (91, 28, 3)
    assert heat.shrunk == 11
    assert heat.largest == pytest.approx(0.2)
    brightest = np.unravel_index(heat.image.sum(axis=2).argmax(), (91, 28))
    assert brightest == (90, 0)


@pytest.mark.parametrize(("height", "width", "scale"), [(2000, 1400, 4), (90, 3000, 2), (12, 8, 2)])
def test_the_part_shown_holds_the_largest_error(height: int, width: int, scale: int) -> None:
    found = np.zeros((height, width), np.float32)
    found[height - 1, width // 3] = 1
    window = pixels.window(found, 640, scale)
    assert window.cut(found, scale).max() == 1
    assert len(window.rows) * scale == min(640, height)
    assert len(window.columns) * scale == min(640, width)


def test_round_scales() -> None:
    values = (0, 0.03, 0.031, 1e-7, 0.95, 7.0)
    rounded = [1, 0.03, 0.04, 1e-7, 1, 8]
    assert [pixels.nice_ceiling(value) for value in values] == pytest.approx(rounded)


def test_pictures_survive_the_page_bit_for_bit() -> None:
    picture = np.random.default_rng(0).integers(0, 256, (9, 13, 3), dtype=np.uint8)
    data = base64.b64decode(pixels.data_uri(picture).partition(",")[2])
    decoded = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    assert np.array_equal(decoded[..., ::-1], picture)


def test_pictures_beyond_the_budget_are_left_out_and_said() -> None:
    book = album.Album(budget=10)
    for name, length in (("a", 6), ("b", 6), ("c", 1)):
        book.add(name, lambda length=length: "x" * length)
    assert list(book) == ["xxxxxx"]
    assert book.left_out == ["b", "c"]
    assert book.note.startswith("2 images are not shown")


def test_a_large_picture_is_shown_in_part_and_says_so(tiny_network: HAT) -> None:
    pixels_ = np.random.default_rng(0).integers(0, 256, (24, 400, 3), dtype=np.uint8)
    kept = []
    comparison = Comparison(IdentityEngine((16, 16)), tiny_network, halo=0, whole=False)
    comparison.run(Sample(name="wide", pixels=pixels_), kept.append)
    text = _section(kept[0])
    assert "a part of at most 640 pixels" in text
    assert "not run whole: not asked for" in text


def test_what_is_not_finite_can_be_looked_at(tiny_network: HAT) -> None:
    kept = []
    comparison = Comparison(NaNEngine(), tiny_network, halo=0)
    comparison.run(Sample(name="nan", pixels=np.zeros((20, 20, 3), np.uint8)), kept.append)
    assert "largest difference 0" in _section(kept[0])


@pytest.mark.parametrize("size", [DESKTOP, PHONE])
def test_the_slider_moves_by_keyboard_and_pointer(
    browser: Page, verified: Path, size: tuple[int, int]
) -> None:
    browser.open(verified, *size)
    assert seen_of_left(browser) == 50
    shown(browser, ".compare .stage")
    browser.evaluate("document.querySelector('.compare input').focus()")
    browser.press("ArrowRight", times=7)
    assert seen_of_left(browser) == 57
    browser.press("Home")
    assert seen_of_left(browser) == 0
    box = shown(browser, ".compare .stage")
    middle = box["y"] + box["height"] / 2
    places = [(box["x"] + share * box["width"], middle) for share in (0.1, 0.75)]
    (browser.touch if size == PHONE else browser.drag)(*places)
    assert seen_of_left(browser) == pytest.approx(75, abs=1.5)
    assert browser.evaluate("document.querySelector('.compare input').value") in ("74", "75", "76")
    assert browser.console == []


@pytest.mark.parametrize("size", [DESKTOP, PHONE])
@pytest.mark.parametrize("which", ["verified", "evaluated"])
def test_nothing_is_wider_than_the_window_fetched_or_complained_of(
    browser: Page, request: pytest.FixtureRequest, which: str, size: tuple[int, int]
) -> None:
    page: Path = request.getfixturevalue(which)
    browser.open(page, *size)
    assert browser.evaluate("document.documentElement.scrollWidth") <= size[0]
    broken = "[...document.images].filter(i => !i.complete || !i.naturalWidth).length"
    assert browser.evaluate(broken) == 0
    assert all(url.startswith(("file:", "data:")) for url in browser.requests)
    assert browser.requests[0] == page.as_uri()
    assert browser.console == []


def test_keyboard_focus_is_seen(browser: Page, verified: Path) -> None:
    browser.open(verified, *DESKTOP)
    outline = "getComputedStyle(document.querySelector('.compare .stage')).outlineStyle"
    assert browser.evaluate(outline) == "none"
    for _ in range(10):
        browser.press("Tab")
        if browser.evaluate("document.activeElement.type") == "range":
            break
    assert browser.evaluate(outline) == "solid"


def test_the_borders_between_tiles_are_switched_on_and_off(browser: Page, verified: Path) -> None:
    browser.open(verified, *DESKTOP)
    visible = "getComputedStyle(document.querySelector('.heat svg')).display"
    assert browser.evaluate(visible) == "none"
    box = shown(browser, ".heat .toggle")
    place = (box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    browser.click(place)
    assert browser.evaluate(visible) == "block"
    browser.press(" ")
    assert browser.evaluate(visible) == "none"


def test_two_of_the_pictures_are_chosen(browser: Page, evaluated: Path) -> None:
    browser.open(evaluated, *DESKTOP)
    names = "['left', 'right'].map(s => document.querySelector('.compare img.' + s).alt).join()"
    assert browser.evaluate(names) == "bicubic,model"
    browser.evaluate(
        "(() => { const s = document.querySelector('[data-side=left]'); s.value = '2';"
        "s.dispatchEvent(new Event('change')); })()"
    )
    assert browser.evaluate(names) == "original,model"
    label = browser.evaluate("document.querySelector('.compare input').ariaLabel")
    assert "original on the left and model on the right" in label


def test_dark_and_light_follow_the_system(browser: Page, verified: Path) -> None:
    colours = set()
    for dark in (False, True):
        browser.open(verified, *DESKTOP, dark=dark)
        colours.add(browser.evaluate("getComputedStyle(document.body).backgroundColor"))
    assert len(colours) == 2


def test_the_seam_of_a_missing_halo_is_seen_in_the_error_map(verified: Path) -> None:
    """The map of seams is brighter beside the borders than elsewhere."""
    text = verified.read_text(encoding="utf-8")
    figure = text[text.index("Seams: what tiles change") :]
    data = base64.b64decode(re.search(r'src="data:image/webp;base64,([^"]+)"', figure)[1])
    heat = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR).sum(axis=2)
    assert heat.shape == (80, 112)
    columns = sorted(int(x) for x in re.findall(r"M(\d+) 0V", figure.partition("</svg>")[0]))
    assert columns == [32, 64, 96]
    beside = np.concatenate([heat[:, [x - 1, x]] for x in columns], axis=1).mean()
    inside = np.concatenate([heat[:, [x - 16, x - 17]] for x in columns], axis=1).mean()
    assert beside > 2 * inside


@pytest.fixture(scope="module")
def wide(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page of a fine checkerboard, 640 pixels wide, beside a small one."""
    checks = np.indices((64, 640)).sum(axis=0) % 2 * 255
    large = np.repeat(checks[..., None], 3, 2).astype(np.uint8)
    both = {"small": large[:8, :80], "large": large}
    figure = figures.slider(both, "", left="small", right="large")
    target = tmp_path_factory.mktemp("wide") / "page.html"
    shell = page.environment().from_string(ONE_SLIDER)
    page.save(shell.render(title="wide", figure=figure), target)
    return target


def test_pixels_are_squares_only_where_they_are_enlarged(browser: Page, wide: Path) -> None:
    """Shrunk without smoothing, a fine pattern becomes another one."""
    for size, expected in ((PHONE, ["pixelated", "auto"]), (DESKTOP, ["pixelated", "pixelated"])):
        browser.open(wide, *size)
        rendering = (
            "new Promise(done => requestAnimationFrame(() => requestAnimationFrame(() => done("
            "[...document.images].map(i => getComputedStyle(i).imageRendering).join()))))"
        )
        browser.send("Runtime.evaluate", expression=rendering, awaitPromise=True)
        found = "[...document.images].map(i => getComputedStyle(i).imageRendering).join()"
        assert browser.evaluate(found) == ",".join(expected)


def test_images_are_smooth_until_they_are_known_to_be_enlarged(wide: Path) -> None:
    text = wide.read_text(encoding="utf-8")
    assert re.findall(r"([^{}\n]+) { image-rendering: pixelated; }", text) == [
        ".stage img.enlarged"
    ]
