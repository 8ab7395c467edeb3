"""Words where nobody speaks, and speech in which nothing was heard: by time, whatever the words are. Pure.

Where a word lies is told by word times where there are any; else the words of an utterance share its time evenly.
References are seldom marked to the tenth of a second, so speech reaches `TOLERANCE_S` further on both sides.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from evaluation.formats import RttmTurn, StmLine
from evaluation.hypotheses import HypothesisUtterance
from evaluation.normalise import normal_words
from tasks.records import Region
from tasks.regions import common_s, merge

TOLERANCE_S = 0.5


@dataclass(frozen=True, slots=True)
class SilenceCounts:
    """Words against the time of speech; `silent_s` is the time in seconds where nobody speaks.

    `made_up_words` are recognised words that lie in it. `lost_words` are normalised words of the reference in
    lines over which no recognised word lies: deletions inside speech, however the rest aligns.

    Raises:
        ValueError: a count is negative, or more words are lost than there are.
    """

    silent_s: float
    made_up_words: int = 0
    reference_words: int = 0
    lost_words: int = 0

    def __post_init__(self) -> None:
        """Check that the counts can belong together."""
        if min(self.silent_s, self.made_up_words) < 0 or not 0 <= self.lost_words <= self.reference_words:
            raise ValueError(f"impossible counts in {self}")

    @classmethod
    def zero(cls) -> SilenceCounts:
        """Nothing compared: the start of a sum."""
        return cls(0.0)

    def __add__(self, other: SilenceCounts) -> SilenceCounts:
        """Add count by count."""
        return SilenceCounts(
            self.silent_s + other.silent_s,
            self.made_up_words + other.made_up_words,
            self.reference_words + other.reference_words,
            self.lost_words + other.lost_words,
        )

    @property
    def made_up_per_hour(self) -> float | None:
        """Made-up words per hour of silence; None where somebody always speaks."""
        return 3600 * self.made_up_words / self.silent_s if self.silent_s else None

    @property
    def lost_rate(self) -> float | None:
        """Share of the reference's words that lie in lost lines; None without words."""
        return self.lost_words / self.reference_words if self.reference_words else None


def silence_counts(
    lines: Sequence[StmLine],
    turns: Sequence[RttmTurn] | None,
    utterances: Iterable[HypothesisUtterance],
    duration_s: float,
    language: str = "en",
) -> SilenceCounts:
    """Hold the words of a call against the times at which somebody speaks.

    Args:
        lines: what was said, with times.
        turns: when somebody speaks, where that is known better than from the lines.
        utterances: what was recognised.
        duration_s: length of the recording in seconds.
        language: of the normaliser.
    """
    talks = [Region(turn.start, turn.end) for turn in turns] if turns else [Region(one.start, one.end) for one in lines]
    speech = merge(Region(max(0.0, one.start - TOLERANCE_S), one.end + TOLERANCE_S) for one in talks)
    words = sorted(word for utterance in utterances for word in _words(utterance))
    starts = [start for start, _ in words]
    longest = max((end - start for start, end in words), default=0.0)
    spoken = [(line, len(normal_words(line.text, language))) for line in lines]
    return SilenceCounts(
        silent_s=max(0.0, duration_s - common_s(0.0, duration_s, speech)),
        made_up_words=sum(not _touches(word, speech) for word in words),
        reference_words=sum(count for _, count in spoken),
        lost_words=sum(count for line, count in spoken if not _heard(line, words, starts, longest)),
    )


def _words(utterance: HypothesisUtterance) -> Iterator[tuple[float, float]]:
    """Start and end of each word that has a letter or a digit."""
    if utterance.words:
        yield from ((word.start, word.end) for word in utterance.words if _says_something(word.text))
        return
    words = [word for word in utterance.text.split() if _says_something(word)]
    step = (utterance.end - utterance.start) / max(1, len(words))
    for index in range(len(words)):
        yield utterance.start + index * step, utterance.start + (index + 1) * step


def _says_something(text: str) -> bool:
    return any(character.isalnum() for character in text)


def _touches(word: tuple[float, float], speech: Sequence[Region]) -> bool:
    """Whether a word, which may take no time, lies in a region or reaches into one."""
    at = bisect_left(speech, word[0], key=lambda region: region.end)
    return at < len(speech) and speech[at].start <= word[1]


def _heard(line: StmLine, words: Sequence[tuple[float, float]], starts: Sequence[float], longest: float) -> bool:
    """Whether any word lies over a line."""
    low, high = line.start - TOLERANCE_S, line.end + TOLERANCE_S
    at = bisect_left(starts, low - longest)
    while at < len(words) and words[at][0] <= high:
        if words[at][1] >= low:
            return True
        at += 1
    return False
