"""From figures to what to do: each weak spot of a set, and what in callscribe works against it. Pure.

A rule looks at one measure over all calls, or in the slices of one dimension, and hits where the measure is worse than
its threshold *by the bound of its interval*: what a few calls make by chance is no weak spot, and without an interval
nothing is said. Thresholds are starting points, not laws: they are where, on telephone calls, an action was worth its
while. The texts name settings, commands and documents as they are called; a test holds that all of them exist.

=====================  ==========================================  =================================================
rule                   hits where, with a confidence of 95 %       what works against it
=====================  ==========================================  =================================================
untranscribed          over 1 % of the calls have no transcript    look at the errors, and try again
lost_words             over 3 % of the words are in lost speech    VAD threshold, padding
deletions_in_noise     over 10 % deleted in a slice under 20 dB    noise reduction by evidence, VAD threshold
made_up_words          over 20 words an hour where nobody speaks   VAD threshold, text set aside
names                  under 90 % of persons, organisations,       hot words, a larger bundle, review
                       products found
values                 under 95 % of money, ids, dates, numbers,   a larger bundle, a wider beam, review
                       phones, times, addresses found
speakers               cpWER over ORC-WER by over 3 points         a channel for each speaker, speaker counts
attribution            over 5 % of words to the wrong speaker      the same
speaker_count          under 80 % of calls with the right count    speaker counts
calibration            calibration error over 10 %                 calibrate anew
language               WER in a language over 30 %, and over       a larger bundle, languages told
                       that of the set
wer                    WER over 25 %                               a larger bundle
speed                  RTFx under 10                               a GPU, several devices
=====================  ==========================================  =================================================
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

from evaluation.figures import Figure, SliceFigures, figures_of
from evaluation.intervals import Counts
from evaluation.measure import Measure, ratio
from evaluation.score import CallScore
from evaluation.wording import written


@dataclass(frozen=True, slots=True)
class Rule:
    """A weak spot: the measure, from where on it is weak, in which slices, and what to do.

    `keys` are measures, each of which is looked at; `dimension` and `values` the slices, all calls when None.
    `severity` orders what was found: how much it matters where a measure is at twice its threshold.
    """

    name: str
    keys: tuple[str, ...]
    threshold: float
    action: str
    dimension: str | None = None
    values: tuple[str, ...] = ()
    severity: float = 1.0


@dataclass(frozen=True, slots=True)
class Advice:
    """A weak spot that was found: what is weak, in which words to say so, and what to do.

    `bound` is that end of the interval which is nearer to good; `weight` orders: the worst first.
    """

    rule: str
    measure: str
    where: str
    value: float
    bound: float
    threshold: float
    calls: int
    says: str
    action: str
    weight: float

    def to_json(self) -> dict[str, Any]:
        """In JSON's types, numbers rounded to 6 digits."""
        return {key: round(one, 6) if isinstance(one, float) else one for key, one in asdict(self).items()}


