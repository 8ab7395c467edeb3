"""The plots of a report: which slices are better and worse, how calls differ, what confidence is worth. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from markupsafe import Markup

from evaluation import svg
from evaluation.figures import Figure
from evaluation.html_summary import clearly_worse
from evaluation.measure import trust_of_calls
from evaluation.report import Report, written
from evaluation.trust import TrustCounts

FORESTS: Final = ("wer", "entity_recall", "cpwer", "rtfx")
MOST_SLICES: Final = 40
HISTOGRAM: Final = (0.0, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.6, 1.0)
"""Where bars of the histogram begin; the last one has no end."""
_ROW, _LETTERS = 20.0, 17
_POINTS: Final = 20
_RELIABILITY_BINS: Final = 10


@dataclass(frozen=True, slots=True)
class Plot:
    """A plot: its title, what it says and how to read it, the drawing, and its numbers as a table."""

    key: str
    title: str
    says: str
    drawing: Markup
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def plots_of(report: Report) -> tuple[Plot, ...]:
    """The plots that the report has anything for."""
    return (*_forests(report), *_histogram(report), *_of_trust(trust_of_calls(report.score.calls)))


def _forests(report: Report) -> Iterator[Plot]:
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


def _histogram(report: Report) -> Iterator[Plot]:
    rates = sorted(rate for call in report.score.calls if (rate := call.words.rate) is not None)
    if len(rates) < 2:
        return
    bounds = HISTOGRAM
    names = [f"{100 * low:g}" for low in bounds]
    counts = Counter(max(at for at, low in enumerate(bounds) if rate >= low) for rate in rates)
    most = max(counts.values())
    marks = [mark for mark in svg.steps(float(most), 5) if mark == int(mark)]
    box = svg.Box(34, 30, svg.WIDTH - 8, 190)
    across, up = box.across(0, len(bounds)), box.up(0, max(marks[-1], most))
    columns = [(float(at), name) for at, name in enumerate(names)]
    parts = [
        svg.axes(
            box,
            (across, columns, "WER of a call, % (bars from … on)"),
            (up, [(mark, f"{mark:g}") for mark in marks], "calls"),
        )
    ]
    for at, number in sorted(counts.items()):
        x, y = across(at) + 2, up(number)
        parts.append(svg.tag("rect", x=x, y=y, width=across(at + 1) - x - 2, height=box.bottom - y, class_="bar"))
        parts.append(svg.text((x + across(at + 1) - 2) / 2, y - 4, str(number), "tick"))
    middle = rates[len(rates) // 2] if len(rates) % 2 else sum(rates[len(rates) // 2 - 1 : len(rates) // 2 + 1]) / 2
    says = (
        f"How calls differ: half of them have a WER of at most {written(middle, '%')}, the worst one has"
        f" {written(rates[-1], '%')}. Short calls reach high rates with few errors."
    )
    ends = [f"{name} to {after} %" for name, after in pairwise(names)] + [f"{names[-1]} % or more"]
    table = tuple((end, str(counts[at])) for at, end in enumerate(ends))
    title = "WER call by call"
    described = "; ".join(f"{end}: {number}" for end, number in table)
    yield Plot(
        "distribution", title, says, svg.drawing("distribution", title, described, 232, parts), ("WER", "calls"), table
    )


def _of_trust(trust: TrustCounts) -> Iterator[Plot]:
    if trust.words:
        yield _reliability(trust)
    if sum(trust.faults):
        yield _caught(trust)


def _shares() -> list[tuple[float, str]]:
    return [(at / 5, f"{20 * at}") for at in range(6)]


def _reliability(trust: TrustCounts) -> Plot:
    box = svg.Box(34, 30, svg.WIDTH - 14, 250)
    across, up = box.across(0, 1), box.up(0, 1)
    parts = [
        svg.axes(box, (across, _shares(), "probability that was given, %"), (up, _shares(), "share that is right, %")),
        svg.line(across(0), up(0), across(1), up(1), "ideal"),
        svg.text(across(0.3), up(0.3) - 6, "ideal", "tick", "end"),
    ]
    bins = _coarse(trust)
    most = max(words for words, _, _ in bins)
    points = [(across(mean), up(right)) for _, mean, right in bins]
    parts.append(svg.path(points, "curve"))
    parts += [
        svg.tag("circle", cx=x, cy=y, r=2.5 + 5.5 * (words / most) ** 0.5, class_="mark dot")
        for (x, y), (words, _, _) in zip(points, bins, strict=True)
    ]
    says = (
        "Whether the system knows how sure it may be: on the dashed line, of the words that it gives 80 %, 80 of 100"
        " are right. Under the line it is too sure. The larger a mark, the more words."
    )
    table = tuple((written(mean, "%"), written(right, "%"), f"{words:,.0f}") for words, mean, right in bins)
    described = "; ".join(f"given {mean}: {right} right" for mean, right, _ in table)
    title = "Word probabilities"
    return Plot(
        "reliability",
        title,
        says,
        svg.drawing("reliability", title, described, 292, parts),
        ("probability given", "right", "words"),
        table,
    )


def _coarse(trust: TrustCounts) -> list[tuple[float, float, float]]:
    """Words, mean probability and share that is right, of ten bins."""
    size = len(trust.right) // _RELIABILITY_BINS
    found = []
    for first in range(0, len(trust.right), size):
        own = slice(first, first + size)
        right = sum(trust.right[own])
        words = right + sum(trust.wrong[own])
        if words:
            found.append((float(words), sum(trust.probability[own]) / words, right / words))
    return found


def _caught(trust: TrustCounts) -> Plot:
    box = svg.Box(34, 30, svg.WIDTH - 14, 250)
    across, up = box.across(0, 1), box.up(0, 1)
    shares = [at / _POINTS for at in range(_POINTS + 1)]
    found = [(share, trust.caught(share) or 0.0) for share in shares]
    parts = [
        svg.axes(box, (across, _shares(), "audio that is listened to, %"), (up, _shares(), "wrong words heard, %")),
        svg.line(across(0), up(0), across(1), up(1), "ideal"),
        svg.text(across(0.7) + 8, up(0.7) + 12, "by chance", "tick", "start"),
        svg.path([(across(share), up(part)) for share, part in found], "curve"),
    ]
    for share, part in found:
        if share in {0.1, 0.2, 0.5}:
            parts.append(svg.tag("circle", cx=across(share), cy=up(part), r=4, class_="mark dot"))
            parts.append(svg.text(across(share) + 8, up(part) + 11, f"{100 * part:.0f}", "label", "start"))
    says = (
        "What a review finds that begins with the least confident utterances: the further the curve is over the dashed"
        " line, the more such a review finds. Words that were missed altogether are in no utterance."
    )
    table = tuple((written(share, "%"), written(part, "%")) for share, part in found)
    described = "; ".join(f"{share} of the audio: {part}" for share, part in table[2::4])
    title = "Errors that a review hears"
    return Plot(
        "caught",
        title,
        says,
        svg.drawing("caught", title, described, 292, parts),
        ("audio listened to", "wrong words heard"),
        table,
    )


def _cells(figure: Figure) -> tuple[str, str, str]:
    bounds = figure.interval
    low, high = (None, None) if bounds is None else (bounds.low, bounds.high)
    unit = figure.measure.unit
    return written(figure.value, unit), written(low, unit, named=False), written(high, unit, named=False)


def _capital(text: str) -> str:
    return f"{text[0].upper()}{text[1:]}" if text.partition(" ")[0].islower() else text
