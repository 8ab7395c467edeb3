"""Who said which word: nothing lost, nothing doubled, no time changed."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise, product

import pytest
from builders import diarization, segment, turn, word, words
from hypothesis import given
from hypothesis import strategies as st
from talk import segments, turns, words_of

from tasks.attribute import (
    CHANGE_COST_S,
    CHANGE_PAUSE_S,
    NEAREST_TURN_S,
    UNKNOWN_SPEAKER,
    attribute,
    attribute_by_turns,
)
from tasks.records import Diarization, Segment, Turn, Word

# --------------------------------------------------------------------------------------------- by turns, by channel


@given(segments(), turns)
def test_attribution_by_turns_keeps_every_word(found: list[Segment], by: list[Turn]) -> None:
    """No word is lost, doubled, reordered or changed in text or time, whatever the turns."""
    spoken = attribute_by_turns(found, by)
    assert words_of(found) == [item.word for item in spoken]
    assert all(any(item.word is own for own in item.segment.words) for item in spoken)
    assert {item.speaker for item in spoken} <= {item.speaker for item in by} | {UNKNOWN_SPEAKER}


@given(segments(), turns)
def test_the_order_of_turns_does_not_matter(found: list[Segment], by: list[Turn]) -> None:
    """Turns may come in any order."""
    assert attribute_by_turns(found, by) == attribute_by_turns(found, by[::-1])


@st.composite
def running_words(draw: st.DrawFn) -> list[Word]:
    """Up to six words in running speech."""
    held: list[Word] = []
    for _ in range(draw(st.integers(0, 6))):
        start = (held[-1].end if held else 0.0) + draw(st.sampled_from([0.0, 0.1, 0.4]))
        mark = draw(st.sampled_from(["", "", "."]))
        held.append(Word(f"w{len(held)}{mark}", start, start + draw(st.integers(5, 60)) / 100, 0.9))
    return held


ragged_turns = st.lists(
    st.builds(
        lambda start, length, speaker: Turn(start / 100, (start + length) / 100, speaker),
        st.integers(0, 300), st.integers(5, 150), st.sampled_from(["SPEAKER_00", "SPEAKER_01", "SPEAKER_02"]),
    ),
    max_size=6,
)  # fmt: skip


@given(running_words(), ragged_turns)
def test_no_other_attribution_costs_less(held: list[Word], by: list[Turn]) -> None:
    """Of all ways to give words to speakers near them, none has less cost, counted by hand."""
    spoken = attribute_by_turns([segment(*held)] if held else [], by)
    near = [[one for one in ("SPEAKER_00", "SPEAKER_01", "SPEAKER_02") if _cost(item.word, one, by) is not None]
            or [UNKNOWN_SPEAKER] for item in spoken]  # fmt: skip
    assert all(item.speaker in speakers for item, speakers in zip(spoken, near, strict=True))

    def total(speakers: Sequence[str]) -> float:
        words_cost = sum(_cost(item.word, one, by) or 0.0 for item, one in zip(spoken, speakers, strict=True))
        return words_cost + sum(
            CHANGE_COST_S
            for (before, one), (after, other) in pairwise(zip(spoken, speakers, strict=True))
            if one != other
            and not before.word.text.endswith((".", "?"))
            and after.word.start - before.word.end < CHANGE_PAUSE_S
        )

    assert total([item.speaker for item in spoken]) <= min(map(total, product(*near)), default=0.0) + 1e-9


def _cost(item: Word, speaker: str, by: list[Turn]) -> float | None:
    """What of a word is not in the speaker's turns, and how far it is from them; None if too far."""
    own = [one for one in by if one.speaker == speaker and _distance(item, one) < NEAREST_TURN_S]
    if not own:
        return None
    common = sum(max(0.0, min(item.end, one.end) - max(item.start, one.start)) for one in own)
    return item.end - item.start - common + min(_distance(item, one) for one in own)


def _distance(item: Word, to: Turn) -> float:
    return max(to.start - item.end, item.start - to.end, 0.0)


A, B = "SPEAKER_00", "SPEAKER_01"


