"""Encoders, set so that a part comes out the same on every machine with the same FFmpeg."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

from hat_deploy.errors import PictureError, UsageError, needed_for
from hat_deploy.video.colour import RGB, UNSPECIFIED, Colour, matrix_of
from hat_deploy.video.hdr import Hdr
from hat_deploy.video.layout import Layout, Plane, frame_of
from hat_deploy.video.options import CODECS, VideoOptions
from hat_deploy.video.source import Facts

with needed_for("Video"):
    import av
    import av.codec
    import av.error

_FIXED = {
    "h264": {"g": "250", "threads": "1"},
    "h265": {"g": "250", "threads": "1"},
    "av1": {"g": "250"},
    "ffv1": {"level": "3", "g": "1", "slices": "4", "slicecrc": "1", "threads": "1"},
    "prores": {"vendor": "apl0", "threads": "1"},
}
"""Options that make a result independent of the machine's cores: the number of threads decides
how x264 and x265 split their work, and so what they write."""
_PARAMETERS = {
    # With AVX-512, x264 of its own accord writes other bytes in each run.
    "h264": ("x264-params", {"open-gop": "0", "cpu-independent": "1"}),
    "h265": (
        "x265-params",
        {"log-level": "none", "pools": "none", "frame-threads": "1", "open-gop": "0"},
    ),
    "av1": ("svtav1-params", {"lp": "1"}),
}
"""The option that an encoder's own parameters go into, and what is fixed in it."""
_ONE_BLOCK = 64
"""Width of x265's blocks. Where one is as wide as the frame, other bytes come in each run."""
_MASTERS = ("ffv1", "prores")
"""Codecs that keep transparency, and RGB and gray as they are where they hold them."""
_PACKED = {"gbrp": "bgr0", "gbrap": "bgra"}
"""What FFV1 calls RGB of 8 bits."""


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """All that decides how frames are encoded."""

    codec: str
    """One of :data:`hat_deploy.video.options.CODECS`."""
    height: int
    width: int
    layout: Layout
    pixel_format: str
    """The encoder's name of it."""
    colour: Colour
    aspect: Fraction
    time_base: Fraction
    rate: Fraction
    options: tuple[tuple[str, str], ...]
    """Of the encoder."""
    global_header: bool
    """Whether the container wants what decoders need first in its own header."""

    @property
    def carries_hdr(self) -> bool:
        """Whether the encoder writes HDR10's metadata."""
        return self.codec in _PARAMETERS

    @property
    def settings(self) -> dict[str, Any]:
        """It and the libraries at work, as JSON types: what decides the bytes of a part."""
        return {
            "codec": self.codec,
            "size": [self.height, self.width],
            "pixel_format": self.pixel_format,
            "colour": [self.colour.matrix, self.colour.full, self.colour.primaries],
            "transfer": self.colour.transfer,
            "siting": [self.colour.siting.across, self.colour.siting.down],
            "timing": [str(value) for value in (self.aspect, self.time_base, self.rate)],
            "options": dict(self.options),
            "global_header": self.global_header,
            "libraries": {
                name: ".".join(map(str, version)) for name, version in av.library_versions.items()
            },
        }


def recipe_for(
    facts: Facts,
    size: tuple[int, int],
    suffix: str,
    options: VideoOptions,
    *,
    global_header: bool,
    opaque: bool = False,
    rounded: bool = False,
) -> Recipe:
    """How a result is encoded.

    Args:
        facts: of the clip.
        size: height and width of the result.
        suffix: of its name.
        opaque: whether transparency may be given up.
        rounded: whether a side may be a sample shorter, where chroma asks for it.

    Raises:
        UsageError: the options do not fit each other or the container.
        PictureError: this FFmpeg has no such encoder, or the size has no place in the format.
    """
    codec = options.codec_for(suffix, facts.layout.bits)
    require_encoder(codec)
    source = facts.layout.opaque if opaque else facts.layout
    layout, name = _format_for(codec, source, options.pixel_format)
    size = _whole_chroma(codec, layout, size, rounded=rounded)
    colour = facts.colour
    if (layout.kind == "rgb") != (facts.layout.kind == "rgb"):
        colour = _changed(colour, layout, size[0])
    return Recipe(
        codec=codec,
        height=size[0],
        width=size[1],
        layout=layout,
        pixel_format=name,
        colour=colour,
        aspect=facts.aspect,
        time_base=facts.time_base,
        rate=facts.rate,
        options=tuple(sorted(_options(codec, size[1], layout, facts.hdr, options).items())),
        global_header=global_header,
    )


