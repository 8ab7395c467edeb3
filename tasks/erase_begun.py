"""Recordings that an erasure is about to remove, written down first."""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from tasks.records import CallRef
from tasks.storage import Storage

_ERASING = "_control/erasing/"


class BegunErasures:
    """Erasures that are under way, each with the recordings that it removes, so that one that dies is told to its end.

    Each is an object under `_control/erasing/`, which goes when the certificate is written. Whoever erases one of its
    calls again, with their recordings, finds there what the first try has removed already.

    Args:
        storage: of the data set.
        archive: where recordings are removed; None: they are not, and nothing is noted.
        call_ids: that are erased now.
    """

    def __init__(self, storage: Storage, archive: Storage | None, call_ids: frozenset[str]) -> None:
        self._storage = storage
        self._archive = archive
        self._call_ids = call_ids
        self._left: dict[str, list[dict[str, str]]] = {}
        for info in list(storage.list(_ERASING)) if archive is not None else ():
            noted = json.loads(storage.get(info.key).data)
            if call_ids.issuperset(one["call_id"] for one in noted):
                self._left[info.key] = noted

    def note(self, recordings: Mapping[str, Sequence[CallRef]]) -> None:
        """Write down what is going to be removed."""
        lines = [
            {"call_id": call.call_id, "month": month, "key": call.key, "uri": call.uri}
            for month, calls in recordings.items()
            for call in calls
        ]
        if lines:
            key = f"{_ERASING}{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{secrets.token_hex(4)}.json"
            self._storage.put(key, json.dumps(lines).encode())
            self._left[key] = lines

    def removed(self, month: str) -> bool:
        """Whether recordings of a month were noted, by this try or an earlier one."""
        return any(one["month"] == month for noted in self._left.values() for one in noted)

    def removed_before(self, recordings: Mapping[str, Sequence[CallRef]]) -> list[tuple[str, str]]:
        """URI and key of each recording that an earlier try noted, and that is there no more."""
        there = {call.uri for calls in recordings.values() for call in calls}
        noted = {one["uri"]: one["key"] for lines in self._left.values() for one in lines}
        return sorted((uri, key) for uri, key in noted.items() if uri not in there)

    def forget(self) -> None:
        """The certificate says it all."""
        for key in self._left:
            self._storage.delete(key)
