"""Counts, WER and cpWER."""

import itertools
from collections.abc import Mapping, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evaluation.hypotheses import HypothesisUtterance
from evaluation.rates import AttributionCounts, EntityCounts, ErrorCounts
from evaluation.references import StmLine, parse_stm
from evaluation.speakers import SpeakerErrors, attribution_counts, best_assignment, pair_speakers, speaker_errors
from evaluation.wer import count_errors, word_errors

WORDS = st.lists(st.sampled_from("abcde"), max_size=8)
BY_SPEAKER = st.dictionaries(st.sampled_from(["x", "y", "z", "w"]), WORDS, max_size=4)
COUNTS = st.builds(
    lambda hits, sub, dels, ins: ErrorCounts(hits + sub + dels, sub, dels, ins), *[st.integers(0, 99)] * 4
)


def utterance(speaker: str, start: float, text: str) -> HypothesisUtterance:
    """One second of speech."""
    return HypothesisUtterance(speaker, start, start + 1.0, text)


def test_counts_derive_their_rates() -> None:
    """Rates come from counts, and one that has nothing to divide by is None."""
    counts = ErrorCounts(10, substitutions=2, deletions=1, insertions=4)
    assert (counts.hits, counts.hypothesis_words, counts.errors, counts.rate) == (7, 13, 7, 0.7)
    assert ErrorCounts(0, insertions=3).rate is None
    assert (EntityCounts(4, 3).accuracy, EntityCounts(4, 3).missed, EntityCounts.zero().accuracy) == (0.75, 1, None)


@pytest.mark.parametrize("counts", [(-1, 0, 0, 0), (1, 0, 0, -1), (1, 1, 1, 0)])
def test_impossible_counts_are_refused(counts: tuple[int, int, int, int]) -> None:
    """Counts check themselves, so that no rate can come from nonsense."""
    with pytest.raises(ValueError, match="ErrorCounts"):
        ErrorCounts(*counts)


@pytest.mark.parametrize("counts", [(1, 2), (-1, -1), (1, -1)])
def test_impossible_entity_counts_are_refused(counts: tuple[int, int]) -> None:
    """No more can be correct than there is."""
    with pytest.raises(ValueError, match="EntityCounts"):
        EntityCounts(*counts)


@given(st.lists(COUNTS, max_size=5))
def test_counts_add_up(counts: list[ErrorCounts]) -> None:
    """A sum has the sums of all counts, in any order."""
    total = sum(counts, ErrorCounts.zero())
    assert sum(reversed(counts), ErrorCounts.zero()) == total
    assert (sum(one.errors for one in counts), sum(one.hits for one in counts)) == (total.errors, total.hits)


@pytest.mark.parametrize(
    ("reference", "hypothesis", "expected"),
    [
        ("", "", ErrorCounts(0)),
        ("", "a b", ErrorCounts(0, insertions=2)),
        ("a b", "", ErrorCounts(2, deletions=2)),
        ("a b c", "a b c", ErrorCounts(3)),
        ("a b c", "a x c", ErrorCounts(3, substitutions=1)),
        ("a b c", "a c", ErrorCounts(3, deletions=1)),
        ("a c", "a b c", ErrorCounts(2, insertions=1)),
        ("a b", "x y z", ErrorCounts(2, substitutions=2, insertions=1)),
    ],
)
def test_word_errors_of_small_texts(reference: str, hypothesis: str, expected: ErrorCounts) -> None:
    """Errors are counted by kind; empty sides are counts like any other."""
    assert expected == count_errors(reference.split(), hypothesis.split())


@given(WORDS, WORDS)
def test_word_errors_are_a_distance(reference: list[str], hypothesis: list[str]) -> None:
    """Nothing differs from itself, the number of errors is symmetric, and all words are accounted for."""
    counts = count_errors(reference, hypothesis)
    assert count_errors(reference, reference).errors == 0
    assert counts.errors == count_errors(hypothesis, reference).errors
    assert (len(reference), len(hypothesis)) == (counts.reference_words, counts.hypothesis_words)


def test_words_are_compared_in_order_of_start() -> None:
    """WER looks neither at speakers nor at the order of rows, and normalises both sides."""
    reference = [StmLine("a", 1, "x", 0.0, 1.0, "it's one hundred dollars"), StmLine("a", 1, "y", 2.0, 3.0, "um okay")]
    hypothesis = [utterance("S", 2.5, "Okay."), utterance("S", 0.5, "It is $100")]
    assert ErrorCounts(4) == word_errors(reference, hypothesis)


