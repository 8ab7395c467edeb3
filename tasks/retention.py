"""Retention: what is older than a rule allows is removed, table by table.

A call is as old as the moment at which it began, or, where that is not known, as the end of its month. Four rules, each
a number of days, or none:

- `changes_days`: what backfills changed, passages of the transcripts included;
- `utterances_days`: everything that was spoken; the rows of `calls` stay, and say since when the text is gone;
- `calls_days`: the calls themselves, as by an erasure: they are not transcribed again;
- `runs_days`: plans and records of runs that have ended; certificates and digests stay.

What is under legal hold is left alone and counted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta

from tasks.certificates import append, package_versions, read_chain
from tasks.dataset import DataSet
from tasks.erase import erase_calls
from tasks.erase_runs import erase_from_runs, filter_changes
from tasks.holds import Hold, holds_on, read_holds
from tasks.runs import find_head
from tasks.schemas import Row
from tasks.setting_groups import ArchiveSettings, RetentionSettings
from tasks.storage import Storage

KIND = "retention"
# Of what lies under `_runs/<run_id>/`, what certificates and `verify` need.
_KEPT_OF_RUNS = frozenset({"plan.json", "certificate.json", "outputs"})
_COLUMNS = ("call_id", "started_at", "attributes", "outcome", "text_removed_at")


@dataclass(frozen=True, slots=True)
class OldCalls:
    """What of a shard is older than the rules allow, by rule, and how many old calls are held."""

    calls: frozenset[str]
    utterances: frozenset[str]
    changes: frozenset[str]
    held: int


@dataclass
class Retained:
    """What a retention removed, or would remove.

    Attributes:
        calls: that are erased.
        utterances: calls whose utterances are removed, and that stay.
        changes: rows of `changes` that are removed.
        run_objects: objects of runs that are removed.
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


