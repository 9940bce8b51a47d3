"""Decodes damaged files one after the other; how it ends is what is tested.

Its arguments: format, first number, number after the last, seconds a file may take, MiB that the
process may grow by. The number of each file is written to standard output before it is
decoded, so that whoever started this knows which one ended it; the last line is "done".
"""

from __future__ import annotations

import io
import resource
import signal
import sys
import warnings
from dataclasses import replace
from pathlib import Path

import mutations
from peak import peak
from PIL import Image

from hat_deploy.errors import PictureError
from hat_deploy.images import Picture, decode_bytes, encode, enlarged

MOST_PIXELS = 10**6


def main(form: str, first: int, last: int, seconds: float, growth: int) -> None:
    files = mutations.seeds(form)
    for data in files:
        decode_bytes(data, animations=True)
    _limit_memory(growth)
    limit = peak() + growth
    for number in range(first, last):
        print(number, flush=True)
        signal.setitimer(signal.ITIMER_REAL, seconds)  # its signal ends the process
        _decode(mutations.case(form, number, files), sound=form == "exif")
        if peak() > limit:
            raise SystemExit(f"grew by over {growth >> 20} MiB")
    print("done", flush=True)


def _decode(data: bytes, *, sound: bool) -> None:
    """Decode a damaged file; one that is sound but for its EXIF has to become a picture."""
    try:
        picture = decode_bytes(data, max_pixels=MOST_PIXELS, animations=True)
    except PictureError as error:
        assert not sound, error
        message = str(error)
        assert "\n" not in message, message
        assert "memory" not in message.lower(), message
    else:
        assert picture.pixels.size <= 4 * MOST_PIXELS
        if sound:
            _check_results(picture)


def _check_results(picture: Picture) -> None:
    """What is written of damaged EXIF must be EXIF to others: whole directories, upright."""
    height, width = picture.pixels.shape[:2]
    metadata = enlarged(picture.metadata, scale=2, size=(2 * height, 2 * width))
    for suffix in (".png", ".jpg", ".webp", ".tif"):
        data = encode(replace(picture, metadata=metadata), suffix)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            # A value that its file does not hold is the source's; readers pass it over.
            warnings.filterwarnings("ignore", "Possibly corrupt EXIF data")
            warnings.filterwarnings("ignore", "Tag data larger than file")
            warnings.filterwarnings("ignore", "Metadata Warning, tag .* had too many entries")
            tags = Image.open(io.BytesIO(data)).getexif()
            assert tags.get(274, 1) == 1, tags[274]
            inner = [tags.get_ifd(pointer) for pointer in (34665, 34853, 40965, 1)]
        assert not inner[3], "a thumbnail's directory is left"


def _limit_memory(growth: int) -> None:
    """Address space may grow by four times as much as memory: more is reserved than used."""
    if sys.platform != "linux":
        return
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + 4 * growth
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:4]), float(sys.argv[4]), int(sys.argv[5]) << 20)
