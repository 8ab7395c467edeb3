"""Erase calls: from both tables, from what runs keep, and, where asked for, from the archive.

The tombstone comes first, so that nothing brings a call back: planning passes it over, and every commit drops it. Then
both objects of its shard are rewritten even where it is in neither, so that a writer that had read the tombstones
before meets changed objects and reads again (`tasks.dataset`). Then the plans, checkpoints and lists of the month's
runs are rewritten without it. What stays is the call_id in the tombstone and in the certificate, digests, and older
versions of the objects where the bucket keeps them; the certificate says so.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from tasks.certificates import append, package_versions
from tasks.dataset import DataSet
from tasks.errors import CallHeld, ObjectVanished, PreconditionFailed, SettingsError, StorageRefused
from tasks.holds import holds_on, read_holds
from tasks.inventory import month_prefix, read_archive, template_pattern
from tasks.records import CallRef
from tasks.runs import find_head
from tasks.schemas import CHECKPOINT, PLANNED
from tasks.setting_groups import ArchiveSettings
from tasks.shards import TABLES, object_key, shard_of
from tasks.storage import OlderVersions, Storage, StoredObject
from tasks.tables import from_parquet, to_parquet, without

Say = Callable[[str], None]


@dataclass
class Erasure:
    """What an erasure did.

    Attributes:
        erased: the call_ids by month.
        rewritten: objects that were rewritten without them, or removed, by URI.
        audio: recordings that were removed, by URI.
        kept: what could not be removed, by URI, and why.
        older_versions: by URI, the older versions that the bucket keeps of an object that held a call, or was a
            checkpoint that may have; None where it does not say.
        certificate: its number in the chain.
    """

    erased: dict[str, list[str]]
    rewritten: list[str] = field(default_factory=list)
    audio: list[str] = field(default_factory=list)
    kept: dict[str, str] = field(default_factory=dict)
    older_versions: dict[str, OlderVersions | None] = field(default_factory=dict)
    certificate: int = 0

    @property
    def calls(self) -> int:
        """How many calls were erased, each counted once."""
        return len({call_id for ids in self.erased.values() for call_id in ids})


def erase_calls(
    data: DataSet,
    call_ids: Iterable[str],
    reason: str,
    settings: ArchiveSettings,
    month: str | None = None,
    archive: Storage | None = None,
    say: Say = lambda _: None,
) -> Erasure:
    """Erase calls for good. It may be done again, and then finds less to do.

    Args:
        data: the data set.
        call_ids: the calls.
        reason: why; the certificate keeps it.
        settings: how keys of the archive are read.
        month: `YYYY-MM`, where they are in this month only; also those are then kept from being transcribed that have
            no row yet.
        archive: where their recordings are to be removed too.
        say: told what is being done.

    Raises:
        CallHeld: a legal hold is on one of them; nothing was erased.
        SettingsError: one is in no month; nothing was erased.
    """
    wanted = sorted(set(call_ids))
    placed = _places(data, wanted, month)
    recordings = _recordings(archive, settings, placed) if archive else {}
    _require_free(data, wanted, placed, recordings)
    result = Erasure({})
    keys: list[str] = []
    checkpoints: list[str] = []
    for (one, shard), ids in sorted(placed.items()):
        say(f"erasing {len(ids)} calls of {one}")
        result.erased[one] = sorted([*result.erased.get(one, ()), *ids])
        shards = data.shards(one) or 1
        data.bury(one, shard, shards, ids)
        data.purge(one, shard, shards)
        keys += [object_key(table, one, shard, shards) for table in TABLES]
    for one, erased in result.erased.items():
        in_month = frozenset(erased)
        say(f"looking through the runs of {one}")
        rewritten, run_ids = _erase_from_runs(data.storage, one, in_month, settings)
        keys += rewritten
        checkpoints += [f"_runs/{run_id}/checkpoints/" for run_id in run_ids]
        if archive is not None:
            say(f"removing recordings of {one}")
            _erase_audio(archive, recordings.get(one, ()), result)
            if not recordings.get(one):
                prefix = month_prefix(settings.key_template, one)
                result.kept[f"{archive.uri}/{prefix}"] = "no recording of these calls lies there"
    say("asking for older versions")
    result.rewritten += [data.storage.object_uri(key) for key in keys]
    for prefix in (*keys, *checkpoints):
        _note_versions(data.storage, prefix, result)
    result.certificate = append(data.storage, "erasure", _erasure_id(), _certificate(result, reason))
    return result


def _places(data: DataSet, call_ids: Sequence[str], month: str | None) -> dict[tuple[str, int], list[str]]:
    """By month and shard, the calls that are to be erased there."""
    placed: defaultdict[tuple[str, int], list[str]] = defaultdict(list)
    months = [month] if month else data.months()
    for one in months:
        shards = data.shards(one)
        if shards is None:
            message = f"nothing of {one} was ever planned in {data.storage.uri}, so there is nothing to erase in it"
            raise SettingsError(message)
        by_shard: defaultdict[int, list[str]] = defaultdict(list)
        for call_id in call_ids:
            by_shard[shard_of(call_id, shards)].append(call_id)
        for shard, ids in by_shard.items():
            known = {row["call_id"] for row in data.read_shard(one, shard, shards, ("call_id",))}
            known |= data.erased(one, shard, shards)
            if here := [call_id for call_id in ids if month or call_id in known]:
                placed[one, shard] += here
    found = {call_id for ids in placed.values() for call_id in ids}
    if missing := [call_id for call_id in call_ids if call_id not in found]:
        message = (
            f"{data.storage.uri} holds no call {', '.join(missing)}, so nothing was erased; give --month to keep a "
            "call from being transcribed in a month in which it has no row yet"
        )
        raise SettingsError(message)
    return dict(placed)


def _recordings(
    archive: Storage, settings: ArchiveSettings, placed: Mapping[tuple[str, int], Sequence[str]]
) -> dict[str, list[CallRef]]:
    """By month, every object of the archive that claims one of the call_ids."""
    found: dict[str, list[CallRef]] = {}
    for month in sorted({one for one, _ in placed}):
        wanted = {call_id for (one, _), ids in placed.items() if one == month for call_id in ids}
        listed = (call for call, _ in read_archive(archive, month, settings))
        found[month] = [call for call in listed if call is not None and call.call_id in wanted]
    return found


def _require_free(
    data: DataSet,
    call_ids: Sequence[str],
    placed: Mapping[tuple[str, int], Sequence[str]],
    recordings: Mapping[str, Sequence[CallRef]],
) -> None:
    """Make sure that no hold covers a call by any of its rows, or by any recording that is to be removed."""
    holds = read_holds(data.storage)
    if not holds:
        return
    wanted = frozenset(call_ids)
    known: list[tuple[str, Mapping[str, str]]] = [(call_id, {}) for call_id in call_ids]
    for month, shard in placed:
        rows = data.read_shard(month, shard, data.shards(month) or 1, ("call_id", "attributes"))
        known += [(row["call_id"], dict(row["attributes"] or ())) for row in rows if row["call_id"] in wanted]
    known += [(call.call_id, call.attributes) for calls in recordings.values() for call in calls]
    for call_id, attributes in known:
        if held := holds_on(holds, call_id, attributes):
            why = "; ".join(f"{hold.hold_id}, since {hold.since}: {hold.reason}" for hold in held)
            message = (
                f"call {call_id} is under legal hold ({why}), so nothing was erased; release the hold first "
                "(`callscribe hold release`), or leave the call out"
            )
            raise CallHeld(message)


def _erase_from_runs(
    storage: Storage, month: str, call_ids: frozenset[str], settings: ArchiveSettings
) -> tuple[list[str], list[str]]:
    """Rewrite what runs keep of a month, without some calls.

    Also of runs that were never planned to the end.

    Returns:
        the keys of what was rewritten or removed, and the run_ids.
    """
    changed: list[str] = []
    months: dict[str, str | None] = {}  # of a run that was never planned to the end, its parts say which
    for info in list(storage.list("_runs/")):
        _, run_id, kind, *_ = (*info.key.split("/"), "", "")
        if run_id not in months:
            head = find_head(storage, run_id)
            months[run_id] = head.month if head else None
        if months[run_id] not in {None, month}:
            continue
        if kind in {"jobs", "checkpoints"}:
            done = _filter_parquet(storage, info.key, month, call_ids)
        elif kind == "in_flight":
            done = _filter_in_flight(storage, info.key, call_ids)
        elif kind == "unplanned.jsonl":
            done = _filter_unplanned(storage, info.key, call_ids, settings.key_template)
        else:
            done = False
        if done:
            changed.append(info.key)
    return changed, sorted(run_id for run_id, planned in months.items() if planned in {None, month})


def _filter_parquet(storage: Storage, key: str, month: str, call_ids: frozenset[str]) -> bool:
    """Rewrite a part of a plan, or a checkpoint, without some calls; whether any of them was in it."""
    is_checkpoint = "/checkpoints/" in key
    while True:
        try:
            stored = storage.get(key)
            table = from_parquet(stored.data, CHECKPOINT if is_checkpoint else PLANNED)
        except ObjectVanished:
            return False
        except ValueError:
            return _empty_damaged(storage, stored, is_checkpoint=is_checkpoint)
        if not is_checkpoint and set(table["month"].unique().to_pylist()) - {month}:
            return False
        rest = without(table, "call_id", call_ids)
        if len(rest) == len(table):
            return False
        try:
            storage.put(key, to_parquet(rest), if_match=stored.info.etag)
        except PreconditionFailed:
            continue
        return True


def _empty_damaged(storage: Storage, stored: StoredObject, *, is_checkpoint: bool) -> bool:
    """Let an object that cannot be read hold nothing, as it may hold anything; whether it did.

    A checkpoint counts for nothing then. A part of a plan stays, as one that cannot be read: its run says so.
    """
    if is_checkpoint:
        storage.delete(stored.info.key)
        return True
    if not stored.data:
        return False
    try:
        storage.put(stored.info.key, b"", if_match=stored.info.etag)
    except PreconditionFailed:
        return False
    return True


def _filter_in_flight(storage: Storage, key: str, call_ids: frozenset[str]) -> bool:
    try:
        stored = storage.get(key)
    except ObjectVanished:
        return False
    content = json.loads(stored.data)
    if not call_ids & {*content["call_ids"], *content["deaths"], *content["suspects"]}:
        return False
    rest = {
        "suspects": [call_id for call_id in content["suspects"] if call_id not in call_ids],
        "call_ids": [call_id for call_id in content["call_ids"] if call_id not in call_ids],
        "deaths": {call_id: count for call_id, count in content["deaths"].items() if call_id not in call_ids},
    }
    try:
        storage.put(key, json.dumps(rest).encode(), if_match=stored.info.etag)
    except PreconditionFailed:
        return False  # the job has gone on, and marks anew
    return True


def _filter_unplanned(storage: Storage, key: str, call_ids: frozenset[str], template: str) -> bool:
    """Rewrite the list of what is no call of its own without the lines of some calls."""
    pattern = template_pattern(template)

    def is_of(line: Mapping[str, str | None]) -> bool:
        match = pattern.fullmatch(line.get("key") or "")
        return (line.get("call_id") or (match and match["call_id"])) in call_ids

    while True:
        try:
            stored = storage.get(key)
        except ObjectVanished:
            return False
        lines = stored.data.decode().splitlines(keepends=True)
        rest = [line for line in lines if not is_of(json.loads(line))]
        if len(rest) == len(lines):
            return False
        try:
            storage.put(key, "".join(rest).encode(), if_match=stored.info.etag)
        except PreconditionFailed:
            continue
        return True


def _erase_audio(archive: Storage, recordings: Iterable[CallRef], result: Erasure) -> None:
    """Remove recordings from the archive."""
    for call in recordings:
        try:
            archive.delete(call.key)
        except StorageRefused as error:
            result.kept[call.uri] = error.message
            continue
        result.audio.append(call.uri)
        _note_versions(archive, call.key, result)


def _note_versions(storage: Storage, prefix: str, result: Erasure) -> None:
    """Note what the store keeps of an object, or of all objects of a folder, also of those that were removed."""
    found = storage.older_versions(prefix)
    if found is None:
        result.older_versions[storage.object_uri(prefix)] = None
        return
    for key, versions in found.items():
        if key == prefix or prefix.endswith("/"):
            result.older_versions[storage.object_uri(key)] = versions


def _certificate(result: Erasure, reason: str) -> dict[str, object]:
    return {
        "reason": reason,
        "erased": result.erased,
        "rewritten": sorted(result.rewritten),
        "audio": sorted(result.audio),
        "kept": result.kept,
        "older_versions": {uri: found and found.count for uri, found in result.older_versions.items()},
        "locked_versions": {
            uri: {
                "count": found.locked,
                "until": found.locked_until.isoformat(timespec="seconds") if found.locked_until else None,
            }
            for uri, found in result.older_versions.items()
            if found is not None and found.locked != 0
        },
        "versions": package_versions(),
        "written_at": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def _erasure_id() -> str:
    return f"erasure-{datetime.now(UTC):%Y%m%dT%H%M%SZ}"


def erasure_rows(result: Erasure) -> list[tuple[str, str]]:
    """What an erasure did, as lines for people."""
    found = [versions for versions in result.older_versions.values() if versions is not None]
    unknown = len(result.older_versions) - len(found)
    until = max((versions.locked_until for versions in found if versions.locked_until), default=None)
    rows = [
        ("calls erased", f"{result.calls:,}"),
        ("months", ", ".join(result.erased)),
        ("objects rewritten", f"{len(result.rewritten):,}"),
        ("recordings removed", f"{len(result.audio):,}"),
        ("not removed", f"{len(result.kept):,}"),
        ("older versions that the buckets keep", f"{sum(versions.count for versions in found):,}"),
        ("  of them locked", f"{sum(versions.locked or 0 for versions in found):,}"),
        *([("  the last until", f"{until:%Y-%m-%d %H:%M} UTC")] if until else []),
        ("certificate", f"{result.certificate}"),
    ]
    if unknown:
        rows.insert(-1, ("objects whose older versions could not be asked for", f"{unknown:,}"))
    return rows
