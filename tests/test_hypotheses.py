"""Hypotheses: what is suspicious about a chunk, which of two is better, and where nobody speaks."""

from collections.abc import Sequence
from itertools import pairwise, permutations

import pytest
from builders import region, word, words
from hypothesis import given
from hypothesis import strategies as st
from speech import hypothesis, regions, texts

from tasks.hypotheses import (
    FAULTS,
    LOOP_TIMES,
    LOOP_WORDS,
    MISSED_S,
    SUPPORT_MARGIN_S,
    better,
    find_faults,
    loops,
    says_twice,
    uncovered,
    unsupported,
    why_no_speech,
)
from tasks.records import Region, Word

COUNT = "one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen"
VOICE = (region(0, 4),)
# On a grid of eighths of a second, sums are exact.
VOICES = regions(most=5, longest=24, widest=24)
WORDS = st.lists(
    st.tuples(st.integers(0, 200), st.integers(0, 16)).map(
        lambda found: word("yes", found[0] / 8, (found[0] + found[1]) / 8)
    ),
    max_size=8,
)
HYPOTHESES = st.builds(
    hypothesis,
    faults=st.sets(st.sampled_from(FAULTS)).map(sorted),
    avg_logprob=st.sampled_from([-1.2, -0.3, -0.1]),
    missed_s=st.sampled_from([0.0, 1.5, 1.6, 3.0, 3.2, 9.0]),
)


def faults(
    found: Sequence[Word], voices: Sequence[Region], avg_logprob: float = -0.2, compression_ratio: float = 1.2
) -> tuple[str, ...]:
    """What is suspicious, without the seconds."""
    return find_faults(found, avg_logprob, compression_ratio, voices)[0]


# ---------------------------------------------------------------------------------------------------------- faults


def test_plain_speech_is_not_suspicious() -> None:
    """Ten words in four seconds of voice, fairly likely; silence with nothing said in it neither."""
    assert ((), 0.0) == find_faults(words("a b c d e f g h i j"), -0.2, 1.2, VOICE)
    assert ((), 0.0) == find_faults((), 0.0, 0.0, ())
    assert not hypothesis().suspicious


@pytest.mark.parametrize(("ratio", "expected"), [(2.4, ()), (2.41, ("repetitive",))])
def test_text_that_compresses_well(ratio: float, expected: tuple[str, ...]) -> None:
    """Over Whisper's bound it repeats itself, whatever its words are."""
    assert expected == faults(words("a b c d e f g h i j"), VOICE, compression_ratio=ratio)


def test_a_loop_of_words() -> None:
    """Too short to compress well, and still said again and again."""
    assert ("repetitive",) == faults(words("thank you " * 5), VOICE)
    assert () == faults(words("no no no a b c d e f g"), VOICE)


@pytest.mark.parametrize(("avg_logprob", "expected"), [(-1.0, ()), (-1.01, ("unsure",))])
def test_unlikely_text(avg_logprob: float, expected: tuple[str, ...]) -> None:
    """Under Whisper's bound it is a guess; saying nothing is none."""
    assert expected == faults(words("a b c d e f g h i j"), VOICE, avg_logprob)
    assert () == faults((), (), avg_logprob)


@pytest.mark.parametrize(
    ("text", "voiced_s", "expected"),
    [
        (COUNT, 2.2, ()),
        (COUNT, 2.1, ("too_fast",)),
        ("one two three four five six", 0.9, ()),
        ("one two three four five six", 0.8, ("too_fast",)),
        ("one two three four five", 0.1, ()),
    ],
)
def test_words_faster_than_people_speak(text: str, voiced_s: float, expected: tuple[str, ...]) -> None:
    """More than seven in a second of voice, where there are more than a few."""
    assert expected == faults(words(text, 0.0, voiced_s), (region(0, voiced_s),))


def test_speed_is_measured_by_voice() -> None:
    """Words that are spread over a second and a half of which half a second holds a voice are too many for it."""
    assert ("too_fast",) == faults(words(COUNT, 0.0, 1.5), (region(0.3, 0.55), region(0.95, 1.2)))


@pytest.mark.parametrize(
    ("voices", "missed_s"),
    [
        ([(0, 4)], 0.0),
        ([(0, 5.75)], 0.0),
        ([(0, 6)], 1.7),
        ([(0, 4), (10, 14)], 4.0),
        ([(0, 4), (10, 11), (12, 13)], 0.0),
        ([(0, 6), (10, 12)], 3.7),
    ],
)
def test_speech_that_was_not_heard(voices: list[tuple[float, float]], missed_s: float) -> None:
    """A second and a half of voice, farther from every word than a margin; short stretches are nothing."""
    found = find_faults(words("a b c d e f g h i j"), -0.2, 1.2, [region(*times) for times in voices])
    assert (("missed_speech",) if missed_s else (), pytest.approx(missed_s)) == found


