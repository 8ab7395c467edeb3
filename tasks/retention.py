"""Retention: what is older than a rule allows is removed, table by table.

Four rules, each a number of days, or none:

- `changes_days`: what backfills changed, passages of the transcripts included;
- `utterances_days`: everything that was spoken, in samples too; rows of `calls` stay, and say since when it is gone;
- `calls_days`: the calls themselves, as by an erasure: they are not transcribed again;
- `runs_days`: plans and records of runs that have ended; certificates and digests stay (`tasks.retention_runs`).

What is under legal hold is left alone and counted.

A retention may be cut off anywhere, and is then done again. So what runs and backfills keep is looked through for every
call that is too old, also for those whose text was removed before; and what it is about to do is written down first
(`tasks.retention_begun`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime

from tasks.certificates import append, package_versions
from tasks.dataset import DataSet
from tasks.erase import erase_calls
from tasks.erase_runs import erase_from_runs, filter_changes
from tasks.holds import CALL, Hold, holds_on, read_holds
from tasks.retention_begun import BegunRetention
from tasks.retention_rules import COLUMNS, KIND, OldCalls, old_calls, text_before
from tasks.retention_runs import keeps_spoken, remove_old_runs
from tasks.samples import erase_from_samples
from tasks.schemas import Row
from tasks.setting_groups import ArchiveSettings, RetentionSettings


@dataclass
class Retained:
    """What a retention removed, or would remove.

    Attributes:
        calls: that are erased.
        utterances: calls whose utterances are removed, and that stay.
        changes: rows of `changes` that are removed.
        run_objects: objects of runs that are removed, or hold only held calls now.
        held: calls that are older than a rule allows, and under legal hold.
        months: that were looked at, each with the counts of what was found in it.
        certificate: its number in the chain; 0 where nothing was done.
    """

    calls: int = 0
    utterances: int = 0
    changes: int = 0
    run_objects: int = 0
    held: int = 0
    months: dict[str, dict[str, int]] = field(default_factory=dict)
    certificate: int = 0


def retain(
    data: DataSet,
    rules: RetentionSettings,
    archive: ArchiveSettings,
    *,
    apply: bool,
    now: datetime | None = None,
    say: Callable[[str], None] = lambda _: None,
) -> Retained:
    """Remove what is older than the rules allow, or only count it. It may be done again, and then finds less to do.

    Args:
        data: the data set.
        rules: how old what may become.
        archive: how keys of the archive are read, and in which time zone its months are counted; nothing is removed
            there.
        apply: whether to remove it.
        now: the moment of which it is asked; this one when left out.
        say: told what is being looked at.

    Raises:
        CallHeld: a hold was set on a call in the moment in which it was to be erased; what was removed before is.
        StorageRefused: the store says no.
        StorageUnavailable: the store does not answer; what was removed before is.
    """
    now = now or datetime.now(UTC)
    begun = BegunRetention(data.storage, text_before(rules, now), archive.timezone) if apply else None
    retention = _Retention(data, rules, archive, now, begun)
    result = Retained()
    of_calls = (rules.calls_days, rules.utterances_days, rules.changes_days)
    # Every month: a manifest may say of a call in a young one that it began long ago.
    months = data.months() if any(most is not None for most in of_calls) else begun.months if begun else []
    for month in months:
        say(f"looking through {month}")
        counts = retention.month(month)
        result.months[month] = counts
        for name, count in counts.items():
            setattr(result, name, getattr(result, name) + count)
    say("looking through the runs")
    result.run_objects = remove_old_runs(data.storage, rules, now, apply=apply)
    if begun is not None:
        content = _certificate(result, rules, now) | {"timezone": archive.timezone, "cut_off": begun.cut_off}
        result.certificate = append(data.storage, KIND, f"retention-{now:%Y%m%dT%H%M%SZ}", content)
        begun.forget(retention.held_back)
    return result


@dataclass
class _Retention:
    """A retention at work; without `begun` it only counts.

    Attributes:
        held_back: by month, calls whose erasure was cut off and that have come under hold since.
    """

    data: DataSet
    rules: RetentionSettings
    archive: ArchiveSettings
    now: datetime
    begun: BegunRetention | None
    held_back: dict[str, list[str]] = field(default_factory=dict)

    def month(self, month: str) -> dict[str, int]:
        """Remove what of a month is too old, or count it; the counts by name."""
        holds = read_holds(self.data.storage)
        found = [self._shard(month, shard, rows) for shard, rows in enumerate(self.data.read_shards(month, COLUMNS))]
        calls, spoken, changes = (
            frozenset[str]().union(*(getattr(old, name) for old in found)) for name in ("calls", "spoken", "changes")
        )
        left = self._left(month)
        since = self._held_since(month, holds, left) if self.begun else frozenset[str]()
        held = len(since & (calls | spoken | changes))
        if since & left:
            self.held_back[month] = sorted(since & left)
        calls, spoken, changes = (calls | left) - since, spoken - since, changes - since
        return {
            "calls": len(calls),
            "utterances": sum(len(old.utterances) for old in found),
            "changes": self._rest(month, calls, spoken, changes),
            "held": held + sum(old.held for old in found),
        }

    def _shard(self, month: str, shard: int, rows: Sequence[Row]) -> OldCalls:
        """What of a shard is too old; its text is removed."""
        holds = read_holds(self.data.storage)  # after the rows were read: one that was set meanwhile counts
        old = old_calls(rows, month, self.rules, holds, self.now, self.archive.timezone)
        if self.begun is not None and old.spoken:
            self.data.remove_text(month, shard, self.data.shards(month) or 1, old.spoken, self.now)
        return old

    def _rest(self, month: str, calls: frozenset[str], spoken: frozenset[str], changes: frozenset[str]) -> int:
        """Remove what runs and backfills keep of calls, after their text, and whole calls; the rows of `changes`."""
        storage = self.data.storage
        if self.begun is not None and spoken and keeps_spoken(storage):
            erase_from_runs(storage, month, spoken, only_spoken=True)
        if self.begun is not None and spoken:
            erase_from_samples(storage, month, spoken)
        # After what it is made of, so that a backfill that goes on makes none of it again.
        old = calls | spoken | changes
        count = sum(filter_changes(storage, month, old, apply=self.begun is not None).values()) if old else 0
        if self.begun is not None and calls:
            self.begun.erase(month, calls)
            most = self.rules.calls_days
            why = "one that was cut off is done to its end" if most is None else f"calls are kept for {most} days"
            erase_calls(self.data, calls, f"retention: {why}", self.archive, month)
        return count

    def _left(self, month: str) -> frozenset[str]:
        """The calls of a month of which a retention that was cut off had written the tombstone, or more."""
        left = self.begun.left(month) if self.begun else frozenset[str]()
        shards = (self.data.shards(month) or 1) if left else 0
        return left & frozenset[str]().union(*(self.data.erased(month, shard, shards) for shard in range(shards)))

    def _held_since(self, month: str, before: Sequence[Hold], left: frozenset[str]) -> frozenset[str]:
        """The calls of a month that are held by holds that were not there before; of those that are left, by any."""
        holds = read_holds(self.data.storage)
        new = [hold for hold in holds if hold not in before]
        held = {hold.value for hold in holds if hold.name == CALL}
        if new or (holds and left):
            for rows in self.data.read_shards(month, ("call_id", "attributes")):
                for row in rows:
                    which = holds if row["call_id"] in left else new
                    if holds_on(which, row["call_id"], dict(row["attributes"] or ())):
                        held.add(row["call_id"])
        return frozenset(held)


def _certificate(result: Retained, rules: RetentionSettings, now: datetime) -> dict[str, object]:
    return {
        "rules": rules.model_dump(mode="json"),
        "text_before": text_before(rules, now),
        **{name: value for name, value in asdict(result).items() if name != "certificate"},
        "versions": package_versions(),
        "written_at": now.isoformat(timespec="seconds"),
    }


def retention_rows(result: Retained) -> list[tuple[str, str]]:
    """What was removed, or would be, as lines for people."""
    rows = [
        ("months looked through", f"{len(result.months):,}"),
        ("calls, everything of them", f"{result.calls:,}"),
        ("calls, their text", f"{result.utterances:,}"),
        ("rows of changes", f"{result.changes:,}"),
        ("objects of runs", f"{result.run_objects:,}"),
        ("under legal hold, left alone", f"{result.held:,}"),
    ]
    return [*rows, ("certificate", f"{result.certificate}")] if result.certificate else rows
