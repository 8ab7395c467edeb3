"""A gate: whether transcripts of a set show what its rules (`evaluation.gate_rules`) ask for. Pure.

A rule that cannot be told fails: a gate that lets through what nobody measured is none. Only in the comparison of
slices a small slice is passed by, and counted: `significant` can never say anything of one or two calls.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from evaluation.figures import Drawn, Figure, figures_of
from evaluation.gate_rules import Gate, NoSliceWorse, Threshold
from evaluation.intervals import Counts, Difference, Interval
from evaluation.measure import Measure
from evaluation.measures import measures_of
from evaluation.multiplicity import significant_by_holm
from evaluation.score import CallScore
from evaluation.slices import group
from evaluation.wording import written
from tasks.errors import SettingsError

EVERYWHERE: Final = ("all", "calls")
"""The slice that is the whole set."""

PER_CLASS: Final = ("recall", "precision", "f1", "wer")
"""What there is of each class of entities: a set that has none of a class has no such measure."""


@dataclass(frozen=True, slots=True)
class Ruling:
    """What came of a rule: the rule in words, whether it holds, and why."""

    rule: str
    passed: bool
    reason: str


@dataclass(frozen=True, slots=True)
class Accepted:
    """The run that was accepted last: what it is called, and its counts by measure, of shape [call, count].

    The calls are those of the run that is held against it, in the same order.
    """

    name: str
    counts: Mapping[str, Counts]


def judge(gate: Gate, calls: Sequence[CallScore], accepted: Accepted | None = None) -> tuple[Ruling, ...]:
    """Hold the scores of a set against a gate.

    Args:
        gate: the rules.
        calls: the scores of a set.
        accepted: the run that was accepted last on the same set; None where there is none yet.

    Returns:
        what came of each rule, in the order of the file, thresholds first.

    Raises:
        SettingsError: a rule names a measure that there is not.
    """
    order = sorted(range(len(calls)), key=lambda at: calls[at].call_id)  # what is drawn hangs on the order
    calls = [calls[at] for at in order]
    if accepted is not None:
        accepted = replace(accepted, counts={key: counts[order] for key, counts in accepted.counts.items()})
    measures = {measure.key: measure for measure in measures_of(calls)}
    for key in [*(rule.measure for rule in gate.threshold), *(rule.measure for rule in gate.no_slice_worse)]:
        if key not in measures and not key.startswith(tuple(f"entity_{kind}." for kind in PER_CLASS)):
            message = f"there is no measure {key!r}; there are {', '.join(sorted(measures))}"
            raise SettingsError(message)
    places = group(call.facts for call in calls)
    return (
        *(_threshold(rule, measures.get(rule.measure), calls, places) for rule in gate.threshold),
        *(_compared(rule, measures.get(rule.measure), calls, places, accepted) for rule in gate.no_slice_worse),
    )


def _threshold(
    rule: Threshold,
    measure: Measure | None,
    calls: Sequence[CallScore],
    places: Mapping[tuple[str, str], Sequence[int]],
) -> Ruling:
    bound = rule.max if rule.min is None else rule.min
    assert bound is not None  # noqa: S101  # `parse_gate` holds it
    unit, title = (measure.unit, measure.title) if measure else ("%", rule.measure)
    where = f" in {rule.slice}" if rule.slice else ""
    said = f"{title}{where} {'at least' if rule.max is None else 'at most'} {written(bound, unit)}"
    own = calls
    if rule.place is not None:
        if rule.place not in places:
            return Ruling(said, passed=False, reason=f"cannot tell: the set has no slice {rule.slice}")
        own = [calls[at] for at in places[rule.place]]
    if measure is None:
        return Ruling(said, passed=False, reason="cannot tell: the references have no entity of this class")
    (figure,) = figures_of(own, [measure])
    different = Drawn.of(own).different(measure.of(own))
    if lacking := _lacking(rule, figure, own, different):
        return Ruling(said, passed=False, reason=f"cannot tell: {lacking}")
    value = figure.value
    assert value is not None  # noqa: S101  # `_lacking` says so otherwise
    held, told = value, written(value, unit)
    if rule.confident:
        interval = figure.interval
        assert interval is not None  # noqa: S101
        held = interval.low if rule.max is None else interval.high
        told = f"{told}, {_between(interval, measure)}, of which {written(held, unit)} counts"
    passed = held >= bound if rule.max is None else held <= bound
    return Ruling(said, passed=passed, reason=f"it is {told}, in {_calls(figure, different)}")


def _lacking(rule: Threshold, figure: Figure, calls: Sequence[CallScore], different: int) -> str:
    """What is missing for a threshold to be told; empty when nothing is. `different` calls say anything of it."""
    words = sum(call.words.reference_words for call in calls)
    if figure.value is None:
        return "no call says anything of it"
    if different < rule.calls:
        return f"{_calls(figure, different)} say anything of it, and the rule wants {rule.calls}"
    if words < rule.words:
        return f"the references have {words:,} words, and the rule wants {rule.words:,}"
    if rule.confident and figure.interval is None:
        return f"{_calls(figure, different)} are too few for an interval"
    if rule.confident and rule.calls == 1 and figure.interval and figure.interval.low == figure.interval.high:
        return "all calls say the same, so that the interval is a point: say with calls = N how many of them are enough"
    return ""


def _compared(
    rule: NoSliceWorse,
    measure: Measure | None,
    calls: Sequence[CallScore],
    places: Mapping[tuple[str, str], Sequence[int]],
    accepted: Accepted | None,
) -> Ruling:
    unit, title = (measure.unit, measure.title) if measure else ("%", rule.measure)
    share = rule.points / 100 if unit == "%" else rule.points
    sure = " significantly" if rule.significant else ""
    said = f"{title}: no slice{sure} more than {_points(share, unit)} worse than the last accepted run"
    if accepted is None:
        return Ruling(said, passed=True, reason="there is no accepted run to be held against")
    if measure is None or measure.key not in accepted.counts:
        return Ruling(said, passed=False, reason=f"cannot tell: {accepted.name} says nothing of it")
    chosen = {
        key: at for key, at in places.items() if not rule.dimensions or key[0] in rule.dimensions
    } | {EVERYWHERE: range(len(calls))}  # fmt: skip
    found: dict[tuple[str, str], Difference] = {}
    for key, at in chosen.items():
        own = [calls[place] for place in at]
        before = np.array([calls[place].facts.weight for place in at])[:, None] * accepted.counts[measure.key][list(at)]
        after = measure.of(own)
        if before.shape == after.shape and (one := Drawn.of(own).difference(before, after, measure)) is not None:
            found[key] = one
    if not found:
        return Ruling(said, passed=False, reason="cannot tell: no call says anything of it in both runs")
    sign = 1 if measure.better == "lower" else -1
    sure_of = significant_by_holm({key: one.p_value for key, one in found.items()})
    worse = {
        key: one
        for key, one in found.items()
        if sign * one.value > share and (not rule.significant or key in sure_of)
    }  # fmt: skip
    untold = sum(one.p_value is None for one in found.values()) if rule.significant else 0
    beside = f"; {untold} slices have too few calls to tell" if untold else ""
    if not worse:
        most = max(sign * one.value for one in found.values())
        reason = f"of {len(found)} slices, the whole set among them, the worst changed by {_points(most, unit)}{beside}"
        return Ruling(said, passed=True, reason=f"{reason} ({accepted.name})")
    ordered = sorted(worse.items(), key=lambda item: (-sign * item[1].value, item[0]))
    named = ", ".join(f"{_named(key)} by {_points(sign * one.value, unit)}" for key, one in ordered)
    return Ruling(said, passed=False, reason=f"worse than {accepted.name} in {named}{beside}")


def _calls(figure: Figure, different: int) -> str:
    """Of how many calls a figure is, and of how many recordings where some are of the same call."""
    return f"{different} calls" if different == figure.calls else f"{different} calls ({figure.calls} recordings)"


def _named(key: tuple[str, str]) -> str:
    return "all calls" if key == EVERYWHERE else f"{key[0]}: {key[1]}"


def _points(value: float, unit: str) -> str:
    """A difference: percentage points of shares, else in the unit of the measure."""
    return f"{100 * value:.2f} points" if unit == "%" else f"{value:.{3 if unit == 's' else 2}f} {unit}".strip()


def _between(interval: Interval, measure: Measure) -> str:
    return f"between {written(interval.low, measure.unit)} and {written(interval.high, measure.unit)}"
