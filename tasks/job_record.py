"""What a job leaves in storage while it works, so that another process can go on: all under `_runs/<run_id>/`.

- `attempts/job-0001-2.json`: that an attempt began, and whether its process came to an orderly end: was interrupted,
  or stopped by something around it, rather than killed. Only attempts that did not are counted against the job. Also
  how long it worked; of one that was killed, up to when it last took calls.
- `in_flight/job-0001.json`: which calls are being worked on, and which are still to be done alone. The former are
  emptied when a process ends, however it ends, short of being killed; so what they are when the next attempt begins was
  under way in a process that died.
- `checkpoints/job-0001-2-0005.parquet`: calls that are finished and not committed yet.
- `done/job-0001.json`: that the job is done, with its counts.
"""

from __future__ import annotations

import itertools
import json
import secrets
import time
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from tasks.conditional import put_surely
from tasks.errors import ObjectVanished, PreconditionFailed, RunIncomplete
from tasks.rows import CallRows
from tasks.schemas import CALLS, CHECKPOINT
from tasks.storage import Storage
from tasks.tables import from_parquet, nested, table_of, to_parquet, unnested

# A call that has killed so many processes while it was alone in them is set aside.
MOST_DEATHS = 2


@dataclass(frozen=True, slots=True)
class InFlight:
    """Calls that are being worked on.

    `deaths` says how often one has killed a process in which it was alone; `suspects` were being worked on in a process
    that died, and have not been done alone since. `spent_s` is how long the process of an `attempt` had worked when it
    said so.
    """

    call_ids: tuple[str, ...] = ()
    deaths: Mapping[str, int] = field(default_factory=dict)
    suspects: tuple[str, ...] = ()
    spent_s: float = field(default=0.0, compare=False)
    attempt: int = field(default=0, compare=False)


class JobRecord:
    """The record of one job of a run.

    Args:
        storage: of the data set.
        run_id: the run.
        job: its number, from 1.
        began: when this process began to work on it, on the monotonic clock, where that was before now.
    """

    def __init__(self, storage: Storage, run_id: str, job: int, began: float | None = None) -> None:
        self.number = job
        self._storage = storage
        self._run = f"_runs/{run_id}"
        self._name = f"job-{job:04d}"
        self._what = f"job {job} of run {run_id}"
        self._process = secrets.token_hex(8)
        self._saves = itertools.count(1)  # from two threads, when the process is told to end
        self._began = time.monotonic() if began is None else began
        self.attempt = 0

    @property
    def spent_s(self) -> float:
        """Seconds that this process has worked on the job."""
        return time.monotonic() - self._began

    def counts(self) -> dict[str, int] | None:
        """How many calls had which outcome, when the job is done; None while it is not."""
        try:
            content = self._storage.get(self._done_key).data
        except ObjectVanished:
            return None
        return dict(json.loads(content)["outcomes"])

    def begin(self, most_attempts: int) -> InFlight:
        """Begin one more attempt.

        Args:
            most_attempts: of a job, whose process died.

        Returns:
            as `suspects`, what processes that died were working on; `deaths` counts those in which a call was alone.

        Raises:
            RunIncomplete: the job has had all its attempts.
        """
        before = [info.key for info in self._storage.list(f"{self._run}/attempts/{self._name}-")]
        left = self._left()
        if len(left.call_ids) == 1:
            (alone,) = left.call_ids
            left = replace(left, deaths={**left.deaths, alone: left.deaths.get(alone, 0) + 1})
        suspects = tuple(dict.fromkeys([*left.call_ids, *left.suspects]))
        attempts = {key: json.loads(self._storage.get(key).data) for key in before}
        died = sum(not attempt.get("orderly", False) for attempt in attempts.values())
        self._note_time(attempts, left)
        died -= sum(left.deaths.values())  # of those there are no more than `MOST_DEATHS` for each call
        if died >= most_attempts:
            message = (
                f"{self._what} has died {died} times, which is the most (run.job_attempts); what it finished is "
                "committed, and the next run over the month plans the rest anew"
            )
            raise RunIncomplete(message)
        if left.call_ids:
            left = InFlight((), left.deaths, suspects)
            self.mark(left)  # a death before the first of them is done again is not that one's
        self.attempt = len(before) + 1
        while not self._begun():
            self.attempt += 1  # somebody else began that one
        return left

    def leave(self, deaths: Mapping[str, int], suspects: Iterable[str]) -> None:
        """Say that this process comes to an orderly end: no call has killed it, and the attempt does not count."""
        self.mark(InFlight((), deaths, tuple(suspects)))
        self._storage.put(self._attempt_key, self._attempt_content(orderly=True))

    def _note_time(self, attempts: Mapping[str, Mapping[str, Any]], left: InFlight) -> None:
        """Write down how long the process worked that has died without saying so: as long as its last mark says."""
        key = self._key_of_attempt(left.attempt)
        if key in attempts and _is_silent(attempts[key]):
            content = {**attempts[key], "spent_s": left.spent_s}
            self._storage.put(key, json.dumps(content).encode())

    def mark(self, in_flight: InFlight) -> None:
        """Say which calls are being worked on from now on."""
        content = asdict(replace(in_flight, spent_s=round(self.spent_s, 3), attempt=self.attempt))
        self._storage.put(self._in_flight_key, json.dumps(content).encode())

    def save(self, finished: Sequence[CallRows]) -> None:
        """Write a checkpoint of calls that are finished."""
        if not finished:
            return
        table = nested(table_of([item.call for item in finished], CALLS), [item.spoken for item in finished])
        key = f"{self._run}/checkpoints/{self._name}-{self.attempt}-{next(self._saves):04d}.parquet"
        self._storage.put(key, to_parquet(table))

    def saved(self) -> list[CallRows]:
        """The calls in all checkpoints of the job; a checkpoint that was cut off or damaged counts for nothing."""
        found: dict[str, CallRows] = {}
        for key in self._checkpoint_keys():
            try:
                table = from_parquet(self._storage.get(key).data, CHECKPOINT)
            except (ValueError, ObjectVanished):
                continue
            for row, spoken in unnested(table):
                found[row["call_id"]] = CallRows(row, spoken)
        return list(found.values())

    def end(self, outcomes: Mapping[str, int]) -> None:
        """Say that the job is done: everything is committed, and the checkpoints may go."""
        content = {"outcomes": dict(outcomes), "attempt": self.attempt}
        self._storage.put(self._done_key, json.dumps(content).encode())
        self.forget()

    def forget(self) -> None:
        """Remove what holds calls: the checkpoints, and the mark of those in flight."""
        self._remove([*self._checkpoint_keys(), self._in_flight_key])

    def _begun(self) -> bool:
        """Whether the attempt is ours."""
        try:
            put_surely(self._storage, self._attempt_key, self._attempt_content(orderly=False), None)
        except PreconditionFailed:
            return False
        return True

    def _attempt_content(self, *, orderly: bool) -> bytes:
        now = datetime.now(UTC).isoformat(timespec="seconds")
        spent_s = round(self.spent_s, 3) if orderly else 0
        content = {"at": now, "orderly": orderly, "process": self._process, "spent_s": spent_s}
        return json.dumps(content).encode()

    @property
    def _attempt_key(self) -> str:
        return self._key_of_attempt(self.attempt)

    def _key_of_attempt(self, attempt: int) -> str:
        return f"{self._run}/attempts/{self._name}-{attempt}.json"

    @property
    def _done_key(self) -> str:
        return f"{self._run}/done/{self._name}.json"

    @property
    def _in_flight_key(self) -> str:
        return f"{self._run}/in_flight/{self._name}.json"

    def _checkpoint_keys(self) -> list[str]:
        return sorted(info.key for info in self._storage.list(f"{self._run}/checkpoints/{self._name}-"))

    def _left(self) -> InFlight:
        try:
            content = json.loads(self._storage.get(self._in_flight_key).data)
        except ObjectVanished:
            return InFlight()
        return InFlight(
            tuple(content["call_ids"]),
            content["deaths"],
            # Marks of an earlier version have no more than these two.
            tuple(content.get("suspects", ())),
            content.get("spent_s", 0.0),
            content.get("attempt", 0),
        )

    def _remove(self, keys: Iterable[str]) -> None:
        for key in keys:
            self._storage.delete(key)


