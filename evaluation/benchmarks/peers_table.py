"""What whole processes cost and how well they heard, in tables: `evaluation.benchmarks.peers` measures it.

The programs take turns in rounds, so that ratios are made of what was measured within the same minutes: round by
round, and the median of them is told with its range.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from evaluation.hypotheses import HypothesisUtterance
from evaluation.rates import ErrorCounts
from evaluation.references import Reference
from evaluation.wer import word_errors

MB: Final = 1_000_000
HOUR_S: Final = 3600.0

Transcripts = Mapping[str, Sequence[HypothesisUtterance]]


@dataclass(frozen=True, slots=True)
class Cost:
    """What one whole process took: seconds of the clock, CPU seconds, and the most resident bytes of a process of it.

    CPU seconds are those of all its processes.
    """

    wall_s: float
    cpu_s: float
    memory: int


@dataclass(frozen=True, slots=True)
class Round:
    """One turn of a program: over a second of silence, which is to load its models, and over all recordings."""

    load: Cost
    whole: Cost

    @property
    def work_s(self) -> float:
        """Seconds of the clock less those of loading the models."""
        return self.whole.wall_s - self.load.wall_s


@dataclass(frozen=True, slots=True)
class NoSpeech:
    """What a program heard where nobody speaks: words, and the seconds of all those recordings."""

    words: int
    audio_s: float


@dataclass(frozen=True, slots=True)
class Measured:
    """A program in all rounds; `counts` are its word errors over all of them, None where there are no references.

    `written` of `files` recordings have a transcript in every round; `audio_s` are the seconds of all recordings.
    """

    name: str
    files: int
    written: int
    audio_s: float
    rounds: tuple[Round, ...]
    counts: ErrorCounts | None = None
    no_speech: NoSpeech | None = None


def order(names: Sequence[str], round_: int) -> list[str]:
    """The order of the programs in a round (from 0): forwards and backwards in turn, so that a drift hits all alike."""
    return list(names) if round_ % 2 == 0 else list(reversed(names))


def count_errors(references: Mapping[str, Reference], found: Transcripts) -> ErrorCounts:
    """The word errors of one round.

    Args:
        references: stem of the recording → what was said; a recording without a transcript has all its words deleted.
        found: stem of the recording → its transcript; those without a reference do not count.
    """
    return sum(
        (word_errors(reference.lines or (), found.get(stem, ())) for stem, reference in references.items()),
        ErrorCounts.zero(),
    )


def count_words(found: Transcripts) -> int:
    """The words of some transcripts as they were written; what has neither letter nor digit is none."""
    words = (word for spoken in found.values() for one in spoken for word in one.text.split())
    return sum(any(character.isalnum() for character in word) for word in words)


def markdown(measured: Sequence[Measured], ours: str) -> str:
    """The table of programs and, where ours and another are in it, that of ratios."""
    return "\n".join([*program_table(measured), *(["", *found] if (found := ratio_table(measured, ours)) else [])])


def program_table(measured: Sequence[Measured]) -> list[str]:
    """A row for each program: medians (and ranges) of its rounds, and the errors of all of them."""
    columns = (
        "files",
        "audio, s",
        "wall, s",
        "CPU, s",
        "model load, s",
        "RTFx, whole process",
        "RTFx, less model load",
        "WER %",
        "deletions %",
        "words in no speech (per hour)",
        "peak memory, MB",
    )
    return [f"| program | {' | '.join(columns)} |", f"| --- |{' ---: |' * len(columns)}", *map(_row, measured)]


def ratio_table(measured: Sequence[Measured], ours: str) -> list[str]:
    """A row for each peer: ours by it, round by round, median (and range); below 1 ours takes less. Empty: no peers."""
    mine = next((one for one in measured if one.name == ours), None)
    peers = [one for one in measured if one.name != ours]
    if mine is None or not peers:
        return []
    what: tuple[Callable[[Round], float], ...] = (
        lambda one: one.whole.wall_s,
        lambda one: one.work_s,
        lambda one: one.whole.cpu_s,
        lambda one: one.whole.memory,
    )
    return [
        "| ours / | wall, whole process | wall, less model load | CPU, whole process | peak memory |",
        "| --- | ---: | ---: | ---: | ---: |",
        *(f"| {one.name} | {' | '.join(spread(ratios(mine, one, take), 2) for take in what)} |" for one in peers),
    ]


def ratios(mine: Measured, other: Measured, take: Callable[[Round], float]) -> list[float]:
    """Something of ours by the same of another, round by round; rounds in which either is not above zero are left out.

    A round is not above zero less model load where the recordings are too short to tell.
    """
    pairs = ((take(one), take(two)) for one, two in zip(mine.rounds, other.rounds, strict=True))
    return [one / two for one, two in pairs if one > 0 and two > 0]


def spread(found: Iterable[float], digits: int) -> str:
    """A median and its range, as in the tables."""
    held = list(found)
    if not held:
        return "n/a"
    middle = f"{statistics.median(held):.{digits}f}"
    return middle if len(held) == 1 else f"{middle} ({min(held):.{digits}f} to {max(held):.{digits}f})"


def rtfx(audio_s: float, seconds: float) -> str:
    """Seconds of audio by seconds of the clock, as in the tables; n/a where no time is left."""
    return f"{audio_s / seconds:.1f}" if seconds > 0 else "n/a"


def _row(one: Measured) -> str:
    wall_s = statistics.median(held.whole.wall_s for held in one.rounds)
    load_s = statistics.median(held.load.wall_s for held in one.rounds)
    cells = (
        one.name,
        str(one.files) if one.written == one.files else f"{one.written} of {one.files}",
        f"{one.audio_s:.0f}",
        spread((held.whole.wall_s for held in one.rounds), 1),
        spread((held.whole.cpu_s for held in one.rounds), 1),
        spread((held.load.wall_s for held in one.rounds), 1),
        rtfx(one.audio_s, wall_s),
        rtfx(one.audio_s, wall_s - load_s),
        _percent(one.counts, lambda counts: counts.errors),
        _percent(one.counts, lambda counts: counts.deletions),
        _heard(one.no_speech),
        f"{statistics.median(held.whole.memory for held in one.rounds) / MB:.0f}",
    )
    return f"| {' | '.join(cells)} |"


def _percent(counts: ErrorCounts | None, take: Callable[[ErrorCounts], int]) -> str:
    if counts is None or not counts.reference_words:
        return "n/a"
    return f"{100 * take(counts) / counts.reference_words:.1f}"


def _heard(found: NoSpeech | None) -> str:
    if found is None or found.audio_s <= 0:
        return "n/a"
    return f"{found.words} ({found.words * HOUR_S / found.audio_s:.0f})"
