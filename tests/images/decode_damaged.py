"""Decodes damaged files one after the other; how it ends is what is tested.

Its arguments: format, first number, number after the last, seconds a file may take, MiB that the
process may grow by. The number of each file is written to standard output before it is
decoded, so that whoever started this knows which one ended it; the last line is "done".
"""

from __future__ import annotations

import resource
import signal
import sys
from pathlib import Path

import mutations
from peak import peak

from hat_deploy.errors import PictureError
from hat_deploy.images import decode_bytes

MOST_PIXELS = 10**6


def main(form: str, first: int, last: int, seconds: float, growth: int) -> None:
    files = mutations.seeds(form)
    for data in files:
        decode_bytes(data)
    _limit_memory(growth)
    limit = peak() + growth
    for number in range(first, last):
        print(number, flush=True)
        signal.setitimer(signal.ITIMER_REAL, seconds)  # its signal ends the process
        _decode(mutations.case(form, number, files))
        if peak() > limit:
            raise SystemExit(f"grew by over {growth >> 20} MiB")
    print("done", flush=True)


def _decode(data: bytes) -> None:
    try:
        picture = decode_bytes(data, max_pixels=MOST_PIXELS)
    except PictureError as error:
        message = str(error)
        assert "\n" not in message, message
        assert "memory" not in message.lower(), message
    else:
        assert picture.pixels.size <= 4 * MOST_PIXELS


def _limit_memory(growth: int) -> None:
    """Address space may grow by four times as much as memory: more is reserved than used."""
    if sys.platform != "linux":
        return
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + 4 * growth
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:4]), float(sys.argv[4]), int(sys.argv[5]) << 20)
