"""Words into utterances: every word once, cut where a reader expects it."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

import pytest
from builders import region, segment, utterance, word, words
from hypothesis import assume, given
from hypothesis import strategies as st
from talk import segments, turns, words_of

from tasks.attribute import SpokenWord, attribute_by_turns
from tasks.records import Segment, Turn, Utterance, Word
from tasks.setting_groups import UtteranceSettings
from tasks.utterances import spans, to_utterances

SETTINGS = UtteranceSettings(max_pause_s=1.5, sentence_pause_s=0.5, long_s=20.0)

A, B = "SPEAKER_00", "SPEAKER_01"


@given(segments(), turns, st.sampled_from([0.2, 1.5, 30.0]))
def test_every_word_is_in_exactly_one_utterance(found: list[Segment], by: list[Turn], max_pause_s: float) -> None:
    """Utterances are ordered by start, numbered from 0, span their words, and hold each word once, unchanged.

    Each is of one speaker, on one channel, in one language, and has the doubts of all its words' segments.
    """
    spoken = attribute_by_turns(found, by)
    utterances = to_utterances(spoken, (0, 1), UtteranceSettings(max_pause_s=max_pause_s))
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
    forward = to_utterances(attribute_by_turns(found, by), (0, 1), SETTINGS)
    backward = to_utterances(attribute_by_turns(found[::-1], by), (0, 1), SETTINGS)
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
    assert [(A, "hello there"), (B, "hi"), (A, "so")] == texts(to_utterances(spoken, (0,), SETTINGS))


@pytest.mark.parametrize(("pause_s", "pieces"), [(0.0, 1), (1.0, 1), (1.5, 1), (1.501, 2), (30.0, 2)])
def test_a_long_pause_cuts(pause_s: float, pieces: int) -> None:
    """A pause longer than the setting starts a new utterance, one of exactly that length does not."""
    spoken = said(A, word("one", 0.0, 0.5), word("two", 0.5 + pause_s, 1.0 + pause_s))
    assert pieces == len(to_utterances(spoken, (0,), SETTINGS))


def test_a_change_of_language_cuts() -> None:
    """What one speaker says in two languages without a pause are two utterances, each written as its language is."""
    spoken = [
        *said(A, *words("hello there")),
        *said(A, *words("moshi moshi", 0.8), language="ja"),
        *said(A, *words("good bye", 1.6)),
    ]
    found = to_utterances(spoken, (0,), SETTINGS)
    assert [("en", "hello there"), ("ja", "moshimoshi"), ("en", "good bye")] == [
        (item.language, item.text) for item in found
    ]


def test_segments_of_one_language_do_not_cut() -> None:
    """Where one segment ends and the next begins in the same language, an utterance goes on."""
    spoken = [*said(A, *words("guten"), language="de"), *said(A, *words("Tag", 0.4), language="de")]
    assert [("de", "guten Tag")] == [(item.language, item.text) for item in to_utterances(spoken, (0,), SETTINGS)]


def test_channels_have_languages_of_their_own() -> None:
    """A call may be held in two languages, one a channel."""
    spoken = [
        *said("agent", *words("hello there")),
        *said("customer", word("hola", 0.2, 0.6), channel=1, language="es"),
    ]
    assert [("agent", "en"), ("customer", "es")] == [
        (item.speaker, item.language) for item in to_utterances(spoken, (0, 1), SETTINGS)
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
        item.flags for item in to_utterances(spoken, (0,), SETTINGS)
    ]


def test_channels_do_not_cut_a_sentence() -> None:
    """A short "yes" on the other channel leaves a sentence whole, and is an utterance of its own."""
    spoken = [
        *said("agent", *words("the invoice is due on Monday.", 0.0)),
        *said("customer", word("yes", 1.0, 1.3), channel=1),
    ]
    found = to_utterances(spoken, (0, 1), SETTINGS)
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
        *said("agent", *words(first), *words("and now", 1.6)),
        *said("customer", word("yes", answer_at, answer_at + 0.3), channel=1),
    ]
    assert expected == [item.text for item in to_utterances(spoken, (0, 1), SETTINGS)]


def test_the_channel_is_that_of_the_file() -> None:
    """Of three channels of which the first was silent, utterances name the file's channels 1 and 2."""
    spoken = [*said("agent", word("a")), *said("customer", word("b", 1.0), channel=1)]
    assert [1, 2] == [item.channel for item in to_utterances(spoken, (1, 2), SETTINGS)]


