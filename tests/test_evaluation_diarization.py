"""DER and the number of speakers, against pyannote.metrics called directly."""

import warnings
from collections.abc import Iterable, Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyannote.core import Annotation, Segment, Timeline
from pyannote.metrics.diarization import (
    DiarizationErrorRate,
    DiarizationSpeakerCountAccuracy,
    DiarizationSpeakerCountError,
)

from evaluation.diarization import (
    FORGIVING,
    STRICT,
    DiarizationCounts,
    Region,
    SpeakerCounts,
    diarization_counts,
    merged_turns,
    speaker_counts,
    spoken_turns,
)
from evaluation.hypotheses import HypothesisUtterance
from evaluation.references import RttmTurn, parse_rttm, parse_stm
from tasks.records import Turn

FOLDER = Path(__file__).parent / "data" / "meeteval"
COLLARS = (STRICT, FORGIVING)


@st.composite
def turns(draw: st.DrawFn) -> list[Turn]:
    """Turns on a grid of tenths or thirtieths of a second; speakers overlap, though not themselves."""
    found = []
    steps = draw(st.sampled_from([10, 30]))
    for speaker in draw(st.lists(st.sampled_from("wxyz"), max_size=3, unique=True)):
        start = 0
        for pause, length in draw(st.lists(st.tuples(st.integers(0, 20), st.integers(1, 30)), min_size=1, max_size=4)):
            start += pause
            found.append(Turn(start / steps, (start + length) / steps, speaker))
            start += length
    return found


CALLS = st.lists(st.tuples(turns(), turns()), min_size=1, max_size=4)
REGIONS = st.sampled_from([None, [(0.5, 4.0), (6.0, 8.3)], [(1.0, 2.0), (2.0, 3.1), (0.2, 0.2)], []])


def annotation(side: Iterable[Turn | RttmTurn]) -> Annotation:
    """Turns as they are, as pyannote's record."""
    found = Annotation()
    for index, turn in enumerate(side):
        found[Segment(turn.start, turn.end), index] = turn.speaker
    return found


def total(
    calls: Sequence[tuple[list[Turn], list[Turn]]], collar_s: float, regions: Sequence[Region] | None = None
) -> DiarizationCounts:
    """The counts of a set."""
    each = (diarization_counts(reference, hypothesis, collar_s, regions) for reference, hypothesis in calls)
    return sum(each, DiarizationCounts.zero())


@pytest.mark.parametrize("collar_s", COLLARS)
@settings(max_examples=50)
@given(CALLS, REGIONS)
def test_der_is_that_of_pyannote(
    collar_s: float, calls: list[tuple[list[Turn], list[Turn]]], regions: list[Region] | None
) -> None:
    """The rate of the summed counts is the metric's own over all files, and so is each component."""
    metric = DiarizationErrorRate(collar=2 * collar_s)
    uem = None if regions is None else Timeline([Segment(*region) for region in regions])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for reference, hypothesis in calls:
            metric(annotation(reference), annotation(hypothesis), uem=uem)
    found = total(calls, collar_s, regions)
    expected = [metric[key] for key in ("total", "missed detection", "false alarm", "confusion")]
    counts = [found.total_s, found.missed_s, found.false_alarm_s, found.confusion_s]
    assert expected == pytest.approx(counts, rel=1e-9, abs=1e-9)
    assert found.rate is None if metric["total"] == 0 else found.rate == pytest.approx(abs(metric))


@pytest.mark.parametrize("collar_s", COLLARS)
def test_der_of_files_is_exactly_that_of_pyannote(collar_s: float) -> None:
    """Of the RTTM files of meeteval, to the last bit, with their regions and without."""
    sides = [parse_rttm((FOLDER / name).read_text()) for name in ("ref.rttm", "hyp.rttm")]
    lines = [line.split() for line in (FOLDER / "uem.uem").read_text().splitlines()]
    for limited in (False, True):
        metric, found = DiarizationErrorRate(collar=2 * collar_s), DiarizationCounts.zero()
        for call_id, _, start, end in lines:
            reference, hypothesis = ([turn for turn in side if turn.call_id == call_id] for side in sides)
            regions = [(float(start), float(end))] if limited else None
            uem = Timeline([Segment(float(start), float(end))]) if limited else None
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                metric(annotation(reference), annotation(hypothesis), uem=uem)
            found += diarization_counts(reference, hypothesis, collar_s, regions)
        assert abs(metric) == found.rate


@settings(max_examples=50)
@given(CALLS, st.permutations("wxyz"))
def test_names_order_and_files_do_not_matter(calls: list[tuple[list[Turn], list[Turn]]], names: list[str]) -> None:
    """Speakers of a hypothesis may be called anything, turns and files come in any order."""
    called = dict(zip("wxyz", names, strict=True))
    others = [
        (reference[::-1], [Turn(turn.start, turn.end, called[turn.speaker]) for turn in hypothesis])
        for reference, hypothesis in reversed(calls)
    ]
    one, other = total(calls, STRICT), total(others, STRICT)
    assert one.errors_s == pytest.approx(other.errors_s)
    assert one.total_s == pytest.approx(other.total_s)


