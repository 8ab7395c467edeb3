"""The same speaker across stretches of one call, known by the voice."""

from collections.abc import Mapping

import numpy as np
import pytest
from builders import turn
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.voices import NEW_SPEAKER_S, Voice, VoiceBook, talk_s

LINK = 0.3
# Four voices that are nothing like each other.
ANNA, BEN, CARL, DORA = np.eye(4)


def near(voice: Voice, distance: float, towards: Voice = DORA) -> Voice:
    """A voice at this cosine distance of another one."""
    share = 1 - distance
    return share * voice + np.sqrt(1 - share**2) * towards


def named(book: VoiceBook, **voices: Voice | None) -> dict[str, str]:
    """What a book calls the speakers of a stretch, who talk a minute each; None is a voice that nothing is known of."""
    known = {label: voice for label, voice in voices.items() if voice is not None}
    found = book.match(dict.fromkeys(voices, 60.0), known)
    return {label: name.removeprefix("SPEAKER_") for label, name in found.items()}


def test_the_first_stretch_keeps_the_order_of_its_labels() -> None:
    """What one window calls its speakers, the call calls them, known or not, and however short they talk."""
    book = VoiceBook(4, LINK)
    labels = [f"SPEAKER_{number:02d}" for number in range(4)]
    voices = dict(zip(labels, (CARL, np.full(4, np.nan), ANNA, np.zeros(4)), strict=True))
    assert {label: label for label in labels} == book.match(dict.fromkeys(reversed(labels), 0.1), voices)


def test_who_is_heard_again_is_the_same() -> None:
    """Names follow voices, not the order in which a stretch numbers them; louder is not another."""
    book = VoiceBook(4, LINK)
    assert {"a": "00", "b": "01"} == named(book, a=ANNA, b=BEN)
    assert {"a": "00", "b": "01"} == named(book, a=7 * ANNA, b=near(BEN, 0.2))
    assert {"a": "01", "b": "00"} == named(book, a=BEN, b=ANNA)
    assert {"a": "01"} == named(book, a=BEN)
    assert {} == named(book)
    assert {"x": "00"} == named(book, x=near(ANNA, 0.2))


def test_a_new_voice_is_a_new_speaker() -> None:
    """While there is room, who is farther than the link from everybody known is somebody else."""
    book = VoiceBook(4, LINK)
    assert {"a": "00"} == named(book, a=ANNA)
    assert {"a": "01"} == named(book, a=near(ANNA, 0.31))
    assert {"a": "02", "b": "00", "c": "03"} == named(book, a=BEN, b=near(ANNA, 0.29, BEN), c=CARL)


def test_when_the_call_is_full_the_nearest_is_meant() -> None:
    """No more speakers than the call may have: a voice that nobody has is the nearest free one's, and is not learnt."""
    book = VoiceBook(2, LINK)
    named(book, a=ANNA, b=BEN)
    assert {"a": "01"} == named(book, a=near(BEN, 0.6, CARL))
    assert {"a": "00", "b": "01"} == named(book, a=near(BEN, 0.4, CARL), b=BEN), "the nearest is taken"
    assert {"a": "01", "b": "00"} == named(book, a=CARL, b=ANNA)


def test_few_words_make_no_new_speaker() -> None:
    """The voice of a few words is poor: it is the nearest one's who is free, and new only where nobody is."""
    book = VoiceBook(4, LINK)
    named(book, a=ANNA, b=BEN)
    short = NEW_SPEAKER_S - 0.1
    assert {"a": "SPEAKER_01"} == book.match({"a": short}, {"a": near(BEN, 0.5, CARL)})
    crowd = book.match({"a": 60.0, "b": 60.0, "c": short}, {"a": ANNA, "b": BEN, "c": CARL})
    assert {"a": "SPEAKER_00", "b": "SPEAKER_01", "c": "SPEAKER_02"} == crowd
    assert {"a": "03"} == named(book, a=DORA)


def test_a_good_match_is_not_given_up() -> None:
    """A sure match stays, also where another assignment had the smaller sum of distances that link nobody."""
    book = VoiceBook(4, LINK)
    named(book, a=ANNA, b=BEN)
    # x is Anna without doubt; y could be her too, and is nothing like Ben.
    x, y = np.array([0.9, 0.69, 0.0, 0.0]), np.array([0.72, -0.69, 0.0, 0.0])
    assert {"x": "00", "y": "02"} == named(book, x=x, y=y)


