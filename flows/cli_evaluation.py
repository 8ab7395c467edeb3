"""The command about how right transcripts are: `evaluate`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from flows.cli_common import ConfigOption, TranscriptsOption, console, errors, folder_of, transcripts_of, writing


def evaluate(
    references: Annotated[
        str, typer.Option(help="Folder, or URI of one, with .stm, .rttm and .entities.json references.")
    ],
    hypotheses: Annotated[
        Path | None, typer.Option(help="Folder with .stm files to score instead of the data set.", show_default=False)
    ] = None,
    transcripts: TranscriptsOption = None,
    month: Annotated[str | None, typer.Option(help="Month of the data set, YYYY-MM; all when left out.")] = None,
    language: Annotated[str, typer.Option(help="Language of the references (ISO 639-1), for the normaliser.")] = "en",
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the report here too.")] = None,
    config: ConfigOption = None,
) -> None:
    """Score transcripts against references: WER, cpWER, entity accuracy.

    Example: `callscribe evaluate --references references --transcripts s3://transcripts --json report.json`
    """
    from evaluation.report import missed_line, report_table
    from evaluation.scoring import score_dataset, score_files
    from tasks.inventory import check_month

    if month is not None:
        check_month(month)
    place = folder_of(config, references)
    if hypotheses is not None:
        report = score_files(place, hypotheses, language)
    else:
        report = score_dataset(place, transcripts_of(config, transcripts), month, language)
    console.print(report_table(report))
    console.print(missed_line(report), markup=False, highlight=False)
    if json_file is not None:
        with writing(json_file):
            json_file.write_text(report.to_json(), encoding="utf-8")
        errors.print(f"report written to {escape(str(json_file))}")
