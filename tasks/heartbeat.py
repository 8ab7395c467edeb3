"""A sign of life: a file that is touched as long as models do something, for whoever ends processes that hang.

A process has one, whatever threads work in it. It is touched when models begin to load and when they are, after each
batch that a model has worked on, and after each call; never by what runs beside the models, which goes on for a while
when they hang.
"""

from __future__ import annotations

import time
from contextlib import suppress
from pathlib import Path

# More often than that, nobody looks.
LEAST_S = 1.0


class Heartbeat:
    """When this process last did something, and the file that shows it."""

    def __init__(self) -> None:
        self._file: Path | None = None
        self._last = time.monotonic()
        self._touched: float | None = None

    @property
    def silent_s(self) -> float:
        """Seconds since the last sign of life."""
        return time.monotonic() - self._last

    def shown_in(self, file: Path | None) -> None:
        """Touch this file from now on, and at once; none where that is None."""
        self._file, self._touched = file, None
        self.beat()

    def beat(self) -> None:
        """Give a sign of life. A file that cannot be written ends no job: whoever looks at it will."""
        self._last = time.monotonic()
        if self._file is None or (self._touched is not None and self._last - self._touched < LEAST_S):
            return
        self._touched = self._last
        with suppress(OSError):
            self._file.touch()


HEART = Heartbeat()
"""That of this process."""
