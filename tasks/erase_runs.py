"""Take calls out of what runs and backfills keep: plans, checkpoints, marks, lists, and what changed."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable

from tasks.dataset import DataSet
from tasks.errors import ObjectVanished, PreconditionFailed
from tasks.previous import table_of_key
from tasks.runs import find_head, part_key, unplanned_key
from tasks.schemas import CHANGES, CHECKPOINT, PLANNED, SCHEMAS, ArrowSchema
from tasks.shards import shard_of
from tasks.storage import Storage, StoredObject
from tasks.tables import from_parquet, to_parquet, without

# What of a run holds transcripts.
SPOKEN = frozenset({"checkpoints", "previous"})


def erase_from_runs(
    storage: Storage, month: str, call_ids: frozenset[str], *, only_spoken: bool = False
) -> tuple[list[str], list[str]]:
    """Rewrite what runs keep of a month, without some calls; also of runs that were never planned to the end.

    Args:
        storage: of the data set.
        month: `YYYY-MM`.
        call_ids: the calls.
        only_spoken: whether only what holds transcripts is rewritten, and plans stay.

    Returns:
        the keys of what was rewritten or removed, and the run_ids.
    """
    changed: list[str] = []
    months: dict[str, str | None] = {}  # of a run that was never planned to the end, its parts say which
    for info in list(storage.list("_runs/")):
        _, run_id, kind, *_ = (*info.key.split("/"), "", "")
        if run_id not in months:
            head = find_head(storage, run_id)
            months[run_id] = head.month if head else None
        if months[run_id] not in {None, month} or (only_spoken and kind not in SPOKEN):
            continue
        if kind == "jobs":
            done = _filter_parquet(storage, info.key, PLANNED, call_ids, month)
        elif kind == "checkpoints":
            done = _filter_parquet(storage, info.key, CHECKPOINT, call_ids)
        elif kind == "previous":
            done = _filter_parquet(storage, info.key, SCHEMAS[table_of_key(info.key)], call_ids)
        elif kind == "in_flight":
            done = _filter_in_flight(storage, info.key, call_ids)
        elif kind == "unplanned.jsonl":
            done = _filter_lines(storage, info.key, call_ids, _call_id_of_json)
        else:
            done = False
        if done:
            changed.append(info.key)
    return changed, sorted(run_id for run_id, planned in months.items() if planned in {None, month})


def erased_among(data: DataSet, month: str, shards: int, call_ids: Iterable[str]) -> frozenset[str]:
    """Those of some calls that are erased by now; the tombstones of each of their shards are read once.

    Args:
        data: the data set.
        month: `YYYY-MM`.
        shards: of the month.
        call_ids: the calls.
    """
    wanted = frozenset(call_ids)
    buried = (data.erased(month, shard, shards) for shard in sorted({shard_of(one, shards) for one in wanted}))
    return wanted & frozenset[str]().union(*buried)


def erase_from_job(storage: Storage, run_id: str, number: int, call_ids: frozenset[str]) -> None:
    """Rewrite one part of a plan without some calls."""
    _filter_parquet(storage, part_key(run_id, number), PLANNED, call_ids)


def erase_from_unplanned(storage: Storage, run_id: str, call_ids: frozenset[str]) -> None:
    """Rewrite a run's list of what is no call of its own, without the lines of some calls."""
    _filter_lines(storage, unplanned_key(run_id), call_ids, _call_id_of_json)


def erase_from_checkpoints(storage: Storage, run_id: str, number: int, call_ids: frozenset[str]) -> None:
    """Rewrite the checkpoints of one job without some calls."""
    for info in list(storage.list(f"_runs/{run_id}/checkpoints/job-{number:04d}-")):
        _filter_parquet(storage, info.key, CHECKPOINT, call_ids)


def erase_from_lists(storage: Storage, call_ids: frozenset[str]) -> list[str]:
    """Rewrite the lists of calls for backfills without some calls; one that was given a call_id may have died.

    Returns:
        the keys of what was rewritten.
    """
    keys = [info.key for info in storage.list("_control/backfills/")]
    return [key for key in keys if _filter_lines(storage, key, call_ids, _call_id_of_line)]