def old_calls(
    rows: Iterable[Row], month: str, rules: RetentionSettings, holds: Sequence[Hold], now: datetime
) -> OldCalls:
    """Pure: which calls are older than the rules allow.

    Args:
        rows: of `calls`, with call_id, started_at, attributes, outcome and text_removed_at.
        month: `YYYY-MM`, for calls of which it is not known when they began.
        rules: how old what may become.
        holds: all that there are.
        now: the moment of which it is asked.
    """
    found: dict[str, set[str]] = {"calls": set(), "utterances": set(), "changes": set()}
    held = 0
    for row in rows:
        days = (now - (row["started_at"] or end_of(month))) / timedelta(days=1)
        due = {name for name in found if (most := getattr(rules, f"{name}_days")) is not None and days > most}
        if not due:
            continue
        if holds and holds_on(holds, row["call_id"], dict(row["attributes"] or ())):
            held += 1
            continue
        if "calls" in due:
            due = {"calls"}  # everything else of it goes with it
        if row["text_removed_at"] is not None or row["outcome"] == "failed":
            due.discard("utterances")
        for name in due:
            found[name].add(row["call_id"])
    return OldCalls(frozenset(found["calls"]), frozenset(found["utterances"]), frozenset(found["changes"]), held)


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
        archive: how keys of the archive are read; nothing is removed there.
        apply: whether to remove it.
        now: the moment of which it is asked; this one when left out.
        say: told what is being looked at.

    Raises:
        StorageRefused: the store says no.
        StorageUnavailable: the store does not answer; what was removed before is.
    """
    now = now or datetime.now(UTC)
    result = Retained()
    holds = read_holds(data.storage)
    for month in data.months():
        if not _may_be_old(month, rules, now):
            continue
        say(f"looking through {month}")
        found = [*_of_month(data, month, rules, holds, now)]
        counts = {
            "calls": sum(len(old.calls) for _, old in found),
            "utterances": sum(len(old.utterances) for _, old in found),
            "changes": _changes(data, month, found, apply=apply),
            "held": sum(old.held for _, old in found),
        }
        if apply:
            _remove(data, month, found, archive, rules, now)
        result.months[month] = counts
        for name, count in counts.items():
            setattr(result, name, getattr(result, name) + count)
    say("looking through the runs")
    result.run_objects = _old_runs(data.storage, rules, now, apply=apply)
    if apply:
        result.certificate = append(
            data.storage, KIND, f"retention-{now:%Y%m%dT%H%M%SZ}", _certificate(result, rules, now)
        )
    return result


def end_of(month: str) -> datetime:
    """The moment at which a month ends (UTC)."""
    year, number = int(month[:4]), int(month[5:])
    return datetime(year + number // 12, number % 12 + 1, 1, tzinfo=UTC)


def text_was_due(row: Mapping[str, object], month: str, certificates: Iterable[Mapping[str, object]]) -> bool:
    """Whether a certified retention explains that the text of a call is gone.

    Args:
        row: of `calls`, with `started_at`.
        month: `YYYY-MM`.
        certificates: what the certificates of retentions say.
    """
    began = row["started_at"] if isinstance(row["started_at"], datetime) else end_of(month)
    return any(
        certificate["text_before"] is not None and began < datetime.fromisoformat(str(certificate["text_before"]))
        for certificate in certificates
    )


def _may_be_old(month: str, rules: RetentionSettings, now: datetime) -> bool:
    days = [most for most in (rules.calls_days, rules.utterances_days, rules.changes_days) if most is not None]
    year, number = int(month[:4]), int(month[5:])
    # A day before it begins, as months are those of the archive's time zone.
    begin = datetime(year, number, 1, tzinfo=UTC) - timedelta(days=1)
    return bool(days) and (now - begin) / timedelta(days=1) > min(days)


def _of_month(
    data: DataSet, month: str, rules: RetentionSettings, holds: Sequence[Hold], now: datetime
) -> Iterator[tuple[int, OldCalls]]:
    for shard, rows in enumerate(data.read_shards(month, _COLUMNS)):
        old = old_calls(rows, month, rules, holds, now)
        if old.calls or old.utterances or old.changes or old.held:
            yield shard, old


def _changes(data: DataSet, month: str, found: Sequence[tuple[int, OldCalls]], *, apply: bool) -> int:
    """How many rows of `changes` of a month are too old; with `apply`, they are removed."""
    # Also of those whose text goes: passages are part of it.
    old = frozenset[str]().union(*(one.changes | one.utterances | one.calls for _, one in found))
    if not old:
        return 0
    return sum(filter_changes(data.storage, month, old, apply=apply).values())


def _remove(
    data: DataSet,
    month: str,
    found: Sequence[tuple[int, OldCalls]],
    archive: ArchiveSettings,
    rules: RetentionSettings,
    now: datetime,
) -> None:
    shards = data.shards(month) or 1
    for shard, old in found:
        if old.utterances:
            data.remove_text(month, shard, shards, old.utterances, now)
    if spoken := frozenset[str]().union(*(old.utterances for _, old in found)):
        erase_from_runs(data.storage, month, spoken, only_spoken=True)
    if whole := [call_id for _, old in found for call_id in old.calls]:
        reason = f"retention: calls are kept for {rules.calls_days} days"
        erase_calls(data, whole, reason, archive, month)


def _old_runs(storage: Storage, rules: RetentionSettings, now: datetime, *, apply: bool) -> int:
    """How many objects of ended runs are too old; with `apply`, they are removed."""
    if rules.runs_days is None:
        return 0
    ended = {one.subject for one in read_chain(storage) if one.kind == "run" and one.content["final"]}
    old: dict[str, bool] = {}
    count = 0
    for info in list(storage.list("_runs/")):
        _, run_id, kind, *_ = (*info.key.split("/"), "", "")
        if run_id not in old:
            head = find_head(storage, run_id) if run_id in ended else None
            created = datetime.fromisoformat(head.created_at) if head else now
            old[run_id] = (now - created) / timedelta(days=1) > rules.runs_days
        if old[run_id] and kind not in _KEPT_OF_RUNS:
            count += 1
            if apply:
                storage.delete(info.key)
    return count


def _certificate(result: Retained, rules: RetentionSettings, now: datetime) -> dict[str, object]:
    text_days = [days for days in (rules.utterances_days, rules.calls_days) if days is not None]
    return {
        "rules": rules.model_dump(mode="json"),
        "text_before": (now - timedelta(days=min(text_days))).isoformat() if text_days else None,
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
