"""One job of a run: transcribe its calls and commit them, shard by shard, so that whoever is killed loses minutes."""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing, suppress
from datetime import UTC, datetime
from functools import cache, cached_property, partial
from itertools import islice, takewhile
from pathlib import Path
from typing import get_args

from tasks.budget import Allowance
from tasks.dataset import Change, DataSet
from tasks.erase_runs import erase_from_checkpoints, erased_among
from tasks.errors import (
    BudgetReached,
    CallscribeError,
    CrashedWorker,
    DeviceError,
    ObjectRefused,
    RunIncomplete,
    StorageRefused,
    UsageError,
)
from tasks.fingerprint import recognizer_mark
from tasks.heartbeat import HEART
from tasks.instead import Instead, settings_instead
from tasks.job_record import MOST_DEATHS, InFlight, JobRecord
from tasks.metrics import work_is_safe
from tasks.models import Models
from tasks.pace import Pace, expected_rtfx
from tasks.pipeline import Fetch, process
from tasks.records import CallRef, CopiedAudio, Failure, Outcome, PlannedCall, Provenance
from tasks.rows import CallRows, rows_of
from tasks.run_models import Fingerprints, fingerprints_with
from tasks.runs import RunHead, read_job
from tasks.same_settings import fingerprint_of, require_same_settings
from tasks.schemas import Row
from tasks.settings import Settings
from tasks.stopping import at_once
from tasks.storage import Storage, open_storage

# Calls are marked as being worked on so many at a time.
MARKED_CALLS = 32
# Models that have done nothing for so long hang. A liveness probe must wait longer than that.
HUNG_S = 600.0
_COMMITTED_COLUMNS = ("call_id", "run_id", "outcome", "last_attempt_run_id")

Done = Callable[[Outcome | CopiedAudio], None]
"""Told of every call that this process has finished."""
Transcribe = Callable[[Iterable[PlannedCall], Fetch, Models, Settings], Generator[Outcome | CopiedAudio]]
"""Makes one outcome of every call, in order, as `tasks.pipeline.process` does."""


def run_job(  # noqa: PLR0913  # most are options
    data: DataSet,
    head: RunHead,
    number: int,
    models: Models,
    settings: Settings,
    done: Done,
    transcribe: Transcribe = process,
    *,
    began: float | None = None,
    budget_s: float | None = None,
    slow: Callable[[float, float], None] = lambda _rtfx, _expected: None,
    instead: Instead | None = None,
) -> dict[str, int]:
    """Transcribe the calls of a job that nobody has finished yet, and commit them.

    A job that was begun before goes on: what is committed or in a checkpoint is not done again, and calls during which
    a process died are done one by one, each alone. Those that kill a process again and again are set aside, as failed.
    A signal to end, which raises in the main thread, is an orderly end: what is finished is kept at once.

    Args:
        data: the data set.
        head: the run's plan.
        number: of the job, from 1.
        models: loaded models.
        settings: how to process.
        done: told of every finished call.
        transcribe: what makes outcomes of calls.
        began: when this process began to work on the job, on the monotonic clock, where loading models came before.
        budget_s: worker seconds that are left for it; no call is taken that would exceed them.
        slow: told, once, that this process is slower than its device is known to be: its RTFx, and what was expected.
        instead: what `models` and `settings` are instead of those of the plan, where its run allows that.

    Returns:
        how many calls of the job have which outcome, those of earlier attempts included.

    Raises:
        BudgetReached: the budget does not last for the whole job; what was finished is committed.
        RunIncomplete: the job has had all its attempts.
        SettingsError: the models or settings are not those that the run was planned with.
        UsageError: something around the calls is wrong; what was finished is committed.
    """
    require_same_settings(head, models, settings, instead)
    record = JobRecord(data.storage, head.run_id, number, began)
    if (counts := record.counts()) is not None:
        record.forget()  # a process may have died before it did
        return counts
    work = read_job(data.storage, head.run_id, number)
    try:
        left = record.begin(settings.run.job_attempts)
    except RunIncomplete:
        _commit_saved(data, head, record, work)
        raise
    rtfx = head.quoted_rtfx or settings.run.assumed_rtfx
    allowance = Allowance(budget_s, settings.run.bytes_per_second, rtfx, time.monotonic() - record.spent_s)
    expected = expected_rtfx(models.bundle.name, models.device.name, head.device_rtfx)
    pace = Pace(expected, settings.run.slow_share, slow)

    def finished(outcome: Outcome | CopiedAudio) -> None:
        HEART.beat()
        done(outcome)
        pace.count(outcome)

    job = _Job(data, head, models, settings, record, left, finished, transcribe, allowance, instead)
    counts = job.run(work)
    record.end(counts)
    return counts


