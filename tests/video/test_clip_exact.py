"""What a result keeps of its clip: frames, times, shape, colour, and every other stream."""

from __future__ import annotations

import struct
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from clip_files import X265, decoded, make, packets, planes, run, times_of

from hat_deploy.folders import Done, Failed

LATER = [0, 512, 700, 1536, 1540, 4000, 4512, 4600]
"""Ticks of frames that follow each other at no regular rate."""
H264_B = {"bf": "3", "b-adapt": "0", "x264-params": "bframes=3:b-pyramid=none"}
SOURCES: list[Any] = [
    ("a.mp4", "libx264", {}),
    ("b-frames.mp4", "libx264", {"options": H264_B, "frames": 12}),
    ("vfr.mp4", "libx264", {"times": LATER, "options": H264_B}),
    ("late.mp4", "libx264", {"times": [time + 5000 for time in LATER]}),
    ("one.mov", "libx264", {"frames": 1}),
    ("vfr.mkv", "libx264", {"times": [0, 13, 40, 41, 99, 200, 207, 300],
                            "time_base": Fraction(1, 1000), "options": H264_B}),
    ("hevc.mp4", "libx265", {"pixel_format": "yuv420p10le", "options": {"x265-params": X265}}),
    ("ntsc.mov", "prores_ks", {"pixel_format": "yuv422p10le", "rate": Fraction(30000, 1001),
                               "time_base": Fraction(1, 30000)}),
    ("vp9.webm", "libvpx-vp9", {"time_base": Fraction(1, 1000), "size": (37, 65),
                                "options": {"deadline": "realtime"}}),
    ("av1.mkv", "libsvtav1", {"time_base": Fraction(1, 1000), "size": (64, 96),
                              "options": {"preset": "12"}}),
    ("odd.mkv", "ffv1", {"size": (5, 7), "time_base": Fraction(1, 1000)}),
    ("deep.mkv", "ffv1", {"pixel_format": "yuv444p12le", "time_base": Fraction(1, 1000)}),
    ("rgb.mkv", "ffv1", {"pixel_format": "bgr0", "time_base": Fraction(1, 1000),
                         "colour": (2, 0, 1, 13)}),
    ("mpeg2.ts", "mpeg2video", {"time_base": Fraction(1, 25), "options": {"bf": "2"},
                                "frames": 12}),
    ("h264.ts", "libx264", {"time_base": Fraction(1, 90000), "options": H264_B}),
    ("mpeg4.avi", "mpeg4", {"time_base": Fraction(1, 25)}),
    ("mjpeg.avi", "mjpeg", {"time_base": Fraction(1, 25), "pixel_format": "yuvj420p",
                            "colour": (2, 5, 2, 2)}),
]  # fmt: skip
SMALL = ("vfr.mp4", "b-frames.mp4", "vfr.mkv", "one.mov", "odd.mkv", "h264.ts", "mpeg4.avi")
"""Those that stand for the others where time is short."""


@pytest.mark.parametrize(
    ("name", "codec", "how"),
    [
        pytest.param(*source, id=source[0], marks=[] if source[0] in SMALL else pytest.mark.slow)
        for source in SOURCES
    ],
)
def test_every_frame_comes_at_its_time(
    tmp_path: Path, name: str, codec: str, how: dict[str, Any]
) -> None:
    clip = make(tmp_path / name, codec, **how)
    done = run(clip)
    assert isinstance(done, Done), done
    assert not done.damaged
    before, after = list(decoded(clip)), list(decoded(done.target))
    assert len(after) == how.get("frames", 8)
    times = [frame.pts * frame.time_base for frame in before]
    shifted = min(times[0], Fraction(0)) if clip.suffix == ".avi" else Fraction(0)
    assert times_of(done.target) == [time - shifted for time in times]
    first, result = before[0], after[0]
    assert (result.width, result.height) == (2 * first.width, 2 * first.height)
    assert result.format.components[0].bits == max(8, first.format.components[0].bits)
    if done.target.suffix == clip.suffix:
        with av.open(str(clip)) as source, av.open(str(done.target)) as there:
            assert there.streams.video[0].time_base == source.streams.video[0].time_base
    small = np.asarray(first.to_ndarray(format="rgb24"), int)
    large = np.asarray(result.to_ndarray(format="rgb24"), int)
    assert np.abs(large[::2, ::2] - small).mean() < 12  # the same image, up to its coding


