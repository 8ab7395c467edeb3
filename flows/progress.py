"""How a run tells what it is doing to whoever watches it in the same process."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Protocol

from tasks.records import CopiedAudio, Outcome


class Watcher(Protocol):
    """Somebody who watches a run."""

    def stage(self, text: str) -> None:
        """Something began that takes a while."""

    def note(self, text: str) -> None:
        """Something that whoever started the run should know."""

    def planned(self, calls: int, size_bytes: int) -> None:
        """So much is to be done."""

    def done(self, outcome: Outcome | CopiedAudio) -> None:
        """One call is done."""

    def certified(self, kind: str, run_id: str, month: str, rows: Sequence[tuple[str, str]]) -> None:
        """A run or a backfill over a month has ended, well or not, and this is what it did, by name."""


class Nobody:
    """Nobody watches."""

    def stage(self, text: str) -> None:
        """Ignore it."""

    def note(self, text: str) -> None:
        """Ignore it."""

    def planned(self, calls: int, size_bytes: int) -> None:
        """Ignore it."""

    def done(self, outcome: Outcome | CopiedAudio) -> None:
        """Ignore it."""

    def certified(self, kind: str, run_id: str, month: str, rows: Sequence[tuple[str, str]]) -> None:
        """Ignore it."""


_WATCHER: ContextVar[Watcher] = ContextVar("callscribe_watcher", default=Nobody())  # noqa: B039  # it has no state


def watcher() -> Watcher:
    """Whoever watches now."""
    return _WATCHER.get()


@contextmanager
def watched_by(somebody: Watcher) -> Iterator[None]:
    """Let somebody watch what runs inside the block."""
    token = _WATCHER.set(somebody)
    try:
        yield
    finally:
        _WATCHER.reset(token)
