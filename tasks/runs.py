"""A run in storage: its plan, a small JSON head and one Parquet part per job.

Everything lies under `_runs/<run_id>/` of the data set. A run_id begins with the time of planning, so that run_ids
sort by it; those of one month in the order in which they were planned, also where a clock goes back (`later_run_id`).
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from tasks.conditional import put_surely
from tasks.errors import ObjectVanished, RunIncomplete, SettingsError
from tasks.records import CallRef, PlannedCall
from tasks.rows import planned_calls, planned_rows
from tasks.schemas import PLANNED
from tasks.storage import Storage
from tasks.tables import from_parquet, table_of, to_parquet

_SECONDS = "%Y%m%dT%H%M%S"


@dataclass(frozen=True, slots=True)
class RunHead:
    """The head of a run's plan: what it covers and how it is cut; no call and no word is in it.

    `kind` is `run` or `backfill`; `request` the digest of what a backfill was asked for. What was `quoted` before the
    run is by the speed of earlier ones; `device_rtfx` is that by the name of the device, as far as it is known.
    `alternatives` are the fingerprints of what its jobs may be run with instead (`tasks.instead`): nothing, unless
    `run.without_gpu` says so. `gates` are what was shown before it began, where a gate was required: for each way in
    which jobs may be run (`planned`, and those of `alternatives`), what `tasks.gates.Verdict.reference` says.
    """

    run_id: str
    month: str
    archive: str
    transcripts: str
    created_at: str
    shards: int
    jobs: int
    calls: int
    estimated_hours: float
    bundle: str
    bundle_digest: str
    compute_type: str
    fingerprint: str
    settings_fingerprint: str
    listed_objects: int
    inventory_digest: str
    standing: int
    standing_failed: int
    erased: int
    ambiguous: int
    unmatched: int
    reasons: dict[str, int] = field(default_factory=dict)
    size_bytes: int = 0
    removed: int = 0
    listed_bytes: int = 0
    kind: str = "run"
    request: str = ""
    other_fingerprints: int = 0
    quoted_rtfx: float = 0.0
    device_rtfx: dict[str, float] = field(default_factory=dict)
    quoted_worker_hours: float = 0.0
    worker_hour_price: float | None = None
    currency: str = ""
    alternatives: dict[str, str] = field(default_factory=dict)
    gates: dict[str, dict[str, Any]] = field(default_factory=dict)
    fallback_minute_price: float | None = None


def new_run_id(now: datetime | None = None) -> str:
    """A run_id: the time of planning in UTC, to the millisecond, and six random digits."""
    moment = (now or datetime.now(UTC)).astimezone(UTC)
    return f"{moment.strftime(_SECONDS)}{moment.microsecond // 1000:03d}Z-{secrets.token_hex(3)}"


def later_run_id(run_id: str, last: str) -> str:
    """A run_id that sorts after the last one of its month, whatever the clocks of the two machines say.

    Args:
        run_id: a new one; taken as it is where it does.
        last: of the run that was planned last.
    """
    if run_id > last:
        return run_id
    stamp = last.partition("Z-")[0]
    moment = datetime.strptime(stamp[:-3], _SECONDS).replace(tzinfo=UTC)
    return new_run_id(moment + timedelta(milliseconds=int(stamp[-3:]) + 1))


def write_job(storage: Storage, run_id: str, number: int, job: Sequence[PlannedCall]) -> None:
    """Write one job of a plan, before the head that makes it a run."""
    _put_new(storage, part_key(run_id, number), to_parquet(table_of(planned_rows(job), PLANNED)))


def write_head(storage: Storage, head: RunHead) -> None:
    """Write the head of a plan, when all its jobs are written: from here on there is a run."""
    _put_new(storage, _head_key(head.run_id), _json(asdict(head)))


def find_head(storage: Storage, run_id: str) -> RunHead | None:
    """The head of a run's plan; None where the run was never planned to the end."""
    try:
        return RunHead(**json.loads(storage.get(_head_key(run_id)).data))
    except ObjectVanished:
        return None


def read_head(storage: Storage, run_id: str) -> RunHead:
    """Read the head of a run's plan.

    Raises:
        SettingsError: there is no such run.
    """
    head = find_head(storage, run_id)
    if head is None:
        message = f"there is no run {run_id} in {storage.uri}"
        raise SettingsError(message)
    return head


def read_job(storage: Storage, run_id: str, number: int) -> list[PlannedCall]:
    """The calls of one job of a run, in order.

    Raises:
        SettingsError: there is no such job.
        RunIncomplete: its part of the plan cannot be read any more.
    """
    try:
        content = storage.get(part_key(run_id, number)).data
    except ObjectVanished as error:
        message = f"run {run_id} in {storage.uri} has no job {number}"
        raise SettingsError(message) from error
    try:
        return planned_calls(from_parquet(content, PLANNED).to_pylist())
    except ValueError as error:
        message = (
            f"{storage.object_uri(part_key(run_id, number))} is not the part of a plan that was written, so job "
            f"{number} of run {run_id} cannot be done; the next run over the month plans its calls anew ({error})"
        )
        raise RunIncomplete(message) from error


def read_jobs(storage: Storage, head: RunHead) -> Iterator[list[PlannedCall] | None]:
    """The calls of every job of a run, job by job; None for one whose part of the plan cannot be read any more.

    Raises:
        SettingsError: a job is not there.
    """
    for number in range(1, head.jobs + 1):
        try:
            yield read_job(storage, head.run_id, number)
        except RunIncomplete:
            yield None


def write_unplanned(
    storage: Storage,
    run_id: str,
    ambiguous: Iterable[Sequence[CallRef]],
    unmatched: Iterable[str],
    removed: Iterable[str],
) -> None:
    """Name every object that is not a call, and every call that has no object: nothing where there is neither.

    JSON lines of `reason`, and, as far as they are known, of `call_id`, `key` and `etag`.

    Args:
        storage: of the data set.
        run_id: the run.
        ambiguous: objects that claim one call_id, for each such call_id.
        unmatched: keys that the template does not read.
        removed: call_ids whose object is no longer in the archive.
    """
    lines: list[dict[str, str | None]] = [
        {"call_id": file.call_id, "key": file.key, "etag": file.etag, "reason": "ambiguous_call_id"}
        for group in ambiguous
        for call in group
        for file in call.files
    ]
    lines += [{"key": key, "etag": None, "reason": "key_not_understood"} for key in unmatched]
    lines += [{"call_id": call_id, "reason": "removed_from_archive"} for call_id in removed]
    if lines:
        content = "".join(json.dumps(line) + "\n" for line in lines)
        _put_new(storage, unplanned_key(run_id), content.encode())


def forget_plan(storage: Storage, run_id: str) -> None:
    """Remove what a planner left that died before it wrote the head."""
    for info in list(storage.list(f"_runs/{run_id}/")):
        storage.delete(info.key)


def _head_key(run_id: str) -> str:
    return f"_runs/{run_id}/plan.json"


def part_key(run_id: str, number: int) -> str:
    """Key of one job of a plan."""
    return f"_runs/{run_id}/jobs/job-{number:04d}.parquet"


def unplanned_key(run_id: str) -> str:
    """Key of the list of what is no call of its own, and of what has no object."""
    return f"_runs/{run_id}/unplanned.jsonl"


def _put_new(storage: Storage, key: str, content: bytes) -> None:
    """Write an object that is not there yet."""
    put_surely(storage, key, content, None)


def _json(value: object) -> bytes:
    return (json.dumps(value, indent=2, sort_keys=True) + "\n").encode()
