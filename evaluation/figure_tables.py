"""The figures of a report as Parquet, for those who compare or plot them: `figures.parquet` and `calls.parquet`.

`figures.parquet` is long: a row for each measure of the set and of each slice. `calls.parquet` has a row for each call,
with its counts and what is known of it; no word that was spoken is in either. Where the figures come from
(`evaluation.origin`) stands in the metadata of both files, as JSON; `figures.parquet` names no call.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, Final

from evaluation.figures import Figure
from evaluation.rates import ErrorCounts
from evaluation.report import Report
from evaluation.score import CallScore
from evaluation.word_times import TOLERANCES_MS
from tasks.schemas import Kind, plain_schema
from tasks.tables import table_of, to_parquet

FIGURES, CALLS = "figures.parquet", "calls.parquet"

ORIGIN: Final = "callscribe.origin"
"""Key of the files' metadata."""

Column = tuple[str, Kind, str]

FIGURE_COLUMNS: Final[tuple[Column, ...]] = (
    ("report", "text", "name of the report"),
    ("scope", "text", "`set`: all calls; `slice`: those of one slice"),
    ("dimension", "text", "what the slice is about, such as codec; null of the set"),
    ("slice", "text", "its value there, such as opus; null of the set"),
    ("measure", "text", "key of the measure, such as wer"),
    ("title", "text", "the measure, for people"),
    (
        "unit",
        "text",
        "`%`: the value is a share, 0 to 1; `per hour`; `s`: seconds; `x`: times real time; empty: a number",
    ),
    ("better", "text", "whether lower or higher is better"),
    ("value", "number", "the figure; null where it is undefined"),
    ("low", "number", "where its interval of 95 % begins; null where there is none"),
    ("high", "number", "where its interval ends"),
    ("calls", "count", "calls that the figure says anything of"),
)

_KNOWN: Final[tuple[tuple[Column, Callable[[CallScore], Any]], ...]] = (
    (("call_id", "text", "identity of the call"), lambda call: call.call_id),
    (("transcribed", "yes or no", "whether there is a transcript"), lambda call: call.transcribed),
    (("stratum", "text", "part of a sampled month that it is of; or null"), lambda call: call.facts.stratum),
    (("weight", "number", "for how many calls it stands"), lambda call: call.facts.weight),
    (("recordings_of", "text", "calls with the same value are the same conversation"), lambda call: call.facts.group),
    (("tags", "texts", "tags of the case"), lambda call: list(call.facts.tags)),
    (("language", "text", "language of the reference"), lambda call: call.facts.language),
    (("codec", "text", "codec of the recording"), lambda call: call.facts.codec),
    (("channel_layout", "text", "mono, separate, …"), lambda call: call.facts.channel_layout),
    (("snr_db", "number", "signal over noise, dB"), lambda call: call.facts.snr_db),
    (("overlap", "number", "share of the speech in which several talk, 0 to 1"), lambda call: call.facts.overlap),
    (("duration_s", "number", "length of the recording, seconds"), lambda call: call.facts.duration_s),
    (("work_s", "number", "what the pipeline took for it, seconds"), lambda call: call.facts.work_s),
)
_ERRORS: Final[tuple[tuple[str, str, Callable[[CallScore], ErrorCounts | None]], ...]] = (
    ("", "normalised words (WER)", lambda call: call.words),
    ("raw_", "words as written", lambda call: call.raw),
    ("character_", "characters of normalised words (CER)", lambda call: call.characters),
    ("cp_", "words by speaker (cpWER)", lambda call: call.speakers.counts),
    ("tcp_", "words by speaker and time (tcpWER)", lambda call: call.timed),
    ("orc_", "words, a wrong speaker forgiven (ORC-WER); null where not computed", lambda call: call.streams),
)
_KINDS: Final = (
    ("reference", "reference_words"),
    *((one, one) for one in ("substitutions", "deletions", "insertions")),
)
_OTHERS: Final[tuple[tuple[Column, Callable[[CallScore], Any]], ...]] = (
    (
        ("timed_words", "count", "words recognised right whose times are compared with those of the reference"),
        lambda call: call.timing.words,
    ),
    *(
        (
            (f"timed_words_within_{tolerance}_ms", "count", f"… of which both ends are at most {tolerance} ms off"),
            lambda call, at=at: call.timing.within[at],
        )
        for at, tolerance in enumerate(TOLERANCES_MS)
    ),
    (
        ("word_start_errors_s", "number", "… the sum of how far their starts are off, seconds"),
        lambda call: call.timing.start_s,
    ),
    (
        ("word_end_errors_s", "number", "… the sum of how far their ends are off, seconds"),
        lambda call: call.timing.end_s,
    ),
    (("wder_words", "count", "recognised words that stand for one"), lambda call: call.attribution.words),
    (("wder_wrong", "count", "… given to the wrong speaker (WDER)"), lambda call: call.attribution.wrong),
    (("der_total_s", "number", "time of speech by the reference, seconds (DER)"), lambda call: call.turns.total_s),
    (("der_missed_s", "number", "… given to nobody"), lambda call: call.turns.missed_s),
    (("der_false_alarm_s", "number", "… where nobody speaks"), lambda call: call.turns.false_alarm_s),
    (("der_confusion_s", "number", "… given to the wrong speaker"), lambda call: call.turns.confusion_s),
    (("entities_reference", "count", "entities of the reference"), lambda call: call.entities.counts.reference),
    (("entities_found", "count", "… that were found"), lambda call: call.entities.counts.correct),
    (
        ("entities_spurious", "count", "entities found that nobody said; null where not looked for"),
        lambda call: None if call.entities.spurious is None else sum(call.entities.spurious.values()),
    ),
    (("silent_s", "number", "time in which nobody speaks, seconds"), lambda call: call.silence.silent_s),
    (("made_up_words", "count", "words recognised in that time"), lambda call: call.silence.made_up_words),
    (("lost_words", "count", "words in lines over which nothing was heard"), lambda call: call.silence.lost_words),
)


