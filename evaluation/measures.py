"""The measures of a report: what each is called, and what it counts of a call. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from evaluation.entity_classes import class_of
from evaluation.entity_measures import ENTITY_MEASURES, measures_of_class
from evaluation.measure import Measure, ratio, trust_figure, trusted
from evaluation.score import CallScore
from evaluation.speaker_measures import SPEAKER_MEASURES
from evaluation.time_measures import TIME_MEASURES
from evaluation.word_measures import WORD_MEASURES

REVIEWED: Final = 0.1
"""Share of the audio that a person listens to, for the errors caught in it."""


OTHER_MEASURES: Final[tuple[Measure, ...]] = (
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
"""Of silence, word probabilities, calls and speed, in the order of reports."""

_BEFORE_CLASSES: Final = (*WORD_MEASURES, *TIME_MEASURES, *SPEAKER_MEASURES, *ENTITY_MEASURES)

ALWAYS: Final[tuple[Measure, ...]] = (*_BEFORE_CLASSES, *OTHER_MEASURES)
"""Of every set, in the order of reports."""

HEADLINES: Final = (
    "wer",
    "deletions",
    "word_start_error_s",
    "cpwer",
    "wder",
    "entity_recall",
    "made_up_words",
    "rtfx",
)
"""Of slices and comparisons, where all would be too many; measures without a figure are left out there."""


def measures_of(calls: Sequence[CallScore]) -> tuple[Measure, ...]:
    """The measures of a set: those of every set, and some of each class of entities that its references have."""
    classes = sorted({class_of(kind) for call in calls for kind in call.entities.by_type})
    of_classes = (measure for name in classes for measure in measures_of_class(name))
    return (*_BEFORE_CLASSES, *of_classes, *OTHER_MEASURES)
