"""Words of one channel that are another channel's, heard again: what is left of an echo after its sound is set aside.

`tasks.crosstalk` takes from a channel the stretches that hold nothing but another one's voice. What it is in doubt
about stays, and may be recognised a second time. Such words give themselves away: the same words stand in the other
channel at the same time or a little before, and they are much quieter than those, and than whatever else is said in
their own channel. People who say "thank you" to a "thank you" do so in the voice that they have.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import permutations
from statistics import median

import numpy as np

from tasks.languages import UNSPACED_LANGUAGES
from tasks.records import Region, Segment, SetAside, Word
from tasks.tracks import Track

REASON = "echo"
# An echo comes up to half a second late; times of words are right to about 0.3 s.
EARLIEST_S = -0.3
LATEST_S = 0.8
# So many words in a row, so much quieter than in the other channel and than the rest of their own, are an echo; a
# single one must be quieter still.
LEAST_WORDS = 2
QUIETER_DB = 8.0
SINGLE_QUIETER_DB = 12.0

Level = Callable[[int, Region], float]
"""How loud a channel is in a stretch of time, in dB of full scale, as recorded."""


@dataclass(frozen=True, slots=True)
class Echoes:
    """What was taken out: each run of words, and how many words they are."""

    set_aside: tuple[SetAside, ...] = ()
    words: int = 0


@dataclass(frozen=True, slots=True)
class _Said:
    """A word, and where it stands: the number of its segment, and its own in that."""

    word: Word
    segment: int
    place: int


def set_echoes_aside(segments: Sequence[Segment], level: Level) -> tuple[tuple[Segment, ...], Echoes]:
    """Take words out of the segments of a channel that are another channel's.

    Languages that are written without spaces are passed over: what a recogniser takes for words there are single
    characters. So is a channel that says nothing of its own to compare with.

    Args:
        segments: of a call with a channel for each speaker.
        level: of its channels.

    Returns:
        the segments without them (none without words), and what was taken out.
    """
    said: dict[int, list[_Said]] = {}
    for number, segment in enumerate(segments):
        if segment.language not in UNSPACED_LANGUAGES:
            own = (_Said(word, number, place) for place, word in enumerate(segment.words))
            said.setdefault(segment.channel, []).extend(own)
    for held in said.values():
        held.sort(key=lambda one: (one.word.start, one.word.end))
    taken: list[list[_Said]] = []
    for channel, source in permutations(sorted(said), 2):
        runs = list(_same_words(said[channel], said[source]))
        matching = {one for run in runs for one, _ in run}
        others = [level(channel, _span([one])) for one in said[channel] if one not in matching]
        if not runs or not others:
            continue
        usual_db = median(others)
        for run in runs:
            own_db = level(channel, _span([one for one, _ in run]))
            quieter_db = min(level(source, _span([one for _, one in run])), usual_db) - own_db
            if quieter_db >= (QUIETER_DB if len(run) >= LEAST_WORDS else SINGLE_QUIETER_DB):
                taken.append([one for one, _ in run])
    return _without(segments, taken)


def level_of(tracks: Sequence[Track]) -> Level:
    """The level of tracks as they were recorded."""

    def level(channel: int, region: Region) -> float:
        sound = tracks[channel].recorded.read_region(region)
        power = float(np.mean(np.square(sound, dtype=np.float64))) if sound.size else 0.0
        return float(10 * np.log10(max(power, 1e-12)))

    return level


def _without(segments: Sequence[Segment], runs: Sequence[Sequence[_Said]]) -> tuple[tuple[Segment, ...], Echoes]:
    """Segments without the words of some runs; a word that is in two of them is told once."""
    gone: set[tuple[int, int]] = set()
    aside: list[SetAside] = []
    for run in runs:
        fresh = [one for one in run if (one.segment, one.place) not in gone]
        if not fresh:
            continue
        gone |= {(one.segment, one.place) for one in fresh}
        segment = segments[fresh[0].segment]
        aside.append(
            SetAside(
                channel=segment.channel,
                start=fresh[0].word.start,
                end=max(one.word.end for one in fresh),
                text=" ".join(one.word.text for one in fresh),
                reason=REASON,
                avg_logprob=segment.avg_logprob,
                no_speech_prob=segment.no_speech_prob,
            )
        )
    if not gone:
        return tuple(segments), Echoes()
    kept = (
        replace(segment, words=tuple(word for place, word in enumerate(segment.words) if (number, place) not in gone))
        for number, segment in enumerate(segments)
    )
    return (
        tuple(segment for segment in kept if segment.words),
        Echoes(tuple(sorted(aside, key=lambda one: (one.start, one.channel))), len(gone)),
    )


def _same_words(words: Sequence[_Said], source: Sequence[_Said]) -> Iterator[list[tuple[_Said, _Said]]]:
    """Runs of words that the source has too, in order and at the time of an echo; each word with its source."""
    starts = [one.word.start for one in source]
    index = 0
    while index < len(words):
        start = words[index].word.start
        nearby = range(bisect_left(starts, start - LATEST_S), bisect_left(starts, start - EARLIEST_S))
        length, at = max(((_run_length(words, index, source, at), at) for at in nearby), default=(0, 0))
        if length:
            yield [(words[index + offset], source[at + offset]) for offset in range(length)]
        index += max(1, length)


def _run_length(words: Sequence[_Said], index: int, source: Sequence[_Said], at: int) -> int:
    """How many words from two places on are the same, and as far apart as an echo is."""
    length = 0
    while index + length < len(words) and at + length < len(source):
        one, other = words[index + length].word, source[at + length].word
        if _bare(one) != _bare(other) or not EARLIEST_S <= one.start - other.start <= LATEST_S:
            break
        length += 1
    return length


def _bare(word: Word) -> str:
    return word.text.strip(".,!?;:").lower()


def _span(said: Sequence[_Said]) -> Region:
    return Region(said[0].word.start, max(one.word.end for one in said))
