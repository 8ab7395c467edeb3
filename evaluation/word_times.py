"""How true word times are: how far words that were recognised right are from where they were said. Pure.

What was recognised is aligned to what was said by its text, and words that are equal when each is normalised are
compared, one to one: the start with the start, the end with the end. A number that is said in several words and written
in one is compared as a stretch where that is asked for; whatever else differs is not compared. It takes references with
the times of words (`evaluation.ctm_format`; `.nlp` files with times), and they can be no better than these.

Errors are counted by size, in steps of 10 ms up to a second and of 100 ms up to five, so that sums over calls have a
median that is right to the step; a mean alone would hang on the few words that an alignment takes for others of the
same text. Shares within a tolerance and the mean absolute error are how word boundaries of aligners are compared
(McAuliffe et al., "Montreal Forced Aligner", Interspeech 2017).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from itertools import product
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

from evaluation.hypotheses import HypothesisUtterance
from evaluation.normalise import normalise

TOLERANCES_MS: Final = (50, 100, 200, 500)
"""How far both ends of a word may be off for the shares of words that are not."""

EDGES_MS: Final = (*range(10, 1001, 10), *range(1100, 5001, 100))
"""Up to which error a step of the counts reaches, and it is of it; behind the last there is one for all larger ones."""

_NO_LETTERS: Final = re.compile(r"[^\w']+")


class TimedText(Protocol):
    """A word with its times."""

    @property
    def text(self) -> str:
        """The word, raw."""

    @property
    def start(self) -> float:
        """Seconds from the start of the call."""

    @property
    def end(self) -> float:
        """Seconds from the start of the call."""


@dataclass(frozen=True, slots=True)
class Match:
    """Words that were said, and those that were recognised for them: one each, or a stretch."""

    known: tuple[TimedText, ...]
    found: tuple[TimedText, ...]

    @property
    def one_to_one(self) -> bool:
        """Whether it is one word each."""
        return len(self.known) == len(self.found) == 1

    @property
    def start_error_s(self) -> float:
        """How much too late it starts, in seconds."""
        return self.found[0].start - self.known[0].start

    @property
    def end_error_s(self) -> float:
        """How much too late it ends, in seconds."""
        return self.found[-1].end - self.known[-1].end


@dataclass(frozen=True, slots=True)
class TimingCounts:
    """Words that were recognised right, by how far their times are off.

    `starts` and `ends` are words by the absolute error of their start and of their end, a count for each step of
    `EDGES_MS` and one for what is beyond; `start_s` and `end_s` are the sums of these errors, in seconds. `within` are
    words of which both ends are off by no more than each of `TOLERANCES_MS`.

    Raises:
        ValueError: the counts cannot belong together.
    """

    starts: tuple[int, ...]
    ends: tuple[int, ...]
    start_s: float
    end_s: float
    within: tuple[int, ...]

    def __post_init__(self) -> None:
        """Check that the counts can belong together."""
        sizes = (len(self.starts), len(self.ends), len(self.within))
        counts = (*self.starts, *self.ends, *self.within, self.start_s, self.end_s)
        if sizes != (len(EDGES_MS) + 1, len(EDGES_MS) + 1, len(TOLERANCES_MS)) or min(counts) < 0:
            raise ValueError(f"impossible counts in {self}")
        if sum(self.ends) != self.words or max(self.within) > self.words:
            raise ValueError(f"impossible counts in {self}")

    @classmethod
    def zero(cls) -> TimingCounts:
        """No words: the start of a sum."""
        return cls.of(())

    @classmethod
    def of(cls, matches: Iterable[Match]) -> TimingCounts:
        """Count matches."""
        errors_s = np.abs([(one.start_error_s, one.end_error_s) for one in matches], dtype=np.float64).reshape(-1, 2)
        errors_ms = np.round(1000 * errors_s, 3)  # what is 50 ms off in decimal numbers is within 50 ms
        larger = errors_ms.max(axis=1, initial=0.0)
        start_s, end_s = errors_s.sum(axis=0).tolist()
        return cls(
            _by_size(errors_ms[:, 0]),
            _by_size(errors_ms[:, 1]),
            start_s,
            end_s,
            tuple(int((larger <= tolerance).sum()) for tolerance in TOLERANCES_MS),
        )

    def __add__(self, other: TimingCounts) -> TimingCounts:
        """Add count by count."""
        return TimingCounts(
            tuple(map(sum, zip(self.starts, other.starts, strict=True))),
            tuple(map(sum, zip(self.ends, other.ends, strict=True))),
            self.start_s + other.start_s,
            self.end_s + other.end_s,
            tuple(map(sum, zip(self.within, other.within, strict=True))),
        )

    @property
    def words(self) -> int:
        """All words that were compared."""
        return sum(self.starts)


def timing_counts(
    known: Iterable[TimedText], utterances: Iterable[HypothesisUtterance], language: str = "en"
) -> TimingCounts:
    """Compare the word times of one call.

    Args:
        known: the words that were said, in any order.
        utterances: what was recognised; those without word times are passed over.
        language: of the normaliser.
    """
    said = sorted(known, key=_time)
    if not said:  # most references
        return TimingCounts.zero()
    heard = sorted((word for utterance in utterances for word in utterance.words), key=_time)
    return TimingCounts.of(match_words(said, heard, language, stretches=False))


def match_words(
    known: Sequence[TimedText], found: Sequence[TimedText], language: str = "en", *, stretches: bool = True
) -> Iterator[Match]:
    """Align what was recognised to what was said.

    Args:
        known: the words that were said, in order, as they are spoken.
        found: the words that were recognised, in order.
        language: of the normaliser.
        stretches: whether words that differ and say the same, as numbers do, are matched, too.

    Yields:
        What corresponds, in order: equal words one to one, stretches that say the same in other words as a whole.
    """
    said, heard = ([_key(word.text, language) for word in words] for words in (known, found))
    for kind, first, last, start, end in SequenceMatcher(None, said, heard, autojunk=False).get_opcodes():
        ours, theirs = tuple(known[first:last]), tuple(found[start:end])
        if kind == "equal":
            yield from (Match((one,), (other,)) for one, other in zip(ours, theirs, strict=True))
        elif stretches and kind == "replace" and (stretch := _stretch(ours, theirs, language)):
            yield stretch


def _time(word: TimedText) -> tuple[float, float]:
    return word.start, word.end


def _by_size(errors_ms: NDArray[np.float64]) -> tuple[int, ...]:
    """Words by the step of their error."""
    steps = np.searchsorted(np.array(EDGES_MS), errors_ms)
    return tuple(np.bincount(steps, minlength=len(EDGES_MS) + 1).tolist())


def _key(text: str, language: str) -> str:
    """A word as it is aligned: "Four." and "4" are the same."""
    plain = _NO_LETTERS.sub("", text.lower())
    return normalise(plain, language) or plain


def _stretch(known: Sequence[TimedText], found: Sequence[TimedText], language: str) -> Match | None:
    """The longest part that says the same on both sides, with up to two other words before and after it."""
    for before, after, earlier, later in sorted(product(range(3), repeat=4), key=sum):
        match = Match(tuple(known[before : len(known) - after]), tuple(found[earlier : len(found) - later]))
        if match.known and match.found and _written(match.known, language) == _written(match.found, language):
            return match
    return None


def _written(words: Sequence[TimedText], language: str) -> str:
    """What words say, with numbers in digits and without spaces."""
    return normalise(" ".join(word.text.strip(".,;:?!") for word in words), language).replace(" ", "")
