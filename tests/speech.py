"""Speech for the tests of the recogniser: regions, chunks on their way, hypotheses."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from builders import region, words
from hypothesis import strategies as st

from tasks.chunks import Chunk
from tasks.heard import ChannelSpeech, HeardChunk
from tasks.hypotheses import Hypothesis
from tasks.records import Region, Word
from tasks.tracks import Track

UNREAD = Track(Path("/there/is/no/such/file"), 16_000 * 3600)
"""An hour that nobody reads."""


def spans(gaps_and_lengths: Iterable[tuple[float, float]], unit_s: float = 1.0) -> tuple[Region, ...]:
    """Ordered, disjoint regions, each so many units after the one before and so many long."""
    found: list[Region] = []
    at = 0.0
    for gap, length in gaps_and_lengths:
        start = at + gap
        at = start + length
        found.append(Region(start * unit_s, at * unit_s))
    return tuple(found)


def regions(
    *,
    most: int = 8,
    longest: int = 40,
    widest: int = 40,
    least: int = 1,
    fewest: int = 0,
    unit_s: float = 1 / 8,
) -> st.SearchStrategy[tuple[Region, ...]]:
    """Ordered, disjoint regions on a grid, some of which touch; on the default one sums of times are exact.

    Args:
        most: regions.
        longest: region, in units.
        widest: gap before a region, in units.
        least: of a region, in units.
        fewest: regions.
        unit_s: of the grid.
    """
    pairs = st.tuples(st.integers(0, widest), st.integers(least, longest))
    return st.lists(pairs, min_size=fewest, max_size=most).map(lambda found: spans(found, unit_s))


def texts(words: Iterable[Word]) -> list[str]:
    """What words say."""
    return [item.text for item in words]


def heard_chunk(
    *held: Region,
    track: Track = UNREAD,
    voices: Sequence[Region] | None = None,
    hypothesis: Hypothesis | None = None,
    language: str = "en",
) -> HeardChunk:
    """A chunk of these regions (one second when none are given), where a voice is heard in all of them."""
    found = held or (region(),)
    source = ChannelSpeech(track, found, found if voices is None else tuple(voices))
    return HeardChunk(0, 0, source, Chunk(found), language=language, hypothesis=hypothesis)


def hypothesis(
    text: str = "good morning",
    start: float = 0.0,
    end: float | None = None,
    *,
    faults: Sequence[str] = (),
    avg_logprob: float = -0.2,
    missed_s: float = 0.0,
    language: str = "en",
    no_speech_prob: float = 0.01,
    compression_ratio: float = 1.2,
) -> Hypothesis:
    """What was recognised: words that fill their time evenly; nothing is wrong with it unless named."""
    return Hypothesis(
        words=words(text, start, end),
        text=text,
        language=language,
        avg_logprob=avg_logprob,
        no_speech_prob=no_speech_prob,
        compression_ratio=compression_ratio,
        faults=tuple(faults),
        missed_s=missed_s,
    )
