"""The monthly run: inventory, plan, jobs, reconciliation, certificate."""

from __future__ import annotations

from datetime import datetime
from typing import cast
from zoneinfo import ZoneInfo

from prefect import flow
from prefect.runtime import flow_run

from flows.job import Overrides, stopped
from flows.month import Workplace, run_over
from tasks.errors import GateRequired
from tasks.inventory import check_month, previous_month
from tasks.reconcile import RunSummary


def _run_name() -> str:
    """The name of a flow run: what it covers."""
    return f"archive-run-{flow_run.parameters.get('month') or 'previous-month'}"


@flow(
    name="archive-run",
    flow_run_name=_run_name,
    description="Transcribe what is new or changed in one month of the archive, and account for every object of it.",
    validate_parameters=True,
    log_prints=False,
)
def archive_run(
    month: str | None = None,
    archive: str | None = None,
    transcripts: str | None = None,
    overrides: Overrides | None = None,
) -> RunSummary:
    """Transcribe what is new or changed in a month, and account for every object of it.

    Args:
        month: `YYYY-MM`; the month before this one (in the archive's time zone) when left out.
        archive: URI of the archive; the setting `archive.uri` when left out.
        transcripts: URI of the data set; the setting `transcripts.uri` when left out.
        overrides: settings by group and name that win over the environment and the settings file.

    Returns:
        what the run did. Where a gate is required (`gate.required`) and none was passed, the flow run ends as `Failed`
        in a state of the name `GateRequired`, before anything was planned.

    Raises:
        GateRequired: that, to whoever calls the flow.
        RunIncomplete: a listed object is in no row; the certificate says how many.
    """
    place = Workplace.opened(archive, transcripts, overrides)
    month = check_month(month or previous_month(datetime.now(ZoneInfo(place.settings.archive.timezone))))
    try:
        return run_over(place, month).summary
    except GateRequired as error:
        return cast("RunSummary", stopped(error))  # whoever calls the flow gets the error raised
