"""A month of the archive, listed once and kept on scratch disk by shard: memory does not grow with the month."""

from __future__ import annotations

import hashlib
import pickle
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from tasks.inventory import Inventory, group_calls, read_archive
from tasks.records import CallRef
from tasks.setting_groups import ArchiveSettings
from tasks.shards import shard_name, shard_of
from tasks.storage import Storage

# Calls that wait in memory, of each shard, until they are written.
WAITING_CALLS = 256


class ListedMonth:
    """What a month of the archive holds, shard by shard.

    Args:
        month: `YYYY-MM`.
        shards: shard count of the month.
        folder: an empty folder on scratch disk, of this process alone; about 300 bytes go there for each call, and a
            hundred more for each of its files where there are several.

    Attributes:
        objects: how many objects lie under the month's prefix, once the month is listed; a call in several counts once.
        size_bytes: of those that are calls.
        unmatched: keys that could not be read, in order.
    """

    def __init__(self, month: str, shards: int, folder: Path) -> None:
        self.month = month
        self.shards = shards
        self.objects = 0
        self.size_bytes = 0
        self.unmatched: tuple[str, ...] = ()
        self._folder = folder
        self._digest = hashlib.sha256()
        self._digested = 0

    def take(self, storage: Storage, settings: ArchiveSettings) -> None:
        """List the month.

        Raises:
            StorageRefused: the archive cannot be listed.
        """
        waiting: defaultdict[int, list[CallRef]] = defaultdict(list)
        unmatched: list[str] = []
        for call, key in read_archive(storage, self.month, settings):
            self.objects += 1
            if call is None:
                unmatched.append(key)
                continue
            self.size_bytes += call.size_bytes
            shard = shard_of(call.call_id, self.shards)
            waiting[shard].append(call)
            if len(waiting[shard]) == WAITING_CALLS:
                self._write(shard, waiting.pop(shard))
        for shard, calls in waiting.items():
            self._write(shard, calls)
        self.unmatched = tuple(sorted(unmatched))

    def shard(self, number: int) -> Inventory:
        """What of the month belongs to one shard."""
        return group_calls(self.month, self._read(number))

    def inventories(self) -> Iterator[Inventory]:
        """The shards in order; when the last was taken, `digest` is known."""
        for number in range(self.shards):
            found = self.shard(number)
            if number == self._digested:
                self._add_to_digest(found)
            yield found

    @property
    def digest(self) -> str:
        """SHA-256 over a line `<key> <etag>` for each object: sorted within each shard, shard after shard.

        Of a call in several files, that is a line `<key> <etag> <channel>` for each of them. Keys that could not be
        read come last, as `<key> -`. It is that of the shards which `inventories` has given.
        """
        whole = self._digest.copy()
        for key in self.unmatched:
            whole.update(f"{key} -\n".encode(errors="surrogateescape"))
        return whole.hexdigest()

    def _add_to_digest(self, found: Inventory) -> None:
        calls = [*found.calls, *(call for group in found.ambiguous for call in group)]
        for line in sorted(line for call in calls for line in _lines(call)):
            self._digest.update(line.encode())
        self._digested += 1

    def _write(self, shard: int, calls: list[CallRef]) -> None:
        with self._path(shard).open("ab") as file:
            pickle.dump(calls, file, pickle.HIGHEST_PROTOCOL)

    def _read(self, shard: int) -> Iterator[CallRef]:
        path = self._path(shard)
        if not path.exists():
            return
        with path.open("rb") as file:
            while file.peek(1):
                yield from pickle.load(file)  # noqa: S301  # this process wrote it, into a folder of its own

    def _path(self, shard: int) -> Path:
        return self._folder / shard_name(shard, self.shards)


def _lines(call: CallRef) -> list[str]:
    if not call.legs:
        return [f"{call.key} {call.etag}\n"]
    return [f"{leg.key} {leg.etag} {channel}\n" for channel, leg in enumerate(call.legs)]
