"""A gate: its file, what it demands, and what it says where that cannot be told."""

import re
from dataclasses import replace
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_up_sets import made_up_set, scores

from evaluation.accepted import counts_of, read_counts
from evaluation.evaluation_set import EvaluationSet
from evaluation.gate import Accepted, Ruling, judge
from evaluation.gate_rules import parse_gate
from evaluation.score import CallScore
from tasks.errors import SettingsError

WRONG = [3, 0, 2, 5, 1, 0, 4, 2, 1, 2]


@pytest.fixture(scope="module")
def known(tmp_path_factory: pytest.TempPathFactory) -> EvaluationSet:
    """A set of ten calls, of 200 words; a tenth of them is missing from `WRONG`."""
    return made_up_set(tmp_path_factory.mktemp("sets") / "made-up", calls=10)


def judged(text: str, calls: list[CallScore], accepted: Accepted | None = None) -> tuple[Ruling, ...]:
    """What came of the rules of a gate file."""
    return judge(parse_gate(text, "gate.toml"), calls, accepted)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "has no rule"),
        ("[[threshold]", "is not valid TOML"),
        ('[[threshold]]\nmeasure = "wer"', "threshold 1 (wer): say min or max"),
        ('[[threshold]]\nmeasure = "wer"\nmin = 0.1\nmax = 0.2', "say min or max, one of the two"),
        ("[[threshold]]\nmax = 0.1", "threshold 1 measure is missing"),
        ('[[threshold]]\nmeasure = "wer"\nmost = 0.1', "threshold 1 most is no field of a gate"),
        ('[[threshold]]\nmeasure = "wer"\nmax = "low"', "threshold 1 max: "),
        ('[[threshold]]\nmeasure = "wer"\nmax = 0.1\nslice = "noisy"', "threshold 1 slice: "),
        ("no_slice_worse = { points = -1 }", "no_slice_worse 1 points: "),
    ],
)
def test_a_wrong_gate_file(text: str, said: str) -> None:
    """The message names the file, the rule and what is wrong with it."""
    with pytest.raises(SettingsError, match=r"gate\.toml") as caught:
        parse_gate(text, "gate.toml")
    assert said in caught.value.message


@pytest.mark.parametrize(
    ("rule", "passed", "reason"),
    [
        ("max = 0.1", True, "it is 10.0 %, in 10 calls"),
        ("max = 0.0999", False, "it is 10.0 %, in 10 calls"),
        ("max = 0.1\nconfident = true", False, r"it is 10.0 %, between \d.\d % and 1\d.\d %, of which 1\d.\d % counts"),
        ("max = 0.2\nconfident = true", True, "counts, in 10 calls"),
        ("max = 0.1\ncalls = 11", False, "cannot tell: 10 calls say anything of it, and the rule wants 11"),
        ("max = 0.1\nwords = 201", False, "cannot tell: the references have 200 words, and the rule wants 201"),
        ('max = 0.1\nslice = "tag: clean"', False, "it is 11.0 %, in 5 calls"),
        ('max = 0.1\nslice = "tag:noisy"', True, "it is 9.0 %, in 5 calls"),
        ('max = 0.1\nslice = "snr: under 10 dB"', False, "cannot tell: the set has no slice snr: under 10 dB"),
    ],
)
def test_thresholds(known: EvaluationSet, rule: str, passed: bool, reason: str) -> None:  # a table
    """Over all calls or in a slice, by the value or by the bound of its interval; what cannot be told fails."""
    (found,) = judged(f'[[threshold]]\nmeasure = "wer"\n{rule}\n', scores(known, WRONG))
    assert passed == found.passed, found.reason
    assert re.search(reason, found.reason), found.reason


def test_recordings_of_one_call_are_one(known: EvaluationSet) -> None:
    """Ten recordings of five calls are five calls to a rule that wants so many, as they are to the interval."""
    recordings = [
        replace(call, facts=replace(call.facts, group=f"call {at // 2}"))
        for at, call in enumerate(scores(known, WRONG))
    ]
    rule = '[[threshold]]\nmeasure = "wer"\nmax = 0.1\ncalls = {}\n'
    (enough,) = judged(rule.format(5), recordings)
    assert (True, "it is 10.0 %, in 5 calls (10 recordings)") == (enough.passed, enough.reason)
    (few,) = judged(rule.format(6), recordings)
    assert (False, "cannot tell: 5 calls (10 recordings) say anything of it, and the rule wants 6") == (
        few.passed, few.reason
    )  # fmt: skip
    (none,) = judged(f"{rule.format(2)}confident = true\n", recordings[:4])
    assert (False, "cannot tell: 2 calls (4 recordings) are too few for an interval") == (none.passed, none.reason)


