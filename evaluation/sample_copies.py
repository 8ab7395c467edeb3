"""Copy what a sample draws: recordings as they were transcribed, and drafts."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from evaluation.formats import StmLine, serialise_stm
from evaluation.sample_instructions import HEAD
from evaluation.sample_rows import read_drawn, read_spoken
from evaluation.sampling import Stratum
from tasks.dataset import DataSet
from tasks.erase_runs import erased_among
from tasks.errors import ObjectChanged, ObjectRefused, ObjectVanished
from tasks.inventory import key_of
from tasks.samples import audio_paths, draft_path
from tasks.storage import Storage

Write = Callable[[str, bytes], object]
"""Writes a file of the sample: its path in it, and its bytes."""

# Where so many recordings are asked for in vain, and none is found, the archive is another one.
MOST_IN_VAIN: Final = 100


@dataclass
class SampleCopies:
    """Copies the recordings of what is drawn, and the next ones of a stratum for those that cannot be had.

    Attributes:
        data: the data set.
        month: `YYYY-MM`.
        archive: where the recordings lie.
        strata: what is drawn.
        write: writes a file of the sample.
        say: told what is being done.
        drafts: whether drafts are written, too.
        replaced: calls that cannot be had, by call_id, and why.
        done: calls that were copied.
    """

    data: DataSet
    month: str
    archive: Storage
    strata: Sequence[Stratum]
    write: Write
    say: Callable[[str], None]
    drafts: bool = True
    replaced: dict[str, str] = field(default_factory=dict)
    done: int = 0

    def had(self) -> Mapping[str, list[tuple[dict[str, Any], tuple[str, ...]]]]:
        """By stratum, the rows of the calls that could be had, each with its recordings' paths."""
        had: dict[str, list[tuple[dict[str, Any], tuple[str, ...]]]] = {one.name: [] for one in self.strata}
        asked = dict.fromkeys(had, 0)
        shards = self.data.shards(self.month) or 1
        while wanted := self._next(had, asked):
            if self.done == 0 and len(self.replaced) >= MOST_IN_VAIN:
                break
            call_ids = [call_id for ids in wanted.values() for call_id in ids]
            erased = erased_among(self.data, self.month, shards, call_ids)
            rows = read_drawn(self.data.storage, self.month, call_ids)
            copied: list[str] = []
            for name, ids in wanted.items():
                asked[name] += len(ids)
                for call_id in ids:
                    if call_id in erased or call_id not in rows:
                        self.replaced[call_id] = "erased, or changed, since it was drawn"
                    elif paths := self._copied(rows[call_id]):
                        had[name].append((rows[call_id], paths))
                        copied.append(call_id)
            if self.drafts and copied:
                self._write_drafts(copied)
        return had

    def _next(self, had: Mapping[str, Sequence[object]], asked: Mapping[str, int]) -> dict[str, tuple[str, ...]]:
        """The calls to be asked for now, by stratum: as many as it lacks."""
        found = {}
        for stratum in self.strata:
            start = asked[stratum.name]
            if ids := stratum.order[start : start + stratum.wanted - len(had[stratum.name])]:
                found[stratum.name] = ids
        return found

    def _copied(self, row: Mapping[str, Any]) -> tuple[str, ...]:
        """Copy the recording of a call; where it now lies in the sample, nothing where it cannot be had."""
        whole = {"uri": row["audio_uri"], "sha256": row["audio_sha256"]}
        files = row["audio_legs"] or [whole]
        keys = [key_of(file["uri"], self.archive) for file in files]
        try:
            contents = [_read(self.archive, key, file["sha256"]) for key, file in zip(keys, files, strict=True)]
        except (ObjectVanished, ObjectChanged, ObjectRefused) as error:
            self.replaced[row["call_id"]] = error.message
            return ()
        paths = audio_paths(row["call_id"], [str(key) for key in keys])
        for path, content in zip(paths, contents, strict=True):
            self.write(path, content)
        self.done += 1
        self.say(f"copying recordings ({self.done:,} of {sum(one.wanted for one in self.strata):,})")
        return paths

    def _write_drafts(self, call_ids: Sequence[str]) -> None:
        self.say("writing drafts")
        spoken = read_spoken(self.data.storage, self.month, call_ids)
        for call_id in call_ids:
            self.write(draft_path(call_id), draft(spoken.get(call_id, ())).encode())


def draft(utterances: Iterable[Mapping[str, Any]]) -> str:
    """A transcript as STM for a person to correct, below a comment that names the fields."""
    return HEAD + serialise_stm(
        StmLine(
            item["call_id"], item["channel"] + 1, "_".join(item["speaker"].split()), item["start"], item["end"],
            item["text"],
        )
        for item in utterances
    )  # fmt: skip


def _read(archive: Storage, key: str | None, sha256: str | None) -> bytes:
    """The bytes of a recording, as they were transcribed.

    Raises:
        ObjectVanished: they are not in this archive.
        ObjectChanged: they are others now.
    """
    if key is None:
        message = f"its recording lies outside of {archive.uri}"
        raise ObjectVanished(message)
    content = archive.get(key).data
    if hashlib.sha256(content).hexdigest() != sha256:
        message = "its recording is not the one that was transcribed any more"
        raise ObjectChanged(message)
    return content