@pytest.mark.parametrize(
    ("colour", "pixel_format", "codec"),
    [
        ((1, 1, 1, 1), "yuv420p", "libx264"),
        ((2, 1, 1, 1), "yuv420p", "libx264"),
        ((1, 6, 6, 6), "yuv422p", "libx264"),
        ((1, 9, 9, 16), "yuv420p10le", "libx265"),
        ((1, 9, 9, 18), "yuv420p10le", "libx265"),
        ((2, 9, 9, 14), "yuv444p10le", "ffv1"),
    ],
)
def test_colours_are_written_as_they_were_read(
    tmp_path: Path, colour: tuple[int, int, int, int], pixel_format: str, codec: str
) -> None:
    options = {"x265-params": X265} if codec == "libx265" else {}
    clip = make(
        tmp_path / "a.mkv", codec, colour=colour, pixel_format=pixel_format, frames=2,
        options=options, time_base=Fraction(1, 1000),
    )  # fmt: skip
    done = run(clip, codec="ffv1" if codec == "ffv1" else None)
    frame = next(decoded(done.target))
    found = (frame.color_range, frame.colorspace, frame.color_primaries, frame.color_trc)
    assert found == colour and frame.format.name.replace("yuvj", "yuv") == pixel_format


def test_a_matrix_that_is_not_said_is_written_as_it_was_taken(tmp_path: Path) -> None:
    """A small clip is taken for BT.601; its result may be so large that players take BT.709."""
    clip = make(tmp_path / "a.mp4", colour=(0, 2, 2, 2), frames=1, size=(400, 64))
    frame = next(decoded(run(clip).target))
    assert (frame.height, frame.colorspace, frame.color_range) == (800, 6, 1)
    assert (frame.color_primaries, frame.color_trc) == (2, 2)


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".mov"])
@pytest.mark.parametrize("degrees", [90, 180])
def test_shape_of_pixels_and_rotation_stay(tmp_path: Path, suffix: str, degrees: int) -> None:
    def prepare(out: Any, stream: Any) -> None:
        stream.codec_context.sample_aspect_ratio = Fraction(16, 11)
        stream.set_display_rotation(degrees)

    clip = make(tmp_path / f"a{suffix}", prepare=prepare, time_base=Fraction(1, 16000))
    result = run(clip).target
    with av.open(str(result)) as there:
        assert there.streams.video[0].sample_aspect_ratio == Fraction(16, 11)
    assert abs(next(decoded(result)).rotation) == degrees
    assert next(decoded(result)).rotation == next(decoded(clip)).rotation


def with_company(
    audio: int, subtitles: str | None, attach: bool
) -> tuple[Callable[[Any, Any], None], Callable[[Any], None]]:
    """What adds sound, subtitles, chapters and an attachment to a clip."""
    added: list[Any] = []

    def prepare(out: Any, stream: Any) -> None:
        out.metadata["title"] = "Grüße"
        out.metadata["comment"] = "kept"
        stream.metadata["language"] = "deu"
        chapters = [(0, 120, "one"), (120, 320, "two")]
        out.set_chapters(
            [
                {"id": at + 1, "start": start, "end": end, "time_base": Fraction(1, 1000),
                 "metadata": {"title": title}}
                for at, (start, end, title) in enumerate(chapters)
            ]
        )  # fmt: skip
        for at in range(audio):
            sound = out.add_stream("aac" if at == 0 else "ac3", rate=48000)
            sound.metadata["language"] = ("eng", "fra")[at]
            added.append(sound)
        if subtitles is not None:
            text = out.add_stream(subtitles)
            text.codec_context.subtitle_header = HEADER
            text.metadata["language"] = "ita"
            added.append(text)
        if attach:
            out.add_attachment("font.ttf", "application/x-truetype-font", bytes(range(200)))

    def finish(out: Any) -> None:
        noise = np.random.default_rng(0)
        for stream in added:
            if stream.type == "audio":
                for at in range(16):
                    samples = noise.normal(0, 0.1, (2, 1024)).astype(np.float32)
                    frame = av.AudioFrame.from_ndarray(samples, "fltp", "stereo")
                    frame.rate, frame.pts = 48000, at * 1024
                    out.mux(stream.encode(frame))
                out.mux(stream.encode(None))
            else:
                for start, words in ((20, "Hello"), (150, "<i>again</i>")):
                    text = words.encode()
                    if stream.name == "mov_text":
                        text = struct.pack(">H", len(text)) + text
                    packet = av.Packet(text)
                    packet.stream, packet.time_base = stream, Fraction(1, 1000)
                    packet.pts = packet.dts = start
                    packet.duration = 100
                    out.mux(packet)

    return prepare, finish


