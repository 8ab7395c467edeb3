"""Whether word probabilities say which words are wrong: as counts that are added over calls. Pure.

`evaluation.confidence` says which words are right and fits calibrations. Here the words of a call are counted in
`BINS` equal stretches of probability, so that sets of any size are summed:

- ECE, the expected calibration error over these bins (Guo et al., "On Calibration of Modern Neural Networks", 2017).
- NCE, the normalised cross entropy (Siu, Gish & Richardson, "Improved estimation, evaluation and applications of
  confidence measures for speech recognition", 1997): 1 for certainty, 0 for a recogniser that gives every word the mean
  accuracy, negative for one that is worse than that.
- AUROC: the chance that a right word has a higher probability than a wrong one (Fawcett, "An introduction to ROC
  analysis", 2006); words of one bin count half.
- Errors caught: the share of all wrong words that a person finds who listens to so much of the audio, beginning with
  the utterances whose words have the least mean probability. Words that were not recognised at all are in no utterance.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

BINS: Final = 50
# A probability of exactly 0 or 1 that is wrong would cost infinitely much.
_LEAST: Final = 1e-4


@dataclass(frozen=True, slots=True)
class TrustCounts:
    """Words by probability: how many are `right` and how many `wrong` in each of `BINS` bins.

    `probability` is the sum of all probabilities in each bin, `surprise` the cross entropy of all words in nats. By the
    mean probability of their words, utterances are counted in the same bins: their `seconds`, and the wrong words in
    them (`faults`).

    Raises:
        ValueError: the bins are not `BINS`, or a count is negative.
    """

    right: tuple[int, ...]
    wrong: tuple[int, ...]
    probability: tuple[float, ...]
    seconds: tuple[float, ...]
    faults: tuple[int, ...]
    surprise: float = 0.0

    def __post_init__(self) -> None:
        """Check that the counts can belong together."""
        bins = (self.right, self.wrong, self.probability, self.seconds, self.faults)
        if {len(one) for one in bins} != {BINS} or min(min(one) for one in bins) < 0:
            raise ValueError(f"impossible counts in {self}")

    @classmethod
    def zero(cls) -> TrustCounts:
        """No words: the start of a sum."""
        none, nothing = (0,) * BINS, (0.0,) * BINS
        return cls(none, none, nothing, nothing, none)

    @classmethod
    def of(cls, utterances: Iterable[tuple[float, Sequence[tuple[float, bool]]]]) -> TrustCounts:
        """Count the words of utterances.

        Args:
            utterances: the length of each in seconds, and of each of its words the probability and whether it is right.
        """
        spoken = [(length_s, words) for length_s, words in utterances if words]
        if not spoken:
            return cls.zero()
        probability = np.array([found for _, words in spoken for found, _ in words])
        right = np.array([fits for _, words in spoken for _, fits in words])
        means = np.array([sum(found for found, _ in words) / len(words) for _, words in spoken])
        place, beside = _bins(probability), _bins(means)
        wrong = [sum(not fits for _, fits in words) for _, words in spoken]
        given = np.clip(np.where(right, probability, 1 - probability), _LEAST, 1.0)
        return cls(
            tuple(np.bincount(place[right], minlength=BINS).tolist()),
            tuple(np.bincount(place[~right], minlength=BINS).tolist()),
            tuple(np.bincount(place, weights=probability, minlength=BINS).tolist()),
            tuple(np.bincount(beside, weights=[length_s for length_s, _ in spoken], minlength=BINS).tolist()),
            tuple(np.bincount(beside, weights=wrong, minlength=BINS).astype(int).tolist()),
            float(-np.log(given).sum()),
        )

    def __add__(self, other: TrustCounts) -> TrustCounts:
        """Add bin by bin."""
        return TrustCounts(
            tuple(map(sum, zip(self.right, other.right, strict=True))),
            tuple(map(sum, zip(self.wrong, other.wrong, strict=True))),
            tuple(map(sum, zip(self.probability, other.probability, strict=True))),
            tuple(map(sum, zip(self.seconds, other.seconds, strict=True))),
            tuple(map(sum, zip(self.faults, other.faults, strict=True))),
            self.surprise + other.surprise,
        )

    @property
    def words(self) -> int:
        """All words."""
        return sum(self.right) + sum(self.wrong)

    @property
    def reliability(self) -> tuple[tuple[int, float, float], ...]:
        """Of each bin with words: how many, their mean probability, the share that is right."""
        bins = zip(self.right, self.wrong, self.probability, strict=True)
        return tuple(
            (right + wrong, total / (right + wrong), right / (right + wrong))
            for right, wrong, total in bins
            if right + wrong
        )

    @property
    def calibration_error(self) -> float | None:
        """ECE, 0 to 1; None without words."""
        gaps = (words * abs(mean - accuracy) for words, mean, accuracy in self.reliability)
        return sum(gaps) / self.words if self.words else None

    @property
    def cross_entropy(self) -> float | None:
        """NCE, at most 1; None where all words are right, or none is."""
        right, wrong = sum(self.right), sum(self.wrong)
        if not right or not wrong:
            return None
        base = -(right * math.log(right / self.words) + wrong * math.log(wrong / self.words))
        return (base - self.surprise) / base

    @property
    def area(self) -> float | None:
        """AUROC, 0 to 1; None where all words are right, or none is."""
        right, wrong = sum(self.right), sum(self.wrong)
        if not right or not wrong:
            return None
        below, wins = 0, 0.0
        for good, bad in zip(self.right, self.wrong, strict=True):
            wins += good * (below + bad / 2)
            below += bad
        return wins / (right * wrong)

    def caught(self, share: float) -> float | None:
        """The share of the wrong words that lie in the given share of the audio, least confident utterances first.

        Args:
            share: of the seconds of all utterances, 0 to 1.

        Returns:
            0 to 1; None where no word is wrong. Inside of a bin, wrong words are spread evenly over its seconds.
        """
        faults = sum(self.faults)
        if not faults:
            return None
        left, found = share * sum(self.seconds), 0.0
        for length_s, wrong in zip(self.seconds, self.faults, strict=True):
            part = min(1.0, left / length_s) if length_s else 1.0
            found += part * wrong
            left = max(0.0, left - part * length_s)
        return found / faults


def _bins(probability: NDArray[np.float64]) -> NDArray[np.int_]:
    """The bin of each probability."""
    places: NDArray[np.int_] = np.clip((probability * BINS).astype(int), 0, BINS - 1)
    return places
