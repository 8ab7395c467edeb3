"""The measures of entities: all together, and class by class. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from evaluation.measure import Better, Measure, ratio
from evaluation.rates import EntityCounts, ErrorCounts
from evaluation.score import CallScore


def _of_class(call: CallScore, name: str) -> EntityCounts:
    """The entities of a class in a call."""
    return call.entities.by_class.get(name, EntityCounts.zero())


def _entities(call: CallScore) -> EntityCounts:
    """The entities of all classes, with what is spurious."""
    return sum(call.entities.by_class.values(), EntityCounts.zero())


def _recall(counts: EntityCounts) -> Sequence[float]:
    return counts.correct, counts.reference


def _precision(counts: EntityCounts) -> Sequence[float]:
    return (0, 0) if counts.spurious is None else (counts.correct, counts.correct + counts.spurious)


def _f1(counts: EntityCounts) -> Sequence[float]:
    """2 TP by 2 TP + FP + FN: the harmonic mean of precision and recall as one ratio of counts."""
    if counts.spurious is None:
        return (0, 0)
    return 2 * counts.correct, 2 * counts.correct + counts.spurious + counts.missed


def _word_errors(errors: ErrorCounts | None) -> Sequence[float]:
    return (errors.errors, errors.reference_words) if errors else (0, 0)


def measures_of_class(name: str) -> tuple[Measure, ...]:
    """The measures of one class of entities."""

    def measure(kind: str, says: str, better: Better, counts: Callable[[CallScore], Sequence[float]]) -> Measure:
        return Measure(f"entity_{kind}.{name}", f"{name}: {says}", "%", better, f"of the class {name}", counts, ratio)

    return (
        measure("recall", "found", "higher", lambda call: _recall(_of_class(call, name))),
        measure("precision", "precision", "higher", lambda call: _precision(_of_class(call, name))),
        measure("f1", "F1", "higher", lambda call: _f1(_of_class(call, name))),
        measure("wer", "WER inside", "lower", lambda call: _word_errors(call.entity_words.by_class.get(name))),
    )


ENTITY_MEASURES: Final[tuple[Measure, ...]] = (
    Measure(
        "entity_recall",
        "entity recall",
        "%",
        "higher",
        "share of the references' entities whose value was found",
        lambda call: _recall(call.entities.counts),
        ratio,
    ),
    Measure(
        "entity_precision",
        "entity precision",
        "%",
        "higher",
        "share of what was found and what was made up that was found: values and known names that nobody said count",
        lambda call: _precision(_entities(call)),
        ratio,
    ),
    Measure(
        "entity_f1",
        "entity F1",
        "%",
        "higher",
        "harmonic mean of recall and precision",
        lambda call: _f1(_entities(call)),
        ratio,
    ),
    Measure(
        "entity_wer",
        "WER inside of entities",
        "%",
        "lower",
        "word errors inside of entities per word of theirs, as fstalign's class WER",
        lambda call: _word_errors(sum(call.entity_words.by_class.values(), ErrorCounts.zero())),
        ratio,
    ),
)
"""Of entities of all classes, in the order of reports."""
