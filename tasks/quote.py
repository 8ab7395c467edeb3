"""What a run or a backfill would have to do, how long it would take and what it would cost: said before it begins."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tasks.budget import budget_of
from tasks.certificates import read_chain
from tasks.dataset import DataSet
from tasks.errors import CertificateBroken
from tasks.listing import ListedMonth
from tasks.run_models import Fingerprints
from tasks.scratch import scratch_folder
from tasks.selection import Selection
from tasks.setting_groups import RunSettings
from tasks.settings import Settings
from tasks.shards import hours_of, shard_count
from tasks.storage import Storage
from tasks.work import WorkCounts, jobs_of


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
        named: of the calls that a backfill names, those that are of the month.
        largest_hours: of several months, the audio hours of the largest, which is a run of its own.
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
    named: frozenset[str] = frozenset()
    largest_hours: float | None = None

    @property
    def worker_hours(self) -> float:
        """Hours of one worker, which is one GPU where there are GPUs."""
        return self.hours / self.rtfx


def quote_rows(quote: Quote, workers: int, settings: RunSettings) -> list[tuple[str, str]]:
    """What a run would have to do, as lines for people.

    Args:
        quote: it.
        workers: that would share the work.
        settings: prices, and the budget.
    """
    price, currency = settings.worker_hour_price, settings.currency
    measured = f"measured on {quote.measured_runs} earlier run{'s' if quote.measured_runs > 1 else ''}"
    rows = [
        ("objects listed", f"{quote.objects:,}"),
        ("nothing to do", f"{quote.standing:,}"),
        ("calls to transcribe", f"{quote.calls:,}"),
        *((f"  {reason}", f"{count:,}") for reason, count in quote.reasons.items()),
        ("audio, by size", f"{quote.hours:,.2f} h"),
        ("jobs, shards", f"{quote.jobs:,}, {quote.shards:,}"),
        (f"RTFx, {measured if quote.measured_runs else 'assumed (run.assumed_rtfx)'}", f"{quote.rtfx:,.1f}"),
        ("hours of one worker", f"{quote.worker_hours:,.2f} h"),
        (
            f"finished by {workers} worker{'s' if workers > 1 else ''} after",
            f"{quote.worker_hours / min(workers, max(quote.jobs, 1)):,.2f} h",
        ),
    ]
    if price is not None:
        rows.append((f"cost at {price:g} {currency} an hour", f"{quote.worker_hours * price:,.2f} {currency}"))
    budget_s = budget_of(settings)
    if budget_s is not None:
        most_hours = (quote.hours if quote.largest_hours is None else quote.largest_hours) / quote.rtfx
        enough = "enough" if budget_s >= most_hours * 3600 else "NOT enough: it would stop before its end"
        of_each = "" if quote.largest_hours is None else " of each month"
        rows.append((f"budget of worker hours{of_each}", f"{budget_s / 3600:,.2f} h, {enough}"))
    for service in settings.list_prices if quote.hours else ():
        cost = f"{quote.hours * 60 * service.usd_per_minute:,.2f} USD"
        rows.append((f"{service.name}, list price of {service.as_of}", cost))
    return rows


def quote_run(
    data: DataSet,
    source: Storage,
    month: str,
    settings: Settings,
    models: Fingerprints,
    selection: Selection | None = None,
) -> Quote:
    """What a run over a month, or a backfill of it, would have to do, without writing anything.

    Args:
        data: the data set.
        source: the archive.
        month: `YYYY-MM`.
        settings: how keys are read and jobs cut, and what to assume where no run has measured it.
        models: with what the run would work.
        selection: what a backfill would do anew.

    Raises:
        StorageRefused: the archive cannot be listed, or the data set not be read.
    """
    wanted = shard_count(settings.transcripts.monthly_hours, settings.transcripts.hours_per_shard)
    with scratch_folder() as scratch:
        listed = ListedMonth(month, data.shards(month) or wanted, scratch)
        listed.take(source, settings.archive)
        counts = WorkCounts()
        for _ in jobs_of(data, listed, settings, models, counts, selection):
            pass  # counted on the way
    rtfx, measured_runs = measured_rtfx(data.storage, settings, models)
    return Quote(
        month=month,
        objects=listed.objects,
        calls=counts.calls,
        hours=hours_of(counts.size_bytes, settings.run.bytes_per_second),
        jobs=counts.jobs,
        shards=listed.shards,
        standing=counts.standing,
        reasons=dict(sorted(counts.reasons.items())),
        rtfx=rtfx,
        measured_runs=measured_runs,
        named=frozenset(counts.named),
    )


def together(quotes: Sequence[Quote]) -> Quote:
    """Quotes of several months as one; of none, that there is nothing to do."""
    reasons = sum((Counter(quote.reasons) for quote in quotes), Counter[str]())
    return Quote(
        month=f"{quotes[0].month}..{quotes[-1].month}" if quotes else "",
        objects=sum(quote.objects for quote in quotes),
        calls=sum(quote.calls for quote in quotes),
        hours=sum(quote.hours for quote in quotes),
        jobs=sum(quote.jobs for quote in quotes),
        shards=sum(quote.shards for quote in quotes),
        standing=sum(quote.standing for quote in quotes),
        reasons=dict(sorted(reasons.items())),
        rtfx=quotes[0].rtfx if quotes else 1.0,
        measured_runs=quotes[0].measured_runs if quotes else 0,
        named=frozenset().union(*(quote.named for quote in quotes)),
        largest_hours=max((quote.hours for quote in quotes), default=0.0) if len(quotes) > 1 else None,
    )


def measured_rtfx(storage: Storage, settings: Settings, models: Fingerprints) -> tuple[float, int]:
    """Audio hours that a worker does in an hour, and on how many runs that is measured.

    By the certificates of runs with the same models in the same number format; `run.assumed_rtfx` where there is none,
    or where the chain of certificates does not hold (`callscribe verify` says so).
    """
    measured = _measured(storage, models)
    if not measured:
        return settings.run.assumed_rtfx, 0
    return _rtfx(measured), len(measured)


def rtfx_by_device(storage: Storage, models: Fingerprints) -> dict[str, float]:
    """The same by the name of the device, by the runs that had devices of one name only."""
    runs: defaultdict[str, list[Mapping[str, Any]]] = defaultdict(list)
    for result in _measured(storage, models):
        if len(devices := result.get("devices", ())) == 1:
            runs[next(iter(devices))].append(result)
    return {device: round(_rtfx(results), 2) for device, results in sorted(runs.items())}


def _measured(storage: Storage, models: Fingerprints) -> list[Mapping[str, Any]]:
    """The results of runs with the same models in the same number format that say how long workers worked."""
    try:
        last = {one.subject: one.content for one in read_chain(storage) if one.kind == "run"}
    except CertificateBroken:
        return []
    runs = [content["result"] for content in last.values() if _is_alike(content["run"], models)]
    # Certificates of an earlier version do not say how long workers worked.
    return [result for result in runs if result["audio_s"] and result.get("worker_s")]


def _rtfx(results: Sequence[Mapping[str, Any]]) -> float:
    audio_s, worker_s = (sum(result[name] for result in results) for name in ("audio_s", "worker_s"))
    return float(audio_s / worker_s)


def _is_alike(run: Mapping[str, object], models: Fingerprints) -> bool:
    """Whether a run worked with the same models in the same number format."""
    return (run["bundle_digest"], run["compute_type"]) == (models.bundle_digest, models.compute_type)
