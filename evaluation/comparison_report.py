"""A comparison of variants: tables for the terminal and JSON, neither of which names a call."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from evaluation.compared import Compared, Comparison, VariantCompared
from evaluation.measure import Measure
from evaluation.wording import written

if TYPE_CHECKING:
    from rich.table import Table

FAMILY = (
    "* significant at 5 % among all differences of this table (Holm). Differences are paired, call by call; RTFx is "
    "not tested, as it hangs on what else the machine does."
)


def measures_table(comparison: Comparison, told: Mapping[str, str]) -> Table:
    """Draw each measure of each variant, with its difference to the baseline.

    Args:
        comparison: the variants.
        told: name → what the variant changes.
    """
    from rich.markup import escape
    from rich.table import Table

    table = Table(title=escape(f"against {comparison.baseline}"), caption=FAMILY)
    for column in ("variant", "measure"):
        table.add_column(column)
    for column in ("value", "difference", "from", "to", "p (Holm)"):
        table.add_column(column, justify="right")
    for variant in comparison.variants:
        table.add_section()
        names = [variant.name, *([told[variant.name]] if told.get(variant.name) else [])]
        for at, one in enumerate(variant.measures):
            name = names[at] if at < len(names) else ""
            table.add_row(escape(name), one.measure.title, written(one.figure.value, one.measure.unit), *_cells(one))
    return table


def front_table(comparison: Comparison, currency: str) -> Table:
    """Draw how right each variant is, what it takes for an hour of audio, and whether another beats it in both."""
    from rich.markup import escape
    from rich.table import Table

    table = Table(title=f"{comparison.by.title} against cost")
    table.add_column("variant")
    priced = any(one.price_per_hour is not None for one in comparison.variants)
    columns = (comparison.by.title, "s of work per audio hour", "RTFx", *([f"{currency} per audio hour"] * priced))
    for column in columns:
        table.add_column(column, justify="right")
    table.add_column("no other is as right and as cheap")
    for one in comparison.variants:
        at = one.of(comparison.by.key)
        seconds = one.seconds_per_hour
        cells = [
            written(at.figure.value if at else None, comparison.by.unit),
            "-" if seconds is None else f"{seconds:.1f}",
            "-" if not seconds else f"{3600 / seconds:.1f}",
            *(["-" if one.price_per_hour is None else f"{one.price_per_hour:.4f}"] * priced),
        ]
        table.add_row(escape(one.name), *cells, "yes" if one.on_front else "")
    return table


def worse_lines(comparison: Comparison) -> list[str]:
    """The slices in which a variant is significantly worse than the baseline."""
    lines = []
    for variant in comparison.variants:
        for one in variant.slices:
            found = one.compared.difference
            if one.compared.worse and found is not None:
                lines.append(
                    f"{variant.name} is significantly worse in {one.dimension}: {one.value} ({one.calls} calls): "
                    f"{comparison.by.title} {_signed(found.value, comparison.by)}, p {_p(one.compared.adjusted)} (Holm)"
                )
    return lines or [f"No variant is significantly worse in a slice, by {comparison.by.title}."]


def choice_line(comparison: Comparison) -> str:
    """Which variant to take, and why."""
    return f"Take {comparison.take}: {comparison.reason}."


def to_json(comparison: Comparison, about: Mapping[str, Any], made_by: Mapping[str, Any]) -> str:
    """Write a comparison as JSON: sorted keys, rates rounded to 6 digits.

    Args:
        comparison: the variants.
        about: what is said of the set.
        made_by: name → what is said of how the variant was transcribed.
    """
    content = {
        **about,
        "baseline": comparison.baseline,
        "by": comparison.by.key,
        "take": comparison.take,
        "reason": comparison.reason,
        "variants": {one.name: {**made_by[one.name], **_variant(one)} for one in comparison.variants},
    }
    return json.dumps(content, ensure_ascii=False, indent=2, sort_keys=True) + "\n"


def _variant(one: VariantCompared) -> dict[str, Any]:
    return {
        "seconds_per_audio_hour": _rounded(one.seconds_per_hour),
        "price_per_audio_hour": _rounded(one.price_per_hour),
        "on_front": one.on_front,
        "measures": {each.measure.key: _compared(each) for each in one.measures},
        "slices": [
            {
                "dimension": each.dimension,
                "value": each.value,
                "calls": each.calls,
                **_compared(each.compared, of_set=False),
            }
            for each in one.slices
        ],
    }


def _compared(one: Compared, *, of_set: bool = True) -> dict[str, Any]:
    found, bounds = one.difference, one.difference.interval if one.difference else None
    figure = one.figure
    return {
        **({"value": _rounded(figure.value), "calls": figure.calls} if of_set else {"measure": one.measure.key}),
        "difference": _rounded(found.value if found else None),
        "low": _rounded(bounds.low if bounds else None),
        "high": _rounded(bounds.high if bounds else None),
        "p_value": _rounded(found.p_value if found else None),
        "p_holm": _rounded(one.adjusted),
        "significant": one.significant,
    }


def _cells(one: Compared) -> tuple[str, str, str, str]:
    """Difference, its bounds and its p-value; the difference is marked where it is significant."""
    found = one.difference
    if found is None:
        return "", "", "", ""
    bounds = found.interval
    low, high = ("-", "-") if bounds is None else (_signed(bounds.low, one.measure), _signed(bounds.high, one.measure))
    return f"{_signed(found.value, one.measure)}{' *' * one.significant}", low, high, _p(one.adjusted)


def _signed(value: float, measure: Measure) -> str:
    """A difference with its sign: percentage points of shares."""
    return f"{100 * value:+.2f}" if measure.unit == "%" else f"{value:+.{3 if measure.unit == 's' else 2}f}"


def _p(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 6)
