"""Remove what is older than the rules allow: the `retain` flow, for a schedule."""

from __future__ import annotations

from prefect import flow, get_run_logger

from flows.job import Overrides, open_transcripts
from flows.observe import discreet
from tasks.dataset import DataSet
from tasks.errors import CallHeld, SettingsError
from tasks.logs import configure_logs
from tasks.retention import retain as remove_old
from tasks.settings import load_settings


@flow(
    name="retain",
    description="Remove what is older than the settings retention.* allow: calls, what was spoken in them, changes, "
    "records of runs. What is under legal hold is left alone; a certificate says what was removed.",
    validate_parameters=True,
    log_prints=False,
)
def retain(
    dry_run: bool = True,  # noqa: FBT001, FBT002  # Prefect calls flows by name
    transcripts: str | None = None,
    overrides: Overrides | None = None,
) -> int:
    """Remove what is older than the rules allow.

    Args:
        dry_run: say what would be removed, and remove nothing.
        transcripts: URI of the data set; the setting `transcripts.uri` when left out.
        overrides: settings by group and name that win over the environment and the settings file.

    Returns:
        number of the certificate; 0 of a dry run.

    Raises:
        CallHeld: a hold was set on a call in the moment in which it was to be erased.
        SettingsError: there is no data set, or no rule.
    """
    settings = load_settings(overrides=overrides)
    configure_logs(settings.logs)
    place = transcripts or settings.transcripts.uri
    if not place or not any(settings.retention.model_dump().values()):
        message = "transcripts.uri is not set" if not place else "there is no rule: set retention.*_days"
        raise SettingsError(message)
    data = DataSet(open_transcripts(place, settings))
    try:
        with discreet():
            result = remove_old(data, settings.retention, settings.archive, apply=not dry_run)
    except CallHeld:
        # Its message names the call and why it is held, and Prefect would keep both.
        message = "a hold was set on a call that was to be erased, so the retention stopped; start it again"
        raise CallHeld(message) from None
    get_run_logger().info(
        "%s: %s calls, text of %s calls, %s rows of changes, %s objects of runs; %s held; certificate %s",
        "to be removed" if dry_run else "removed", result.calls, result.utterances, result.changes,
        result.run_objects, result.held, result.certificate,
    )  # fmt: skip
    return result.certificate
