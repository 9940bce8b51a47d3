"""Scores of a clip: frame by frame those of its images, and how much frames change."""

from __future__ import annotations

import csv
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from clip_files import make, pattern
from fakes import IdentityEngine

from hat_deploy.api import Upscaler
from hat_deploy.errors import PictureError
from hat_deploy.evaluate import Scored
from hat_deploy.images.resize import bicubic, round_to_uint8
from hat_deploy.metrics import luma, psnr_y, ssim_y
from hat_deploy.reports.evaluation import EvaluationPage
from hat_deploy.video.colour import rgb_of
from hat_deploy.video.layout import Layout, Plane
from hat_deploy.video.scores import as_evaluation, score_clip, write_csv
from hat_deploy.video.source import Source

RGB = {"pixel_format": "bgr0", "colour": (2, 0, 1, 13), "time_base": Fraction(1, 1000)}


NAMES = ["identity"]


def frames(path: Path) -> list[np.ndarray]:
    with Source(path) as source:
        facts = source.facts
        return [rgb_of(frame.planes, facts.layout, facts.colour) for frame in source.frames()]


def test_each_frame_is_scored_as_an_image(tmp_path: Path) -> None:
    clip = make(tmp_path / "a.mkv", "ffv1", frames=3, size=(41, 60), **RGB)
    scores = score_clip(Upscaler(IdentityEngine()), clip)
    highs = [frame[:40] for frame in frames(clip)]
    lows = [round_to_uint8(bicubic(high, 20, 30)) for high in highs]
    large = [low.repeat(2, 0).repeat(2, 1) for low in lows]
    assert [score.frame for score in scores.frames] == [0, 1, 2]
    for score, high, result in zip(scores.frames, highs, large, strict=True):
        assert score.psnr == psnr_y(high, result, border=2)
        assert score.ssim == ssim_y(high, result, border=2)
    ys = [luma(image)[2:-2, 2:-2] for image in large]
    assert scores.frames[0].change == 0
    assert scores.frames[2].change == np.abs(ys[2] - ys[1]).mean()
    assert scores.mean.change == pytest.approx(sum(f.change for f in scores.frames) / 2)
    assert scores.mean.psnr == pytest.approx(sum(f.psnr for f in scores.frames) / 3)
    write_csv(scores, tmp_path / "a.csv")
    rows = list(csv.reader((tmp_path / "a.csv").open()))
    assert len(rows) == 5 and rows[-1][0] == "mean" and float(rows[1][1]) == scores.frames[0].psnr


def test_a_page_shows_some_frames(tmp_path: Path) -> None:
    clip = make(tmp_path / "a.mp4", frames=20, size=(40, 64))
    upscaler = Upscaler(IdentityEngine())
    album = EvaluationPage()
    shown: list[str] = []

    def add(scored: Scored) -> None:
        shown.append(scored.score.name)
        album.add([scored], NAMES)

    scores = score_clip(upscaler, clip, on_scored=add)
    assert shown == [f"a.mp4, frame {number}" for number in range(0, 20, 3)]
    html = album.html([as_evaluation(scores, clip, None, upscaler)], NAMES)
    assert "a.mp4, frame 18" in html and "mean of 20" in html


def test_a_clip_that_stands_still_does_not_change(tmp_path: Path) -> None:
    def still(number: int, size: tuple[int, int], layout: Layout) -> tuple[Plane, ...]:
        return pattern(0, size, layout)

    clip = make(tmp_path / "a.mkv", "ffv1", frames=3, draw=still, **RGB)
    mean = score_clip(Upscaler(IdentityEngine()), clip).mean
    assert mean.change == mean.original_change == 0


def test_low_resolution_frames_may_be_given(tmp_path: Path) -> None:
    clip = make(tmp_path / "a.mkv", "ffv1", frames=3, size=(40, 64), **RGB)
    low = make(tmp_path / "low.mkv", "ffv1", frames=3, size=(20, 32), **RGB)
    upscaler = Upscaler(IdentityEngine())
    assert score_clip(upscaler, clip, low).frames[0].psnr < score_clip(upscaler, clip).mean.psnr
    short = make(tmp_path / "short.mkv", "ffv1", frames=2, size=(20, 32), **RGB)
    with pytest.raises(PictureError, match="its low-resolution clip ends after 2 frames"):
        score_clip(upscaler, clip, short)
    with pytest.raises(PictureError, match="not 2 times smaller"):
        score_clip(upscaler, clip, clip)


def test_what_cannot_be_scored(tmp_path: Path) -> None:
    deep = make(tmp_path / "a.mkv", "ffv1", frames=1, pixel_format="yuv420p10le")
    with pytest.raises(PictureError, match="yuv420p10le, and the scores are defined for 8 bits"):
        score_clip(Upscaler(IdentityEngine()), deep)
    tiny = make(tmp_path / "b.mkv", "ffv1", frames=1, size=(8, 8))
    with pytest.raises(PictureError, match="it is 8x8, which is too small to be scored"):
        score_clip(Upscaler(IdentityEngine()), tiny)
