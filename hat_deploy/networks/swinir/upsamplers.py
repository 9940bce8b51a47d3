"""The forms that a SwinIR comes in: how it reconstructs an image, and how it closes its groups."""

from __future__ import annotations

from enum import Enum


class Upsampler(str, Enum):  # noqa: UP042 - StrEnum is newer than Python 3.10
    """How features become an image; as text it is its name."""

    PIXEL_SHUFFLE = "pixelshuffle"
    """Classical: convolutions and pixel shuffles, one after another."""
    DIRECT = "pixelshuffledirect"
    """Lightweight: one convolution and one pixel shuffle."""
    NEAREST = "nearest+conv"
    """Real world: doubled by repetition, with convolutions between."""
    NONE = "none"
    """Denoising and JPEG artefacts: a convolution whose result is added to the input."""

    __str__ = str.__str__
    __format__ = str.__format__  # type: ignore[assignment]

    @property
    def scales(self) -> tuple[int, ...]:
        """The upscaling factors that it can have."""
        return {
            Upsampler.PIXEL_SHUFFLE: (1, 2, 3, 4, 8, 16),
            Upsampler.DIRECT: (1, 2, 3, 4, 8, 16),
            Upsampler.NEAREST: (2, 4),
            Upsampler.NONE: (1,),
        }[self]

    @property
    def has_channels(self) -> bool:
        """Whether it has features of its own, of another width than the body's."""
        return self in (Upsampler.PIXEL_SHUFFLE, Upsampler.NEAREST)

    def modules(self, scale: int) -> tuple[tuple[str, int], ...]:
        """Its modules in the order data meets them, with the number of convolutions in each."""
        if self is Upsampler.PIXEL_SHUFFLE:
            stages = 1 if scale == 3 else scale.bit_length() - 1
            return (("conv_before_upsample", 1), ("upsample", stages), ("conv_last", 1))
        if self is Upsampler.NEAREST:
            doublings = ("conv_up1", "conv_up2")[: scale // 2]
            names = ("conv_before_upsample", *doublings, "conv_hr", "conv_last")
            return tuple((name, 1) for name in names)
        return (("upsample" if self is Upsampler.DIRECT else "conv_last", 1),)


class Closing(str, Enum):  # noqa: UP042 - StrEnum is newer than Python 3.10
    """The convolutions at the end of each RSTB and of the body; as text it is its name."""

    ONE = "1conv"
    """One of 3x3."""
    THREE = "3conv"
    """3x3 to a quarter of the channels, 1x1, and 3x3 back."""

    __str__ = str.__str__
    __format__ = str.__format__  # type: ignore[assignment]
