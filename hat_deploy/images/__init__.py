"""Picture files to pixels and back, with nothing silently lost.

OpenCV decodes and encodes. What it would do quietly is found out before or put right after:
headers are read here first, so that bombs, animations, truncated files and depths that
nothing can hold are refused with a sentence and before any pixel is decoded.

Not kept yet: EXIF in TIFF files (colour profile and XMP are), all metadata in BMP files, the
resolution, and PNG's own gamma and chromaticities. An EXIF thumbnail is kept as it was. A
JPEG that is damaged in its middle but has an end decodes to whatever libjpeg makes of it.

Messages do not name the file: whoever lists failures does.
"""

from hat_deploy.images.decode import MAX_PIXELS, MAX_SIDE, decode, decode_bytes
from hat_deploy.images.encode import FORMATS, encode, write
from hat_deploy.images.picture import Metadata, Picture, Pixels

__all__ = [
    "FORMATS",
    "MAX_PIXELS",
    "MAX_SIDE",
    "Metadata",
    "Picture",
    "Pixels",
    "decode",
    "decode_bytes",
    "encode",
    "write",
]
