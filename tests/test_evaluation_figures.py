"""The figures of a set: counts that are summed, intervals over calls, paired differences, and slices."""

from dataclasses import replace

import numpy as np
import pytest
import scipy.stats  # noqa: F401  # takes seconds, once
from hypothesis import given
from hypothesis import strategies as st

from evaluation.entities import EntityScore
from evaluation.figures import Drawn, figures_of, slices_of_set
from evaluation.formats import ReferenceEntity, RttmTurn, StmLine
from evaluation.hypotheses import HypothesisUtterance
from evaluation.intervals import FEWEST_CALLS, Counts, difference, estimate, interval
from evaluation.measure import ratio
from evaluation.measures import ALWAYS, HEADLINES, measures_of
from evaluation.rates import AttributionCounts, ErrorCounts
from evaluation.references import Reference
from evaluation.score import CallScore, score_call, score_set
from evaluation.scoring import overlap_of
from evaluation.silence import SilenceCounts, silence_counts
from evaluation.slices import CallFacts, group
from evaluation.speakers import SpeakerErrors
from evaluation.trust import BINS, TrustCounts
from evaluation.value_words import value_words
from evaluation.wer import character_errors, raw_word_errors, value_word_errors, word_errors
from tasks.records import Word

words = st.text("abc ", max_size=30)
pairs = st.lists(st.tuples(st.floats(0, 1), st.booleans()), max_size=8)
heard = st.lists(st.tuples(st.floats(0.1, 9), pairs), max_size=5)


def line(text: str, start: float = 0.0, end: float = 2.0, speaker: str = "x") -> StmLine:
    """Something said."""
    return StmLine("call", 1, speaker, start, end, text)


def said(text: str, start: float = 0.0, end: float = 2.0, speaker: str = "s") -> HypothesisUtterance:
    """Something recognised, without word times."""
    return HypothesisUtterance(speaker, start, end, text)


def score(call_id: str, errors: int, of: int, **facts: object) -> CallScore:
    """A call with so many word errors."""
    return CallScore(
        call_id,
        ErrorCounts(of, substitutions=errors),
        SpeakerErrors.zero(),
        AttributionCounts.zero(),
        EntityScore.zero(),
        facts=CallFacts(**facts),  # type: ignore[arg-type]
    )


@given(words, words)
def test_characters_add_up(reference: str, hypothesis: str) -> None:
    """Hits, substitutions and deletions are the reference; substitutions, hits and insertions the hypothesis."""
    counts = character_errors([line(reference)], [said(hypothesis)])
    assert counts.reference_words == counts.hits + counts.substitutions + counts.deletions
    assert len(" ".join(hypothesis.split())) >= counts.hypothesis_words >= 0


@given(st.text(max_size=40))
def test_a_perfect_transcript_has_no_error(text: str) -> None:
    """Whatever was said, saying the same is right by every measure of words."""
    for measure in (word_errors, character_errors, value_word_errors, raw_word_errors):
        assert 0 == measure([line(text)], [said(text)]).errors


def test_as_written_and_normalised() -> None:
    """Case, punctuation and spelling of numbers count only in the words as they are written."""
    reference, hypothesis = [line("it is forty two dollars")], [said("It's $42.")]
    assert (0, 5) == (word_errors(reference, hypothesis).errors, raw_word_errors(reference, hypothesis).errors)


@pytest.mark.parametrize(
    ("spoken", "written"),
    [
        ("invoice four four seven one nine zero two five", "Invoice 4471-9025."),
        ("i n v two three eight nine one", "INV-23891"),
        ("at three thirty p m", "at 3:30 p.m."),
        ("on october nineteenth", "On October 19th"),
        ("five five five zero one four two", "555-0142"),
        ("it is one hundred and forty two dollars and fifty cents", "It's $142.50"),
        ("the first of march", "the 1st of March"),
    ],
)
def test_numbers_are_values(spoken: str, written: str) -> None:
    """However a number is grouped or spelled, it is the same word."""
    assert value_words([spoken]) == value_words([written])
    assert 0 == value_word_errors([line(spoken)], [said(written)]).errors


def test_other_numbers_are_errors() -> None:
    """A wrong digit is one wrong word, and numbers of two utterances are not joined."""
    assert ErrorCounts(2, substitutions=1) == value_word_errors([line("invoice four four")], [said("invoice 45")])
    assert ["44", "45"] == value_words(["four four", "four five"])
    assert ["i", "am", "a", "1"] == value_words(["I am a one"])
    assert ["drei", "42"] == value_words(["drei 4 2"], "de")