RULES: Final[tuple[Rule, ...]] = (
    Rule(
        "untranscribed",
        ("untranscribed",),
        0.01,
        'Ask why they failed (`callscribe query "SELECT error_code, count(*) FROM calls GROUP BY error_code"`); '
        "limits are `archive.max_bytes`, `archive.max_duration_s` and `decoder.max_memory_bytes`, and passing errors "
        "are tried again by `callscribe run` up to `run.max_attempts` times.",
        severity=3.0,
    ),
    Rule(
        "deletions_in_noise",
        ("deletions",),
        0.10,
        'Compare `audio.denoise` = "auto" with "off", and a lower `vad.threshold` (0.35), by `callscribe compare`; '
        "take what is significantly better here and worse nowhere. What noise drowns no setting brings back: such "
        "calls are marked for review (`calls.review`, `calls.snr_db`).",
        "snr",
        ("under 10 dB", "10 to 20 dB"),
    ),
    Rule(
        "lost_words",
        ("lost_words",),
        0.03,
        "The detector takes speech for silence: compare a lower `vad.threshold` (0.35) and more `vad.pad_ms` by "
        "`callscribe compare`. Calls with much speech and no words have `calls.uncovered_speech_s`.",
    ),
    Rule(
        "made_up_words",
        ("made_up_words",),
        20.0,
        "Words come out of music or noise: compare a higher `vad.threshold` (0.6) and `vad.min_speech_ms` (250) by "
        "`callscribe compare`, and see that nothing more is lost. Doubted text has flags and is no part of clean views "
        "(docs/recognition.md).",
    ),
    Rule(
        "names",
        ("entity_recall.person", "entity_recall.organisation", "entity_recall.product"),
        0.90,
        "Tell the recogniser what may be said: `recognizer.hot_words` for all calls, the column `hot_words` of "
        "`archive.manifest` for single ones; compare that, and a larger `models.bundle`, by `callscribe compare`. "
        "Until then, have the least confident calls looked at (`calls.review`).",
        severity=1.5,
    ),
    Rule(
        "values",
        (
            "entity_recall.money",
            "entity_recall.id",
            "entity_recall.number",
            "entity_recall.phone",
            "entity_recall.date",
            "entity_recall.time",
            "entity_recall.address",
        ),
        0.95,
        "Numbers are lost or changed: compare a larger `models.bundle`, a wider `recognizer.beam_size` and, for ids "
        "that are spelt out, `recognizer.hot_words` by `callscribe compare`; and let people look at calls in which "
        "something hangs on them (`calls.review`, `calls.confidence`).",
        severity=2.0,
    ),
    Rule(
        "speakers",
        ("speaker_gap",),
        0.03,
        "Words are right and given to the wrong person. Record a channel for each speaker and name them "
        "(`archive.channel_roles`); of calls on one channel, say how many speak (`archive.speakers`, or the column "
        "`speakers` of `archive.manifest`), and compare the diarizer of a larger `models.bundle` by "
        "`callscribe compare`.",
        severity=1.5,
    ),
    Rule(
        "attribution",
        ("wder",),
        0.05,
        "Words are given to the wrong person. Record a channel for each speaker, and name in "
        "`diarization.shared_channels` only those in which several speak; else say how many speak "
        "(`archive.speakers`, or the column `speakers` of `archive.manifest`).",
    ),
    Rule(
        "speaker_count",
        ("speaker_count",),
        0.80,
        "Say how many speak where that is known (`archive.speakers`, or the column `speakers` of `archive.manifest`), "
        "or bound it (`diarization.min_speakers`, `diarization.max_speakers`).",
        severity=0.5,
    ),
    Rule(
        "calibration",
        ("calibration_error",),
        0.10,
        "Word probabilities promise too much or too little on these calls, so that confidence and review go astray: "
        "calibrate anew on calls of your own (`python -m evaluation.benchmarks.calibrate`, docs/recognition.md).",
        severity=0.5,
    ),
    Rule(
        "language",
        ("wer",),
        0.30,
        "Compare a larger `models.bundle` on these calls, and tell what is spoken (`archive.language` for all, the "
        "column `language` of `archive.manifest` for single calls; `archive.languages` for detection to choose among), "
        "by `callscribe compare`.",
        "language",
        severity=1.5,
    ),
    Rule(
        "wer",
        ("wer",),
        0.25,
        "Compare a larger `models.bundle` by `callscribe compare`; then see in the slices where it is worst. With "
        "drafts in its references, a set can also be wrong itself: listen to the worst calls.",
    ),
    Rule(
        "speed",
        ("rtfx",),
        10.0,
        'Transcribe on a GPU (`models.device` = "cuda") or on several (`run.devices`), leave '
        "`recognizer.batch_size` at 0, and compare a narrower `recognizer.beam_size` by `callscribe compare`; "
        "`callscribe plan` says what a month would take.",
        severity=0.3,
    ),
)
"""In the order of the table above; what is found is ordered by how bad it is."""


