"""Score what a data set holds against references: the `evaluate` flow."""

from __future__ import annotations

from typing import Any

from prefect import flow, get_run_logger

from evaluation.fields import ReferenceFileError
from evaluation.report import total_rows
from evaluation.scoring import score_dataset
from flows.artifacts import evaluated
from flows.job import Overrides, open_transcripts
from flows.observe import discreet
from tasks.errors import CallscribeError, SettingsError
from tasks.inventory import check_month
from tasks.logs import configure_logs
from tasks.settings import load_settings
from tasks.storage import open_storage


@flow(
    name="evaluate",
    description="Score the calls of the data set that references were made of: word errors, speakers, entities. What "
    "comes of it is a table of this flow run; which calls are worse than others, `callscribe evaluate` tells.",
    validate_parameters=True,
    log_prints=False,
)
def evaluate(
    references: str,
    month: str | None = None,
    language: str = "en",
    transcripts: str | None = None,
    overrides: Overrides | None = None,
) -> dict[str, Any]:
    """Score the calls of the data set that references were made of.

    Args:
        references: URI of the folder with .stm, .rttm, .ctm and .entities.json files, such as `s3://references/2026`.
        month: `YYYY-MM`, only this one; needed where a call_id is in several.
        language: of the references (ISO 639-1), for the normaliser.
        transcripts: URI of the data set; the setting `transcripts.uri` when left out.
        overrides: settings by group and name that win over the environment and the settings file.

    Returns:
        counts and rates over all calls, as `total` in the JSON of `callscribe evaluate`.

    Raises:
        SettingsError: a setting or parameter is wrong, or the references and the data set do not go together.
        StorageUnavailable, StorageRefused: a store does not answer, or does not let one read.
        QueryError: the data set cannot be read.
    """
    settings = load_settings(overrides=overrides)
    configure_logs(settings.logs)
    place = transcripts or settings.transcripts.uri
    if not place:
        message = "transcripts.uri is not set"
        raise SettingsError(message)
    if month is not None:
        check_month(month)
    storage = open_transcripts(place, settings)
    source = open_storage(references, settings.storage.options())
    try:
        with discreet():
            report = score_dataset(source, storage, month, language)
    except CallscribeError as error:
        # Messages name calls, and files that are named after calls, and Prefect would keep them.
        told = f"nothing was scored ({type(error).__name__}): `callscribe evaluate` with the same references says why"
        kind = SettingsError if isinstance(error, ReferenceFileError) else type(error)
        raise kind(told) from None
    rows = total_rows(report)
    evaluated(report.name, rows)
    get_run_logger().info("%s: %s", report.name, ", ".join(f"{what} {number}" for what, number in rows))
    return report.totals()