@pytest.mark.parametrize(
    ("count", "duration_s", "expected"),
    [
        (5, 8.0, ("sparse",)),
        (6, 8.0, ()),
        (0, 28.0, ("sparse",)),
        (19, 28.0, ("sparse",)),
        (20, 28.0, ()),
        (5, 7.9, ()),
        (5, 0.0, ()),
    ],
)
def test_text_that_stops_early(count: int, duration_s: float, expected: tuple[str, ...]) -> None:
    """Fewer than seven words in ten seconds of speech, where there is much of it and its length is known."""
    said = words(" ".join(f"w{number}" for number in range(count)))
    voices = [Region(item.start, item.end) for item in said]
    assert (expected, 0.0) == find_faults(said, -0.2, 1.2, voices, duration_s)


def test_words_without_a_voice() -> None:
    """Two of them make a chunk suspicious, one does not."""
    said = words("a b c d e f g h i j")
    assert () == faults([*said, word("you", 8.0)], VOICE)
    assert ("unsupported",) == faults([*said, word("thank", 7.0), word("you", 8.0)], VOICE)


def test_faults_come_in_order() -> None:
    """All of them at once, as they are named."""
    voices = (region(20, 22),)
    assert (FAULTS, 2.0) == find_faults(words("you " * 15), -1.5, 3.0, voices, 22.0)
    assert hypothesis(faults=["unsure"]).suspicious


@given(WORDS, VOICES)
def test_missed_seconds_go_with_their_fault(found: list[Word], voices: tuple[Region, ...]) -> None:
    """The seconds are those of whole stretches, and none where there is no fault."""
    named, missed_s = find_faults(found, -0.2, 1.2, voices)
    assert ("missed_speech" in named) == (missed_s > 0)
    assert missed_s == 0 or missed_s >= MISSED_S
    assert missed_s <= sum(voice.duration_s for voice in voices) + 1e-9


# ----------------------------------------------------------------------------------------------------------- loops


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", False),
        ("the amount is due. The amount is due.", True),
        ("Yes, this is Ann Jones. I would like to know. yes this is Ann Jones I would like to know", True),
        ("Yes, this is Ann Jones. I would like to know. Yes, this is Ann Jones.", False),
        ("oh well the amount is due The amount is due", True),
        ("thank you thank you thank you", False),
        ("what is the source account? savings. what is the destination account?", False),
        ("seven seven seven seven seven", False),
        ("seven " * 8, True),
        (COUNT, False),
    ],
)
def test_what_is_said_twice(text: str, expected: bool) -> None:
    """Four words or more that follow themselves, whatever marks and capitals they have."""
    assert expected == says_twice(text.split())


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", False),
        ("no no no", False),
        ("no " * 7, False),
        ("no " * 8, True),
        ("No, no! no. NO no no? no no", True),
        ("thank you " * 3, False),
        ("thank you " * 4, True),
        ("well then thank you thank you thank you thank you bye", True),
        ("I am here " * 3, False),
        ("I am here " * 4, True),
        ("are you still there " * 4, True),
        ("are you still there now " * 9, False),
        ("one two three four one two three five one two three six one two three seven", False),
        ("seven seven seven two two two five five five one one one", False),
        (COUNT, False),
    ],
)
def test_loops(text: str, expected: bool) -> None:
    """Up to four words, four times in a row; one word twice as often: people say "no no no"."""
    assert expected == loops(text.split())


@given(
    before=st.lists(st.integers(), max_size=6, unique=True),
    length=st.integers(1, LOOP_WORDS),
    times=st.integers(1, 12),
    after=st.lists(st.integers(), max_size=6, unique=True),
)
def test_a_loop_is_found_wherever_it_is(before: list[int], length: int, times: int, after: list[int]) -> None:
    """Between any words of which none comes twice."""
    text = [f"b{number}" for number in before]
    text += [f"loop{number}" for number in range(length)] * times
    text += [f"a{number}" for number in after]
    assert (times >= (LOOP_TIMES if length > 1 else 2 * LOOP_TIMES)) == loops(text)


# ---------------------------------------------------------------------------------------------------------- better


@given(HYPOTHESES, HYPOTHESES)
def test_a_preference_goes_one_way(one: object, other: object) -> None:
    """Of two, never each is better than the other one; none is better than itself."""
    assert not (better(one, other) and better(other, one))
    assert not better(one, one)


@pytest.mark.parametrize(
    ("worse", "best"),
    [
        # A loop is worse than anything.
        (
            hypothesis(faults=["repetitive"], avg_logprob=-0.1),
            hypothesis(faults=["unsure", "too_fast", "missed_speech"], avg_logprob=-2.0, missed_s=20.0),
        ),
        # Then what was not heard, if it is much.
        (
            hypothesis(faults=["missed_speech"], avg_logprob=-0.1, missed_s=4.0),
            hypothesis(faults=["unsure", "too_fast"], avg_logprob=-1.2),
        ),
        (hypothesis(faults=["missed_speech"], missed_s=9.0), hypothesis(faults=["missed_speech"], missed_s=7.4)),
        # Then the number of other faults.
        (hypothesis(faults=["unsure", "too_fast"], avg_logprob=-1.1), hypothesis(faults=["unsure"], avg_logprob=-2.0)),
        (hypothesis(faults=["missed_speech"], avg_logprob=-0.1, missed_s=1.5), hypothesis(avg_logprob=-0.9)),
        # Then how likely the tokens are.
        (hypothesis(avg_logprob=-0.3), hypothesis(avg_logprob=-0.2)),
        (
            hypothesis(faults=["missed_speech"], missed_s=7.6, avg_logprob=-0.3),
            hypothesis(faults=["missed_speech"], missed_s=8.8, avg_logprob=-0.2),
        ),
    ],
)
def test_what_is_better(worse: object, best: object) -> None:
    """Each measure decides where those before it do not."""
    assert (True, False) == (better(worse, best), better(best, worse))