def figure_rows(report: Report) -> Iterator[dict[str, Any]]:
    """A row for each figure of the set, then of its slices."""
    yield from _rows(report.figures, {"report": report.name, "scope": "set", "dimension": None, "slice": None})
    for one in report.slices:
        place = {"report": report.name, "scope": "slice", "dimension": one.dimension, "slice": one.value}
        yield from _rows(one.figures, place)


def call_rows(report: Report) -> Iterator[dict[str, Any]]:
    """A row for each call, by call_id."""
    for call in report.score.calls:
        row = {name: take(call) for (name, _, _), take in _KNOWN}
        for prefix, _, take_errors in _ERRORS:
            errors = take_errors(call)
            for name, attribute in _KINDS:
                row[f"{prefix}{name}"] = None if errors is None else getattr(errors, attribute)
        yield row | {name: take(call) for (name, _, _), take in _OTHERS}


def call_columns() -> tuple[Column, ...]:
    """The columns of `calls.parquet`."""
    errors: list[Column] = [
        (f"{prefix}{name}", "count", f"{name} of {says}" if name != "reference" else f"{says}: those of the reference")
        for prefix, says, _ in _ERRORS
        for name, _ in _KINDS
    ]
    return (*(column for column, _ in _KNOWN), *errors, *(column for column, _ in _OTHERS))


def parquet_files(report: Report) -> Iterator[tuple[str, bytes]]:
    """Both files, each with its name."""
    for name, rows, columns in (
        (FIGURES, list(figure_rows(report)), FIGURE_COLUMNS),
        (CALLS, list(call_rows(report)), call_columns()),
    ):
        origin = json.dumps(report.origin.to_json(calls=name == CALLS), ensure_ascii=False, sort_keys=True)
        yield name, to_parquet(table_of(rows, plain_schema(columns, {ORIGIN: origin})))


def write_tables(report: Report, folder: Path) -> None:
    """Write both files; the folder is made where it is not there.

    Raises:
        OSError: they cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in parquet_files(report):
        (folder / name).write_bytes(content)


def _rows(figures: Iterable[Figure], place: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for figure in figures:
        yield {
            **place,
            "measure": figure.measure.key,
            "title": figure.measure.title,
            "unit": figure.measure.unit,
            "better": figure.measure.better,
            "value": figure.value,
            "low": figure.interval.low if figure.interval else None,
            "high": figure.interval.high if figure.interval else None,
            "calls": figure.calls,
        }
