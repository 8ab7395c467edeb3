"""How a run tells what it is doing to whoever watches it in the same process."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Literal, Protocol, Self

from tasks.records import CopiedAudio, Outcome, OutcomeKind


@dataclass(frozen=True, slots=True)
class CallDone:
    """What a watcher is told of a call that is done, also when another process did it: no word of it.

    Attributes:
        call_id: the call.
        month: `YYYY-MM`.
        kind: what became of it; `copied`: the same audio as before.
        audio_s: seconds of audio; None where that was not found out.
        worked_s: seconds that it took.
        error: of a failed one, the code and the sentence.
    """

    call_id: str
    month: str
    kind: OutcomeKind | Literal["copied"]
    audio_s: float | None = None
    worked_s: float = 0.0
    error: str = ""

    @classmethod
    def of(cls, outcome: Outcome | CopiedAudio) -> Self:
        """What is told of an outcome."""
        call = outcome.call
        if isinstance(outcome, CopiedAudio):
            return cls(call.call_id, call.month, "copied")
        error = f"{outcome.failure.code}: {outcome.failure.message}" if outcome.failure else ""
        return cls(call.call_id, call.month, outcome.kind, outcome.duration_s, outcome.timings.total_s, error)


class Watcher(Protocol):
    """Somebody who watches a run."""

    def stage(self, text: str) -> None:
        """Something began that takes a while."""

    def note(self, text: str) -> None:
        """Something that whoever started the run should know."""

    def planned(self, calls: int, size_bytes: int) -> None:
        """So much is to be done."""

    def done(self, call: CallDone) -> None:
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

    def done(self, call: CallDone) -> None:
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
