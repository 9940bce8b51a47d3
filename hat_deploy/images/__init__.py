"""Image files to pixels and back, with nothing silently lost.

OpenCV decodes, and encodes all but TIFF. What it would do quietly is found out before or put
right after: headers are read here first, so that bombs, truncated files, depths that nothing
can hold and frames that nobody asked for are refused with a sentence and before any pixel is
decoded; and what it leaves out of a file (:mod:`.metadata`) is put in.

Not kept: what has no place in the target (each with a note, see :func:`write`), IPTC and
Photoshop's own data (with a note), other texts of a PNG, a JPEG's gain map, resolutions without
a unit, and the resolution in a WebP or an AVIF without EXIF. A camera's maker notes are kept,
but what points into them is lost on the way into or out of a TIFF. A JPEG that is damaged in its
middle but has an end decodes to whatever libjpeg makes of it, with a note where it shows.

Messages do not name the file: whoever lists failures does.
"""

from hat_deploy.images.alpha import Colour, bleed, over
from hat_deploy.images.decode import MAX_PIXELS, MAX_SIDE, decode, decode_bytes
from hat_deploy.images.encode import FORMATS, encode, require_holding, write
from hat_deploy.images.kinds import suffix_of
from hat_deploy.images.metadata import enlarged
from hat_deploy.images.picture import (
    Animation,
    Density,
    Metadata,
    Picture,
    Pixels,
    frames_of,
)
from hat_deploy.images.resize import shrink
from hat_deploy.images.scratch import blank, release

__all__ = [
    "FORMATS",
    "MAX_PIXELS",
    "MAX_SIDE",
    "Animation",
    "Colour",
    "Density",
    "Metadata",
    "Picture",
    "Pixels",
    "blank",
    "bleed",
    "decode",
    "decode_bytes",
    "encode",
    "enlarged",
    "frames_of",
    "over",
    "release",
    "require_holding",
    "shrink",
    "suffix_of",
    "write",
]
