"""A time limit for code that has no cooperative way to stop.

In the main thread the system's interval timer interrupts. Elsewhere (a worker thread, Pyodide) a profile hook
looks at the clock at every call: slower, but it needs neither signals nor threads.
"""

import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from .errors import TimeLimitError

__all__ = ["time_limit"]


@contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Raise `TimeLimitError` in the block once it has run for `seconds`.

    >>> with time_limit(1.0):
    ...     2 + 2
    4
    """
    can_signal = hasattr(signal, "setitimer") and threading.current_thread() is threading.main_thread()
    with _by_signal(seconds) if can_signal else _by_profile(seconds):
        yield


@contextmanager
def _by_signal(seconds: float) -> Iterator[None]:
    armed = True

    def ring(*_: object) -> None:
        if armed:
            raise TimeLimitError

    outer = signal.signal(signal.SIGALRM, ring)
    started = time.monotonic()
    # The timer rings again every half second: an exception raised inside a destructor is swallowed there.
    left, again = signal.setitimer(signal.ITIMER_REAL, seconds, 0.5)
    if left and left < seconds:  # an enclosing limit that ends earlier stays in force
        signal.setitimer(signal.ITIMER_REAL, left, 0.5)
    try:
        yield
    finally:
        armed = False
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, outer)
        if left:
            signal.setitimer(signal.ITIMER_REAL, max(left - (time.monotonic() - started), 1e-3), again)


@contextmanager
def _by_profile(seconds: float) -> Iterator[None]:
    deadline = time.monotonic() + seconds
    outer = sys.getprofile()

    def look(frame: object, event: str, argument: object) -> None:
        if time.monotonic() > deadline:
            raise TimeLimitError
        if outer is not None:
            outer(frame, event, argument)

    sys.setprofile(look)
    try:
        yield
    finally:
        sys.setprofile(outer)
