"""Clips from and to pipes, through real processes."""

from __future__ import annotations

import io
import subprocess
import sys
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from clip_files import decoded, make, packets, pattern, planes, times_of
from fakes import IdentityEngine
from test_clip_exact import with_company

from hat_deploy import folders
from hat_deploy.api import Upscaler
from hat_deploy.errors import PictureError, UsageError
from hat_deploy.tiles.target_size import TargetSize
from hat_deploy.video.layout import Layout
from hat_deploy.video.options import VideoOptions
from hat_deploy.video.pipes import Began, upscale_stream

ROOT = Path(__file__).parents[2]
WITH_IDENTITY = """
import sys
sys.path[:0] = ["tests"]
from fakes import IdentityEngine
from hat_deploy import api
from hat_deploy.cli import main
opened = api.Upscaler(IdentityEngine((48, 64)))
api.Upscaler = type("Upscaler", (), {"__new__": lambda *_, **__: opened})
main()
"""


def process(*arguments: object, data: bytes = b"") -> tuple[int, bytes, str]:
    ended = subprocess.run(
        [sys.executable, "-c", WITH_IDENTITY, "upscale", *map(str, arguments)],
        input=data,
        capture_output=True,
        cwd=ROOT,
        check=False,
    )
    return ended.returncode, ended.stdout, ended.stderr.decode()


def upscale(
    source: bytes | Path, form: str, size: TargetSize | None = None, **how: Any
) -> tuple[bytes, list[str], list[str]]:
    """The result, notes and damages, without a process."""
    out = io.BytesIO()
    out.close = lambda: None  # type: ignore[method-assign]
    given = Began(io.BytesIO(source)) if isinstance(source, bytes) else source
    options = folders.Options(size=size, video=VideoOptions(**how))
    engine = Upscaler(IdentityEngine((48, 64)))
    notes, damages = upscale_stream(given, out, form, engine, options)
    return out.getvalue(), notes, damages


def y4m(tag: str, pixel_format: str, *, size: tuple[int, int] = (5, 7), frames: int = 3) -> bytes:
    """As another program would write it."""
    layout = Layout.of(pixel_format)
    data = f"YUV4MPEG2 W{size[1]} H{size[0]} F30000:1001 Ip A4:3 {tag}\n".encode()
    for number in range(frames):
        data += b"FRAME\n" + b"".join(p.tobytes() for p in pattern(number, size, layout))
    return data


@pytest.mark.parametrize(
    ("tag", "pixel_format"),
    [("C420jpeg", "yuv420p"), ("C444", "yuv444p"), ("C420p10 XYSCSS=420P10", "yuv420p10le")],
)
def test_y4m_goes_in_and_out(tmp_path: Path, tag: str, pixel_format: str) -> None:
    out, notes, damages = upscale(y4m(tag, pixel_format), "y4m")
    assert not notes and not damages
    head = out.split(b"\n")[0].decode().split()
    assert head[:6] == ["YUV4MPEG2", "W14", "H10", "F30000:1001", "Ip", "A4:3"]
    assert head[6] == tag.split()[0] and head[-1] == "XCOLORRANGE=LIMITED"
    path = tmp_path / "out.y4m"
    path.write_bytes(out)
    found = list(decoded(path))  # another reader: FFmpeg's
    assert [frame.format.name for frame in found] == [pixel_format] * 3
    layout = Layout.of(pixel_format)
    small, large = pattern(2, (5, 7), layout), planes(path)[2]
    near = large[0][::2, ::2].astype(int) - small[0]
    assert np.abs(near).max() <= (40 << (layout.bits - 8))


def test_nut_keeps_times_and_sound(tmp_path: Path) -> None:
    prepare, finish = with_company(1, None, False)
    times = [0, 512, 700, 1536, 1540, 4000, 4512, 4600]
    clip = make(
        tmp_path / "a.nut", "rawvideo", times=times, prepare=prepare, finish=finish,
        pixel_format="yuv422p",
    )  # fmt: skip
    out, _, damages = upscale(clip.read_bytes(), "nut")
    assert not damages
    result = tmp_path / "out.nut"
    result.write_bytes(out)
    assert times_of(result) == times_of(clip)
    assert [data for _, data in packets(result, "audio")[0]] == [
        data for _, data in packets(clip, "audio")[0]
    ]
    assert next(decoded(result)).format.name == "yuv422p"


def test_a_file_goes_to_a_pipe(tmp_path: Path) -> None:
    clip = make(tmp_path / "a.mp4", frames=3)
    out, _, _ = upscale(clip, "nut", TargetSize(width=96))
    path = tmp_path / "out.nut"
    path.write_bytes(out)
    assert [(f.width, f.height) for f in decoded(path)] == [(96, 54)] * 3
    with av.open(str(path)) as there:
        assert there.streams.video[0].average_rate == Fraction(25)


def test_what_a_pipe_does_not_take() -> None:
    data = y4m("C444", "yuv444p")
    with pytest.raises(UsageError, match="--crf does not apply: frames in a pipe are not encoded"):
        upscale(data, "y4m", crf=20)
    with pytest.raises(PictureError, match="Y4M does not hold gbrp"):
        upscale(data, "y4m", pixel_format="gbrp")


def test_a_clip_that_is_cut_off_is_done_as_far_as_it_goes() -> None:
    data = y4m("C444", "yuv444p")
    assert upscale(data[:-20], "y4m")[0].count(b"FRAME\n") >= 2
    with pytest.raises(PictureError, match="it cannot be read"):
        upscale(data[:30], "y4m")


@pytest.mark.slow
def test_the_command(tmp_path: Path) -> None:
    data = y4m("C444", "yuv444p")
    code, out, err = process("-", data=data)
    assert (code, err) == (0, "") and out.startswith(b"YUV4MPEG2 W14 H10 F30000:1001 ")
    clip = make(tmp_path / "a.mp4", frames=3)
    code, out, err = process(clip, "-o", "-", "--format", "nut")
    assert (code, err) == (0, "") and out.startswith(b"nut/multimedia container")
    for arguments, says in (
        (("-o", "x.mp4"), "a clip from standard input goes to standard output, as Y4M or NUT"),
        (("--format", "mkv"), "--format mkv: to standard output, a clip goes as y4m or nut"),
    ):
        code, out, err = process("-", *arguments, data=data)
        assert code == 2 and not out and says in err and "Traceback" not in err
