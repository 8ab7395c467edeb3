"""What a retention is about to remove, written down first, so that one that is cut off can be done to its end.

Each is an object under `_control/retaining/`, which goes when a certificate says what it says. Until then `verify`
knows by it that the text of a call may be gone though its row does not say so yet, and the next retention which calls
were being erased, as their rows are gone before what runs keep of them is.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import Any

from tasks.errors import ObjectVanished
from tasks.storage import Storage

_RETAINING = "_control/retaining/"


class BegunRetention:
    """A retention under way, and those before it that were cut off.

    Args:
        storage: of the data set.
        before: before which moment a call must have begun for its text to go; None: no text goes.
        timezone: in which the archive's months are counted.
    """

    def __init__(self, storage: Storage, before: str | None, timezone: str) -> None:
        self._storage = storage
        self._key = f"{_RETAINING}{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{secrets.token_hex(4)}.json"
        self._left = dict(_read(storage))
        self._content: dict[str, Any] = {"text_before": before, "timezone": timezone, "erasing": {}}
        self._write()

    @property
    def cut_off(self) -> list[dict[str, Any]]:
        """What text those before it removed: `text_before` and `timezone` of each."""
        return [{name: one[name] for name in ("text_before", "timezone")} for one in self._left.values()]

    @property
    def months(self) -> list[str]:
        """The months in which those before it were erasing calls, in order."""
        return sorted({month for one in self._left.values() for month in one["erasing"]})

    def left(self, month: str) -> frozenset[str]:
        """The calls of a month that those before it were erasing."""
        return frozenset(call_id for one in self._left.values() for call_id in one["erasing"].get(month, ()))

    def erase(self, month: str, call_ids: Iterable[str]) -> None:
        """Write down which calls of a month are erased now."""
        self._content["erasing"] = {month: sorted(call_ids)}
        self._write()

    def forget(self, held: dict[str, list[str]]) -> None:
        """The certificate says it all, but for calls that were being erased and have come under hold, by month."""
        if held:
            self._content |= {"text_before": None, "erasing": held}
            self._write()
        for key in (*self._left, *(() if held else (self._key,))):
            self._storage.delete(key)

    def _write(self) -> None:
        self._storage.put(self._key, json.dumps(self._content).encode())


def begun_retentions(storage: Storage) -> list[dict[str, Any]]:
    """Retentions under way or cut off: `text_before`, `timezone`, and by month the calls that they were `erasing`."""
    return [content for _, content in _read(storage)]


def _read(storage: Storage) -> Iterator[tuple[str, dict[str, Any]]]:
    for info in list(storage.list(_RETAINING)):
        try:
            yield info.key, json.loads(storage.get(info.key).data)
        except ObjectVanished:
            continue  # it has ended
