"""Pure: what of a month is to be done, given what the data set says of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from tasks.errors import TransientError
from tasks.records import CallHints, CallRef, PlannedCall
from tasks.schemas import Row
from tasks.shards import shard_of

Reason = Literal["new", "changed", "retry", "selected"]
Wanted = Callable[[CallHints], str]
"""The fingerprint that the transcript of a call with these hints would have now."""

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
    "text_removed_at",
)


@dataclass(frozen=True, slots=True)
class Plan:
    """What a run has to do, and why.

    `standing` counts the calls that need nothing; of them, `standing_failed` failed for good or too often, and
    `other_fingerprints` have a transcript made under other settings or models than today's.
    """

    work: tuple[PlannedCall, ...]
    reasons: Mapping[str, int]
    standing: int
    standing_failed: int
    other_fingerprints: int = 0


def plan_calls(calls: Sequence[CallRef], known: Iterable[Row], shards: int, max_attempts: int, wanted: Wanted) -> Plan:
    """Decide which calls of an inventory are work for a run.

    Args:
        calls: every call of the inventory that can be transcribed.
        known: the rows that stand, with `KNOWN_COLUMNS`.
        shards: shard count of the month.
        max_attempts: tries of a call that fails for a passing reason.
        wanted: the fingerprint that a transcript would have now.
    """

    def planned(call: CallRef, row: Row | None) -> tuple[Reason, PlannedCall] | None:
        reason = decide(call, row, max_attempts)
        if reason is None:
            return None
        attempt = 1 if row is None or reason == "changed" else _next_attempt(row)
        # Only bytes that came under another ETag may turn out to be those that have a transcript.
        copied = row is not None and row["outcome"] != "failed" and row["audio_etag"] != call.etag
        known_sha256 = row["audio_sha256"] if row is not None and copied else None
        shard = shard_of(call.call_id, shards)
        return reason, PlannedCall(call, shard, attempt, known_sha256, wanted(call.hints))

    return _plan(calls, known, wanted, planned)


def plan_backfill(
    calls: Sequence[CallRef],
    known: Iterable[Row],
    shards: int,
    wanted: Wanted,
    selected: Callable[[str, bool], bool],
    *,
    again: bool = False,
) -> Plan:
    """Decide which calls of an inventory a backfill does anew.

    Args:
        calls: every call of the inventory that can be transcribed.
        known: the rows that stand, with `KNOWN_COLUMNS`.
        shards: shard count of the month.
        wanted: the fingerprint that a transcript would have now.
        selected: whether a call is meant, by its call_id and by whether it failed.
        again: also calls whose transcript would come out as it is: same bytes, settings and models.
    """

    def planned(call: CallRef, row: Row | None) -> tuple[Reason, PlannedCall] | None:
        failed = row is None or row["outcome"] == "failed"
        if row is not None and row["text_removed_at"] is not None:
            return None  # it was old enough to be removed, and is now older
        if not selected(call.call_id, failed):
            return None
        fingerprint = wanted(call.hints)
        same = row is not None and (row["fingerprint"], row["audio_etag"]) == (fingerprint, call.etag)
        if same and not failed and not again:
            return None
        # A failure counts on where the tries at these bytes, under these settings, left off.
        attempt = _next_attempt(row) if row is not None and same and _latest(row)[0] == call.etag else 1
        return "selected", PlannedCall(call, shard_of(call.call_id, shards), attempt, None, fingerprint)

    return _plan(calls, known, wanted, planned)


def _plan(
    calls: Sequence[CallRef],
    known: Iterable[Row],
    wanted: Wanted,
    planned: Callable[[CallRef, Row | None], tuple[Reason, PlannedCall] | None],
) -> Plan:
    rows = {row["call_id"]: row for row in known}
    work: list[PlannedCall] = []
    reasons: Counter[str] = Counter()
    failed = other = 0
    for call in calls:
        row = rows.get(call.call_id)
        found = planned(call, row)
        if found is not None:
            reasons[found[0]] += 1
            work.append(found[1])
        elif row is not None:
            is_failed = row["outcome"] == "failed"
            failed += is_failed
            stands = not is_failed and row["text_removed_at"] is None
            other += stands and row["fingerprint"] != wanted(call.hints)
    return Plan(tuple(work), dict(sorted(reasons.items())), len(calls) - len(work), failed, other)


def decide(call: CallRef, row: Row | None, max_attempts: int) -> Reason | None:
    """Why a call is work: it is new, its audio changed, or it failed for a passing reason; None when it is not.

    Silent calls, and those that will never work, are not done again while their bytes stay the same; nor are those
    whose text was removed because of its age, though a later try failed.
    """
    if row is None:
        return "new"
    etag, error_code, attempt = _latest(row)
    if etag != call.etag:
        return "changed"
    if row["text_removed_at"] is not None:
        return None
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
