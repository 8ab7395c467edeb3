"""How a conversation went: talk time, overlap, who interrupted, how soon somebody answers."""

import pytest
from builders import turn, utterance
from hypothesis import given
from hypothesis import strategies as st
from talk import turns

from tasks.conversation import interruptions, measure, reactions
from tasks.records import Turn, Utterance

A, B, C = "SPEAKER_00", "SPEAKER_01", "SPEAKER_02"


def talks_of(utterances: list[Utterance]) -> list[Turn]:
    """Utterances as turns."""
    return [turn(item.start, item.end, item.speaker) for item in utterances]


@st.composite
def conversations(draw: st.DrawFn) -> list[Utterance]:
    """Utterances of any times."""
    return [utterance("w", one.start, one.end, one.speaker) for one in sorted(draw(turns))]


@given(conversations())
def test_metrics_are_sane(talk: list[Utterance]) -> None:
    """Nobody talks longer than the call, nor less than not at all; overlap and silence fit between."""
    found = measure(talk, talks_of(talk))
    begin, end = min((item.start for item in talk), default=0.0), max((item.end for item in talk), default=0.0)
    assert {item.speaker for item in talk} == set(found.talk_s) == set(found.interruptions_by)
    assert all(0.0 <= seconds <= end - begin + 0.001 for seconds in found.talk_s.values())
    assert 0.0 <= found.overlap_s <= sum(found.talk_s.values()) + 0.001
    assert "-" not in str(found.overlap_s), "no minus zero in a table"
    assert 0.0 <= found.longest_silence_s <= max(0.0, end - begin) + 0.001
    assert 0 <= found.interruptions <= max(0, len(talk) - 1)
    assert found.interruptions == sum(found.interruptions_by.values())
    assert set(found.reaction_s) <= set(found.talk_s)
    assert sum(len(item.words) for item in talk) == found.words
    assert (sum(found.talk_s.values()) == 0.0) == (found.words_per_minute is None)


@pytest.mark.parametrize(
    ("talk", "talk_s", "overlap_s", "by", "longest_silence_s"),
    [
        ([], {}, 0.0, {}, 0.0),
        ([("a", 1, 4, A)], {A: 3.0}, 0.0, {A: 0}, 0.0),
        ([("a", 0, 2, A), ("b", 3, 5, B), ("c", 9, 10, A)], {A: 3.0, B: 2.0}, 0.0, {A: 0, B: 0}, 4.0),
        ([("a", 0, 4, A), ("b", 3, 6, B)], {A: 4.0, B: 3.0}, 1.0, {A: 0, B: 1}, 0.0),
        ([("a", 0, 4, A), ("b", 1, 2, B)], {A: 4.0, B: 1.0}, 1.0, {A: 0, B: 0}, 0.0),
        ([("a", 0, 4, A), ("b", 4, 6, B)], {A: 4.0, B: 2.0}, 0.0, {A: 0, B: 0}, 0.0),
        ([("a", 0, 4, A), ("b", 0, 6, B)], {A: 4.0, B: 6.0}, 4.0, {A: 0, B: 0}, 0.0),
        ([("a", 0, 4, A), ("b", 3, 6, A)], {A: 6.0}, 0.0, {A: 0}, 0.0),
        ([("a", 0, 4, A), ("b", 3, 7, B), ("c", 6, 9, A)], {A: 7.0, B: 4.0}, 2.0, {A: 1, B: 1}, 0.0),
        ([("a", 0, 4, A), ("b", 1, 5, B), ("c", 2, 6, C)], {A: 4.0, B: 4.0, C: 4.0}, 4.0, {A: 0, B: 1, C: 1}, 0.0),
        ([("a", 0, 20, A), ("b", 1, 2, B), ("c", 25, 26, B)], {A: 20.0, B: 2.0}, 1.0, {A: 0, B: 0}, 5.0),
    ],
    ids=[
        "nothing", "a monologue", "by turns", "an interruption", "a yes under a sentence", "end to end",
        "begin together", "one speaker in two pieces", "two interruptions", "three at once",
        "silence after the longest, not the last",
    ],
)  # fmt: skip
def test_how_a_conversation_went(
    talk: list[tuple[str, float, float, str]],
    talk_s: dict[str, float],
    overlap_s: float,
    by: dict[str, int],
    longest_silence_s: float,
) -> None:
    """Talk time, overlap, interruptions (to start under another's words and to outlast them), and silence."""
    held = [utterance(*item) for item in talk]
    found = measure(held, talks_of(held))
    assert (talk_s, overlap_s, by, sum(by.values()), longest_silence_s) == (
        found.talk_s,
        found.overlap_s,
        found.interruptions_by,
        found.interruptions,
        found.longest_silence_s,
    )


@pytest.mark.parametrize(
    ("start", "end", "count"),
    [(3.0, 4.5, 1), (3.5, 4.4, 0), (3.91, 6.0, 0), (3.89, 6.0, 1)],
    ids=["takes the floor", "mm-hm", "a ragged edge", "just more"],
)
def test_what_an_interruption_is(start: float, end: float, count: int) -> None:
    """It lasts a second, and begins more than a tenth of a second before the other has ended."""
    assert count == interruptions([turn(0, 4, A), turn(start, end, B)])[B]


@pytest.mark.parametrize(
    ("talk", "expected"),
    [
        ([], {}),
        ([turn(0, 2, A), turn(3, 4, A)], {}),
        ([turn(0, 2, A), turn(2.5, 4, B)], {B: 0.5}),
        ([turn(0, 2, A), turn(1.8, 4, B)], {B: -0.2}),
        ([turn(0, 2, A), turn(2.5, 4, B), turn(5, 6, A), turn(6.1, 7, B), turn(9, 10, A)], {A: 1.5, B: 0.3}),
        ([turn(0, 5, A), turn(1, 2, B), turn(6, 7, A)], {}),
        ([turn(0, 5, A), turn(1, 2, B), turn(6, 7, B)], {B: 1.0}),
    ],
    ids=["nobody", "one alone", "an answer", "too early", "medians", "a yes takes no floor", "and gives none"],
)
def test_reaction_times(talk: list[Turn], expected: dict[str, float]) -> None:
    """The median from the end of the other's turn to the start of the answer."""
    assert expected == pytest.approx(reactions(talk))


@pytest.mark.parametrize(
    ("talk", "words", "per_minute"),
    [
        ([], 0, None),
        ([utterance("a b c d e f", 0, 3)], 6, 120.0),
        ([utterance("a b c", 0, 3), utterance("d e f", 30, 33, B)], 6, 60.0),
        ([utterance("a", 1, 1)], 1, None),
    ],
    ids=["nothing", "one", "pauses do not count", "no time at all"],
)
def test_words_and_speed(talk: list[Utterance], words: int, per_minute: float | None) -> None:
    """Words per minute of talk, not of call; undefined is None."""
    found = measure(talk, talks_of(talk))
    assert (words, per_minute) == (found.words, found.words_per_minute)
