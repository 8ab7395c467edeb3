"""The report of a set: JSON for machines, a table for the terminal, Markdown for benchmarks that are checked in.

Every form names the normaliser, gives counts beside rates, and writes an undefined rate as null or `-`. Missed
entities are words that somebody said: they are in the report for people to look at, so a report lies only where
erasure visits, and `spoken=False` leaves them out where it must not hold any.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final

from evaluation.advice import Advice, advise
from evaluation.entities import EntityMiss, EntityScore
from evaluation.figures import Figure, SliceFigures, figures_of, slices_of_set
from evaluation.normalise import NORMALISER
from evaluation.origin import Compared, Origin
from evaluation.rates import AttributionCounts, EntityCounts, ErrorCounts
from evaluation.score import CallScore, SetScore
from evaluation.wording import percent, written

__all__ = [
    "Report",
    "classes_table",
    "figures_table",
    "missed_line",
    "percent",
    "report_table",
    "slices_table",
    "total_rows",
    "written",
]

if TYPE_CHECKING:
    from rich.table import Table

COLUMNS: Final = ("call", "words", "WER %", "sub", "del", "ins", "cpWER %", "WDER %", "entities", "entities %")
"""Of the table; all but the first are numbers. `entities` is found/of the reference."""


@dataclass(frozen=True, slots=True)
class Report:
    """A scored set under a name, with the normaliser that made its counts.

    `figures` and `slices` are the measures with their intervals (`with_figures`), and `advice` is what is weak in them;
    empty where nobody asked for them. `compared` holds what was said and heard, by call_id, and `origin` where it comes
    from.
    """

    name: str
    score: SetScore
    normaliser: str = NORMALISER
    figures: tuple[Figure, ...] = ()
    slices: tuple[SliceFigures, ...] = ()
    advice: tuple[Advice, ...] = ()
    origin: Origin = field(default_factory=Origin)
    compared: Mapping[str, Compared] = field(default_factory=dict, repr=False)

    def with_figures(self) -> Report:
        """The same report with every measure, its interval, the slices of the set, and what to do; not found twice."""
        if self.figures:
            return self
        calls = self.score.calls
        figures, slices = figures_of(calls), slices_of_set(calls)
        return replace(self, figures=figures, slices=slices, advice=advise(calls, figures, slices))

    def to_json(self, *, spoken: bool = True) -> str:
        """Write the report as JSON: sorted keys, rates rounded to 6 digits, the same text for the same scores.

        Args:
            spoken: whether the words of missed entities are in it.

        Returns:
            Indented JSON with a line break at its end.
        """
        score = self.score
        content = {
            "name": self.name,
            "normaliser": self.normaliser,
            "origin": self.origin.to_json(),
            "unreferenced": list(score.unreferenced),
            "untranscribed": list(score.untranscribed),
            "total": self.totals(),
            **({"figures": _figures(self.figures)} if self.figures else {}),
            **({"advice": [one.to_json() for one in self.advice]} if self.figures else {}),
            **({"slices": [_slice(one) for one in self.slices]} if self.slices else {}),
            "calls": {call.call_id: _call(call, spoken=spoken) for call in score.calls},
        }
        return json.dumps(content, ensure_ascii=False, indent=2, sort_keys=True) + "\n"

    def totals(self) -> dict[str, Any]:
        """The counts over all calls and their rates, in JSON's types: no call and no word is in them."""
        score = self.score
        return {
            "calls": len(score.calls),
            **_counts(score.words, score.speakers, score.attribution, score.entities),
        }

    def to_markdown(self, *, spoken: bool = True) -> str:
        """Write the report as a Markdown section.

        Args:
            spoken: whether the words of missed entities are in it.

        Returns:
            A heading, the table, and lines on what was missed.
        """
        rule = ["---", *["---:"] * (len(COLUMNS) - 1)]
        table = [_markdown_row(row) for row in (COLUMNS, rule, *_rows(self.score))]
        notes = [f"Normaliser: {self.normaliser}.", *_notes(self.score), *([missed_line(self)] if spoken else [])]
        return "\n".join([f"### {self.name}", "", *table, "", *(f"{_escaped(note)}\n" for note in notes)])


