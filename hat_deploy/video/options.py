"""How clips are written; loads no library."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from hat_deploy.errors import UsageError

_X26X_PRESETS = (
    *("ultrafast", "superfast", "veryfast", "faster", "fast", "medium"),
    *("slow", "slower", "veryslow", "placebo"),
)


@dataclass(frozen=True, kw_only=True)
class Codec:
    """What is known of a codec and its encoder without asking FFmpeg."""

    encoder: str
    """FFmpeg's name."""
    crf: int | None = None
    """The default of the quality scale, lower is better; None for codecs without one."""
    worst: int = 0
    """The end of that scale."""
    presets: tuple[str, ...] = ()
    preset: str | None = None
    """The default."""


CODECS = {
    "h264": Codec(encoder="libx264", crf=18, worst=51, presets=_X26X_PRESETS, preset="medium"),
    "h265": Codec(encoder="libx265", crf=20, worst=51, presets=_X26X_PRESETS, preset="medium"),
    "av1": Codec(
        encoder="libsvtav1", crf=24, worst=63, presets=tuple(map(str, range(14))), preset="8"
    ),
    "ffv1": Codec(encoder="ffv1"),
    "prores": Codec(encoder="prores_ks"),
}
"""By the names that users know."""
_ALIASES = {"x264": "h264", "avc": "h264", "x265": "h265", "hevc": "h265", "svt-av1": "av1"}
_HELD = {
    ".webm": ("av1",),
    ".mov": ("h264", "h265", "prores"),
    **dict.fromkeys((".mp4", ".m4v"), ("h264", "h265", "av1")),
    **dict.fromkeys((".ts", ".m2ts", ".mts"), ("h264", "h265")),
}
"""What some containers hold, the default first; .mkv holds all."""


@dataclass(frozen=True, kw_only=True)
class VideoOptions:
    """How the clips of a run are written.

    Raises:
        UsageError: a value is unknown, or the codec takes none.
    """

    codec: str | None = None
    """One of :data:`CODECS`; None for H.264, or H.265 for more than 8 bits, or what the container
    holds."""
    crf: int | None = None
    """Quality, lower is better; None for the codec's default."""
    preset: str | None = None
    """The encoder's trade of speed for size; None for its default."""
    pixel_format: str | None = None
    """FFmpeg's name; None for that of the clip, as far as the codec takes it."""
    deinterlace: bool = False
    """Make whole frames of interlaced ones."""
    reuse: bool = True
    """Compute identical frames that follow each other once."""

    def __post_init__(self) -> None:
        if self.codec is not None:
            name = self.codec.lower()
            object.__setattr__(self, "codec", _ALIASES.get(name, name))
            if self.codec not in CODECS:
                raise UsageError(f"unknown codec {name!r}: expected one of {', '.join(CODECS)}")
            self.check(self.codec)

    def check(self, codec: str) -> None:
        """Refuse quality and preset that a codec does not take.

        Raises:
            UsageError: it does not.
        """
        known = CODECS[codec]
        if self.crf is not None:
            if known.crf is None:
                raise UsageError(f"{codec} takes no --crf: leave it out")
            if not 0 <= self.crf <= known.worst:
                raise UsageError(
                    f"--crf is {self.crf}; for {codec} it goes from 0 to {known.worst}"
                )
        if self.preset is not None and self.preset not in known.presets:
            if not known.presets:
                raise UsageError(f"{codec} takes no --preset: leave it out")
            raise UsageError(f"--preset is {self.preset!r}; {codec} has {', '.join(known.presets)}")

    @property
    def settings(self) -> Mapping[str, Any]:
        """What decides how every clip comes out, as JSON types."""
        return {
            name: value
            for name, value in vars(self).items()
            if name != "reuse" and value not in (None, False)
        }

    def codec_for(self, suffix: str, bits: int) -> str:
        """The codec of a result.

        Args:
            suffix: of its name.
            bits: of a sample of the clip.

        Raises:
            UsageError: the container does not hold the codec that was asked for.
        """
        held = _HELD.get(suffix.lower(), tuple(CODECS))
        if self.codec is None:
            wanted = "h264" if bits == 8 else "h265"
            chosen = wanted if wanted in held else held[0]
        elif self.codec not in held:
            raise UsageError(
                f"{suffix} does not hold {self.codec}: expected {' or '.join(held)}, or .mkv"
            )
        else:
            chosen = self.codec
        self.check(chosen)
        return chosen
