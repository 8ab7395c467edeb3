"""What is scored: a call's utterances, wherever they come from.

`HypothesisUtterance` is the little that scoring needs of an utterance. It is made from the records of a running
pipeline, from the rows of the utterances table, or from an STM file that another system wrote.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from tasks.records import Word

if TYPE_CHECKING:
    from evaluation.formats import StmLine
    from tasks.records import Utterance


class Spoken(Protocol):
    """Something said: a line of a reference or an utterance of a hypothesis."""

    @property
    def speaker(self) -> str:
        """Who speaks."""

    @property
    def start(self) -> float:
        """Seconds from the start of the call."""

    @property
    def text(self) -> str:
        """The words, raw."""


class TimedSpoken(Spoken, Protocol):
    """Something said whose end is known."""

    @property
    def end(self) -> float:
        """Seconds from the start of the call."""


SpokenT = TypeVar("SpokenT", bound=Spoken)


@dataclass(frozen=True, slots=True)
class HypothesisUtterance:
    """An utterance to be scored; `words` is empty when no word times are known."""

    speaker: str
    start: float
    end: float
    text: str
    words: tuple[Word, ...] = ()

    @classmethod
    def from_utterance(cls, utterance: Utterance) -> HypothesisUtterance:
        """Take what scoring needs of the pipeline's own record."""
        return cls(utterance.speaker, utterance.start, utterance.end, utterance.text, utterance.words)

    @classmethod
    def from_stm(cls, line: StmLine) -> HypothesisUtterance:
        """Take an STM line as hypothesis; it has no word times."""
        return cls(line.speaker, line.start, line.end, line.text)

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> HypothesisUtterance:
        """Take a row of the utterances table: `speaker, start, end, text` and, if there, `words`.

        A word is a mapping with `text, start, end` and maybe `probability`.

        Raises:
            KeyError: a column is missing.
        """
        words = tuple(
            Word(str(word["text"]), float(word["start"]), float(word["end"]), float(word.get("probability") or 0.0))
            for word in row.get("words") or ()
        )
        return cls(str(row["speaker"]), float(row["start"]), float(row["end"]), str(row["text"]), words)


def group_rows(rows: Iterable[Mapping[str, Any]]) -> dict[str, tuple[HypothesisUtterance, ...]]:
    """Sort rows of the utterances table into calls.

    Args:
        rows: as for `HypothesisUtterance.from_row`, each with its `call_id`.

    Returns:
        call_id → utterances ordered by start. A call without a row (nothing was said) is not in it: the caller, who
        has the calls table, adds it with an empty tuple.
    """
    calls: dict[str, list[HypothesisUtterance]] = {}
    for row in rows:
        calls.setdefault(str(row["call_id"]), []).append(HypothesisUtterance.from_row(row))
    return {call_id: tuple(in_order(utterances)) for call_id, utterances in sorted(calls.items())}


def in_order(spoken: Iterable[SpokenT]) -> Sequence[SpokenT]:
    """Order by start; what starts together stays in the order given."""
    return sorted(spoken, key=lambda one: one.start)
