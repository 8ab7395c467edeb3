"""Who speaks when: diarization error rate (DER) and the number of speakers.

DER is the time that is missed, falsely taken for speech or given to the wrong speaker, per time of speech in the
reference, where every speaker's time counts, so that two seconds are spoken in one second of overlap. Speakers are
paired so that they have most time in common. Source: NIST, "The 2009 (RT-09) Rich Transcription Meeting Recognition
Evaluation Plan". The seconds are those of pyannote.metrics 4.2, which takes some thirty times as long.

Two conditions are usual, `STRICT` and `FORGIVING`; overlap is scored in both. Mind that in pyannote.metrics `collar` is
the whole stretch around a boundary of the reference that is not scored, half of it on either side, and in NIST's
`md-eval` and here the half: `collar_s=0.25` is its `collar=0.5`.

The turn of an utterance or of an STM line goes from its start to its end: pauses inside are speech on both sides, as
whoever marked the reference, or the pipeline, took it for one utterance. Where a speaker's own turns overlap they are
one turn, since nobody speaks twice at once; pyannote.metrics would count that time twice. Turns that only touch stay
two, as the boundary between them is the reference's own and has a collar.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from evaluation.hypotheses import TimedSpoken
from tasks.records import Turn

STRICT: Final = 0.0
"""No collar: every frame of a boundary counts."""

FORGIVING: Final = 0.25
"""The usual collar, in seconds on either side of a boundary of the reference."""

Region: TypeAlias = tuple[float, float]
"""Start and end of what is scored (seconds), as a line of a UEM file says."""

Times: TypeAlias = NDArray[np.float64]
Covered: TypeAlias = NDArray[np.bool_]

# What pyannote.core takes for no time at all.
_SHORTEST_S: Final = 1e-6


class TimedSpeech(Protocol):
    """That somebody speaks: an RTTM turn, a turn of the diarizer, an STM line, an utterance."""

    @property
    def speaker(self) -> str:
        """Who speaks."""

    @property
    def start(self) -> float:
        """Seconds from the start of the call."""

    @property
    def end(self) -> float:
        """Seconds from the start of the call."""


@dataclass(frozen=True, slots=True)
class DiarizationCounts:
    """Seconds of a reference's speech, and of what is wrong in a hypothesis."""

    total_s: float
    missed_s: float = 0.0
    false_alarm_s: float = 0.0
    confusion_s: float = 0.0

    @classmethod
    def zero(cls) -> DiarizationCounts:
        """Nothing compared: the start of a sum."""
        return cls(0.0)

    def __add__(self, other: DiarizationCounts) -> DiarizationCounts:
        """Add second by second."""
        return DiarizationCounts(
            self.total_s + other.total_s,
            self.missed_s + other.missed_s,
            self.false_alarm_s + other.false_alarm_s,
            self.confusion_s + other.confusion_s,
        )

    @property
    def errors_s(self) -> float:
        """Seconds that are wrong in any way."""
        return self.confusion_s + self.false_alarm_s + self.missed_s

    @property
    def rate(self) -> float | None:
        """DER (may exceed 1); None without speech in the reference."""
        return self.errors_s / self.total_s if self.total_s else None


@dataclass(frozen=True, slots=True)
class SpeakerCounts:
    """Of so many calls, how many have the right number of speakers, and how many speakers are too many or too few.

    Raises:
        ValueError: a count is negative, or more calls are right than there are.
    """

    calls: int
    right: int = 0
    too_many: int = 0
    too_few: int = 0

    def __post_init__(self) -> None:
        """Check that the counts can belong together."""
        if not 0 <= self.right <= self.calls or min(self.too_many, self.too_few) < 0:
            raise ValueError(f"impossible counts in {self}")

    @classmethod
    def zero(cls) -> SpeakerCounts:
        """Nothing compared: the start of a sum."""
        return cls(0)

    def __add__(self, other: SpeakerCounts) -> SpeakerCounts:
        """Add count by count."""
        return SpeakerCounts(
            self.calls + other.calls,
            self.right + other.right,
            self.too_many + other.too_many,
            self.too_few + other.too_few,
        )

    @property
    def accuracy(self) -> float | None:
        """The share of calls with the right number of speakers; None without calls."""
        return self.right / self.calls if self.calls else None

    @property
    def difference(self) -> float | None:
        """Speakers too many (or, below zero, too few) per call; None without calls."""
        return (self.too_many - self.too_few) / self.calls if self.calls else None


