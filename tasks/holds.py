"""Legal holds: what is held is not erased, whoever asks. `_control/holds.json` lists them.

A hold is on a call, by its call_id, or on all calls that have an attribute of some value (a customer, a case).
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime

from tasks.errors import ObjectVanished, PreconditionFailed, SettingsError
from tasks.storage import Storage

HOLDS_KEY = "_control/holds.json"
CALL = "call_id"


@dataclass(frozen=True, slots=True)
class Hold:
    """One hold: `name` is `call_id` or an attribute of calls, `value` what it must be for a call to be held."""

    hold_id: str
    name: str
    value: str
    reason: str
    since: str

    def covers(self, call_id: str, attributes: Mapping[str, str]) -> bool:
        """Whether a call is held by it."""
        return (call_id if self.name == CALL else attributes.get(self.name)) == self.value


def read_holds(storage: Storage) -> list[Hold]:
    """Every hold of a data set, the oldest first."""
    return _read(storage)[0]


def add_hold(storage: Storage, name: str, value: str, reason: str) -> Hold:
    """Hold a call, or all calls with an attribute.

    Args:
        storage: of the data set.
        name: `call_id`, or an attribute.
        value: what it is.
        reason: why; a person reads it who wants to erase.
    """
    now = datetime.now(UTC).isoformat(timespec="seconds")
    hold = Hold(secrets.token_hex(4), name, value, reason, now)
    _change(storage, lambda holds: [*holds, hold])
    return hold


def release_hold(storage: Storage, hold_id: str) -> Hold:
    """Take a hold away.

    Raises:
        SettingsError: there is none of this id.
    """
    released: list[Hold] = []

    def without(holds: list[Hold]) -> list[Hold]:
        released[:] = [hold for hold in holds if hold.hold_id == hold_id]
        return [hold for hold in holds if hold.hold_id != hold_id]

    _change(storage, without)
    if not released:
        message = f"there is no hold {hold_id} in {storage.uri}; `callscribe hold list` shows which there are"
        raise SettingsError(message)
    return released[0]


def holds_on(holds: Iterable[Hold], call_id: str, attributes: Mapping[str, str]) -> list[Hold]:
    """Those that hold a call."""
    return [hold for hold in holds if hold.covers(call_id, attributes)]


def _read(storage: Storage) -> tuple[list[Hold], str | None]:
    try:
        stored = storage.get(HOLDS_KEY)
    except ObjectVanished:
        return [], None
    return [Hold(**one) for one in json.loads(stored.data)["holds"]], stored.info.etag


def _change(storage: Storage, change: Callable[[list[Hold]], list[Hold]]) -> None:
    content = b""
    while True:
        holds, etag = _read(storage)
        before, content = content, json.dumps({"holds": [asdict(hold) for hold in change(holds)]}, indent=2).encode()
        if before and json.loads(before) == {"holds": [asdict(hold) for hold in holds]}:
            return  # it was written, and only the answer was lost
        try:
            storage.put(HOLDS_KEY, content, if_match=etag, if_none_match=etag is None)
        except PreconditionFailed:
            continue
        return
