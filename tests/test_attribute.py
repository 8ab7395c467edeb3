"""Who said which word, and words into utterances: nothing lost, nothing doubled, no time changed."""

from collections import Counter
from collections.abc import Sequence
from itertools import count, pairwise

import pytest
from builders import region, segment, turn, utterance, word, words
from hypothesis import assume, given
from hypothesis import strategies as st

from tasks.attribute import (
    NEAREST_TURN_S,
    UNKNOWN_SPEAKER,
    SpokenWord,
    attribute_by_channel,
    attribute_by_turns,
    merge,
    spans,
    to_utterances,
)
from tasks.records import Region, Segment, Turn, Utterance, Word

MAX_PAUSE_S = 1.5

# -------------------------------------------------------------------------------------------------- any calls

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


# --------------------------------------------------------------------------------------------- by turns, by channel


@given(segments(), turns)
def test_attribution_by_turns_keeps_every_word(found: list[Segment], by: list[Turn]) -> None:
    """No word is lost, doubled, reordered or changed in text or time, whatever the turns."""
    spoken = attribute_by_turns(found, by)
    assert words_of(found) == [item.word for item in spoken]
    assert all(any(item.word is own for own in item.segment.words) for item in spoken)
    assert {item.speaker for item in spoken} <= {item.speaker for item in by} | {UNKNOWN_SPEAKER}


@given(segments())
def test_attribution_by_channel_keeps_every_word(found: list[Segment]) -> None:
    """The same where each channel has its speaker."""
    spoken = attribute_by_channel(found, ["agent", "customer"])
    assert words_of(found) == [item.word for item in spoken]
    assert [["agent", "customer"][item.segment.channel] for item in spoken] == [item.speaker for item in spoken]


@given(segments(), turns)
def test_the_order_of_turns_does_not_matter(found: list[Segment], by: list[Turn]) -> None:
    """Turns may come in any order."""
    assert attribute_by_turns(found, by) == attribute_by_turns(found, by[::-1])


@given(segments(channels=1), turns)
def test_a_covered_word_goes_to_the_one_who_covers_most(found: list[Segment], by: list[Turn]) -> None:
    """The search that passes over far turns finds what a search of all turns finds."""
    for item in attribute_by_turns(found, by):
        covered: Counter[str] = Counter()
        for one in by:
            common = min(item.word.end, one.end) - max(item.word.start, one.start)
            if common > 0:
                covered[one.speaker] += common
        if covered:
            assert pytest.approx(max(covered.values())) == covered[item.speaker]
        elif item.speaker == UNKNOWN_SPEAKER:
            assert all(_distance(item.word, one) >= NEAREST_TURN_S - 1e-9 for one in by)
        else:
            nearest = min(_distance(item.word, one) for one in by)
            assert any(_distance(item.word, one) <= nearest + 1e-9 for one in by if one.speaker == item.speaker), (
                "a word outside every turn goes to the nearest one"
            )


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


# ---------------------------------------------------------------------------------------------------- utterances


@given(segments(), turns, st.sampled_from([0.2, 1.5, 30.0]))
def test_every_word_is_in_exactly_one_utterance(found: list[Segment], by: list[Turn], max_pause_s: float) -> None:
    """Utterances are ordered by start, numbered from 0, span their words, and hold each word once, unchanged.

    Each is of one speaker, on one channel, in one language, and has the doubts of all its words' segments.
    """
    spoken = attribute_by_turns(found, by)
    utterances = to_utterances(spoken, (0, 1), max_pause_s)
    held = [own for item in utterances for own in item.words]
    assert Counter(words_of(found)) == Counter(held)
    assert list(range(len(utterances))) == [item.index for item in utterances]
    assert sorted(item.start for item in utterances) == [item.start for item in utterances]
    by_word = {item.word.text: item for item in spoken}
    for item in utterances:
        assert item.words
        assert (item.start, item.end) == (min(w.start for w in item.words), max(w.end for w in item.words))
        assert " ".join(w.text for w in item.words) == item.text
        held_in = [by_word[w.text].segment for w in item.words]
        assert {item.speaker} == {by_word[w.text].speaker for w in item.words}
        assert {(item.channel, item.language)} == {(one.channel, one.language) for one in held_in}
        assert {flag for one in held_in for flag in one.flags} == set(item.flags)
        assert len(set(item.flags)) == len(item.flags)
        assert all(after.start - before.end <= max_pause_s for before, after in pairwise(item.words))
        assert all(before.start <= after.start for before, after in pairwise(item.words))


@given(segments(), turns)
def test_the_order_of_segments_does_not_matter(found: list[Segment], by: list[Turn]) -> None:
    """Utterances are those of the call, not of the order in which its channels were decoded."""
    held = words_of(found)
    assume(len(held) == len({(item.start, item.end) for item in held}))
    forward = to_utterances(attribute_by_turns(found, by), (0, 1), MAX_PAUSE_S)
    backward = to_utterances(attribute_by_turns(found[::-1], by), (0, 1), MAX_PAUSE_S)
    assert [(item.text, item.speaker) for item in forward] == [(item.text, item.speaker) for item in backward]


