"""What runs keep, removed because of its age: that of a run is the time since it was planned, which its run_id says.

Calls that have a row grow old by their row (`tasks.retention`). What a run keeps of calls that never came to have one
has only the run's age: it was recorded before the run was planned.
"""

from __future__ import annotations

import json
import time
from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta

from tasks.active import LOOKS, Lease
from tasks.conditional import find
from tasks.erase_runs import SPOKEN
from tasks.errors import ObjectVanished, PreconditionFailed
from tasks.holds import Hold, holds_on, read_holds
from tasks.previous import table_of_key
from tasks.schemas import CHECKPOINT, SCHEMAS
from tasks.setting_groups import RetentionSettings
from tasks.storage import Storage
from tasks.tables import ArrowTable, among, from_parquet, to_parquet

# Of what lies under `_runs/<run_id>/`, what certificates and `verify` need.
_KEPT = frozenset({"plan.json", "certificate.json", "outputs"})


def remove_old_runs(storage: Storage, rules: RetentionSettings, now: datetime, *, apply: bool) -> int:
    """Remove what runs keep that is older than the rules allow, or only count it.

    `runs_days` is about plans and records of runs that nobody can go on with: no lease names them, or it has ended.
    What holds transcripts goes by `utterances_days` and `calls_days` too, also of a run that may be gone on with: it
    does those calls again. A run that is under way keeps everything. Rows of held calls stay.

    Args:
        storage: of the data set.
        rules: how old what may become.
        now: the moment of which it is asked.
        apply: whether to remove it.

    Returns:
        how many objects were removed, or rewritten with held calls only.
    """
    text_days = [most for most in (rules.utterances_days, rules.calls_days) if most is not None]
    if rules.runs_days is None and not text_days:
        return 0
    left = _left(storage)
    runs: defaultdict[str, list[str]] = defaultdict(list)
    for info in storage.list("_runs/"):
        runs[info.key.split("/")[1]].append(info.key)
    count = 0
    for run_id, keys in runs.items():
        planned = _planned_at(run_id)
        if planned is None:
            continue
        days = (now - planned) / timedelta(days=1)
        ended = rules.runs_days is not None and days > rules.runs_days and run_id not in left
        spoken = [key for key in keys if _kind(key) in SPOKEN]
        if spoken and (ended or any(days > most for most in text_days)) and not _is_alive(storage, left.get(run_id)):
            count += _remove_spoken(storage, spoken, apply=apply)
        if ended:
            records = [key for key in keys if _kind(key) not in _KEPT | SPOKEN]
            count += len(records)
            for key in records if apply else ():
                storage.delete(key)
    return count


def keeps_spoken(storage: Storage) -> bool:
    """Whether any run keeps transcripts at all: only one that has not ended, or not well, does."""
    return any(_kind(info.key) in SPOKEN for info in storage.list("_runs/"))


def _left(storage: Storage) -> dict[str, tuple[str, Lease, str]]:
    """The runs that are under way or may be gone on with, each with its lease: key, what it says, ETag."""
    found = {}
    for info in list(storage.list("_control/active/")):
        stored = find(storage, info.key)
        if stored is not None and (lease := Lease(**json.loads(stored.data))).state != "ended":
            found[lease.run_id] = info.key, lease, stored.info.etag
    return found


def _is_alive(storage: Storage, left: tuple[str, Lease, str] | None) -> bool:
    """Whether a process works on a run: its lease is held, and renewed within its length (as in `tasks.active`)."""
    if left is None or left[1].state != "held":
        return False
    key, lease, etag = left
    end = time.monotonic() + lease.lease_s
    while True:
        found = find(storage, key)
        if found is None or found.info.etag != etag:
            return True
        if time.monotonic() > end:
            return False
        time.sleep(lease.lease_s / LOOKS)


def _remove_spoken(storage: Storage, keys: Sequence[str], *, apply: bool) -> int:
    """Let objects of a run that hold transcripts hold those of held calls only; how many held more."""
    holds = read_holds(storage)
    held = _held(storage, keys, holds) if holds else frozenset[str]()
    return sum(_keep_only(storage, key, held, apply=apply) for key in keys)


def _held(storage: Storage, keys: Iterable[str], holds: Sequence[Hold]) -> frozenset[str]:
    """The calls under hold of which a run keeps a row of `calls`."""
    found: set[str] = set()
    for key in keys:
        table = _table(storage, key)[0]
        if table is None or "attributes" not in table.column_names:
            continue
        for row in table.select(["call_id", "attributes"]).to_pylist():
            if holds_on(holds, row["call_id"], dict(row["attributes"] or ())):
                found.add(row["call_id"])
    return frozenset(found)


def _keep_only(storage: Storage, key: str, call_ids: frozenset[str], *, apply: bool) -> bool:
    """Remove an object, or rewrite it where it holds some calls; whether there was anything to remove."""
    while True:
        table, etag = _table(storage, key) if call_ids else (None, None)
        rest = among(table, "call_id", call_ids) if table is not None else None
        if table is not None and rest is not None and 0 < len(rest) == len(table):
            return False
        if not apply:
            return True
        if rest is None or not len(rest):
            storage.delete(key)
            return True
        try:
            storage.put(key, to_parquet(rest), if_match=etag)
        except PreconditionFailed:
            continue
        return True


def _table(storage: Storage, key: str) -> tuple[ArrowTable | None, str | None]:
    """The rows of an object, and its ETag; no rows where it cannot be read."""
    schema = CHECKPOINT if _kind(key) == "checkpoints" else SCHEMAS[table_of_key(key)]
    try:
        stored = storage.get(key)
        return from_parquet(stored.data, schema), stored.info.etag
    except (ObjectVanished, ValueError):
        return None, None


def _planned_at(run_id: str) -> datetime | None:
    """When a run was planned; None of what is no run_id."""
    try:
        return datetime.strptime(run_id.partition("Z-")[0][:-3], "%Y%m%dT%H%M%S").replace(tzinfo=UTC)
    except ValueError:
        return None


def _kind(key: str) -> str:
    return (*key.split("/"), "", "")[2]
