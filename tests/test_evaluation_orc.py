"""ORC-WER: every utterance at its best stream."""

from collections.abc import Mapping, Sequence
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evaluation.hypotheses import HypothesisUtterance
from evaluation.orc import StreamErrors, best_streams, stream_errors
from evaluation.rates import ErrorCounts
from evaluation.speakers import speaker_errors
from evaluation.wer import count_errors

WORDS = st.lists(st.sampled_from("abc"), max_size=6)
UTTERANCES = st.lists(st.lists(st.sampled_from("abc"), min_size=1, max_size=4), max_size=4)
STREAMS = st.dictionaries(st.sampled_from("xyz"), WORDS, max_size=3)
LINES = st.lists(
    st.builds(
        lambda speaker, start, words: HypothesisUtterance(speaker, float(start), start + 1.0, " ".join(words)),
        st.sampled_from("wxyz"), st.integers(0, 9), WORDS,
    ),
    max_size=5,
)  # fmt: skip


def given_to(
    assignment: Sequence[str | None], utterances: Sequence[Sequence[str]], streams: Mapping[str, Sequence[str]]
) -> ErrorCounts:
    """The errors of utterances given to streams."""
    return sum(
        (
            count_errors(
                [word for name, words in zip(assignment, utterances, strict=True) if name == stream for word in words],
                streams.get(stream or "", ()),
            )
            for stream in (None, *streams)
        ),
        ErrorCounts.zero(),
    )


@given(UTTERANCES, STREAMS)
def test_orc_wer_is_the_least_of_all_assignments(utterances: list[list[str]], streams: Mapping[str, list[str]]) -> None:
    """No way of giving utterances to streams has fewer errors, and the assignment has those that are reported."""
    found = best_streams(utterances, streams)
    assert found is not None
    every = product(streams or [None], repeat=len(utterances))
    assert min(given_to(one, utterances, streams).errors for one in every) == found.counts.errors
    assert given_to(found.assignment, utterances, streams) == found.counts


@given(LINES, LINES)
def test_orc_wer_lies_below_cpwer(reference: list[HypothesisUtterance], hypothesis: list[HypothesisUtterance]) -> None:
    """To keep the utterances of a speaker together is one way of giving them to streams."""
    found, speakers = stream_errors(reference, hypothesis, None), speaker_errors(reference, hypothesis, None)
    assert found is not None
    assert found.counts.errors <= speakers.counts.errors
    assert (found.counts.reference_words, found.counts.hypothesis_words) == (
        speakers.counts.reference_words,
        speakers.counts.hypothesis_words,
    )


@given(UTTERANCES, STREAMS, st.permutations("xyz"))
def test_names_and_order_of_streams_do_not_matter(
    utterances: list[list[str]], streams: Mapping[str, list[str]], names: list[str]
) -> None:
    """The errors are the same whatever streams are called and however they are ordered."""
    renamed = dict(sorted((dict(zip("xyz", names, strict=True))[name], words) for name, words in streams.items()))
    found, others = best_streams(utterances, streams), best_streams(utterances, renamed)
    assert found is not None
    assert others is not None
    assert found.counts.errors == others.counts.errors


@given(LINES)
def test_a_perfect_transcript_has_no_errors(said: list[HypothesisUtterance]) -> None:
    """Each utterance of a transcript is best given to its own speaker."""
    found = stream_errors(said, said, None)
    assert found is not None
    assert 0 == found.counts.errors


def test_a_wrong_speaker_is_forgiven_and_wrong_words_are_not() -> None:
    """Two of three utterances are given to one speaker; only the word that was not heard counts."""
    reference = [
        HypothesisUtterance("agent", 0.0, 1.0, "Is that right?"),
        HypothesisUtterance("customer", 1.0, 2.0, "Yes."),
        HypothesisUtterance("customer", 2.0, 3.0, "Thank you very much."),
    ]
    hypothesis = [
        HypothesisUtterance("S1", 0.0, 2.0, "Is that right? Yes."),
        HypothesisUtterance("S0", 2.0, 3.0, "thank you much"),
    ]
    expected = StreamErrors(ErrorCounts(8, deletions=1), ("S1", "S1", "S0"))
    assert expected == stream_errors(reference, hypothesis)


@pytest.mark.parametrize(
    ("utterances", "streams", "expected"),
    [
        ([], {}, StreamErrors(ErrorCounts(0), ())),
        ([["a", "b"]], {}, StreamErrors(ErrorCounts(2, deletions=2), (None,))),
        ([], {"x": ["a"]}, StreamErrors(ErrorCounts(0, insertions=1), ())),
    ],
)
def test_empty_sides(utterances: list[list[str]], streams: Mapping[str, list[str]], expected: StreamErrors) -> None:
    """Nothing said, nothing heard, or neither."""
    assert expected == best_streams(utterances, streams)


def test_what_is_too_long_has_no_result() -> None:
    """Four words times six places in each of two streams are 144 states."""
    utterances, streams = [["a", "b"], ["c", "d"]], {"x": list("abcde"), "y": list("fghij")}
    assert best_streams(utterances, streams, most_states=143) is None
    assert best_streams(utterances, streams, most_states=144) is not None
