"""Frozen counts that are added up; rates are derived from sums and never averaged.

The rate of a set is the rate of the summed counts: a call of ten words must not weigh as much as one of a thousand.
A rate that has nothing to divide by is None, never zero. `sum` needs the start value, so that an empty sum still is
a count::

    >>> sum([ErrorCounts(10, substitutions=1), ErrorCounts(90, deletions=3)], ErrorCounts.zero()).rate
    0.04
    >>> ErrorCounts(0, insertions=7).rate is None
    True
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ErrorCounts:
    """Word errors: how a hypothesis differs from a reference of `reference_words` words.

    Raises:
        ValueError: a count is negative, or more reference words are wrong than there are.
    """

    reference_words: int
    substitutions: int = 0
    deletions: int = 0
    insertions: int = 0

    def __post_init__(self) -> None:
        """Check that the counts can belong together."""
        if min(self.reference_words, self.substitutions, self.deletions, self.insertions) < 0:
            raise ValueError(f"negative count in {self}")
        if self.substitutions + self.deletions > self.reference_words:
            raise ValueError(f"more substitutions and deletions than reference words in {self}")

    @classmethod
    def zero(cls) -> ErrorCounts:
        """Nothing compared: the start of a sum."""
        return cls(0)

    def __add__(self, other: ErrorCounts) -> ErrorCounts:
        """Add count by count."""
        return ErrorCounts(
            self.reference_words + other.reference_words,
            self.substitutions + other.substitutions,
            self.deletions + other.deletions,
            self.insertions + other.insertions,
        )

    @property
    def hits(self) -> int:
        """Reference words that came through."""
        return self.reference_words - self.substitutions - self.deletions

    @property
    def hypothesis_words(self) -> int:
        """The length of the hypothesis in words."""
        return self.hits + self.substitutions + self.insertions

    @property
    def errors(self) -> int:
        """Substitutions, deletions and insertions."""
        return self.substitutions + self.deletions + self.insertions

    @property
    def rate(self) -> float | None:
        """Errors per reference word (may exceed 1); None without reference words."""
        return self.errors / self.reference_words if self.reference_words else None


@dataclass(frozen=True, slots=True)
class AttributionCounts:
    """Of so many recognised words, how many are given to the wrong speaker.

    Raises:
        ValueError: a count is negative, or more words are wrong than there are.
    """

    words: int
    wrong: int = 0

    def __post_init__(self) -> None:
        """Check that the counts can belong together."""
        if not 0 <= self.wrong <= self.words:
            raise ValueError(f"wrong words must be 0 to all of them in {self}")

    @classmethod
    def zero(cls) -> AttributionCounts:
        """Nothing compared: the start of a sum."""
        return cls(0)

    def __add__(self, other: AttributionCounts) -> AttributionCounts:
        """Add count by count."""
        return AttributionCounts(self.words + other.words, self.wrong + other.wrong)

    @property
    def rate(self) -> float | None:
        """The share of words that is wrong; None without words."""
        return self.wrong / self.words if self.words else None


@dataclass(frozen=True, slots=True)
class EntityCounts:
    """Reference entities, how many of them the hypothesis holds, and how many it holds that are in no reference.

    `spurious` is None where nobody looked for such, and then in every sum, too: a precision over less than everything
    that was found would be a better one.

    Raises:
        ValueError: a count is negative, or more are correct than there are.
    """

    reference: int
    correct: int
    spurious: int | None = None

    def __post_init__(self) -> None:
        """Check that the counts can belong together."""
        if not 0 <= self.correct <= self.reference or (self.spurious or 0) < 0:
            raise ValueError(f"impossible counts in {self}")

    @classmethod
    def zero(cls) -> EntityCounts:
        """Nothing looked for: the start of a sum."""
        return cls(0, 0, 0)

    def __add__(self, other: EntityCounts) -> EntityCounts:
        """Add count by count."""
        known = self.spurious is not None and other.spurious is not None
        return EntityCounts(
            self.reference + other.reference,
            self.correct + other.correct,
            (self.spurious or 0) + (other.spurious or 0) if known else None,
        )

    @property
    def missed(self) -> int:
        """Entities that did not come through."""
        return self.reference - self.correct

    @property
    def accuracy(self) -> float | None:
        """The share that came through; None where there is none to find."""
        return self.correct / self.reference if self.reference else None

    @property
    def recall(self) -> float | None:
        """The same as `accuracy`, by its name beside precision."""
        return self.accuracy

    @property
    def precision(self) -> float | None:
        """The share of what the hypothesis holds that is right; None where it holds nothing or nobody looked."""
        if self.spurious is None or not self.correct + self.spurious:
            return None
        return self.correct / (self.correct + self.spurious)

    @property
    def f1(self) -> float | None:
        """The harmonic mean of precision and recall (van Rijsbergen 1979); None where nothing is there on either side.

        From the counts, so that it is 0 and not undefined where everything is missed.
        """
        if self.spurious is None or not self.reference + self.spurious:
            return None
        return 2 * self.correct / (self.reference + self.correct + self.spurious)
