"""Word errors where words can stand for each other only within reach in time.

A word of the hypothesis can be a hit or a substitution only for a word of the reference whose time it overlaps when its
own is widened by a collar on either side; otherwise one is a deletion and the other an insertion. Source: von Neumann
et al., "MeetEval" (2023), section 3. Times are compared to the nanosecond, as if they were decimal numbers, which is
what meeteval does with times from a file.

What is looked for is the most that can be saved of all deletions and insertions: two errors for a hit, one for a
substitution. With a mark put before every word of both sides, that is the length of the longest common subsequence, in
which the marks of words within reach are equal and those of others are not (Tiskin, "Semi-local string comparison",
2008, section 6). A row of it is one integer, and is made of the row before by four operations (Hyyrö, "Bit-parallel
LCS-length computation revisited", 2004). Only words within reach have bits, so that the cost is linear in the length of
a call.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from typing import Any, Final, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from evaluation.rates import ErrorCounts

Times: TypeAlias = NDArray[Any]

_DECIMALS: Final = 9


class TimedWord(NamedTuple):
    """A normalised word and when it is said (seconds)."""

    text: str
    start: float
    end: float


def count_timed_errors(reference: Sequence[TimedWord], hypothesis: Sequence[TimedWord], collar_s: float) -> ErrorCounts:
    """Align words within reach of each other and count.

    Args:
        reference: normalised words in the order in which they are read.
        hypothesis: the same; the times of neither need rise.
        collar_s: seconds that each word of the hypothesis is widened by at its start and at its end.

    Returns:
        The counts. Of the alignments with the fewest errors meeteval's is counted: read from the end, an insertion goes
        before a deletion and both before a hit or a substitution.
    """
    if not reference or not hypothesis:
        return ErrorCounts(len(reference), deletions=len(reference), insertions=len(hypothesis))
    said, heard = [word.text for word in reference], [word.text for word in hypothesis]
    aligned, substitutions = _read_back(said, heard, _rows(said, heard, _windows(reference, hypothesis, collar_s)))
    return ErrorCounts(
        len(reference), substitutions, deletions=len(reference) - aligned, insertions=len(hypothesis) - aligned
    )


class _Window(NamedTuple):
    """What of the hypothesis is within reach of a word of the reference: nothing outside of `first` to `last`.

    `near` has a bit for each word of it, at its mark. Nothing before `low` is within reach of any later word, nothing
    from `high` on within that of an earlier one.
    """

    first: int
    last: int
    near: int
    low: int
    high: int


class _Row(NamedTuple):
    """What is saved along the hypothesis from word `low` to word `high`: where a bit is 0, one error more is saved.

    There are two bits for each word, for its mark and for itself. `before` is the row without this word of the
    reference.
    """

    low: int
    high: int
    before: int
    after: int


def _windows(reference: Sequence[TimedWord], hypothesis: Sequence[TimedWord], collar_s: float) -> list[_Window]:
    """Look up what ends after the start of a word of the reference and starts before its end."""
    starts, ends = _times(reference, 0.0)
    begins, stops = _times(hypothesis, collar_s)
    firsts = np.searchsorted(np.maximum.accumulate(stops), starts, side="right")
    lasts = np.searchsorted(np.minimum.accumulate(begins[::-1])[::-1], ends, side="left")
    # Where times rise from `first` to `last`, all between is within reach; how often they fall tells.
    falls = np.concatenate([[0], np.cumsum((np.diff(begins) < 0) | (np.diff(stops) < 0))])
    holes = falls[np.maximum(lasts - 1, 0)] > falls[np.minimum(firsts, len(falls) - 1)]
    lows, highs = np.minimum.accumulate(firsts[::-1])[::-1], np.maximum.accumulate(lasts)
    windows = []
    for row, (first, last, low, high) in enumerate(np.stack([firsts, lasts, lows, highs], axis=1).tolist()):
        near = ((1 << 2 * max(last - first, 0)) - 1) // 3
        if near and holes[row]:
            within = (begins[first:last] < ends[row]) & (stops[first:last] > starts[row])
            near = sum(1 << 2 * place for place in np.flatnonzero(within).tolist())
        windows.append(_Window(first, last, near, low, high))
    return windows


def _times(words: Sequence[TimedWord], collar_s: float) -> tuple[Times, Times]:
    """Starts and ends, rounded so that decimal numbers that are equal are equal."""
    return (
        np.round(np.array([word.start for word in words]) - collar_s, _DECIMALS),
        np.round(np.array([word.end for word in words]) + collar_s, _DECIMALS),
    )


def _rows(said: Sequence[str], heard: Sequence[str], windows: Sequence[_Window]) -> list[_Row]:
    """Go through the reference, word by word."""
    places: dict[str, list[int]] = {}
    for place, word in enumerate(heard):
        places.setdefault(word, []).append(place)
    nothing = _Row(len(heard), len(heard), 0, 0)
    rows = []
    saved = base = known = 0  # the bits from word `base` to word `known` of the hypothesis
    for word, (first, last, near, low, high) in zip(said, windows, strict=True):
        if not near:
            rows.append(nothing)
            continue
        saved, base, known = saved >> 2 * (low - base), low, max(known, low)
        width = 2 * (high - low)
        saved |= (1 << width) - (1 << 2 * (known - low))
        known, before = high, saved
        found = places.get(word, ())
        equal = 0
        for place in found[bisect_left(found, first) : bisect_left(found, last)]:
            equal |= 2 << 2 * (place - first)
        for matches in (near << 2 * (first - low), (equal & near << 1) << 2 * (first - low)):
            step = saved & matches
            saved = (saved + step | saved - step) & (1 << width) - 1
        rows.append(_Row(low, high, before, saved))
    return rows


def _read_back(said: Sequence[str], heard: Sequence[str], rows: Sequence[_Row]) -> tuple[int, int]:
    """Go back from the last words to the first: how many are aligned, and how many of these differ."""
    aligned = substitutions = 0
    row, column = len(rows), len(heard)
    while row and column:
        low, high, before, after = rows[row - 1]
        behind = 2 * (column - low)
        if column <= low:
            row -= 1
        elif column > high or after >> behind - 2 & 3 == 3:
            column -= 1
        elif (before & (1 << behind) - 1).bit_count() == (after & (1 << behind) - 1).bit_count():
            row -= 1
        else:
            row, column = row - 1, column - 1
            aligned += 1
            substitutions += said[row] != heard[column]
    return aligned, substitutions
