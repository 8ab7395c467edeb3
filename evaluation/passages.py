"""Aligned words as people read and hear them: line by line, and the stretch of a call with the most errors. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Final

from evaluation.alignment import Cell, RawWord, align
from evaluation.formats import StmLine
from evaluation.hypotheses import HypothesisUtterance, in_order

STRETCH_S: Final = 20.0
"""The longest stretch, in seconds."""
MARGIN_S: Final = 0.4
"""What is heard before its first word and after its last, in seconds."""


@dataclass(frozen=True, slots=True)
class Line:
    """Words of a line of the reference and what was heard of it.

    `speaker` is that of the reference, None where nobody speaks and words were heard; `heard_as` are those that the
    hypothesis gives these words to. `start` and `end` are seconds, None where they are not known.
    """

    speaker: str | None
    heard_as: tuple[str, ...]
    start: float | None
    end: float | None
    cells: tuple[Cell, ...]

    @property
    def errors(self) -> int:
        """The word errors in it."""
        return sum(cell.counts.errors for cell in self.cells)


@dataclass(frozen=True, slots=True)
class Stretch:
    """A part of a call, in seconds, and the errors in it."""

    start: float
    end: float
    errors: int


def lines_of(
    reference: Iterable[StmLine], hypothesis: Iterable[HypothesisUtterance], language: str = "en"
) -> tuple[Line, ...]:
    """Lay a call out line by line.

    What was heard beside a line goes with the line before it, unless its time says that it belongs to the next one, or
    to none.

    Args:
        reference: the lines, with times of 0 where none are known.
        hypothesis: what was recognised.
        language: of the normaliser.
    """
    said, heard = in_order(reference), in_order(hypothesis)
    cells = align(said, heard, language)
    places = list(_places(cells, said, heard))
    found = []
    for place, run in groupby(zip(places, cells, strict=True), key=lambda item: item[0]):
        own = tuple(cell for _, cell in run)
        words = [word for cell in own for word in cell.hypothesis]
        speakers = tuple(dict.fromkeys(heard[word.line].speaker for word in words))
        line = place[0]
        if line is None:
            times = [(heard[word.line].start, heard[word.line].end) for word in words]
            start, end = min(one for one, _ in times), max(one for _, one in times)
            found.append(Line(None, speakers, start, end, own))
        elif said[line].end > said[line].start:
            found.append(Line(said[line].speaker, speakers, said[line].start, said[line].end, own))
        else:
            known = [time for cell in own if (time := _heard_at(cell, heard)) is not None]
            first, last = min(known, default=None), max(known, default=None)
            found.append(Line(said[line].speaker, speakers, first, last, own))
    return tuple(found)


def worst_stretch(
    lines: Sequence[Line], hypothesis: Iterable[HypothesisUtterance], length_s: float = STRETCH_S
) -> Stretch | None:
    """The stretch of a call with the most errors, the earliest of several; it begins and ends with lines where it can.

    Args:
        lines: the call.
        hypothesis: what was recognised, for the times of its words.
        length_s: how long it may be.

    Returns:
        None where no error has a time.
    """
    heard = in_order(hypothesis)
    timed = [(time, cell.counts.errors) for line in lines for time, cell in _timed(line, heard)]
    wrong = sorted((time, errors) for time, errors in timed if errors)
    if not wrong:
        return None
    inner_s = length_s - 2 * MARGIN_S
    begun = {line.start for line in lines if line.start is not None}
    within = {
        start: [(time, errors) for time, errors in wrong if start <= time <= start + inner_s]
        for start in {*begun, *(time for time, _ in wrong)}
    }
    sums = {start: sum(errors for _, errors in found) for start, found in within.items()}
    most = max(sums.values())
    # Of those with the same first error, the one that begins with its line.
    best = min(
        (start for start in sums if sums[start] == most),
        key=lambda start: (within[start][0][0], start not in begun, -start),
    )
    last = within[best][-1][0]
    ends = [line.end for line in lines if line.end is not None and last <= line.end <= best + inner_s]
    end = min(ends, default=min(last + 2.0, best + inner_s))
    return Stretch(max(0.0, best - MARGIN_S), end + MARGIN_S, sums[best])


def _places(
    cells: Sequence[Cell], said: Sequence[StmLine], heard: Sequence[HypothesisUtterance]
) -> Iterator[tuple[int | None, int]]:
    """The line that each cell is shown with, or None and its utterance."""
    following: list[int | None] = [None] * len(cells)
    after: int | None = None
    for at in range(len(cells) - 1, -1, -1):
        after = cells[at].reference[0].line if cells[at].reference else after
        following[at] = after
    before: int | None = None
    for cell, after in zip(cells, following, strict=True):
        if cell.reference:
            before = cell.reference[0].line
            yield before, 0
            continue
        time = _heard_at(cell, heard)
        line = _between(time, before, after, said)
        yield line, 0 if line is not None else cell.hypothesis[0].line


def _between(time: float | None, before: int | None, after: int | None, said: Sequence[StmLine]) -> int | None:
    """Which of two lines what was heard at a time goes with; None where it lies in neither, and nobody speaks."""
    if before is None or after is None or time is None or before == after:
        near = before if before is not None else after
        if near is None or time is None or said[near].end <= said[near].start or before == after:
            return near
        return near if said[near].start - 1.0 <= time <= said[near].end + 1.0 else None
    if time >= said[after].start - MARGIN_S:
        return after
    return before if time <= said[before].end + 1.0 or said[before].end <= said[before].start else None


def _timed(line: Line, heard: Sequence[HypothesisUtterance]) -> Iterator[tuple[float, Cell]]:
    """The cells of a line with the time of each: as heard, else spread over the line."""
    for at, cell in enumerate(line.cells):
        time = _heard_at(cell, heard)
        if line.start is not None and line.end is not None:
            spread = line.start + (line.end - line.start) * at / len(line.cells)
            time = spread if time is None else min(max(time, line.start - MARGIN_S), line.end)
        if time is not None:
            yield max(time, 0.0), cell


def _heard_at(cell: Cell, heard: Sequence[HypothesisUtterance]) -> float | None:
    """When the first word of a cell was heard: by word times, else spread over its utterance."""
    return _word_at(cell.hypothesis[0], heard[cell.hypothesis[0].line]) if cell.hypothesis else None


def _word_at(word: RawWord, utterance: HypothesisUtterance) -> float:
    count = len(utterance.text.split())
    if len(utterance.words) == count:
        return utterance.words[word.index].start
    return utterance.start + (utterance.end - utterance.start) * word.index / count
