"""Plots of a report about confidence: whether it may be believed, and what a review finds that goes by it. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from evaluation import svg
from evaluation.html_plot import Plot
from evaluation.report import written
from evaluation.trust import TrustCounts

_POINTS: Final = 20
_RELIABILITY_BINS: Final = 10


def trust_plots(trust: TrustCounts) -> Iterator[Plot]:
    """The reliability of probabilities, and the errors that a review hears, where there are words and errors."""
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