def diarization_counts(
    reference: Iterable[TimedSpeech],
    hypothesis: Iterable[TimedSpeech],
    collar_s: float = STRICT,
    regions: Sequence[Region] | None = None,
) -> DiarizationCounts:
    """Compare who speaks when in one call.

    Args:
        reference: who spoke when, in any order.
        hypothesis: who is thought to have.
        collar_s: seconds on either side of each boundary of the reference that are not scored.
        regions: what is scored; None is all of both sides.

    Returns:
        Seconds as `pyannote.metrics.diarization.DiarizationErrorRate(collar=2 * collar_s)` has them.
    """
    said, heard = merged_turns(reference), merged_turns(hypothesis)
    speech, others = _bounds(said), _bounds(heard)
    scored = _scored(np.concatenate([speech, others]), regions)
    near = speech.reshape(-1, 1) + np.array([-collar_s, collar_s])
    times = np.unique(np.concatenate([one.ravel() for one in (speech, others, scored, near)]))
    if times.size < 2:
        return DiarizationCounts.zero()
    lengths = np.diff(times)
    lengths[(lengths <= _SHORTEST_S) | ~_covered(scored, times) | _covered(near, times)] = 0.0
    speaking, thought = _speaking(said, times), _speaking(heard, times)
    right = _matched(speaking, thought, lengths)
    here, there = speaking.sum(axis=0), thought.sum(axis=0)
    return DiarizationCounts(
        _seconds(lengths * here),
        missed_s=_seconds(lengths * np.maximum(here - there, 0)),
        false_alarm_s=_seconds(lengths * np.maximum(there - here, 0)),
        confusion_s=_seconds(lengths * (np.minimum(here, there) - right)),
    )


def speaker_counts(reference: Iterable[TimedSpeech], hypothesis: Iterable[TimedSpeech]) -> SpeakerCounts:
    """Compare the numbers of speakers of one call; who speaks for no time at all is none."""
    said, heard = (len({turn.speaker for turn in merged_turns(side)}) for side in (reference, hypothesis))
    return SpeakerCounts(1, int(said == heard), max(0, heard - said), max(0, said - heard))


def spoken_turns(spoken: Iterable[TimedSpoken]) -> tuple[Turn, ...]:
    """The turns of a transcript: a line or utterance that has words is one."""
    return tuple(Turn(one.start, one.end, one.speaker) for one in spoken if one.text.strip())


def merged_turns(turns: Iterable[TimedSpeech]) -> tuple[Turn, ...]:
    """Make one turn of those of a speaker that overlap; turns without duration are left out.

    Returns:
        The turns, ordered by start and then by speaker.
    """
    merged: dict[str, list[Turn]] = {}
    for turn in sorted(turns, key=lambda turn: (turn.start, turn.end)):
        own = merged.setdefault(turn.speaker, [])
        if turn.end <= turn.start:
            continue
        if own and turn.start < own[-1].end:
            own[-1] = Turn(own[-1].start, max(own[-1].end, turn.end), turn.speaker)
        else:
            own.append(Turn(turn.start, turn.end, turn.speaker))
    return tuple(sorted((turn for own in merged.values() for turn in own), key=lambda turn: (turn.start, turn.speaker)))


def _bounds(turns: Sequence[Turn]) -> Times:
    """Starts and ends; [turn, 2]."""
    return np.array([(turn.start, turn.end) for turn in turns], float).reshape(-1, 2)


def _scored(speech: Times, regions: Sequence[Region] | None) -> Times:
    """Starts and ends of what is scored; without regions, from the first start of speech to its last end."""
    if regions is not None:
        return np.array([(start, end) for start, end in regions if start < end]).reshape(-1, 2)
    return np.array([(speech.min(), speech.max())]) if speech.size else speech


def _covered(stretches: Times, times: Times) -> Covered:
    """Which of the stretches between times lie in any of others, all of whose bounds are times; [stretch]."""
    first, last = np.searchsorted(times, stretches.T)
    changes = np.bincount(first, minlength=times.size) - np.bincount(last, minlength=times.size)
    covered: Covered = np.cumsum(changes)[:-1] > 0
    return covered


def _speaking(turns: Sequence[Turn], times: Times) -> Covered:
    """In which stretches between times each speaker speaks; [speaker, stretch]."""
    speakers = sorted({turn.speaker for turn in turns})
    rows = [_covered(_bounds([turn for turn in turns if turn.speaker == one]), times) for one in speakers]
    return np.array(rows, bool).reshape(len(rows), times.size - 1)


def _matched(said: Covered, heard: Covered, lengths: Times) -> NDArray[np.int_]:
    """How many speakers of each stretch are right, where speakers are paired by most time in common; [stretch]."""
    from scipy.optimize import linear_sum_assignment

    one, other = linear_sum_assignment((said * lengths) @ heard.T.astype(float), maximize=True)
    right: NDArray[np.int_] = (said[one] & heard[other]).sum(axis=0)
    return right


def _seconds(lengths: Times) -> float:
    """The sum, added up in order of time as pyannote.metrics does: to the last bit the same."""
    return float(np.cumsum(lengths)[-1])
