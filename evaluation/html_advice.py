"""What to do, on the page of a report: each weak spot with its action; where none is, what was looked at. Pure.

It says what `evaluation.advice` found, as the terminal does; see there for the rules and their thresholds.
"""

from __future__ import annotations

from dataclasses import dataclass

from markupsafe import Markup, escape

from evaluation.advice import weighed
from evaluation.intervals import FEWEST_CALLS
from evaluation.report import Report


@dataclass(frozen=True, slots=True)
class WeakSpot:
    """A weak spot: what is weak, and what works against it, with names of settings and commands as code."""

    says: str
    action: Markup


@dataclass(frozen=True, slots=True)
class Looked:
    """Titles of the measures that were held against a threshold, and of those that too few calls say anything of."""

    judged: tuple[str, ...]
    unsure: tuple[str, ...]
    fewest: int = FEWEST_CALLS


def weak_spots(report: Report) -> tuple[WeakSpot, ...]:
    """What is weak in a report, the worst first."""
    return tuple(WeakSpot(one.says, _with_code(one.action)) for one in report.advice)


def looked_at(report: Report) -> Looked:
    """What could be told from chance over all calls, and what could not."""
    seen = [figure for figure in weighed(report.score.calls, report.figures) if figure.value is not None]
    return Looked(
        tuple(figure.measure.title for figure in seen if figure.interval is not None),
        tuple(figure.measure.title for figure in seen if figure.interval is None),
    )


def _with_code(text: str) -> Markup:
    """A text as HTML, what stands in backticks as code."""
    parts = text.split("`")
    code = Markup("<code>{}</code>")
    return Markup("").join(code.format(part) if at % 2 else escape(part) for at, part in enumerate(parts))
