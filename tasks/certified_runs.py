"""The view `runs`: what the certificates of a data set say, one row per certificate.

Certificates of kinds that are not known here, and fields that are not there, make nulls: what is read is told by a path
into the certificate for each column. The chain is not checked; `callscribe verify` does that.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import Any

from tasks.errors import QueryError
from tasks.schemas import RUNS, Row
from tasks.storage import Storage

PREFIX = "_certificates/"
# Certificates are small, and each is one request.
READERS = 16

Read = Callable[[Any], Any]


def read_runs(storage: Storage) -> list[Row]:
    """The rows of `runs`, in order of their numbers.

    Raises:
        QueryError: a certificate is damaged.
    """
    keys = sorted(info.key for info in storage.list(PREFIX) if info.key.endswith(".json"))
    with ThreadPoolExecutor(READERS) as readers:
        return run_rows(readers.map(lambda key: _certificate(storage, key), keys))


def run_rows(certificates: Iterable[Mapping[str, Any]]) -> list[Row]:
    """Pure: the rows of `runs` of certificates that come in order of their numbers."""
    rows = [_row(certificate) for certificate in certificates]
    latest = {row["run_id"]: row["number"] for row in rows}
    return [row | {"latest": latest[row["run_id"]] == row["number"]} for row in rows]


def _certificate(storage: Storage, key: str) -> Mapping[str, Any]:
    try:
        found = json.loads(storage.get(key).data)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        message = f"the certificate {storage.object_uri(key)} is damaged; `callscribe verify` says what else is"
        raise QueryError(message)
    return found


def _row(certificate: Mapping[str, Any]) -> Row:
    row: Row = dict.fromkeys(RUNS.names)
    row |= {name: read(_at(certificate, path)) for name, (path, read) in _COLUMNS.items()}
    row["kind"] = _text(_at(certificate, "content.run.kind")) or row["kind"]  # backfills are certified as runs
    outcomes = _at(certificate, "content.result.outcomes")
    if isinstance(outcomes, Mapping):  # those that occurred
        row |= {name: _count(outcomes.get(name, 0)) for name in ("transcribed", "no_speech", "failed")}
    erased = _at(certificate, "content.erased")
    if isinstance(erased, Mapping):  # of an erasure: the call_ids of each month
        row["month"] = next(iter(erased)) if len(erased) == 1 else None
        row["erased"] = len({call_id for ids in erased.values() for call_id in ids})
    return row


def _at(certificate: Mapping[str, Any], path: str) -> object:
    """What stands at a path of names with dots between; None where nothing does."""
    found: object = certificate
    for name in path.split("."):
        found = found.get(name) if isinstance(found, Mapping) else None
    return found


def _of(kind: type | tuple[type, ...]) -> Read:
    """Values of a type as they are, and None for others: a boolean is no number."""
    return lambda value: value if isinstance(value, kind) and (kind is bool or not isinstance(value, bool)) else None


_text, _flag, _count = _of(str), _of(bool), _of(int)


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def _moment(value: object) -> datetime | None:
    try:
        found = datetime.fromisoformat(str(value))
    except ValueError:
        return None
    return found if found.tzinfo else None


def _map(read: Read) -> Read:
    """Pairs, as Arrow takes a map; without those whose value is of another type."""

    def read_map(value: object) -> list[tuple[str, Any]] | None:
        if not isinstance(value, Mapping):
            return None
        return [(str(name), read(one)) for name, one in value.items() if read(one) is not None]

    return read_map


_COLUMNS: dict[str, tuple[str, Read]] = {
    "number": ("number", _count),
    "kind": ("kind", _text),
    "run_id": ("subject", _text),
    "month": ("content.run.month", _text),
    "began_at": ("content.run.created_at", _moment),
    "ended_at": ("content.written_at", _moment),
    "final": ("content.final", _flag),
    "adopted": ("content.adopted", _flag),
    "listed_bytes": ("content.run.listed_bytes", _count),
    "planned": ("content.run.calls", _count),
    "planned_bytes": ("content.run.size_bytes", _count),
    "reasons": ("content.run.reasons", _map(_count)),
    "estimated_hours": ("content.run.estimated_hours", _number),
    "errors": ("content.result.errors", _map(_count)),
    "instead": ("content.result.instead", _map(_count)),
    "accounted": ("content.result.accounted", _flag),
    "audio_s": ("content.result.audio_s", _number),
    "wall_s": ("content.result.wall_s", _number),
    "worker_s": ("content.result.worker_s", _number),
    "quoted_worker_s": ("content.result.quoted_worker_s", _number),
    "worker_hour_price": ("content.result.worker_hour_price", _number),
    "currency": ("content.result.currency", _text),
    "versions": ("content.versions", _map(_text)),
} | {
    name: (f"content.result.{name}", _count)
    for name in ("listed_objects", "copied", "superseded", "standing", "standing_failed", "erased", "ambiguous",
                 "unmatched", "missing", "removed", "other_fingerprints", "jobs")
} | {
    name: (f"content.run.{name}", _text)
    for name in ("bundle", "bundle_digest", "compute_type", "fingerprint", "inventory_digest", "archive")
}  # fmt: skip
