"""The measures of a report: what each is called, and what it counts of a call. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from evaluation.diarization import FORGIVING
from evaluation.entity_classes import class_of
from evaluation.measure import Better, Measure, ratio, trust_figure, trusted
from evaluation.rates import EntityCounts, ErrorCounts
from evaluation.score import CallScore
from evaluation.timed import COLLAR_S

REVIEWED: Final = 0.1
"""Share of the audio that a person listens to, for the errors caught in it."""


def measures_of(calls: Sequence[CallScore]) -> tuple[Measure, ...]:
    """The measures of a set: those of every set, and some of each class of entities that its references have."""
    classes = sorted({class_of(kind) for call in calls for kind in call.entities.by_type})
    at = next(place for place, measure in enumerate(ALWAYS) if measure.key == "entity_wer") + 1
    return (*ALWAYS[:at], *(measure for name in classes for measure in _of_class(name)), *ALWAYS[at:])


def of_class(call: CallScore, name: str) -> EntityCounts:
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


def _of_class(name: str) -> tuple[Measure, ...]:
    """The measures of one class of entities."""

    def measure(kind: str, says: str, better: Better, counts: Callable[[CallScore], Sequence[float]]) -> Measure:
        return Measure(f"entity_{kind}.{name}", f"{name}: {says}", "%", better, f"of the class {name}", counts, ratio)

    return (
        measure("recall", "found", "higher", lambda call: _recall(of_class(call, name))),
        measure("precision", "precision", "higher", lambda call: _precision(of_class(call, name))),
        measure("f1", "F1", "higher", lambda call: _f1(of_class(call, name))),
        measure("wer", "WER inside", "lower", lambda call: _word_errors(call.entity_words.by_class.get(name))),
    )


ALWAYS: Final[tuple[Measure, ...]] = (
    Measure(
        "wer",
        "WER",
        "%",
        "lower",
        "word errors (substitutions, deletions, insertions) per word of the reference, normalised",
        lambda call: (call.words.errors, call.words.reference_words),
        ratio,
    ),
    Measure(
        "substitutions",
        "substitutions",
        "%",
        "lower",
        "words of the reference that were heard as another",
        lambda call: (call.words.substitutions, call.words.reference_words),
        ratio,
    ),
    Measure(
        "deletions",
        "deletions",
        "%",
        "lower",
        "words of the reference that are missing",
        lambda call: (call.words.deletions, call.words.reference_words),
        ratio,
    ),
    Measure(
        "insertions",
        "insertions",
        "%",
        "lower",
        "words too many, per word of the reference",
        lambda call: (call.words.insertions, call.words.reference_words),
        ratio,
    ),
    Measure(
        "wer_values",
        "WER, numbers as values",
        "%",
        "lower",
        "the same with every number, however it is grouped or spelled, as one word",
        lambda call: (call.values.errors, call.values.reference_words),
        ratio,
    ),
    Measure(
        "wer_raw",
        "WER, as written",
        "%",
        "lower",
        "word errors with case, punctuation and spelling of numbers as they are written",
        lambda call: (call.raw.errors, call.raw.reference_words),
        ratio,
    ),
    Measure(
        "cer",
        "CER",
        "%",
        "lower",
        "character errors per character of the reference, normalised",
        lambda call: (call.characters.errors, call.characters.reference_words),
        ratio,
    ),
    Measure(
        "cpwer",
        "cpWER",
        "%",
        "lower",
        "word errors that count a word given to the wrong speaker",
        lambda call: (call.speakers.counts.errors, call.speakers.counts.reference_words),
        ratio,
    ),
    Measure(
        "tcpwer",
        "tcpWER",
        "%",
        "lower",
        f"the same, and a word counts only within {COLLAR_S:g} s of where it was said",
        lambda call: (call.timed.errors, call.timed.reference_words),
        ratio,
    ),
    Measure(
        "orcwer",
        "ORC-WER",
        "%",
        "lower",
        "word errors that forgive a wrong speaker, of the calls short enough for it",
        lambda call: (call.streams.errors, call.streams.reference_words) if call.streams else (0, 0),
        ratio,
    ),
    Measure(
        "wder",
        "WDER",
        "%",
        "lower",
        "share of the recognised words that are given to the wrong speaker",
        lambda call: (call.attribution.wrong, call.attribution.words),
        ratio,
    ),
    Measure(
        "der",
        "DER",
        "%",
        "lower",
        "time given to the wrong speaker, to nobody, or to somebody where nobody speaks, per time of speech",
        lambda call: (call.turns.errors_s, call.turns.total_s),
        ratio,
    ),
    Measure(
        "der_forgiving",
        f"DER, {FORGIVING:g} s around boundaries aside",
        "%",
        "lower",
        f"the same without what lies within {FORGIVING:g} s of a boundary of the reference",
        lambda call: (call.turns_forgiving.errors_s, call.turns_forgiving.total_s),
        ratio,
    ),
    Measure(
        "speaker_count",
        "speaker count right",
        "%",
        "higher",
        "share of the calls in which as many speakers were found as there are",
        lambda call: (call.speaker_count.right, call.speaker_count.calls),
        ratio,
    ),
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
    Measure(
        "made_up_words",
        "made-up words",
        "per hour",
        "lower",
        "recognised words where nobody speaks, per hour of such time",
        lambda call: (call.silence.made_up_words, call.silence.silent_s / 3600),
        ratio,
    ),
    Measure(
        "lost_words",
        "words in lost speech",
        "%",
        "lower",
        "share of the references' words in lines over which nothing was heard",
        lambda call: (call.silence.lost_words, call.silence.reference_words),
        ratio,
    ),
    Measure(
        "calibration_error",
        "calibration error (ECE)",
        "%",
        "lower",
        "mean distance of word probabilities from the share of words that is right",
        trusted,
        trust_figure(lambda trust: trust.calibration_error),
    ),
    Measure(
        "cross_entropy",
        "cross entropy (NCE)",
        "",
        "higher",
        "what word probabilities tell of which words are right: 1 all, 0 nothing",
        trusted,
        trust_figure(lambda trust: trust.cross_entropy),
    ),
    Measure(
        "area",
        "AUROC",
        "",
        "higher",
        "chance that a right word has a higher probability than a wrong one",
        trusted,
        trust_figure(lambda trust: trust.area),
    ),
    Measure(
        "errors_caught",
        f"errors caught in {100 * REVIEWED:g} % of the audio",
        "%",
        "higher",
        f"share of the wrong words in the {100 * REVIEWED:g} % of the audio with the least confident utterances",
        trusted,
        trust_figure(lambda trust: trust.caught(REVIEWED)),
    ),
    Measure(
        "untranscribed",
        "calls without a transcript",
        "%",
        "lower",
        "share of the calls that have a reference and no transcript; their words count as deleted",
        lambda call: (not call.transcribed, 1),
        ratio,
    ),
    Measure(
        "rtfx",
        "RTFx",
        "x",
        "higher",
        "seconds of audio by seconds of work, all stages, models loaded",
        lambda call: (call.facts.duration_s or 0, call.facts.work_s) if call.facts.work_s else (0, 0),
        ratio,
    ),
)
"""Of every set, in the order of reports."""

HEADLINES: Final = ("wer", "deletions", "cpwer", "wder", "entity_recall", "made_up_words", "rtfx")
"""Of slices and comparisons, where all would be too many; measures without a figure are left out there."""
