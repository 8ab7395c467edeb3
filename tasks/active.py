"""The run that a month belongs to: one at a time, by a lease in storage, and adopted when its process has died.

`_control/active/month=<month>.json` (of a backfill: `backfill-month=<month>.json`) names the run and who holds it, and
changes with every renewal. Whoever wants the month and finds it held watches the object: if it changes within the
length of the lease, its holder lives; if it does not, the holder has died, and its run is adopted. No clock is compared
with that of another machine. A lease keeps two runs from doing the same work; that they cannot harm each other is seen
to by the commits (`tasks.dataset`).
"""

from __future__ import annotations

import json
import secrets
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from typing import Literal

from tasks.conditional import put_surely
from tasks.errors import CallscribeError, LeaseLost, ObjectVanished, PreconditionFailed, RunUnderWay, StorageUnavailable
from tasks.runs import later_run_id
from tasks.stale import Orphan
from tasks.storage import Storage

Kind = Literal["run", "backfill"]
KINDS: tuple[Kind, ...] = ("run", "backfill")

_FOLDER = "_control/active/"
# Leases are watched for orphans no longer than this.
LONGEST_WATCH_S = 300.0
# A lease is renewed so many times in its length.
RENEWALS = 3
# Looks at the object of somebody else, within the length of their lease.
LOOKS = 10


@dataclass(frozen=True, slots=True)
class Lease:
    """What the object says.

    `state` is `held` while a process works on the run, `free` when it stopped before the run was done, and `ended` when
    the run is. `beat` is another one at every renewal; `lease_s` is how long the object may stay as it is.
    """

    run_id: str
    holder: str
    lease_s: float
    beat: int = 0
    state: Literal["held", "free", "ended"] = "held"


class ActiveMonth:
    """A month of a data set that this process holds.

    Attributes:
        run_id: the run that the month belongs to.
        adopted: whether an earlier process began that run.
    """

    def __init__(
        self, storage: Storage, month: str, lease: Lease, etag: str, *, adopted: bool, kind: Kind = "run"
    ) -> None:
        self.month = month
        self._kind = kind
        self.adopted = adopted
        self._storage = storage
        self._lease = lease
        self._etag = etag
        self._lost: CallscribeError | None = None
        self._lock = threading.Lock()

    @property
    def run_id(self) -> str:
        """The run that the month belongs to."""
        return self._lease.run_id

    @classmethod
    def take(
        cls,
        storage: Storage,
        month: str,
        run_id: str,
        lease_s: float,
        waiting: Callable[[Lease], None] | None = None,
        kind: Kind = "run",
    ) -> ActiveMonth:
        """Take a month: for a new run, or to go on with one that somebody left.

        Args:
            storage: of the data set.
            month: `YYYY-MM`.
            run_id: of the new run, where there is none to go on with; put after those of the month's last run and
                backfill where the clock has gone back.
            lease_s: after so many seconds without a renewal others may take the month.
            waiting: told once, with the lease of somebody else, before it is watched for as long as it lasts.
            kind: what takes it: a run and a backfill may work on a month at once.

        Raises:
            RunUnderWay: somebody else holds the month, and lives.
        """
        mine = Lease(run_id, f"{socket.gethostname()}-{secrets.token_hex(4)}", lease_s)
        while True:
            found = _read(storage, month, kind)
            if found is not None and found[0].state == "held":
                if waiting is not None:
                    waiting(found[0])
                _watch(storage, month, kind, *found)
            adopted = found is not None and found[0].state != "ended"
            own = found[0].run_id if found is not None and adopted else _later(storage, month, run_id)
            lease = replace(mine, run_id=own)
            try:
                etag = _write(storage, month, kind, lease, found[1] if found else None)
            except PreconditionFailed:
                continue  # somebody was faster: look again
            return cls(storage, month, lease, etag, adopted=adopted, kind=kind)

    def start_anew(self, run_id: str) -> None:
        """Let the month belong to another run: there is nothing to go on with in the one that was adopted.

        Raises:
            LeaseLost: somebody else has taken the month.
        """
        self._renew(run_id=_later(self._storage, self.month, run_id))
        self.adopted = False

    @property
    def lost(self) -> bool:
        """Whether somebody else has the month, or may have it by now."""
        return self._lost is not None

    def check(self) -> None:
        """Make sure that the month is still held.

        Raises:
            LeaseLost: somebody else has taken it.
            StorageUnavailable: it could not be renewed for the length of the lease.
        """
        if self._lost is not None:
            raise self._lost

    @contextmanager
    def kept(self, *, served: bool = False) -> Iterator[None]:
        """Renew the lease while the block runs; afterwards the month is free, or ended if `end` was called.

        Args:
            served: whether somebody has this process started again where it was not meant to stop. Then the lease is
                left as it is, and runs out, where something else than an error of ours has stopped the block, such as
                a pod that is taken away: so the reconciler finds a run that nobody works on.
        """
        done = threading.Event()
        thread = threading.Thread(target=self._keep, args=(done,), name="lease", daemon=True)
        thread.start()
        meant = not served
        try:
            yield
            meant = True
        except CallscribeError:
            meant = True
            raise
        finally:
            done.set()
            thread.join()
            if meant and self._lease.state == "held" and self._lost is None:
                self._give_back("free")

    def end(self) -> None:
        """The run is done: the month is anybody's."""
        self._give_back("ended")

    def _keep(self, done: threading.Event) -> None:
        renewed = time.monotonic()
        while not done.wait(self._lease.lease_s / RENEWALS):
            try:
                self._renew()
                renewed = time.monotonic()
            except StorageUnavailable as error:
                if time.monotonic() - renewed > self._lease.lease_s:
                    self._lost = error
                    return
            except CallscribeError as error:
                self._lost = error
                return

    def _renew(self, run_id: str | None = None, state: Literal["free", "ended"] | None = None) -> None:
        with self._lock:
            if self._lease.state != "held":
                return
            lease = replace(
                self._lease,
                beat=self._lease.beat + 1,
                run_id=run_id or self._lease.run_id,
                state=state or self._lease.state,
            )
            try:
                self._etag = self._replace(lease)
            except PreconditionFailed as error:
                message = f"another process has taken over the {self._kind} of {self.month}; this one stops"
                raise LeaseLost(message) from error
            self._lease = lease

    def _replace(self, lease: Lease) -> str:
        """Write a lease over ours, also where the store had told us a wrong ETag of it."""
        try:
            return _write(self._storage, self.month, self._kind, lease, self._etag)
        except PreconditionFailed:
            found = _read(self._storage, self.month, self._kind)
            if found is None or found[0] != self._lease:
                raise
            return _write(self._storage, self.month, self._kind, lease, found[1])

    def _give_back(self, state: Literal["free", "ended"]) -> None:
        try:
            self._renew(state=state)
        except (LeaseLost, StorageUnavailable):
            return  # it is another one's, or runs out by itself


