"""A clip that is read: what it says about itself, its frames in order, and what is damaged."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from fractions import Fraction
from itertools import chain
from pathlib import Path
from typing import Any, Protocol, Self

from hat_deploy.errors import PictureError, needed_for
from hat_deploy.video.chroma import CENTRE, LEFT, TOP_LEFT, Siting
from hat_deploy.video.colour import BT2020, UNSPECIFIED, Colour, matrix_of
from hat_deploy.video.hdr import Hdr
from hat_deploy.video.layout import Layout, Plane, planes_in

with needed_for("Video"):
    import av
    import av.error
    import av.filter
    import av.logging

_CENTRED = ("mjpeg", "mpeg1video", "h261", "h263", "h263p", "flv", "theora", "svq1", "svq3")
"""Codecs whose chroma lies in the middle of the luma samples."""
Y4M = b"YUV4MPEG2 "
"""What such a stream begins with."""
LONGEST_START = 512
"""Bytes at the start of a file that its kind is told by."""
_FULL = 2
"""FFmpeg's number of the full range."""
_STOPPED = 0.5
"""Seconds by which a clip may end before it says it does."""
TRIES = 16
"""How often in a row reading may fail before the rest is given up."""
_MATRIX = struct.Struct("=9i")


@dataclass(frozen=True, kw_only=True)
class Damage:
    """A place where a clip is damaged."""

    start: float
    """Seconds from the clip's start."""
    end: float
    reason: str
    """A clause."""

    def __str__(self) -> str:
        place = clock(self.start)
        if self.end > self.start:
            place += f" to {clock(self.end)}"
        return f"{place}: {self.reason}"


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What a clip's pictures are."""

    height: int
    width: int
    layout: Layout
    colour: Colour
    aspect: Fraction
    """Width of a sample by its height; 0 if the clip does not say."""
    time_base: Fraction
    """Seconds of a tick."""
    rate: Fraction
    """Frames a second, on average."""
    display: tuple[int, ...] | None
    """The matrix that players turn and mirror frames by; FFmpeg's nine numbers."""
    hdr: Hdr
    stream: int
    """The number of its video stream."""
    expected: int | None
    """Frames, as far as the clip says."""
    seconds: float | None
    """How long it lasts, as far as it says."""


@dataclass(frozen=True, eq=False)
class Frame:
    """One frame as decoded."""

    number: int
    pts: int
    """When it is shown, in ticks."""
    duration: int
    """In ticks; 0 if unknown."""
    planes: tuple[Plane, ...]


class Readable(Protocol):
    """A stream whose first bytes have been looked at."""

    start: bytes
    """Up to :data:`LONGEST_START` of them, which :meth:`read` gives again."""

    def read(self, size: int, /) -> bytes:
        """Bytes; none at the end."""


