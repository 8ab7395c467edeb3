"""The Parquet data set: layout of a month, reading, and committing new outcomes to a shard.

Commit to a shard (design, section 5): (a) read both objects, then the tombstones; (b) PUT utterances holding the rows
that stand and the new ones; (c) PUT calls: this is the commit; (d) PUT utterances with only the rows that calls names.
Every PUT is conditional on what was read; another writer in b or c means starting again at a, one in d is left to do
the tidying. A reader that joins the tables on transcript_id is right at every instant and after any crash.
"""

from __future__ import annotations

import json
import random
import secrets
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, TypeVar

from tasks.conditional import put_surely
from tasks.errors import ObjectVanished, PreconditionFailed, StorageRefused
from tasks.records import CopiedAudio
from tasks.rows import CallRows, audio_columns, transcript_digest
from tasks.schemas import CALLS, SCHEMAS, Row
from tasks.shards import TABLES, Table, object_key, shard_name
from tasks.storage import Storage, prove_conditional_writes
from tasks.tables import calls_of, from_parquet, joined, only, table_of, to_parquet, without, write_id_of

if TYPE_CHECKING:
    import pyarrow as pa

# Another writer wins every round only where something is badly wrong.
MAX_COMMIT_ROUNDS = 50
_LAYOUTS = "_control/layouts/month="

Change = CallRows | CopiedAudio
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class _Version:
    """A table object as it was read; `etag` is None where there is none yet, `damaged` one that cannot be read."""

    table: pa.Table
    etag: str | None
    damaged: bool = False


