"""What is in the archive for a month: by a listing under the month's prefix, each key read, or by a manifest."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from urllib.parse import unquote
from zoneinfo import ZoneInfo

from tasks.errors import SettingsError, StorageRefused
from tasks.keys import KeyReader
from tasks.manifest import ManifestRow, in_zone, month_of, read_manifest
from tasks.records import CallRef
from tasks.setting_groups import ArchiveSettings
from tasks.storage import Storage

# Objects of a manifest that the store is asked for at once.
HEADS_AT_ONCE = 16
# S3's own limit.
MAX_KEY_BYTES = 1024

_MONTH = re.compile(r"[0-9]{4}-(0[1-9]|1[0-2])")


@dataclass(frozen=True, slots=True)
class Inventory:
    """What a month of the archive holds, or the part of it that is one shard.

    `calls` have a call_id of their own. `ambiguous` holds those whose call_id several objects claim.
    """

    month: str
    calls: tuple[CallRef, ...]
    ambiguous: tuple[tuple[CallRef, ...], ...]

    @property
    def call_ids(self) -> frozenset[str]:
        """Every call_id that an object claims."""
        return frozenset(call.call_id for call in self.calls) | {group[0].call_id for group in self.ambiguous}


def check_month(month: str) -> str:
    """The month itself, when it is one.

    Raises:
        SettingsError: it is not `YYYY-MM`.
    """
    if not _MONTH.fullmatch(month):
        message = f"month must be YYYY-MM, such as 2026-10; got {month!r}"
        raise SettingsError(message)
    return month


def previous_month(now: datetime) -> str:
    """The month before the one that `now` lies in, as `YYYY-MM`."""
    year, month = (now.year, now.month - 1) if now.month > 1 else (now.year - 1, 12)
    return f"{year:04d}-{month:02d}"


def months_between(months: str) -> list[str]:
    """The months that `2025-01..2026-09`, or one month, means, in order.

    Raises:
        SettingsError: it is neither, or ends before it begins.
    """
    first, dots, last = months.partition("..")
    check_month(first)
    if dots:
        check_month(last)
    begin, end = (int(month[:4]) * 12 + int(month[5:]) - 1 for month in (first, last or first))
    if end < begin:
        message = f"months {months!r} end before they begin"
        raise SettingsError(message)
    return [f"{number // 12:04d}-{number % 12 + 1:02d}" for number in range(begin, end + 1)]


def read_archive(storage: Storage, month: str, settings: ArchiveSettings) -> Iterator[tuple[CallRef | None, str]]:
    """What a month of the archive holds: each call with its key, and None with each key that cannot be read.

    By listing it, or by a manifest where there is one; then also None with the place of each row that is no call,
    names an object outside of the archive or a key that no object can have, or says that it is of another month than
    the manifest is named for. A call whose object is not there has no ETag, unless its row says one.

    Raises:
        SettingsError: the manifest cannot be read.
        StorageRefused: the archive cannot be listed.
    """
    if settings.manifest:
        yield from _by_manifest(storage, month, settings, settings.manifest)
        return
    reader = KeyReader(settings)
    hints = settings.hints()
    for info in storage.list(reader.prefix(month)):
        read = reader.read(info.key)
        if read is None:
            yield None, info.key
        elif read.month == month:
            call = CallRef(
                call_id=read.call_id,
                month=month,
                key=info.key,
                uri=storage.object_uri(info.key),
                etag=info.etag,
                size_bytes=info.size_bytes,
                started_at=read.started_at,
                hints=hints,
                attributes=read.attributes,
            )
            yield call, info.key


def _by_manifest(
    storage: Storage, month: str, settings: ArchiveSettings, uri: str
) -> Iterator[tuple[CallRef | None, str]]:
    filled = uri.replace("{year}", month[:4]).replace("{month}", month[5:])
    folder, _, key = filled.rpartition("/")
    timezone = ZoneInfo(settings.timezone)
    own_month = month if "{year}" in uri and "{month}" in uri else None

    def read(item: tuple[str, ManifestRow | None]) -> tuple[CallRef | None, str] | None:
        place, row = item
        where = month_of(row, own_month, timezone) if row else None
        if row is None or where is None:
            return None, place
        if where != month:
            # Of a manifest for all months its turn comes with its month; one that is named for a month is read once.
            return (None, place) if own_month else None
        inside = _key_of(row.uri, storage)
        return (None, place) if inside is None else (_described(storage, row, inside, month, settings), inside)

    rows = read_manifest(storage.beside(folder), key)
    with ThreadPoolExecutor(HEADS_AT_ONCE) as pool:
        while block := list(islice(rows, HEADS_AT_ONCE * 8)):
            yield from (found for found in pool.map(read, block) if found is not None)


def _described(storage: Storage, row: ManifestRow, key: str, month: str, settings: ArchiveSettings) -> CallRef:
    """A row as a call; the store is asked for what it does not say of the object."""
    etag, size_bytes = row.etag, row.size_bytes
    if etag is None or size_bytes is None:
        info = storage.head(key)
        etag, size_bytes = (info.etag, info.size_bytes) if info else ("", 0)
    started_at = in_zone(row.started_at, ZoneInfo(settings.timezone)) if row.started_at else None
    return CallRef(
        call_id=row.call_id,
        month=month,
        key=key,
        uri=storage.object_uri(key),
        etag=etag,
        size_bytes=size_bytes,
        started_at=started_at,
        hints=row.hints(settings.hints()),
        attributes=row.attributes,
    )


def _key_of(uri: str, storage: Storage) -> str | None:
    """The key of an object by its URI, or as it is; None where it lies outside of the archive, or cannot be one."""
    key = uri
    if "://" in uri:
        prefix = f"{storage.uri}/"
        if not uri.startswith(prefix):
            return None
        key = uri.removeprefix(prefix)
        key = unquote(key) if uri.startswith("file:") else key
    return key if _can_be(key, storage) else None


def _can_be(key: str, storage: Storage) -> bool:
    """Whether an object can have the key: S3 answers to others as to bad requests, which would stop the run."""
    if "\0" in key or len(key.encode()) > MAX_KEY_BYTES or not {".", ".."}.isdisjoint(key.split("/")):
        return False
    try:
        storage.object_uri(key)
    except StorageRefused:
        return False
    return True


def archive_of(storage: Storage, month: str, settings: ArchiveSettings) -> str:
    """Where the calls of a month are looked for, for people."""
    return settings.manifest or f"{storage.uri}/{KeyReader(settings).prefix(month)}"


def group_calls(month: str, calls: Iterable[CallRef]) -> Inventory:
    """Tell apart the calls that have a call_id of their own, and those that share one; in order of call_id."""
    by_id: defaultdict[str, list[CallRef]] = defaultdict(list)
    for call in calls:
        by_id[call.call_id].append(call)
    groups = sorted(by_id.items())
    return Inventory(
        month=month,
        calls=tuple(group[0] for _, group in groups if len(group) == 1),
        ambiguous=tuple(tuple(group) for _, group in groups if len(group) > 1),
    )


def duplicate_message(group: Iterable[CallRef]) -> str:
    """What the row of a call_id that several objects claim says."""
    keys = ", ".join(call.key for call in group)
    return (
        f"several objects claim this call_id, so none was transcribed: {keys}; tell them apart by "
        "archive.call_id_template, or correct the manifest"
    )
