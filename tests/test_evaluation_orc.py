"""ORC-WER: every utterance at its best stream."""

import math
from collections.abc import Mapping, Sequence
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evaluation.hypotheses import HypothesisUtterance
from evaluation.orc import StreamErrors, best_streams, stream_errors
from evaluation.orc_bounds import FEW_PLACES, all_places, corridor, places
from evaluation.rates import ErrorCounts
from evaluation.speakers import speaker_errors
from evaluation.wer import count_errors

WORDS = st.lists(st.sampled_from("abc"), max_size=6)
UTTERANCES = st.lists(st.lists(st.sampled_from("abc"), min_size=1, max_size=4), max_size=4)
STREAMS = st.dictionaries(st.sampled_from("xyz"), WORDS, max_size=3)
LONGER = st.lists(st.lists(st.sampled_from("abcde"), min_size=1, max_size=6), min_size=1, max_size=12)
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


def heard_of(utterances: Sequence[Sequence[str]], rng: np.random.Generator, streams: str) -> dict[str, list[str]]:
    """What might have been recognised: of ten words one is another and one is lost, of ten utterances one moved."""
    heard: dict[str, list[str]] = {name: [] for name in streams}
    everything = [word for words in utterances for word in words]
    for at, words in enumerate(utterances):
        to = streams[(at if rng.random() < 0.9 else rng.integers(len(streams))) % len(streams)]
        for word, chance in zip(words, rng.random(len(words)), strict=True):
            if chance < 0.9:
                heard[to].append(word if chance < 0.8 else str(rng.choice(everything)))
    return heard


@pytest.mark.parametrize("few_places", [0, FEW_PLACES])
@settings(deadline=None)
@given(UTTERANCES, STREAMS)
def test_orc_wer_is_the_least_of_all_assignments(
    few_places: float, utterances: list[list[str]], streams: Mapping[str, list[str]]
) -> None:
    """No way of giving utterances to streams has fewer errors, and the assignment has those that are reported."""
    found = best_streams(utterances, streams, few_places=few_places)
    assert found is not None
    every = product(streams or [None], repeat=len(utterances))
    assert min(given_to(one, utterances, streams).errors for one in every) == found.counts.errors
    assert given_to(found.assignment, utterances, streams) == found.counts


@settings(deadline=None, max_examples=50)
@given(LONGER, st.integers(0, 2**32))
def test_a_corridor_leaves_no_best_way_out(utterances: list[list[str]], seed: int) -> None:
    """The same errors of the same kinds and the same speakers, whether few places are looked at or all of them."""
    streams = heard_of(utterances, np.random.default_rng(seed), "xyz"[: 1 + seed % 3])
    everything = best_streams(utterances, streams, few_places=math.inf)
    assert everything == best_streams(utterances, streams, few_places=0)


def test_a_corridor_is_narrow() -> None:
    """Of the hundred million states of five minutes, one in a thousand is left at most."""
    rng = np.random.default_rng(3)
    utterances = [[str(word) for word in rng.integers(0, 300, 9)] for _ in range(90)]
    heard = heard_of(utterances, rng, "xy")
    said, streams = [list(map(int, words)) for words in utterances], [np.array(one, int) for one in heard.values()]
    windows = corridor(said, streams, few_places=0)
    assert places(said, windows) < places(said, all_places(len(said), streams)) / 1000


def test_half_an_hour_is_computed() -> None:
    """A way that is nearly right is known: there are no more errors than it has."""
    rng = np.random.default_rng(5)
    utterances = [[str(word) for word in rng.integers(0, 1000, 9)] for _ in range(500)]
    streams = heard_of(utterances, rng, "xy")
    found = best_streams(utterances, streams)
    assert found is not None
    known = given_to(["xy"[at % 2] for at in range(len(utterances))], utterances, streams)
    assert known.reference_words == found.counts.reference_words
    assert 0 < found.counts.errors <= known.errors


@settings(deadline=None)  # the first use imports SciPy
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
