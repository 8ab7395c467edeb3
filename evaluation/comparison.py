"""Transcripts of one set under several settings, held against each other: differences, the front, what to take. Pure.

All variants are scored on the same calls, so that what is hard for one is hard for all: differences are paired, call by
call (`evaluation.intervals`), and recordings of one call are drawn together. The p-values of a table are one family, by
Holm's method (`evaluation.multiplicity`): all headline measures of all variants over all calls; and, of their own, one
measure of all variants in all slices.

RTFx has a difference and no p-value: how long a call took hangs on what else the machine did.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from evaluation.choice import choose, pareto_front
from evaluation.compared import Compared, Comparison, SliceCompared, VariantCompared, as_cost
from evaluation.figures import Drawn, Figure, figures_of
from evaluation.intervals import Difference
from evaluation.measure import Measure
from evaluation.measures import HEADLINES, measures_of
from evaluation.multiplicity import adjusted, significant_by_holm
from evaluation.score import CallScore
from evaluation.slices import group

SPEED: Final = "rtfx"


def compare(
    scores: Mapping[str, Sequence[CallScore]],
    baseline: str,
    by: str = "wer",
    *,
    price: float | None = None,
    margin: float = 0.005,
    keys: Sequence[str] = HEADLINES,
) -> Comparison:
    """Hold variants against a baseline.

    Args:
        scores: name → the scores of the same calls.
        baseline: the name of one of them.
        by: key of the measure that the front and the choice go by.
        price: of an hour of work; None: unknown.
        margin: a cheaper variant may be so much worse at most, by the interval of the difference, to be taken; in the
            unit of the measure, a share for percentages.
        keys: measures of the table.

    Raises:
        ValueError: the variants are not of the same calls.
        KeyError: there is no measure `by`.
    """
    ordered = {name: sorted(calls, key=lambda call: call.call_id) for name, calls in scores.items()}
    first = ordered[baseline]
    if any([call.call_id for call in calls] != [call.call_id for call in first] for calls in ordered.values()):
        message = "variants are compared on the same calls"
        raise ValueError(message)
    known = {measure.key: measure for measure in measures_of(first)}
    chosen = [known[key] for key in dict.fromkeys((by, *keys)) if key in known]
    names = [baseline, *(name for name in ordered if name != baseline)]
    table = _table({name: ordered[name] for name in names}, baseline, chosen)
    in_slices = _in_slices({name: ordered[name] for name in names}, baseline, known[by])
    costs = {name: _seconds_per_hour(ordered[name]) for name in names}
    values = {name: next((one.figure.value for one in table[name] if one.measure.key == by), None) for name in names}
    points = {
        name: (as_cost(known[by], value), cost)
        for name in names
        if (value := values[name]) is not None and (cost := costs[name]) is not None
    }
    front = pareto_front(points)
    found = tuple(
        VariantCompared(
            name,
            table[name],
            in_slices[name],
            costs[name],
            None if price is None or costs[name] is None else price * (costs[name] or 0.0) / 3600,
            name in front,
        )
        for name in names
    )
    take, reason = choose(found, by, margin)
    return Comparison(baseline, known[by], found, take, reason)


def _table(
    scores: Mapping[str, Sequence[CallScore]], baseline: str, measures: Sequence[Measure]
) -> dict[str, tuple[Compared, ...]]:
    """The measures of each variant, and the p-values of all of them as one family."""
    first = scores[baseline]
    drawn = Drawn.of(first)
    differences: dict[tuple[str, str], Difference | None] = {
        (name, measure.key): drawn.difference(measure.of(first), measure.of(calls), measure)
        for name, calls in scores.items()
        if name != baseline
        for measure in measures
    }
    p_values = {
        key: one.p_value if one is not None and key[1] != SPEED else None for key, one in differences.items()
    }  # fmt: skip
    together, sure = adjusted(p_values), significant_by_holm(p_values)
    return {
        name: tuple(
            Compared(
                figure.measure,
                figure,
                differences.get(key := (name, figure.measure.key)),
                together.get(key),
                key in sure,
            )
            for figure in figures_of(calls, measures)
            if figure.value is not None
        )
        for name, calls in scores.items()
    }


def _in_slices(
    scores: Mapping[str, Sequence[CallScore]], baseline: str, measure: Measure
) -> dict[str, tuple[SliceCompared, ...]]:
    """One measure of each variant in each slice of the baseline's; its p-values are a family of their own."""
    first = scores[baseline]
    places = group(call.facts for call in first)
    found: dict[tuple[str, tuple[str, str]], Difference | None] = {}
    for (name, key), own in _pairs(scores, baseline, places):
        before, after = [first[at] for at in own], [scores[name][at] for at in own]
        found[name, key] = Drawn.of(before).difference(measure.of(before), measure.of(after), measure)
    p_values = {key: one.p_value if one else None for key, one in found.items()}
    together, sure = adjusted(p_values), significant_by_holm(p_values)
    return {
        name: tuple(
            SliceCompared(
                dimension,
                value,
                len(own),
                Compared(
                    measure,
                    Figure(measure, None, None, len(own)),
                    found[name, (dimension, value)],
                    together[name, (dimension, value)],
                    (name, (dimension, value)) in sure,
                ),
            )
            for (dimension, value), own in (places.items() if name != baseline else ())
        )
        for name in scores
    }


def _pairs(
    scores: Mapping[str, Sequence[CallScore]], baseline: str, places: Mapping[tuple[str, str], Sequence[int]]
) -> Iterable[tuple[tuple[str, tuple[str, str]], Sequence[int]]]:
    return (((name, key), own) for name in scores if name != baseline for key, own in places.items())


def _seconds_per_hour(calls: Sequence[CallScore]) -> float | None:
    """Seconds of work for an hour of audio, of the calls that say both."""
    told = [call.facts for call in calls if call.facts.work_s and call.facts.duration_s]
    audio_s = sum(facts.weight * (facts.duration_s or 0.0) for facts in told)
    return 3600 * sum(facts.weight * (facts.work_s or 0.0) for facts in told) / audio_s if audio_s else None