def test_words_where_nobody_speaks() -> None:
    """Words outside of the reference's times are made up; lines without a word over them are lost."""
    lines = [line("hello there", 1.0, 2.0), line("that is all", 10.0, 12.0)]
    counts = silence_counts(lines, None, [said("hello", 1.0, 2.0), said("thank you .", 20.0, 22.0)], 30.0)
    assert SilenceCounts(30.0 - 2.0 - 3.0, made_up_words=2, reference_words=5, lost_words=3) == counts
    assert pytest.approx(3600 * 2 / 25) == counts.made_up_per_hour
    assert 0.6 == counts.lost_rate
    turns = [RttmTurn("call", 1, 0.0, 30.0, "x")]
    assert None is silence_counts(lines, turns, [], 30.0).made_up_per_hour
    timed = HypothesisUtterance("s", 1.0, 22.0, "a b", (Word("a", 1.0, 1.2, 1.0), Word("b", 21.0, 22.0, 1.0)))
    assert 1 == silence_counts(lines, None, [timed], 30.0).made_up_words


@given(st.lists(st.tuples(st.floats(0, 50), st.floats(0, 5)), max_size=6), st.floats(0, 60))
def test_silence_is_bounded(times: list[tuple[float, float]], duration_s: float) -> None:
    """There is no more silence than recording, and a transcript at the reference's own times has nothing made up."""
    lines = [line("word", start, start + length) for start, length in times]
    same = [said("word", one.start, one.end) for one in lines]
    counts = silence_counts(lines, None, same, duration_s)
    assert 0 <= counts.silent_s <= duration_s
    assert (0, 0) == (counts.made_up_words, counts.lost_words)


@given(heard, heard)
def test_word_probabilities_are_summed(
    first: list[tuple[float, list[tuple[float, bool]]]], second: list[tuple[float, list[tuple[float, bool]]]]
) -> None:
    """The counts of two calls are those of all their words, whatever the order."""
    both, apart = TrustCounts.of(first + second), TrustCounts.of(second) + TrustCounts.of(first)
    assert (both.right, both.wrong, both.faults) == (apart.right, apart.wrong, apart.faults)
    assert both.surprise == pytest.approx(apart.surprise)
    assert both.words == sum(len(found) for _, found in first + second)
    assert sum(both.faults) == sum(both.wrong)
    for figure in (both.calibration_error, both.area, both.caught(0.3)):
        assert figure is None or 0 <= figure <= 1


def test_probabilities_that_tell_all_and_nothing() -> None:
    """Certain words are perfect by every measure; probabilities that do not differ tell nothing."""
    certain = TrustCounts.of([(1.0, [(0.999999, True)] * 9), (1.0, [(0.000001, False)])])
    assert (1.0, 1.0, 1.0) == (certain.area, certain.caught(0.5), pytest.approx(certain.cross_entropy, abs=0.01))
    same = TrustCounts.of([(1.0, [(0.8, True)] * 8 + [(0.8, False)] * 2)])
    assert 0.5 == same.area
    assert (pytest.approx(0), pytest.approx(0)) == (same.cross_entropy, same.calibration_error)
    assert pytest.approx(0.3) == same.caught(0.3)
    assert (None, None, None) == tuple(
        getattr(TrustCounts.zero(), name) for name in ("calibration_error", "cross_entropy", "area")
    )


def rates(calls: list[tuple[int, int]]) -> Counts:
    """Errors and words of calls."""
    return np.array(calls, dtype=float).reshape(-1, 2)


some_rates = st.lists(
    st.integers(1, 50).flatmap(lambda of: st.tuples(st.integers(0, of), st.just(of))), min_size=3, max_size=9
)


@given(some_rates)
def test_the_order_of_calls_does_not_matter(calls: list[tuple[int, int]]) -> None:
    """Figures are those of sums; an interval holds what its resamples can give."""
    counts = rates(calls)
    shuffled = counts[np.random.default_rng(1).permutation(len(counts))]
    assert estimate(counts, ratio) == pytest.approx(estimate(shuffled, ratio))
    bounds = interval(counts, ratio)
    assert bounds is not None
    each = counts[:, 0] / counts[:, 1]
    assert each.min() - 1e-9 <= bounds.low <= bounds.high <= each.max() + 1e-9


@given(some_rates)
def test_the_same_transcript_twice_does_not_differ(calls: list[tuple[int, int]]) -> None:
    """A variant that changed nothing is never significant."""
    found = difference(rates(calls), rates(calls), ratio)
    assert found is not None
    assert (0.0, 1.0, False) == (found.value, found.p_value, found.significant)


