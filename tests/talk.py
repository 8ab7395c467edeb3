"""Calls for property tests: words and turns of any times."""

from collections.abc import Sequence
from itertools import count

from builders import segment
from hypothesis import strategies as st

from tasks.records import Segment, Turn, Word

milliseconds = st.integers(0, 60_000)
speakers = st.sampled_from(["SPEAKER_00", "SPEAKER_01", "SPEAKER_02"])
turns = st.lists(
    st.builds(
        lambda start, length, speaker: Turn(start / 1000, (start + length) / 1000, speaker),
        milliseconds,
        st.integers(0, 20_000),
        speakers,
    ),
    max_size=12,
)


@st.composite
def segments(draw: st.DrawFn, channels: int = 2) -> list[Segment]:
    """Segments of a call in any order and any language, with words of any times, each with a text of its own."""
    number = count()
    languages = st.sampled_from(["en", "de"])
    doubts = st.lists(st.sampled_from(["repetitive", "unsure", "too_fast"]), max_size=2, unique=True).map(tuple)
    held = st.lists(st.tuples(milliseconds, st.integers(0, 2000), st.sampled_from(["", ".", "?"])), max_size=6)
    return [
        segment(*[Word(f"w{next(number)}{mark}", start / 1000, (start + length) / 1000, 0.9)
                  for start, length, mark in group], channel=channel, language=draw(languages), flags=draw(doubts))
        for channel, group in draw(st.lists(st.tuples(st.integers(0, channels - 1), held), max_size=6))
        if group
    ]  # fmt: skip


def words_of(found: Sequence[Segment]) -> list[Word]:
    """Every word of the segments, in their order."""
    return [item for part in found for item in part.words]
