"""The measures of who spoke: words and time given to speakers, and how many speakers there are. Pure."""

from __future__ import annotations

from typing import Final

from evaluation.diarization import FORGIVING
from evaluation.measure import Measure, ratio
from evaluation.timed import COLLAR_S

SPEAKER_MEASURES: Final[tuple[Measure, ...]] = (
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
)
"""Of speakers, in the order of reports."""
