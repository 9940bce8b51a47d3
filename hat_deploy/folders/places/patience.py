"""What a store may fail at for a moment, and for how long it is asked again."""

from __future__ import annotations

import errno
import random
import time
from collections.abc import Callable, Iterator
from http.client import IncompleteRead
from typing import Any, TypeVar

_T = TypeVar("_T")

ATTEMPTS = 9
FIRST_PAUSE = 0.2
"""Seconds; each pause is twice the one before, by half of it at random, 40 seconds in all."""
LONGEST_PAUSE = 15.0
_BUSY = {408, 425, 429, 500, 502, 503, 504}
"""HTTP statuses that say "later"."""
_BUSY_CODES = {"SlowDown", "Throttling", "RequestTimeout", "InternalError", "ServiceUnavailable"}
_LATER = {errno.EBUSY, errno.EAGAIN, getattr(errno, "EREMOTEIO", errno.EIO), errno.ECONNRESET}
_NETWORK = (
    "ClientConnectionError",
    "ClientPayloadError",
    "EndpointConnectionError",
    "HTTPClientError",
    "IncompleteReadError",
    "ResponseParserError",
    "ServiceRequestError",
    "ServiceResponseError",
    "TransportError",
)
"""Classes, of several libraries, for a connection that failed."""


def patiently(
    call: Callable[[], _T],
    attempts: int = ATTEMPTS,
    pause: Callable[[float], object] = time.sleep,
) -> _T:
    """The result of a call that is made again as long as its failure is :func:`transient`.

    Args:
        attempts: at most.
        pause: waits for so many seconds.

    Raises:
        Exception: that of the last attempt, or the first that is not transient.
    """
    for attempt in range(attempts - 1):
        try:
            return call()
        except Exception as error:
            if not transient(error):
                raise
        pause(min(LONGEST_PAUSE, FIRST_PAUSE * 2**attempt) * random.uniform(0.5, 1.0))
    return call()


def transient(error: BaseException) -> bool:
    """Whether a failure may be gone soon: throttling, an overloaded server, a broken connection."""
    for one in causes(error):
        status = _status(one)
        if status is not None:
            return status in _BUSY
        if isinstance(one, (ConnectionError, TimeoutError, IncompleteRead)):
            return True
        if isinstance(one, OSError) and one.errno in _LATER:
            return True
        if any(base.__name__ in _NETWORK for base in type(one).__mro__):
            return True
    return False


def causes(error: BaseException) -> Iterator[BaseException]:
    """An error and what it was raised from: libraries wrap those of others."""
    found: BaseException | None = error
    while found is not None:
        yield found
        found = found.__cause__


def _status(error: BaseException) -> int | None:
    """The HTTP status that an error carries, whichever library it is of."""
    answer: Any = getattr(error, "response", None)
    if isinstance(answer, dict):  # botocore
        if answer.get("Error", {}).get("Code") in _BUSY_CODES:
            return 503
        status = answer.get("ResponseMetadata", {}).get("HTTPStatusCode")
        return status if isinstance(status, int) else None
    for name in ("status", "status_code", "code"):
        status = getattr(error, name, None)
        if isinstance(status, int) and 100 <= status < 600:
            return status
    return None
