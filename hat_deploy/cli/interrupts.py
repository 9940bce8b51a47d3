"""Ctrl-C and SIGTERM: one line and exit code 130 or 143, whatever the program is doing.

Python raises KeyboardInterrupt wherever the main thread happens to be. In a callback or a
``__del__`` it is printed and forgotten, libraries turn it into errors of their own, and some
catch it. So it is raised again until the command has ended, except while something cleans up
after it, and the command's own end does not matter then. A second signal ends the process at
once, even while a library computes and the main thread does not see signals.
"""

from __future__ import annotations

import os
import select
import signal
import sys
import threading
from contextlib import suppress
from types import FrameType
from typing import Any, NoReturn

ANSWERED = (signal.SIGINT, signal.SIGTERM)
AGAIN_AFTER = 0.5
"""Seconds after which an interrupt that did not end the command is raised once more."""

_SAID = b"interrupted\n"
_CURSOR = b"\x1b[?25h"
"""Shows the cursor, which a progress display hides."""


class _State:
    """What became of this process's interrupts."""

    seen = False
    finished = False
    count = 0
    """How many signals came, whether or not the main thread knows of them yet."""
    signal = signal.SIGINT
    """The one that came first; the exit code is 128 and its number."""
    watched = False
    said = False


_LEAVING = threading.RLock()
"""Held by the thread that ends the process; a second one waits here for that end."""


def install() -> None:
    """Answer both from now on; one that is ignored, as Ctrl-C under ``nohup``, stays so."""
    _State.seen = _State.finished = False
    _State.count = 0
    heard = [one for one in ANSWERED if signal.getsignal(one) is not signal.SIG_IGN]
    if not heard or threading.current_thread() is not threading.main_thread():
        return
    for one in heard:
        signal.signal(one, _interrupt)
    sys.unraisablehook = _unraisable
    if hasattr(signal, "pthread_kill"):
        signal.signal(signal.SIGALRM, _again)
        if not _State.watched:
            _State.watched = True
            threading.Thread(target=_watch, args=(_arrivals(),), daemon=True).start()


def _arrivals() -> int:
    """A descriptor that gives a byte, its number, for each signal as soon as it comes."""
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    return reading


def _watch(arrivals: int) -> None:
    """Count interrupts; after the first, wake the main thread until the command has ended.

    It may not know of the first one yet: one that comes just before it begins to wait for a lock
    is seen only when the wait is over.
    """
    main = threading.main_thread().ident
    assert main is not None
    while True:
        patience = AGAIN_AFTER if _State.count else None
        ready, _, _ = select.select([arrivals], [], [], patience)
        if not ready:
            signal.pthread_kill(main, signal.SIGALRM)
        elif os.read(arrivals, 1)[0] in ANSWERED:
            _State.count += 1
            if _State.count > 1:
                _leave()


def seen() -> bool:
    """Whether Ctrl-C was pressed, or a SIGTERM came."""
    return _State.seen


def finish() -> None:
    """End the process here and now if it was interrupted; else a later Ctrl-C will do that."""
    _State.finished = True
    if _State.seen:
        _leave()


def _interrupt(signum: int, frame: FrameType | None) -> None:
    if _State.seen or _State.finished:
        _leave()
    _State.seen = True
    _State.signal = signal.Signals(signum)
    raise KeyboardInterrupt


def _again(signum: int, frame: FrameType | None) -> None:
    """Raise it once more if it got lost; what cleans up because of it goes on."""
    if not _State.seen or _State.finished:
        return
    error = sys.exception()
    while error is not None:
        if isinstance(error, KeyboardInterrupt):
            return
        error = error.__context__
    raise KeyboardInterrupt


def _leave() -> NoReturn:
    """End without a look back: what half-imported libraries do at exit is not to be seen."""
    with _LEAVING:
        if not _State.said:
            _State.said = True
            _say()
        os._exit(128 + _State.signal)


def _say() -> None:
    """Write the one line; the main thread first writes what it still holds back."""
    if threading.current_thread() is threading.main_thread():
        for stream in (sys.stdout, sys.stderr):
            with suppress(Exception):
                stream.flush()
    with suppress(Exception):
        terminal = sys.stderr.isatty()
        os.write(sys.stderr.fileno(), (_CURSOR if terminal else b"") + _SAID)


def _unraisable(unraisable: Any) -> None:
    """Say nothing of an interrupt that came where none can be raised: it is raised again."""
    if not _State.seen:
        sys.__unraisablehook__(unraisable)