def raw_recipe(
    facts: Facts, size: tuple[int, int], options: VideoOptions, *, opaque: bool
) -> Recipe:
    """How frames are laid out that are not encoded.

    Args:
        opaque: whether transparency may be given up.

    Raises:
        PictureError: the pixel format that was asked for is not planar, or unknown.
    """
    layout = facts.layout.opaque if opaque else facts.layout
    if options.pixel_format is not None:
        layout = Layout.of(options.pixel_format)
    colour = facts.colour
    if (layout.kind == "rgb") != (facts.layout.kind == "rgb"):
        colour = _changed(colour, layout, size[0])
    return Recipe(
        codec="raw",
        height=size[0],
        width=size[1],
        layout=layout,
        pixel_format=layout.name,
        colour=colour,
        aspect=facts.aspect,
        time_base=facts.time_base,
        rate=facts.rate,
        options=(),
        global_header=False,
    )


def require_encoder(codec: str) -> None:
    """Refuse a codec that this FFmpeg cannot write.

    Raises:
        PictureError: its encoder was not built into it.
    """
    encoder = CODECS[codec].encoder
    if encoder not in av.codec.codecs_available:
        known = [name for name, c in CODECS.items() if c.encoder in av.codec.codecs_available]
        raise PictureError(
            f"{codec} cannot be written: PyAV's FFmpeg was built without {encoder}; it has "
            f"{', '.join(known)}"
        )


def configure(context: Any, recipe: Recipe) -> None:
    """Set an encoder's context that is not open yet."""
    context.width, context.height = recipe.width, recipe.height
    context.pix_fmt = recipe.pixel_format
    context.time_base = recipe.time_base
    context.framerate = recipe.rate
    if recipe.aspect:
        context.sample_aspect_ratio = recipe.aspect
    context.color_range = 2 if recipe.colour.full else 1
    context.colorspace = recipe.colour.matrix
    context.color_primaries = recipe.colour.primaries
    context.color_trc = recipe.colour.transfer
    if recipe.global_header:
        context.flags |= av.codec.context.Flags.global_header
    context.options = dict(recipe.options)


class Encoder:
    """Encodes one part: its first frame is a key frame, and nothing refers beyond its ends.

    Raises:
        PictureError: the encoder does not take these settings.
    """

    def __init__(self, recipe: Recipe) -> None:
        self._recipe = recipe
        self._context: Any = av.CodecContext.create(CODECS[recipe.codec].encoder, "w")
        configure(self._context, recipe)
        with told(recipe):
            self._context.open()

    def encode(self, planes: Sequence[Plane], pts: int) -> Iterator[av.Packet[Any]]:
        """Take a frame; gives what is ready.

        Args:
            planes: in the recipe's layout.
            pts: in its ticks; larger than that of the frame before.
        """
        frame = frame_of(tuple(planes), self._recipe.layout)
        if frame.format.name != self._recipe.pixel_format:  # packed RGB of 8 bits
            frame = frame.reformat(format=self._recipe.pixel_format)
        frame.pts, frame.time_base = pts, self._recipe.time_base
        colour = self._recipe.colour
        frame.color_range, frame.colorspace = 2 if colour.full else 1, colour.matrix
        frame.color_primaries, frame.color_trc = colour.primaries, colour.transfer
        yield from self._context.encode(frame)

    def finish(self) -> Iterator[av.Packet[Any]]:
        """What is left."""
        yield from self._context.encode(None)


