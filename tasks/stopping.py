"""What is done at once when a process is told to end, whatever its main thread is doing.

Python runs a handler between two instructions of the main thread, and so not while a library computes there, which may
take longer than is left. The interpreter's own handler, in C, writes the number of the signal into a file descriptor
at once (`signal.set_wakeup_fd`): a thread that reads there need not wait.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

# Eviction, deletion, scale-down; and Ctrl-C.
ENDING = frozenset({signal.SIGTERM, signal.SIGINT})
_LEAVE = b"\0"  # no signal has this number


@contextmanager
def at_once(act: Callable[[], None]) -> Iterator[None]:
    """While the block runs, a thread calls `act` when one of `ENDING` arrives that Python handles; at most once.

    What the handler does is left as it is. The block ends when the thread has: what it began is done then. Outside of
    the main thread, and where somebody else (an event loop) reads the signals already, nothing is done at once, and
    the handler's exception must do.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    before = signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    if before != -1:
        signal.set_wakeup_fd(before)
        os.close(reading)
        os.close(writing)
        yield
        return
    thread = threading.Thread(target=_wait, args=(reading, act), name="stopping", daemon=True)
    thread.start()
    try:
        yield
    finally:
        signal.set_wakeup_fd(-1)
        os.write(writing, _LEAVE)
        thread.join()
        os.close(reading)
        os.close(writing)


def _wait(reading: int, act: Callable[[], None]) -> None:
    while (number := os.read(reading, 1)) != _LEAVE:
        if number[0] in ENDING:
            act()
            return