def report_table(report: Report) -> Table:
    """Draw the table for the terminal, one row per call and the total of the counts last."""
    from rich.markup import escape
    from rich.table import Table

    table = Table(title=escape(report.name), caption=escape("\n".join([report.normaliser, *_notes(report.score)])))
    for column in COLUMNS:
        table.add_column(column, justify="left" if column == COLUMNS[0] else "right")
    *calls, total = _rows(report.score)
    for row in calls:
        table.add_row(*map(escape, row))
    table.add_section()
    table.add_row(*total, style="bold")
    return table


def total_rows(report: Report) -> list[tuple[str, str]]:
    """What was found over all calls, by name; no call and no word is in it."""
    score = report.score
    cells = zip(COLUMNS[1:], _rows(score)[-1][1:], strict=True)
    return [
        ("calls scored", str(len(score.calls))),
        ("calls without a transcript", str(len(score.untranscribed))),
        ("calls without a reference", str(len(score.unreferenced))),
        *cells,
        ("normaliser", report.normaliser),
    ]


def missed_line(report: Report) -> str:
    """Say in one line which entities were missed, call by call."""
    counts = report.score.entities.counts
    found = [f"{call.call_id} {_miss(miss)}" for call in report.score.calls for miss in call.entities.misses]
    if not counts.reference:
        return "Missed entities: no references."
    return f"Missed entities ({counts.missed} of {counts.reference}): {'; '.join(found) or 'none'}."


def _rows(score: SetScore) -> list[tuple[str, ...]]:
    """Lay out the cells: a row per call, then the total."""
    return [
        *(
            _row(call.call_id, call.words, call.speakers.counts, call.attribution, call.entities.counts)
            for call in score.calls
        ),
        _row("total", score.words, score.speakers, score.attribution, score.entities.counts),
    ]


def _row(
    name: str, words: ErrorCounts, speakers: ErrorCounts, attribution: AttributionCounts, entities: EntityCounts
) -> tuple[str, ...]:
    """Lay out the cells of one row, as in `COLUMNS`."""
    return (
        name,
        str(words.reference_words),
        percent(words.rate),
        str(words.substitutions),
        str(words.deletions),
        str(words.insertions),
        percent(speakers.rate),
        percent(attribution.rate),
        f"{entities.correct}/{entities.reference}" if entities.reference else "-",
        percent(entities.accuracy),
    )


def _notes(score: SetScore) -> Iterable[str]:
    """Say what was scored without a transcript, and what was not scored."""
    if score.untranscribed:
        yield f"No transcript, all words counted as deleted: {', '.join(score.untranscribed)}."
    if score.unreferenced:
        yield f"No reference, not scored: {', '.join(score.unreferenced)}."


def figures_table(report: Report) -> Table:
    """Draw the figures for the terminal: each measure, its interval, and of how many calls."""
    from rich.table import Table

    table = Table(title="all measures, with the bounds between which each lies with a confidence of 95 %")
    table.add_column("measure")
    for column in ("value", "from", "to", "calls"):
        table.add_column(column, justify="right")
    for figure in report.figures:
        if "." in figure.measure.key:
            continue
        bounds = figure.interval
        low, high = (None, None) if bounds is None else (bounds.low, bounds.high)
        values = (written(value, figure.measure.unit) for value in (figure.value, low, high))
        table.add_row(figure.measure.title, *values, str(figure.calls))
    return table


def classes_table(report: Report) -> Table | None:
    """Draw the figures of each class of entities for the terminal; None where there is no entity."""
    from rich.table import Table

    found: dict[str, dict[str, Figure]] = {}
    for figure in report.figures:
        kind, _, name = figure.measure.key.partition(".")
        if name:
            found.setdefault(name, {})[kind] = figure
    if not found:
        return None
    table = Table(title="entities by class")
    table.add_column("class")
    for column in ("calls", "found %", "from", "to", "precision %", "F1 %", "WER inside %"):
        table.add_column(column, justify="right")
    for name, figures in found.items():
        recall = figures.get("entity_recall")
        bounds = recall.interval if recall else None
        cells = [None if bounds is None else bounds.low, None if bounds is None else bounds.high]
        others = [figures.get(f"entity_{kind}") for kind in ("precision", "f1", "wer")]
        cells += [None if figure is None else figure.value for figure in others]
        calls, value = (str(recall.calls), recall.value) if recall else ("0", None)
        table.add_row(name, calls, percent(value), *map(percent, cells))
    return table