class DataSet:
    """The two tables under one URI.

    Args:
        storage: where they lie.
    """

    def __init__(self, storage: Storage) -> None:
        self.storage = storage

    def prove_safe(self) -> None:
        """Prove that the store honours conditional writes, before anything is written.

        Raises:
            StorageRefused: it does not, or it cannot be written.
        """
        self.storage.check()
        prove_conditional_writes(self.storage, "_control/probe")

    def shards(self, month: str) -> int | None:
        """Into how many shards a month is split; None while nothing of it was ever planned."""
        try:
            content = self.storage.get(_layout_key(month)).data
        except ObjectVanished:
            return None
        return int(json.loads(content)["shards"])

    def fix_shards(self, month: str, shards: int) -> int:
        """Decide, once and for ever, into how many shards a month is split; returns what was decided first."""
        content = json.dumps({"month": month, "shards": shards}).encode()
        try:
            put_surely(self.storage, _layout_key(month), content, None)
        except PreconditionFailed:
            decided = self.shards(month)
            if decided is None:
                raise
            return decided
        return shards

    def read_table(self, month: str, shard: int, shards: int, name: Table = "calls") -> pa.Table:
        """All rows of one shard of a table."""
        return self._read(name, month, shard, shards).table

    def read_both(self, month: str, shard: int, shards: int) -> dict[Table, pa.Table]:
        """Both tables of one shard as of one moment: no commit lies between them."""
        while True:
            calls = self._read("calls", month, shard, shards)
            utterances = self.read_table(month, shard, shards, "utterances")
            now = self.storage.head(object_key("calls", month, shard, shards))
            if (now.etag if now else None) == calls.etag:
                current = only(utterances, "transcript_id", calls.table["transcript_id"])
                return {"calls": calls.table, "utterances": current}

    def read_shard(self, month: str, shard: int, shards: int, columns: Sequence[str] | None = None) -> list[Row]:
        """The rows of `calls` of one shard, all columns or some."""
        table = self.read_table(month, shard, shards)
        return list((table.select(columns) if columns else table).to_pylist())

    def read_shards(self, month: str, columns: Sequence[str] | None = None) -> Iterator[list[Row]]:
        """The rows of `calls` of a month, shard by shard in order, all columns or some."""
        shards = self.shards(month) or 0
        for shard in range(shards):
            yield self.read_shard(month, shard, shards, columns)

    def read_calls(self, month: str, columns: Sequence[str] | None = None) -> list[Row]:
        """Every row of `calls` of a month, all columns or some; `read_shards` holds one shard at a time."""
        return [row for rows in self.read_shards(month, columns) for row in rows]

    def erased(self, month: str, shard: int, shards: int) -> frozenset[str]:
        """The call_ids of a shard that were erased: they are no work, and must not return."""
        try:
            content = self.storage.get(tombstone_key(month, shard, shards)).data
        except ObjectVanished:
            return frozenset()
        return frozenset(json.loads(content)["call_ids"])

    def months(self) -> list[str]:
        """Every month of which anything was ever planned, in order."""
        keys = (info.key for info in self.storage.list(_LAYOUTS))
        return sorted(key.removeprefix(_LAYOUTS).removesuffix(".json") for key in keys)

    def bury(self, month: str, shard: int, shards: int, call_ids: Iterable[str]) -> None:
        """Write down that calls of a shard are erased: from now on no plan holds them, and every commit drops them."""
        key = tombstone_key(month, shard, shards)
        while True:
            try:
                stored = self.storage.get(key)
            except ObjectVanished:
                before, etag = set[str](), None
            else:
                before, etag = set(json.loads(stored.data)["call_ids"]), stored.info.etag
            content = json.dumps({"call_ids": sorted(before.union(call_ids))}).encode()
            try:
                self.storage.put(key, content, if_match=etag, if_none_match=etag is None)
            except PreconditionFailed:
                continue
            return

    def purge(self, month: str, shard: int, shards: int) -> None:
        """Rewrite both objects of a shard without what was erased, even where they hold nothing of it.

        A writer that read the tombstones before them then meets changed objects, and reads again.

        Raises:
            StorageRefused: the store says no, or other writers won every round.
        """
        self._commit_rounds(month, shard, shards, (), tidy=True)

    def take_out(self, month: str, shard: int, shards: int, call_ids: Iterable[str]) -> tuple[int, list[str]]:
        """Take calls out of a shard, and whatever an object of it that cannot be read makes worthless.

        Where `calls` cannot be read, that is everything; where `utterances` cannot, those calls that were said
        something in. `calls` is written first, so that a strict reader is right at every instant.

        Returns:
            how many rows of `calls` were taken out, and the URIs of objects that could not be read, and are empty now.

        Raises:
            StorageRefused: the store says no, or other writers won every round.
        """
        unwanted = frozenset(call_ids)
        return self._rounds(shard, shards, lambda: self._take_out_once(month, shard, shards, unwanted))

    def _take_out_once(self, month: str, shard: int, shards: int, unwanted: frozenset[str]) -> tuple[int, list[str]]:
        calls, utterances = (self._read(name, month, shard, shards, damaged=True) for name in TABLES)
        rows = [
            row
            for row in calls.table.to_pylist()
            if row["call_id"] not in unwanted and not (utterances.damaged and _has_utterances(row))
        ]
        left = calls_of(rows)
        spoken = only(utterances.table, "transcript_id", left["transcript_id"])
        rewrite = utterances.damaged or len(spoken) < len(utterances.table)
        # Also where it stays as it is: a writer that has put its utterances, and not yet its calls, must meet another
        # object, or its calls would name utterances that are taken away here.
        if calls.damaged or len(left) < len(calls.table) or rewrite:
            self._write("calls", month, shard, shards, left, calls.etag)
        if rewrite:
            self._write("utterances", month, shard, shards, spoken, utterances.etag)
        damaged = [
            self.storage.object_uri(object_key(name, month, shard, shards))
            for name, version in zip(TABLES, (calls, utterances), strict=True)
            if version.damaged
        ]
        return len(calls.table) - len(left), damaged

    def remove_text(self, month: str, shard: int, shards: int, call_ids: Iterable[str], at: datetime) -> int:
        """Remove the utterances of calls, and what of their rows was spoken; the rows stay, and say so.

        Also utterances that a writer left who died are removed; a row that failed had no text, and says nothing.

        Args:
            month: `YYYY-MM`.
            shard: its number.
            shards: of the month.
            call_ids: the calls.
            at: what the rows say of when.

        Returns:
            how many rows now say so that did not before.

        Raises:
            StorageRefused: the store says no, or other writers won every round.
        """
        wanted = frozenset(call_ids)
        return self._rounds(shard, shards, lambda: self._remove_text_once(month, shard, shards, wanted, at))

    def _remove_text_once(self, month: str, shard: int, shards: int, wanted: frozenset[str], at: datetime) -> int:
        calls, utterances = (self._read(name, month, shard, shards) for name in TABLES)
        known = calls.table.select(["call_id", "outcome", "text_removed_at"]).to_pylist()
        changed = {
            row["call_id"]
            for row in known
            if row["call_id"] in wanted and row["text_removed_at"] is None and not _is_failed(row)
        }
        spoken = without(utterances.table, "call_id", wanted)
        # First, so that a row which says so has none; a row that does not yet is found again by the next try.
        if len(spoken) < len(utterances.table):
            self._write("utterances", month, shard, shards, spoken, utterances.etag)
        if changed:
            rows = calls.table.to_pylist()
            for row in rows:
                if row["call_id"] in changed:
                    row |= {"text_removed_at": at, "set_aside": []}
            self._write("calls", month, shard, shards, table_of(rows, CALLS), calls.etag)
        return len(changed)

    def commit(self, month: str, shard: int, shards: int, changes: Iterable[Change]) -> None:
        """Commit new outcomes to one shard, whoever else writes to it.

        A failed outcome leaves a transcript standing and fills `last_attempt_*`; of two attempts at a call the one
        planned later stays; an erased call is dropped.

        Raises:
            StorageUnavailable: the store does not answer; what was committed before stands.
            StorageRefused: the store says no, or other writers won every round.
        """
        if new := list(changes):
            self._commit_rounds(month, shard, shards, new)

    def _commit_rounds(
        self, month: str, shard: int, shards: int, changes: Sequence[Change], *, tidy: bool = False
    ) -> None:
        self._rounds(shard, shards, lambda: self._commit_once(month, shard, shards, changes, tidy=tidy))

    def _rounds(self, shard: int, shards: int, attempt: Callable[[], _T]) -> _T:
        """Try until no other writer is faster."""
        for lost in range(MAX_COMMIT_ROUNDS):
            try:
                return attempt()
            except PreconditionFailed:
                # Writers that met once would meet again: each waits a random while, longer every time.
                time.sleep(random.uniform(0, min(1.0, 0.01 * 2**lost)))  # noqa: S311  # no secret depends on it
        message = f"{self.storage.uri}: other writers won {MAX_COMMIT_ROUNDS} rounds on {shard_name(shard, shards)}"
        raise StorageRefused(message)

    def _commit_once(
        self, month: str, shard: int, shards: int, changes: Sequence[Change], *, tidy: bool = False
    ) -> None:
        calls = self._read("calls", month, shard, shards)
        utterances = self._read("utterances", month, shard, shards)
        erased = self.erased(month, shard, shards)

        standing: dict[str, Row] = {row["call_id"]: row for row in calls.table.to_pylist()}
        merged, added = merge_changes(standing, changes, erased)
        known = set(utterances.table["transcript_id"].unique().to_pylist())
        spoken = [item.spoken for item in added if item.call["transcript_id"] not in known]

        new_calls = calls_of(list(merged.values()))
        both = joined([utterances.table, *spoken], new_calls)
        etag = self._write("utterances", month, shard, shards, both, utterances.etag)
        self._write("calls", month, shard, shards, new_calls, calls.etag)

        current = only(both, "transcript_id", new_calls["transcript_id"])
        if len(current) < len(both):
            try:
                self._write("utterances", month, shard, shards, current, etag)
            except PreconditionFailed:
                if tidy:
                    raise  # that writer may die before it tidies, and what is purged must not stay
                return  # another writer was faster, and tidies

    def _read(self, name: Table, month: str, shard: int, shards: int, *, damaged: bool = False) -> _Version:
        """Read an object; one that cannot be read is an error, or empty where `damaged` is said to be expected."""
        key = object_key(name, month, shard, shards)
        try:
            stored = self.storage.get(key)
        except ObjectVanished:
            return _Version(table_of([], SCHEMAS[name]), None)
        try:
            return _Version(from_parquet(stored.data, SCHEMAS[name]), stored.info.etag)
        except ValueError as error:
            if damaged:
                return _Version(table_of([], SCHEMAS[name]), stored.info.etag, damaged=True)
            message = (
                f"{self.storage.object_uri(key)} is not the Parquet file that was written; restore it, or let "
                f"`callscribe mend --month {month}` empty it, so that the next run does its calls again ({error})"
            )
            raise StorageRefused(message) from error

    def _write(self, name: Table, month: str, shard: int, shards: int, table: pa.Table, etag: str | None) -> str:
        """One conditional PUT; a write of ours that only its answer was lost of is recognised by its write_id."""
        key = object_key(name, month, shard, shards)
        write_id = secrets.token_hex(16)
        content = to_parquet(table, write_id)
        return put_surely(self.storage, key, content, etag, lambda found: write_id_of(found) == write_id)


