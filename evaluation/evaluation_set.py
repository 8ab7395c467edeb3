"""An evaluation set: its cases with all that is known for certain of them, from a folder or from storage."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import PurePath
from typing import Final

from evaluation.cases import CASES, Case, parse_cases
from evaluation.fields import ReferenceFileError
from evaluation.references import Reference, collect_references, scored_regions, text_of
from evaluation.sampling import reweighted, uncovered
from tasks.errors import ObjectVanished
from tasks.storage import Storage

SIDECARS: Final = (".wer_tag.json", ".norm.json")
"""Files that say more of the `.nlp` file of their name."""


@dataclass(frozen=True, slots=True)
class SetCase:
    """A case and its reference, whose call_id is that of the case."""

    case: Case
    reference: Reference

    @property
    def group(self) -> str:
        """What it has in common with other recordings of the same call: its reference."""
        case = self.case
        return " ".join((case.references[0], case.reference_id or "")) if case.references else case.call_id


@dataclass(frozen=True)
class EvaluationSet:
    """A set: where it lies, its cases in the order of the file, and a digest of cases and references.

    `awaited` are the call_ids of a sample (`evaluation.sampling`) whose references nobody has written yet; the other
    cases of their strata stand for them. `uncovered` says for how many calls the strata stand in which none is written.
    """

    storage: Storage
    cases: tuple[SetCase, ...]
    digest: str
    awaited: tuple[str, ...] = ()
    uncovered: Mapping[str, float] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The last part of its place."""
        return PurePath(self.storage.uri.rstrip("/")).name

    @cached_property
    def references(self) -> Mapping[str, Reference]:
        """call_id → reference."""
        return {one.case.call_id: one.reference for one in self.cases}


def load_set(storage: Storage) -> EvaluationSet:
    """Read a set, and check that everything that its cases name is there; of a sample, references may be missing.

    Args:
        storage: the folder of the set.

    Raises:
        ReferenceFileError: there is no `cases.jsonl`, or a line of it or a file that it names is wrong; it names the
            file and the line.
        StorageUnavailable, StorageRefused: the store does not answer, or does not let one read.
    """
    try:
        content = storage.get(CASES).data
    except ObjectVanished as error:
        problem = f"there is none in {storage.uri}: an evaluation set has one, a line for each call"
        raise ReferenceFileError(CASES, None, problem) from error
    cases = parse_cases(text_of(CASES, content))
    there = {info.key for info in storage.list()}
    files: dict[str, bytes] = {}
    awaited: list[str] = []
    for number, case in cases:
        missing = [path for path in (*case.audio, *case.references) if path not in there]
        if missing and case.stratum is not None and set(missing) <= set(case.references):
            awaited.append(case.call_id)
        elif missing:
            raise ReferenceFileError(CASES, number, f"call {case.call_id}: there is no {missing[0]} in the set")
        else:
            files |= {path: storage.get(path).data for path in case.references if path not in files}
    present = {case.call_id for _, case in cases} - set(awaited)
    if not present:
        raise ReferenceFileError(
            CASES, None, f"none of its {len(cases)} calls has a reference yet; see README.md there"
        )
    weighted = {case.call_id: case for case in reweighted((case for _, case in cases), present)}
    digest = hashlib.sha256(content)
    for name in sorted(files):
        digest.update(hashlib.sha256(f"{name}\n".encode() + files[name]).digest())
    known = dict(_known(files))
    chosen = [(number, weighted[case.call_id]) for number, case in cases if case.call_id in present]
    return EvaluationSet(
        storage,
        tuple(SetCase(case, _reference(case, known, number)) for number, case in chosen),
        digest.hexdigest(),
        tuple(awaited),
        uncovered((case for _, case in cases), present),
    )


def _known(files: Mapping[str, bytes]) -> Iterator[tuple[str, Mapping[str, Reference]]]:
    """What each file says, by its name: it is parsed once, however many cases name it."""
    for name, content in files.items():
        text, path = text_of(name, content), PurePath(name)
        if path.suffix == ".txt":
            yield name, {path.stem: Reference(path.stem, text=text.strip())}
        elif path.suffix == ".uem":
            yield name, scored_regions(text, name)
        elif path.suffix == ".nlp":
            beside = {one: text_of(one, files[one]) for one in files if one.startswith(f"{name[:-4]}.")}
            yield name, collect_references(beside.items())
        elif not name.endswith(SIDECARS):
            yield name, collect_references([(name, text)])


def _reference(case: Case, known: Mapping[str, Mapping[str, Reference]], number: int) -> Reference:
    """What the files of a case say of it, in one record."""
    if not case.speech:
        return Reference(case.call_id, lines=(), turns=(), entities=())
    found = Reference(case.call_id)
    for path in case.references:
        if path.endswith(SIDECARS):
            continue
        said = known[path]
        if not said:
            problem = f"{path} holds no reference; its name ends with .stm, .rttm, .uem, .ctm, .nlp, .json or .txt"
            raise ReferenceFileError(CASES, number, problem)
        call_id = case.reference_id or (case.call_id if case.call_id in said or len(said) > 1 else next(iter(said)))
        if call_id not in said:
            calls = ", ".join(sorted(said)[:5])
            problem = f"{path} says nothing of call {call_id}, but of {calls}: name the call with reference_id"
            raise ReferenceFileError(CASES, number, problem)
        found = _joined(found, said[call_id], path, number)
    own = tuple(entity.reference() for entity in case.entities)
    if found.lines is not None:
        found = replace(found, text=None)
    return replace(found, entities=(*(found.entities or ()), *own) if own or found.entities is not None else None)


def _joined(known: Reference, new: Reference, path: str, number: int) -> Reference:
    """Two references as one; of each kind only one of them may say anything."""
    kinds = ("lines", "turns", "entities", "text", "regions", "document", "words")
    for kind in kinds:
        if getattr(known, kind) is not None and getattr(new, kind) is not None:
            raise ReferenceFileError(CASES, number, f"{path} says again what another reference of the case says")
    return replace(known, **{kind: value for kind in kinds if (value := getattr(new, kind)) is not None})
