"""The measures of word times, of words that were recognised right (`evaluation.word_times`). Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from evaluation.measure import Measure, median_of_errors, ratio
from evaluation.score import CallScore
from evaluation.word_times import TOLERANCES_MS


def _within(at: int) -> Callable[[CallScore], Sequence[float]]:
    """Words within one of the tolerances, by its place, and all words."""
    return lambda call: (call.timing.within[at], call.timing.words)


TIME_MEASURES: Final[tuple[Measure, ...]] = (
    Measure(
        "word_start_error_s",
        "word start error, median",
        "s",
        "lower",
        "half of the words that were recognised right start no further than this from where they were said",
        lambda call: call.timing.starts,
        median_of_errors,
    ),
    Measure(
        "word_end_error_s",
        "word end error, median",
        "s",
        "lower",
        "half of the words that were recognised right end no further than this from where they were said",
        lambda call: call.timing.ends,
        median_of_errors,
    ),
    Measure(
        "word_start_error_mean_s",
        "word start error, mean",
        "s",
        "lower",
        "how far the words that were recognised right start from where they were said, on average",
        lambda call: (call.timing.start_s, call.timing.words),
        ratio,
    ),
    Measure(
        "word_end_error_mean_s",
        "word end error, mean",
        "s",
        "lower",
        "how far the words that were recognised right end from where they were said, on average",
        lambda call: (call.timing.end_s, call.timing.words),
        ratio,
    ),
    *(
        Measure(
            f"words_within_{tolerance}_ms",
            f"words within {tolerance} ms",
            "%",
            "higher",
            f"share of the words that were recognised right of which both ends are at most {tolerance} ms off",
            _within(at),
            ratio,
        )
        for at, tolerance in enumerate(TOLERANCES_MS)
    ),
)
"""Of word times, in the order of reports."""
