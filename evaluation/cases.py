"""The cases of an evaluation set: `cases.jsonl`, one call to a line. Pure.

A set is a folder, or a prefix in storage, that holds recordings, references and `cases.jsonl`::

    {"call_id": "bank-01", "audio": "audio/bank-01.wav", "references": ["bank-01.stm", "bank-01.rttm"],
     "language": "en", "tags": ["noisy", "domain terms"],
     "entities": [{"type": "amount", "text": "one hundred forty two dollars", "start": 31.5}]}

(on one line). Only `call_id` is needed beside `audio`; `Case` says what each field means. Paths are relative to the
set.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import PurePosixPath
from typing import Annotated, Any, Final

from pydantic import BeforeValidator, ConfigDict, Field, TypeAdapter, ValidationError, with_config

from evaluation.fields import ReferenceFileError
from evaluation.formats import ReferenceEntity
from evaluation.invalid import problems_of

CASES: Final = "cases.jsonl"
"""The file of a set that names its cases."""


def _as_list(value: object) -> object:
    """One name is a list of one."""
    return [value] if isinstance(value, str) else value


Name = Annotated[str, Field(min_length=1, pattern=r"^\S+$")]
Names = Annotated[tuple[Annotated[str, Field(min_length=1)], ...], BeforeValidator(_as_list)]


@with_config(ConfigDict(extra="forbid"))
@dataclass(frozen=True, slots=True, kw_only=True)
class CaseEntity:
    """Something that must be captured: `text` as it was said or written; `start` and `end` in seconds, where known."""

    type: Annotated[str, Field(min_length=1)]
    text: Annotated[str, Field(min_length=1)]
    speaker: str | None = None
    start: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None = None
    end: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None = None

    def reference(self) -> ReferenceEntity:
        """The same as entity files give it."""
        return ReferenceEntity(self.type, self.text, self.speaker, self.start, self.end)


@with_config(ConfigDict(extra="forbid"))
@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One call of a set.

    `audio` is one file, or one mono file for each channel; none where only transcripts are scored. `references` are
    files in any of the formats of `evaluation.references`; where they hold several calls, `reference_id` names this
    one. `speech` false says that nobody speaks, so that every word is made up; it needs no reference. `language` is
    that of the reference (ISO 639-1) and chooses the normaliser; the recogniser is not told. It is told
    `channel_roles`, and `speakers`, how many people speak, where they are given. `entities` are those that must be
    captured, beside those of entity files. `stratum` and `weight` come from sampling: the case stands for `weight`
    calls of its stratum. `notes` are for people.
    """

    call_id: Name
    audio: Names = ()
    references: Names = ()
    reference_id: Name | None = None
    language: Annotated[str, Field(pattern=r"^[a-z]{2,3}(-[A-Za-z0-9]+)*$")] = "en"
    tags: Names = ()
    channel_roles: Names = ()
    speakers: Annotated[int, Field(ge=1)] | None = None
    speech: bool = True
    entities: tuple[CaseEntity, ...] = ()
    stratum: str | None = None
    weight: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 1.0
    notes: str = ""


_CASE: Final = TypeAdapter(Case)
_EMPTY: Final = Case(call_id="none")
_MEANT: Final = {
    "call_id": "a case needs a name without white space in it",
    "reference_id": "a name without white space in it",
    "language": "an ISO 639-1 code, such as en, de or pt-BR",
}


def parse_cases(text: str, source: str = CASES) -> tuple[tuple[int, Case], ...]:
    """Parse the cases of a set.

    Args:
        text: JSON lines; empty ones, and those that begin with `#`, are passed over.
        source: names the file in errors.

    Returns:
        (number of the line, 1-based; case), in order.

    Raises:
        ReferenceFileError: a line is no JSON object or says something that a case does not have, a path leads out of
            the set, a call_id stands twice, or there is no case.
    """
    cases: list[tuple[int, Case]] = []
    lines: dict[str, int] = {}
    for number, line in enumerate(text.removeprefix("\ufeff").split("\n"), start=1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        case = _case(line, source, number)
        if earlier := lines.get(case.call_id):
            raise ReferenceFileError(source, number, f"call_id {case.call_id} stands in line {earlier}, too")
        lines[case.call_id] = number
        cases.append((number, case))
    if not cases:
        raise ReferenceFileError(source, None, "it names no case; a line is a JSON object with call_id and audio")
    return tuple(cases)


def serialise_cases(cases: Iterable[Case]) -> str:
    """Write JSON lines, without the fields that say nothing; `parse_cases` reads the same cases from them."""
    return "".join(json.dumps(_told(case), ensure_ascii=False) + "\n" for case in cases)


def _case(line: str, source: str, number: int) -> Case:
    try:
        case = _CASE.validate_python(json.loads(line))
    except json.JSONDecodeError as error:
        raise ReferenceFileError(source, number, f"no JSON: {error.msg} at column {error.colno}") from error
    except ValidationError as error:
        raise ReferenceFileError(source, number, problems_of(error, "a case", _MEANT)) from error
    for path in (*case.audio, *case.references):
        if PurePosixPath(path).is_absolute() or ".." in PurePosixPath(path).parts:
            raise ReferenceFileError(source, number, f"{path} is not in the set: paths are relative to its folder")
    if not case.speech and (case.references or case.entities):
        raise ReferenceFileError(source, number, "speech is false, and there are references or entities")
    return case


def _told(case: Case) -> dict[str, Any]:
    """The fields that differ from a case that says nothing; lists of one path as the path alone."""
    empty = asdict(_EMPTY)
    told = {name: value for name, value in asdict(case).items() if value != empty[name] or name == "call_id"}
    for name in ("audio", "references"):
        if len(told.get(name, ())) == 1:
            told[name] = told[name][0]
    if "entities" in told:
        told["entities"] = [{key: value for key, value in one.items() if value is not None} for one in told["entities"]]
    return told
