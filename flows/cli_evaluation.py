"""The command about how right transcripts are: `evaluate`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flows.cli_common import ConfigOption, TranscriptsOption, console
from flows.cli_reports import write_html, write_json, write_parquet
from flows.cli_set import on_terminal
from flows.evaluating import ToScore, scored
from flows.progress import watcher
from tasks.settings import load_settings

if TYPE_CHECKING:
    from evaluation.report import Report


def evaluate(  # noqa: PLR0913  # typer makes options of arguments
    set_place: Annotated[
        str | None,
        typer.Argument(
            metavar="SET",
            help="Evaluation set: a folder, or URI of one, with cases.jsonl, recordings and references.",
            show_default=False,
        ),
    ] = None,
    *,
    references: Annotated[
        str | None,
        typer.Option(
            help="Instead of a set: folder, or URI of one, with .stm, .rttm, .ctm and .entities.json references.",
            show_default=False,
        ),
    ] = None,
    hypotheses: Annotated[
        str | None,
        typer.Option(
            help="With --references: folder, or URI of one, with .stm files to score, not the data set.",
            show_default=False,
        ),
    ] = None,
    transcripts: TranscriptsOption = None,
    month: Annotated[
        str | None,
        typer.Option(help="Month of the data set, YYYY-MM; all when left out. With SET: score what the month holds."),
    ] = None,
    language: Annotated[
        str, typer.Option(help="Language of the references (ISO 639-1), for the normaliser; a set names its own.")
    ] = "en",
    bundle: Annotated[
        str | None, typer.Option(help="Model bundle that transcribes the set.", show_default=False)
    ] = None,
    device: Annotated[str | None, typer.Option(help="cpu, cuda or cuda:N, for the set.", show_default=False)] = None,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the report here too.")] = None,
    html_file: Annotated[
        Path | None,
        typer.Option(
            "--html",
            help="Write it here as a page that needs no network: summary, what to do, plots, tables, the worst calls "
            "to read and hear.",
            show_default=False,
        ),
    ] = None,
    parquet_folder: Annotated[
        Path | None,
        typer.Option("--parquet", help="Write figures.parquet and calls.parquet into this folder.", show_default=False),
    ] = None,
    words: Annotated[
        bool,
        typer.Option("--words/--no-words", help="--html: may it hold what was said? Without, figures only, no sound."),
    ] = True,
    audio: Annotated[
        bool, typer.Option("--audio/--no-audio", help="--html: may it hold sound, 20 seconds of a call?")
    ] = True,
    config: ConfigOption = None,
) -> None:
    """Score transcripts against references: words, speakers, entities, silence, word probabilities.

    An evaluation set is transcribed by the pipeline that transcribes the archive (what was transcribed before with
    the same models and settings is read), or, with --transcripts or --month, looked up in the data set.

    The page that --html writes, and the tables of --parquet, hold the same figures as --json. The page shows words
    and plays sound of the worst calls: keep it where these may be kept, or leave them out with --no-words.

    Example: `callscribe evaluate evaluation/sets/demo --html report.html --json report.json --parquet figures`

    Example: `callscribe evaluate --references references --transcripts s3://transcripts --json report.json`
    """
    asked = ToScore(set_place, references, hypotheses, month, by_data_set=transcripts is not None, language=language)
    settings = load_settings(
        config, {"transcripts": {"uri": transcripts}, "models": {"bundle": bundle, "device": device}}
    )
    asked.check(settings)
    with on_terminal():
        report, known = scored(asked, settings)
        if html_file or parquet_folder:
            watcher().stage("computing figures and their intervals")
            report = report.with_figures()
    _show(report)
    if json_file is not None:
        write_json(report, json_file)
    if parquet_folder is not None:
        write_parquet(report, parquet_folder)
    if html_file is not None:
        write_html(report, html_file, known if audio else None, settings, words=words)


def _show(report: Report) -> None:
    """Print the tables of a report, and what is weak in it."""
    from evaluation.advice import advice_lines
    from evaluation.report import classes_table, figures_table, missed_line, report_table, slices_table

    console.print(report_table(report))
    if report.figures:
        console.print(figures_table(report))
    if classes := classes_table(report):
        console.print(classes)
    if report.slices:
        console.print(slices_table(report))
    console.print(missed_line(report), markup=False, highlight=False)
    for line in advice_lines(report.advice) if report.figures else ():
        console.print(line, markup=False, highlight=False)
