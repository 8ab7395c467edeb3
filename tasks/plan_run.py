"""Plan a run: what of a month is to be done, written down before any of it is done.

The archive is listed onto scratch disk, and then planned shard by shard: memory holds one shard of the month, and the
job that is being filled.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from tasks.dataset import Change, DataSet
from tasks.erase_runs import erase_from_job, erase_from_unplanned, erased_among
from tasks.errors import AmbiguousCallId
from tasks.inventory import duplicate_message
from tasks.listing import ListedMonth
from tasks.previous import keep_previous
from tasks.quote import measured_rtfx, rtfx_by_device
from tasks.records import CallRef, Failure, Outcome, PlannedCall, Provenance
from tasks.rows import rows_of
from tasks.run_models import Fingerprints
from tasks.runs import RunHead, new_run_id, write_head, write_job, write_unplanned
from tasks.schemas import Row
from tasks.scratch import scratch_folder
from tasks.selection import Selection
from tasks.settings import Settings
from tasks.shards import hours_of, shard_count, shard_of
from tasks.storage import Storage
from tasks.work import WorkCounts, jobs_of


def plan_run(
    data: DataSet,
    source: Storage,
    month: str,
    settings: Settings,
    models: Fingerprints,
    run_id: str | None = None,
    selection: Selection | None = None,
    gates: Mapping[str, Mapping[str, Any]] | None = None,
) -> RunHead:
    """List a month of the archive, decide what is work, and write the plan.

    Args:
        data: the data set.
        source: the archive.
        month: `YYYY-MM`.
        settings: how keys are read and jobs cut.
        models: with what the run will work.
        run_id: of the run; a new one when left out.
        selection: what a backfill does anew; its transcripts are kept as they are, to be compared. None: a run over
            what is new or changed.
        gates: what was shown before it began, where a gate was required (`tasks.gates`).

    Returns:
        the head of the plan, which is written.

    Raises:
        StorageRefused: the archive cannot be listed, or the data set not be written.
    """
    run_id = run_id or new_run_id()
    wanted = shard_count(settings.transcripts.monthly_hours, settings.transcripts.hours_per_shard)
    shards = data.fix_shards(month, wanted)
    with scratch_folder() as scratch:
        listed = ListedMonth(month, shards, scratch)
        listed.take(source, settings.archive)
        counts = WorkCounts()

        def keep(shard: int, call_ids: list[str]) -> None:
            keep_previous(data, run_id, month, shard, call_ids)

        for job in jobs_of(data, listed, settings, models, counts, selection, keep):
            write_job(data.storage, run_id, counts.jobs, job)
            _erase_from_part(data, run_id, counts.jobs, month, shards, job)
        rtfx, _ = measured_rtfx(data.storage, settings, models)
        hours = hours_of(counts.size_bytes, settings.run.bytes_per_second)
        head = RunHead(
            run_id=run_id,
            month=month,
            archive=source.uri,
            transcripts=data.storage.uri,
            created_at=datetime.now(UTC).isoformat(timespec="seconds"),
            shards=shards,
            jobs=counts.jobs,
            calls=counts.calls,
            size_bytes=counts.size_bytes,
            estimated_hours=round(hours, 4),
            bundle=models.bundle,
            bundle_digest=models.bundle_digest,
            compute_type=models.compute_type,
            fingerprint=models.plain,
            settings_fingerprint=models.without_hints,
            listed_objects=listed.objects,
            listed_bytes=listed.size_bytes,
            inventory_digest=listed.digest,
            standing=counts.standing,
            standing_failed=counts.standing_failed,
            erased=counts.erased,
            ambiguous=sum(len(group) for group, _ in counts.ambiguous),
            unmatched=len(listed.unmatched),
            removed=len(counts.removed),
            reasons=dict(sorted(counts.reasons.items())),
            kind="run" if selection is None else "backfill",
            request=selection.digest if selection else "",
            other_fingerprints=counts.other_fingerprints,
            quoted_rtfx=round(rtfx, 2),
            device_rtfx=rtfx_by_device(data.storage, models),
            quoted_worker_hours=round(hours / rtfx, 4),
            worker_hour_price=settings.run.worker_hour_price,
            currency=settings.run.currency,
            alternatives=dict(models.alternatives),
            gates={way: dict(shown) for way, shown in (gates or {}).items()},
            fallback_minute_price=settings.fallback.minute_price,
        )
    _name_unplanned(data, head, counts, listed.unmatched)
    write_head(data.storage, head)
    _commit_ambiguous(data, head, counts.ambiguous)
    return head


def _erase_from_part(
    data: DataSet, run_id: str, number: int, month: str, shards: int, job: Sequence[PlannedCall]
) -> None:
    """Take out of a part of the plan what was erased between planning and writing it.

    Whoever erases looks at the parts after writing the tombstones, and these are read here after the part was written:
    one of the two finds the call.
    """
    if erased := erased_among(data, month, shards, (planned.call.call_id for planned in job)):
        erase_from_job(data.storage, run_id, number, erased)


def _name_unplanned(data: DataSet, head: RunHead, counts: WorkCounts, unmatched: Sequence[str]) -> None:
    """Name what is no call of its own, and what has no object; nothing that is erased, before or meanwhile."""
    call_ids = {*(group[0].call_id for group, _ in counts.ambiguous), *counts.removed}
    erased = erased_among(data, head.month, head.shards, call_ids)
    groups = (group for group, _ in counts.ambiguous if group[0].call_id not in erased)
    removed = [call_id for call_id in counts.removed if call_id not in erased]
    write_unplanned(data.storage, head.run_id, groups, unmatched, removed)
    if meanwhile := erased_among(data, head.month, head.shards, call_ids - erased):
        erase_from_unplanned(data.storage, head.run_id, meanwhile)


def _commit_ambiguous(data: DataSet, head: RunHead, ambiguous: Sequence[tuple[Sequence[CallRef], Row | None]]) -> None:
    """Give every call_id that several objects claim one failed row, unless it has it already."""
    provenance = Provenance(
        run_id=head.run_id,
        job=0,
        bundle=head.bundle,
        bundle_digest=head.bundle_digest,
        device="",
        compute_type=head.compute_type,
        fingerprint=head.fingerprint,
        attempt=1,
        transcribed_at=datetime.now(UTC),
    )
    by_shard: defaultdict[int, list[Change]] = defaultdict(list)
    for group, row in ambiguous:
        # The ETags of all, so that the row is work again as soon as one of the objects is gone.
        etag = "+".join(sorted(call.etag for call in group))
        if row is None or (row["last_attempt_etag"] or row["audio_etag"]) != etag:
            failure = Failure(AmbiguousCallId.code, duplicate_message(group), AmbiguousCallId.transient)
            outcome = Outcome.not_processed(replace(group[0], etag=etag), failure)
            by_shard[shard_of(group[0].call_id, head.shards)].append(rows_of(outcome, provenance))
    for shard, changes in sorted(by_shard.items()):
        data.commit(head.month, shard, head.shards, changes)
