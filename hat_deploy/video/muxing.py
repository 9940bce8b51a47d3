"""The result's file: encoded parts in their order, and every other stream packet by packet."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

from hat_deploy.errors import PictureError, needed_for
from hat_deploy.video import parts
from hat_deploy.video.encoding import Recipe, configure, told
from hat_deploy.video.names import CONTAINERS
from hat_deploy.video.options import CODECS
from hat_deploy.video.source import TRIES, Facts

with needed_for("Video"):
    import av
    import av.container
    import av.error
    import av.stream

_IN_TS = (
    *("aac", "aac_latm", "mp1", "mp2", "mp3", "ac3", "eac3", "dts", "truehd", "opus"),
    *("pcm_bluray", "pcm_s302m", "s302m", "dvb_subtitle", "dvb_teletext", "hdmv_pgs_subtitle"),
    *("mpeg1video", "mpeg2video", "mpeg4", "h264", "hevc"),
)
"""What readers of MPEG-TS know; FFmpeg refuses nothing there."""
_OF_THE_FILE = ("major_brand", "minor_version", "compatible_brands", "encoder")
"""Metadata that describe how a file was written, not what is in it."""
_OF_THE_STREAM = ("encoder", "duration", "number_of_frames", "number_of_bytes", "bps", "vendor_id")
"""The same of a stream, and figures that are no longer true."""


@dataclass(frozen=True, kw_only=True)
class Copied:
    """Which streams of a clip go into its result as they are, by their numbers."""

    streams: tuple[int, ...]
    notes: tuple[str, ...]
    """What is left out, and why."""


def wants_global_header(suffix: str) -> bool:
    """Whether a container keeps what decoders need first in its own header."""
    return CONTAINERS[suffix.lower()] != "mpegts"


def choose(source: Any, main: int, recipe: Recipe, suffix: str) -> Copied:
    """Find out what the result's container takes, before anything is computed.

    Args:
        source: an input container.
        main: number of its stream that is upscaled.

    Raises:
        PictureError: it does not take the result's video, or a stream that would be missed.
    """
    with told(recipe):
        _try(recipe, suffix, None)
    kept, notes = [], []
    for stream in source.streams:
        if stream.index == main or stream.discard == av.stream.Discard.all:
            continue
        if stream.type == "data" and "timecode" in stream.metadata:
            continue  # the container makes it anew, of the film's own metadata
        reason = _refused(recipe, suffix, stream)
        if reason is None:
            kept.append(stream.index)
            if stream.type == "video" and not _is_cover(stream):
                notes.append(f"its video stream {stream.index} is copied as it is")
        elif stream.type == "data" or stream.codec_context is None:
            notes.append(f"its {stream.type} stream {stream.index} has no place in {suffix}")
        else:
            raise PictureError(
                f"{suffix} cannot hold its {stream.type} in {_codec_of(stream)}: give the result "
                "the clip's own container, or .mkv, which holds most, with -o or --format"
            )
    return Copied(streams=tuple(kept), notes=tuple(notes))


def assemble(
    target: Path,
    clip: Path,
    files: Sequence[Path],
    recipe: Recipe,
    facts: Facts,
    copied: Sequence[int],
) -> tuple[str, ...]:
    """Write the result from its parts and from what is copied of the clip.

    Args:
        target: the file to write; its suffix decides the container.
        clip: the source.
        files: the parts, in order.
        copied: numbers of the streams that go into it as they are.

    Returns:
        Notes on what the container could not hold.

    Raises:
        PictureError: it cannot be written.
        OSError: the same, by the system's word.
    """
    try:
        with av.open(str(clip), "r", metadata_errors="replace") as source:
            with _writer(target, target.suffix, recipe) as out:
                _describe(out, source)
                others = {}
                for stream in source.streams:
                    if stream.index == facts.stream:
                        film = _add_film(out, recipe, facts, stream)
                    elif stream.index in copied:
                        others[stream.index] = _add_copy(out, stream)
                out.start_encoding()
                negative = out.format.name != "mpegts"
                frames = _film(files, recipe, film, negative=negative)
                for packet in _merged(frames, _copies(source, others)):
                    out.mux(packet)
            return _lost(source, target)
    except av.error.FFmpegError as error:
        if isinstance(error, OSError) and error.errno:
            raise OSError(error.errno, error.strerror, str(target)) from error
        raise PictureError(f"the result cannot be written: {error}") from error


def _lost(source: Any, target: Path) -> tuple[str, ...]:
    """Notes on metadata that the result's container did not take."""
    with av.open(str(target), "r", metadata_errors="replace") as result:
        there = {name.lower() for name in result.metadata}
        chapters = len(source.chapters()) - len(result.chapters())
    wanted = _kept(source.metadata, _OF_THE_FILE)
    notes = []
    if lost := [name for name in wanted if name.lower() not in there]:
        notes.append(f"{target.suffix} does not hold its metadata {', '.join(lost)}")
    if chapters > 0:
        notes.append(f"{target.suffix} does not hold its chapters")
    return tuple(notes)


