"""Spectra ahead of the model: worker threads read and transform the next chunks while the model works on these."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from threading import Lock

from tasks.heard import HeardChunk
from tasks.whisper import Spectrum


class Spectra:
    """The spectra of chunks, each computed once, a few ahead of the one that is asked for.

    Args:
        pool: the worker threads.
        transform: a chunk to its spectrum.
        chunks: all chunks, in the order in which they will be asked for.
        ahead: how many are computed before they are asked for.
    """

    def __init__(
        self,
        pool: ThreadPoolExecutor,
        transform: Callable[[HeardChunk], Spectrum],
        chunks: Sequence[HeardChunk],
        ahead: int,
    ) -> None:
        self._pool = pool
        self._transform = transform
        self._waiting = deque(chunks)
        self._started: dict[HeardChunk, Future[Spectrum]] = {}
        self._ahead = ahead
        self._lock = Lock()

    def of(self, heard: HeardChunk) -> Spectrum:
        """The spectrum of a chunk; the same may be asked for again until it is `done`. From any thread.

        Raises:
            OSError: its sound cannot be read.
        """
        with self._lock:
            if heard not in self._started:
                self._start(heard)
            while self._waiting and len(self._started) < self._ahead:
                self._start(self._waiting.popleft())
            started = self._started[heard]
        try:
            return started.result()
        except Exception:
            self.done(heard)  # another try begins anew
            raise

    def done(self, heard: HeardChunk) -> None:
        """Let go of a spectrum."""
        with self._lock:
            self._started.pop(heard, None)

    def _start(self, heard: HeardChunk) -> None:
        if heard in self._waiting:
            self._waiting.remove(heard)
        self._started[heard] = self._pool.submit(self._transform, heard)
