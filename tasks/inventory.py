"""What is in the archive for a month: by a listing under the month's prefix, each key read, or by a manifest."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from urllib.parse import unquote
from zoneinfo import ZoneInfo

from tasks.errors import SettingsError, StorageRefused
from tasks.keys import KeyReader
from tasks.legs import claimed_twice, etag_of
from tasks.manifest import ManifestFile, ManifestRow, in_zone, month_of, open_manifest
from tasks.records import CallRef, Leg
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


def read_archive(
    storage: Storage, month: str, settings: ArchiveSettings, *, contested: bool = False
) -> Iterator[tuple[CallRef | None, str]]:
    """What a month of the archive holds: each call with its key, and None with each key that cannot be read.

    By listing it, or by a manifest where there is one; then also None with the place of each row that is no call,
    names an object outside of the archive or a key that no object can have, names one twice, or says that it is of
    another month than the manifest is named for. So it is with contested calls: of a file that is one of several of
    one call, and that another call claims too, nobody knows whose it is. A call whose object is not there has no
    ETag, unless its row says one.

    Args:
        storage: of the archive.
        month: `YYYY-MM`.
        settings: how it is read.
        contested: whether contested calls are given as others are.

    Raises:
        SettingsError: the manifest cannot be read.
        StorageRefused: the archive cannot be listed.
    """
    if settings.manifest:
        with _manifest(storage, month, settings.manifest) as manifest:
            yield from _by_manifest(storage, month, settings, manifest, contested=contested)
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


@dataclass(frozen=True, slots=True)
class _Listed:
    """A row of a manifest: where it stands, of which month it is (None: of any), and the keys of its files.

    `row` is None where it is no call of this archive.
    """

    place: str
    month: str | None
    row: ManifestRow | None = None
    keys: tuple[str, ...] = ()


def _manifest(storage: Storage, month: str, uri: str) -> AbstractContextManager[ManifestFile]:
    folder, _, key = uri.replace("{year}", month[:4]).replace("{month}", month[5:]).rpartition("/")
    return open_manifest(storage.beside(folder), key)


def _listed(storage: Storage, month: str, settings: ArchiveSettings, manifest: ManifestFile) -> Iterator[_Listed]:
    """The rows of a manifest, of whatever month they are."""
    timezone = ZoneInfo(settings.timezone)
    # Of a manifest for all months the turn of a row comes with its month; one that is named for a month is read once.
    name = settings.manifest or ""
    own_month = month if "{year}" in name and "{month}" in name else None
    for place, row in manifest.rows():
        where = month_of(row, own_month, timezone) if row else None
        if row is None or where is None or (own_month and where != month):
            yield _Listed(place, None)
            continue
        keys = [key_of(uri, storage) for uri in row.uri]
        inside = tuple(dict.fromkeys(key for key in keys if key is not None))
        yield _Listed(place, where, row, inside) if len(inside) == len(keys) else _Listed(place, where)


def _by_manifest(
    storage: Storage, month: str, settings: ArchiveSettings, manifest: ManifestFile, *, contested: bool
) -> Iterator[tuple[CallRef | None, str]]:
    doubtful: frozenset[str] = frozenset()
    if not contested and manifest.has_lists():
        claims = _listed(storage, month, settings, manifest)
        doubtful = claimed_twice((one.row.call_id, one.keys) for one in claims if one.row)

    def read(one: _Listed) -> tuple[CallRef | None, str]:
        if one.row is None or not doubtful.isdisjoint(one.keys):
            return None, one.place
        return _described(storage, one.row, one.keys, month, settings), one.keys[0]

    own = (one for one in _listed(storage, month, settings, manifest) if one.month in {None, month})
    with ThreadPoolExecutor(HEADS_AT_ONCE) as pool:
        while block := list(islice(own, HEADS_AT_ONCE * 8)):
            yield from pool.map(read, block)


def claimed_by_others(
    storage: Storage, month: str, settings: ArchiveSettings, call_ids: Collection[str], keys: Collection[str]
) -> frozenset[str]:
    """Of some keys, those that the manifest of a month gives to other calls, too, also to calls of other months.

    Args:
        storage: of the archive.
        month: `YYYY-MM`.
        settings: how it is read; where there is no manifest, an object is of one call.
        call_ids: of the calls that are no others.
        keys: that are asked for.
    """
    if not settings.manifest:
        return frozenset()
    with _manifest(storage, month, settings.manifest) as manifest:
        others = (
            one.keys
            for one in _listed(storage, month, settings, manifest)
            if one.row and one.row.call_id not in call_ids
        )
        return frozenset(key for own in others for key in own if key in keys)


def _described(
    storage: Storage, row: ManifestRow, keys: Sequence[str], month: str, settings: ArchiveSettings
) -> CallRef:
    """A row as a call; the store is asked for what it does not say of its objects."""
    nothing = (None,) * len(keys)
    files = zip(keys, row.etag or nothing, row.size_bytes or nothing, strict=True)
    legs = tuple(_leg(storage, *file) for file in files)
    return CallRef(
        call_id=row.call_id,
        month=month,
        key=legs[0].key,
        uri=legs[0].uri,
        etag=legs[0].etag if len(legs) == 1 else etag_of(legs),
        size_bytes=sum(leg.size_bytes for leg in legs),
        started_at=in_zone(row.started_at, ZoneInfo(settings.timezone)) if row.started_at else None,
        hints=row.hints(settings.hints()),
        attributes=row.attributes,
        legs=legs if len(legs) > 1 else (),
    )


def _leg(storage: Storage, key: str, etag: str | None, size_bytes: int | None) -> Leg:
    if etag is None or size_bytes is None:
        info = storage.head(key)
        etag, size_bytes = (info.etag, info.size_bytes) if info else ("", 0)
    return Leg(key, storage.object_uri(key), etag, size_bytes)


def key_of(uri: str, storage: Storage) -> str | None:
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
    keys = ", ".join(file.key for call in group for file in call.files)
    return (
        f"several objects claim this call_id, so none was transcribed: {keys}; tell them apart by "
        "archive.call_id_template, or correct the manifest"
    )
