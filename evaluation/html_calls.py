"""The worst calls of a report: what was said and what was heard, word by word, and the sound of the worst stretch."""

from __future__ import annotations

import base64
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from evaluation.alignment import Cell
from evaluation.clips import Clip
from evaluation.entities import EntityMiss
from evaluation.entity_search import locate
from evaluation.formats import ReferenceEntity, StmLine
from evaluation.html_tables import by_errors
from evaluation.hypotheses import HypothesisUtterance, in_order
from evaluation.origin import Compared
from evaluation.passages import Line, Stretch, lines_of, worst_stretch
from evaluation.report import Report
from evaluation.score import CallScore

WORST: Final = 10
MOST_CELLS: Final = 400
"""Words of a call that are shown; of a longer one, those around its worst stretch."""


@dataclass(frozen=True, slots=True)
class WorstCall:
    """A call whose words are shown, and its stretch with the most errors, None where nothing has a time.

    `recordings` is how many recordings the set has of it, of which this is the worst.
    """

    score: CallScore
    compared: Compared
    lines: tuple[Line, ...]
    stretch: Stretch | None
    recordings: int = 1


@dataclass(frozen=True, slots=True)
class CellView:
    """A cell as it is drawn: `said` holds words, each with the type of the missed entity that it is of."""

    kind: str
    letters: str
    said: tuple[tuple[str, str], ...]
    heard: str


@dataclass(frozen=True, slots=True)
class LineView:
    """A line as it is drawn; `seek` is where it is in the clip, in seconds."""

    speaker: str
    wrong_speaker: str
    time: str
    seek: float | None
    cells: tuple[CellView, ...]


@dataclass(frozen=True, slots=True)
class CallView:
    """A call as it is drawn; `hidden` says what of it is not shown, `no_clip` why nothing can be heard.

    `recordings` is as in `WorstCall`.
    """

    score: CallScore
    lines: tuple[LineView, ...]
    misses: tuple[tuple[EntityMiss, str], ...]
    hidden: str
    clip: Clip | None
    source: str
    span: str
    no_clip: str
    recordings: int


def worst_calls(report: Report, most: int = WORST) -> tuple[WorstCall, ...]:
    """The calls with the most word errors, and among as many those with the most missed entities.

    Of a call with several recordings only the worst one is among them: the others say the same again.
    """
    recordings = Counter(_call_of(call) for call in report.score.calls)
    worst: dict[str, CallScore] = {}
    for call in by_errors(report.score.calls):
        worst.setdefault(_call_of(call), call)
    found = []
    for call in list(worst.values())[:most]:
        compared = report.compared.get(call.call_id)
        if compared is None or compared.said is None or not (call.words.errors or call.entities.misses):
            continue
        heard = compared.utterances or ()
        lines = lines_of(compared.said, heard, compared.language)
        found.append(WorstCall(call, compared, lines, worst_stretch(lines, heard), recordings[_call_of(call)]))
    return tuple(found)


def view(worst: WorstCall, clip: Clip | None, no_clip: str = "") -> CallView:
    """Lay a call out for the page.

    Args:
        worst: the call.
        clip: the sound of its worst stretch.
        no_clip: why there is none.
    """
    said = in_order(worst.compared.said or ())
    missed = _missed_words(worst.score.entities.misses, said, worst.compared.language)
    partners = {heard: reference for reference, heard in worst.score.speakers.assignment if heard is not None}
    shown = _shown(worst.lines, worst.stretch)
    lines = tuple(_line(line, missed, partners, clip) for line in shown)
    hidden = len(worst.lines) - len(shown)
    return CallView(
        worst.score,
        lines,
        tuple((miss, "" if miss.start is None else clock(miss.start)) for miss in worst.score.entities.misses),
        f"{hidden:,} of {len(worst.lines):,} lines, further away from the worst stretch, are not shown."
        if hidden
        else "",
        clip,
        f"data:{clip.media_type};base64,{base64.b64encode(clip.content).decode()}" if clip else "",
        f"{clock(clip.start)} to {clock(clip.end)}" if clip else "",
        no_clip,
        worst.recordings,
    )