@pytest.mark.parametrize("found", permutations([hypothesis("one"), hypothesis("other")]))
def test_what_came_first_wins_a_draw(found: tuple[object, object]) -> None:
    """Nothing speaks against it."""
    assert not better(*found)


# --------------------------------------------------------------------------------------------- voices and words


@given(VOICES, WORDS, st.sampled_from([0.0, 0.25, 1.0]))
def test_uncovered_is_what_no_word_reaches(held: tuple[Region, ...], found: list[Word], margin_s: float) -> None:
    """Moment by moment; in order, disjoint, nothing empty."""
    gaps = uncovered(held, found, margin_s)
    moments = [(step + 0.5) / 8 for step in range(round(held[-1].end * 8) if held else 0)]
    for moment in moments:
        spoken = any(one.start <= moment <= one.end for one in held)
        covered = any(item.start - margin_s <= moment <= item.end + margin_s for item in found)
        assert (spoken and not covered) == any(gap.start <= moment <= gap.end for gap in gaps)
    assert all(gap.duration_s > 0 for gap in gaps)
    assert all(before.end <= after.start for before, after in pairwise(gaps))


def test_nothing_covers_everything_lies_open() -> None:
    """Without words all of it; without regions none."""
    held = (region(0, 1), region(2, 3))
    assert (list(held), []) == (uncovered(held, (), 0.3), uncovered((), words("a b"), 0.3))


@given(VOICES, WORDS)
def test_unsupported_words_are_far_from_every_voice(voices: tuple[Region, ...], found: list[Word]) -> None:
    """No nearer than the margin, and all of them."""

    def distance(item: Word) -> float:
        return min((max(voice.start - item.end, item.start - voice.end) for voice in voices), default=99.0)

    assert [item for item in found if distance(item) >= SUPPORT_MARGIN_S] == unsupported(found, voices)


@pytest.mark.parametrize(
    ("start", "end", "expected"),
    [(0.0, 0.5, ["you"]), (0.0, 0.71, []), (1.2, 1.4, []), (1.0, 2.0, []), (2.29, 3.0, []), (2.31, 3.0, ["you"])],
)
def test_a_word_near_a_voice_is_supported(start: float, end: float, expected: list[str]) -> None:
    """Up to 0.3 s before it or after it."""
    assert expected == texts(unsupported([word("you", start, end)], (region(1.0, 2.0),)))


# --------------------------------------------------------------------------------------------------- no speech


@pytest.mark.parametrize(
    ("no_speech_prob", "avg_logprob", "voices", "expected"),
    [
        (0.01, -0.2, [(0.0, 1.0)], None),
        (0.01, -0.2, [], "no_voice"),
        (0.99, -2.0, [], "no_voice"),
        (0.01, -0.2, [(0.0, 0.05), (1.0, 1.04)], "no_voice"),
        (0.01, -0.2, [(0.0, 0.05), (1.0, 1.06)], None),
        (0.61, -0.71, [(0.0, 1.0)], "no_speech"),
        (0.61, -0.70, [(0.0, 1.0)], None),
        (0.60, -0.71, [(0.0, 1.0)], None),
        (0.61, -0.2, [(0.0, 1.0)], None),
        (0.01, -1.5, [(0.0, 1.0)], None),
    ],
)
def test_where_nobody_speaks(
    no_speech_prob: float, avg_logprob: float, voices: list[tuple[float, float]], expected: str | None
) -> None:
    """Where no voice is heard, or the decoder doubts both that there is speech and what it wrote."""
    found = hypothesis(no_speech_prob=no_speech_prob, avg_logprob=avg_logprob)
    assert expected == why_no_speech(found, [region(*times) for times in voices])


@pytest.mark.parametrize(
    ("voiced_s", "missed_s", "avg_logprob", "expected"),
    [
        (10.0, 5.1, -0.71, "no_words"),
        (10.0, 5.0, -0.71, None),
        (10.0, 5.1, -0.70, None),
        (5.0, 4.9, -0.71, None),
        (5.1, 4.9, -0.71, "no_words"),
    ],
)
def test_where_somebody_sings(voiced_s: float, missed_s: float, avg_logprob: float, expected: str | None) -> None:
    """Where the most of a long voice has no words, and what there is, is unlikely."""
    found = hypothesis(avg_logprob=avg_logprob, missed_s=missed_s, faults=["missed_speech"])
    assert expected == why_no_speech(found, (region(1.0, 1.0 + voiced_s),))
