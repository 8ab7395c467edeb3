"""References: what is known for certain of each call, put together from the files of a folder.

A set of references is a folder of STM, SegLST, RTTM, UEM, CTM and entity files (`evaluation.formats` and
`evaluation.ctm_format` say how they look); which call a line is about stands in the line, so that a file may hold one
call or many. A JSON file that is neither SegLST nor has `entities` is something else and is passed over. An STM, RTTM
or CTM file without a single line says of the call of its name that nobody spoke. Plain text is a reference only where a
case of a set names it (`evaluation.evaluation_set`): elsewhere it may be a note.

An `.nlp` file (`evaluation.nlp_format`) is the lines and the entities of the call of its name at once, and the times of
its words where it has any, with `NAME.wer_tag.json` and `NAME.norm.json` beside it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from io import BytesIO, TextIOWrapper
from pathlib import Path, PurePath
from typing import Final, TypeVar

from evaluation.ctm_format import CtmWord, parse_ctm
from evaluation.fields import ReferenceFileError
from evaluation.formats import (
    ReferenceEntity,
    RttmTurn,
    StmLine,
    UemRegion,
    parse_entities,
    parse_rttm,
    parse_seglst,
    parse_stm,
    parse_uem,
    serialise_rttm,
    serialise_stm,
)
from evaluation.nlp_format import NlpDocument
from evaluation.nlp_references import read_document, reference_of, timed_words
from tasks.storage import Storage

__all__ = [
    "CtmWord",
    "Reference",
    "ReferenceEntity",
    "ReferenceFileError",
    "RttmTurn",
    "StmLine",
    "collect_references",
    "load_references",
    "parse_entities",
    "parse_rttm",
    "parse_seglst",
    "parse_stm",
    "serialise_rttm",
    "serialise_stm",
]

SUFFIXES: Final = frozenset({".stm", ".rttm", ".uem", ".ctm", ".json", ".nlp"})
"""Files of a folder that are looked at."""

RecordT = TypeVar("RecordT", StmLine, RttmTurn, UemRegion, CtmWord)
FoundT = TypeVar("FoundT")


@dataclass(frozen=True, slots=True)
class Reference:
    """All that is known for certain of one call; None where there is no such file, empty where nobody spoke.

    `text` is what was said, where nothing is known of who said it and when: there are no `lines` then. `regions` are
    the stretches in which turns are scored; None is the whole call. `words` are those that were said, each with its
    times; where there are neither lines nor text, they are the text, too. `document` is the `.nlp` file that lines and
    entities are from, with the place of each entity.
    """

    call_id: str
    lines: tuple[StmLine, ...] | None = None
    turns: tuple[RttmTurn, ...] | None = None
    entities: tuple[ReferenceEntity, ...] | None = None
    text: str | None = None
    regions: tuple[UemRegion, ...] | None = None
    document: NlpDocument | None = None
    words: tuple[CtmWord, ...] | None = None


def collect_references(files: Iterable[tuple[str, str]]) -> dict[str, Reference]:
    """Put the files of a set together, call by call. Pure.

    Args:
        files: (name, content) of each file; of the suffixes in `SUFFIXES`, others are passed over.

    Returns:
        call_id → reference, ordered by call_id.

    Raises:
        ReferenceFileError: a file is malformed, or two files of a kind speak of the same call.
    """
    lines: dict[str, tuple[StmLine, ...]] = {}
    turns: dict[str, tuple[RttmTurn, ...]] = {}
    entities: dict[str, tuple[ReferenceEntity, ...]] = {}
    regions: dict[str, tuple[UemRegion, ...]] = {}
    documents: dict[str, NlpDocument] = {}
    words: dict[str, tuple[CtmWord, ...]] = {}
    contents = dict(sorted(files))
    for name, content in contents.items():
        suffix = PurePath(name).suffix
        if suffix == ".stm":
            _add(lines, _by_call(parse_stm(content, name), name), name)
        elif suffix == ".rttm":
            _add(turns, _by_call(parse_rttm(content, name), name), name)
        elif suffix == ".uem":
            _add(regions, _by_call(parse_uem(content, name), name), name)
        elif suffix == ".ctm":
            _add(words, _by_call(parse_ctm(content, name), name), name)
        elif suffix == ".json" and (found := parse_entities(content, name)) is not None:
            _add(entities, dict([found]), name)
        elif suffix == ".json" and (segments := parse_seglst(content, name)) is not None:
            _add(lines, _by_call(segments, name), name)
        elif suffix == ".nlp":
            call_id = PurePath(name).stem
            documents[call_id] = read_document(name, contents)
            said, named = reference_of(call_id, documents[call_id])
            _add(lines, {call_id: said}, name)
            _add(entities, {call_id: named}, name)
            if timed := timed_words(call_id, documents[call_id]):
                _add(words, {call_id: timed}, name)
    return {
        call_id: Reference(
            call_id,
            lines.get(call_id),
            turns.get(call_id),
            entities.get(call_id),
            regions=regions.get(call_id),
            document=documents.get(call_id),
            words=words.get(call_id),
        )
        for call_id in sorted({*lines, *turns, *entities, *words})  # a UEM file alone says nothing of a call
    }


def scored_regions(content: str, name: str) -> dict[str, Reference]:
    """What a UEM file says of each of its calls, which alone is no reference.

    Raises:
        ReferenceFileError: a line is malformed.
    """
    found = _by_call(parse_uem(content, name), name)
    return {call_id: Reference(call_id, regions=regions) for call_id, regions in found.items()}


def load_references(place: Path | Storage) -> dict[str, Reference]:
    """Read all references of a folder (not of folders in it).

    Args:
        place: a folder, or one in storage.

    Returns:
        call_id → reference, as `collect_references`.

    Raises:
        ReferenceFileError: there are no references, or one of them cannot be read.
        StorageUnavailable, StorageRefused: the store does not answer, or does not let one read.
    """
    files = _files_of(place) if isinstance(place, Path) else _objects_of(place)
    references = collect_references((name, text_of(name, content)) for name, content in files)
    if not references:
        where = str(place) if isinstance(place, Path) else place.uri
        raise ReferenceFileError(
            where, None, "no references (*.stm, *.rttm, *.ctm, *.entities.json, *.nlp) in this folder"
        )
    return references


def _files_of(folder: Path) -> Iterator[tuple[str, bytes]]:
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        if path.suffix in SUFFIXES:
            try:
                yield path.name, path.read_bytes()
            except OSError as error:
                raise _unreadable(path.name, error) from error


def _objects_of(storage: Storage) -> Iterator[tuple[str, bytes]]:
    for info in storage.list():
        if "/" not in info.key and PurePath(info.key).suffix in SUFFIXES:
            yield info.key, storage.get(info.key).data


def text_of(name: str, content: bytes) -> str:
    """A text, with or without a byte order mark, with the line ends of any system."""
    try:
        return TextIOWrapper(BytesIO(content), encoding="utf-8-sig").read()
    except UnicodeDecodeError as error:
        raise _unreadable(name, error) from error


def _unreadable(name: str, error: Exception) -> ReferenceFileError:
    return ReferenceFileError(name, None, f"cannot be read: {error}")


def _by_call(records: Iterable[RecordT], name: str) -> dict[str, tuple[RecordT, ...]]:
    """Sort records into calls; a file without records speaks of the call of its name."""
    calls: dict[str, list[RecordT]] = {}
    for record in records:
        calls.setdefault(record.call_id, []).append(record)
    return {call_id: tuple(found) for call_id, found in calls.items()} or {
        PurePath(name).stem.removesuffix(".seglst"): ()
    }


def _add(known: dict[str, FoundT], new: dict[str, FoundT], name: str) -> None:
    """Take over what a file says, unless another file said it already."""
    if twice := sorted(known.keys() & new.keys()):
        raise ReferenceFileError(name, None, f"call {twice[0]} has a reference of this kind in another file, too")
    known.update(new)
