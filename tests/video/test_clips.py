"""Clips as jobs: their frames against images, options, sizes, folders, damage and progress."""

from __future__ import annotations

import tracemalloc
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest
from clip_files import decoded, make, pattern, planes, run, run_all, times_of
from fakes import IdentityEngine, NaNEngine

from hat_deploy import folders
from hat_deploy.api import Upscaler
from hat_deploy.errors import UsageError
from hat_deploy.folders import Done, Failed, Skipped, job_list
from hat_deploy.tiles.target_size import TargetSize
from hat_deploy.video.colour import rgb_of
from hat_deploy.video.layout import Layout, Plane
from hat_deploy.video.options import VideoOptions
from hat_deploy.video.source import Source

MS = Fraction(1, 1000)


class Sharpening(IdentityEngine):
    """Enlarges, and mixes each value with its neighbour: tiles and seams would show."""

    def run(self, batch: np.ndarray) -> np.ndarray:
        large = super().run(batch)
        return (large + np.roll(large, 1, 3)) / 2


def rgb_frames(path: Path) -> list[np.ndarray]:
    """Frames as images, by the conversion that clips are read with."""
    with Source(path) as source:
        facts = source.facts
        return [rgb_of(frame.planes, facts.layout, facts.colour) for frame in source.frames()]


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("pixel_format", ["yuv420p", "yuv422p10le", "bgr0", "gray"])
def test_a_frame_is_what_the_same_image_becomes(
    tmp_path: Path, pixel_format: str, batch: int
) -> None:
    """Each frame as a PNG through a folder run, and the clip through FFV1 in RGB."""
    deep = pixel_format.endswith("10le")
    clip = make(
        tmp_path / "clip" / "a.mkv", "ffv1", pixel_format=pixel_format, size=(37, 41),
        time_base=MS, frames=5, colour=(2, 0, 1, 13) if pixel_format == "bgr0" else (1, 6, 6, 6),
    )  # fmt: skip
    engine = Sharpening(batch=batch)
    wanted = "gbrp16le" if deep else "gbrp"
    done = run(clip, upscaler=Upscaler(engine), codec="ffv1", pixel_format=wanted)
    assert isinstance(done, Done), done
    stills = tmp_path / "stills"
    stills.mkdir()
    for number, frame in enumerate(rgb_frames(clip)):
        cv2.imwrite(str(stills / f"{number}.png"), frame[..., ::-1])
    run_all(stills, upscaler=Upscaler(Sharpening(batch=batch)))
    found = rgb_frames(done.target)
    assert len(found) == 5
    for number, frame in enumerate(found):
        still = cv2.imread(str(tmp_path / "stills-x2" / f"{number}.png"), cv2.IMREAD_UNCHANGED)
        assert still.dtype == (np.uint16 if deep else np.uint8)
        assert np.array_equal(frame, still[..., ::-1])


def still(number: int, size: tuple[int, int], layout: Layout) -> tuple[Plane, ...]:
    """A pattern that moves in every third frame only."""
    return pattern(number // 3, size, layout)


def test_frames_that_are_equal_are_computed_once(tmp_path: Path) -> None:
    clip = make(tmp_path / "a.mkv", "ffv1", frames=9, draw=still, time_base=MS, size=(16, 16))
    results = []
    for reuse, calls in ((True, 3), (False, 9)):
        engine = IdentityEngine()
        done = run(clip, tmp_path / f"{reuse}.mkv", Upscaler(engine), codec="ffv1", reuse=reuse)
        assert isinstance(done, Done) and engine.calls == calls
        said = ("6 of 9 frames are as the one before: computed once",) if reuse else ()
        assert done.notes == said
        assert len(times_of(done.target)) == 9
        results.append(done.target.read_bytes())
    assert results[0] == results[1]


@pytest.mark.parametrize(
    ("options", "encoder", "pixel_format"),
    [
        ({}, "h264", "yuv420p"),
        ({"codec": "h265", "crf": 30, "preset": "ultrafast"}, "hevc", "yuv420p"),
        ({"codec": "x264", "pixel_format": "yuv444p10le"}, "h264", "yuv444p10le"),
        ({"codec": "ffv1", "suffix": ".mkv"}, "ffv1", "yuv420p"),
        ({"codec": "av1", "suffix": ".mp4", "pixel_format": "yuv420p10le"}, "av1", "yuv420p10le"),
        ({"codec": "prores"}, "prores", "yuv422p10le"),
    ],
)
def test_codecs(tmp_path: Path, options: dict[str, Any], encoder: str, pixel_format: str) -> None:
    clip = make(tmp_path / "a.mov", frames=2)
    done = run(clip, tmp_path / f"b{options.pop('suffix', '.mov')}", **options)
    assert isinstance(done, Done), done
    with av.open(str(done.target)) as result:
        stream = result.streams.video[0]
        assert stream.codec_context.codec.canonical_name == encoder
        assert stream.codec_context.pix_fmt == pixel_format
        if encoder == "hevc":
            assert stream.codec_context.codec_tag == "hvc1"


def test_crf_decides_the_size(tmp_path: Path) -> None:
    clip = make(tmp_path / "a.mkv", frames=6, time_base=MS)
    sizes = [run(clip, tmp_path / f"{crf}.mkv", crf=crf).target.stat().st_size for crf in (10, 40)]
    assert sizes[0] > 2 * sizes[1]


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"codec": "divx"}, "unknown codec 'divx': expected one of h264, h265, av1, ffv1, prores"),
        ({"codec": "h264", "crf": 52}, "--crf is 52; for h264 it goes from 0 to 51"),
        ({"codec": "prores", "crf": 1}, "prores takes no --crf: leave it out"),
        ({"codec": "av1", "preset": "slow"}, "--preset is 'slow'; av1 has 0, 1, 2"),
        ({"codec": "ffv1", "preset": "slow"}, "ffv1 takes no --preset: leave it out"),
    ],
)
def test_options_that_a_codec_does_not_take(options: dict[str, Any], says: str) -> None:
    with pytest.raises(UsageError, match=says):
        VideoOptions(**options)