def test_measures_that_there_are_not(known: EvaluationSet) -> None:
    """A mistyped one is an error; a class of entities that the set lacks, and a few calls, are rules that fail."""
    calls = scores(known, WRONG)
    with pytest.raises(SettingsError, match="there is no measure 'were'; there are area, calibration_error"):
        judged('[[threshold]]\nmeasure = "were"\nmin = 0', calls)
    (found,) = judged('[[threshold]]\nmeasure = "entity_recall.money"\nmin = 0.5', calls)
    assert (False, "cannot tell: the references have no entity of this class") == (found.passed, found.reason)
    (found,) = judged('[[threshold]]\nmeasure = "der"\nmax = 0.5\nconfident = true', calls[:2])
    assert "too few for an interval" in found.reason


def _accepted(calls: list[CallScore], before: list[CallScore]) -> Accepted:
    return Accepted("run 1", read_counts(counts_of(before), calls))


def test_calls_that_are_all_right(known: EvaluationSet) -> None:
    """The interval is a point, however few they are: the rule must say how many are enough."""
    rule = '[[threshold]]\nmeasure = "wer"\nmax = 0.1\nconfident = true\n'
    right = scores(known, [0] * 10)
    (found,) = judged(rule, right)
    assert (False, "cannot tell: all calls say the same") == (found.passed, found.reason[:35])
    assert [True, False] == [judged(f"{rule}calls = {calls}", right)[0].passed for calls in (10, 11)]


def test_no_slice_is_worse(known: EvaluationSet) -> None:
    """By more than so many points, and not by chance; without an accepted run there is nothing to be worse than."""
    before, same = scores(known, [2] * 10), scores(known, [2] * 10)
    worse = scores(known, [6 if call % 2 else 2 for call in range(10)])
    rule = '[[no_slice_worse]]\nmeasure = "wer"\npoints = {}\nsignificant = {}\n'
    (first,) = judged(rule.format(2, "true"), worse)
    assert (True, "there is no accepted run to be held against") == (first.passed, first.reason)
    (alike,) = judged(rule.format(0, "false"), same, _accepted(same, before))
    assert (True, "of 3 slices, the whole set among them, the worst changed by 0.00 points (run 1)") == (
        alike.passed, alike.reason
    )  # fmt: skip
    (found,) = judged(rule.format(2, "false"), worse, _accepted(worse, before))
    assert (False, "worse than run 1 in tag: noisy by 20.00 points, all calls by 10.00 points") == (
        found.passed, found.reason
    )  # fmt: skip
    (chance,) = judged(rule.format(2, "true"), worse, _accepted(worse, before))
    assert chance.passed, "five calls that differ all the same way have a p-value of 2 in 32"
    all_worse = scores(known, [6] * 10)
    (sure,) = judged(rule.format(2, "true"), all_worse, _accepted(all_worse, before))
    assert (False, "worse than run 1 in all calls by 20.00 points") == (sure.passed, sure.reason)
    (room,) = judged(rule.format(20.5, "true"), all_worse, _accepted(all_worse, before))
    assert room.passed


def test_counts_are_kept_without_call_ids(known: EvaluationSet) -> None:
    """They are found again by the digest of the call, in any order; other calls are refused."""
    calls = scores(known, WRONG)
    data = counts_of(calls)
    assert b"call-" not in data
    mixed = list(reversed(calls))
    found = read_counts(data, mixed)
    assert [list(map(float, (call.words.errors, call.words.reference_words))) for call in mixed] == found[
        "wer"
    ].tolist()
    with pytest.raises(SettingsError, match="it was accepted of 10 calls, of which 9 are in this set"):
        read_counts(data, calls[1:])


RULES = """
[[threshold]]
measure = "wer"
max = 0.15
confident = true
[[no_slice_worse]]
measure = "wer"
points = 1
"""


@settings(deadline=None, max_examples=8)
@given(seed=st.integers(0, 999), wrong=st.lists(st.integers(0, 6), min_size=10, max_size=10))
def test_the_order_of_calls_changes_no_verdict(known: EvaluationSet, seed: int, wrong: list[int]) -> None:
    """Neither of the run nor of what was accepted."""
    calls, before = scores(known, wrong), scores(known, WRONG)
    mixed = list(calls)
    Random(seed).shuffle(mixed)  # noqa: S311  # no secret depends on it
    assert judged(RULES, calls, _accepted(calls, before)) == judged(RULES, mixed, _accepted(mixed, before))


@settings(deadline=None, max_examples=8)
@given(limits=st.lists(st.floats(0, 0.4), min_size=2, max_size=5).map(sorted), confident=st.booleans())
def test_a_stricter_threshold_lets_no_more_through(
    known: EvaluationSet, limits: list[float], confident: bool
) -> None:  # fmt: skip
    """What passes one threshold passes every one that is laxer; by the bound of the interval less passes."""
    calls = scores(known, WRONG)
    sure = f"confident = {str(confident).lower()}"
    found = [judged(f'[[threshold]]\nmeasure = "wer"\nmax = {limit}\n{sure}', calls)[0].passed for limit in limits]
    assert sorted(found) == found
    plain = [judged(f'[[threshold]]\nmeasure = "wer"\nmax = {limit}', calls)[0].passed for limit in limits]
    assert all(one or not other for one, other in zip(plain, found, strict=True))