def tombstone_key(month: str, shard: int, shards: int) -> str:
    """Key of the list of erased calls of a shard: JSON, `{"call_ids": […]}`."""
    return f"_control/tombstones/month={month}/{shard_name(shard, shards)}.json"


def merge_changes(
    standing: dict[str, Row], changes: Iterable[Change], erased: frozenset[str]
) -> tuple[dict[str, Row], list[CallRows]]:
    """Pure: which rows of `calls` a shard holds after some changes.

    Args:
        standing: the rows that stand, by call_id.
        changes: new outcomes.
        erased: calls that must not be there.

    Returns:
        the rows by call_id, and those changes whose transcript is now the call's.
    """
    rows = {call_id: row for call_id, row in standing.items() if call_id not in erased}
    added: list[CallRows] = []
    for change in changes:
        call_id = change.call.call_id if isinstance(change, CopiedAudio) else change.call["call_id"]
        if call_id in erased:
            continue
        row = rows.get(call_id)
        if isinstance(change, CopiedAudio):
            if row is not None and row["audio_sha256"] == change.audio_sha256:
                rows[call_id] = row | _NO_LAST_ATTEMPT | audio_columns(change)
            continue
        if row is None or _replaces(change.call, row):
            rows[call_id] = change.call | _later_attempt(row, change.call)
            added.append(change)
        elif _is_failed(change.call) and not _is_failed(row) and change.call["run_id"] > _planned(row):
            rows[call_id] = row | _last_attempt(change.call)
    return rows, added


