"""The transcripts of a set: made by the pipeline that makes those of the archive, and kept so that none is made twice.

A transcript is kept in the set, under `transcripts/CALL_ID/`, named after everything that could change it: the bytes
of the recording and the fingerprint (`tasks.fingerprint`). It holds words that somebody said, as the set does.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from evaluation.cases import Case
from evaluation.hypotheses import HypothesisUtterance, group_rows
from tasks.errors import ObjectVanished, StorageRefused
from tasks.fingerprint import fingerprint
from tasks.legs import etag_of
from tasks.local import transcribe_files
from tasks.models import Models
from tasks.planning import Wanted
from tasks.records import CallRef, Leg
from tasks.rows import CallRows
from tasks.samples import TRANSCRIPTS, file_stem
from tasks.settings import Settings
from tasks.storage import Storage


@dataclass(frozen=True, slots=True)
class CaseTranscript:
    """What the pipeline made of a case: its row of `calls` and its rows of `utterances`, in JSON's types."""

    call: Mapping[str, Any]
    utterances: tuple[Mapping[str, Any], ...]

    @property
    def failed(self) -> bool:
        """Whether the row says only why there is no transcript."""
        return str(self.call["outcome"]) == "failed"

    @property
    def spoken(self) -> tuple[HypothesisUtterance, ...]:
        """The utterances, ordered by start, as scoring takes them."""
        return group_rows(self.utterances).get(str(self.call["call_id"]), ())


def transcribe_set(
    cases: Iterable[Case],
    storage: Storage,
    models: Models,
    settings: Settings,
    *,
    keep: Storage | None = None,
) -> Iterator[tuple[Case, CaseTranscript]]:
    """Transcribe the recordings of a set; what was transcribed before is read instead.

    Args:
        cases: those with audio are transcribed, others passed over.
        storage: the set.
        models: loaded models.
        settings: how to process; what a case says of its channels and speakers wins over what they say.
        keep: where transcripts are kept; nowhere when None.

    Yields:
        Each case with its transcript; those that are kept come first. A call that fails has a transcript, too: a row
        that says why, and no utterance.

    Raises:
        StorageUnavailable, StorageRefused: a store does not answer, or does not let one read.
        UsageError: something around the calls is wrong.
    """
    listed = {info.key: info for info in storage.list()}
    calls = {case.call_id: _call(case, listed, storage, settings) for case in cases if case.audio}
    wanted = [case for case in cases if case.audio]
    names = {case.call_id: _name(calls[case.call_id], storage, models, settings) for case in wanted} if keep else {}
    missing: dict[str, Case] = {}
    for case in wanted:
        kept = _kept(keep, names[case.call_id]) if keep else None
        if kept is None:
            missing[case.call_id] = case
            continue
        yield case, kept

    def fetch(file: CallRef, path: Path) -> None:
        storage.download(file.key, path)

    for rows in transcribe_files([calls[call_id] for call_id in missing], models, settings, fetch):
        made = _plain(rows)
        case = missing[str(made.call["call_id"])]
        if keep and not made.failed:
            keep.put(names[case.call_id], json.dumps({"call": made.call, "utterances": made.utterances}).encode())
        yield case, made


def kept_transcripts(
    cases: Iterable[Case], storage: Storage, of: Wanted, settings: Settings, keep: Storage
) -> dict[str, CaseTranscript]:
    """The transcripts of a set that were made before, without loading a model.

    Args:
        cases: those with audio are looked for.
        storage: the set.
        of: the fingerprint of a call with some hints (`tasks.run_models.Fingerprints.of`).
        settings: as for `transcribe_set`.
        keep: where transcripts are kept.

    Returns:
        call_id → transcript, of those that are there.
    """
    listed = {info.key: info for info in storage.list()}
    calls = [_call(case, listed, storage, settings) for case in cases if case.audio]
    found = {call.call_id: _kept(keep, _key(call, storage, of(call.hints))) for call in calls}
    return {call_id: made for call_id, made in found.items() if made is not None}


def place_to_keep(storage: Storage) -> Storage | None:
    """The set itself, if one may write there; else None. Who may write and not remove leaves an empty object."""
    probe = f"{TRANSCRIPTS}/.may-write"
    try:
        storage.put(probe, b"")
    except StorageRefused:
        return None
    with suppress(StorageRefused):
        storage.delete(probe)
    return storage


def _call(case: Case, listed: Mapping[str, Any], storage: Storage, settings: Settings) -> CallRef:
    """A case as a call of an archive."""
    hints = settings.archive.hints()
    hints = replace(
        hints, channel_roles=case.channel_roles or hints.channel_roles, speakers=case.speakers or hints.speakers
    )
    files = [listed[path] for path in case.audio]
    legs = tuple(Leg(one.key, storage.object_uri(one.key), one.etag, one.size_bytes) for one in files)
    return CallRef(
        call_id=case.call_id,
        month="",
        key=files[0].key,
        uri=storage.object_uri(files[0].key),
        etag=etag_of(legs) if len(legs) > 1 else files[0].etag,
        size_bytes=sum(one.size_bytes for one in files),
        hints=hints,
        legs=legs if len(legs) > 1 else (),
    )


def _name(call: CallRef, storage: Storage, models: Models, settings: Settings) -> str:
    """The key of a transcript that these models make."""
    mark = fingerprint(
        settings,
        models.bundle.digest,
        models.device.compute_type,
        call.hints,
        calibration=models.recognizer.calibration.digest,
    )
    return _key(call, storage, mark)


def _key(call: CallRef, storage: Storage, mark: str) -> str:
    """The key of a transcript: a hash of the recording, and the fingerprint."""
    sound = hashlib.sha256()
    for file in call.files:
        sound.update(hashlib.sha256(storage.get(file.key).data).digest())
    return f"{TRANSCRIPTS}/{file_stem(call.call_id)}/{sound.hexdigest()[:16]}-{mark}.json"


def _kept(keep: Storage, name: str) -> CaseTranscript | None:
    try:
        content = json.loads(keep.get(name).data)
        return CaseTranscript(content["call"], tuple(content["utterances"]))
    except (ObjectVanished, ValueError, KeyError):  # what was written half is made anew
        return None


def _plain(rows: CallRows) -> CaseTranscript:
    """Rows in JSON's types, as they are read again: times of day become texts."""
    content = json.loads(json.dumps({"call": rows.call, "utterances": rows.utterances}, default=str))
    return CaseTranscript(content["call"], tuple(content["utterances"]))