# The expected errors are meeteval 0.4.3's for the same words (`meeteval.wer.cp_word_error_rate`); the first two calls
# are the example files of its repository.
MEETEVAL_REFERENCE = """\
recordingA 1 Alice 1 1 Effort made was a lot i know you're busy we need to make the new version clean
recordingA 1 Bob 1 2 Strategic staircase we need a paradigm shift
recordingA 1 Bob 2 3
recordingA 1 Alice 2 3 Pipeline Bob called an all-hands this afternoon
recordingB 1 Alice 3 4 Hop on the bandwagon let's schedule a standup during the sprint to review our kpis
recordingB 1 Alice 4 5 Hop on the bandwagon let's schedule a standup during the sprint to review our kpis
"""
MEETEVAL_HYPOTHESIS = """\
recordingA 1 Alice 0 1 Effort made was a lot i know your busy we need two make the new version clean
recordingA 1 Bob 1 2.5 Strategic staircase we need a paradigm shift
recordingA 1 Alice 2.1 3 Pipeline Bob called an all-hands this afternoon
recordingB 1 Bob 3.2 4.6 Hop on the bandwagon let's schedule a standup during the sprint to review our kpis
recordingB 1 Alice 4 5 Hop on the bandwagon let's review our kpis
"""


@pytest.mark.parametrize(
    ("call_id", "errors", "words", "assignment"),
    [
        ("recordingA", 2, 31, (("Alice", "Alice"), ("Bob", "Bob"))),
        ("recordingB", 23, 30, (("Alice", "Bob"), (None, "Alice"))),
    ],
)
def test_cpwer_of_the_examples_of_meeteval(
    call_id: str, errors: int, words: int, assignment: tuple[tuple[str | None, str | None], ...]
) -> None:
    """Two of meeteval's example recordings, word for word, give its number of errors and its assignment."""
    sides = []
    for text in (MEETEVAL_REFERENCE, MEETEVAL_HYPOTHESIS):
        by_speaker: dict[str, list[str]] = {}
        for line in parse_stm(text):
            if line.call_id == call_id:
                by_speaker.setdefault(line.speaker, []).extend(line.text.split())
        sides.append(by_speaker)
    found = best_assignment(*sides)
    assert (errors, words, assignment) == (found.counts.errors, found.counts.reference_words, found.assignment)


@pytest.mark.parametrize(
    ("reference", "hypothesis", "errors", "assignment"),
    [
        ({}, {}, 0, ()),
        ({}, {"h": "a"}, 1, ((None, "h"),)),
        ({"r": "a b"}, {}, 2, (("r", None),)),
        ({"r0": "a b", "r1": "c d"}, {"h0": "c d", "h1": "a b"}, 0, (("r0", "h1"), ("r1", "h0"))),
        ({"r0": "a", "r1": "b", "r2": "c d"}, {"h0": "a", "h1": "b"}, 2, (("r0", "h0"), ("r1", "h1"), ("r2", None))),
        ({"r0": "a b"}, {"h0": "z", "h1": "a e f"}, 3, (("r0", "h1"), (None, "h0"))),
        ({"r0": "a b", "r1": "k"}, {"h0": "", "h1": "a e f"}, 3, (("r0", "h1"), ("r1", "h0"))),
        (
            {"r0": "a", "r1": "b", "r2": "c"},
            {"h0": "b", "h1": "c", "h2": "d", "h3": "a"},
            1,
            (("r0", "h3"), ("r1", "h0"), ("r2", "h1"), (None, "h2")),
        ),
    ],
)
def test_cpwer_of_small_cases(
    reference: Mapping[str, str],
    hypothesis: Mapping[str, str],
    errors: int,
    assignment: tuple[tuple[str | None, str | None], ...],
) -> None:
    """Too many, too few, silent and swapped speakers; expected errors are those of meeteval."""
    found = best_assignment(*({name: text.split() for name, text in side.items()} for side in (reference, hypothesis)))
    assert (errors, assignment) == (found.counts.errors, found.assignment)
    assert max(0, len(reference) - len(hypothesis)) == found.missed_speakers
    assert max(0, len(hypothesis) - len(reference)) == found.extra_speakers


def errors_of(
    pairs: Sequence[tuple[str | None, str | None]],
    reference: Mapping[str, list[str]],
    hypothesis: Mapping[str, list[str]],
) -> int:
    """Count the errors of a fixed assignment."""
    return sum(
        count_errors(reference.get(one or "", []), hypothesis.get(other or "", [])).errors for one, other in pairs
    )


@given(BY_SPEAKER, BY_SPEAKER)
def test_cpwer_is_the_least_of_all_assignments(
    reference: Mapping[str, list[str]], hypothesis: Mapping[str, list[str]]
) -> None:
    """No way of pairing speakers has fewer errors, and the assignment gives the errors that are reported."""
    found = best_assignment(reference, hypothesis)
    size = max(len(reference), len(hypothesis))
    padded: list[str | None] = [*reference, *[None] * (size - len(reference))]
    others: list[str | None] = [*hypothesis, *[None] * (size - len(hypothesis))]
    least = min(
        errors_of(list(zip(padded, order, strict=True)), reference, hypothesis)
        for order in itertools.permutations(others)
    )
    assert least == found.counts.errors == errors_of(found.assignment, reference, hypothesis)


