"""What a measure is: counts of a call, and a figure that is made of their sum. Pure.

Every figure is a function of counts that are summed over calls, so that intervals, slices and comparisons treat all
measures alike (`evaluation.intervals`). `evaluation.measures` lists them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np

from evaluation.intervals import Counts, Figure
from evaluation.score import CallScore
from evaluation.trust import BINS, TrustCounts
from evaluation.word_times import EDGES_MS

Unit: TypeAlias = Literal["%", "per hour", "s", "x", ""]
"""`%`: the figure is a share, 0 to 1, written as a percentage; `s`: seconds; `x`: times real time; empty: a number."""

Better: TypeAlias = Literal["lower", "higher"]
"""Which way is up."""


@dataclass(frozen=True, slots=True)
class Measure:
    """One measure: `key` for machines, `title` for people, and a sentence on what it is.

    `counts` are taken of each call; `figure` makes the measure of their sum.
    """

    key: str
    title: str
    unit: Unit
    better: Better
    says: str
    counts: Callable[[CallScore], Sequence[float]]
    figure: Figure

    def of(self, calls: Iterable[CallScore]) -> Counts:
        """The counts of calls, of shape [call, count]; those of a call that stands for others are weighted."""
        rows = [[call.facts.weight * count for count in self.counts(call)] for call in calls]
        return np.array(rows, dtype=np.float64).reshape(len(rows), -1)


def ratio(sums: Counts) -> Counts:
    """The first count by the second; NaN where that is 0."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(sums[..., 1] > 0, sums[..., 0] / sums[..., 1], np.nan)


def median_of_errors(sums: Counts) -> Counts:
    """The median error of word times, from words by step, in seconds: up to where the step reaches in which it lies.

    NaN where there are no words, and where it lies beyond the last edge.
    """
    edges_s = np.append(np.array(EDGES_MS) / 1000, np.nan)
    total = sums.sum(axis=-1, keepdims=True)
    half = np.argmax(sums.cumsum(axis=-1) >= total * (0.5 - 1e-9), axis=-1)  # weights are no whole numbers
    return np.where(total[..., 0] > 0, edges_s[half], np.nan)


def trusted(call: CallScore) -> Sequence[float]:
    """The counts of word probabilities of a call, in a row."""
    trust = call.trust
    return (*trust.right, *trust.wrong, *trust.probability, *trust.seconds, *trust.faults, trust.surprise)


def trust_figure(take: Callable[[TrustCounts], float | None]) -> Figure:
    """A figure of word probabilities: as `TrustCounts` computes it, sum by sum."""

    def figure(sums: Counts) -> Counts:
        rows = sums.reshape(-1, sums.shape[-1])
        found = [take(_trust_of(row)) for row in rows]
        return np.array([np.nan if one is None else one for one in found]).reshape(sums.shape[:-1])

    return figure


def trust_of_calls(calls: Iterable[CallScore]) -> TrustCounts:
    """Words by probability of all calls, weighted where calls stand for others."""
    rows = [[call.facts.weight * count for count in trusted(call)] for call in calls]
    return _trust_of(np.array(rows).sum(axis=0)) if rows else TrustCounts.zero()


def _trust_of(row: Counts) -> TrustCounts:
    right, wrong, probability, seconds, faults = (tuple(row[at * BINS : (at + 1) * BINS].tolist()) for at in range(5))
    return TrustCounts(right, wrong, probability, seconds, faults, float(row[-1]))
