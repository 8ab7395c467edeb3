"""tcpWER: words are compared within reach in time."""

import math
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evaluation.hypotheses import HypothesisUtterance
from evaluation.rates import ErrorCounts
from evaluation.reach import TimedWord, count_timed_errors
from evaluation.references import StmLine
from evaluation.speakers import SpeakerErrors, speaker_errors
from evaluation.timed import timed_speaker_errors
from evaluation.wer import count_errors
from tasks.records import Word

COLLARS = st.sampled_from([0.0, 0.1, 0.5, 1.0, 5.0])


@st.composite
def utterances(draw: st.DrawFn) -> list[HypothesisUtterance]:
    """A call on a grid of tenths of a second; speakers overlap others and themselves."""
    said = []
    for speaker in draw(st.lists(st.sampled_from("wxyz"), max_size=6)):
        start, length = draw(st.integers(0, 60)), draw(st.integers(0, 30))
        text = " ".join(draw(st.lists(st.sampled_from(["a", "bb", "ccc"]), max_size=5)))
        said.append(HypothesisUtterance(speaker, start / 10, (start + length) / 10, text))
    return said


@st.composite
def timed_words(draw: st.DrawFn) -> list[TimedWord]:
    """Words whose times need not rise."""
    times = draw(st.lists(st.tuples(st.integers(0, 40), st.integers(0, 8)), max_size=8))
    return [TimedWord(draw(st.sampled_from("abc")), start / 4, (start + length) / 4) for start, length in times]


def plain_errors(reference: list[TimedWord], hypothesis: list[TimedWord], collar_s: float) -> tuple[int, int]:
    """Errors and substitutions by the whole table, read back as meeteval does: what the fast way has to give."""
    table = [[row + column for column in range(len(hypothesis) + 1)] for row in range(len(reference) + 1)]

    def aligned(row: int, column: int) -> float:
        said, heard = reference[row - 1], hypothesis[column - 1]
        near = heard.start - collar_s < said.end and said.start < heard.end + collar_s
        return table[row - 1][column - 1] + (said.text != heard.text) if near else math.inf

    for row, column in product(range(1, len(reference) + 1), range(1, len(hypothesis) + 1)):
        sides = (table[row - 1][column] + 1, table[row][column - 1] + 1)
        table[row][column] = int(min(*sides, aligned(row, column)))
    row, column, substitutions = len(reference), len(hypothesis), 0
    while row and column:
        deletion, insertion = table[row - 1][column] + 1, table[row][column - 1] + 1
        if aligned(row, column) < min(deletion, insertion):
            row, column = row - 1, column - 1
            substitutions += reference[row].text != hypothesis[column].text
        elif deletion < insertion:
            row -= 1
        else:
            column -= 1
    return table[-1][-1], substitutions


@given(timed_words(), timed_words(), st.sampled_from([0.0, 0.25, 1.0, 3.0]))
def test_the_fast_way_gives_the_errors_of_the_whole_table(
    reference: list[TimedWord], hypothesis: list[TimedWord], collar_s: float
) -> None:
    """Errors and their kinds are those of the edit distance written out, whatever the order of times."""
    found = count_timed_errors(reference, hypothesis, collar_s)
    assert plain_errors(reference, hypothesis, collar_s) == (found.errors, found.substitutions)
    assert (len(reference), len(hypothesis)) == (found.reference_words, found.hypothesis_words)


@given(utterances(), utterances(), COLLARS)
def test_tcpwer_lies_above_cpwer_and_meets_it_without_a_limit(
    reference: list[HypothesisUtterance], hypothesis: list[HypothesisUtterance], collar_s: float
) -> None:
    """What time forbids can only add errors; an infinite collar forbids nothing."""
    timed = timed_speaker_errors(reference, hypothesis, None, collar_s).counts
    free = speaker_errors(reference, hypothesis, None).counts
    assert free.errors <= timed.errors
    assert (free.reference_words, free.hypothesis_words) == (timed.reference_words, timed.hypothesis_words)
    assert free.errors == timed_speaker_errors(reference, hypothesis, None, math.inf).counts.errors


@given(utterances(), utterances(), COLLARS, COLLARS)
def test_a_wider_collar_never_adds_errors(
    reference: list[HypothesisUtterance], hypothesis: list[HypothesisUtterance], one: float, other: float
) -> None:
    """What was within reach stays so."""
    narrow, wide = (
        timed_speaker_errors(reference, hypothesis, None, collar).counts.errors for collar in sorted((one, other))
    )
    assert wide <= narrow


@given(utterances(), utterances(), st.permutations("wxyz"))
def test_names_of_speakers_do_not_matter_to_tcpwer(
    reference: list[HypothesisUtterance], hypothesis: list[HypothesisUtterance], names: list[str]
) -> None:
    """Speakers are whom they are paired with, whatever they are called."""
    called = dict(zip("wxyz", names, strict=True))
    renamed = [HypothesisUtterance(called[one.speaker], one.start, one.end, one.text) for one in hypothesis]
    assert (
        timed_speaker_errors(reference, hypothesis, None).counts
        == timed_speaker_errors(reference, renamed, None).counts
    )


