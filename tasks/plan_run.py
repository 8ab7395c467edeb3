"""Plan a run: what of a month is to be done, written down before any of it is done.

The archive is listed onto scratch disk, and then planned shard by shard: memory holds one shard of the month, and the
job that is being filled.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial

from tasks.bundles import open_bundle
from tasks.calibration import load_calibration, recognizer_digest
from tasks.certificates import read_chain
from tasks.dataset import Change, DataSet
from tasks.devices import compute_type_for
from tasks.errors import AmbiguousCallId
from tasks.fingerprint import fingerprint
from tasks.inventory import Inventory, duplicate_message
from tasks.listing import ListedMonth
from tasks.planning import KNOWN_COLUMNS, plan_calls
from tasks.records import CallHints, CallRef, Failure, Outcome, PlannedCall, Provenance
from tasks.rows import rows_of
from tasks.runs import RunHead, new_run_id, write_head, write_job, write_unplanned
from tasks.schemas import Row
from tasks.scratch import scratch_folder
from tasks.settings import Settings
from tasks.shards import hours_of, pack_jobs, shard_count, shard_of
from tasks.storage import Storage


@dataclass(frozen=True, slots=True)
class Fingerprints:
    """With what a run works: the bundle, and the fingerprints of its settings.

    Attributes:
        bundle: name of the bundle.
        bundle_digest: of all its files.
        compute_type: of the recogniser.
        plain: fingerprint with the archive's own hints, which most calls have.
        without_hints: fingerprint of the settings alone.
    """

    bundle: str
    bundle_digest: str
    compute_type: str
    plain: str
    without_hints: str


@dataclass(frozen=True, slots=True)
class Quote:
    """What a run would have to do.

    Attributes:
        month: `YYYY-MM`.
        objects: that lie under the month's prefix.
        calls: that are work.
        hours: of audio in them, estimated from their size.
        jobs: they would be cut into.
        shards: of the month.
        standing: calls that need nothing.
        reasons: why calls are work.
        rtfx: audio hours that one worker does in an hour, start-up included.
        measured_runs: earlier runs with the same models which that is measured on; 0 where it is assumed.
    """

    month: str
    objects: int
    calls: int
    hours: float
    jobs: int
    shards: int
    standing: int
    reasons: Mapping[str, int]
    rtfx: float
    measured_runs: int

    @property
    def worker_hours(self) -> float:
        """Hours of one worker, which is one GPU where there are GPUs."""
        return self.hours / self.rtfx


def quote_rows(quote: Quote, workers: int, price: float | None, currency: str) -> list[tuple[str, str]]:
    """What a run would have to do, as lines for people.

    Args:
        quote: it.
        workers: that would share the work.
        price: of an hour of one worker, where it is known.
        currency: of the price.
    """
    measured = f"measured on {quote.measured_runs} earlier runs"
    rows = [
        ("objects listed", f"{quote.objects:,}"),
        ("nothing to do", f"{quote.standing:,}"),
        ("calls to transcribe", f"{quote.calls:,}"),
        *((f"  {reason}", f"{count:,}") for reason, count in quote.reasons.items()),
        ("audio, by size", f"{quote.hours:,.2f} h"),
        ("jobs, shards", f"{quote.jobs:,}, {quote.shards:,}"),
        (f"RTFx, {measured if quote.measured_runs else 'assumed (run.assumed_rtfx)'}", f"{quote.rtfx:,.1f}"),
        ("hours of one worker", f"{quote.worker_hours:,.2f} h"),
        (f"finished by {workers} workers after", f"{quote.worker_hours / min(workers, max(quote.jobs, 1)):,.2f} h"),
    ]
    if price is not None:
        rows.append((f"cost at {price:g} {currency} an hour", f"{quote.worker_hours * price:,.2f} {currency}"))
    return rows


@dataclass
class _Counts:
    """What a plan counts, shard after shard."""

    calls: int = 0
    size_bytes: int = 0
    jobs: int = 0
    standing: int = 0
    standing_failed: int = 0
    erased: int = 0
    reasons: Counter[str] = field(default_factory=Counter)
    ambiguous: list[tuple[Sequence[CallRef], Row | None]] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)


def fingerprints_of(settings: Settings) -> Fingerprints:
    """With what this machine would work, before any model is loaded.

    Raises:
        BundleError: the bundle is missing or not whole.
    """
    bundle = open_bundle(settings.models.folder, settings.models.bundle)
    compute_type = compute_type_for(settings.models.device, settings.models.compute_type)
    calibration = load_calibration(bundle.name, recognizer_digest(bundle.manifest)).digest
    with_hints = partial(fingerprint, settings, bundle.digest, compute_type, calibration=calibration)
    return Fingerprints(
        bundle=bundle.name,
        bundle_digest=bundle.digest,
        compute_type=compute_type,
        plain=with_hints(settings.archive.hints()),
        without_hints=with_hints(CallHints()),
    )


def plan_run(
    data: DataSet, source: Storage, month: str, settings: Settings, models: Fingerprints, run_id: str | None = None
) -> RunHead:
    """List a month of the archive, decide what is work, and write the plan.

    Args:
        data: the data set.
        source: the archive.
        month: `YYYY-MM`.
        settings: how keys are read and jobs cut.
        models: with what the run will work.
        run_id: of the run; a new one when left out.

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
        counts = _Counts()
        for job in _jobs(data, listed, settings, counts):
            write_job(data.storage, run_id, counts.jobs, job)
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
            estimated_hours=round(hours_of(counts.size_bytes, settings.run.bytes_per_second), 4),
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
        )
    write_unplanned(data.storage, run_id, (group for group, _ in counts.ambiguous), listed.unmatched, counts.removed)
    write_head(data.storage, head)
    _commit_ambiguous(data, head, counts.ambiguous)
    return head