def said(speaker: str, *held: Word, channel: int = 0, **changes: object) -> list[SpokenWord]:
    """Words of one segment, said by somebody."""
    part = segment(*held, channel=channel, **changes)
    return [SpokenWord(item, speaker, part) for item in held]


def texts(utterances: Sequence[Utterance]) -> list[tuple[str, str]]:
    """Who said what."""
    return [(item.speaker, item.text) for item in utterances]


def test_a_change_of_speaker_cuts() -> None:
    """In one channel, each change of speaker starts a new utterance."""
    spoken = [*said(A, *words("hello there")), *said(B, *words("hi", 0.8)), *said(A, *words("so", 1.2))]
    assert [(A, "hello there"), (B, "hi"), (A, "so")] == texts(to_utterances(spoken, (0,), MAX_PAUSE_S))


@pytest.mark.parametrize(("pause_s", "pieces"), [(0.0, 1), (1.0, 1), (1.5, 1), (1.501, 2), (30.0, 2)])
def test_a_long_pause_cuts(pause_s: float, pieces: int) -> None:
    """A pause longer than the setting starts a new utterance, one of exactly that length does not."""
    spoken = said(A, word("one", 0.0, 0.5), word("two", 0.5 + pause_s, 1.0 + pause_s))
    assert pieces == len(to_utterances(spoken, (0,), MAX_PAUSE_S))


def test_a_change_of_language_cuts() -> None:
    """What one speaker says in two languages without a pause are two utterances, each written as its language is."""
    spoken = [
        *said(A, *words("hello there")),
        *said(A, *words("moshi moshi", 0.8), language="ja"),
        *said(A, *words("good bye", 1.6)),
    ]
    found = to_utterances(spoken, (0,), MAX_PAUSE_S)
    assert [("en", "hello there"), ("ja", "moshimoshi"), ("en", "good bye")] == [
        (item.language, item.text) for item in found
    ]


def test_segments_of_one_language_do_not_cut() -> None:
    """Where one segment ends and the next begins in the same language, an utterance goes on."""
    spoken = [*said(A, *words("guten"), language="de"), *said(A, *words("Tag", 0.4), language="de")]
    assert [("de", "guten Tag")] == [(item.language, item.text) for item in to_utterances(spoken, (0,), MAX_PAUSE_S)]


def test_channels_have_languages_of_their_own() -> None:
    """A call may be held in two languages, one a channel."""
    spoken = [
        *said("agent", *words("hello there")),
        *said("customer", word("hola", 0.2, 0.6), channel=1, language="es"),
    ]
    assert [("agent", "en"), ("customer", "es")] == [
        (item.speaker, item.language) for item in to_utterances(spoken, (0, 1), MAX_PAUSE_S)
    ]


def test_flags_are_those_of_all_segments() -> None:
    """An utterance has the doubts about every segment that holds one of its words, each once, as they come."""
    spoken = [
        *said(A, *words("one"), flags=("unsure",)),
        *said(A, *words("two three", 0.4)),
        *said(A, *words("four five six", 1.2), flags=("repetitive", "unsure")),
        *said(B, *words("seven", 2.4), flags=("too_fast",)),
        *said(B, *words("eight", 9.0)),
    ]
    assert [("unsure", "repetitive"), ("too_fast",), ()] == [
        item.flags for item in to_utterances(spoken, (0,), MAX_PAUSE_S)
    ]


def test_channels_do_not_cut_a_sentence() -> None:
    """A short "yes" on the other channel leaves a sentence whole, and is an utterance of its own."""
    spoken = [
        *said("agent", *words("the invoice is due on Monday.", 0.0)),
        *said("customer", word("yes", 1.0, 1.3), channel=1),
    ]
    found = to_utterances(spoken, (0, 1), MAX_PAUSE_S)
    assert [("agent", "the invoice is due on Monday."), ("customer", "yes")] == texts(found)
    assert [0, 1] == [item.channel for item in found]


@pytest.mark.parametrize(
    ("first", "answer_at", "expected"),
    [
        ("it is due.", 1.3, ["it is due.", "yes", "and now"]),
        ("is it due?", 1.3, ["is it due?", "yes", "and now"]),
        ("it is due", 1.3, ["it is due and now", "yes"]),
        ("it is due.", 9.0, ["it is due. and now", "yes"]),
    ],
    ids=["answered after a sentence", "answered after a question", "mid-sentence", "answered later"],
)
def test_an_answer_cuts_between_sentences(first: str, answer_at: float, expected: list[str]) -> None:
    """What the other channel says between two sentences comes between them; mid-sentence it does not cut."""
    spoken = [
        *said("agent", *words(first), *words("and now", 1.8)),
        *said("customer", word("yes", answer_at, answer_at + 0.3), channel=1),
    ]
    assert expected == [item.text for item in to_utterances(spoken, (0, 1), MAX_PAUSE_S)]