@pytest.mark.parametrize(
    ("start", "end", "by", "speaker"),
    [
        (1.0, 1.4, [turn(0, 2, A)], A),
        (1.0, 1.4, [turn(0, 1.1, A), turn(1.1, 3, B)], B),
        (1.0, 1.4, [turn(0, 1.3, A), turn(1.3, 3, B)], A),
        (1.0, 1.6, [turn(0.9, 1.2, A), turn(1.2, 1.4, B), turn(1.4, 2, A)], A),
        (1.0, 1.6, [turn(0, 9, A), turn(1.1, 1.2, B)], A),
        (1.0, 1.4, [turn(0, 0.9, A), turn(1.6, 3, B)], A),
        (1.0, 1.4, [turn(0, 0.7, A), turn(1.6, 3, B)], B),
        (3.0, 3.4, [turn(0, 1.01, A)], A),
        (3.1, 3.4, [turn(0, 1, A)], UNKNOWN_SPEAKER),
        (1.0, 1.4, [turn(3.39, 4, B)], B),
        (1.0, 1.4, [turn(3.41, 4, B)], UNKNOWN_SPEAKER),
        (1.0, 1.5, [turn(0, 0.5, A), turn(2.0, 3, B)], A),
        (1.0, 1.4, [], UNKNOWN_SPEAKER),
        (1.0, 1.0, [turn(0.5, 1.5, A), turn(1.6, 3, B)], A),
        (50.0, 50.4, [turn(0, 60, A), *[turn(at, at + 0.5, B) for at in range(0, 49, 2)]], A),
    ],
    ids=[
        "inside", "mostly the second", "mostly the first", "two short ones of one", "a long one around a short one",
        "nearest before", "nearest after", "1.99 s after", "2.1 s after", "1.99 s before", "2.01 s before",
        "half-way: the earlier", "no turns",
        "a word of no length", "a long turn that began long ago",
    ],
)  # fmt: skip
def test_the_speaker_of_a_word(start: float, end: float, by: list[Turn], speaker: str) -> None:
    """Most common time decides; without any, the nearest turn within two seconds; else nobody."""
    spoken = attribute_by_turns([segment(word("yes", start, end))], by)
    assert [speaker] == [item.speaker for item in spoken]


@pytest.mark.parametrize(
    ("text", "by", "speakers"),
    [
        ("one two three four", [turn(0, 0.8, A), turn(0.8, 1.15, B), turn(1.15, 2, A)], "AAAA"),
        ("one two three four", [turn(0, 0.8, A), turn(0.8, 1.6, B)], "AABB"),
        ("one two. three four", [turn(0, 1.05, A), turn(1.05, 1.6, B)], "AABB"),
        ("one two. three four", [turn(0, 0.95, A), turn(0.95, 1.6, B)], "AABB"),
        ("one two three. four", [turn(0, 0.95, A), turn(0.95, 1.6, B)], "AAAB"),
        ("one two. three. four", [turn(0, 0.8, A), turn(0.8, 1.2, B), turn(1.2, 1.6, A)], "AABA"),
        ("one two three four", [turn(0, 0.8, A), turn(1.15, 2, B)], "AABB"),
    ],
    ids=[
        "a word in a sentence does not flip", "half a sentence each", "a ragged turn", "the first word of a sentence",
        "the last word of a sentence", "a yes between sentences", "what no turn covers goes to the nearer sentence",
    ],
)  # fmt: skip
def test_speakers_change_where_sentences_do(text: str, by: list[Turn], speakers: str) -> None:
    """In a sentence without a pause, a change of speaker must be worth it."""
    spoken = attribute_by_turns([segment(*words(text))], by)
    assert [{"A": A, "B": B}[one] for one in speakers] == [item.speaker for item in spoken]


def test_a_pause_lets_a_word_be_somebody_elses() -> None:
    """Between pauses of 0.3 s, a word is whose turn it lies in."""
    held = [word("so"), word("yes", 0.7), word("then", 1.4)]
    by = [turn(0, 0.6, A), turn(0.7, 1.1, B), turn(1.3, 2, A)]
    assert [A, B, A] == [item.speaker for item in attribute_by_turns([segment(*held)], by)]


def test_words_far_from_every_turn() -> None:
    """They are whoever is named for that."""
    assert ["agent"] == [item.speaker for item in attribute_by_turns([segment(word("yes"))], [turn(5, 6)], "agent")]


# ------------------------------------------------------------------------------------------------------- of a call


@given(segments(), turns, st.booleans(), st.booleans())
def test_every_word_of_a_call_once(found: list[Segment], by: list[Turn], first: bool, second: bool) -> None:
    """In their order, unchanged but for their marks, whichever channels were diarized."""
    heard = {channel: diarization(*by) for channel, wanted in enumerate((first, second)) if wanted}
    spoken = attribute(found, ("agent", "customer"), heard).words
    assert words_of(found) == [replace(item.word, overlap=False) for item in spoken]
    assert [part.channel for part in found for _ in part.words] == [item.segment.channel for item in spoken]


@given(segments())
def test_channels_say_who_speaks(found: list[Segment]) -> None:
    """Where each channel has its speaker, all its words are theirs, and those talk who have words."""
    given_to = attribute(found, ("agent", "customer"))
    assert [("agent", "customer")[item.segment.channel] for item in given_to.words] == [
        item.speaker for item in given_to.words
    ]
    assert {item.speaker for item in given_to.words} == {one.speaker for one in given_to.talks}
    assert list(given_to.talks) == sorted(given_to.talks)