HEADER = b"[Script Info]\n\n[V4+ Styles]\n\n[Events]\n"


@pytest.mark.parametrize(
    ("name", "audio", "subtitles", "attach"),
    [
        ("a.mp4", 2, "mov_text", False),
        ("a.mkv", 2, "subrip", True),
        ("a.mov", 1, None, False),
        ("a.ts", 2, None, False),
    ],
)
def test_all_else_is_copied_bit_for_bit(
    tmp_path: Path, name: str, audio: int, subtitles: str | None, attach: bool
) -> None:
    prepare, finish = with_company(audio, subtitles, attach)
    tick = Fraction(1, 90000) if name == "a.ts" else Fraction(1, 16000)
    clip = make(tmp_path / name, prepare=prepare, finish=finish, time_base=tick)
    done = run(clip)
    assert isinstance(done, Done), done
    for kind in ("audio", "subtitle"):
        before, after = packets(clip, kind), packets(done.target, kind)
        assert before == after and all(before)
    with av.open(str(clip)) as source, av.open(str(done.target)) as there:
        assert [s.type for s in there.streams] == [s.type for s in source.streams]
        assert [s.metadata.get("language") for s in there.streams] == [
            s.metadata.get("language") for s in source.streams
        ]
        assert [s.disposition for s in there.streams] == [s.disposition for s in source.streams]
        if name != "a.ts":
            assert there.metadata["title"] == "Grüße"
            assert len(there.chapters()) == 2
        for before, after in zip(source.chapters(), there.chapters(), strict=True):
            ticks = ("start", "end", "metadata")
            assert [after[key] for key in ticks] == [before[key] for key in ticks]
        assert [s.data for s in there.streams if s.type == "attachment"] == [
            s.data for s in source.streams if s.type == "attachment"
        ]
    assert times_of(done.target) == times_of(clip)


def test_what_the_container_cannot_hold_is_refused_before_anything_is_computed(
    tmp_path: Path,
) -> None:
    prepare, finish = with_company(1, "subrip", True)
    clip = make(tmp_path / "a.mkv", prepare=prepare, finish=finish, frames=2)
    refused = run(clip, tmp_path / "b.mp4")
    assert isinstance(refused, Failed)
    assert refused.reason.startswith(".mp4 cannot hold its subtitle in subrip: give the result")
    refused = run(clip, tmp_path / "b.ts")
    assert isinstance(refused, Failed) and ".ts cannot hold its subtitle" in refused.reason
    refused = run(clip, tmp_path / "b.webm")
    assert isinstance(refused, Failed) and ".webm cannot hold its audio in aac" in refused.reason
    assert not list(tmp_path.glob("b.*"))


