"""What a run did: its plan held against the data set, shard by shard, and counted."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from itertools import groupby
from typing import Any

from tasks.dataset import DataSet
from tasks.errors import AmbiguousCallId
from tasks.records import PlannedCall, RecognitionCounts
from tasks.runs import RunHead
from tasks.schemas import Row

# What `reconcile` wants to know of a row.
RECONCILED_COLUMNS = (
    "call_id",
    "run_id",
    "outcome",
    "error_code",
    "duration_s",
    "audio_sha256",
    "audio_etag",
    "fingerprint",
    "recognition",
    "transcript_sha256",
    "last_attempt_run_id",
    "last_attempt_error_code",
    "device",
)


@dataclass(frozen=True, slots=True)
class RunSummary:
    """What a run did, from the data set itself: the numbers of its certificate.

    Every listed object is in exactly one of `outcomes`, `copied`, `superseded`, `standing`, `erased`, `ambiguous`,
    `unmatched` and `missing`. Besides, `outcomes` holds the failed rows that stand for ambiguous call_ids.

    Attributes:
        outcomes: calls of this run by outcome.
        errors: failed calls of this run by code.
        copied: objects whose bytes already had a transcript.
        superseded: calls that a run planned later has done meanwhile.
        standing: calls that needed nothing; `standing_failed` of them have failed for good or too often.
        erased: objects of calls that were erased, and are not transcribed again.
        ambiguous: objects whose call_id others claim too.
        unmatched: objects whose key the template does not read.
        removed: calls whose object is no longer in the archive; their rows are kept.
        other_fingerprints: listed calls whose transcript stands under other settings or models than today's.
        missing: calls that were planned and have no row; 0 unless a job did not finish.
        audio_s: seconds of audio that this run transcribed or found silent.
        wall_s: seconds that the run took, models and start-up included.
        worker_s: seconds that workers worked on its jobs, all attempts together, models and start-up included;
            `quoted_worker_s` is what was said before the run. Both cost `worker_hour_price` an hour, where it is known.
        devices: seconds of that audio by the name of the device that it was heard on.
        slow_jobs: jobs that went slower than their device is known to.
        recognition: how the calls that this run transcribed or found silent were recognised, by the names of
            `RecognitionCounts`.
    """

    run_id: str
    month: str
    listed_objects: int
    outcomes: dict[str, int]
    errors: dict[str, int]
    copied: int
    superseded: int
    standing: int
    standing_failed: int
    erased: int
    ambiguous: int
    unmatched: int
    missing: int
    other_fingerprints: int
    audio_s: float
    wall_s: float
    jobs: int
    recognition: dict[str, int] = field(default_factory=dict)
    removed: int = 0
    worker_s: float = 0.0
    quoted_worker_s: float = 0.0
    worker_hour_price: float | None = None
    currency: str = ""
    devices: dict[str, float] = field(default_factory=dict)
    slow_jobs: int = 0

    @property
    def failed(self) -> int:
        """Calls that failed in this run."""
        return self.outcomes.get("failed", 0)

    @property
    def accounted(self) -> bool:
        """Whether every listed object is in exactly one place."""
        done = sum(self.outcomes.values()) - self._failed_ambiguous + self.copied + self.superseded
        others = self.standing + self.erased + self.ambiguous + self.unmatched
        return done + others == self.listed_objects and self.missing == 0

    @property
    def _failed_ambiguous(self) -> int:
        # One row stands for all objects that claim one call_id; the objects themselves are counted in `ambiguous`.
        return self.errors.get("ambiguous_call_id", 0)

    def to_json(self) -> dict[str, Any]:
        """As a plain dict, with the verdict."""
        return {**asdict(self), "accounted": self.accounted}


_RECOGNITION_TITLES = {
    "chunks": "chunks recognised",
    "retried": "  decoded again",
    "improved": "  improved by that",
    "suspicious": "  still suspicious",
    "set_aside_words": "words set aside (no speech)",
}


@dataclass
class _Tally:
    """What is counted of a run, shard after shard."""

    outcomes: Counter[str] = field(default_factory=Counter)
    errors: Counter[str] = field(default_factory=Counter)
    copied: int = 0
    superseded: int = 0
    missing: int = 0
    planned: int = 0
    erased: int = 0
    unreadable: int = 0
    other_fingerprints: int = 0
    audio_s: float = 0.0
    devices: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))
    recognition: RecognitionCounts = field(default_factory=RecognitionCounts)

    def fail(self, code: str) -> None:
        """Count a failed call."""
        self.outcomes["failed"] += 1
        self.errors[code] += 1

    def count_planned(self, planned: PlannedCall, row: Row | None, run_id: str) -> None:
        """Count a planned call by the row that stands for it."""
        # Of what was not planned, the plan has counted these.
        self.other_fingerprints += (
            row is not None
            and row["outcome"] != "failed"
            and row["fingerprint"] != planned.fingerprint != ""  # plans of an earlier version do not say it
        )
        if row is None:
            self.missing += 1
        elif row["run_id"] == run_id and row["outcome"] == "failed":
            self.fail(row["error_code"])
        elif row["run_id"] == run_id:
            self.outcomes[row["outcome"]] += 1
            self.audio_s += row["duration_s"] or 0.0
            self.devices[row["device"]] += row["duration_s"] or 0.0
            self.recognition += RecognitionCounts(**(row["recognition"] or {}))
        elif row["last_attempt_run_id"] == run_id:
            self.fail(row["last_attempt_error_code"])
        elif _is_copied(row, planned):
            self.copied += 1
        elif max(row["run_id"], row["last_attempt_run_id"] or "") > run_id:
            self.superseded += 1
        else:
            self.missing += 1

    def count_standing(self, row: Row, head: RunHead) -> None:
        """Count a row that stands, planned or not, for an ambiguous call_id."""
        if (row["run_id"], row["error_code"]) == (head.run_id, AmbiguousCallId.code) or (
            row["last_attempt_run_id"],
            row["last_attempt_error_code"],
        ) == (head.run_id, AmbiguousCallId.code):
            self.fail(AmbiguousCallId.code)


def reconcile(
    data: DataSet,
    head: RunHead,
    jobs: Iterable[Sequence[PlannedCall] | None],
    wall_s: float,
    outputs: Callable[[int, list[Row]], None] = lambda _shard, _rows: None,
    worker_s: float = 0.0,
    slow_jobs: int = 0,
) -> RunSummary:
    """Hold the plan of a run against what the data set holds now, and count.

    Args:
        data: the data set.
        head: the run's plan.
        jobs: the calls of each job, in order; shard after shard is held, never all of them. None where the part of
            the plan cannot be read any more.
        wall_s: how long the run took.
        outputs: told, of each shard, the rows that this run wrote and that stand.
        worker_s: how long workers worked on it.
        slow_jobs: how many jobs said that they were slow.
    """
    tally = _Tally()
    planned = groupby(_readable(jobs, tally), lambda one: one.shard)
    shard, group = next(planned, (None, iter(())))
    for number, read in enumerate(data.read_shards(head.month, RECONCILED_COLUMNS)):
        rows = {row["call_id"]: row for row in read}
        if number == shard:
            erased = data.erased(head.month, number, head.shards)
            for one in group:
                tally.planned += 1
                if one.call.call_id in erased:
                    tally.erased += 1
                else:
                    tally.count_planned(one, rows.get(one.call.call_id), head.run_id)
            shard, group = next(planned, (None, iter(())))
        for row in rows.values():
            tally.count_standing(row, head)
        outputs(number, [row for row in rows.values() if row["run_id"] == head.run_id])
    # An erasure takes calls out of the plan too; but where a part cannot be read, nobody knows what became of them.
    gone = head.calls - tally.planned
    return RunSummary(
        run_id=head.run_id,
        month=head.month,
        listed_objects=head.listed_objects,
        outcomes=dict(sorted(tally.outcomes.items())),
        errors=dict(sorted(tally.errors.items())),
        copied=tally.copied,
        superseded=tally.superseded,
        standing=head.standing,
        standing_failed=head.standing_failed,
        erased=head.erased + tally.erased + (0 if tally.unreadable else gone),
        ambiguous=head.ambiguous,
        unmatched=head.unmatched,
        missing=tally.missing + (gone if tally.unreadable else 0),
        removed=head.removed,
        other_fingerprints=head.other_fingerprints + tally.other_fingerprints,
        worker_s=round(worker_s, 3),
        quoted_worker_s=round(head.quoted_worker_hours * 3600, 1),
        worker_hour_price=head.worker_hour_price,
        currency=head.currency,
        audio_s=round(tally.audio_s, 3),
        wall_s=round(wall_s, 3),
        jobs=head.jobs,
        recognition=asdict(tally.recognition),
        devices={name: round(audio_s, 3) for name, audio_s in sorted(tally.devices.items())},
        slow_jobs=slow_jobs,
    )


def _readable(jobs: Iterable[Sequence[PlannedCall] | None], tally: _Tally) -> Iterator[PlannedCall]:
    """The calls of the parts that can be read, and count those that cannot."""
    for job in jobs:
        if job is None:
            tally.unreadable += 1
        else:
            yield from job


def summary_rows(summary: RunSummary) -> list[tuple[str, str]]:
    """What a run did, as lines for people: numbers only, never a word that was spoken."""
    rows = [("objects listed", f"{summary.listed_objects:,}")]
    rows += [(name.replace("_", " "), f"{count:,}") for name, count in summary.outcomes.items()]
    rows += [(f"  {code}", f"{count:,}") for code, count in summary.errors.items()]
    rows += [
        ("nothing to do", f"{summary.standing:,}"),
        ("  of them failed before", f"{summary.standing_failed:,}"),
        ("copied, same audio", f"{summary.copied:,}"),
        ("done by a later run", f"{summary.superseded:,}"),
        ("erased", f"{summary.erased:,}"),
        ("ambiguous call_id", f"{summary.ambiguous:,}"),
        ("key not understood", f"{summary.unmatched:,}"),
        ("missing", f"{summary.missing:,}"),
        ("removed from the archive, kept", f"{summary.removed:,}"),
        ("under other settings", f"{summary.other_fingerprints:,}"),
        *((title, f"{summary.recognition.get(name, 0):,}") for name, title in _RECOGNITION_TITLES.items()),
        ("audio", f"{summary.audio_s / 3600:.2f} h"),
        ("time", f"{summary.wall_s:.0f} s"),
    ]
    if summary.audio_s and summary.worker_s:
        rows.append(("RTFx of a worker, start-up included", f"{summary.audio_s / summary.worker_s:.1f}"))
    rows.append(("jobs slower than their device should be", f"{summary.slow_jobs:,}"))
    if summary.worker_s:
        hours, quoted = summary.worker_s / 3600, summary.quoted_worker_s / 3600
        rows.append(("worker time", f"{_span(summary.worker_s)} (quoted: {_span(summary.quoted_worker_s)})"))
        if (price := summary.worker_hour_price) is not None:
            cost = f"{hours * price:,.2f} {summary.currency} (quoted: {quoted * price:,.2f})"
            rows.append((f"cost at {price:g} {summary.currency} an hour", cost))
    rows.append(("every object accounted for", "yes" if summary.accounted else "NO"))
    always = {"objects listed", "nothing to do", "missing"}
    return [row for row in rows if row[0] in always or row[1] != "0"]


def _span(seconds: float) -> str:
    """A length of time for people: in hours, or in minutes where there are few."""
    return f"{seconds / 3600:,.2f} h" if seconds >= 2 * 3600 else f"{seconds / 60:,.1f} min"


def _is_copied(row: Row, planned: PlannedCall) -> bool:
    """Whether the row's transcript stands for the planned object, whose bytes are those it was made of."""
    same_audio = planned.known_sha256 is not None and row["audio_sha256"] == planned.known_sha256
    return same_audio and row["audio_etag"] == planned.call.etag