@given(BY_SPEAKER, BY_SPEAKER, st.integers(0, 3))
def test_speakers_are_paired_alike_however_little_is_known_before(
    reference: Mapping[str, list[str]], hypothesis: Mapping[str, list[str]], less: int
) -> None:
    """With bounds that are looser, and among equal pairings, the same pairs are found: those of all counts."""
    expected = pair_speakers(reference, hypothesis, count_errors, lambda *pair: count_errors(*pair).errors)
    for bound in (lambda *_: 0, lambda *pair: max(0, count_errors(*pair).errors - less)):
        assert expected == pair_speakers(reference, hypothesis, count_errors, bound)


@given(BY_SPEAKER, BY_SPEAKER, st.permutations(["p", "q", "r", "s"]))
def test_names_of_speakers_do_not_matter(
    reference: Mapping[str, list[str]], hypothesis: Mapping[str, list[str]], names: list[str]
) -> None:
    """Speakers are whom they are paired with, whatever they are called."""
    renamed = dict(zip(names, hypothesis.values(), strict=False))
    assert best_assignment(reference, hypothesis).counts == best_assignment(reference, renamed).counts


@given(BY_SPEAKER)
def test_identity_gives_no_errors(reference: Mapping[str, list[str]]) -> None:
    """A perfect transcript is perfect."""
    words = sum(len(said) for said in reference.values())
    assert ErrorCounts(words) == best_assignment(reference, reference).counts


@given(st.lists(st.tuples(st.sampled_from(["x", "y"]), st.sampled_from(["one", "5 - 7", "it's (so) um", "$1", ""]))))
def test_wer_and_cpwer_have_the_same_reference_words(said: list[tuple[str, str]]) -> None:
    """Both rates divide by the same number of words."""
    lines = [utterance(speaker, float(index), text) for index, (speaker, text) in enumerate(said)]
    assert word_errors(lines, []).reference_words == speaker_errors(lines, []).counts.reference_words


def test_a_word_of_the_wrong_speaker_counts() -> None:
    """WER does not see that the answer was given to the wrong side, cpWER counts it lost and added."""
    reference = [utterance("agent", 0.0, "is that right"), utterance("customer", 2.0, "yes thank you very much")]
    hypothesis = [utterance("S1", 0.0, "Is that right? Yes."), utterance("S0", 2.5, "Thank you very much.")]
    assert ErrorCounts(8) == word_errors(reference, hypothesis)
    expected = SpeakerErrors(ErrorCounts(8, deletions=1, insertions=1), (("agent", "S1"), ("customer", "S0")))
    assert expected == speaker_errors(reference, hypothesis)


# ---------------------------------------------------------------------------------------------------------- WDER


def wder(reference: Sequence[StmLine], hypothesis: Sequence[StmLine]) -> AttributionCounts:
    """Of one call, with the speakers paired as for cpWER."""
    heard = [HypothesisUtterance.from_stm(line) for line in hypothesis]
    return attribution_counts(reference, heard, speaker_errors(reference, heard).assignment)


@pytest.mark.parametrize(
    ("reference", "hypothesis", "expected"),
    [
        ("a 1 x 0 1 good morning\na 1 y 1 2 thank you", "a 1 0 0 1 good morning\na 1 1 1 2 thank you", (4, 0)),
        ("a 1 x 0 1 good morning\na 1 y 1 2 thank you", "a 1 0 0 1 good morning thank\na 1 1 2 3 you", (4, 1)),
        ("a 1 x 0 1 good morning\na 1 y 1 2 thank you", "a 1 0 0 1 good morning tank\na 1 1 2 3 you", (4, 1)),
        ("a 1 x 0 1 good morning\na 1 y 1 2 thank you", "a 1 0 0 1 good morning\na 1 1 2 3 you", (3, 0)),
        ("a 1 x 0 1 good morning\na 1 y 1 2 thank you", "a 1 0 0 1 good morning well\na 1 1 2 3 thank you", (4, 0)),
        ("a 1 x 0 1 good morning\na 1 y 1 2 thank you", "a 1 0 0 1 good morning thank you", (4, 2)),
        ("a 1 x 0 1 good morning", "", (0, 0)),
        ("", "a 1 0 0 1 good morning", (0, 0)),
    ],
    ids=[
        "all right", "a word to the wrong one", "a wrong word to the wrong one", "a missing word is nobody's",
        "neither is one too many", "one speaker for two", "nothing heard", "nothing said",
    ],
)  # fmt: skip
def test_wder_of_small_cases(reference: str, hypothesis: str, expected: tuple[int, int]) -> None:
    """Of the words that stand for a word of the reference, those that are given to the wrong speaker."""
    assert AttributionCounts(*expected) == wder(parse_stm(reference), parse_stm(hypothesis))


@pytest.mark.parametrize("counts", [(-1, 0), (1, 2), (1, -1)])
def test_impossible_attribution_counts_are_refused(counts: tuple[int, int]) -> None:
    """Counts that cannot be are a mistake of ours."""
    with pytest.raises(ValueError, match="wrong words"):
        AttributionCounts(*counts)


def test_attribution_counts_add_up() -> None:
    """The rate of a set is that of the summed counts; of nothing there is none."""
    total = sum([AttributionCounts(10, 1), AttributionCounts(90, 2)], AttributionCounts.zero())
    assert (0.03, None) == (total.rate, AttributionCounts.zero().rate)
