"""Clips for tests, made by PyAV, and what is read back from them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from fakes import IdentityEngine

from hat_deploy import folders
from hat_deploy.api import Upscaler
from hat_deploy.folders import job_list
from hat_deploy.video.layout import Layout, frame_of, planes_in
from hat_deploy.video.options import VideoOptions

Planes = tuple[np.ndarray, ...]


def pattern(number: int, size: tuple[int, int], layout: Layout) -> Planes:
    """Frame ``number`` of a moving pattern: smooth, with an edge, and different each time."""
    small = layout.chroma_size(*size)
    shapes = [size] if layout.kind == "gray" else [size, small, small]
    shapes = [size] * 3 if layout.kind == "rgb" else shapes
    if layout.alpha:
        shapes.append(size)
    planes = []
    for at, (h, w) in enumerate(shapes):
        y, x = np.mgrid[:h, :w]
        values = 60 + 60 * np.sin((x + 3 * number) / (9 + at)) + 40 * np.cos(y / 7 + at)
        values += 40 * (x > (w // 3 + number) % w)
        planes.append((np.clip(values, 16, 235) * 2 ** (layout.bits - 8)).astype(layout.dtype))
    return tuple(planes)


X265 = "log-level=none:pools=none:frame-threads=1:ctu=32"
"""Parameters of x265 that give the same packets each time, for frames wider than 32."""


def make(
    path: Path,
    codec: str = "libx264",
    *,
    frames: int = 8,
    size: tuple[int, int] = (36, 64),
    pixel_format: str = "yuv420p",
    times: Sequence[int] | None = None,
    time_base: Fraction = Fraction(1, 12800),
    rate: Fraction = Fraction(25),
    options: dict[str, str] | None = None,
    container: str | None = None,
    prepare: Callable[[Any, Any], None] = lambda out, stream: None,
    finish: Callable[[Any], None] = lambda out: None,
    draw: Callable[[int, tuple[int, int], Layout], Planes] = pattern,
    colour: tuple[int, int, int, int] = (1, 1, 1, 1),
    mark: Callable[[Any], None] = lambda frame: None,
) -> Path:
    """A clip; ``prepare`` adds to the open file, ``finish`` writes its other packets.

    ``colour``: range, matrix, primaries, transfer. ``times`` are in ticks.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    layout = Layout.of(pixel_format)
    step = round(1 / (rate * time_base))
    with av.open(str(path), "w", format=container) as out:
        stream = out.add_stream(codec, rate=rate, options=options or {})
        stream.height, stream.width = size
        stream.pix_fmt = pixel_format
        context = stream.codec_context
        context.time_base = stream.time_base = time_base
        context.color_range, context.colorspace = colour[:2]
        context.color_primaries, context.color_trc = colour[2:]
        prepare(out, stream)
        for number in range(frames):
            frame = frame_of(draw(number, size, layout), layout)
            if frame.format.name != pixel_format:
                frame = frame.reformat(format=pixel_format)
            frame.pts = number * step if times is None else times[number]
            frame.time_base = time_base
            frame.color_range, frame.colorspace = colour[:2]
            frame.color_primaries, frame.color_trc = colour[2:]
            mark(frame)
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
        finish(out)
    return path


def decoded(path: Path) -> Iterator[Any]:
    """Every frame of a clip, as PyAV gives it."""
    with av.open(str(path)) as clip:
        yield from clip.decode(clip.streams.video[0])


def times_of(path: Path) -> list[Fraction]:
    """When each frame is shown, in seconds."""
    return [frame.pts * frame.time_base for frame in decoded(path)]


def planes(path: Path) -> list[Planes]:
    return [planes_in(frame, Layout.of(frame.format.name)) for frame in decoded(path)]


def packets(path: Path, kind: str) -> list[list[tuple[int | None, bytes]]]:
    """Times and bytes of the packets of each stream of a kind."""
    with av.open(str(path)) as clip:
        found: dict[int, list[tuple[int | None, bytes]]] = {
            stream.index: [] for stream in clip.streams if stream.type == kind
        }
        for packet in clip.demux():
            if packet.stream_index in found and packet.size:
                found[packet.stream_index].append((packet.pts, bytes(packet)))
    return list(found.values())


def run(
    path: Path, output: Path | None = None, upscaler: Upscaler | None = None,
    *, form: str | None = None, **options: Any,
) -> folders.Outcome:  # fmt: skip
    """What becomes of one clip, or of each file of a folder; ``options`` are those of clips too."""
    (outcome,) = run_all(path, output, upscaler, form=form, **options)
    return outcome


def run_all(
    path: Path, output: Path | None = None, upscaler: Upscaler | None = None,
    *, form: str | None = None, progress: Any = None, **options: Any,
) -> list[folders.Outcome]:  # fmt: skip
    own = {name: options.pop(name) for name in list(options) if hasattr(VideoOptions, name)}
    listed = job_list.list_jobs([path], mark="-x2", output=output, recursive=True, format=form)
    chosen = folders.Options(video=VideoOptions(**own), **options)
    upscaler = upscaler or Upscaler(IdentityEngine())
    return list(folders.run_list(listed, upscaler, chosen, progress=progress))