def left_unfinished(storage: Storage, month: str, kind: Kind) -> bool:
    """Whether a run or a backfill of a month was begun and has not ended; another process may be at it."""
    found = _read(storage, month, kind)
    return found is not None and found[0].state != "ended"


def orphans(storage: Storage, sleep: Callable[[float], None] = time.sleep) -> list[Orphan]:
    """Runs and backfills that have not ended, and whose processes have died: their leases are held and not renewed.

    All leases are watched together, for as long as the longest lasts; no clocks are compared.

    Args:
        storage: of the data set.
        sleep: how to wait.
    """
    held = {key: found for key, found in _held(storage).items() if found[0].state == "held"}
    # Whoever takes a lease for longer than anybody wants to wait here is left alone.
    held = {key: found for key, found in held.items() if found[0].lease_s <= LONGEST_WATCH_S}
    if held:
        sleep(max(lease.lease_s for lease, _ in held.values()))
    later = _held(storage) if held else {}
    found: list[Orphan] = []
    for key, (lease, etag) in sorted(held.items()):
        if key in later and later[key][1] == etag:
            kind: Kind = "backfill" if "/backfill-" in key else "run"
            month = key.rpartition("month=")[2].removesuffix(".json")
            found.append(Orphan(kind, month, lease.run_id))
    return found


def _held(storage: Storage) -> dict[str, tuple[Lease, str]]:
    """The leases of all months, with their etags, by key."""
    found: dict[str, tuple[Lease, str]] = {}
    for info in list(storage.list(_FOLDER)):
        try:
            stored = storage.get(info.key)
        except ObjectVanished:
            continue
        found[info.key] = Lease(**json.loads(stored.data)), stored.info.etag
    return found


def _later(storage: Storage, month: str, run_id: str) -> str:
    """A run_id that sorts after those of the month's last run and last backfill, whatever the clocks say."""
    for kind in KINDS:
        if (found := _read(storage, month, kind)) is not None:
            run_id = later_run_id(run_id, found[0].run_id)
    return run_id


def _watch(storage: Storage, month: str, kind: Kind, lease: Lease, etag: str) -> None:
    """Return when a lease has not been renewed for its length.

    Raises:
        RunUnderWay: it has.
    """
    end = time.monotonic() + lease.lease_s
    while time.monotonic() < end:
        time.sleep(lease.lease_s / LOOKS)
        found = _read(storage, month, kind)
        if found is None or found[0].state != "held":
            return
        if found[1] != etag:
            message = (
                f"{kind} {found[0].run_id} over {month} is under way (held by {found[0].holder}); "
                "wait until it has ended, then start again"
            )
            raise RunUnderWay(message)


def _read(storage: Storage, month: str, kind: Kind) -> tuple[Lease, str] | None:
    try:
        stored = storage.get(active_key(month, kind))
    except ObjectVanished:
        return None
    return Lease(**json.loads(stored.data)), stored.info.etag


def _write(storage: Storage, month: str, kind: Kind, lease: Lease, etag: str | None) -> str:
    """One conditional PUT; a write of ours that only its answer was lost of is recognised by what it holds."""
    return put_surely(storage, active_key(month, kind), json.dumps(asdict(lease)).encode(), etag)


def active_key(month: str, kind: Kind = "run") -> str:
    """Key of the object that says to which run, or to which backfill, a month belongs."""
    return f"{_FOLDER}{'' if kind == 'run' else f'{kind}-'}month={month}.json"