@contextmanager
def told(recipe: Recipe) -> Iterator[None]:
    """Around the opening of an encoder.

    Raises:
        PictureError: it failed.
    """
    try:
        yield
    except (av.error.FFmpegError, ValueError) as error:
        raise PictureError(
            f"{CODECS[recipe.codec].encoder} does not take {recipe.width}x{recipe.height} "
            f"{recipe.pixel_format} with these options: {error}"
        ) from error


def _options(
    codec: str, width: int, layout: Layout, hdr: Hdr, asked: VideoOptions
) -> dict[str, str]:
    known = CODECS[codec]
    options = dict(_FIXED[codec])
    if known.crf is not None:
        options["crf"] = str(known.crf if asked.crf is None else asked.crf)
    if known.preset is not None:
        options["preset"] = asked.preset or known.preset
    if codec == "prores":
        options["profile"] = "3" if layout.across == 2 else "4"
    if codec in _PARAMETERS:
        name, fixed = _PARAMETERS[codec]
        parameters = fixed | hdr.options(codec)
        if codec == "h265" and width <= _ONE_BLOCK:
            parameters["ctu"] = "16"
        options[name] = ":".join(f"{key}={value}" for key, value in parameters.items())
    return options


def _format_for(codec: str, source: Layout, asked: str | None) -> tuple[Layout, str]:
    """The layout of a result, and the encoder's name of it.

    Raises:
        UsageError: the encoder does not take what was asked for.
        PictureError: it holds no transparency, and the clip has some.
    """
    held = _held_by(codec)
    if asked is not None:
        name = _PACKED.get(asked, asked) if codec == "ffv1" else asked
        if name not in held:
            raise UsageError(f"--pixel-format {asked}: {codec} takes {', '.join(held)}")
        return held[name], name
    if codec not in _MASTERS:  # what players show
        held = {name: form for name, form in held.items() if form.kind == "yuv"}
    if source.alpha and not any(form.alpha for form in held.values()):
        raise PictureError(
            f"it has transparency, which {codec} cannot hold: use --codec prores in .mov, --codec "
            "ffv1 in .mkv, or lay it over a colour with --background"
        )
    name = min(held, key=lambda name: _distance(source, held[name]))
    return held[name], name


def _held_by(codec: str) -> dict[str, Layout]:
    """What an encoder takes of what can be written here."""
    held = {}
    for form in av.Codec(CODECS[codec].encoder, "w").video_formats or ():
        with suppress(PictureError):
            layout = Layout.of(form.name)
            plain = form.name == layout.name or form.name in _PACKED.values()
            if plain and (codec in _MASTERS or not layout.alpha):
                held[form.name] = layout
    return held


def _distance(source: Layout, form: Layout) -> tuple[int, ...]:
    """How much is lost, then how much is added, where a layout becomes another."""
    kept = (
        source.alpha > form.alpha,
        source.kind != "gray" and form.kind == "gray",
        max(0, source.bits - form.bits),
        source.kind == "rgb" != form.kind,
        max(0, form.across - source.across) + max(0, form.down - source.down),
    )
    added = (
        form.alpha > source.alpha,
        form.kind != source.kind,
        form.bits - source.bits,
        abs(source.across - form.across) + abs(source.down - form.down),
    )
    return (*map(int, kept), *map(int, added))


def _whole_chroma(
    codec: str, layout: Layout, size: tuple[int, int], *, rounded: bool
) -> tuple[int, int]:
    """A size in which every chroma sample stands for as many luma samples.

    Raises:
        PictureError: the size has none, and may not be changed.
    """
    height, width = size
    whole = height - height % layout.down, width - width % layout.across
    if codec == "ffv1" or whole == size:
        return size
    if rounded and min(whole) > 0:
        return whole
    raise PictureError(
        f"its result has {width}x{height} pixels, and {layout.name} in {codec} needs even sides: "
        "choose another size, as with --width, or --codec ffv1"
    )


def _changed(colour: Colour, layout: Layout, height: int) -> Colour:
    """The colour of a result that is RGB where the clip is not, or the other way."""
    if layout.kind == "rgb":
        return replace(colour, matrix=RGB, full=True)
    return replace(colour, matrix=matrix_of(UNSPECIFIED, layout, height), full=False)
