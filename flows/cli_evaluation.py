"""The command about how right transcripts are: `evaluate`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flows.cli_common import ConfigOption, TranscriptsOption, console, folder_of, transcripts_of
from flows.cli_reports import with_figures, write_html, write_json, write_parquet
from flows.cli_set import opened_set, transcribed
from tasks.errors import SettingsError

if TYPE_CHECKING:
    from evaluation.evaluation_set import EvaluationSet
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
        Path | None,
        typer.Option(help="With --references: folder with .stm files to score, not the data set.", show_default=False),
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
            help="Write it here as a page that needs no network: summary, plots, tables, the worst calls to read and "
            "hear.",
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
    from tasks.inventory import check_month

    if (set_place is None) == (references is None):
        raise SettingsError("say what to score against: an evaluation set (SET), or --references FOLDER")
    if month is not None:
        check_month(month)
    known = None
    if references is not None:
        report = _by_references(references, hypotheses, config, transcripts, month, language)
    else:
        assert set_place is not None  # noqa: S101  # one of the two is
        models = {"bundle": bundle, "device": device}
        report, known = _by_set(set_place, config, transcripts, month, models)
    if html_file or parquet_folder:
        report = with_figures(report)
    _show(report)
    if json_file is not None:
        write_json(report, json_file)
    if parquet_folder is not None:
        write_parquet(report, parquet_folder)
    if html_file is not None:
        write_html(report, html_file, known if audio else None, config, words=words)


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


def _by_references(
    references: str,
    hypotheses: Path | None,
    config: Path | None,
    transcripts: str | None,
    month: str | None,
    language: str,
) -> Report:
    """The report of a data set, or of files, against a folder of references."""
    from evaluation.scoring import score_dataset, score_files

    place = folder_of(config, references)
    if hypotheses is not None:
        return score_files(place, hypotheses, language)
    return score_dataset(place, transcripts_of(config, transcripts), month, language)


def _by_set(
    place: str, config: Path | None, transcripts: str | None, month: str | None, models: dict[str, str | None]
) -> tuple[Report, EvaluationSet]:
    """The report of an evaluation set, transcribed anew or as the data set holds its calls; and the set."""
    from evaluation.scoring import score_dataset_by_set, score_evaluation_set
    from tasks.settings import load_settings

    settings = load_settings(config, overrides={"models": models})
    known = opened_set(place, settings)
    if transcripts is not None or month is not None:
        return score_dataset_by_set(known, transcripts_of(config, transcripts), month), known
    return score_evaluation_set(known, transcribed(known, settings)), known
