"""Clips from and to pipes: Y4M and NUT, frames that are not encoded."""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO

from hat_deploy.errors import PictureError, UsageError, needed_for
from hat_deploy.tiles.enlarger import Enlarger
from hat_deploy.tiles.target_size import steps_to
from hat_deploy.video.chroma import CENTRE
from hat_deploy.video.clip import Options, compute, notes_on
from hat_deploy.video.computing import Sink, require_permitted
from hat_deploy.video.encoding import Recipe, configure, raw_recipe
from hat_deploy.video.layout import Plane, frame_of
from hat_deploy.video.source import LONGEST_START, Y4M, Source

with needed_for("Video"):
    import av
    import av.container
    import av.error
    import av.stream

FORMS = ("y4m", "nut")
"""What can be written to a pipe."""


class Began:
    """A stream whose first bytes have been read already, and are given again.

    Args:
        file: read from where it is.
        start: what has been read of it.
    """

    def __init__(self, file: BinaryIO, start: bytes = b"") -> None:
        self._file = file
        self.start = start + _up_to(file, LONGEST_START - len(start))
        self._again = self.start

    def read(self, size: int) -> bytes:
        """Up to so many bytes; none at the end."""
        if self._again:
            given, self._again = self._again[:size], self._again[size:]
            return given
        return self._file.read(size)


def upscale_stream(
    source: Path | Began, out: BinaryIO, form: str, upscaler: Enlarger, options: Options
) -> tuple[list[str], list[str]]:
    """Upscale a clip to a pipe.

    Args:
        source: of the frames.
        out: takes the result.
        form: one of :data:`FORMS`.

    Returns:
        Notes, and what was damaged, by its time.

    Raises:
        UsageError: an option is for encoders.
        PictureError: the clip cannot be read, or has no place in the form.
        OSError: the result cannot be written.
    """
    asked = options.video
    for name in ("codec", "crf", "preset"):
        if getattr(asked, name) is not None:
            raise UsageError(f"--{name} does not apply: frames in a pipe are not encoded")
    pipe: list[NutSink] = []
    waiting: list[Any] = []

    def copy(packet: Any) -> None:
        if pipe:
            pipe[0].copy(packet)
        else:
            waiting.append(packet)

    taken = copy if form == "nut" else None
    with Source(source, deinterlace=asked.deinterlace, on_packet=taken) as clip:
        require_permitted(clip, options.max_pixels)
        facts = clip.facts
        steps = steps_to(options.size, (facts.height, facts.width), upscaler.scale)
        steps.check()
        recipe = raw_recipe(facts, steps.final, asked, opaque=options.background is not None)
        sink: Sink
        if form == "nut":
            sink = nut = NutSink(recipe, out, clip)
            pipe.append(nut)
            for packet in waiting:
                nut.copy(packet)
        else:
            sink = Y4mSink(recipe, out)
        tally = compute(clip, upscaler, recipe, steps, sink, options)
        return notes_on(tally), [str(damage) for damage in clip.damages]


class Y4mSink:
    """Writes frames as YUV4MPEG2, as mjpegtools define it with the names FFmpeg added.

    It knows one rate: frames of a variable one keep their number and lose their times.

    Raises:
        PictureError: the layout has no name there.
    """

    def __init__(self, recipe: Recipe, out: BinaryIO) -> None:
        self._out = out
        name = _y4m_name(recipe)
        aspect = recipe.aspect or 0
        shape = f"{aspect.numerator}:{aspect.denominator}" if aspect else "0:0"
        rate = f"{recipe.rate.numerator}:{recipe.rate.denominator}"
        span = "FULL" if recipe.colour.full else "LIMITED"
        head = f"{Y4M.decode()}W{recipe.width} H{recipe.height} F{rate} Ip A{shape} {name}"
        self.size = 0
        """Bytes written."""
        self._write(f"{head} XCOLORRANGE={span}\n".encode())

    def has(self, part: int) -> bool:
        """Nothing is there."""
        return False

    def put(self, part: int, planes: tuple[Plane, ...], pts: int, duration: int) -> None:
        """Write a frame."""
        self._write(b"FRAME\n")
        for plane in planes:
            self._write(plane.tobytes())

    def end(self) -> None:
        """Write what is held back."""
        self._out.flush()

    def _write(self, data: bytes) -> None:
        self._out.write(data)
        self.size += len(data)


class NutSink:
    """Writes frames into NUT at their times, and the packets of other streams as they are.

    Raises:
        PictureError: NUT cannot hold the frames or a stream.
    """

    def __init__(self, recipe: Recipe, out: BinaryIO, clip: Source) -> None:
        self._recipe = recipe
        self._lock = threading.Lock()
        self.size = 0
        """Bytes of frames."""
        try:
            self._file: Any = av.open(out, "w", format="nut")
            self._film: Any = self._file.add_stream("rawvideo", rate=recipe.rate)
            configure(self._film.codec_context, recipe)
            self._film.time_base = recipe.time_base
            self._others = {
                stream.index: self._file.add_stream_from_template(stream, opaque=True)
                for stream in clip.container.streams
                if stream.index != clip.stream.index and stream.type in ("audio", "subtitle")
            }
            self._file.metadata.update(clip.container.metadata)
            self._file.start_encoding()
        except (av.error.FFmpegError, ValueError) as error:
            raise PictureError(f"NUT cannot hold it: {error}") from error

    def has(self, part: int) -> bool:
        """Nothing is there."""
        return False

    def put(self, part: int, planes: tuple[Plane, ...], pts: int, duration: int) -> None:
        """Write a frame."""
        frame = frame_of(planes, self._recipe.layout)
        frame.pts, frame.time_base = pts, self._recipe.time_base
        with self._lock:
            for packet in self._film.encode(frame):
                packet.duration = duration
                self.size += packet.size
                self._file.mux(packet)

    def copy(self, packet: Any) -> None:
        """Write a packet of another stream."""
        if packet.stream_index in self._others:
            with self._lock:
                packet.stream = self._others[packet.stream_index]
                self._file.mux(packet)

    def end(self) -> None:
        """Finish the file."""
        with self._lock:
            self._file.close()


def form_of(start: bytes) -> str | None:
    """Which of :data:`FORMS` a stream is that starts so; None if it is none."""
    if start.startswith(Y4M):
        return "y4m"
    return "nut" if start.startswith(b"nut/multimedia container") else None


def _y4m_name(recipe: Recipe) -> str:
    """The header's word for a layout.

    Raises:
        PictureError: there is none.
    """
    layout = recipe.layout
    deep = "" if layout.bits == 8 else f"{layout.bits}"
    if layout.kind == "gray" and not layout.alpha:
        return f"Cmono{deep}"
    names = {"yuv420": "420", "yuv422": "422", "yuv444": "444", "yuv411": "411"}
    name = names.get(replace(layout, bits=8).name.removesuffix("p"))
    if name is None or layout.alpha or (name == "411" and deep):
        raise PictureError(
            f"Y4M does not hold {layout.name}: choose another with --pixel-format, as yuv444p, or "
            "use --format nut"
        )
    if deep:
        return f"C{name}p{deep} XYSCSS={name}P{deep}"
    if name == "420":
        return f"C420{'jpeg' if recipe.colour.siting == CENTRE else 'mpeg2'} XYSCSS=420JPEG"
    return f"C{name} XYSCSS={name}"


def _up_to(file: BinaryIO, size: int) -> bytes:
    """So many bytes, or all there are."""
    found = b""
    while len(found) < size and (more := file.read(size - len(found))):
        found += more
    return found