def _gap(call: CallScore) -> Sequence[float]:
    """The counts of cpWER and of ORC-WER, of calls that have both."""
    if call.streams is None:
        return (0, 0, 0, 0)
    one = call.speakers.counts
    return one.errors, one.reference_words, call.streams.errors, call.streams.reference_words


def _gap_of(sums: Counts) -> Counts:
    gap: Counts = ratio(sums[..., :2]) - ratio(sums[..., 2:])
    return gap


SPEAKER_GAP: Final = Measure(
    "speaker_gap", "cpWER over ORC-WER", "%", "lower", "word errors that come of wrong speakers alone", _gap, _gap_of
)


def advise(calls: Sequence[CallScore], figures: Sequence[Figure], slices: Sequence[SliceFigures]) -> tuple[Advice, ...]:
    """What is weak in a set, and what to do; the worst first.

    Args:
        calls: its scores.
        figures: every measure over all calls.
        slices: the same slice by slice.
    """
    overall = {one.measure.key: one for one in (*figures, *figures_of(calls, [SPEAKER_GAP]))}
    found = [advice for rule in RULES for advice in _hits(rule, overall, slices)]
    return tuple(sorted(found, key=lambda one: (-one.weight, one.rule, one.measure, one.where)))


def weighed(calls: Sequence[CallScore], figures: Sequence[Figure]) -> tuple[Figure, ...]:
    """The figures over all calls that rules look at; one without an interval was not told from chance.

    Args:
        calls: the scores of a set.
        figures: every measure over all calls.
    """
    keys = {key for rule in RULES if rule.dimension is None for key in rule.keys}
    return tuple(one for one in (*figures, *figures_of(calls, [SPEAKER_GAP])) if one.measure.key in keys)


def advice_lines(found: Sequence[Advice]) -> list[str]:
    """What to do, in words; one line where nothing is weak."""
    if not found:
        return ["No weak spot is beyond chance on these calls (evaluation/advice.py has the thresholds)."]
    return [f"{number}. {one.says} {one.action}" for number, one in enumerate(found, start=1)]


def _hits(rule: Rule, overall: dict[str, Figure], slices: Sequence[SliceFigures]) -> Iterator[Advice]:
    if rule.dimension is None:
        for key in rule.keys:
            if key in overall and (advice := _weak(rule, overall[key], "all calls")):
                yield advice
        return
    for one in slices:
        if one.dimension != rule.dimension or (rule.values and one.value not in rule.values):
            continue
        for figure in one.figures:
            whole = overall.get(figure.measure.key)
            if figure.measure.key not in rule.keys or whole is None or whole.value is None:
                continue
            advice = _weak(rule, figure, f"{one.dimension}: {one.value}")
            if advice is not None and _distance(figure.measure, advice.bound, whole.value) > 0:
                yield advice  # it is worse here than elsewhere


def _weak(rule: Rule, figure: Figure, where: str) -> Advice | None:
    """The advice of a rule where a figure is worse than its threshold by both ends of its interval."""
    bounds, measure = figure.interval, figure.measure
    if figure.value is None or bounds is None:
        return None
    bound = bounds.low if measure.better == "lower" else bounds.high
    if _distance(measure, bound, rule.threshold) <= 0:
        return None
    value, least, limit = (written(one, measure.unit) for one in (figure.value, bound, rule.threshold))
    side = "at least" if measure.better == "lower" else "at most"
    wanted = "at most" if measure.better == "lower" else "at least"
    says = f"{measure.title} in {where} is {value} ({side} {least}, of {figure.calls} calls; {wanted} {limit} is well)."
    room = rule.threshold if measure.better == "lower" or measure.unit != "%" else 1 - rule.threshold
    weight = rule.severity * abs(figure.value - rule.threshold) / room
    return Advice(
        rule.name, measure.key, where, figure.value, bound, rule.threshold, figure.calls, says, rule.action, weight
    )


def _distance(measure: Measure, value: float, reference: float) -> float:
    """By how much a value is worse than a reference."""
    return value - reference if measure.better == "lower" else reference - value
