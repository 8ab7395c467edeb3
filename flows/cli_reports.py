"""Where `callscribe evaluate` writes what it found: JSON, Parquet, and a page for people."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from rich.markup import escape

from flows.cli_common import errors, writing

if TYPE_CHECKING:
    from evaluation.evaluation_set import EvaluationSet
    from evaluation.report import Report


def with_figures(report: Report) -> Report:
    """The report with its measures and their intervals, which are not computed twice."""
    return report if report.figures else report.with_figures()


def write_json(report: Report, path: Path) -> None:
    """Write the report for machines."""
    with writing(path):
        path.write_text(report.to_json(), encoding="utf-8")
    errors.print(f"report written to {escape(str(path))}")


def write_parquet(report: Report, folder: Path) -> None:
    """Write the figures and the calls as tables."""
    from evaluation.figure_tables import write_tables

    with writing(folder):
        write_tables(report, folder)
    errors.print(f"tables written to {escape(str(folder))}")


def write_html(report: Report, path: Path, heard: EvaluationSet | None, config: Path | None, *, words: bool) -> None:
    """Write the report as a page.

    Args:
        report: with its figures.
        path: the file.
        heard: the set whose recordings may be heard in it; None for none.
        config: the settings file.
        words: whether what was said may be in it; without, nothing can be heard either.
    """
    page = _page(report, heard, config) if words else _without_words(report)
    with writing(path):
        path.write_text(page, encoding="utf-8")
    errors.print(f"page written to {escape(str(path))}")
    if words and report.compared:
        errors.print("[yellow]note:[/] it holds words of calls, and `callscribe erase` does not reach it")


def _without_words(report: Report) -> str:
    from datetime import UTC, datetime

    from evaluation.html_report import to_html

    return to_html(report, datetime.now(UTC), words=False)


def _page(report: Report, heard: EvaluationSet | None, config: Path | None) -> str:
    from datetime import UTC, datetime

    from evaluation.clips import cut_clips
    from evaluation.html_calls import worst_calls
    from evaluation.html_report import to_html
    from tasks.settings import load_settings

    worst, made_at = worst_calls(report), datetime.now(UTC)
    if heard is None:
        return to_html(report, made_at, worst=worst)
    stretches = {one.score.call_id: one.stretch for one in worst if one.stretch is not None}
    with errors.status("cutting sound"):
        cases = [one.case for one in heard.cases]
        clips, problems = cut_clips(stretches, cases, heard.storage, load_settings(config))
    return to_html(report, made_at, worst=worst, clips=clips, no_clips=problems)
