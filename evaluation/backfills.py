"""What a backfill changed: its calls as they were kept, held against those that stand now, shard by shard.

The rows lie in `changes/month=<month>/<run_id>-shard-0007-of-0120.parquet`, which an erasure visits too.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from evaluation.changes import ChangeCounts, Side, compare
from tasks.dataset import DataSet
from tasks.previous import DamagedPrevious, kept_shards, previous_table
from tasks.runs import RunHead
from tasks.schemas import CHANGES
from tasks.shards import TABLES, shard_name
from tasks.tables import ByCall, among, table_of, to_parquet, without


def write_changes(data: DataSet, head: RunHead) -> ChangeCounts:
    """Write what a backfill changed, and count it; it may be done again, and then writes the same.

    Args:
        data: the data set.
        head: the backfill's plan; calls that it has not done yet are left out.

    Returns:
        the counts of all its calls; shards of which what was kept is damaged are counted, and not compared.

    Raises:
        StorageUnavailable: the store does not answer.
    """
    total = ChangeCounts()
    for shard, shards in kept_shards(data.storage, head.run_id):
        rows: list[dict[str, Any]] = []
        try:
            for row, counts in _compared(data, head, shard, shards):
                rows.append(row)
                total += counts
        except DamagedPrevious:
            total += ChangeCounts(not_compared=1)  # it holds up nothing: the transcripts themselves stand
            continue
        _write(data, head, shard, shards, rows)
    return total


def changes_key(month: str, run_id: str, shard: int, shards: int) -> str:
    """Key of what a backfill changed in a shard."""
    return f"changes/month={month}/{run_id}-{shard_name(shard, shards)}.parquet"


def _compared(data: DataSet, head: RunHead, shard: int, shards: int) -> Iterator[tuple[dict[str, Any], ChangeCounts]]:
    """The changes of every call of a shard that the backfill has done, by call_id."""
    kept = {name: previous_table(data.storage, head.run_id, name, shard, shards) for name in TABLES}
    old = {row["call_id"]: row for row in kept["calls"].to_pylist()}
    both = {name: among(table, "call_id", old) for name, table in data.read_both(head.month, shard, shards).items()}
    new = {row["call_id"]: row for row in both["calls"].to_pylist() if _is_of(row, head.run_id)}
    said_before, said_after = ByCall(kept["utterances"]), ByCall(both["utterances"])
    for call_id in sorted(new):
        before = Side(old[call_id], said_before.rows(call_id))
        yield compare(before, Side(new[call_id], said_after.rows(call_id)), head.run_id)


def _is_of(row: Mapping[str, Any], run_id: str) -> bool:
    """Whether a backfill has tried the call."""
    return run_id in {row["run_id"], row["last_attempt_run_id"]}


def _write(data: DataSet, head: RunHead, shard: int, shards: int, rows: list[dict[str, Any]]) -> None:
    """Write the changes of a shard, without what is erased, also while it is written (as `tasks.previous` does)."""
    table = table_of(rows, CHANGES)
    erased = data.erased(head.month, shard, shards)
    while True:
        content = to_parquet(without(table, "call_id", erased))
        data.storage.put(changes_key(head.month, head.run_id, shard, shards), content)
        if (now := data.erased(head.month, shard, shards)) == erased:
            return
        erased = now