@pytest.mark.parametrize("suffix", [".mov", ".mp4"])
def test_the_timecode_and_the_cover_stay(tmp_path: Path, suffix: str) -> None:
    added: list[Any] = []

    def prepare(out: Any, stream: Any) -> None:
        stream.metadata["timecode"] = "01:02:03:04"
        if suffix == ".mp4":
            cover = out.add_stream("png")
            cover.height = cover.width = 8
            cover.pix_fmt = "rgb24"
            cover.disposition = av.stream.Disposition.attached_pic
            added.append(cover)

    def finish(out: Any) -> None:
        for cover in added:
            frame = av.VideoFrame.from_ndarray(np.zeros((8, 8, 3), np.uint8), "rgb24")
            frame.pts = 0
            out.mux(cover.encode(frame))

    clip = make(tmp_path / f"a{suffix}", prepare=prepare, finish=finish)
    done = run(clip)
    assert isinstance(done, Done) and not done.notes, done
    with av.open(str(clip)) as source, av.open(str(done.target)) as there:
        assert [s.type for s in there.streams] == [s.type for s in source.streams]
        for before, after in zip(source.streams, there.streams, strict=True):
            assert after.metadata.get("timecode") == before.metadata.get("timecode")
            assert after.disposition == before.disposition
        assert there.streams.video[0].metadata["timecode"] == "01:02:03:04"
    assert packets(done.target, "video")[1:] == packets(clip, "video")[1:]


def test_interlaced_frames_are_made_whole_when_that_is_asked_for(tmp_path: Path) -> None:
    def interlaced(frame: Any) -> None:
        frame.interlaced_frame = True

    def prepare(out: Any, stream: Any) -> None:
        flags = av.codec.context.Flags
        stream.codec_context.flags |= flags.interlaced_dct | flags.interlaced_me

    clip = make(
        tmp_path / "a.ts", "mpeg2video", prepare=prepare, time_base=Fraction(1, 25),
        options={"field_order": "tt", "top": "1"},
    )  # fmt: skip
    refused = run(clip)
    assert isinstance(refused, Failed) and "interlaced" in refused.reason
    assert "--deinterlace" in refused.reason
    done = run(clip, deinterlace=True)
    assert isinstance(done, Done), done
    assert times_of(done.target) == times_of(clip)
    assert not any(frame.interlaced_frame for frame in decoded(done.target))


@pytest.mark.parametrize("codec", ["h264", "h265", "av1"])
@pytest.mark.slow
def test_hdr10_is_carried(tmp_path: Path, codec: str) -> None:
    display = "G(13250,34500)B(7500,3000)R(34000,16000)WP(15635,16450)L(10000000,50)"
    clip = make(
        tmp_path / "a.mkv", "libx265", pixel_format="yuv420p10le", colour=(1, 9, 9, 16), frames=3,
        size=(64, 96),
        options={"x265-params": f"log-level=none:master-display={display}:max-cll=1000,400"},
    )  # fmt: skip
    done = run(clip, codec=codec)
    assert isinstance(done, Done), done
    for path in (clip, done.target):
        found = {data.type.name: bytes(data) for data in next(decoded(path)).side_data}
        numbers = struct.unpack("=22i", found["MASTERING_DISPLAY_METADATA"])
        values = [n / d for n, d in zip(numbers[:20:2], numbers[1:20:2], strict=True)]
        assert values == pytest.approx(
            [0.68, 0.32, 0.265, 0.69, 0.15, 0.06, 0.3127, 0.329, 0.005, 1000], rel=2e-3, abs=2e-5
        )
        assert struct.unpack("=2I", found["CONTENT_LIGHT_LEVEL"]) == (1000, 400)


def test_transparency_goes_through_or_is_refused(tmp_path: Path) -> None:
    clip = make(
        tmp_path / "a.mov", "prores_ks", pixel_format="yuva444p10le", frames=2, size=(32, 32)
    )
    refused = run(clip)
    assert isinstance(refused, Failed) and "--codec prores in .mov, --codec ffv1" in refused.reason
    done = run(clip, codec="prores")
    assert isinstance(done, Done), done
    assert next(decoded(done.target)).format.name.startswith("yuva444p")
    small, large = planes(clip)[0], planes(done.target)[0]
    assert np.abs(large[3][::2, ::2].astype(int) - small[3]).max() <= 4 << 2
    laid = run(clip, tmp_path / "b.mov", background=(0, 0, 0))
    assert isinstance(laid, Done), laid
