"""Draw a sample of a month and write it down: recordings, drafts, cases, and what transcribers are to do."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

from evaluation.cases import CASES, Case, serialise_cases
from evaluation.formats import StmLine, serialise_stm
from evaluation.sample_instructions import HEAD, REFERENCES_NOTE, instructions
from evaluation.sample_rows import Population, read_drawn, read_population, read_spoken
from evaluation.sampling import Stratum, draw
from evaluation.strata import attributes_of
from tasks.dataset import DataSet
from tasks.erase_runs import erased_among
from tasks.errors import ObjectChanged, ObjectRefused, ObjectVanished, SettingsError
from tasks.inventory import key_of
from tasks.samples import REFERENCES, audio_paths, draft_path, reference_path
from tasks.storage import Storage

Write = Callable[[str, bytes], object]
"""Writes a file of the sample: its path in it, and its bytes."""

# Where so many recordings are asked for in vain, and none is found, the archive is another one.
MOST_IN_VAIN: Final = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class SampleRequest:
    """What is to be drawn: `n` calls of `month`, by these things, with this seed, with drafts or without."""

    month: str
    n: int
    by: tuple[str, ...]
    seed: str
    drafts: bool = True


@dataclass
class Sample:
    """What was drawn.

    Attributes:
        request: what was asked for.
        population: the calls of the month.
        strata: what was drawn from.
        cases: the calls that are in the sample, with their weights, in the order in which to transcribe them.
        replaced: calls that were drawn and cannot be had, by call_id, and why.
    """

    request: SampleRequest
    population: Population
    strata: tuple[Stratum, ...]
    cases: list[Case] = field(default_factory=list)
    replaced: dict[str, str] = field(default_factory=dict)

    @property
    def not_covered(self) -> int:
        """Calls of strata of which no recording could be had."""
        there = {case.stratum for case in self.cases}
        return sum(stratum.calls for stratum in self.strata if stratum.name not in there)


def draw_sample(
    data: DataSet, archive: Storage, request: SampleRequest, write: Write, say: Callable[[str], None] = lambda _: None
) -> Sample:
    """Draw a sample, and write all its files; `cases.jsonl` is the last one.

    A recording that is gone, or no longer the one that was transcribed, gives its place to the next call of its
    stratum. Erased calls are passed over.

    Args:
        data: the data set.
        archive: where the recordings lie.
        request: what to draw.
        write: writes a file.
        say: told what is being done.

    Raises:
        SettingsError: there is no such month, it has too few calls, or none of the recordings.
        QueryError: the data set cannot be read.
        StorageUnavailable, StorageRefused: a store does not answer, or says no.
    """
    shards = data.shards(request.month)
    if shards is None:
        months = ", ".join(data.months()) or "none at all"
        message = f"nothing of {request.month} was ever planned in {data.storage.uri}; it has months: {months}"
        raise SettingsError(message)
    say(f"reading the calls of {request.month}")
    population = read_population(data.storage, request.month, request.by)
    _require_enough(population, request, data.storage.uri)
    strata = draw(population.cells, request.by, request.n, request.seed)
    sample = Sample(request, population, strata)
    had = _Export(data, shards, archive, sample, write, say).had()
    language = next((name for name, _ in population.languages.most_common(1)), "en")
    placed: list[tuple[float, str, Case]] = []
    for stratum in strata:
        weight = stratum.calls / max(1, len(had[stratum.name]))
        cases = [_case(row, paths, stratum.name, weight, language) for row, paths in had[stratum.name]]
        placed += [(place / len(cases), stratum.name, case) for place, case in enumerate(cases)]
    # Of every stratum first the first ones: whoever works in this order may stop anywhere.
    sample.cases = [case for *_, case in sorted(placed, key=lambda one: one[:2])]
    if not sample.cases:
        why = next(iter(sample.replaced.values()), "")
        message = f"of no call that was drawn the recording can be had ({why}): is {archive.uri} their archive?"
        raise SettingsError(message)
    text = instructions(request.month, len(sample.cases), drafts=request.drafts)
    write("README.md", text.encode())
    write(f"{REFERENCES}/README.txt", REFERENCES_NOTE.encode())
    write("sample.json", (json.dumps(_told(sample), indent=2) + "\n").encode())
    write(CASES, serialise_cases(sample.cases).encode())
    return sample


def _require_enough(population: Population, request: SampleRequest, uri: str) -> None:
    if missing := [name for name in attributes_of(request.by) if name not in population.seen]:
        message = (
            f"no call of {request.month} in {uri} has an attribute {missing[0]!r}; beside attributes, --by takes "
            "language, snr, duration and confidence"
        )
        raise SettingsError(message)
    if population.calls < request.n:
        message = (
            f"{request.month} has {population.calls:,} calls that can be drawn ({population.failed:,} failed), fewer "
            f"than the {request.n:,} that --n asks for"
        )
        raise SettingsError(message)


@dataclass
class _Export:
    """Copies the recordings of what is drawn, and the next ones of a stratum for those that cannot be had."""

    data: DataSet
    shards: int
    archive: Storage
    sample: Sample
    write: Write
    say: Callable[[str], None]
    done: int = 0

    def had(self) -> Mapping[str, list[tuple[dict[str, Any], tuple[str, ...]]]]:
        """By stratum, the rows of the calls that could be had, each with its recordings' paths."""
        had: dict[str, list[tuple[dict[str, Any], tuple[str, ...]]]] = {one.name: [] for one in self.sample.strata}
        asked = dict.fromkeys(had, 0)
        while wanted := self._next(had, asked):
            if self.done == 0 and len(self.sample.replaced) >= MOST_IN_VAIN:
                break
            call_ids = [call_id for ids in wanted.values() for call_id in ids]
            erased = erased_among(self.data, self.sample.request.month, self.shards, call_ids)
            rows = read_drawn(self.data.storage, self.sample.request.month, call_ids)
            copied: list[str] = []
            for name, ids in wanted.items():
                asked[name] += len(ids)
                for call_id in ids:
                    if call_id in erased or call_id not in rows:
                        self.sample.replaced[call_id] = "erased, or changed, since it was drawn"
                    elif paths := self._copied(rows[call_id]):
                        had[name].append((rows[call_id], paths))
                        copied.append(call_id)
            if self.sample.request.drafts and copied:
                self._write_drafts(copied)
        return had

    def _next(self, had: Mapping[str, Sequence[object]], asked: Mapping[str, int]) -> dict[str, tuple[str, ...]]:
        """The calls to be asked for now, by stratum: as many as it lacks."""
        found = {}
        for stratum in self.sample.strata:
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
            self.sample.replaced[row["call_id"]] = error.message
            return ()
        paths = audio_paths(row["call_id"], [str(key) for key in keys])
        for path, content in zip(paths, contents, strict=True):
            self.write(path, content)
        self.done += 1
        self.say(f"copying recordings ({self.done:,} of {self.sample.request.n:,})")
        return paths

    def _write_drafts(self, call_ids: Sequence[str]) -> None:
        self.say("writing drafts")
        spoken = read_spoken(self.data.storage, self.sample.request.month, call_ids)
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


def _case(row: Mapping[str, Any], paths: tuple[str, ...], stratum: str, weight: float, language: str) -> Case:
    return Case(
        call_id=row["call_id"],
        audio=paths,
        references=(reference_path(row["call_id"]),),
        language=row["language"] or language,
        channel_roles=tuple(row["channel_roles"] or ()),
        stratum=stratum,
        weight=weight,
    )


def _told(sample: Sample) -> dict[str, Any]:
    """How it was drawn; no call is named here, nor what its attributes are."""
    request, population = sample.request, sample.population
    return {
        "month": request.month,
        "by": list(request.by),
        "seed": request.seed,
        "n": request.n,
        "drawn": len(sample.cases),
        "strata": len(sample.strata),
        "calls": population.calls,
        "failed": population.failed,
        "text_removed": population.text_removed,
        "unnamable": population.unnamable,
        "replaced": len(sample.replaced),
        "not_covered": sample.not_covered,
        "drafts": request.drafts,
        "drawn_at": datetime.now(UTC).isoformat(timespec="seconds"),
    }
