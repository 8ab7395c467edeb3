"""What a run shows of itself in Prefect: how far it is, how calls failed, and where its certificate or report lies.

Counts, times and URIs: no call, no attribute of one and no spoken word. An artifact that cannot be written is a
warning, and stops no run.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from uuid import UUID

from prefect.artifacts import (
    create_link_artifact,
    create_progress_artifact,
    create_table_artifact,
    update_progress_artifact,
)

from tasks.errors import TransientError
from tasks.metrics import run_goes_on
from tasks.runs import RunHead

# The progress of a run is written no more often, in seconds; its end always is.
PROGRESS_EVERY_S = 30.0

_LOG = logging.getLogger(__name__)


class RunProgress:
    """How far a run is: an artifact that moves, and metrics.

    Args:
        head: its plan.
        every_s: how often the artifact is written at most, in seconds.
    """

    def __init__(self, head: RunHead, every_s: float = PROGRESS_EVERY_S) -> None:
        self._head = head
        self._every_s = every_s
        self._began: tuple[float, int] | None = None
        self._artifact: UUID | None = None
        self._written_at: float | None = None

    def update(
        self,
        jobs_done: int,
        hours_done: float | None = None,
        eta_s: float | None = None,
        jobs_failed: int = 0,
        refusals: int = 0,
    ) -> None:
        """Say how far it is: once before its first job, then whenever one has ended, or as often as one likes.

        Args:
            jobs_done: jobs that are done, those included that were done when this process took up the run.
            hours_done: audio hours that they held; by their share of the plan where that is not known.
            eta_s: how long the rest will take; by the speed of this process so far where that is not known.
            jobs_failed: jobs that were given up.
            refusals: how often a job refused to begin on the device that it got.
        """
        head = self._head
        if hours_done is None:
            hours_done = head.estimated_hours * jobs_done / head.jobs if head.jobs else 0.0
        if eta_s is None:
            eta_s = self._eta_s(jobs_done, jobs_failed)
        run_goes_on(head.run_id, jobs_done, hours_done * 3600, eta_s, jobs_failed, refusals)
        now = time.monotonic()
        over = jobs_done + jobs_failed >= head.jobs
        if self._written_at is None or over or now - self._written_at >= self._every_s:
            self._written_at = now
            self._write(jobs_done, hours_done, eta_s, jobs_failed)

    def _eta_s(self, jobs_done: int, jobs_failed: int) -> float | None:
        """By the jobs that ended since it was first told; None before one has."""
        ended, now = jobs_done + jobs_failed, time.monotonic()
        if self._began is None:
            self._began = now, ended
        since, before = self._began
        return (now - since) * (self._head.jobs - ended) / (ended - before) if ended > before else None

    def _write(self, jobs_done: int, hours_done: float, eta_s: float | None, jobs_failed: int) -> None:
        head = self._head
        share = 100.0 * (jobs_done + jobs_failed) / head.jobs if head.jobs else 100.0
        text = (
            f"{head.kind.capitalize()} {head.run_id} over {head.month}: {jobs_done:,} of {head.jobs:,} jobs done"
            f"{f', {jobs_failed:,} given up' if jobs_failed else ''}; {hours_done:,.1f} of {head.estimated_hours:,.1f} "
            f"audio hours{'' if eta_s is None else f'; about {_duration(eta_s)} left'}"
        )
        key = f"{_key(head)}-progress"
        if self._artifact is None:
            self._artifact = _written(create_progress_artifact, progress=share, key=key, description=text)
        else:
            _written(update_progress_artifact, artifact_id=self._artifact, progress=share, description=text)


def failures(head: RunHead, errors: Mapping[str, int]) -> None:
    """A table of the failed calls of a run by code, most first; none where no call failed.

    Args:
        head: its plan.
        errors: how many calls failed with which code.
    """
    if not errors:
        return
    passing = TransientError.codes()
    table = [
        {"code": code, "calls": calls, "tried again": "yes" if code in passing else "no"}
        for code, calls in sorted(errors.items(), key=lambda item: (-item[1], item[0]))
    ]
    _written(
        create_table_artifact,
        table=table,
        key=f"{_key(head)}-failures",
        description=f"Failed calls of {head.kind} {head.run_id} over {head.month}",
    )


def ended(
    head: RunHead,
    errors: Mapping[str, int],
    rows: Sequence[tuple[str, str]],
    certificate: str,
    report: str | None = None,
) -> None:
    """What a run did, how calls failed in it, and links to its certificate and its report.

    Args:
        head: its plan.
        errors: how many calls failed with which code.
        rows: what it did, by name.
        certificate: URI.
        report: URI of what a backfill changed, or of another report; None where there is none.
    """
    what = f"{head.kind.capitalize()} {head.run_id} over {head.month}"
    _table(_key(head), f"{what}; certificate: {certificate}", rows)
    failures(head, errors)
    for name, uri in (("certificate", certificate), ("report", report)):
        if uri is not None:
            _link(f"{_key(head)}-{name}", f"{what}: {name}", uri)


def evaluated(name: str, rows: Sequence[tuple[str, str]], written: Mapping[str, str]) -> None:
    """What came of an evaluation, and links to its report.

    Args:
        name: what was scored against what.
        rows: counts and rates, by name.
        written: URIs of its report, by the form it was written in: `html`, `json`, `parquet`.
    """
    _table("evaluate", name, rows)
    for form, uri in written.items():
        what = "report" if form == "html" else form
        _link(f"evaluate-{what}", f"{name}: {what}", uri)


def _table(key: str, description: str, rows: Sequence[tuple[str, str]]) -> None:
    table = [{"what": name, "number": value} for name, value in rows]
    _written(create_table_artifact, table=table, key=key, description=description)


def _link(key: str, text: str, uri: str) -> None:
    _written(create_link_artifact, link=uri, link_text=text, key=key, description=text)


def _key(head: RunHead) -> str:
    return "archive-run" if head.kind == "run" else "backfill"


def _written(write: Callable[..., Any], **fields: object) -> Any:  # noqa: ANN401  # Prefect's functions differ
    """What Prefect gives back; None where it cannot write it now."""
    try:
        return write(**fields)
    except Exception as error:  # noqa: BLE001  # whatever its client raises: the run itself needs no artifact
        _LOG.warning("an artifact cannot be written: %s", type(error).__name__)
        return None


def _duration(seconds: float) -> str:
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours:,} h {minutes} min" if hours else f"{minutes} min"
