"""The figures of a scored set: every measure with its interval, over all calls and slice by slice. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from evaluation.intervals import Counts, Difference, Interval, difference, estimate, interval
from evaluation.measure import Measure
from evaluation.measures import HEADLINES, measures_of
from evaluation.score import CallScore
from evaluation.slices import group


@dataclass(frozen=True, slots=True)
class Figure:
    """What a measure found: None where it is undefined; `calls` are the recordings that it says anything of."""

    measure: Measure
    value: float | None
    interval: Interval | None
    calls: int


@dataclass(frozen=True, slots=True)
class SliceFigures:
    """The figures of the calls of one slice, and how many words their references have."""

    dimension: str
    value: str
    calls: int
    words: int
    figures: tuple[Figure, ...]


def figures_of(calls: Sequence[CallScore], measures: Iterable[Measure] | None = None) -> tuple[Figure, ...]:
    """Every measure over all calls.

    Args:
        calls: the scores, each with its weight and stratum.
        measures: those wanted; all that the set has anything for when None.
    """
    drawn = Drawn.of(calls)
    found = [_figure(calls, measure, drawn) for measure in (measures_of(calls) if measures is None else measures)]
    return tuple(found if measures is not None else [figure for figure in found if figure.value is not None])


def slices_of_set(calls: Sequence[CallScore], keys: Sequence[str] = HEADLINES) -> tuple[SliceFigures, ...]:
    """The measures named by `keys`, slice by slice, dimensions in which all calls are alike left out."""
    by_key = {measure.key: measure for measure in measures_of(calls)}
    measures = [by_key[key] for key in keys if key in by_key]
    found = []
    for (dimension, value), places in group(call.facts for call in calls).items():
        own = [calls[place] for place in places]
        words = sum(call.words.reference_words for call in own)
        found.append(SliceFigures(dimension, value, len(own), words, figures_of(own, measures)))
    return tuple(found)


@dataclass(frozen=True, slots=True)
class Drawn:
    """How calls are drawn for intervals: which of them go together, and the stratum of each that is drawn."""

    groups: NDArray[np.int_]
    strata: tuple[str | None, ...]

    @classmethod
    def of(cls, calls: Sequence[CallScore]) -> Drawn:
        """Calls of one group go together; the strata are empty where none was sampled."""
        places: dict[str, int] = {}
        groups = [places.setdefault(call.facts.group or call.call_id, len(places)) for call in calls]
        strata: dict[int, str | None] = dict(zip(groups, (call.facts.stratum for call in calls), strict=True))
        sampled = any(one is not None for one in strata.values())
        return cls(np.array(groups, dtype=int), tuple(strata[at] for at in range(len(places))) if sampled else ())

    def interval(self, counts: Counts, measure: Measure) -> Interval | None:
        """The interval of a measure from the counts of the calls; those that it says nothing of are not drawn."""
        drawn, telling = self.telling(counts)
        return interval(drawn[telling], measure.figure, self._strata(telling))

    def difference(self, first: Counts, second: Counts, measure: Measure) -> Difference | None:
        """How a measure differs between two transcripts of the same calls, from the counts of both."""
        (before, one), (after, other) = self.telling(first), self.telling(second)
        telling = one | other
        return difference(before[telling], after[telling], measure.figure, self._strata(telling))

    def different(self, counts: Counts) -> int:
        """How many different calls the counts say anything of: recordings of one call are one."""
        return int(self.telling(counts)[1].sum())

    def telling(self, counts: Counts) -> tuple[Counts, NDArray[np.bool_]]:
        """The counts of what is drawn, from those of the calls, and of which of it they say anything."""
        found = np.zeros((int(self.groups.max(initial=-1)) + 1, counts.shape[1]))
        np.add.at(found, self.groups, counts)
        return found, (found != 0).any(axis=1)

    def _strata(self, telling: NDArray[np.bool_]) -> tuple[str | None, ...]:
        return (
            tuple(one for one, tells in zip(self.strata, telling.tolist(), strict=True) if tells) if self.strata else ()
        )


def _figure(calls: Sequence[CallScore], measure: Measure, drawn: Drawn) -> Figure:
    if not calls:
        return Figure(measure, None, None, 0)
    counts = measure.of(calls)
    return Figure(
        measure,
        estimate(counts, measure.figure),
        drawn.interval(counts, measure),
        int((counts != 0).any(axis=1).sum()),
    )
