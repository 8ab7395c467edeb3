"""What a comparison of variants holds: measures beside the baseline's, slice by slice, and what each takes. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from evaluation.figures import Figure
from evaluation.intervals import Difference
from evaluation.measure import Measure


@dataclass(frozen=True, slots=True)
class Compared:
    """A measure of a variant beside the baseline's; `adjusted` is its p-value among all of its table."""

    measure: Measure
    figure: Figure
    difference: Difference | None = None
    adjusted: float | None = None
    significant: bool = False

    @property
    def worse(self) -> bool:
        """Whether it is on the wrong side of the baseline, and significantly so."""
        return self.significant and self.difference is not None and as_cost(self.measure, self.difference.value) > 0

    @property
    def better(self) -> bool:
        """Whether it is on the right side of the baseline, and significantly so."""
        return self.significant and self.difference is not None and as_cost(self.measure, self.difference.value) < 0


@dataclass(frozen=True, slots=True)
class SliceCompared:
    """The chosen measure of a variant in a slice."""

    dimension: str
    value: str
    calls: int
    compared: Compared


@dataclass(frozen=True, slots=True)
class VariantCompared:
    """A variant: its measures beside the baseline's, slice by slice, and what it takes.

    `seconds_per_hour` are seconds of work for an hour of audio, `price_per_hour` what that costs; None where nothing
    says it. `on_front` is whether no other variant is at least as right and as cheap, and better in one of the two.
    """

    name: str
    measures: tuple[Compared, ...]
    slices: tuple[SliceCompared, ...] = ()
    seconds_per_hour: float | None = None
    price_per_hour: float | None = None
    on_front: bool = False

    def of(self, key: str) -> Compared | None:
        """One of its measures."""
        return next((one for one in self.measures if one.measure.key == key), None)


@dataclass(frozen=True, slots=True)
class Comparison:
    """All variants, the baseline first; `by` is the measure that the front and the choice go by."""

    baseline: str
    by: Measure
    variants: tuple[VariantCompared, ...]
    take: str
    reason: str


def as_cost(measure: Measure, value: float) -> float:
    """The value as something that is better when it is lower."""
    return value if measure.better == "lower" else -value