def clock(seconds: float) -> str:
    """A time in a call, as people read it.

    >>> clock(3.24), clock(75), clock(3600)
    ('0:03.2', '1:15.0', '1:00:00.0')
    """
    tenths = round(seconds * 10)
    minutes, rest = divmod(tenths, 600)
    hours, minutes = divmod(minutes, 60)
    tail = f"{rest // 10:02d}.{rest % 10}"
    return f"{hours}:{minutes:02d}:{tail}" if hours else f"{minutes}:{tail}"


def _call_of(call: CallScore) -> str:
    """What recordings of one call have in common."""
    return call.facts.group or call.call_id


def _line(
    line: Line, missed: Mapping[tuple[int, int], str], partners: Mapping[str, str | None], clip: Clip | None
) -> LineView:
    others = [partners.get(one) or f"{one}, who is nobody of the call" for one in line.heard_as]
    wrong = "" if line.speaker is None else ", ".join(one for one in others if one != line.speaker)
    seek = None
    if clip and line.start is not None and line.end is not None and line.end > clip.start and line.start < clip.end:
        seek = round(max(line.start - clip.start, 0.0), 2)
    return LineView(
        "nobody speaks" if line.speaker is None else line.speaker or "somebody",
        wrong,
        "" if line.start is None else clock(line.start),
        seek,
        tuple(_cell(cell, missed) for cell in line.cells),
    )


def _cell(cell: Cell, missed: Mapping[tuple[int, int], str]) -> CellView:
    counts = cell.counts
    each = ((counts.substitutions, "S"), (counts.deletions, "D"), (counts.insertions, "I"))
    letters = " ".join(letter if count == 1 else f"{count}{letter}" for count, letter in each if count)
    return CellView(
        cell.kind,
        letters,
        tuple((word.text, missed.get((word.line, word.index), "")) for word in cell.reference),
        " ".join(word.text for word in cell.hypothesis),
    )


def _shown(lines: Sequence[Line], stretch: Stretch | None) -> Sequence[Line]:
    """All lines of a call, or of a long one those around its worst stretch."""
    if sum(len(line.cells) for line in lines) <= MOST_CELLS or not lines:
        return lines
    middle = 0 if stretch is None else (stretch.start + stretch.end) / 2
    timed = [at for at, line in enumerate(lines) if line.start is not None]
    first = min(timed, key=lambda at: abs((lines[at].start or 0.0) - middle), default=0)
    last, words = first, len(lines[first].cells)
    backwards = True
    while True:  # in turns, so that the stretch stays in the middle
        before = first > 0 and words + len(lines[first - 1].cells) <= MOST_CELLS
        behind = last + 1 < len(lines) and words + len(lines[last + 1].cells) <= MOST_CELLS
        if before and (backwards or not behind):
            first -= 1
            words += len(lines[first].cells)
        elif behind:
            last += 1
            words += len(lines[last].cells)
        else:
            return lines[first : last + 1]
        backwards = not backwards


def _missed_words(misses: Sequence[EntityMiss], said: Sequence[StmLine], language: str) -> dict[tuple[int, int], str]:
    """Which words of the reference a missed entity is: (line, place in it) → its type."""
    spoken = [HypothesisUtterance(one.speaker, one.start, one.end, one.text) for one in said]
    wanted = [ReferenceEntity(miss.type, miss.text, None, miss.start, None) for miss in misses]
    heard, places = locate(wanted, spoken, language)
    at: list[tuple[int, ...]] = []
    used: dict[int, int] = {}
    for word in heard:  # pieces of a word may have been put together
        first = used.get(word.utterance, 0)
        texts = said[word.utterance].text.split()
        last, whole = first + 1, texts[first]
        while len(whole) < len(word.text):
            whole, last = whole + texts[last], last + 1
        used[word.utterance] = last
        at.append(tuple(range(first, last)))
    return {
        (heard[word].utterance, index): miss.type
        for miss, place in zip(misses, places, strict=True)
        for word in place or ()
        for index in at[word]
    }