class _Job:
    """A job that is being worked on."""

    def __init__(
        self,
        data: DataSet,
        head: RunHead,
        models: Models,
        settings: Settings,
        record: JobRecord,
        left: InFlight,
        done: Done,
        transcribe: Transcribe,
        allowance: Allowance,
        instead: Instead | None,
    ) -> None:
        self._data = data
        self._head = head
        self._number = record.number
        self._models = models
        self._settings = settings
        self._record = record
        self._deaths = left.deaths
        self._suspects = dict.fromkeys(left.suspects)
        self._done = done
        self._transcribe = transcribe
        self._allowance = allowance
        self._instead = instead
        self._counts: Counter[str] = Counter()
        self._pending: defaultdict[int, list[Change]] = defaultdict(list)
        self._unsaved: list[CallRows] = []
        self._saved_at = time.monotonic()
        self._flying: dict[str, None] = {}
        self._alone: str | None = None
        self._fingerprint = cache(partial(fingerprint_of, settings, models))

    def run(self, work: Sequence[PlannedCall]) -> dict[str, int]:
        """Do what is left of the work; how many calls have which outcome, when all is committed."""
        with at_once(self._keep):
            return self._do(work)

    def _do(self, work: Sequence[PlannedCall]) -> dict[str, int]:
        try:
            rest = self._unfinished(work)
            self._save()  # calls that are set aside: not to be found out again
            open_calls = Counter(planned.shard for planned in rest)
            for shard in sorted(self._pending.keys() - open_calls.keys()):
                self._commit(shard)
            for planned, change in self._changes(rest):
                self._take(planned.shard, change)
                open_calls[planned.shard] -= 1
                if not open_calls[planned.shard]:
                    self._commit(planned.shard)
                elif time.monotonic() - self._saved_at > self._settings.run.checkpoint_every_s:
                    self._save()
            self._require_budget()
        except UsageError as error:
            if isinstance(error, DeviceError):
                self._suspect()
            # The run stops here; what is done is done.
            with suppress(CallscribeError):
                for shard in sorted(self._pending):
                    self._commit(shard)
            raise
        finally:
            # This process ends in an orderly way: no call has killed it.
            with suppress(CallscribeError):
                self._save()
            with suppress(CallscribeError):
                self._record.leave(self._deaths, self._suspects)
        return dict(self._counts)

    def _suspect(self) -> None:
        """The device has died: one of the calls in hand may be why, and the next attempt does each of them alone."""
        if self._alone is not None:
            self._deaths = {**self._deaths, self._alone: self._deaths.get(self._alone, 0) + 1}
        self._suspects.update(self._flying)

    def _keep(self) -> None:
        """From another thread, when this process is told to end: keep what is finished, whatever the main one does.

        Where the models have shown life lately, the process is not killed by a call, also if the main thread, which is
        in a library, does not come to say so in time. Where they hang, it is: then their calls are suspects.
        """
        with suppress(CallscribeError):
            self._write_checkpoint(list(self._unsaved))
        if HEART.silent_s < HUNG_S:
            with suppress(CallscribeError):
                self._record.leave(self._deaths, tuple(self._suspects))

    def _require_budget(self) -> None:
        if self._allowance.refused:
            message = (
                f"job {self._number} of run {self._head.run_id} has come to the end of the run's budget "
                "(run.budget_worker_hours, run.budget_money); what is finished is committed. Give it more, and run it "
                "again: it goes on"
            )
            raise BudgetReached(message)

    def _unfinished(self, work: Sequence[PlannedCall]) -> list[PlannedCall]:
        """What neither the data set nor a checkpoint holds; what a checkpoint holds is pending."""
        work = self._not_erased(work)
        if self._record.attempt == 1:
            return list(work)
        committed = self._committed(work)
        self._counts.update(committed.values())
        rest = [planned for planned in work if planned.call.call_id not in committed]
        saved = {item.call["call_id"]: item for item in self._record.saved()}
        unfinished: list[PlannedCall] = []
        for planned in rest:
            item = saved.get(planned.call.call_id)
            if item is not None and self._is_of(item.call, planned):
                self._take(planned.shard, item, saved=True)
            elif self._deaths.get(planned.call.call_id, 0) >= MOST_DEATHS:
                self._take(planned.shard, self._set_aside(planned))
            else:
                unfinished.append(planned)
        return unfinished

    def _not_erased(self, work: Sequence[PlannedCall]) -> list[PlannedCall]:
        """The work without what was erased after it was planned."""
        erased = self._erased(planned.call.call_id for planned in work)
        return [planned for planned in work if planned.call.call_id not in erased]

    def _erased(self, call_ids: Iterable[str]) -> frozenset[str]:
        return erased_among(self._data, self._head.month, self._head.shards, call_ids)

    def _committed(self, work: Iterable[PlannedCall]) -> dict[str, str]:
        """The outcome of each call that this run has committed, by call_id."""
        found: dict[str, str] = {}
        for shard in sorted({planned.shard for planned in work}):
            for row in self._data.read_shard(self._head.month, shard, self._head.shards, _COMMITTED_COLUMNS):
                if row["run_id"] == self._head.run_id:
                    found[row["call_id"]] = row["outcome"]
                elif row["last_attempt_run_id"] == self._head.run_id:
                    found[row["call_id"]] = "failed"
        return {planned.call.call_id: found[planned.call.call_id] for planned in work if planned.call.call_id in found}

    def _is_of(self, row: Row, planned: PlannedCall) -> bool:
        """Whether a row of a checkpoint is of these bytes, under the settings of its run.

        Those of the plan, or what it allows instead: an earlier attempt at the job may have been run otherwise.
        """
        hints = planned.call.hints
        wanted = {self._fingerprint(hints), planned.fingerprint}
        wanted |= {way.of(hints) for way in self._ways}
        return bool(row["audio_etag"] == planned.call.etag and row["fingerprint"] in wanted)

    @cached_property
    def _ways(self) -> list[Fingerprints]:
        """In which other ways the plan allows calls to be transcribed, as far as settings are still those."""
        ways = {
            allowed: fingerprints_with(settings_instead(self._settings, way), self._models.bundle)
            for way in get_args(Instead)
            if (allowed := self._head.alternatives.get(way)) and self._instead is None
        }
        return [found for allowed, found in ways.items() if found.without_hints == allowed]

    def _changes(self, rest: Sequence[PlannedCall]) -> Iterator[tuple[PlannedCall, Change]]:
        """What becomes of each call: first of those that may have killed a process, each alone, then of all others."""
        suspects = [planned for planned in rest if planned.call.call_id in self._suspects]
        others = [planned for planned in rest if planned.call.call_id not in self._suspects]
        for planned in suspects:
            if not self._allowance.takes(planned):
                return
            self._record.mark(InFlight((planned.call.call_id,), self._deaths, tuple(self._suspects)))
            self._alone = planned.call.call_id
            for change in self._processed([planned]):
                yield change
                self._save()
            self._suspects.pop(planned.call.call_id)
            self._alone = None
        yield from self._processed(self._marked(others))

    def _processed(self, work: Iterable[PlannedCall]) -> Iterator[tuple[PlannedCall, Change]]:
        taken: dict[str, PlannedCall] = {}

        def noted() -> Iterator[PlannedCall]:
            for planned in work:
                taken[planned.call.call_id] = planned
                yield planned

        with closing(self._transcribe(noted(), self._fetch, self._models, self._settings)) as outcomes:
            for outcome in outcomes:
                planned = taken.pop(outcome.call.call_id)
                self._flying.pop(outcome.call.call_id, None)
                self._allowance.done(outcome.call.call_id)
                self._done(outcome)
                yield planned, outcome if isinstance(outcome, CopiedAudio) else self._rows(planned, outcome)

    def _marked(self, work: Iterable[PlannedCall]) -> Iterator[PlannedCall]:
        """The work, marked as in flight before it is taken, some calls at a time."""
        calls = takewhile(self._allowance.takes, work)
        while block := list(islice(calls, MARKED_CALLS)):
            self._flying.update(dict.fromkeys(planned.call.call_id for planned in block))
            self._record.mark(InFlight(tuple(self._flying), self._deaths))
            yield from block

    def _take(self, shard: int, change: Change, *, saved: bool = False) -> None:
        self._pending[shard].append(change)
        self._counts[_kind(change)] += 1
        if isinstance(change, CallRows) and not saved:
            self._unsaved.append(change)

    def _commit(self, shard: int) -> None:
        self._data.commit(self._head.month, shard, self._head.shards, self._pending[shard])
        committed = {id(change) for change in self._pending.pop(shard)}
        self._unsaved = [item for item in self._unsaved if id(item) not in committed]
        if not self._unsaved:
            work_is_safe()

    def _save(self) -> None:
        """Write a checkpoint of what none holds yet."""
        self._write_checkpoint(self._unsaved)
        self._unsaved = []
        self._saved_at = time.monotonic()
        work_is_safe()

    def _write_checkpoint(self, finished: Sequence[CallRows]) -> None:
        """Write a checkpoint without what is erased.

        The tombstones are read again when it is written, and whoever erases looks at checkpoints after writing them:
        one of the two finds the call, also where this job dies now and nobody goes on with it.
        """
        erased = self._erased(item.call["call_id"] for item in finished)
        left = [item for item in finished if item.call["call_id"] not in erased]
        self._record.save(left)
        if meanwhile := self._erased(item.call["call_id"] for item in left):
            erase_from_checkpoints(self._data.storage, self._head.run_id, self._number, meanwhile)

    def _set_aside(self, planned: PlannedCall) -> CallRows:
        message = (
            f"the process that worked on this call alone died {MOST_DEATHS} times, so it was set aside; look at the "
            "recording, and at the memory of the machine"
        )
        return self._rows(
            planned, Outcome.not_processed(planned.call, Failure(CrashedWorker.code, message, CrashedWorker.transient))
        )

    def _rows(self, planned: PlannedCall, outcome: Outcome) -> CallRows:
        return rows_of(
            outcome,
            Provenance(
                run_id=self._head.run_id,
                job=self._number,
                bundle=self._models.bundle.name,
                bundle_digest=self._models.bundle.digest,
                device=self._models.device.name,
                driver_version=self._models.device.driver,
                compute_type=self._models.device.compute_type,
                fingerprint=self._fingerprint(planned.call.hints),
                attempt=planned.attempt,
                transcribed_at=datetime.now(UTC),
                recognizer=recognizer_mark(self._settings),
                instead=self._instead,
            ),
        )

    @cached_property
    def _fetch(self) -> Fetch:
        archive = open_storage(self._head.archive, self._settings.storage.options())
        return partial(_fetch, archive, self._settings)


def _commit_saved(data: DataSet, head: RunHead, record: JobRecord, work: Iterable[PlannedCall]) -> None:
    """Commit what the checkpoints of a job hold that will not be gone on with."""
    shards = {planned.call.call_id: planned.shard for planned in work}
    saved: defaultdict[int, list[Change]] = defaultdict(list)
    for item in record.saved():
        if (shard := shards.get(item.call["call_id"])) is not None:
            saved[shard].append(item)
    for number, changes in sorted(saved.items()):
        data.commit(head.month, number, head.shards, changes)
    record.forget()


def _fetch(archive: Storage, settings: Settings, call: CallRef, path: Path) -> None:
    try:
        archive.download(call.key, path, if_match=call.etag or None, max_bytes=settings.archive.max_bytes)
    except StorageRefused as error:
        archive.check()  # the whole archive is refused: stop the run
        raise ObjectRefused(error.message) from error


def _kind(change: Change) -> str:
    return "copied" if isinstance(change, CopiedAudio) else str(change.call["outcome"])
