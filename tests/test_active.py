"""The lease on a month: one run at a time, and none that stays for ever."""

import json
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tasks.active import ActiveMonth, Lease, active_key, orphans
from tasks.errors import (
    LeaseLost,
    ObjectVanished,
    PreconditionFailed,
    RunIncomplete,
    RunUnderWay,
    StorageUnavailable,
)
from tasks.stale import Orphan
from tasks.storage import Storage, open_storage
from tasks.storage_file import FileStorage

MONTH = "2026-10"
LEASE_S = 0.6


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    """An empty data set."""
    return open_storage(tmp_path.as_uri())


def _take(storage: Storage, run_id: str, waiting: Callable[[Lease], None] | None = None) -> ActiveMonth:
    return ActiveMonth.take(storage, MONTH, run_id, LEASE_S, waiting)


def _said(storage: Storage) -> dict[str, Any]:
    return dict(json.loads(storage.get(active_key(MONTH)).data))


def test_a_month_of_nobody(storage: Storage) -> None:
    """It belongs to the new run; when that has ended, to the next one."""
    first = _take(storage, "one")
    assert ("one", False) == (first.run_id, first.adopted)
    first.end()
    second = _take(storage, "two")
    assert ("two", False) == (second.run_id, second.adopted)
    assert ("two", "held") == (_said(storage)["run_id"], _said(storage)["state"])


def test_a_run_that_stopped_is_gone_on_with_at_once(storage: Storage) -> None:
    """Whoever stops in an orderly way leaves the month free: nobody waits for the end of the lease."""
    with _take(storage, "one").kept():
        pass
    started = time.monotonic()
    second = _take(storage, "two")
    assert ("one", True) == (second.run_id, second.adopted)
    assert time.monotonic() - started < LEASE_S


def test_a_run_whose_process_died_is_adopted(storage: Storage) -> None:
    """After the length of the lease, and no earlier; whoever waits is told for whom."""
    _take(storage, "one")
    heard: list[Lease] = []
    started = time.monotonic()
    second = _take(storage, "two", heard.append)
    assert time.monotonic() - started >= LEASE_S
    assert ("one", True) == (second.run_id, second.adopted)
    assert ["one"] == [lease.run_id for lease in heard]


def test_a_run_that_lives_is_not_adopted(storage: Storage) -> None:
    """The sentence names the run and who holds it."""
    first = _take(storage, "one")
    with first.kept(), pytest.raises(RunUnderWay, match=r"run one over 2026-10 is under way \(held by .+\)"):
        _take(storage, "two")
    first.end()


def test_a_long_block_keeps_its_month(storage: Storage) -> None:
    """The lease is renewed for as long as the block runs."""
    first = _take(storage, "one")
    with first.kept():
        time.sleep(2 * LEASE_S)
        first.check()
        assert _said(storage)["beat"] >= 3
    assert "free" == _said(storage)["state"]


def test_whoever_was_taken_for_dead_stops(storage: Storage) -> None:
    """A process that was held up finds that its month is another's, and leaves it alone."""
    first = _take(storage, "one")
    second = _take(storage, "two")
    with first.kept():
        time.sleep(LEASE_S)
        with pytest.raises(LeaseLost, match="another process has taken over the run of 2026-10"):
            first.check()
    first.end()
    assert ("held", second.run_id) == (_said(storage)["state"], _said(storage)["run_id"])
    with pytest.raises(LeaseLost):
        first.start_anew("three")


def test_only_one_of_many_adopts(storage: Storage) -> None:
    """Of several that wait for a dead run, one gets it, and the others are told that it is under way."""
    _take(storage, "dead")
    got: list[str] = []
    refused: list[str] = []
    done = threading.Event()

    def adopt(name: str) -> None:
        try:
            active = _take(storage, name)
        except RunUnderWay:
            refused.append(name)
            return
        got.append(name)
        with active.kept():
            done.wait(3 * LEASE_S)

    threads = [threading.Thread(target=adopt, args=(f"run-{number}",)) for number in range(4)]
    for thread in threads:
        thread.start()
    while len(got) + len(refused) < 4:
        time.sleep(0.05)
    done.set()
    for thread in threads:
        thread.join()
    assert (1, 3) == (len(got), len(refused))