class Source:
    """A clip that is open; its first frame has been decoded.

    Args:
        file: a path, or a stream that need not be seekable.
        deinterlace: make whole frames of interlaced ones.
        on_packet: given the packets of other streams as they are met; None leaves them unread.

    Raises:
        PictureError: it cannot be read, is no clip, or is of a kind that cannot be upscaled.
    """

    def __init__(
        self,
        file: Path | Readable,
        *,
        deinterlace: bool = False,
        on_packet: Callable[[Any], None] | None = None,
    ) -> None:
        self.damages: list[Damage] = []
        """Where it is damaged, as far as it has been read."""
        self._deinterlace = deinterlace
        self._on_packet = on_packet
        self._lost: list[Damage] = []
        self._packets = 0
        self._at = 0  # of the packet read last, in ticks
        if isinstance(file, Path):
            self._start = _first_bytes(file)
        else:
            self._start = file.start
        try:
            self.container = av.open(
                str(file) if isinstance(file, Path) else file, "r", metadata_errors="replace"
            )
        except (av.error.FFmpegError, OSError, ValueError) as error:
            raise PictureError(_cannot(error)) from error
        try:
            self._begin()
        except BaseException:
            self.container.close()
            raise

    def _begin(self) -> None:
        films = [s for s in self.container.streams.video if not _is_cover(s)]
        if not films:
            raise PictureError("it has no video stream")
        self.stream = films[0]
        if self.stream.codec_context is None:
            raise PictureError("its video is in a codec that cannot be decoded here")
        # Threads would hide damage in another way in each run.
        self.stream.codec_context.thread_count = 1
        if self.stream.time_base is None:
            raise PictureError("its video stream has no time base")
        self.time_base = self.stream.time_base
        self._decoded = self._frames()
        first = next(self._decoded, None)
        if first is None:
            raise PictureError("none of its frames can be decoded: it is empty or damaged")
        self._first = first
        self.facts = self._facts(first)

    def frames(self) -> Iterator[Frame]:
        """Every frame that can be decoded, in the order in which they are shown; once.

        Raises:
            PictureError: a frame is interlaced, or not as the first one.
        """
        facts = self.facts
        last: int | None = None
        for number, frame in enumerate(chain([self._first], self._decoded)):
            self._check(frame, facts)
            pts: int | None = frame.pts if frame.pts is not None else frame.dts
            if pts is None:
                pts = 0 if last is None else last + self._step
            if last is not None and pts <= last:
                self._note(pts, "its time goes back: it is shown one tick after the frame before")
                pts = last + 1
            if frame.is_corrupt:
                self._note(pts, "damaged: it is as the decoder mended it")
            last = pts
            yield Frame(number, pts, frame.duration or 0, planes_in(frame, facts.layout))
        self._check_end(last)
        self.damages = _joined(self.damages + self._lost)

    def close(self) -> None:
        """Close the file."""
        self.container.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def start(self) -> float:
        """The time of the first frame in seconds."""
        return float((self._first.pts or 0) * self.time_base)

    @property
    def _step(self) -> int:
        """Ticks of a frame, on average."""
        return max(1, round(1 / (self.facts.rate * self.time_base)))

    def _facts(self, frame: av.VideoFrame) -> Facts:
        stream, context = self.stream, self.stream.codec_context
        layout = Layout.of(frame.format.name)
        stated_range = frame.color_range or context.color_range
        full = stated_range == _FULL or frame.format.name.startswith("yuvj")
        if layout.kind != "yuv" and not stated_range:
            full = True  # as FFmpeg takes gray and RGB
        stated = frame.colorspace if frame.colorspace != UNSPECIFIED else context.colorspace
        matrix = matrix_of(stated, layout, frame.height)
        rate = stream.average_rate or stream.guessed_rate or Fraction(25)
        seconds = _tagged(stream.metadata)
        if stream.duration is not None:
            seconds = float(stream.duration * self.time_base)
        about = seconds or (self.container.duration or 0) / av.time_base
        side_data: Any = frame.side_data
        matrices = [bytes(d) for d in side_data if d.type.name == "DISPLAYMATRIX"]
        return Facts(
            height=frame.height,
            width=frame.width,
            layout=layout,
            colour=Colour(
                matrix=matrix,
                full=full,
                primaries=frame.color_primaries or context.color_primaries,
                transfer=frame.color_trc or context.color_trc,
                siting=_siting(context.codec.name, layout, matrix, self._start),
            ),
            aspect=stream.sample_aspect_ratio or Fraction(0),
            time_base=self.time_base,
            rate=rate if rate > 0 else Fraction(25),
            display=_MATRIX.unpack_from(matrices[0]) if matrices else None,
            hdr=Hdr.of(side_data),
            stream=stream.index,
            expected=stream.frames or round(about * rate) or None,
            seconds=seconds,
        )

    def _frames(self) -> Iterator[av.VideoFrame]:
        """Decoded frames, made progressive if that was asked for."""
        if not self._deinterlace:
            yield from self._plain_frames()
            return
        graph: av.filter.Graph | None = None
        for frame in self._plain_frames():
            if graph is None:
                graph = _deinterlacer(self.stream, frame)
            graph.vpush(frame)
            yield from _pulled(graph, self.time_base)
        if graph is not None:
            graph.vpush(None)
            yield from _pulled(graph, self.time_base)

    def _plain_frames(self) -> Iterator[av.VideoFrame]:
        context = self.stream.codec_context
        packets = self._demuxed()
        failed = 0
        while True:
            with _listening() as said:
                try:
                    packet = next(packets, None)
                    failed = 0
                except (av.error.FFmpegError, OSError) as error:
                    self._lose(self._at, f"cannot be read: {_why(error)}")
                    failed += 1
                    if failed < TRIES:
                        packets = self._demuxed()
                        continue
                    packet = None
            if packet is None:
                break
            if packet.stream_index != self.stream.index:
                if packet.size and self._on_packet is not None:
                    self._on_packet(packet)
                continue
            if packet.size:
                self._packets += 1
                self._at = packet.pts if packet.pts is not None else self._at
            with _listening() as said:
                try:
                    frames = context.decode(packet if packet.size else None)
                except av.error.EOFError:
                    break
                except (av.error.FFmpegError, OSError) as error:
                    self._lose(self._at, f"cannot be decoded: {_why(error)}")
                    continue
            if said and not frames and packet.size:
                self._lose(self._at, f"damaged: {_first_line(said)}")
            elif said:
                self._lose(self._at, "damaged: it is as the decoder mended it")
            yield from frames
            if not packet.size:
                break

    def _demuxed(self) -> Iterator[Any]:
        """Packets of the film, or of all streams if somebody takes the others."""
        streams = [self.stream] if self._on_packet is None else list(self.container.streams)
        return self.container.demux(streams)

    def _check(self, frame: av.VideoFrame, facts: Facts) -> None:
        when = clock(float((frame.pts or 0) * self.time_base) - self.start)
        if frame.interlaced_frame and not self._deinterlace:
            raise PictureError(
                f"its frame at {when} is interlaced, two half images in one: --deinterlace makes "
                "whole frames first"
            )
        found = (frame.height, frame.width, Layout.of(frame.format.name))
        if found != (facts.height, facts.width, facts.layout):
            raise PictureError(
                f"its frames change at {when} from {facts.width}x{facts.height} "
                f"{facts.layout.name} to {frame.width}x{frame.height} {frame.format.name}: cut "
                "it there"
            )

    def _check_end(self, last: int | None) -> None:
        """Whether the clip ends before it says it does."""
        if last is None or self.facts.seconds is None:
            return
        begun = self.stream.start_time or 0
        end = float((last + self._step - begun) * self.time_base)
        whole = self.stream.frames
        short = self._packets < whole if whole else self.facts.seconds - end > _STOPPED
        if short:
            reason = f"missing: the file ends, and it says it lasts {clock(self.facts.seconds)}"
            start = end + float(begun * self.time_base) - self.start
            self.damages.append(Damage(start=start, end=self.facts.seconds, reason=reason))

    def _note(self, pts: int, reason: str) -> None:
        at = float(pts * self.time_base) - self.start
        self.damages.append(Damage(start=at, end=at, reason=reason))

    def _lose(self, pts: int, reason: str) -> None:
        start = float(pts * self.time_base)
        with suppress(AttributeError):  # none has been decoded yet
            start -= self.start
        self._lost.append(Damage(start=max(0.0, start), end=max(0.0, start), reason=reason))