def test_talks_of_channels_bridge_breaths() -> None:
    """Words with no more than a breath between them are one turn."""
    held = [word("a", 0.0, 0.4), word("b", 0.65, 1.0), word("c", 1.4, 2.0)]
    assert (turn(0.0, 1.0, "agent"), turn(1.4, 2.0, "agent")) == attribute([segment(*held)], ("agent",)).talks


def test_talks_of_one_channel_are_the_diarizers() -> None:
    """Turns may overlap; of who has no words, there are none."""
    heard = Diarization(
        (turn(0, 2, A), turn(1.5, 3, B), turn(5, 6, "SPEAKER_02")),
        (turn(0, 1.7, A), turn(1.7, 3, B), turn(5, 6, "SPEAKER_02")),
    )
    given_to = attribute([segment(*words("one two. three four. five"))], (UNKNOWN_SPEAKER,), {0: heard})
    assert (turn(0, 2, A), turn(1.5, 3, B)) == given_to.talks[:2]
    assert 2 == len(given_to.talks)


@pytest.mark.parametrize(
    ("other", "start", "marked"),
    [("B", 0.5, True), ("B", 0.89, True), ("B", 0.91, False), ("B", 1.0, False), ("B", 2.0, False), ("A", 0.5, False)],
    ids=["half", "0.11 s", "0.09 s", "touching", "apart", "same speaker"],
)
def test_words_in_overlap_of_channels(other: str, start: float, marked: bool) -> None:
    """Both words say so when two people talk at once for more than a tenth of a second."""
    parts = [segment(word("one", 0.0, 1.0)), segment(word("two", start, start + 1.0), channel=1)]
    assert [marked, marked] == [item.word.overlap for item in attribute(parts, ("A", other)).words]


def test_words_in_overlap_of_turns() -> None:
    """In one channel, the diarizer hears who talks at once."""
    heard = Diarization((turn(0, 1.2, A), turn(0.8, 2, B)), (turn(0, 1, A), turn(1, 2, B)))
    given_to = attribute([segment(*words("one two three four five"))], (UNKNOWN_SPEAKER,), {0: heard})
    assert [False, False, True, False, False] == [item.word.overlap for item in given_to.words]


def test_a_long_word_under_many_short_ones() -> None:
    """Overlap is found also where many words lie between the two that share time."""
    talk = segment(word("well", 0.0, 30.0))
    others = segment(*[word("yes", at, at + 0.2) for at in range(1, 30)], channel=1)
    assert all(item.word.overlap for item in attribute([talk, others], (A, B)).words)


def test_a_short_word_under_a_long_one() -> None:
    """A word shorter than what counts as ragged is in overlap when half of it is."""
    parts = [segment(word("one", 0.0, 1.0)), segment(word("ok", 0.5, 0.56), channel=1)]
    assert [False, True] == [item.word.overlap for item in attribute(parts, (A, B)).words]


@pytest.mark.parametrize(
    ("by", "expected"),
    [
        ([turn(0, 5, "x")], ["agent"] * 3),
        ([turn(0, 1, "x"), turn(2, 3, "y"), turn(4, 5, "x")], ["agent_00", "agent_01", "agent_00"]),
        ([turn(0, 5, "x"), turn(9, 10, "y")], ["agent"] * 3),
        ([turn(0, 1, "x"), turn(2, 3, "y")], ["agent_00", "agent_01", "agent_01"]),
        ([turn(-9, -8, "x")], ["agent"] * 3),
    ],
    ids=["one", "a hand-over and back", "one without words does not count", "the nearest", "too far from every turn"],
)
def test_several_in_a_channel(by: list[Turn], expected: list[str]) -> None:
    """One keeps the channel's name, several get a number each; nobody is told of who says nothing."""
    held = segment(word("good", 0.2), word("well.", 2.2), word("bye", 4.2))
    given_to = attribute([held], ["agent"], {0: diarization(*by)})
    assert expected == [item.speaker for item in given_to.words]
    assert set(expected) == {one.speaker for one in given_to.talks}


def test_who_has_no_turn_talks_by_the_words() -> None:
    """Words that are nobody's are talk, too, and disturb others."""
    parts = [segment(word("yes", 9.0, 9.4)), segment(word("hello", 9.0, 9.4), channel=1)]
    given_to = attribute(parts, [UNKNOWN_SPEAKER, "agent"], {0: diarization(turn(0, 1, A))})
    assert (turn(9.0, 9.4, UNKNOWN_SPEAKER), turn(9.0, 9.4, "agent")) == given_to.talks
    assert [True, True] == [item.word.overlap for item in given_to.words]


def test_nothing_gives_nothing() -> None:
    """A call without words has nobody who says them."""
    assert [] == attribute_by_turns([], [turn()])
    assert ((), ()) == (attribute([], ("agent",)).words, attribute([], ("agent",)).talks)