def test_what_container_and_codec_do_not_hold_is_said(tmp_path: Path) -> None:
    clip = make(tmp_path / "a.mp4", frames=2)
    held = run(clip, tmp_path / "b.webm", codec="h264")
    assert (
        isinstance(held, Failed)
        and held.reason == ".webm does not hold h264: expected av1, or .mkv"
    )
    form = run(clip, pixel_format="gbrp")
    assert isinstance(form, Failed) and form.reason.startswith(
        "--pixel-format gbrp: h264 takes yuv"
    )
    tall = run(make(tmp_path / "c.mkv", "ffv1", size=(35, 64)), upscaler=Upscaler(one_to_one()))
    assert isinstance(tall, Failed)
    assert "64x35 pixels, and yuv420p in h264 needs even sides" in tall.reason


def one_to_one() -> IdentityEngine:
    return IdentityEngine(scale=1)


def test_sizes(tmp_path: Path) -> None:
    clip = make(tmp_path / "a.mp4", frames=3)
    for target, expected, noted in (
        (TargetSize(width=97), (54, 96), True),
        (TargetSize(scale=3), (108, 192), False),
        (TargetSize(height=18), (18, 32), False),
    ):
        done = run(clip, tmp_path / f"{target.mark}.mp4", size=target)
        assert isinstance(done, Done), done
        frame = next(decoded(done.target))
        assert (frame.height, frame.width) == expected
        assert bool(done.notes) == noted


def test_a_folder_of_images_and_clips(tmp_path: Path) -> None:
    inside = tmp_path / "in"
    make(inside / "b.mp4", frames=2)
    make(inside / "deeper" / "c.avi", "mpeg4", frames=2, time_base=Fraction(1, 25))
    (inside / "d.mkv").write_bytes(b"no clip at all")
    (inside / "e.ts").write_text("export const x = 1\n")
    cv2.imwrite(str(inside / "a.png"), np.zeros((6, 5, 3), np.uint8))
    steps: list[folders.Progress] = []
    found = {o.source.name: o for o in run_all(inside, progress=steps.append)}
    assert list(found) == ["a.png", "b.mp4", "d.mkv", "e.ts", "c.avi"]
    kinds = {name: type(outcome) for name, outcome in found.items()}
    assert kinds == {"a.png": Done, "b.mp4": Done, "d.mkv": Failed, "e.ts": Failed, "c.avi": Done}
    assert "it is not a video that can be read here" in found["d.mkv"].reason  # type: ignore[union-attr]
    out = tmp_path / "in-x2"
    names = sorted(str(path.relative_to(out)) for path in out.rglob("*") if path.is_file())
    assert names == [".hat-deploy-journal.jsonl", "a.png", "b.mp4", "deeper/c.mkv"]
    assert {step.jobs for step in steps} == {5} and steps[-1].settled == 5
    clips = [step.clip for step in steps if step.clip is not None]
    assert max(clip.frame for clip in clips) == 2 and clips[-1].frames == 2
    again = run_all(inside)
    assert [type(o) for o in again] == [Skipped, Skipped, Failed, Failed, Skipped]
    other = run_all(inside, crf=30)
    assert [type(o) for o in other] == [Skipped, Done, Failed, Failed, Done]


def test_formats_of_images_leave_clips_alone(tmp_path: Path) -> None:
    make(tmp_path / "in" / "b.mp4", frames=1)
    cv2.imwrite(str(tmp_path / "in" / "a.png"), np.zeros((6, 5, 3), np.uint8))
    for form, expected in (("jpg", ["a.jpg", "b.mp4"]), ("mkv", ["a.png", "b.mkv"])):
        listed = job_list.list_jobs(
            [tmp_path / "in"], mark="-x2", output=None, recursive=False, format=form
        )
        assert sorted(job.target.name for job in listed.jobs) == expected
    listed = job_list.list_jobs(
        [tmp_path / "in" / "a.png"], mark="-x2", output=tmp_path / "a.mp4", recursive=False
    )
    assert listed.rejected[0].reason == "it is an image, and -o names a clip's file"


