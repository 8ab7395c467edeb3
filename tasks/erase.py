"""Erase calls: from both tables, from what runs keep, and, where asked for, from the archive.

The tombstone comes first, so that nothing brings a call back: planning passes it over, and every commit drops it. Then
both objects of its shard are rewritten even where it is in neither, so that a writer that had read the tombstones
before meets changed objects and reads again (`tasks.dataset`). Then the plans, checkpoints and lists of the month's
runs, lists of calls for backfills, and samples for human transcription are rewritten without it. What stays is the
call_id in the tombstone and in the certificate, digests, and older versions of the objects where the bucket keeps them;
the certificate says so.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from tasks.certificates import append, package_versions
from tasks.dataset import DataSet
from tasks.erase_begun import BegunErasures
from tasks.erase_runs import SPOKEN, erase_from_lists, erase_from_runs, filter_changes
from tasks.errors import CallHeld, SettingsError, StorageRefused
from tasks.holds import holds_on, read_holds
from tasks.inventory import archive_of, claimed_by_others, read_archive
from tasks.records import CallRef
from tasks.samples import erase_from_samples
from tasks.setting_groups import ArchiveSettings
from tasks.shards import TABLES, object_key, shard_of
from tasks.storage import OlderVersions, Storage

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
    named = _recordings(archive, settings, placed) if archive else {}
    _require_free(data, wanted, placed, named)
    there = recordings = _there(archive, named) if archive and settings.manifest else named
    result = Erasure({})
    if archive and settings.manifest:
        recordings = _of_nobody_else(archive, settings, wanted, there, result)
    begun = BegunErasures(data.storage, archive, frozenset(wanted))
    begun.note(recordings)
    keys: list[str] = []
    removed: list[str] = []  # folders of which objects may be gone
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
        rewritten, run_ids = erase_from_runs(data.storage, one, in_month)
        keys += rewritten
        keys += filter_changes(data.storage, one, in_month)
        keys += erase_from_samples(data.storage, one, in_month)
        removed += [f"_runs/{run_id}/{folder}/" for run_id in run_ids for folder in sorted(SPOKEN)]
        if archive is not None:
            say(f"removing recordings of {one}")
            _erase_audio(archive, recordings.get(one, ()), result)
            if not there.get(one) and not begun.removed(one):
                result.kept[archive_of(archive, one, settings)] = "no recording of these calls lies there"
    keys += erase_from_lists(data.storage, frozenset(wanted))
    for uri, key in begun.removed_before(there):
        result.audio.append(uri)
        if archive is not None:
            _note_versions(archive, key, result)
    say("asking for older versions")
    result.rewritten += [data.storage.object_uri(key) for key in keys]
    for prefix in (*keys, *removed):
        _note_versions(data.storage, prefix, result)
    result.certificate = append(data.storage, "erasure", _erasure_id(), _certificate(result, reason))
    begun.forget()
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
    """By month, every object of the archive that claims one of the call_ids: of one in several files, each of them."""
    found: dict[str, list[CallRef]] = {}
    for month in sorted({one for one, _ in placed}):
        wanted = {call_id for (one, _), ids in placed.items() if one == month for call_id in ids}
        listed = (call for call, _ in read_archive(archive, month, settings, contested=True))
        found[month] = [file for call in listed if call and call.call_id in wanted for file in call.files]
    return found


def _there(archive: Storage, recordings: Mapping[str, Sequence[CallRef]]) -> dict[str, list[CallRef]]:
    """Those of the recordings that lie in the archive: a manifest may name others.

    They are listed, because whoever erases need not have the right to read recordings.
    """
    return {
        month: [call for call in calls if any(info.key == call.key for info in archive.list(call.key))]
        for month, calls in recordings.items()
    }


def _of_nobody_else(
    archive: Storage,
    settings: ArchiveSettings,
    call_ids: Sequence[str],
    recordings: Mapping[str, Sequence[CallRef]],
    result: Erasure,
) -> dict[str, list[CallRef]]:
    """Those of the recordings that a manifest gives to no other call: another one, maybe held, would lose its own."""
    left: dict[str, list[CallRef]] = {}
    for month, calls in recordings.items():
        others = claimed_by_others(archive, month, settings, call_ids, {call.key for call in calls})
        left[month] = list({call.key: call for call in calls if call.key not in others}.values())
        why = "the manifest gives it to another call, too; correct that, or erase both calls together"
        result.kept |= {call.uri: why for call in calls if call.key in others}
    return left


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