def forget_calls(storage: Storage, run_id: str) -> None:
    """Remove what holds calls of a run that nobody will go on with."""
    for folder in ("checkpoints", "in_flight"):
        for info in list(storage.list(f"_runs/{run_id}/{folder}/")):
            storage.delete(info.key)


def done_jobs(storage: Storage, run_id: str) -> set[int]:
    """The numbers of the jobs of a run that are done: one listing, whatever states their processes are in."""
    return {_number_in(info.key) for info in storage.list(f"_runs/{run_id}/done/")}


def traces(storage: Storage, run_id: str) -> frozenset[tuple[str, str]]:
    """What the processes of a run leave while they work, as keys and ETags: others, once one of them has moved on."""
    folders = ("attempts", "in_flight", "checkpoints", "done")
    return frozenset((info.key, info.etag) for name in folders for info in storage.list(f"_runs/{run_id}/{name}/"))


def forget_calls_of(storage: Storage, run_id: str, jobs: Container[int]) -> None:
    """Remove what holds calls of some jobs of a run: those that are done, and whose process died before it did."""
    for folder in ("checkpoints", "in_flight"):
        for info in list(storage.list(f"_runs/{run_id}/{folder}/")):
            if _number_in(info.key) in jobs:
                storage.delete(info.key)


def _number_in(key: str) -> int:
    """The number of the job that an object is of, as `…/job-0001-2-0005.parquet`."""
    return int(key.rpartition("/")[2].removesuffix(".json").removesuffix(".parquet").split("-")[1])


def worker_seconds(storage: Storage, run_id: str, job: int | None = None) -> float:
    """How long workers have worked on the jobs of a run, all attempts together; start-up included.

    Of a process that was killed, or that is at work now, as long as its last mark says.

    Args:
        storage: of the data set.
        run_id: the run.
        job: only this one.
    """
    name = "" if job is None else f"job-{job:04d}"
    attempts = {
        info.key.rpartition("/")[2]: json.loads(storage.get(info.key).data)
        for info in storage.list(f"_runs/{run_id}/attempts/{name}")
    }
    spent_s = sum(float(attempt.get("spent_s", 0.0)) for attempt in attempts.values())
    for info in list(storage.list(f"_runs/{run_id}/in_flight/{name}")):
        try:
            mark = json.loads(storage.get(info.key).data)
        except ObjectVanished:
            continue  # its job has just ended
        attempt = attempts.get(f"{info.key.rpartition('/')[2].removesuffix('.json')}-{mark.get('attempt')}.json")
        if attempt is not None and _is_silent(attempt):
            spent_s += float(mark.get("spent_s", 0.0))
    return spent_s


def _is_silent(attempt: Mapping[str, Any]) -> bool:
    """Whether the process of an attempt has not said how long it worked."""
    return not attempt.get("orderly", False) and not attempt.get("spent_s")
