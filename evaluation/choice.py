"""Which of several variants to take: the front of those that none beats, and the choice with its reason. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from evaluation.compared import VariantCompared, as_cost

WORTH: Final = 0.9
"""A variant is cheaper where it takes at most this share of the time: less may be chance."""


def pareto_front(points: Mapping[str, tuple[float, float]]) -> frozenset[str]:
    """Those that no other beats: none is at most as large in both and smaller in one.

    >>> sorted(pareto_front({"a": (1, 9), "b": (2, 5), "c": (3, 6), "d": (1, 9)}))
    ['a', 'b', 'd']
    """
    return frozenset(
        name
        for name, (error, cost) in points.items()
        if not any(
            other[0] <= error and other[1] <= cost and other != (error, cost) for other in points.values()
        )
    )  # fmt: skip


def choose(variants: Sequence[VariantCompared], by: str, margin: float) -> tuple[str, str]:
    """Which variant to take, and why; the first is the baseline.

    A variant that is significantly better, and significantly worse in nothing; else one that is cheaper, and by the
    interval of its difference not worse than by `margin`; else the baseline: that a difference is not significant does
    not say that there is none.
    """
    baseline, *others = variants
    harmless = [one for one in others if not _harms(one)]
    title = next(compared.measure.title for compared in baseline.measures if compared.measure.key == by)
    better = [one for one in harmless if (at := one.of(by)) is not None and at.better]
    if better:
        best = min(better, key=lambda one: (_gain(one, by), one.seconds_per_hour or 0.0))
        more = _times(best, baseline)
        return (
            best.name,
            f"its {title} is significantly better than that of {baseline.name}, and nothing is worse{more}",
        )
    cheaper = [one for one in harmless if _is_cheaper(one, baseline) and _is_not_worse(one, by, margin)]
    if cheaper:
        best = min(cheaper, key=lambda one: one.seconds_per_hour or 0.0)
        reason = (
            f"its {title} is, with a confidence of 95 %, not worse than that of {baseline.name} by more than the margin"
        )
        return best.name, f"{reason}{_times(best, baseline)}"
    harmed = [one.name for one in others if _harms(one)]
    beside = f"; significantly worse in something: {', '.join(harmed)}" if harmed else ""
    return baseline.name, f"no other is shown to be better, nor to be as good and cheaper{beside}"


def _gain(variant: VariantCompared, by: str) -> float:
    at = variant.of(by)
    return as_cost(at.measure, at.difference.value) if at and at.difference else 0.0


def _harms(variant: VariantCompared) -> bool:
    return any(one.worse for one in variant.measures) or any(one.compared.worse for one in variant.slices)


def _is_cheaper(variant: VariantCompared, baseline: VariantCompared) -> bool:
    cost, before = variant.seconds_per_hour, baseline.seconds_per_hour
    return cost is not None and before is not None and cost <= WORTH * before


def _is_not_worse(variant: VariantCompared, by: str, margin: float) -> bool:
    at = variant.of(by)
    if at is None or at.difference is None or at.difference.interval is None:
        return False
    bounds = at.difference.interval
    return max(as_cost(at.measure, bounds.low), as_cost(at.measure, bounds.high)) <= margin


def _times(variant: VariantCompared, baseline: VariantCompared) -> str:
    """What it takes beside the baseline."""
    if not variant.seconds_per_hour or not baseline.seconds_per_hour:
        return ""
    return f"; it takes {variant.seconds_per_hour / baseline.seconds_per_hour:.2f} times as long"
