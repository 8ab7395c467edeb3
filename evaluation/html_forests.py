"""Plots of a report by slice: which are better and worse than the whole set. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from markupsafe import Markup

from evaluation import svg
from evaluation.figures import Figure
from evaluation.html_plot import Plot
from evaluation.html_summary import clearly_worse
from evaluation.report import Report, written

FORESTS: Final = ("wer", "entity_recall", "cpwer", "rtfx")
MOST_SLICES: Final = 40
_ROW, _LETTERS = 20.0, 17


def forests_of(report: Report) -> Iterator[Plot]:
    """A plot for each measure of `FORESTS` that at least two slices have."""
    worse = {(one.dimension, one.slice, one.measure) for one in clearly_worse(report)}
    by_key = {figure.measure.key: figure for figure in report.figures}
    for key in FORESTS:
        whole = by_key.get(key)
        rows = [
            (one.value, one.dimension, figure)
            for one in report.slices
            for figure in one.figures
            if figure.measure.key == key and figure.value is not None
        ]
        if whole is None or len(rows) < 2:
            continue
        marked = {(dimension, value) for dimension, value, measure in worse if measure == whole.measure.title}
        yield _forest(whole, rows[:MOST_SLICES], marked, left_out=len(rows) - MOST_SLICES)


def _forest(
    whole: Figure, rows: Sequence[tuple[str, str, Figure]], marked: set[tuple[str, str]], left_out: int
) -> Plot:
    measure = whole.measure
    every = [whole, *(figure for _, _, figure in rows)]
    high = max(max(figure.value or 0.0, figure.interval.high if figure.interval else 0.0) for figure in every)
    marks = [mark for mark in svg.steps(high, 5) if measure.unit != "%" or measure.better == "lower" or mark <= 1.0]
    lines = _with_heads([("all calls", "", whole), *rows])
    box = svg.Box(122, 4, svg.WIDTH - 46, 4 + _ROW * len(lines))
    across = box.across(0.0, max(marks[-1], high))
    factor = 100 if measure.unit == "%" else 1
    parts = [svg.line(across(mark), box.top, across(mark), box.bottom, "grid") for mark in marks]
    parts += [svg.text(across(mark), box.bottom + 14, f"{factor * mark:g}", "tick") for mark in marks]
    parts.append(svg.text(box.left, box.bottom + 29, f"{measure.title}, {measure.unit or 'number'}", "axis", "start"))
    if whole.interval:
        low, upper = across(whole.interval.low), across(whole.interval.high)
        parts.append(
            svg.tag("rect", x=low, y=box.top, width=max(upper - low, 1.0), height=box.bottom - box.top, class_="band")
        )
    parts.append(svg.line(across(whole.value or 0), box.top, across(whole.value or 0), box.bottom, "whole"))
    for number, (name, dimension, figure) in enumerate(lines):
        y = box.top + _ROW * (number + 0.5)
        if figure is None:
            parts.append(svg.text(2, y + 6, f"by {dimension}", "tick", "start"))
            continue
        worse = (dimension, name) in marked
        parts += _point(across, y, figure, "worse" if worse else "all" if not dimension else "dot")
        label = name if len(name) <= _LETTERS else f"{name[: _LETTERS - 1]}…"
        parts.append(svg.text(box.left - 6, y + 4, label, "label strong" if not dimension else "label", "end"))
        number_text = written(figure.value, measure.unit, named=False) + (" ▲" if worse else "")
        parts.append(svg.text(svg.WIDTH - 2, y + 4, number_text, "label strong" if worse else "label", "end"))
    good = "Further left is better" if measure.better == "lower" else "Further right is better"
    says = (
        f"{good}. Each mark is a slice with the bounds between which it lies (95 %); the band is the whole set."
        f" {'▲ marks slices that are clearly worse than the whole.' if marked else ''}"
        f" {f'{left_out} more slices are in the table.' if left_out > 0 else ''}"
    )
    table = tuple(
        (name, dimension or "the set", *_cells(figure), str(figure.calls))
        for name, dimension, figure in lines
        if figure is not None
    )
    title = f"{_capital(measure.title)} by slice"
    described = f"All calls {written(whole.value, measure.unit)}; " + "; ".join(
        f"{name} {written(figure.value, measure.unit)}" for name, _, figure in rows[:12]
    )
    drawn = svg.drawing(f"forest-{measure.key}", title, described, box.bottom + 36, parts)
    return Plot(measure.key, title, says.strip(), drawn, ("slice", "of", "value", "from", "to", "calls"), table)


def _with_heads(rows: Sequence[tuple[str, str, Figure]]) -> list[tuple[str, str, Figure | None]]:
    """Rows with one before each dimension, which only names it."""
    found: list[tuple[str, str, Figure | None]] = []
    for name, dimension, figure in rows:
        if dimension and (not found or found[-1][1] != dimension):
            found.append(("", dimension, None))
        found.append((name, dimension, figure))
    return found


def _point(across: svg.Scale, y: float, figure: Figure, kind: str) -> Iterator[Markup]:
    if figure.interval:
        low, high = across(figure.interval.low), across(figure.interval.high)
        yield svg.line(low, y, high, y, f"bounds {kind}")
        yield svg.line(low, y - 3, low, y + 3, f"bounds {kind}")
        yield svg.line(high, y - 3, high, y + 3, f"bounds {kind}")
    at = across(figure.value or 0.0)
    if kind == "worse":
        yield svg.tag("path", d=f"M{at - 5.5:.1f} {y + 4:.1f}h11l-5.5 -9.5z", class_="mark worse")
    elif kind == "all":
        yield svg.tag("path", d=f"M{at:.1f} {y - 5.5:.1f}l5.5 5.5l-5.5 5.5l-5.5 -5.5z", class_="mark all")
    else:
        hollow = "" if figure.interval else " hollow"
        yield svg.tag("circle", cx=at, cy=y, r=4, class_=f"mark dot{hollow}")


def _cells(figure: Figure) -> tuple[str, str, str]:
    bounds = figure.interval
    low, high = (None, None) if bounds is None else (bounds.low, bounds.high)
    unit = figure.measure.unit
    return written(figure.value, unit), written(low, unit, named=False), written(high, unit, named=False)


def _capital(text: str) -> str:
    return f"{text[0].upper()}{text[1:]}" if text.partition(" ")[0].islower() else text