def test_a_difference_in_every_call_is_significant() -> None:
    """Nine calls that are all better: the exact test says 2 of 512; the interval is on one side of 0."""
    before = rates([(10 + at, 100) for at in range(9)])
    after = before - np.array([5.0, 0.0])
    found = difference(before, after, ratio)
    assert found is not None
    assert pytest.approx(-0.05) == found.value
    assert pytest.approx(2 / 512) == found.p_value
    assert found.significant
    assert found.interval is not None
    assert pytest.approx((-0.05, -0.05)) == (found.interval.low, found.interval.high)
    with pytest.raises(ValueError, match="the same counts"):
        difference(before, after[:3], ratio)


def test_intervals_hold_what_they_promise() -> None:
    """Of 200 sets of 40 calls, about 95 % of the intervals hold the true rate."""
    rng = np.random.default_rng(7)
    hits = 0
    for _ in range(200):
        of = rng.integers(50, 150, 40)
        counts = np.stack([rng.binomial(of, rng.beta(4, 36, 40)), of], axis=1).astype(float)
        bounds = interval(counts, ratio)
        assert bounds is not None
        hits += bounds.low <= 0.1 <= bounds.high
    assert 180 <= hits <= 199


def test_strata_are_drawn_within_themselves() -> None:
    """Two strata that differ, and are alike inside, leave nothing to chance."""
    counts = rates([(1, 10)] * 3 + [(5, 10)] * 3)
    apart = interval(counts, ratio, ["a"] * 3 + ["b"] * 3)
    together = interval(counts, ratio)
    assert apart is not None
    assert together is not None
    assert pytest.approx((0.3, 0.3)) == (apart.low, apart.high)
    assert together.high - together.low > 0.2
    alone = interval(counts, ratio, ["a"] * 5 + ["b"])
    assert alone is not None


@pytest.mark.parametrize("strata", [(), ("a",) * 20 + ("b",) * 10])
def test_counts_that_do_not_matter_change_nothing(strata: tuple[str, ...]) -> None:
    """Interval and p-value are the same, however many counts of a call are drawn along."""
    rng = np.random.default_rng(1)
    first, second = rng.integers(0, 9, (30, 2)).astype(float), rng.integers(0, 9, (30, 2)).astype(float)

    def share(total: Counts) -> Counts:
        return np.asarray(total[..., 0] / (total[..., 0] + total[..., 1]))

    wide = [np.concatenate([counts, rng.integers(0, 9, (30, 100))], axis=1) for counts in (first, second)]
    assert interval(first, share, strata) == interval(wide[0], share, strata)
    assert difference(first, second, share, strata) == difference(wide[0], wide[1], share, strata)


def test_too_few_calls_have_no_interval() -> None:
    """Two calls say nothing of a third; what is undefined has no bounds."""
    assert None is interval(rates([(1, 10)] * (FEWEST_CALLS - 1)), ratio)
    assert None is interval(rates([(0, 0)] * 5), ratio)
    assert None is estimate(rates([(3, 0)]), ratio)


def test_recordings_of_one_call_are_drawn_together() -> None:
    """Four recordings of one call are one observation: copies do not make an interval narrower."""
    calls = [score(f"{at}", at, 10, group=f"g{at % 3}") for at in range(9)]
    copies = [*calls, *(replace(call, call_id=f"{call.call_id}-copy") for call in calls)]
    wer = next(measure for measure in ALWAYS if measure.key == "wer")
    once, twice = (Drawn.of(found).interval(wer.of(found), wer) for found in (calls, copies))
    assert once == twice
    other = Drawn.of(copies).difference(wer.of(copies), wer.of(copies), wer)
    assert other is not None
    assert not other.significant


def test_weights_stand_for_calls() -> None:
    """A call that stands for nine others weighs as ten."""
    calls = [score("a", 5, 10, weight=9.0), score("b", 0, 10)]
    figures = {figure.measure.key: figure for figure in figures_of(calls)}
    assert pytest.approx(0.45) == figures["wer"].value
    assert 2 == figures["wer"].calls


