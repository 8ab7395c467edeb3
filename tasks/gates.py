"""What was accepted by a gate: transcripts of a set that were held against references, kept for runs to show.

`_control/gates/SET/00000001.json` is the first verdict on a set, and a number is taken by writing its object where
there is none: what was accepted is never written over. `_control/gates/SET/head.json` names the last one and its
digest; the history is as long as it is, also where a process died before it moved the head. Beside each verdict,
`00000001-DIGEST.counts.json` has the counts of each call, by the digest of its call_id as in the outputs of
certificates, so that the next verdict can be held against the same calls (`evaluation.accepted`). No word and no
call_id is in either, so that erasure need not visit them: of a call that is erased, numbers remain that name nobody.

Verdicts are written by `callscribe gate --accept`; a run reads them here, and knows nothing of how they came about.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from urllib.parse import unquote

from tasks.conditional import find, put_surely
from tasks.errors import GateRequired, PreconditionFailed, SettingsError
from tasks.instead import allowed_instead, settings_instead
from tasks.run_models import Fingerprints, fingerprints_of
from tasks.samples import file_stem
from tasks.setting_groups import GateSettings
from tasks.settings import Settings
from tasks.storage import Storage

GATES: Final = "_control/gates/"
PLANNED: Final = "planned"
"""The way in which a run is planned; the others are those of `run.without_gpu`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What a gate said of the transcripts of a set, made with a bundle under some settings.

    Attributes:
        set: name of the set, or of the gate.
        set_digest: of its cases and references.
        passed: whether every rule held.
        bundle, bundle_digest: the models.
        fingerprint: everything that can change a transcript, with the archive's own hints and none of single calls.
        fingerprint_any_type: the same whatever the compute type.
        compute_type: of the recogniser.
        accepted_at: when, UTC, ISO 8601.
        accepted_by, notes: who accepted it, and why.
        calls: of the set.
        devices: names of the devices that the transcripts were made on, and how many calls each did.
        versions: of packages.
        gate: the rules as they were read, in JSON's types; `gate_sha256` is the digest of their file.
        rules: what came of each: `rule`, `passed`, `reason`.
        figures: the measures over all calls, by key: `value`, `low`, `high`, `calls`.
        counts_sha256: digest of the object with the counts of each call.
        number: in the history of the set, from 1; 0 where it is not kept.
    """

    set: str
    set_digest: str
    passed: bool
    bundle: str
    bundle_digest: str
    fingerprint: str
    fingerprint_any_type: str
    compute_type: str
    accepted_at: str
    accepted_by: str = ""
    notes: str = ""
    calls: int = 0
    devices: Mapping[str, int] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    gate: Mapping[str, Any] = field(default_factory=dict)
    gate_sha256: str = ""
    rules: Sequence[Mapping[str, Any]] = ()
    figures: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    counts_sha256: str = ""
    number: int = 0

    def to_json(self) -> str:
        """Indented JSON with sorted keys; `parse_verdict` reads the same from it."""
        return json.dumps(asdict(self), ensure_ascii=False, indent=2, sort_keys=True) + "\n"


def parse_verdict(data: bytes, source: str) -> Verdict:
    """Read a verdict; what a later version says beside is passed over.

    Args:
        data: its JSON.
        source: names it in errors.

    Raises:
        SettingsError: it is none.
    """
    known = {one.name for one in fields(Verdict)}
    try:
        found = {name: value for name, value in json.loads(data).items() if name in known}
        return Verdict(**found | {"rules": tuple(found.get("rules", ()))})
    except (ValueError, TypeError, AttributeError) as error:
        message = f"{source} is no verdict of a gate, or is damaged: move it away, and accept the set anew"
        raise SettingsError(message) from error


def keep_verdict(storage: Storage, verdict: Verdict, counts: bytes) -> Verdict:
    """Add a verdict to the history of its set, whoever else does so.

    Args:
        storage: the data set.
        verdict: what was accepted; it gets its number here.
        counts: those of each call, as `evaluation.accepted` writes them.

    Returns:
        it, with its number.
    """
    number = len(_numbers(storage, verdict.set))
    while True:
        number += 1
        kept = replace(verdict, number=number, counts_sha256=hashlib.sha256(counts).hexdigest())
        # The counts first: nobody asks for those of a verdict that was never written.
        storage.put(counts_key(kept), counts)
        body = kept.to_json().encode()
        try:
            put_surely(storage, verdict_key(kept.set, number), body, None)
        except PreconditionFailed:
            continue  # another writer has the number; our counts lie there under a digest that nobody names
        _move_head(storage, kept, body)
        return kept


def history(storage: Storage, name: str) -> Iterator[Verdict]:
    """The verdicts on a set, the last one first.

    Raises:
        SettingsError: the one that the head names was altered, or one of them is none.
    """
    numbers = _numbers(storage, name)
    head = find(storage, _head_key(name))
    told = json.loads(head.data) if head else {}
    if told and told["number"] not in numbers:
        message = (
            f"{storage.object_uri(verdict_key(name, told['number']))} is missing, which the history of {name} names"
        )
        raise SettingsError(message)
    for number in reversed(numbers):
        key = verdict_key(name, number)
        data = storage.get(key).data
        if number == told.get("number") and hashlib.sha256(data).hexdigest() != told["sha256"]:
            message = f"{storage.object_uri(key)} is not what was accepted: it was altered"
            raise SettingsError(message)
        yield parse_verdict(data, storage.object_uri(key))


def verdict_key(name: str, number: int) -> str:
    """Key of a verdict."""
    return f"{_folder(name)}{number:08d}.json"


def counts_key(verdict: Verdict) -> str:
    """Key of the counts of each call of a verdict, by their digest: of two writers, each has its own."""
    return f"{_folder(verdict.set)}{verdict.number:08d}-{verdict.counts_sha256[:16]}.counts.json"


def require_gate(storage: Storage, settings: Settings, models: Fingerprints | None = None) -> dict[str, dict[str, Any]]:
    """What a run shows before it begins: for each way in which its jobs may be run, a verdict that was accepted.

    Args:
        storage: the data set.
        settings: how the run works; nothing is required unless `gate.required` says so.
        models: with what it works, as `fingerprints_of` gives it.

    Returns:
        `planned`, and each way of `run.without_gpu` → what certificates name of the verdict; empty where nothing is
        required.

    Raises:
        GateRequired: there is none for one of them; the message says which command makes one.
        BundleError: the bundle is missing or not whole.
    """
    gate = settings.gate
    if not gate.required:
        return {}
    wanted = {PLANNED: models or fingerprints_of(settings)}
    wanted |= {way: fingerprints_of(settings_instead(settings, way)) for way in allowed_instead(settings)}
    names = _names(storage) if gate.set is None else [gate.set]
    verdicts = [verdict for name in names for verdict in history(storage, name)]
    return {way: _reference(storage, shown(verdicts, gate, found, way)) for way, found in wanted.items()}


def shown(
    verdicts: Iterable[Verdict],
    gate: GateSettings,
    models: Fingerprints,
    way: str = PLANNED,
    now: datetime | None = None,
) -> Verdict:
    """The last verdict that counts for some models and settings. Pure.

    Args:
        verdicts: all there are.
        gate: which of them count.
        models: with what a run works.
        way: in which its jobs may be run.
        now: for the age.

    Raises:
        GateRequired: there is none; it says what the nearest lacks.
    """
    moment = now or datetime.now(UTC)
    passed = [one for one in verdicts if one.passed and gate.set in {None, one.set}]
    same = [one for one in passed if one.bundle_digest == models.bundle_digest]
    alike = [one for one in same if one.fingerprint_any_type == models.any_type]
    fitting = alike if gate.any_compute_type else [one for one in same if one.fingerprint == models.plain]
    young = [one for one in fitting if _is_young(one, gate, moment)]
    if young:
        return max(young, key=lambda one: one.accepted_at)
    name = f" on the set {gate.set}" if gate.set else ""
    if fitting:
        last = max(one.accepted_at for one in fitting)
        lacks = f"what was accepted is of {last[:10]}, older than {gate.max_age_days:g} days (gate.max_age_days)"
    elif alike:
        types = ", ".join(sorted({one.compute_type or "an unknown type" for one in alike}))
        lacks = f"it was only accepted in {types} (gate.any_compute_type = true lets that count)"
    elif same:
        lacks = "this bundle was only accepted under other settings"
    else:
        lacks = "only other bundles were accepted" if passed else "none was ever accepted"
    what = "the run" if way == PLANNED else f"what jobs may be run with instead (run.without_gpu = {way!r})"
    message = (
        f"a gate is required (gate.required), and none was passed{name} with bundle {models.bundle!r} "
        f"{models.bundle_digest[:12]}, {models.compute_type or 'no compute type'} and settings {models.plain}, as "
        f"{what} works: {lacks}; `callscribe gate {gate.set or 'SET'} --gate gate.toml --accept` with the settings of "
        "the run makes one"
    )
    raise GateRequired(message)


def _reference(storage: Storage, verdict: Verdict) -> dict[str, Any]:
    """What a certificate names of a verdict: where it lies, its digest, and how its transcripts were made."""
    key = verdict_key(verdict.set, verdict.number)
    return {
        "key": key,
        "sha256": hashlib.sha256(storage.get(key).data).hexdigest(),
        "set": verdict.set,
        "set_digest": verdict.set_digest,
        "fingerprint": verdict.fingerprint,
        "compute_type": verdict.compute_type,
        "accepted_at": verdict.accepted_at,
    }


def _is_young(verdict: Verdict, gate: GateSettings, now: datetime) -> bool:
    if gate.max_age_days is None:
        return True
    return now - datetime.fromisoformat(verdict.accepted_at) <= timedelta(days=gate.max_age_days)


def _names(storage: Storage) -> list[str]:
    """The sets that have a history."""
    folders = {info.key.removeprefix(GATES).partition("/")[0] for info in storage.list(GATES)}
    return sorted(unquote(folder) for folder in folders)


def _numbers(storage: Storage, name: str) -> list[int]:
    """The numbers that are taken, in order."""
    keys = (info.key for info in storage.list(_folder(name)) if _is_verdict(info.key))
    return sorted(int(key.rpartition("/")[2].removesuffix(".json")) for key in keys)


def _is_verdict(key: str) -> bool:
    return key.endswith(".json") and key.rpartition("/")[2].removesuffix(".json").isdecimal()


def _move_head(storage: Storage, verdict: Verdict, body: bytes) -> None:
    """Let the head name this verdict, unless a later one is named already."""
    key = _head_key(verdict.set)
    content = {"number": verdict.number, "sha256": hashlib.sha256(body).hexdigest()}
    while True:
        stored = find(storage, key)
        if stored and json.loads(stored.data)["number"] >= verdict.number:
            return
        try:
            put_surely(storage, key, json.dumps(content).encode(), stored.info.etag if stored else None)
        except PreconditionFailed:
            continue
        return


def _head_key(name: str) -> str:
    return f"{_folder(name)}head.json"


def _folder(name: str) -> str:
    return f"{GATES}{file_stem(name)}/"
