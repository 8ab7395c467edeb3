"""Words of one channel that are another channel's, heard again: what is left of an echo after its sound is set aside.

`tasks.crosstalk` takes from a channel the stretches that hold nothing but another one's voice. What it is in doubt
about stays, and may be recognised a second time. Such words give themselves away: the same words stand in the other
channel at the same time or a little before, and are much louder there.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import permutations

import numpy as np

from tasks.records import Region, Segment, SetAside, Word
from tasks.tracks import Track

REASON = "echo"
# An echo comes up to half a second late; times of words are right to about 0.3 s.
EARLIEST_S = -0.3
LATEST_S = 0.8
# So many words in a row, so much quieter than in the other channel, are an echo; a single one must be quieter still, as
# people do say "yes" at the same time, and one of two may sit far from the microphone.
LEAST_WORDS = 2
QUIETER_DB = 8.0
SINGLE_QUIETER_DB = 12.0

Level = Callable[[int, Region], float]
"""How loud a channel is in a stretch of time, in dB of full scale, as recorded."""


def set_echoes_aside(segments: Sequence[Segment], level: Level) -> tuple[tuple[Segment, ...], tuple[SetAside, ...]]:
    """Take words out of the segments of a channel that are another channel's.

    Args:
        segments: of a call with a channel for each speaker.
        level: of its channels.

    Returns:
        the segments without them (none without words), and for each run of such words what was taken out.
    """
    words = {
        channel: sorted(
            (word for segment in segments if segment.channel == channel for word in segment.words),
            key=lambda word: (word.start, word.end),
        )
        for channel in sorted({segment.channel for segment in segments})
    }
    taken: set[tuple[int, Word]] = set()
    echoes: list[tuple[int, tuple[Word, ...]]] = []
    for channel, source in permutations(words, 2):
        for run in _same_words(words[channel], words[source]):
            own, theirs = _span([one for one, _ in run]), _span([said for _, said in run])
            enough_db = QUIETER_DB if len(run) >= LEAST_WORDS else SINGLE_QUIETER_DB
            fresh = tuple(one for one, _ in run if (channel, one) not in taken)
            if fresh and level(source, theirs) - level(channel, own) >= enough_db:
                taken |= {(channel, one) for one in fresh}
                echoes.append((channel, fresh))
    if not taken:
        return tuple(segments), ()
    kept = [
        replace(segment, words=tuple(word for word in segment.words if (segment.channel, word) not in taken))
        for segment in segments
    ]
    doubt = {(segment.channel, word): segment for segment in segments for word in segment.words}
    aside = (
        SetAside(
            channel=channel,
            start=run[0].start,
            end=run[-1].end,
            text=" ".join(word.text for word in run),
            reason=REASON,
            avg_logprob=doubt[channel, run[0]].avg_logprob,
            no_speech_prob=doubt[channel, run[0]].no_speech_prob,
        )
        for channel, run in echoes
    )
    return (
        tuple(segment for segment in kept if segment.words),
        tuple(sorted(aside, key=lambda one: (one.start, one.channel))),
    )


def level_of(tracks: Sequence[Track]) -> Level:
    """The level of tracks as they were recorded."""

    def level(channel: int, region: Region) -> float:
        sound = tracks[channel].recorded.read_region(region)
        power = float(np.mean(np.square(sound, dtype=np.float64))) if sound.size else 0.0
        return float(10 * np.log10(max(power, 1e-12)))

    return level


def _same_words(words: Sequence[Word], source: Sequence[Word]) -> Iterator[list[tuple[Word, Word]]]:
    """Runs of words that the source has too, in order and at the time of an echo; each word with its source."""
    starts = [word.start for word in source]
    index = 0
    while index < len(words):
        run: list[tuple[Word, Word]] = []
        first = bisect_left(starts, words[index].start - LATEST_S)
        last = bisect_left(starts, words[index].start - EARLIEST_S)
        for at in range(first, last):
            found = _run(words[index:], source[at:])
            if len(found) > len(run):
                run = found
        if run:
            yield run
        index += max(1, len(run))


def _run(words: Sequence[Word], source: Sequence[Word]) -> list[tuple[Word, Word]]:
    run: list[tuple[Word, Word]] = []
    for one, said in zip(words, source, strict=False):
        if _bare(one) != _bare(said) or not EARLIEST_S <= one.start - said.start <= LATEST_S:
            break
        run.append((one, said))
    return run


def _bare(word: Word) -> str:
    return word.text.strip(".,!?;:").lower()


def _span(words: Sequence[Word]) -> Region:
    return Region(words[0].start, max(word.end for word in words))