def test_another_run_in_an_adopted_month(storage: Storage) -> None:
    """Where there is nothing to go on with, the month is given to a new run."""
    with _take(storage, "one").kept():
        pass
    second = _take(storage, "two")
    second.start_anew("two")
    assert ("two", False, "two") == (second.run_id, second.adopted, _said(storage)["run_id"])


class _Lossy(FileStorage):
    """Loses the answer of one write, or of all."""

    lost = 0

    def put(self, key: str, data: bytes, *, if_match: str | None = None, if_none_match: bool = False) -> str:
        """Write, and say that it is not known whether."""
        etag = super().put(key, data, if_match=if_match, if_none_match=if_none_match)
        if self.lost:
            self.lost -= 1
            message = "no answer"
            raise StorageUnavailable(message)
        return etag


def test_a_write_of_which_only_the_answer_was_lost(tmp_path: Path) -> None:
    """Is recognised by what it holds: the month was taken, and nobody else has it."""
    storage = _Lossy(tmp_path.as_uri())
    storage.lost = 1
    active = _take(storage, "one")
    assert ("one", False) == (active.run_id, active.adopted)
    storage.lost = 1
    active.start_anew("two")
    assert "two" == _said(storage)["run_id"]


class _Silent(FileStorage):
    """Does not answer any more."""

    silent = False

    def put(self, key: str, data: bytes, *, if_match: str | None = None, if_none_match: bool = False) -> str:
        """Write, or do not."""
        if self.silent:
            message = "no answer"
            raise StorageUnavailable(message)
        return super().put(key, data, if_match=if_match, if_none_match=if_none_match)


def test_a_store_that_does_not_answer_for_long(tmp_path: Path) -> None:
    """One renewal may be lost; when none comes through for the length of the lease, the run stops."""
    storage = _Silent(tmp_path.as_uri())
    active = _take(storage, "one")
    with active.kept():
        storage.silent = True
        time.sleep(LEASE_S / 2)
        active.check()
        time.sleep(1.5 * LEASE_S)
        with pytest.raises(StorageUnavailable):
            active.check()
    with pytest.raises(ObjectVanished):
        storage.get("nothing")
    with pytest.raises(PreconditionFailed):
        FileStorage(tmp_path.as_uri()).put(active_key(MONTH), b"", if_none_match=True)


def test_a_backfill_has_a_lease_of_its_own_and_a_later_run_id(storage: Storage) -> None:
    """Both work on the month at once; whatever the clock says, the one that was planned later has the larger run_id."""
    ahead = "20261102T170000000Z-aaaaaa"
    run = _take(storage, ahead)
    behind = ActiveMonth.take(storage, MONTH, "20261102T120000000Z-bbbbbb", LEASE_S, kind="backfill")
    assert not behind.adopted
    assert ahead < behind.run_id
    run.end()
    assert behind.run_id < _take(storage, "20261102T120000000Z-cccccc").run_id


def test_a_pod_that_is_taken_away_leaves_its_lease(storage: Storage) -> None:
    """So that whoever looks for runs that nobody works on finds it; an error of ours is meant."""
    with pytest.raises(SystemExit), _take(storage, "one").kept(served=True):
        raise SystemExit
    assert "held" == _said(storage)["state"]
    with pytest.raises(RunIncomplete), _take(storage, "two").kept(served=True):
        raise RunIncomplete("calls are missing")
    assert "free" == _said(storage)["state"]


def test_orphans_are_held_and_not_renewed(storage: Storage) -> None:
    """Leases are watched together, for as long as the longest lasts; one that is too long to wait for is left alone."""
    dead, living = _take(storage, "dead"), ActiveMonth.take(storage, "2026-09", "living", LEASE_S)
    ActiveMonth.take(storage, "2026-08", "long", 1e6)
    waited: list[float] = []

    def sleep(seconds: float) -> None:
        waited.append(seconds)
        living._renew()

    assert [Orphan("run", MONTH, "dead")] == orphans(storage, sleep)
    assert [LEASE_S] == waited
    dead.end()
    living.end()
    assert [] == orphans(storage, sleep)