def quote_run(data: DataSet, source: Storage, month: str, settings: Settings, models: Fingerprints) -> Quote:
    """What a run over a month would have to do, without writing anything.

    Args:
        data: the data set.
        source: the archive.
        month: `YYYY-MM`.
        settings: how keys are read and jobs cut, and what to assume where no run has measured it.
        models: with what the run would work.

    Raises:
        StorageRefused: the archive cannot be listed, or the data set not be read.
    """
    wanted = shard_count(settings.transcripts.monthly_hours, settings.transcripts.hours_per_shard)
    with scratch_folder() as scratch:
        listed = ListedMonth(month, data.shards(month) or wanted, scratch)
        listed.take(source, settings.archive)
        counts = _Counts()
        for _ in _jobs(data, listed, settings, counts):
            pass  # counted on the way
    last = {one.subject: one.content for one in read_chain(data.storage) if one.kind == "run"}
    # Of a run that another process began, nobody knows all of its time.
    runs = [
        content["result"]
        for content in last.values()
        if _is_alike(content["run"], models) and content["result"]["audio_s"] and not content["adopted"]
    ]
    audio_s, wall_s = (sum(result[name] for result in runs) for name in ("audio_s", "wall_s"))
    return Quote(
        month=month,
        objects=listed.objects,
        calls=counts.calls,
        hours=hours_of(counts.size_bytes, settings.run.bytes_per_second),
        jobs=counts.jobs,
        shards=listed.shards,
        standing=counts.standing,
        reasons=dict(sorted(counts.reasons.items())),
        rtfx=audio_s / wall_s if audio_s else settings.run.assumed_rtfx,
        measured_runs=len(runs),
    )


def _is_alike(run: Mapping[str, object], models: Fingerprints) -> bool:
    """Whether a run worked with the same models in the same number format."""
    return (run["bundle_digest"], run["compute_type"]) == (models.bundle_digest, models.compute_type)


def _jobs(data: DataSet, listed: ListedMonth, settings: Settings, counts: _Counts) -> Iterator[list[PlannedCall]]:
    """The jobs of a plan, one after the other, and what is counted on the way."""
    work = _work(data, listed, settings, counts)
    for job in pack_jobs(work, settings.run.job_hours, settings.run.bytes_per_second):
        counts.jobs += 1
        counts.calls += len(job)
        counts.size_bytes += sum(planned.call.size_bytes for planned in job)
        yield job


def _work(data: DataSet, listed: ListedMonth, settings: Settings, counts: _Counts) -> Iterator[PlannedCall]:
    """The calls that are work, shard by shard and in order of call_id, and what is counted on the way."""
    for shard, inventory in enumerate(listed.inventories()):
        rows = data.read_shard(listed.month, shard, listed.shards, KNOWN_COLUMNS)
        erased = data.erased(listed.month, shard, listed.shards)
        calls = [call for call in inventory.calls if call.call_id not in erased]
        plan = plan_calls(calls, rows, listed.shards, settings.run.max_attempts)
        counts.standing += plan.standing
        counts.standing_failed += plan.standing_failed
        counts.erased += len(inventory.calls) - len(calls)
        counts.reasons.update(plan.reasons)
        by_id = {row["call_id"]: row for row in rows}
        counts.ambiguous += [(group, by_id.get(group[0].call_id)) for group in inventory.ambiguous]
        counts.removed += _removed(inventory, by_id)
        yield from plan.work


def _removed(inventory: Inventory, rows: dict[str, Row]) -> list[str]:
    """The call_ids that have a row and no object."""
    return sorted(rows.keys() - inventory.call_ids)


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
