"""CTM, NIST's time-marked words: parsed into records and written back. Pure.

A line is a word, `waveform channel begin duration word [confidence]`; one that begins with `;` is a comment. The
waveform is the call, times are seconds, channels are 1-based (or A, B) and stay as written. As a reference a CTM file
says when each word was said, and no confidence. Source: NIST SCTK, sclite, "Input File Formats", CTM.

Alternatives (`<ALT_BEGIN>`) are refused, as in STM: scored as words they would give a false rate.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from evaluation.fields import checked_name, parse_lines, read_channel, read_seconds

_NO_CONFIDENCE: Final = frozenset({"NA", "<NA>", "-"})


@dataclass(frozen=True, slots=True)
class CtmWord:
    """A word and when it was said (seconds); `channel` is 1-based."""

    call_id: str
    channel: int
    start: float
    end: float
    text: str


def parse_ctm(text: str, source: str = "CTM") -> tuple[CtmWord, ...]:
    """Parse a CTM file; `source` names it in errors.

    Raises:
        ReferenceFileError: a line is malformed or uses what cannot be scored here.
    """
    return parse_lines(text, source, _word)


def serialise_ctm(words: Iterable[CtmWord]) -> str:
    """Write CTM without confidences; times to the millisecond.

    Raises:
        ValueError: a call_id or word is empty or holds white space, which the format cannot carry.
    """
    return "".join(
        f"{checked_name(word.call_id)} {word.channel} {word.start:.3f} {word.end - word.start:.3f} "
        f"{checked_name(word.text)}\n"
        for word in words
    )


def _word(line: str) -> CtmWord:
    """Parse one line."""
    fields = line.split()
    if any(field.upper().startswith("<ALT") for field in fields):
        raise ValueError("alternatives cannot be scored")
    if not 5 <= len(fields) <= 6:
        raise ValueError("expected `waveform channel begin duration word [confidence]`")
    if len(fields) == 6 and fields[5] not in _NO_CONFIDENCE:
        _confidence(fields[5])
    start, duration_s = read_seconds(fields[2]), read_seconds(fields[3])
    return CtmWord(fields[0], read_channel(fields[1]), start, round(start + duration_s, 6), fields[4])


def _confidence(value: str) -> float:
    """Read a confidence, 0 to 1."""
    confidence = float(value)
    if not 0 <= confidence <= 1:
        raise ValueError(f"{value} is no confidence from 0 to 1")
    return confidence
