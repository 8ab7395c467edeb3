"""A report as one HTML file for people who decide: summary, what to do, plots, tables, worst calls to read and hear.

The file needs nothing else and asks for nothing: style, script, drawings and sound are in it, and a Content Security
Policy forbids everything but these. What comes from calls is escaped, whatever it is. It holds words that somebody
said, and sound, unless it is made without: then it lies only where erasure visits.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from datetime import datetime
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Final

from markupsafe import Markup

from evaluation.clips import Clip
from evaluation.html_advice import looked_at, weak_spots
from evaluation.html_calls import WorstCall, view, worst_calls
from evaluation.html_plots import plots_of
from evaluation.html_summary import clearly_worse, not_measured, sentences, stands_for, tiles
from evaluation.html_tables import calls_table, classes_table, measures_table, slices_table
from evaluation.report import Report

if TYPE_CHECKING:
    from jinja2 import Environment

_TEMPLATES: Final = Path(__file__).parent / "templates"
_HEAD: Final = frozenset({"Calls", "Models", "Device", "Report made"})


def to_html(
    report: Report,
    made_at: datetime,
    *,
    words: bool = True,
    worst: tuple[WorstCall, ...] | None = None,
    clips: Mapping[str, Clip] | None = None,
    no_clips: Mapping[str, str] | None = None,
) -> str:
    """Write a report as a page. Pure.

    Args:
        report: with its figures (`Report.with_figures`).
        made_at: when it is made, with its time zone.
        words: whether what was said and heard may be in it; without, there are figures only, and no sound.
        worst: the calls that are shown; found in the report when None.
        clips: call_id → the sound of its worst stretch.
        no_clips: call_id → why there is none.

    Returns:
        HTML, the same for the same report and time.
    """
    style, script = _file("report.css"), _file("report.js")
    shown = () if not words else worst_calls(report) if worst is None else worst
    sounds, reasons = clips or {}, no_clips or {}
    return (
        _environment()
        .get_template("report.html")
        .render(
            report=report,
            style=Markup(style),  # noqa: S704  # our own files, which hold no markup
            script=Markup(script),  # noqa: S704
            policy=content_policy(style, script),
            facts=_facts(report, made_at),
            head=[value for name, value in _facts(report, made_at) if name in _HEAD],
            stands_for=stands_for(report),
            tiles=tiles(report),
            sentences=sentences(report),
            worse=clearly_worse(report),
            not_measured=not_measured(report),
            weak_spots=weak_spots(report),
            looked_at=looked_at(report),
            plots=plots_of(report),
            tables=[one for one in (measures_table(report), classes_table(report), slices_table(report)) if one],
            calls_table=calls_table(report),
            calls=[view(one, sounds.get(one.score.call_id), reasons.get(one.score.call_id, "")) for one in shown],
            words=words,
        )
    )


def content_policy(style: str, script: str) -> str:
    """What the page may load: its own style and script, by their digests, and the sound that is in it."""
    digests = [base64.b64encode(hashlib.sha256(one.encode()).digest()).decode() for one in (style, script)]
    return (
        f"default-src 'none'; style-src 'sha256-{digests[0]}'; script-src 'sha256-{digests[1]}'; media-src data:; "
        "base-uri 'none'; form-action 'none'"
    )


def _facts(report: Report, made_at: datetime) -> list[tuple[str, str]]:
    """What the figures are of, as names and values."""
    calls, origin = report.score.calls, report.origin
    known = [call.facts.duration_s for call in calls if call.facts.duration_s]
    unknown = len(calls) - len(known)
    length = f"{sum(known) / 3600:,.2f} hours" if known else "length not known"
    if known and unknown:
        length += f", {unknown:,} of unknown length"
    conversations = len({call.facts.group or call.call_id for call in calls})
    several = f" of {conversations:,} conversations" if conversations != len(calls) else ""
    told = [
        ("Set", report.name),
        ("Place of the references", origin.place),
        ("Digest of the set (SHA-256)", origin.digest or ""),
        ("Calls", f"{len(calls):,} recordings{several}, {length}"),
        ("Transcripts", origin.hypotheses or ("made for this report" if origin.bundles else "")),
        ("Models", ", ".join(map(str, origin.bundles))),
        ("Recogniser", ", ".join(origin.recognizers)),
        ("Device", ", ".join(origin.devices)),
        ("Settings (fingerprints)", ", ".join(origin.fingerprints)),
        ("Normaliser", report.normaliser),
        ("Report made", f"{made_at:%Y-%m-%d %H:%M %Z} by callscribe {version('callscribe')}"),
    ]
    if report.score.unreferenced:
        told.append(("Calls without a reference, not scored", f"{len(report.score.unreferenced):,}"))
    return [(name, value) for name, value in told if value]


@cache
def _file(name: str) -> str:
    return (_TEMPLATES / name).read_text(encoding="utf-8")


@cache
def _environment() -> Environment:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    return Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