@given(utterances())
def test_a_perfect_transcript_has_no_errors(said: list[HypothesisUtterance]) -> None:
    """With a collar, the middle of a word is within its own reach."""
    words = sum(len(one.text.split()) for one in said)
    assert ErrorCounts(words) == timed_speaker_errors(said, said, None, 0.1).counts


def test_the_right_words_at_the_wrong_time_count() -> None:
    """The second "yes" of the reference is not the first of the hypothesis; cpWER cannot see that."""
    reference = [StmLine("a", 1, "x", 0.0, 1.0, "Yes."), StmLine("a", 1, "x", 60.0, 61.0, "No!")]
    hypothesis = [HypothesisUtterance("S", 30.0, 31.0, "yes no")]
    assert ErrorCounts(2) == speaker_errors(reference, hypothesis).counts
    expected = SpeakerErrors(ErrorCounts(2, deletions=2, insertions=2), (("x", "S"),))
    assert expected == timed_speaker_errors(reference, hypothesis)
    assert ErrorCounts(2) == timed_speaker_errors(reference, hypothesis, collar_s=30.0).counts


def test_decimal_times_that_meet_are_not_within_reach() -> None:
    """7.3 s less a collar of 5 s is 2.3 s, as in meeteval, though not in floating-point numbers."""
    said, heard = [TimedWord("a", 1.0, 2.3)], [TimedWord("a", 7.3, 7.3)]
    assert ErrorCounts(1, deletions=1, insertions=1) == count_timed_errors(said, heard, 5.0)
    assert ErrorCounts(1) == count_timed_errors(said, heard, 5.001)


@pytest.mark.parametrize(
    ("text", "words", "said"),
    [
        ("It's five", [("It's", 0.0, 1.0), ("five", 8.0, 9.0)], [("it is", 0.2, 0.8), ("5", 8.4, 8.6)]),
        (
            "pay one hundred dollars now",
            [("pay", 0.0, 0.4), ("one", 4.0, 4.2), ("hundred", 4.2, 4.6), ("dollars", 4.6, 5.0), ("now", 9.0, 9.4)],
            [("pay", 0.1, 0.3), ("$100", 4.4, 4.6), ("now", 9.1, 9.3)],
        ),
        ("um yes", [("um", 0.0, 1.0), ("yes", 9.0, 10.0)], [("yes", 9.4, 9.6)]),
        ("never noted", [], [("never", 1.0, 4.0), ("noted", 6.0, 9.0)]),
        ("a word more", [("word", 5.0, 5.2)], [("a", 2.0, 3.0), ("word", 5.0, 5.2), ("more", 7.0, 8.0)]),
    ],
    ids=["two words of one", "one word of three", "a filler", "no times", "words that are not in the text"],
)
def test_words_have_the_times_of_what_they_come_from(
    text: str, words: list[tuple[str, float, float]], said: list[tuple[str, float, float]]
) -> None:
    """Each normalised word is found close to when its own word, or its words, were said, and only there."""
    utterance = HypothesisUtterance("S", 0.0, 10.0, text, tuple(Word(*word, 0.9) for word in words))
    reference = [StmLine("a", 1, "x", start, end, normal) for normal, start, end in said]
    collar_s = 0.3
    assert 0 == timed_speaker_errors(reference, [utterance], collar_s=collar_s).counts.errors
    late = [StmLine("a", 1, "x", line.start + 100, line.end + 100, line.text) for line in reference]
    total = timed_speaker_errors(late, [utterance], collar_s=collar_s).counts
    assert (total.reference_words, 0) == (total.deletions, total.hits)


@given(st.lists(st.sampled_from(["one", "hundred", "it's", "um", "5", "$", "okay.", "Mr.", "-"]), max_size=8))
def test_real_times_never_change_the_words(texts: list[str]) -> None:
    """However the normaliser joins and parts words, tcpWER has the words of cpWER."""
    words = tuple(Word(text, float(index), index + 0.5, 0.9) for index, text in enumerate(texts))
    utterance = HypothesisUtterance("S", 0.0, 10.0, " ".join(texts), words)
    line = StmLine("a", 1, "x", 0.0, 10.0, " ".join(texts))
    assert speaker_errors([line], [utterance]) == timed_speaker_errors([line], [utterance], collar_s=math.inf)


@given(timed_words(), timed_words())
def test_without_a_limit_it_is_the_edit_distance(reference: list[TimedWord], hypothesis: list[TimedWord]) -> None:
    """An infinite collar gives jiwer's number of errors."""
    expected = count_errors([word.text for word in reference], [word.text for word in hypothesis])
    assert expected.errors == count_timed_errors(reference, hypothesis, math.inf).errors