@pytest.mark.parametrize("collar_s", COLLARS)
@given(turns())
def test_nothing_is_wrong_with_the_reference_itself(collar_s: float, said: list[Turn]) -> None:
    """DER is 0 where the hypothesis is the reference, and undefined where nobody speaks or nothing is scored."""
    found = diarization_counts(said, said, collar_s)
    assert found.rate is None if found.total_s == 0 else found.rate == pytest.approx(0, abs=1e-9)


def test_each_kind_of_error() -> None:
    """One second is missed, two are falsely speech, three are given to the wrong speaker."""
    reference = [Turn(0.0, 10.0, "agent"), Turn(12.0, 18.0, "customer")]
    hypothesis = [Turn(1.0, 12.0, "S0"), Turn(12.0, 15.0, "S0"), Turn(15.0, 18.0, "S1")]
    found = diarization_counts(reference, hypothesis)
    assert DiarizationCounts(16.0, missed_s=1.0, false_alarm_s=2.0, confusion_s=3.0) == found
    assert 6 / 16 == found.rate


def test_the_collar_lies_on_either_side_of_a_boundary() -> None:
    """Of ten seconds a quarter of one is not scored at each end; an error within it is none."""
    found = diarization_counts([Turn(1.0, 11.0, "agent")], [Turn(1.25, 11.2, "S0")], FORGIVING)
    assert DiarizationCounts(9.5) == found
    assert 9.5 == diarization_counts([Turn(1.0, 11.0, "a")], [], FORGIVING).missed_s


def test_overlap_is_scored() -> None:
    """Two seconds of speech in each second where two speak; who hears one of them misses the other."""
    reference = [Turn(0.0, 4.0, "agent"), Turn(2.0, 6.0, "customer")]
    found = diarization_counts(reference, [Turn(0.0, 4.0, "S0"), Turn(4.0, 6.0, "S1")])
    assert DiarizationCounts(8.0, missed_s=2.0) == found


def test_only_regions_are_scored() -> None:
    """What lies outside of them is neither speech nor an error; what is given twice counts once."""
    reference, hypothesis = [Turn(0.0, 10.0, "agent")], [Turn(0.0, 5.0, "S0")]
    found = diarization_counts(reference, hypothesis, regions=[(4.0, 6.0), (5.0, 7.0)])
    assert DiarizationCounts(3.0, missed_s=2.0) == found
    assert DiarizationCounts.zero() == diarization_counts(reference, hypothesis, regions=[])


def test_a_speaker_does_not_speak_twice_at_once() -> None:
    """Turns of a speaker that overlap are one, that touch are two, without duration are none."""
    said = [Turn(2.0, 5.0, "a"), Turn(0.0, 3.0, "a"), Turn(5.0, 6.0, "a"), Turn(1.0, 4.0, "b"), Turn(7.0, 7.0, "b")]
    assert (Turn(0.0, 5.0, "a"), Turn(1.0, 4.0, "b"), Turn(5.0, 6.0, "a")) == merged_turns(said)
    assert 9.0 == diarization_counts(said, []).total_s


def test_lines_without_words_are_no_speech() -> None:
    """Utterances and STM lines are turns from start to end; an empty one says that nobody spoke."""
    lines = parse_stm("a 1 x 0 2 good morning\na 1 y 2 3\na 1 y 3 5 hello")
    assert (Turn(0.0, 2.0, "x"), Turn(3.0, 5.0, "y")) == spoken_turns(lines)
    utterances = [HypothesisUtterance("S0", 0.0, 2.0, "good morning"), HypothesisUtterance("S1", 3.0, 5.0, "hello")]
    assert DiarizationCounts(4.0) == diarization_counts(spoken_turns(lines), utterances)


@given(CALLS)
def test_speaker_counts_are_those_of_pyannote(calls: list[tuple[list[Turn], list[Turn]]]) -> None:
    """The share of calls with the right number, and how far off the others are."""
    accuracy, error = DiarizationSpeakerCountAccuracy(), DiarizationSpeakerCountError()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for reference, hypothesis in calls:
            accuracy(annotation(reference), annotation(hypothesis))
            error(annotation(reference), annotation(hypothesis))
    found = sum((speaker_counts(*call) for call in calls), SpeakerCounts.zero())
    assert (abs(accuracy), error["error"]) == (found.accuracy, found.too_many + found.too_few)


def test_speakers_too_many_and_too_few() -> None:
    """The difference keeps its sign; of no calls there is none."""
    two, one = [Turn(0.0, 1.0, "a"), Turn(1.0, 2.0, "b")], [Turn(0.0, 2.0, "a"), Turn(3.0, 3.0, "b")]
    found = speaker_counts(two, one) + speaker_counts(one, two) + speaker_counts(two, two) + speaker_counts(two, [])
    assert SpeakerCounts(4, right=1, too_many=1, too_few=3) == found
    assert (0.25, -0.5) == (found.accuracy, found.difference)
    assert (None, None) == (SpeakerCounts.zero().accuracy, SpeakerCounts.zero().difference)


@pytest.mark.parametrize("counts", [(-1, 0, 0, 0), (1, 2, 0, 0), (1, 0, -1, 0), (1, 0, 0, -1)])
def test_impossible_speaker_counts_are_refused(counts: tuple[int, int, int, int]) -> None:
    """Counts check themselves."""
    with pytest.raises(ValueError, match="SpeakerCounts"):
        SpeakerCounts(*counts)