def test_as_many_as_possible_are_matched() -> None:
    """Where two could be one and one of them could be another too, both are known."""
    book = VoiceBook(4, 0.5)
    named(book, a=ANNA, b=BEN)
    both = np.array([0.75, 0.6, 0.0, 0.0])
    assert {"x": "01", "y": "00"} == named(book, x=both, y=near(ANNA, 0.3))


@pytest.mark.parametrize("nothing", [None, np.zeros(4), np.full(4, np.nan), np.array([1, np.inf, 0, 0]), np.zeros(0)])
def test_voices_that_say_nothing(nothing: Voice | None) -> None:
    """Who has no voice is nobody known, is known by no voice later, and spoils nobody's."""
    book = VoiceBook(3, LINK)
    assert {"a": "00", "b": "01"} == named(book, a=ANNA, b=nothing)
    assert {"a": "02"} == named(book, a=BEN), "of the second nothing is known"
    assert {"a": "00", "b": "02"} == named(book, a=ANNA, b=BEN)
    (name,) = named(book, a=nothing).values()
    assert name in {"00", "01", "02"}, "the call is full"
    assert {"a": "00", "b": "02"} == named(book, a=ANNA, b=BEN)


def test_a_voice_is_learnt_from_all_that_was_said() -> None:
    """A voice that changes little by little stays the same speaker; a long stretch weighs more than a short one."""
    book = VoiceBook(2, LINK)
    book.match({"a": 60.0}, {"a": ANNA})
    for distance in (0.2, 0.25, 0.35):
        assert {"a": "00"} == named(book, a=near(ANNA, distance, BEN))
    heavy = VoiceBook(2, LINK)
    heavy.match({"a": 6000.0}, {"a": ANNA})
    heavy.match({"a": 6.0}, {"a": near(ANNA, 0.2, BEN)})
    assert {"a": "01"} == named(heavy, a=near(ANNA, 0.35, BEN))


def voice() -> st.SearchStrategy[Voice]:
    """Any voice of three numbers, also such that say nothing."""
    numbers = st.sampled_from([0.0, 0.1, 0.5, 1.0, -1.0, np.nan, np.inf, 1e-300, 1e200])
    return st.lists(numbers, min_size=3, max_size=3).map(np.array)


@given(
    stretches=st.lists(
        st.dictionaries(st.sampled_from("abcd"), st.tuples(st.floats(0, 100), st.none() | voice()), max_size=4),
        max_size=6,
    ),
    most=st.integers(1, 4),
    link=st.floats(0, 1),
)
@settings(max_examples=300, deadline=None)
def test_any_call(stretches: list[Mapping[str, tuple[float, Voice | None]]], most: int, link: float) -> None:
    """Nobody is lost, no two of a stretch become one, and there are no more than may be and names without gaps."""
    book, seen = VoiceBook(most, link), set[str]()
    for whole in stretches:
        stretch = dict(list(whole.items())[:most])
        voices = {label: given for label, (_, given) in stretch.items() if given is not None}
        found = book.match({label: seconds for label, (seconds, _) in stretch.items()}, voices)
        assert set(stretch) == set(found)
        assert len(found) == len(set(found.values()))
        seen |= set(found.values())
    assert {f"SPEAKER_{number:02d}" for number in range(len(seen))} == seen
    assert len(seen) <= most


@given(order=st.permutations([ANNA, BEN, CARL, DORA]), seed=st.integers(0, 99))
@settings(max_examples=50, deadline=None)
def test_the_order_of_a_stretch_does_not_matter(order: list[Voice], seed: int) -> None:
    """Four people in any order, a little hoarse: each keeps the name of the first stretch."""
    rng = np.random.default_rng(seed)
    book = VoiceBook(4, LINK)
    first = named(book, **dict(zip("abcd", order, strict=True)))
    again = rng.permutation(4)
    hoarse = {f"x{place}": order[index] + 0.2 * rng.standard_normal(4) for place, index in enumerate(again)}
    found = named(book, **hoarse)
    assert [first["abcd"[index]] for index in again] == [found[f"x{place}"] for place in range(4)]


def test_seconds_of_talk() -> None:
    """Of each speaker, all turns together."""
    held = [turn(0, 2, "a"), turn(2, 2.5, "b"), turn(3, 4, "a")]
    assert {"a": 3.0, "b": 0.5} == talk_s(held)
    assert {} == talk_s([])