def _has_utterances(row: Row) -> bool:
    """Whether a call has something that was said; by its digest, or where it has none by its outcome."""
    if row["text_removed_at"] is not None:
        return False
    if row["transcript_sha256"] is None:
        return bool(row["outcome"] == "transcribed")
    return bool(row["transcript_sha256"] != transcript_digest(row))


def _is_failed(row: Row) -> bool:
    return bool(row["outcome"] == "failed")


def _replaces(new: Row, row: Row) -> bool:
    """Whether an outcome takes the place of a standing one; the end is the same whichever of two is written first."""
    if _is_failed(new) != _is_failed(row):
        return _is_failed(row)
    return bool(new["run_id"] >= row["run_id"])


def _later_attempt(row: Row | None, new: Row) -> Row:
    """The failed attempt, planned later than `new`, that the row which `new` replaces knows of."""
    if row is None or _is_failed(new):
        return {}
    if _is_failed(row):
        return _last_attempt(row) if row["run_id"] > new["run_id"] else {}
    return {name: row[name] for name in _NO_LAST_ATTEMPT} if _planned(row) > new["run_id"] else {}


def _planned(row: Row) -> str:
    """When the newest attempt that a row knows of was planned: run_ids sort by time."""
    return max(str(row["run_id"]), str(row["last_attempt_run_id"] or ""))


_NO_LAST_ATTEMPT: Row = dict.fromkeys(
    (
        "last_attempt_at",
        "last_attempt_run_id",
        "last_attempt_etag",
        "last_attempt_error_code",
        "last_attempt_error",
        "last_attempt",
    )
)


def _last_attempt(failed: Row) -> Row:
    return {
        "last_attempt_at": failed["transcribed_at"],
        "last_attempt_run_id": failed["run_id"],
        "last_attempt_etag": failed["audio_etag"],
        "last_attempt_error_code": failed["error_code"],
        "last_attempt_error": failed["error"],
        "last_attempt": failed["attempt"],
    }


def _layout_key(month: str) -> str:
    return f"{_LAYOUTS}{month}.json"
