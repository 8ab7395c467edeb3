"""The file formats of references: STM, RTTM and entity files, parsed into records and written back. Pure.

STM (NIST): one line per utterance, `call_id channel speaker start end [<label>] text`; a line that begins with `;` is a
comment. RTTM (NIST): `SPEAKER call_id channel start duration <NA> <NA> speaker <NA> <NA>`; other kinds of line are
passed over. Channels are 1-based in both and stay as written here, unlike everywhere else in callscribe. Entities:
JSON, `{"call_id": "...", "entities": [{"type": "amount", "text": "$142.50", "speaker": "agent", "start": 1.5, "end":
4.0}]}`, where speaker, start and end may be missing. SegLST (meeteval): JSON, a list of `{"session_id": "...",
"speaker": "agent", "start_time": 1.5, "end_time": 4.0, "words": "..."}`; its session is the call, and it has no
channels. UEM (NIST): `call_id channel start end`, the stretches in which turns are scored.

What NIST's format allows beyond plain words (alternatives in braces, segments to be ignored) is refused: scored as
words it would give a false rate.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from tasks.errors import UsageError

_LABEL: Final = re.compile(r"<[^<>\s]*>(?=\s|$)")
_UNSUPPORTED: Final = re.compile(r"\{.*/.*\}|ignore_time_segment_in_scoring", re.IGNORECASE)

RecordT = TypeVar("RecordT", "StmLine", "RttmTurn", "UemRegion")


class ReferenceFileError(UsageError):
    """A reference file does not say what its format asks for.

    Args:
        source: the name of the file.
        line: 1-based, None when it is about the whole file.
        problem: what is wrong.
    """

    def __init__(self, source: str, line: int | None, problem: str) -> None:
        super().__init__(f"{source}: {problem}" if line is None else f"{source}, line {line}: {problem}")
        self.source, self.line, self.problem = source, line, problem

    def __reduce__(self) -> tuple[type[ReferenceFileError], tuple[str, int | None, str]]:
        """Survive pickling with all attributes."""
        return type(self), (self.source, self.line, self.problem)


@dataclass(frozen=True, slots=True)
class StmLine:
    """What one speaker said between `start` and `end` (seconds); `channel` is 1-based, `label` keeps its brackets."""

    call_id: str
    channel: int
    speaker: str
    start: float
    end: float
    text: str
    label: str | None = None


@dataclass(frozen=True, slots=True)
class RttmTurn:
    """A speech turn (seconds); `channel` is 1-based."""

    call_id: str
    channel: int
    start: float
    end: float
    speaker: str


@dataclass(frozen=True, slots=True)
class UemRegion:
    """A stretch that is scored (seconds); `channel` is 1-based, and 1 where the file names none (`NA`)."""

    call_id: str
    channel: int
    start: float
    end: float


@dataclass(frozen=True, slots=True)
class ReferenceEntity:
    """A name, number, amount or date that was said; `start` and `end` (seconds) are None when nobody noted them."""

    type: str
    text: str
    speaker: str | None = None
    start: float | None = None
    end: float | None = None


def parse_stm(text: str, source: str = "STM") -> tuple[StmLine, ...]:
    """Parse an STM file; `source` names it in errors.

    Raises:
        ReferenceFileError: a line is malformed or uses what cannot be scored here.
    """
    return _parse_lines(text, source, _stm_line)


def parse_rttm(text: str, source: str = "RTTM") -> tuple[RttmTurn, ...]:
    """Parse the speaker turns of an RTTM file; `source` names it in errors.

    Raises:
        ReferenceFileError: a line is malformed.
    """
    return _parse_lines(text, source, _rttm_turn)


def parse_uem(text: str, source: str = "UEM") -> tuple[UemRegion, ...]:
    """Parse a UEM file; `source` names it in errors.

    Raises:
        ReferenceFileError: a line is malformed.
    """
    return _parse_lines(text, source, _uem_region)


def parse_entities(text: str, source: str = "entities") -> tuple[str, tuple[ReferenceEntity, ...]] | None:
    """Parse an entity file into its call_id and entities; None when the file has no `entities`.

    Raises:
        ReferenceFileError: the text is no JSON, or the entities are malformed.
    """
    content = _json(text, source)
    if not isinstance(content, dict) or "entities" not in content:
        return None
    try:
        return str(content["call_id"]), tuple(_entity(entity) for entity in content["entities"])
    except KeyError as error:
        raise ReferenceFileError(source, None, f"{error} is missing") from error
    except (TypeError, ValueError, AttributeError) as error:
        raise ReferenceFileError(source, None, f"malformed entities: {error}") from error


def parse_seglst(text: str, source: str = "SegLST") -> tuple[StmLine, ...] | None:
    """Parse a SegLST file into lines, all of them on channel 1; None when the file is no list of segments.

    Raises:
        ReferenceFileError: the text is no JSON, or a segment is malformed; the segment is named by its number.
    """
    content = _json(text, source)
    if not isinstance(content, list):
        return None
    lines = []
    for number, segment in enumerate(content, start=1):
        try:
            lines.append(_segment(segment))
        except KeyError as error:
            raise ReferenceFileError(source, None, f"segment {number}: {error} is missing") from error
        except (TypeError, ValueError) as error:
            raise ReferenceFileError(source, None, f"segment {number}: {error}") from error
    return tuple(lines)


def serialise_stm(lines: Iterable[StmLine]) -> str:
    """Write STM; times to the millisecond, white space in texts as one space.

    Raises:
        ValueError: a call_id or speaker is empty or holds white space, which the format cannot carry.
    """
    return "".join(
        " ".join(
            (
                f"{_name(line.call_id)} {line.channel} {_name(line.speaker)} {line.start:.3f} {line.end:.3f}",
                *(() if line.label is None else (line.label,)),
                *line.text.split(),
            )
        )
        + "\n"
        for line in lines
    )


def serialise_rttm(turns: Iterable[RttmTurn]) -> str:
    """Write RTTM; times to the millisecond.

    Raises:
        ValueError: a call_id or speaker is empty or holds white space, which the format cannot carry.
    """
    return "".join(
        f"SPEAKER {_name(turn.call_id)} {turn.channel} {turn.start:.3f} {turn.end - turn.start:.3f}"
        f" <NA> <NA> {_name(turn.speaker)} <NA> <NA>\n"
        for turn in turns
    )


def _parse_lines(text: str, source: str, parse: Callable[[str], RecordT | None]) -> tuple[RecordT, ...]:
    """Parse each line that is neither empty nor a comment."""
    records = []
    for number, line in enumerate(text.removeprefix("\ufeff").split("\n"), start=1):
        if not line.strip() or line.lstrip().startswith(";"):
            continue
        try:
            record = parse(line.strip())
        except ValueError as error:
            raise ReferenceFileError(source, number, str(error)) from error
        if record is not None:
            records.append(record)
    return tuple(records)


def _json(text: str, source: str) -> Any:  # noqa: ANN401  # what JSON may hold
    try:
        return json.loads(text.removeprefix("\ufeff"))
    except json.JSONDecodeError as error:
        raise ReferenceFileError(source, error.lineno, f"no JSON: {error.msg}") from error


def _segment(segment: Mapping[str, Any]) -> StmLine:
    """Parse one segment of SegLST."""
    if not isinstance(segment, dict):
        raise TypeError("it is no JSON object")
    start, end = _seconds(segment["start_time"]), _seconds(segment["end_time"])
    if end < start:
        raise ValueError(f"it ends ({end:g}) before it starts ({start:g})")
    return StmLine(str(segment["session_id"]), 1, str(segment["speaker"]), start, end, str(segment["words"]))


def _stm_line(line: str) -> StmLine:
    """Parse one line of STM."""
    fields = line.split(maxsplit=5)
    if len(fields) < 5:
        raise ValueError("expected `call_id channel speaker start end text`")
    call_id, channel, speaker = fields[0], _channel(fields[1]), fields[2]
    start, end = _seconds(fields[3]), _seconds(fields[4])
    if end < start:
        raise ValueError(f"it ends ({fields[4]}) before it starts ({fields[3]})")
    text, label = "".join(fields[5:]), None
    if found := _LABEL.match(text):
        label, text = found.group(), text[found.end() :].strip()
    if _UNSUPPORTED.search(text):
        raise ValueError("alternatives in braces and ignored segments cannot be scored")
    return StmLine(call_id, channel, speaker, start, end, text, label)


def _rttm_turn(line: str) -> RttmTurn | None:
    """Parse one line of RTTM; None when it is no speaker turn."""
    fields = line.split()
    if fields[0] != "SPEAKER":
        return None
    if len(fields) < 8:
        raise ValueError("expected `SPEAKER call_id channel start duration <NA> <NA> speaker <NA> <NA>`")
    start, duration_s = _seconds(fields[3]), _seconds(fields[4])
    return RttmTurn(fields[1], _channel(fields[2]), start, round(start + duration_s, 6), fields[7])


def _uem_region(line: str) -> UemRegion:
    """Parse one line of UEM."""
    fields = line.split()
    if len(fields) < 4:
        raise ValueError("expected `call_id channel start end`")
    start, end = _seconds(fields[2]), _seconds(fields[3])
    if end < start:
        raise ValueError(f"it ends ({fields[3]}) before it starts ({fields[2]})")
    return UemRegion(fields[0], 1 if fields[1] in {"NA", "<NA>"} else _channel(fields[1]), start, end)


def _entity(content: Mapping[str, Any]) -> ReferenceEntity:
    """Take one entity out of its JSON object."""
    speaker = content.get("speaker")
    start, end = (None if content.get(key) is None else _seconds(content[key]) for key in ("start", "end"))
    return ReferenceEntity(
        str(content["type"]), str(content["text"]), None if speaker is None else str(speaker), start, end
    )


def _seconds(value: str | float) -> float:
    """Read a time; the only place where one is checked."""
    seconds = float(value)
    if not math.isfinite(seconds) or seconds < 0:
        raise ValueError(f"{value} is no time in seconds")
    return seconds


def _channel(value: str) -> int:
    """Read a channel number; NIST also writes A and B."""
    if value.isascii() and value.isdecimal():
        return int(value)
    if len(value) == 1 and "A" <= value.upper() <= "Z":
        return ord(value.upper()) - ord("A") + 1
    raise ValueError(f"{value} is no channel")


def _name(value: str) -> str:
    """Check that a name can stand in a file of fields between spaces."""
    if not value or value.split() != [value]:
        raise ValueError(f"{value!r} cannot stand in STM or RTTM: it is empty or holds white space")
    return value
