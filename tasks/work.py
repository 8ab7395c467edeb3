"""What of a listed month is work: shard by shard, cut into jobs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from tasks.dataset import DataSet
from tasks.inventory import Inventory
from tasks.listing import ListedMonth
from tasks.planning import KNOWN_COLUMNS, Plan, plan_backfill, plan_calls
from tasks.records import CallRef, PlannedCall
from tasks.run_models import Fingerprints
from tasks.schemas import Row
from tasks.selection import Selected, Selection
from tasks.settings import Settings
from tasks.shards import pack_jobs

Keep = Callable[[int, list[str]], None]
"""Keeps, of a shard, what stands of some calls."""


@dataclass
class WorkCounts:
    """What a plan counts, shard after shard.

    `ambiguous` holds the objects that claim one call_id, with the row that stands for it; `removed` the call_ids whose
    object is no longer in the archive; `named` those that a backfill names and that are of the month.
    """

    calls: int = 0
    size_bytes: int = 0
    jobs: int = 0
    standing: int = 0
    standing_failed: int = 0
    erased: int = 0
    other_fingerprints: int = 0
    reasons: Counter[str] = field(default_factory=Counter)
    ambiguous: list[tuple[Sequence[CallRef], Row | None]] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)
    named: set[str] = field(default_factory=set)


def jobs_of(
    data: DataSet,
    listed: ListedMonth,
    settings: Settings,
    models: Fingerprints,
    counts: WorkCounts,
    selection: Selection | None,
    keep: Keep = lambda _shard, _call_ids: None,
) -> Iterator[list[PlannedCall]]:
    """The jobs of a plan, one after the other, and what is counted on the way."""
    work = _work(data, listed, settings, models, counts, selection, keep)
    for job in pack_jobs(work, settings.run.job_hours, settings.run.bytes_per_second):
        counts.jobs += 1
        counts.calls += len(job)
        counts.size_bytes += sum(planned.call.size_bytes for planned in job)
        yield job


def _work(
    data: DataSet,
    listed: ListedMonth,
    settings: Settings,
    models: Fingerprints,
    counts: WorkCounts,
    selection: Selection | None,
    keep: Keep,
) -> Iterator[PlannedCall]:
    """The calls that are work, shard by shard and in order of call_id, and what is counted on the way."""
    for shard, inventory in enumerate(listed.inventories()):
        table = data.read_table(listed.month, shard, listed.shards)
        rows = table.select(KNOWN_COLUMNS).to_pylist()
        erased = data.erased(listed.month, shard, listed.shards)
        calls = [call for call in inventory.calls if call.call_id not in erased]
        selected = selection.of(table, listed.month) if selection else None
        plan = _plan_shard(calls, rows, listed.shards, settings, models, selected)
        counts.standing += plan.standing
        counts.standing_failed += plan.standing_failed
        counts.other_fingerprints += plan.other_fingerprints
        counts.erased += len(inventory.calls) - len(calls)
        counts.reasons.update(plan.reasons)
        by_id = {row["call_id"]: row for row in rows}
        counts.ambiguous += [(group, by_id.get(group[0].call_id)) for group in inventory.ambiguous]
        counts.removed += _removed(inventory, by_id, selected)
        if selected is not None and (known := [one.call.call_id for one in plan.work if one.call.call_id in by_id]):
            keep(shard, known)
        if selection is not None and selection.call_ids is not None:
            counts.named |= selection.call_ids & (by_id.keys() | inventory.call_ids)
        yield from plan.work


def _plan_shard(
    calls: Sequence[CallRef],
    rows: Sequence[Row],
    shards: int,
    settings: Settings,
    models: Fingerprints,
    selected: Selected | None,
) -> Plan:
    if selected is None:
        return plan_calls(calls, rows, shards, settings.run.max_attempts, models.of)
    return plan_backfill(calls, rows, shards, models.of, selected, again=selected.selection.again)


def _removed(inventory: Inventory, rows: dict[str, Row], selected: Selected | None) -> list[str]:
    """The call_ids that have a row and no object; of a backfill, those that it was to do anew."""
    gone = rows.keys() - inventory.call_ids
    return sorted(one for one in gone if selected is None or selected(one, rows[one]["outcome"] == "failed"))