@pytest.mark.parametrize(
    ("language", "text"),
    [("en", "ho la"), ("de", "ho la"), ("ko", "ho la"), ("ja", "hola"), ("zh", "hola"), ("yue", "hola"),
     ("th", "hola"), ("lo", "hola"), ("my", "hola")],
)  # fmt: skip
def test_languages_join_words_as_they_write(language: str, text: str) -> None:
    """Languages that are written without spaces are joined without; the words stay as they are."""
    (found,) = to_utterances(said(A, *words("ho la"), language=language), (0,), SETTINGS)
    assert (text, language, ("ho", "la")) == (found.text, found.language, tuple(item.text for item in found.words))


def test_an_utterance_overlaps_where_one_of_its_words_does() -> None:
    """Somebody else talks in the time of one of its words."""
    talk = [word("one"), replace(word("two", 0.4), overlap=True), word("three", 3.0)]
    assert [True, False] == [item.overlap for item in to_utterances(said(A, *talk), (0,), SETTINGS)]


@pytest.mark.parametrize(
    ("text", "pause_s", "pieces"),
    [
        ("It is due.", 0.5, ["It is due.", "And now"]),
        ("Is it due?", 0.6, ["Is it due?", "And now"]),
        ('He said "due."', 0.5, ['He said "due."', "And now"]),
        ("It is due.", 0.49, ["It is due. And now"]),
        ("it is due", 1.4, ["it is due And now"]),
        ("it is due,", 1.4, ["it is due, And now"]),
    ],
    ids=["a pause after a sentence", "after a question", "in quotes", "a shorter pause", "no sentence", "a comma"],
)
def test_a_sentence_and_a_pause_cut(text: str, pause_s: float, pieces: list[str]) -> None:
    """A short pause cuts where a sentence ends."""
    first = words(text)
    spoken = said(A, *first, *words("And now", first[-1].end + pause_s))
    assert pieces == [item.text for item in to_utterances(spoken, (0,), SETTINGS)]


def test_a_long_utterance_ends_with_its_sentence() -> None:
    """Who talks without pause is cut at the first sentence end after so many seconds."""
    spoken = said(A, *words("one two. " * 40))
    found = to_utterances(spoken, (0,), SETTINGS)
    assert [50, 30] == [len(item.words) for item in found], "20 s of words of 0.4 s"


def test_confidence_and_measures_of_trust() -> None:
    """Confidence is the mean of the words; the decoder's measures are those of the segment with most words."""
    spoken = [
        *said(A, word("one", 0.0, 0.3, 0.5), avg_logprob=-1.0, no_speech_prob=0.5, compression_ratio=3.0),
        *said(A, word("two", 0.3, 0.6, 1.0), word("three", 0.6, 0.9, 0.9), avg_logprob=-0.1),
    ]
    (found,) = to_utterances(spoken, (0,), SETTINGS)
    assert pytest.approx(0.8) == found.confidence
    assert (-0.1, 0.01, 1.2) == (found.avg_logprob, found.no_speech_prob, found.compression_ratio)


def test_nothing_gives_nothing() -> None:
    """A call without words has no utterances."""
    assert () == to_utterances([], (0,), SETTINGS)


def test_spans_of_utterances() -> None:
    """Utterances that touch or overlap are one stretch of speech."""
    talk = [utterance("a", 0.0, 1.0), utterance("b", 1.0, 2.0), utterance("c", 1.5, 1.8), utterance("d", 2.1, 3.0)]
    assert [region(0.0, 2.0), region(2.1, 3.0)] == spans(talk)
