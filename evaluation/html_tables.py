"""The tables of a report, each cell with what it is sorted by. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from evaluation.entity_classes import CLASSES
from evaluation.figures import Figure
from evaluation.report import Report, percent, written
from evaluation.score import CallScore

MOST_CALLS: Final = 1000
"""Calls in the table of the page; `calls.parquet` has all."""


@dataclass(frozen=True, slots=True)
class Cell:
    """What is shown, and what it is sorted by: a number, or the text where None and `numeric` is False."""

    text: str
    value: float | None = None
    hint: str = ""


@dataclass(frozen=True, slots=True)
class Column:
    """The head of a column."""

    title: str
    numeric: bool = True


@dataclass(frozen=True, slots=True)
class Table:
    """A table; the first column names the row. `keys` name the rows for machines."""

    key: str
    caption: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell, ...], ...]
    keys: tuple[str, ...] = ()


def measures_table(report: Report) -> Table:
    """All measures of the set; those of classes have a table of their own."""
    figures = [figure for figure in report.figures if "." not in figure.measure.key]
    columns = (Column("measure", numeric=False), *map(Column, ("value", "from", "to", "calls")))
    rows = tuple(
        (
            Cell(figure.measure.title, hint=f"{figure.measure.says}; {figure.measure.better} is better"),
            *_bounded(figure),
            _count(figure.calls),
        )
        for figure in figures
    )
    caption = "All measures, with the bounds between which each lies with a confidence of 95 %"
    return Table("measures", caption, columns, rows, tuple(figure.measure.key for figure in figures))


def classes_table(report: Report) -> Table | None:
    """Entities by class; None where there are none."""
    found: dict[str, dict[str, Figure]] = {}
    for figure in report.figures:
        kind, _, name = figure.measure.key.partition(".")
        if name:
            found.setdefault(name, {})[kind.removeprefix("entity_")] = figure
    if not found:
        return None
    counts = report.score.entities.by_class
    heads = ("said", "found", "found %", "from", "to", "precision %", "F1 %", "WER inside %")
    rows = []
    for name in sorted(found, key=lambda name: (CLASSES.index(name) if name in CLASSES else len(CLASSES), name)):
        own, figures = counts[name], found[name]
        bounds = list(_bounded(figures["recall"]))[1:] if "recall" in figures else (Cell("-"), Cell("-"))
        rows.append(
            (
                Cell(name),
                _count(own.reference),
                _count(own.correct),
                _share(own.recall),
                *bounds,
                *(_value(figures.get(kind)) for kind in ("precision", "f1", "wer")),
            )
        )
    caption = "What had to be captured, by class"
    return Table("classes", caption, (Column("class", numeric=False), *map(Column, heads)), tuple(rows), tuple(found))


def slices_table(report: Report) -> Table | None:
    """Slices, with the headline measures that any of them has a figure of; None where there are none."""
    if not report.slices:
        return None
    measures = [figure.measure for figure in report.slices[0].figures]
    shown = [at for at in range(len(measures)) if any(one.figures[at].value is not None for one in report.slices)]
    columns = (
        Column("slice", numeric=False),
        Column("of", numeric=False),
        Column("calls"),
        Column("words"),
        *(Column(f"{measures[at].title} {measures[at].unit.strip('x')}".strip()) for at in shown),
    )
    rows = tuple(
        (
            Cell(one.value),
            Cell(one.dimension),
            _count(one.calls),
            _count(one.words),
            *(_value(one.figures[at]) for at in shown),
        )
        for one in report.slices
    )
    return Table("slices", "Slice by slice; bounds are in the plots and in the Parquet file", columns, rows)


def calls_table(report: Report) -> Table:
    """Calls, those with the most word errors first."""
    calls = by_errors(report.score.calls)
    heads = ("words", "errors", "WER %", "sub", "del", "ins", "cpWER %", "found", "of", "seconds", "RTFx")
    columns = (Column("call", numeric=False), *map(Column, heads), Column("tags", numeric=False))
    rows = tuple(_call(call) for call in calls[:MOST_CALLS])
    caption = "Call by call; found and of: entities"
    if len(calls) > MOST_CALLS:
        caption += f"; the {MOST_CALLS:,} with the most errors of {len(calls):,}"
    return Table("calls", caption, columns, rows)


def by_errors(calls: Sequence[CallScore]) -> list[CallScore]:
    """Calls with the most word errors first, then with the most missed entities."""
    return sorted(calls, key=lambda call: (-call.words.errors, -call.entities.counts.missed, call.call_id))


def _call(call: CallScore) -> tuple[Cell, ...]:
    words, entities, facts = call.words, call.entities.counts, call.facts
    speed = facts.duration_s / facts.work_s if facts.duration_s and facts.work_s else None
    found = (entities.correct, entities.reference) if entities.reference else (None, None)
    return (
        Cell(call.call_id if call.transcribed else f"{call.call_id} (no transcript)"),
        *map(_count, (words.reference_words, words.errors)),
        _share(words.rate),
        *map(_count, (words.substitutions, words.deletions, words.insertions)),
        _share(call.speakers.counts.rate),
        *map(_count, found),
        _decimal(facts.duration_s),
        _decimal(speed),
        Cell(", ".join(facts.tags)),
    )


def _bounded(figure: Figure) -> Iterator[Cell]:
    """A figure and its bounds."""
    bounds, unit = figure.interval, figure.measure.unit
    yield _value(figure, named=True)
    for one in (None, None) if bounds is None else (bounds.low, bounds.high):
        yield Cell(written(one, unit, named=False), _rounded(one))


def _value(figure: Figure | None, *, named: bool = False) -> Cell:
    if figure is None:
        return Cell("-")
    return Cell(written(figure.value, figure.measure.unit, named=named), _rounded(figure.value))


def _share(rate: float | None) -> Cell:
    return Cell(percent(rate), _rounded(rate))


def _count(number: int | None) -> Cell:
    return Cell("-" if number is None else f"{number:,}", number)


def _decimal(number: float | None) -> Cell:
    return Cell("-" if number is None else f"{number:,.1f}", _rounded(number))


def _rounded(value: float | None) -> float | None:
    """As in the JSON."""
    return None if value is None else round(value, 6)
