"""How figures are written for people. Pure."""

from __future__ import annotations

from evaluation.measure import Unit


def percent(rate: float | None) -> str:
    """Write a rate as a percentage with one decimal; `-` when it is undefined."""
    return "-" if rate is None else f"{100 * rate:.1f}"


def written(value: float | None, unit: Unit, *, named: bool = True) -> str:
    """Write a figure in its unit: shares as percentages, seconds to the millisecond, `-` where it is undefined.

    >>> written(0.0912, "%"), written(3.25, "per hour"), written(None, "%"), written(0.5, "%", named=False)
    ('9.1 %', '3.2 per hour', '-', '50.0')
    >>> written(0.0781, "s")
    '0.078 s'
    """
    if value is None:
        return "-"
    decimals = {"s": 3, "": 2}.get(unit, 1)
    number = percent(value) if unit == "%" else f"{value:.{decimals}f}"
    return f"{number} {unit}" if named and unit else number