def test_a_clip_that_ends_too_early_is_done_as_far_as_it_goes(tmp_path: Path) -> None:
    clip = make(tmp_path / "a.mkv", frames=60, time_base=MS, options={"g": "10"})
    whole = clip.read_bytes()
    clip.write_bytes(whole[: len(whole) * 2 // 3])
    done = run(clip)
    assert isinstance(done, Done), done
    found = times_of(done.target)
    assert 20 < len(found) < 60 and found == times_of(clip)
    (damage,) = [text for text in done.damaged if "missing" in text]
    assert damage.startswith("0:00:01.") and "it says it lasts 0:00:02.40" in damage


def test_damage_in_the_middle_is_listed_by_its_time(tmp_path: Path) -> None:
    tick = Fraction(1, 90000)
    clip = make(tmp_path / "a.ts", frames=60, time_base=tick, options={"g": "10"})
    data = bytearray(clip.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 200] = bytes(200)
    clip.write_bytes(data)
    done = run(clip)
    assert isinstance(done, Done), done
    assert done.damaged and all(text.startswith("0:00:0") for text in done.damaged)
    assert len(times_of(done.target)) >= 50
    results = [run(clip, tmp_path / name).target.read_bytes() for name in ("b.ts", "c.ts")]
    assert results[0] == results[1]


def test_clips_without_an_index_or_a_frame_are_refused(tmp_path: Path) -> None:
    clip = make(tmp_path / "a.mp4", frames=20)
    whole = clip.read_bytes()
    clip.write_bytes(whole[: len(whole) // 2])
    refused = run(clip)
    assert isinstance(refused, Failed) and "its index is missing or damaged" in refused.reason
    (tmp_path / "b.mp4").write_bytes(b"")
    empty = run(tmp_path / "b.mp4")
    assert isinstance(empty, Failed) and "it is not a video" in empty.reason


def test_frames_that_change_their_size_are_refused(tmp_path: Path) -> None:
    first = make(tmp_path / "1.ts", "mpeg2video", time_base=Fraction(1, 25))
    other = make(tmp_path / "2.ts", "mpeg2video", time_base=Fraction(1, 25), size=(48, 80))
    both = tmp_path / "both.ts"
    both.write_bytes(first.read_bytes() + other.read_bytes())
    refused = run(both)
    assert isinstance(refused, Failed) and "its frames change at 0:00:00" in refused.reason


def test_a_frame_that_fails_fails_the_clip(tmp_path: Path) -> None:
    clip = make(tmp_path / "a.mp4", frames=3)
    failed = run(clip, upscaler=Upscaler(NaNEngine()))
    assert isinstance(failed, Failed) and "not finite" in failed.reason
    assert not (tmp_path / "a-x2.mp4").exists()
    large = run(clip, max_pixels=1000)
    assert isinstance(large, Failed) and "64x36 pixels, and at most 1,000" in large.reason


def test_another_file_is_never_replaced(tmp_path: Path) -> None:
    clip = make(tmp_path / "a.mp4", frames=2)
    (tmp_path / "a-x2.mp4").write_bytes(b"mine")
    kept = run(clip)
    assert isinstance(kept, Skipped) and "the journal does not know it" in str(kept.reason)
    assert (tmp_path / "a-x2.mp4").read_bytes() == b"mine"
    assert isinstance(run(clip, overwrite=True), Done)


def test_memory_does_not_grow_with_the_length(tmp_path: Path) -> None:
    peaks = []
    upscaler = Upscaler(IdentityEngine((128, 160)))
    for frames in (30, 150):
        clip = make(tmp_path / f"{frames}.mkv", "ffv1", frames=frames, size=(120, 160))
        tracemalloc.start()
        assert isinstance(run(clip, None, upscaler, memory=2**20, codec="ffv1"), Done)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.5 * peaks[0]


def test_planes_of_the_result_are_those_of_the_clip_where_nothing_is_changed(
    tmp_path: Path,
) -> None:
    """An engine that enlarges by 1, and a codec without loss: 10 bits come back as they were."""

    def muted(number: int, size: tuple[int, int], layout: Layout) -> tuple[Plane, ...]:
        light, *chroma = pattern(number, size, layout)
        return 256 + light // 2, *(480 + plane // 16 for plane in chroma)  # what RGB can show

    clip = make(
        tmp_path / "a.mkv", "ffv1", pixel_format="yuv444p10le", time_base=MS, frames=2,
        colour=(1, 9, 9, 16), draw=muted,
    )  # fmt: skip
    done = run(clip, tmp_path / "b.mkv", Upscaler(one_to_one()), codec="ffv1")
    for before, after in zip(planes(clip), planes(done.target), strict=True):
        assert all(np.array_equal(a, b) for a, b in zip(before, after, strict=True))