def test_the_channel_is_that_of_the_file() -> None:
    """Of three channels of which the first was silent, utterances name the file's channels 1 and 2."""
    spoken = [*said("agent", word("a")), *said("customer", word("b", 1.0), channel=1)]
    assert [1, 2] == [item.channel for item in to_utterances(spoken, (1, 2), MAX_PAUSE_S)]


@pytest.mark.parametrize(
    ("language", "text"),
    [("en", "ho la"), ("de", "ho la"), ("ko", "ho la"), ("ja", "hola"), ("zh", "hola"), ("yue", "hola"),
     ("th", "hola"), ("lo", "hola"), ("my", "hola")],
)  # fmt: skip
def test_languages_join_words_as_they_write(language: str, text: str) -> None:
    """Languages that are written without spaces are joined without; the words stay as they are."""
    (found,) = to_utterances(said(A, *words("ho la"), language=language), (0,), MAX_PAUSE_S)
    assert (text, language, ("ho", "la")) == (found.text, found.language, tuple(item.text for item in found.words))


@pytest.mark.parametrize(
    ("other_speaker", "other_start", "overlap"),
    [(B, 0.5, True), (B, 0.89, True), (B, 0.91, False), (B, 1.0, False), (B, 2.0, False), (A, 0.5, False)],
    ids=["half", "0.11 s", "0.09 s", "touching", "apart", "same speaker"],
)
def test_the_overlap_flag(other_speaker: str, other_start: float, overlap: bool) -> None:
    """Both utterances say so when two people talk at once for more than a tenth of a second."""
    spoken = [
        *said(A, word("one", 0.0, 1.0)),
        *said(other_speaker, word("two", other_start, other_start + 1.0), channel=1),
    ]
    assert [overlap, overlap] == [item.overlap for item in to_utterances(spoken, (0, 1), MAX_PAUSE_S)]


def test_a_long_utterance_overlaps_with_one_that_begins_much_later() -> None:
    """Overlap is found also where many utterances lie between the two that share time."""
    talk = [word(f"w{index}", index, index + 0.9) for index in range(30)]
    yeses = [item for index in range(10) for item in said(B, word("yes", 3 * index + 0.2, 3 * index + 0.5), channel=1)]
    found = to_utterances([*said(A, *talk), *yeses], (0, 1), MAX_PAUSE_S)
    assert 11 == len(found)
    assert all(item.overlap for item in found)


def test_confidence_and_measures_of_trust() -> None:
    """Confidence is the mean of the words; the decoder's measures are those of the segment with most words."""
    spoken = [
        *said(A, word("one", 0.0, 0.3, 0.5), avg_logprob=-1.0, no_speech_prob=0.5, compression_ratio=3.0),
        *said(A, word("two", 0.3, 0.6, 1.0), word("three", 0.6, 0.9, 0.9), avg_logprob=-0.1),
    ]
    (found,) = to_utterances(spoken, (0,), MAX_PAUSE_S)
    assert pytest.approx(0.8) == found.confidence
    assert (-0.1, 0.01, 1.2) == (found.avg_logprob, found.no_speech_prob, found.compression_ratio)


def test_nothing_gives_nothing() -> None:
    """A call without words has no utterances."""
    assert () == to_utterances([], (0,), MAX_PAUSE_S)
    assert [] == attribute_by_turns([], [turn()]) == attribute_by_channel([], ["agent"])


# ------------------------------------------------------------------------------------------------------- regions

regions = st.lists(
    st.builds(lambda start, length: Region(start / 1000, (start + length) / 1000), milliseconds, st.integers(0, 9000)),
    max_size=20,
)


@given(regions)
def test_merged_regions_are_disjoint_and_cover_the_same(found: list[Region]) -> None:
    """Merging loses no moment, adds none, and is done after once."""
    merged = merge(found)
    assert all(before.end < after.start for before, after in pairwise(merged))
    assert all(any(one.start <= item.start and item.end <= one.end for one in merged) for item in found)
    assert {item.start for item in merged} <= {item.start for item in found}
    assert {item.end for item in merged} <= {item.end for item in found}
    assert merged == merge(merged)


def test_spans_of_utterances() -> None:
    """Utterances that touch or overlap are one stretch of speech."""
    talk = [utterance("a", 0.0, 1.0), utterance("b", 1.0, 2.0), utterance("c", 1.5, 1.8), utterance("d", 2.1, 3.0)]
    assert [region(0.0, 2.0), region(2.1, 3.0)] == spans(talk)