def test_every_measure_has_a_name_of_its_own() -> None:
    """Keys are unique, headlines exist, and measures of a perfect call are perfect."""
    reference = Reference("call", (line("my name is dana", 0, 2), line("yes", 5, 6, "y")), entities=())
    perfect = [
        HypothesisUtterance(
            "s",
            0,
            2,
            "my name is dana",
            tuple(Word(w, 0.5 * i, 0.5 * i + 0.4, 0.9) for i, w in enumerate("my name is dana".split())),
        ),
        HypothesisUtterance("t", 5, 6, "yes", (Word("yes", 5, 6, 0.9),)),
    ]
    call = score_call(reference, perfect, facts=CallFacts(duration_s=60.0, work_s=2.0), streams=True)
    measures = measures_of([call])
    keys = [measure.key for measure in measures]
    assert len(keys) == len(set(keys))
    assert set(HEADLINES) <= set(keys)
    found = {figure.measure.key: figure.value for figure in figures_of([call])}
    for key in (
        "wer",
        "cer",
        "cpwer",
        "tcpwer",
        "orcwer",
        "wder",
        "der",
        "made_up_words",
        "lost_words",
        "untranscribed",
    ):
        assert 0 == found[key], key
    assert (1.0, 30.0) == (found["speaker_count"], found["rtfx"])
    assert "entity_recall" not in found


def test_only_words_are_known() -> None:
    """A reference of plain text has word measures, and no measure of speakers and times."""
    call = score_call(Reference("call", text="Guten Tag"), [said("guten tag")], "de", CallFacts(duration_s=5.0))
    found = {figure.measure.key for figure in figures_of([call])}
    assert {"wer", "cer", "wer_raw", "wer_values"} <= found
    assert not {"cpwer", "tcpwer", "der", "speaker_count", "made_up_words"} & found


@given(st.permutations(["a", "b", "c"]))
def test_the_names_of_calls_do_not_matter(names: list[str]) -> None:
    """The figures of a set are the same, whatever its calls are called and in whatever order they come."""
    texts = {"a": ("do you know", "do you"), "b": ("good day", "good night"), "c": ("yes", "yes please")}
    renamed = dict(zip(names, texts.values(), strict=True))
    found = score_set(
        {name: Reference(name, (line(text),)) for name, (text, _) in renamed.items()},
        {name: (said(text),) for name, (_, text) in renamed.items()},
    )
    assert ErrorCounts(6, 1, 1, 1) == found.words


def test_precision_is_of_what_was_annotated() -> None:
    """A call whose entities nobody wrote down, and a class that no reference names, say nothing of precision."""
    annotated = Reference("a", (line("it is forty dollars"),), entities=(ReferenceEntity("amount", "$40"),))
    plain = Reference("b", (line("it is forty dollars"),))
    heard = {"a": (said("it is $40 and 3 o'clock p.m."),), "b": (said("it is $50"),)}
    score = score_set({"a": annotated, "b": plain}, heard)
    found = {figure.measure.key: figure.value for figure in figures_of(score.calls)}
    assert (1.0, 1.0, 1.0) == (found["entity_recall"], found["entity_precision"], found["entity_f1"])
    score = score_set({"a": annotated, "b": replace(plain, entities=())}, heard)
    found = {figure.measure.key: figure.value for figure in figures_of(score.calls)}
    assert 0.5 == found["entity_precision"]


@pytest.mark.long
def test_processes_score_as_one_does() -> None:
    """However many score, the result is the same, in the same order."""
    known = {f"{at:03}": Reference(f"{at:03}", (line(f"call {at} of many"),), entities=()) for at in range(120)}
    heard = {call_id: (said(f"call {call_id}"),) for call_id in known}
    assert score_set(known, heard) == score_set(known, heard, processes=2)


def test_slices_say_where_it_is_bad() -> None:
    """Each dimension in which calls differ has its slices, in order of their bands."""
    calls = [
        score("a", 1, 10, tags=("noisy",), snr_db=5.0, language="en", codec="mp3"),
        score("b", 0, 10, tags=(), snr_db=25.0, language="en", codec="mp3"),
        score("c", 0, 10, tags=("noisy", "overlap"), snr_db=None, language="en", codec="mp3"),
    ]
    found = slices_of_set(calls)
    assert [
        ("tag", "noisy", 2),
        ("tag", "overlap", 1),
        ("snr", "under 10 dB", 1),
        ("snr", "20 to 30 dB", 1),
    ] == [(one.dimension, one.value, one.calls) for one in found]
    wer = next(figure for figure in found[0].figures if figure.measure.key == "wer")
    assert 0.05 == wer.value
    assert {} == group([])


def test_overlap_is_a_share_of_speech() -> None:
    """One second of two in which both speak."""
    assert 0.5 == overlap_of([line("a", 0, 1.5, "x"), line("b", 0.5, 2.0, "y")])
    assert None is overlap_of([])


def test_bins_are_those_of_the_counts() -> None:
    """Counts of other lengths are refused."""
    with pytest.raises(ValueError, match="impossible counts"):
        TrustCounts((0,), (0,) * BINS, (0.0,) * BINS, (0.0,) * BINS, (0,) * BINS)
