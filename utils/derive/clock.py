"""A time limit for code that has no cooperative way to stop.

The limit is on processor time, so that a busy machine proves what an idle one proves. In the main thread the
system's interval timer interrupts. Elsewhere (a worker thread, Pyodide) a profile hook
looks at the clock at every call: slower, but it needs neither signals nor threads.
"""

import signal
import sys
import threading
import time
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from .errors import TimeLimitError

__all__ = ["time_limit"]


@contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Raise `TimeLimitError` in the block once it has used the processor for `seconds`.

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

    def ring(_: int, frame: FrameType | None) -> None:
        if armed and not _swallows(frame):
            raise TimeLimitError

    outer = signal.signal(signal.SIGPROF, ring)
    started = time.process_time()
    # The timer rings again every half second: inside a destructor an exception would be swallowed.
    left, again = signal.setitimer(signal.ITIMER_PROF, seconds, 0.5)
    if left and left < seconds:  # an enclosing limit that ends earlier stays in force
        signal.setitimer(signal.ITIMER_PROF, left, 0.5)
    try:
        yield
    finally:
        armed = False
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, outer)
        if left:
            signal.setitimer(signal.ITIMER_PROF, max(left - (time.process_time() - started), 1e-3), again)


def _swallows(frame: FrameType | None) -> bool:
    """Whether the interrupted code is a destructor or the callback of a weak reference."""
    return frame is not None and (frame.f_code.co_name == "__del__" or frame.f_code.co_filename == weakref.__file__)


@contextmanager
def _by_profile(seconds: float) -> Iterator[None]:
    deadline = time.process_time() + seconds
    outer = sys.getprofile()

    def look(frame: object, event: str, argument: object) -> None:
        if time.process_time() > deadline:
            raise TimeLimitError
        if outer is not None:
            outer(frame, event, argument)

    sys.setprofile(look)
    try:
        yield
    finally:
        sys.setprofile(outer)
