"""The measures of words: WER and its parts, with numbers as values, as written, and CER. Pure."""

from __future__ import annotations

from typing import Final

from evaluation.measure import Measure, ratio

WORD_MEASURES: Final[tuple[Measure, ...]] = (
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
)
"""Of words, whoever said them, in the order of reports."""