def _writer(file: Any, suffix: str, recipe: Recipe) -> Any:
    form = CONTAINERS[suffix.lower()]
    options = {}
    if form in ("mp4", "mov"):
        if isinstance(file, Path):
            options["movflags"] = "+faststart"
        if recipe.time_base.numerator == 1:
            options["video_track_timescale"] = str(recipe.time_base.denominator)
    if form == "mpegts":
        options["mpegts_copyts"] = "1"
    out = av.open(
        str(file) if isinstance(file, Path) else file, "w", format=form, container_options=options
    )
    steady: Any = av.container.core.Flags.bitexact
    out.flags |= steady.value  # else Matroska has random numbers in it
    return out


def _add_film(out: Any, recipe: Recipe, facts: Facts | None, template: Any | None) -> Any:
    stream = out.add_stream(CODECS[recipe.codec].encoder, rate=recipe.rate)
    configure(stream.codec_context, recipe)
    stream.time_base = recipe.time_base
    stream.options.update(dict(recipe.options))
    if recipe.codec == "h265" and out.format.name in ("mp4", "mov"):
        stream.codec_context.codec_tag = "hvc1"  # what players of one maker ask for
    if facts is not None and facts.display is not None:
        stream.set_display_matrix(facts.display)
    if template is not None:
        stream.metadata.update(_kept(template.metadata, _OF_THE_STREAM))
        stream.disposition = template.disposition
    return stream


def _add_copy(out: Any, stream: Any) -> Any:
    copy = out.add_stream_from_template(stream, opaque=True)
    copy.metadata.update(_kept(stream.metadata, _OF_THE_STREAM))
    copy.disposition = stream.disposition
    return copy


def _describe(out: Any, source: Any) -> None:
    out.metadata.update(_kept(source.metadata, _OF_THE_FILE))
    chapters = source.chapters()
    if chapters:
        out.set_chapters(chapters)


def _kept(metadata: dict[str, str], without: tuple[str, ...]) -> dict[str, str]:
    return {name: value for name, value in metadata.items() if name.lower() not in without}


def _film(files: Sequence[Path], recipe: Recipe, stream: Any, *, negative: bool) -> Iterator[Any]:
    """The encoded frames with the times of decoding that their order asks for.

    Args:
        negative: whether the container holds times before 0; one that does not moves all streams.
    """
    shown = [parts.shown(file) for file in files]
    delay = max(map(_delay, shown))
    order = sorted(pts for part in shown for pts in part)
    step = order[1] - order[0] if len(order) > 1 else 1
    if not negative and 0 <= order[0] < step * delay:
        step = order[0] // delay
    times = [order[0] - step * (delay - at) for at in range(delay)] + order
    decoded = iter(times)
    for file in files:
        for part in parts.read(file):
            packet = av.Packet(part.data)
            packet.stream = stream
            packet.pts, packet.dts = part.pts, next(decoded)
            packet.time_base = recipe.time_base
            packet.duration = part.duration
            packet.is_keyframe = part.key
            yield packet


def _delay(shown: Sequence[int]) -> int:
    """How many frames of a part are decoded before one that is shown earlier, at most."""
    ranks = {pts: rank for rank, pts in enumerate(sorted(shown))}
    return max(at - ranks[pts] for at, pts in enumerate(shown))


def _copies(source: Any, others: dict[int, Any]) -> Iterator[Any]:
    wanted = [source.streams[at] for at in others if source.streams[at].type != "attachment"]
    if not wanted:
        return
    packets, failed = source.demux(wanted), 0
    while failed < TRIES:
        try:
            packet = next(packets, None)
        except (av.error.FFmpegError, OSError):  # told with the damages of the film
            packets, failed = source.demux(wanted), failed + 1
            continue
        if packet is None:
            return
        failed = 0
        if packet.size:
            packet.stream = others[packet.stream_index]
            yield packet


def _merged(film: Iterator[Any], others: Iterator[Any]) -> Iterator[Any]:
    """Both by their time, so that the writer has little to hold."""
    first, second = next(film, None), next(others, None)
    while first is not None or second is not None:
        if second is None or (first is not None and _time(first) <= _time(second)):
            yield first
            first = next(film, None)
        else:
            yield second
            second = next(others, None)


def _time(packet: Any) -> Fraction:
    ticks = packet.dts if packet.dts is not None else packet.pts
    return Fraction(0) if ticks is None else ticks * Fraction(packet.time_base)


def _codec_of(stream: Any) -> str:
    return str(stream.codec_context.codec.canonical_name)


def _refused(recipe: Recipe, suffix: str, stream: Any) -> str | None:
    """Why a container does not take a stream; None if it does."""
    form = CONTAINERS[suffix.lower()]
    if form == "mpegts" and stream.codec_context and _codec_of(stream) not in _IN_TS:
        return "FFmpeg would write it as data of an unknown kind"
    try:
        _try(recipe, suffix, stream)
    except (av.error.FFmpegError, ValueError, OSError) as error:
        return str(error)
    return None


def _try(recipe: Recipe, suffix: str, stream: Any | None) -> None:
    """Write a header with the film, and a stream beside it, into the memory."""
    out = _writer(io.BytesIO(), suffix, recipe)
    try:
        _add_film(out, recipe, None, None)
        if stream is not None:
            _add_copy(out, stream)
        out.start_encoding()
    finally:
        out.close()


def _is_cover(stream: Any) -> bool:
    return bool(stream.disposition & av.stream.Disposition.attached_pic)