def slices_table(report: Report) -> Table:
    """Draw the slices for the terminal: where the set is better or worse than as a whole."""
    from rich.markup import escape
    from rich.table import Table

    measures = [figure.measure for figure in report.slices[0].figures]
    shown = [at for at in range(len(measures)) if any(one.figures[at].value is not None for one in report.slices)]
    table = Table(title="slice by slice")
    for column in ("slice", "of"):
        table.add_column(column)
    for column in ("calls", "words", *(f"{measures[at].title} {measures[at].unit.strip('x')}".strip() for at in shown)):
        table.add_column(column, justify="right")
    last = None
    for one in report.slices:
        if last not in {None, one.dimension}:
            table.add_section()
        figures = [one.figures[at] for at in shown]
        cells = (written(figure.value, figure.measure.unit, named=False) for figure in figures)
        table.add_row(escape(one.value), one.dimension, str(one.calls), str(one.words), *cells)
        last = one.dimension
    return table


def _miss(miss: EntityMiss) -> str:
    """Name one missed entity."""
    return f'{miss.type} "{miss.text}"'


def _figures(figures: Iterable[Figure]) -> dict[str, Any]:
    """Put figures into JSON's types, by the key of their measure."""
    return {
        figure.measure.key: {
            "title": figure.measure.title,
            "unit": figure.measure.unit,
            "better": figure.measure.better,
            "value": _rounded(figure.value),
            "low": _rounded(figure.interval.low if figure.interval else None),
            "high": _rounded(figure.interval.high if figure.interval else None),
            "calls": figure.calls,
        }
        for figure in figures
    }


def _slice(one: SliceFigures) -> dict[str, Any]:
    """Put the figures of a slice into JSON's types."""
    return {
        "dimension": one.dimension,
        "value": one.value,
        "calls": one.calls,
        "words": one.words,
        "figures": _figures(one.figures),
    }


def _call(call: CallScore, *, spoken: bool) -> dict[str, Any]:
    """Put one call into JSON's types."""
    return {
        **_counts(call.words, call.speakers.counts, call.attribution, call.entities),
        "assignment": [list(pair) for pair in call.speakers.assignment],
        "transcribed": call.transcribed,
        "missed_entities": [
            {"type": miss.type, "start": miss.start, **({"text": miss.text} if spoken else {})}
            for miss in call.entities.misses
        ],
    }


def _counts(
    words: ErrorCounts, speakers: ErrorCounts, attribution: AttributionCounts, entities: EntityScore
) -> dict[str, Any]:
    """Put counts and their rates into JSON's types."""
    return {
        "wer": _errors(words),
        "cpwer": _errors(speakers),
        "wder": {
            "words": attribution.words,
            "wrong_speaker": attribution.wrong,
            "rate": _rounded(attribution.rate),
        },
        "entities": {
            **_found(entities.counts),
            "by_type": {kind: _found(counts) for kind, counts in entities.by_type.items()},
        },
    }


def _errors(counts: ErrorCounts) -> dict[str, int | float | None]:
    """Put word errors into JSON's types."""
    return {
        "reference_words": counts.reference_words,
        "hits": counts.hits,
        "substitutions": counts.substitutions,
        "deletions": counts.deletions,
        "insertions": counts.insertions,
        "errors": counts.errors,
        "rate": _rounded(counts.rate),
    }


def _found(counts: EntityCounts) -> dict[str, int | float | None]:
    """Put entity counts into JSON's types."""
    return {"reference": counts.reference, "correct": counts.correct, "accuracy": _rounded(counts.accuracy)}


def _rounded(rate: float | None) -> float | None:
    """Round a rate; in reports only, never in sums."""
    return None if rate is None else round(rate, 6)


def _markdown_row(cells: Iterable[str]) -> str:
    """Write one row of a Markdown table."""
    return f"| {' | '.join(_escaped(cell) for cell in cells)} |"


def _escaped(text: str) -> str:
    """Keep a text from ending its cell."""
    return text.replace("|", "\\|")
