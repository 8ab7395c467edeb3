"""Pure: what of a month is to be done, given what the data set says of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from tasks.errors import TransientError
from tasks.records import CallRef, PlannedCall
from tasks.schemas import Row
from tasks.shards import shard_of

Reason = Literal["new", "changed", "retry"]

# What `decide` wants to know of a standing row.
KNOWN_COLUMNS = (
    "call_id",
    "audio_etag",
    "audio_sha256",
    "outcome",
    "error_code",
    "attempt",
    "fingerprint",
    "last_attempt_etag",
    "last_attempt_error_code",
    "last_attempt",
)


@dataclass(frozen=True, slots=True)
class Plan:
    """What a run has to do, and why.

    `standing` counts the calls that need nothing, `standing_failed` those of them that failed for good or too often.
    """

    work: tuple[PlannedCall, ...]
    reasons: Mapping[str, int]
    standing: int
    standing_failed: int


def plan_calls(calls: Sequence[CallRef], known: Iterable[Row], shards: int, max_attempts: int) -> Plan:
    """Decide which calls of an inventory are work.

    Args:
        calls: every call of the inventory that can be transcribed.
        known: the rows that stand, with `KNOWN_COLUMNS`.
        shards: shard count of the month.
        max_attempts: tries of a call that fails for a passing reason.
    """
    rows = {row["call_id"]: row for row in known}
    work: list[PlannedCall] = []
    reasons: Counter[str] = Counter()
    failed = 0
    for call in calls:
        row = rows.get(call.call_id)
        reason = decide(call, row, max_attempts)
        if reason is None:
            failed += row is not None and row["outcome"] == "failed"
            continue
        reasons[reason] += 1
        attempt = 1 if row is None or reason == "changed" else _next_attempt(row)
        good = row is not None and row["outcome"] != "failed"
        known_sha256 = row["audio_sha256"] if row is not None and good else None
        work.append(PlannedCall(call, shard_of(call.call_id, shards), attempt, known_sha256))
    return Plan(tuple(work), dict(sorted(reasons.items())), len(calls) - len(work), failed)


def decide(call: CallRef, row: Row | None, max_attempts: int) -> Reason | None:
    """Why a call is work: it is new, its audio changed, or it failed for a passing reason; None when it is not.

    Silent calls, and those that will never work, are not done again while their bytes stay the same.
    """
    if row is None:
        return "new"
    etag, error_code, attempt = _latest(row)
    if etag != call.etag:
        return "changed"
    if error_code in TransientError.uncounted() or (error_code in TransientError.codes() and attempt < max_attempts):
        return "retry"
    return None


def _next_attempt(row: Row) -> int:
    """The number of the next try at the same bytes; one that failed for the machine's sake did not count."""
    _, error_code, attempt = _latest(row)
    return attempt if error_code in TransientError.uncounted() else attempt + 1


def _latest(row: Row) -> tuple[str, str | None, int]:
    """ETag, error code and number of the newest try that a row knows of."""
    if row["last_attempt_etag"] is not None:
        return row["last_attempt_etag"], row["last_attempt_error_code"], row["last_attempt"]
    return row["audio_etag"], row["error_code"], row["attempt"]
