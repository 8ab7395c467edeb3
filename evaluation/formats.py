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

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from evaluation.fields import ReferenceFileError, checked_name, parse_json, parse_lines, read_channel, read_seconds

_LABEL: Final = re.compile(r"<[^<>\s]*>(?=\s|$)")
_UNSUPPORTED: Final = re.compile(r"\{.*/.*\}|ignore_time_segment_in_scoring", re.IGNORECASE)


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
    return parse_lines(text, source, _stm_line)


def parse_rttm(text: str, source: str = "RTTM") -> tuple[RttmTurn, ...]:
    """Parse the speaker turns of an RTTM file; `source` names it in errors.

    Raises:
        ReferenceFileError: a line is malformed.
    """
    return parse_lines(text, source, _rttm_turn)


def parse_uem(text: str, source: str = "UEM") -> tuple[UemRegion, ...]:
    """Parse a UEM file; `source` names it in errors.

    Raises:
        ReferenceFileError: a line is malformed.
    """
    return parse_lines(text, source, _uem_region)


def parse_entities(text: str, source: str = "entities") -> tuple[str, tuple[ReferenceEntity, ...]] | None:
    """Parse an entity file into its call_id and entities; None when the file has no `entities`.

    Raises:
        ReferenceFileError: the text is no JSON, or the entities are malformed.
    """
    content = parse_json(text, source)
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
    content = parse_json(text, source)
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
                f"{checked_name(line.call_id)} {line.channel} {checked_name(line.speaker)}",
                f"{line.start:.3f} {line.end:.3f}",
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
        f"SPEAKER {checked_name(turn.call_id)} {turn.channel} {turn.start:.3f} {turn.end - turn.start:.3f}"
        f" <NA> <NA> {checked_name(turn.speaker)} <NA> <NA>\n"
        for turn in turns
    )


def _segment(segment: Mapping[str, Any]) -> StmLine:
    """Parse one segment of SegLST."""
    if not isinstance(segment, dict):
        raise TypeError("it is no JSON object")
    start, end = read_seconds(segment["start_time"]), read_seconds(segment["end_time"])
    if end < start:
        raise ValueError(f"it ends ({end:g}) before it starts ({start:g})")
    return StmLine(str(segment["session_id"]), 1, str(segment["speaker"]), start, end, str(segment["words"]))


def _stm_line(line: str) -> StmLine:
    """Parse one line of STM."""
    fields = line.split(maxsplit=5)
    if len(fields) < 5:
        raise ValueError("expected `call_id channel speaker start end text`")
    call_id, channel, speaker = fields[0], read_channel(fields[1]), fields[2]
    start, end = read_seconds(fields[3]), read_seconds(fields[4])
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
    start, duration_s = read_seconds(fields[3]), read_seconds(fields[4])
    return RttmTurn(fields[1], read_channel(fields[2]), start, round(start + duration_s, 6), fields[7])


def _uem_region(line: str) -> UemRegion:
    """Parse one line of UEM."""
    fields = line.split()
    if len(fields) < 4:
        raise ValueError("expected `call_id channel start end`")
    start, end = read_seconds(fields[2]), read_seconds(fields[3])
    if end < start:
        raise ValueError(f"it ends ({fields[3]}) before it starts ({fields[2]})")
    return UemRegion(fields[0], 1 if fields[1] in {"NA", "<NA>"} else read_channel(fields[1]), start, end)


def _entity(content: Mapping[str, Any]) -> ReferenceEntity:
    """Take one entity out of its JSON object."""
    speaker = content.get("speaker")
    start, end = (None if content.get(key) is None else read_seconds(content[key]) for key in ("start", "end"))
    return ReferenceEntity(
        str(content["type"]), str(content["text"]), None if speaker is None else str(speaker), start, end
    )