def clock(seconds: float) -> str:
    """A time in a clip, for people.

    >>> clock(3725.04)
    '1:02:05.04'
    """
    hundredths = round(max(0.0, seconds) * 100)
    minutes, rest = divmod(hundredths, 6000)
    return f"{minutes // 60}:{minutes % 60:02}:{rest // 100:02}.{rest % 100:02}"


def _joined(damages: list[Damage]) -> list[Damage]:
    """By time; neighbours with one reason become one."""
    joined: list[Damage] = []
    for found in sorted(damages, key=lambda damage: damage.start):
        before = joined[-1] if joined else None
        if before and found.reason == before.reason and found.start - before.end < 1:
            joined[-1] = Damage(start=before.start, end=found.end, reason=found.reason)
        else:
            joined.append(found)
    return joined


@contextmanager
def _listening() -> Iterator[list[tuple[int, str, str]]]:
    """What FFmpeg says of errors in this thread."""
    av.logging.set_level(av.logging.ERROR)
    try:
        with av.logging.Capture() as said:
            yield said
    finally:
        av.logging.set_level(None)


def _is_cover(stream: Any) -> bool:
    """Whether a stream of one picture shows what is on the cover."""
    return bool(stream.disposition & av.stream.Disposition.attached_pic)


def _siting(codec: str, layout: Layout, matrix: int, start: bytes) -> Siting:
    """Where chroma lies, by a Y4M's header or the codec's standard; PyAV tells no more."""
    if start.startswith(Y4M):
        tag = next((w for w in start.split(b"\n")[0].split() if w.startswith(b"C")), b"C420")
        return CENTRE if tag in (b"C420", b"C420jpeg") else LEFT
    if codec in _CENTRED:
        return CENTRE
    return TOP_LEFT if matrix == BT2020 and layout.down == 2 else LEFT


def _first_bytes(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(LONGEST_START)


def _deinterlacer(stream: Any, frame: av.VideoFrame) -> av.filter.Graph:
    graph = av.filter.Graph()
    source = graph.add_buffer(
        width=frame.width,
        height=frame.height,
        format=frame.format,
        time_base=stream.time_base,
        name="in",
    )
    yadif = graph.add("bwdif", "mode=send_frame:parity=auto:deint=interlaced")
    sink = graph.add("buffersink")
    source.link_to(yadif)
    yadif.link_to(sink)
    graph.configure()
    return graph


def _pulled(graph: av.filter.Graph, time_base: Fraction) -> Iterator[av.VideoFrame]:
    """What a filter has ready, in ticks of the clip: its own are half as long."""
    while True:
        try:
            frame = graph.vpull()
        except (av.error.BlockingIOError, av.error.EOFError):
            return
        own = frame.time_base or time_base
        if frame.pts is not None:
            frame.pts = round(frame.pts * own / time_base)
        frame.duration = round(frame.duration * own / time_base)
        frame.time_base = time_base
        yield frame


def _tagged(metadata: dict[str, str]) -> float | None:
    """What Matroska's tag of a stream says of its length."""
    text = metadata.get("DURATION", "")
    with suppress(ValueError):
        hours, minutes, seconds = text.split(":")
        return 3600 * int(hours) + 60 * int(minutes) + float(seconds)
    return None


def _first_line(said: list[tuple[int, str, str]]) -> str:
    return " ".join(said[0][2].split())


def _why(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)


def _cannot(error: Exception) -> str:
    if isinstance(error, av.error.InvalidDataError):
        return "it is not a video that can be read here, or its index is missing or damaged"
    return f"it cannot be read: {_why(error)}"
