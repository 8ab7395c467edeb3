"""Pure: what a transcription endpoint answers (OpenAI's `verbose_json`), as segments of words with times.

Endpoints differ in how they cut text into words: with punctuation or without, with a space before or without, of the
whole text or in each segment. Where words and text have the same letters and digits, a word is what stands between two
spaces of the text, with the times of the words that it is made of; else words are taken as they are, by their times.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated

from pydantic import BaseModel, Field, ValidationError

from tasks.language_names import language_code
from tasks.languages import UNSPACED_LANGUAGES

_Time = Annotated[float, Field(ge=0, allow_inf_nan=False)]
_Number = Annotated[float, Field(allow_inf_nan=False)]


class _Word(BaseModel):
    word: str
    start: _Time
    end: _Time
    probability: _Number | None = None


class _Segment(BaseModel):
    start: _Time
    end: _Time
    text: str
    avg_logprob: _Number
    no_speech_prob: _Number
    words: list[_Word] | None = None


class _Body(BaseModel):
    text: str
    language: str | None = None
    segments: list[_Segment] = []
    words: list[_Word] | None = None


@dataclass(frozen=True, slots=True)
class TimedWord:
    """A word; times in what was sent, in seconds; `probability` where the endpoint says it."""

    text: str
    start: float
    end: float
    probability: float | None = None


@dataclass(frozen=True, slots=True)
class AnsweredSegment:
    """What the endpoint decoded in one go, with its measures of trust (Whisper's); `words` are None without times."""

    start: float
    end: float
    text: str
    avg_logprob: float
    no_speech_prob: float
    words: tuple[TimedWord, ...] | None

    @property
    def compression_ratio(self) -> float:
        """Bytes of the text by bytes of its zlib compression, as of our own recogniser; 0 without text."""
        raw = self.text.strip().encode()
        return len(raw) / len(zlib.compress(raw)) if raw else 0.0

    @property
    def probability(self) -> float:
        """The probability of its words where the endpoint does not say it: that of the mean token."""
        return min(1.0, math.exp(self.avg_logprob))

    def spread(self, language: str | None) -> tuple[TimedWord, ...]:
        """Its words, spread over its time by their letters."""
        units = list(self.text.strip()) if language in UNSPACED_LANGUAGES else self.text.split()
        per_letter = (self.end - self.start) / max(sum(map(len, units)), 1)
        words: list[TimedWord] = []
        at = self.start
        for unit in units:
            words.append(TimedWord(unit, at, at + len(unit) * per_letter))
            at = words[-1].end
        return tuple(words)


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer: the language that was found (ISO 639-1; None where it is none that we know), and segments in order."""

    language: str | None
    segments: tuple[AnsweredSegment, ...]

    @property
    def has_word_times(self) -> bool:
        """Whether every segment that says something has words with times."""
        return all(segment.words is not None or not segment.text.strip() for segment in self.segments)


def parse_answer(data: bytes) -> Answer | str:
    """Read an answer.

    Returns:
        it; or what is wrong with it, without anything that it holds.
    """
    try:
        body = _Body.model_validate_json(data)
    except ValidationError as error:
        wrong = error.errors(include_input=False, include_url=False, include_context=False)
        return f"{'.'.join(map(str, wrong[0]['loc'])) or 'body'}: {wrong[0]['type']}"
    if body.text.strip() and not body.segments:
        return "segments: missing"
    language = language_code(body.language)
    words = body.words or [word for segment in body.segments for word in segment.words or ()]
    placed = _placed(body.segments, words, language) if words else [None] * len(body.segments)
    return Answer(
        language,
        tuple(
            AnsweredSegment(
                start=segment.start,
                end=max(segment.start, segment.end),
                text=segment.text.strip(),
                avg_logprob=segment.avg_logprob,
                no_speech_prob=segment.no_speech_prob,
                words=held,
            )
            for segment, held in zip(body.segments, placed, strict=True)
        ),
    )


def _placed(
    segments: Sequence[_Segment], words: Sequence[_Word], language: str | None
) -> list[tuple[TimedWord, ...] | None]:
    """The words of each segment; None of one that has text and no words."""
    letters = [letter for segment in segments for letter in _letters(segment.text)]
    owners = [index for index, word in enumerate(words) for _ in _letters(word.word)]
    if letters == [letter for word in words for letter in _letters(word.word)]:
        owner = iter(owners)
        found = [
            _by_text(segment.text, owner, words, spaced=language not in UNSPACED_LANGUAGES) for segment in segments
        ]
    else:
        found = _by_time(segments, words)
    return [held or (None if segment.text.strip() else ()) for segment, held in zip(segments, found, strict=True)]


def _by_text(text: str, owner: Iterator[int], words: Sequence[_Word], *, spaced: bool) -> tuple[TimedWord, ...]:
    """The words of a segment as its text has them.

    Args:
        text: of the segment.
        owner: the word that each letter of the text belongs to; those of this segment are taken.
        words: the endpoint's.
        spaced: whether spaces part words; else those of the endpoint are kept.
    """
    units: list[tuple[str, list[int]]] = []
    for part in text.split():
        unit, held = "", list[int]()
        for character in part:
            own = [next(owner) for _ in _letters(character)]
            if not spaced and own and held and own[0] != held[-1]:
                units.append((unit, held))
                unit, held = "", []
            unit, held = unit + character, held + own
        if held:
            units.append((unit, held))
        elif units:  # a dash or the like: part of what is before it
            units[-1] = (f"{units[-1][0]} {unit}" if spaced else units[-1][0] + unit, units[-1][1])
    return tuple(_timed(unit, [words[index] for index in dict.fromkeys(held)]) for unit, held in units)


def _by_time(segments: Sequence[_Segment], words: Sequence[_Word]) -> list[tuple[TimedWord, ...]]:
    """Each word in the segment that its middle is in or nearest to."""
    found: list[list[TimedWord]] = [[] for _ in segments]
    for word in words:
        middle = (word.start + word.end) / 2
        nearest = min(
            range(len(segments)), key=lambda index: max(segments[index].start - middle, middle - segments[index].end, 0)
        )
        if word.word.strip():
            found[nearest].append(_timed(word.word.strip(), [word]))
    return [tuple(held) for held in found]


def _timed(text: str, held: Sequence[_Word]) -> TimedWord:
    start, end = min(word.start for word in held), max(word.end for word in held)
    said = [word.probability for word in held if word.probability is not None]
    return TimedWord(text, start, max(start, end), min(max(min(said), 0.0), 1.0) if said else None)


def _letters(text: str) -> Iterator[str]:
    return (folded for letter in text for folded in letter.casefold() if folded.isalnum())
