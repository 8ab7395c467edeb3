"""Score what a data set holds against references: the `evaluate` flow."""

from __future__ import annotations

from typing import Any

from prefect import flow, get_run_logger

from evaluation.formats import ReferenceFileError
from evaluation.report import total_rows
from evaluation.scoring import score_dataset
from flows.artifacts import evaluated
from flows.job import Overrides, open_transcripts
from flows.observe import discreet
from tasks.errors import SettingsError
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
        references: URI of the folder with .stm, .rttm and .entities.json files, such as `s3://references/2026`.
        month: `YYYY-MM`, only this one; needed where a call_id is in several.
        language: of the references (ISO 639-1), for the normaliser.
        transcripts: URI of the data set; the setting `transcripts.uri` when left out.
        overrides: settings by group and name that win over the environment and the settings file.

    Returns:
        counts and rates over all calls, as `total` in the JSON of `callscribe evaluate`.

    Raises:
        ReferenceFileError: there are no references, or one of them cannot be read.
        SettingsError: there is no data set, or a call is in several months of it.
    """
    settings = load_settings(overrides=overrides)
    configure_logs(settings.logs)
    place = transcripts or settings.transcripts.uri
    if not place:
        message = "transcripts.uri is not set"
        raise SettingsError(message)
    storage = open_transcripts(place, settings)
    try:
        with discreet():
            report = score_dataset(open_storage(references, settings.storage.options()), storage, month, language)
    except (ReferenceFileError, SettingsError) as error:
        # Their messages name calls, and Prefect would keep them.
        message = (
            f"nothing was scored ({type(error).__name__}): `callscribe evaluate` with the same references says why"
        )
        raise SettingsError(message) from None
    rows = total_rows(report)
    evaluated(report.name, rows)
    get_run_logger().info("%s: %s", report.name, ", ".join(f"{what} {number}" for what, number in rows))
    return report.totals()
