"""How sure a figure is: bootstrap intervals over calls, and paired tests of two transcripts of the same calls. Pure.

Calls are what is drawn, not words: the words of a call share its line, its speakers and its recogniser's mistakes, so
that an interval over words would be far too narrow (Bisani & Ney, "Bootstrap estimates for confidence intervals in ASR
performance evaluation", 2004). A figure is a function of sums over calls, so every resample sums anew.

- Intervals: SciPy's bootstrap, bias-corrected and accelerated (Efron, "Better bootstrap confidence intervals", 1987);
  percentiles where the acceleration is not defined, as when leaving any one call out changes nothing, and over more
  than `MANY_CALLS`, where both agree and the acceleration takes most of the time. Calls that were sampled by strata
  are drawn within theirs.
- Differences: the same calls are drawn for both sides, for the interval; the p-value is that of a permutation test that
  exchanges the two sides call by call (exact where there are few calls), for the hypothesis that they are alike.

With very few calls no method is right: under `FEWEST_CALLS` there is no interval.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

CONFIDENCE: Final = 0.95
FEWEST_CALLS: Final = 3
MANY_CALLS: Final = 500
RESAMPLES: Final = 2000
RESAMPLES_OF_MANY: Final = 1000
PERMUTATIONS: Final = 4999
SEED: Final = 20_261_001
"""Fixed, so that the same scores give the same interval."""
# Indices that are drawn at a time: 4 MB, which stays in the processor's cache.
_AT_A_TIME: Final = 500_000

Counts = NDArray[np.float64]
"""Of shape [call, count]."""

Figure = Callable[[Counts], Counts]
"""From summed counts, of shape [..., count], to figures of shape [...]; NaN where one is undefined."""


@dataclass(frozen=True, slots=True)
class Interval:
    """The bounds between which a figure lies with a confidence of 95 %."""

    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Difference:
    """How much higher a figure is on the second side, its interval, and the p-value of the hypothesis of none."""

    value: float
    interval: Interval | None
    p_value: float | None

    @property
    def significant(self) -> bool:
        """Whether the p-value is under 5 %; False where there is none."""
        return self.p_value is not None and self.p_value < 1 - CONFIDENCE


def estimate(counts: Counts, figure: Figure) -> float | None:
    """The figure of all calls together; None where it is undefined.

    Args:
        counts: of shape [call, count], weighted where calls stand for others.
        figure: what is wanted of their sum.
    """
    value = float(figure(counts.sum(axis=0)))
    return None if np.isnan(value) else value


def interval(counts: Counts, figure: Figure, strata: Sequence[str | None] = ()) -> Interval | None:
    """The interval of a figure over calls.

    Args:
        counts: of shape [call, count]; those of calls that stand for others are weighted.
        figure: what is wanted of their sum.
        strata: which stratum each call was drawn from; all from one when empty.

    Returns:
        None with fewer than `FEWEST_CALLS`, or where a resample has no figure.
    """
    if len(counts) < FEWEST_CALLS or estimate(counts, figure) is None:
        return None
    samples = _by_stratum(strata, len(counts))

    def statistic(*drawn: NDArray[np.int_], axis: int = -1) -> Counts:
        total: Any = sum(_drawn_sum(counts, np.moveaxis(indices, axis, -1)) for indices in drawn)
        return figure(total)

    return _bootstrap(samples, statistic, len(counts))


def difference(first: Counts, second: Counts, figure: Figure, strata: Sequence[str | None] = ()) -> Difference | None:
    """How a figure differs between two transcripts of the same calls.

    Args:
        first: of shape [call, count].
        second: the same calls in the same order.
        figure: what is wanted of their sums.
        strata: which stratum each call was drawn from; all from one when empty.

    Returns:
        None where the figure is undefined on either side.

    Raises:
        ValueError: the two are not of the same shape.
    """
    if first.shape != second.shape:
        raise ValueError(f"two transcripts of the same calls have the same counts, not {first.shape}, {second.shape}")
    before, after = estimate(first, figure), estimate(second, figure)
    if before is None or after is None:
        return None
    both = np.concatenate([first, second], axis=1)  # [call, first's counts and second's]
    size = first.shape[1]

    def change(total: Counts) -> Counts:
        return figure(total[..., size:]) - figure(total[..., :size])

    return Difference(after - before, interval(both, change, strata), _p_value(first, second, figure))


def _by_stratum(strata: Sequence[str | None], calls: int) -> list[NDArray[np.int_]]:
    """The places of the calls of each stratum."""
    if not strata:
        return [np.arange(calls)]
    return [
        np.array([place for place, one in enumerate(strata) if one == name], dtype=int)
        for name in sorted(set(strata), key=str)
    ]


def _drawn_sum(counts: Counts, indices: NDArray[np.int_]) -> Counts:
    """Sum the counts of calls that were drawn, of shape [..., count], from indices of shape [..., draw].

    By how often each call was drawn: laid out call by call, the counts of a histogram would fill the memory.
    """
    calls, rows = len(counts), indices.reshape(-1, indices.shape[-1])
    places = rows + calls * np.arange(len(rows))[:, None]
    times = np.bincount(places.ravel(), minlength=calls * len(rows)).reshape(*indices.shape[:-1], calls)
    return times @ counts


def _bootstrap(samples: list[NDArray[np.int_]], statistic: Callable[..., Counts], calls: int) -> Interval | None:
    """SciPy's bootstrap over indices; a stratum of one call is drawn as it is."""
    single = [sample for sample in samples if len(sample) == 1]
    drawn = [sample for sample in samples if len(sample) > 1]
    if not drawn:
        return None

    def whole(*resampled: NDArray[np.int_], axis: int = -1) -> Counts:
        shape = (*resampled[0].shape[:-1], 1)
        return statistic(*resampled, *(np.broadcast_to(one, shape) for one in single), axis=axis)

    many = calls > MANY_CALLS
    for method in ("percentile",) if many else ("BCa", "percentile"):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of degenerate resamples, which give NaN
            found = (
                _scipy()
                .bootstrap(
                    drawn,
                    whole,
                    n_resamples=RESAMPLES_OF_MANY if many else RESAMPLES,
                    batch=max(1, _AT_A_TIME // calls),
                    vectorized=True,
                    axis=-1,
                    confidence_level=CONFIDENCE,
                    method=method,
                    rng=np.random.default_rng(SEED),
                )
                .confidence_interval
            )
        if np.isfinite([found.low, found.high]).all():
            return Interval(float(found.low), float(found.high))
    return None


def _p_value(first: Counts, second: Counts, figure: Figure) -> float | None:
    """The two-sided p-value of a paired permutation test; None with fewer than `FEWEST_CALLS`."""
    calls = len(first)
    if calls < FEWEST_CALLS:
        return None
    both = np.concatenate([first, second])

    def statistic(one: NDArray[np.int_], other: NDArray[np.int_], axis: int = -1) -> Counts:
        before, after = (_drawn_sum(both, np.moveaxis(indices, axis, -1)) for indices in (one, other))
        return figure(after) - figure(before)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = _scipy().permutation_test(
            (np.arange(calls), np.arange(calls, 2 * calls)),
            statistic,
            permutation_type="samples",
            n_resamples=RESAMPLES_OF_MANY - 1 if calls > MANY_CALLS else PERMUTATIONS,
            batch=max(1, _AT_A_TIME // calls),
            vectorized=True,
            axis=-1,
            rng=np.random.default_rng(SEED),
        )
    return float(found.pvalue) if np.isfinite(found.pvalue) else None


def _scipy() -> Any:  # noqa: ANN401  # SciPy has no types
    """SciPy's statistics, which take a second to import."""
    from scipy import stats

    return stats
