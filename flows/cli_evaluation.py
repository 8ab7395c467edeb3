"""The command about how right transcripts are: `evaluate`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from flows.cli_common import ConfigOption, TranscriptsOption, console, errors, folder_of, transcripts_of, writing
from flows.cli_set import opened_set, transcribed
from tasks.errors import SettingsError

if TYPE_CHECKING:
    from evaluation.report import Report


def evaluate(
    set_place: Annotated[
        str | None,
        typer.Argument(
            metavar="[SET]",
            help="Evaluation set: a folder, or URI of one, with cases.jsonl, recordings and references.",
            show_default=False,
        ),
    ] = None,
    references: Annotated[
        str | None,
        typer.Option(
            help="Instead of a set: folder, or URI of one, with .stm, .rttm and .entities.json references.",
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
    config: ConfigOption = None,
) -> None:
    """Score transcripts against references: words, speakers, entities, silence, word probabilities.

    An evaluation set is transcribed by the pipeline that transcribes the archive (what was transcribed before with
    the same models and settings is read), or, with --transcripts or --month, looked up in the data set.

    Example: `callscribe evaluate evaluation/sets/demo --json report.json`

    Example: `callscribe evaluate --references references --transcripts s3://transcripts --json report.json`
    """
    from evaluation.advice import advice_lines
    from evaluation.report import classes_table, figures_table, missed_line, report_table, slices_table
    from tasks.inventory import check_month

    if (set_place is None) == (references is None):
        raise SettingsError("say what to score against: an evaluation set (SET), or --references FOLDER")
    if month is not None:
        check_month(month)
    if references is not None:
        report = _by_references(references, hypotheses, config, transcripts, month, language)
    else:
        assert set_place is not None  # noqa: S101  # one of the two is
        report = _by_set(set_place, config, transcripts, month, {"bundle": bundle, "device": device})
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
    if json_file is not None:
        with writing(json_file):
            json_file.write_text(report.to_json(), encoding="utf-8")
        errors.print(f"report written to {escape(str(json_file))}")


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
) -> Report:
    """The report of an evaluation set: transcribed anew, or as the data set holds its calls."""
    from evaluation.scoring import score_dataset_by_set, score_evaluation_set
    from tasks.settings import load_settings

    settings = load_settings(config, overrides={"models": models})
    known = opened_set(place, settings)
    if transcripts is not None or month is not None:
        return score_dataset_by_set(known, transcripts_of(config, transcripts), month)
    return score_evaluation_set(known, transcribed(known, settings))