def filter_changes(storage: Storage, month: str, call_ids: frozenset[str], *, apply: bool = True) -> dict[str, int]:
    """Take calls out of what backfills of a month changed.

    Args:
        storage: of the data set.
        month: `YYYY-MM`.
        call_ids: the calls.
        apply: whether to rewrite the objects; else it is only counted.

    Returns:
        how many rows of them each object held, by key, of those that held any.
    """
    found: dict[str, int] = {}
    for info in list(storage.list(f"changes/month={month}/")):
        rows = 0
        try:
            table = from_parquet(storage.get(info.key).data, CHANGES)
            rows = len(table) - len(without(table, "call_id", call_ids))
        except (ObjectVanished, ValueError):
            pass  # it is gone, or `_filter_parquet` removes it
        if (not apply and rows) or (apply and _filter_parquet(storage, info.key, CHANGES, call_ids)):
            found[info.key] = rows
    return found


def _filter_parquet(
    storage: Storage, key: str, schema: ArrowSchema, call_ids: frozenset[str], month: str | None = None
) -> bool:
    """Rewrite an object without some calls; whether any of them was in it. With `month`, only one of that month."""
    while True:
        try:
            stored = storage.get(key)
            table = from_parquet(stored.data, schema)
        except ObjectVanished:
            return False
        except ValueError:
            return _empty_damaged(storage, stored, is_plan=schema is PLANNED)
        if month is not None and set(table["month"].unique().to_pylist()) - {month}:
            return False
        rest = without(table, "call_id", call_ids)
        if len(rest) == len(table):
            return False
        try:
            storage.put(key, to_parquet(rest), if_match=stored.info.etag)
        except PreconditionFailed:
            continue
        return True


def _empty_damaged(storage: Storage, stored: StoredObject, *, is_plan: bool) -> bool:
    """Let an object that cannot be read hold nothing, as it may hold anything; whether it did.

    A part of a plan stays, as one that cannot be read: its run says so. Everything else counts for nothing then.
    """
    if not is_plan:
        storage.delete(stored.info.key)
        return True
    if not stored.data:
        return False
    try:
        storage.put(stored.info.key, b"", if_match=stored.info.etag)
    except PreconditionFailed:
        return False
    return True


def _filter_in_flight(storage: Storage, key: str, call_ids: frozenset[str]) -> bool:
    try:
        stored = storage.get(key)
    except ObjectVanished:
        return False
    content = json.loads(stored.data)
    if not call_ids & {*content["call_ids"], *content["deaths"], *content["suspects"]}:
        return False
    rest = {
        "suspects": [call_id for call_id in content["suspects"] if call_id not in call_ids],
        "call_ids": [call_id for call_id in content["call_ids"] if call_id not in call_ids],
        "deaths": {call_id: count for call_id, count in content["deaths"].items() if call_id not in call_ids},
        "spent_s": content["spent_s"],
    }
    try:
        storage.put(key, json.dumps(rest).encode(), if_match=stored.info.etag)
    except PreconditionFailed:
        return False  # the job has gone on, and marks anew
    return True


def _call_id_of_json(line: str) -> str | None:
    call_id: str | None = json.loads(line).get("call_id")
    return call_id


def _call_id_of_line(line: str) -> str:
    return line.strip().removeprefix("\ufeff")


def _filter_lines(
    storage: Storage, key: str, call_ids: frozenset[str], call_id_of: Callable[[str], str | None]
) -> bool:
    """Rewrite a list without the lines of some calls; whether any of them was in it."""
    while True:
        try:
            stored = storage.get(key)
        except ObjectVanished:
            return False
        # What is not UTF-8 in a list that somebody else wrote stays as it is.
        lines = stored.data.decode(errors="surrogateescape").splitlines(keepends=True)
        rest = [line for line in lines if call_id_of(line) not in call_ids]
        if len(rest) == len(lines):
            return False
        try:
            storage.put(key, "".join(rest).encode(errors="surrogateescape"), if_match=stored.info.etag)
        except PreconditionFailed:
            continue
        return True
