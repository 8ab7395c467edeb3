"""What a backfill changed: its calls as they were kept, held against those that stand now, shard by shard.

The rows lie in `changes/month=<month>/<run_id>-shard-0007-of-0120.parquet`, which an erasure visits too.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from evaluation.changes import ChangeCounts, Side, compare
from tasks.dataset import DataSet
from tasks.previous import by_call, kept_shards, previous_rows, rows_of_table
from tasks.runs import RunHead
from tasks.schemas import CHANGES, Row
from tasks.shards import shard_name
from tasks.tables import among, table_of, to_parquet, without


def write_changes(data: DataSet, head: RunHead) -> ChangeCounts:
    """Write what a backfill changed, and count it; it may be done again, and then writes the same.

    Args:
        data: the data set.
        head: the backfill's plan; calls that it has not done yet are left out.

    Raises:
        StorageRefused: something that was kept cannot be read.
    """
    total = ChangeCounts()
    for shard, shards in kept_shards(data.storage, head.run_id):
        rows: list[dict[str, Any]] = []
        for row, counts in _compared(data, head, shard, shards):
            rows.append(row)
            total += counts
        _write(data, head, shard, shards, rows)
    return total


def changes_key(month: str, run_id: str, shard: int, shards: int) -> str:
    """Key of what a backfill changed in a shard."""
    return f"changes/month={month}/{run_id}-{shard_name(shard, shards)}.parquet"


def _compared(data: DataSet, head: RunHead, shard: int, shards: int) -> Iterator[tuple[dict[str, Any], ChangeCounts]]:
    """The changes of every call of a shard that the backfill has done, by call_id."""
    old = {row["call_id"]: row for row in previous_rows(data.storage, head.run_id, "calls", shard, shards)}
    both = {name: among(table, "call_id", old) for name, table in data.read_both(head.month, shard, shards).items()}
    new = {row["call_id"]: row for row in rows_of_table(both["calls"]) if _is_of(row, head.run_id)}
    said_before = _Said(by_call(previous_rows(data.storage, head.run_id, "utterances", shard, shards)))
    said_after = _Said(by_call(rows_of_table(both["utterances"])))
    for call_id in sorted(new):
        before = Side(old[call_id], said_before.of(call_id))
        yield compare(before, Side(new[call_id], said_after.of(call_id)), head.run_id)


class _Said:
    """The utterances of calls that are asked for in order of call_id."""

    def __init__(self, calls: Iterator[tuple[str, list[Row]]]) -> None:
        self._calls = calls
        self._next = next(calls, None)

    def of(self, call_id: str) -> list[Row]:
        while self._next is not None and self._next[0] < call_id:
            self._next = next(self._calls, None)
        return self._next[1] if self._next is not None and self._next[0] == call_id else []


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
