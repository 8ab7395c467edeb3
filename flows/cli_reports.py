"""Where `callscribe evaluate` writes what it found: JSON, Parquet, and a page for people."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from rich.markup import escape

from flows.cli_common import errors, writing

if TYPE_CHECKING:
    from evaluation.evaluation_set import EvaluationSet
    from evaluation.report import Report
    from tasks.settings import Settings


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


def write_html(report: Report, path: Path, heard: EvaluationSet | None, settings: Settings, *, words: bool) -> None:
    """Write the report as a page.

    Args:
        report: with its figures.
        path: the file.
        heard: the set whose recordings may be heard in it; None for none.
        settings: limits of decoders, and how headerless files are read.
        words: whether what was said may be in it; without, nothing can be heard either.
    """
    from datetime import UTC, datetime

    from evaluation.html_page import page_of

    with errors.status("writing the page"):
        page = page_of(report, datetime.now(UTC), settings, heard=heard, words=words)
    with writing(path):
        path.write_text(page, encoding="utf-8")
    errors.print(f"page written to {escape(str(path))}")
    if words and report.compared:
        errors.print("[yellow]note:[/] it holds words of calls, and `callscribe erase` does not reach it")
