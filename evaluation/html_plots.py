"""The plots of a report: which slices are better and worse, how calls differ, what confidence is worth. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from itertools import pairwise
from typing import Final

from evaluation import svg
from evaluation.html_forests import forests_of
from evaluation.html_plot import Plot
from evaluation.html_trust_plots import trust_plots
from evaluation.measure import trust_of_calls
from evaluation.report import Report, written

HISTOGRAM: Final = (0.0, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.6, 1.0)
"""Where bars of the histogram begin; the last one has no end."""


def plots_of(report: Report) -> tuple[Plot, ...]:
    """The plots that the report has anything for."""
    return (*forests_of(report), *_histogram(report), *trust_plots(trust_of_calls(report.score.calls)))


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
