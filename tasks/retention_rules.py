"""Pure: which calls are older than the rules of a retention allow, and what a retention explains of text that is gone.

A call is as old as the moment at which it began, or, where that is not known, as the end of its month, which is a month
of the archive's time zone.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from tasks.holds import Hold, holds_on
from tasks.schemas import Row
from tasks.setting_groups import RetentionSettings

KIND = "retention"
# What `old_calls` wants to know of a row.
COLUMNS = ("call_id", "started_at", "attributes", "outcome", "text_removed_at")


@dataclass(frozen=True, slots=True)
class OldCalls:
    """What of a shard is older than the rules allow, by rule.

    Attributes:
        calls: that are erased; they are in none of the others.
        utterances: whose text is removed now.
        spoken: of which nothing that was spoken may be anywhere: those, the ones whose text was removed before, as a
            retention may have been cut off after that, and the ones that failed.
        changes: whose changes go, though their text may stay.
        held: how many old calls are held.
    """

    calls: frozenset[str] = frozenset()
    utterances: frozenset[str] = frozenset()
    spoken: frozenset[str] = frozenset()
    changes: frozenset[str] = frozenset()
    held: int = 0


def old_calls(
    rows: Iterable[Row],
    month: str,
    rules: RetentionSettings,
    holds: Sequence[Hold],
    now: datetime,
    timezone: str = "UTC",
) -> OldCalls:
    """Which calls are older than the rules allow.

    Args:
        rows: of `calls`, with `COLUMNS`.
        month: `YYYY-MM`, for calls of which it is not known when they began.
        rules: how old what may become.
        holds: all that there are.
        now: the moment of which it is asked.
        timezone: in which the archive's months are counted.
    """
    rule_of = {"calls": rules.calls_days, "spoken": rules.utterances_days, "changes": rules.changes_days}
    found: dict[str, set[str]] = {name: set() for name in rule_of}
    utterances: set[str] = set()
    held = 0
    for row in rows:
        days = (now - (row["started_at"] or end_of(month, timezone))) / timedelta(days=1)
        due = {name for name, most in rule_of.items() if most is not None and days > most}
        if not due:
            continue
        if holds_on(holds, row["call_id"], dict(row["attributes"] or ())):
            held += 1
            continue
        if "calls" in due:
            due = {"calls"}  # everything else of it goes with it
        for name in due:
            found[name].add(row["call_id"])
        if "spoken" in due and row["text_removed_at"] is None and row["outcome"] != "failed":
            utterances.add(row["call_id"])
    calls, spoken, changes = (frozenset(found[name]) for name in rule_of)
    return OldCalls(calls, frozenset(utterances), spoken, changes, held)


def end_of(month: str, timezone: str = "UTC") -> datetime:
    """The moment at which a month ends, in UTC.

    Args:
        month: `YYYY-MM`.
        timezone: in which the archive's months are counted.
    """
    year, number = int(month[:4]), int(month[5:])
    return datetime(year + number // 12, number % 12 + 1, 1, tzinfo=ZoneInfo(timezone)).astimezone(UTC)


def text_before(rules: RetentionSettings, now: datetime) -> str | None:
    """Before which moment a call must have begun for its text to go, as certificates have it; None: no text goes."""
    days = [most for most in (rules.utterances_days, rules.calls_days) if most is not None]
    return (now - timedelta(days=min(days))).isoformat() if days else None


def text_was_due(row: Mapping[str, object], month: str, retentions: Iterable[Mapping[str, object]]) -> bool:
    """Whether a retention explains that the text of a call is gone.

    Args:
        row: of `calls`, with `started_at`.
        month: `YYYY-MM`.
        retentions: what each says of itself, with `text_before`, and `timezone` where it is not UTC.
    """
    for one in retentions:
        began = row["started_at"]
        if not isinstance(began, datetime):
            began = end_of(month, str(one.get("timezone", "UTC")))
        if one["text_before"] is not None and began < datetime.fromisoformat(str(one["text_before"])):
            return True
    return False
