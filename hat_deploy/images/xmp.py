"""What an XMP packet says of the pixels, brought in line with them.

A packet is RDF in XML, in which a property may be an attribute or an element and a prefix may be
any name. Tools write ``tiff:`` and ``exif:``; those are found by pattern and the rest of the
packet stays as it is, byte for byte, which no parse and rewrite of XML would manage.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from fractions import Fraction


def upright_xmp(xmp: bytes) -> bytes:
    """The packet with its orientation set to 1 and without thumbnails."""
    xmp = _without(xmp, b"xmp:Thumbnails")
    return _set(xmp, b"tiff:Orientation", lambda value: b"1")


def resized_xmp(xmp: bytes, *, size: tuple[int, int], scale: Fraction) -> bytes:
    """The packet with the dimensions it states set, and the resolution it states multiplied.

    Args:
        xmp: any packet.
        size: height and width of the image it will describe.
        scale: how many pixels there are now where there was one.
    """
    height, width = (str(side).encode() for side in size)
    xmp = _set(xmp, b"(?:tiff:ImageWidth|exif:PixelXDimension)", lambda value: width)
    xmp = _set(xmp, b"(?:tiff:ImageLength|exif:PixelYDimension)", lambda value: height)
    return _set(xmp, b"tiff:[XY]Resolution", lambda value: _times(value, scale))


def _without(xmp: bytes, name: bytes) -> bytes:
    """The packet without the elements of a name, which do not nest."""
    opening, closing = b"<" + name + b">", b"</" + name + b">"
    kept, at = [], 0
    while (start := xmp.find(opening, at)) >= 0 and (end := xmp.find(closing, start)) >= 0:
        kept.append(xmp[at:start])
        at = end + len(closing)
    return b"".join(kept) + xmp[at:]


def _set(xmp: bytes, name: bytes, change: Callable[[bytes], bytes]) -> bytes:
    """Change the numbers that a property has, as an attribute or as an element."""
    form = rb"(%s\s*=\s*[\"']|<%s>\s*)(\d{1,10}(?:/\d{1,10})?)(?=\s*[\"'<])" % (name, name)
    return re.sub(form, lambda found: found[1] + change(found[2]), xmp)


def _times(value: bytes, scale: Fraction) -> bytes:
    above, _, below = value.partition(b"/")
    if below and not int(below):
        return value
    result = Fraction(int(above), int(below or 1)) * scale
    return f"{result.numerator}/{result.denominator}".encode()
