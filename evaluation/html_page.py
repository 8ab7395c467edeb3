"""The page of a report with what it may hold: words, and sound cut out of the recordings of its set."""

from __future__ import annotations

from datetime import datetime

from evaluation.clips import cut_clips
from evaluation.evaluation_set import EvaluationSet
from evaluation.html_calls import worst_calls
from evaluation.html_report import to_html
from evaluation.report import Report
from tasks.settings import Settings


def page_of(
    report: Report, made_at: datetime, settings: Settings, *, heard: EvaluationSet | None = None, words: bool = True
) -> str:
    """Make the page of a report.

    Args:
        report: with its figures.
        made_at: when it is made, with its time zone.
        settings: limits of decoders, and how headerless files are read.
        heard: the set whose recordings may be heard in it; None for none.
        words: whether what was said may be in it; without, nothing can be heard either.

    Returns:
        HTML.

    Raises:
        StorageUnavailable, StorageRefused: the store of the set does not answer, or does not let one read.
    """
    if not words:
        return to_html(report, made_at, words=False)
    worst = worst_calls(report)
    if heard is None:
        return to_html(report, made_at, worst=worst)
    stretches = {one.score.call_id: one.stretch for one in worst if one.stretch is not None}
    clips, problems = cut_clips(stretches, [one.case for one in heard.cases], heard.storage, settings)
    return to_html(report, made_at, worst=worst, clips=clips, no_clips=problems)
