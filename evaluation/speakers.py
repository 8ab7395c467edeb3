"""Who said what: cpWER and WDER.

cpWER is the word error rate that counts a word given to the wrong speaker.

The concatenated minimum-permutation word error rate joins what each speaker said, pairs reference speakers with
hypothesis speakers so that the word errors are fewest, and counts those. Names of speakers do not matter, only who is
whom throughout the call; a speaker too many is insertions, one too few deletions.

Source: Watanabe et al., "CHiME-6 Challenge: Tackling Multispeaker Speech Recognition for Unsegmented Recordings"
(2020), section 4. The pairing is solved as a linear assignment instead of over all permutations, as meeteval does
(von Neumann et al., 2023); the number of errors agrees with meeteval's on the same words.

WDER, the word diarization error rate, looks at the recognised words alone: of those that stand for a word of the
reference, right or wrong, the share that is given to the wrong speaker. Source: El Shafey, Soltau & Shafran, "Joint
Speech Recognition and Speaker Diarization via Sequence Transduction" (2019), section 3.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

from evaluation.hypotheses import Spoken, in_order
from evaluation.normalise import normalised_words
from evaluation.rates import AttributionCounts, ErrorCounts
from evaluation.wer import count_errors
from evaluation.word_alignment import aligned

WordT = TypeVar("WordT")
_Pair: TypeAlias = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class SpeakerErrors:
    """The errors under the best pairing, and that pairing.

    `assignment` holds (reference speaker, hypothesis speaker); None stands for nobody on that side.
    """

    counts: ErrorCounts
    assignment: tuple[tuple[str | None, str | None], ...]

    @classmethod
    def zero(cls) -> SpeakerErrors:
        """Nothing compared."""
        return cls(ErrorCounts.zero(), ())

    @property
    def missed_speakers(self) -> int:
        """Reference speakers without a partner."""
        return sum(hypothesis is None for _, hypothesis in self.assignment)

    @property
    def extra_speakers(self) -> int:
        """Hypothesis speakers without a partner."""
        return sum(reference is None for reference, _ in self.assignment)


def speaker_errors(
    reference: Iterable[Spoken], hypothesis: Iterable[Spoken], language: str | None = "en"
) -> SpeakerErrors:
    """Compute cpWER of one call.

    Args:
        reference: what was said by whom, raw text, in any order.
        hypothesis: what was recognised and given to whom, raw text, in any order.
        language: of the normaliser; None takes the words as they are.

    Returns:
        Counts over normalised words, and who is whom.
    """
    return best_assignment(words_by_speaker(reference, language), words_by_speaker(hypothesis, language))


def best_assignment(reference: Mapping[str, Sequence[str]], hypothesis: Mapping[str, Sequence[str]]) -> SpeakerErrors:
    """Pair speakers so that the word errors are fewest, as `pair_speakers`.

    Args:
        reference: speaker → the normalised words of all that they said.
        hypothesis: the same of the hypothesis.
    """
    return pair_speakers(reference, hypothesis, count_errors, fewest_errors)


def pair_speakers(
    reference: Mapping[str, Sequence[WordT]],
    hypothesis: Mapping[str, Sequence[WordT]],
    count: Callable[[Sequence[WordT], Sequence[WordT]], ErrorCounts],
    bound: Callable[[Sequence[WordT], Sequence[WordT]], int],
) -> SpeakerErrors:
    """Pair speakers so that the errors are fewest.

    The side with fewer speakers is filled up with silent ones. Among equal pairings the order of the mappings decides,
    not the names. Most pairs are not worth counting: what they cannot be below is already too much.

    Args:
        reference: speaker → all that they said.
        hypothesis: the same of the hypothesis.
        count: counts the errors of one speaker of each side.
        bound: a number below which these errors cannot be; quick.

    Returns:
        The summed counts of the pairs and the pairs, ordered as in `reference`, extra speakers last.
    """
    if not reference and not hypothesis:
        return SpeakerErrors.zero()
    size = max(len(reference), len(hypothesis))
    references, hypotheses = _padded(reference, size), _padded(hypothesis, size)
    cost = np.array([[bound(said, heard) for _, heard in hypotheses] for _, said in references], float)
    counted: dict[_Pair, ErrorCounts] = {}

    def count_all(pairs: Iterable[_Pair]) -> None:
        for row, column in pairs:
            counted[row, column] = count(references[row][1], hypotheses[column][1])
            cost[row, column] = counted[row, column].errors

    chosen = _cheapest(cost)
    while unknown := [pair for pair in chosen if pair not in counted]:
        count_all(unknown)
        chosen = _cheapest(cost)
    if _has_rival(cost, chosen):
        count_all(pair for pair in np.ndindex(size, size) if pair not in counted)
        chosen = _cheapest(cost)
    return SpeakerErrors(
        counts=sum((counted[pair] for pair in chosen), ErrorCounts.zero()),
        assignment=tuple((references[row][0], hypotheses[column][0]) for row, column in chosen),
    )


def fewest_errors(reference: Sequence[str], hypothesis: Sequence[str]) -> int:
    """The errors of the best alignment, without their kinds."""
    from rapidfuzz.distance import Levenshtein

    return Levenshtein.distance(reference, hypothesis)


def _cheapest(cost: NDArray[np.float64]) -> list[_Pair]:
    """The pairs (row, column) whose cost is least in sum, in order."""
    from scipy.optimize import linear_sum_assignment

    rows, columns = linear_sum_assignment(cost)
    return list(zip(rows.tolist(), columns.tolist(), strict=True))


def _has_rival(cost: NDArray[np.float64], chosen: Sequence[_Pair]) -> bool:
    """Whether other pairs may cost as little: each of those chosen is forbidden in turn."""
    least = sum(cost[pair] for pair in chosen)
    for pair in chosen if len(chosen) > 1 else ():
        others = cost.copy()
        others[pair] = least + 1
        if sum(others[other] for other in _cheapest(others)) <= least:
            return True
    return False


def attribution_counts(
    reference: Iterable[Spoken],
    hypothesis: Iterable[Spoken],
    assignment: Iterable[tuple[str | None, str | None]],
    language: str = "en",
) -> AttributionCounts:
    """Count the words of one call that are given to the wrong speaker (WDER).

    All words in order of time are aligned, whoever said them.

    Args:
        reference: what was said by whom, raw text, in any order.
        hypothesis: what was recognised and given to whom, raw text, in any order.
        assignment: who is whom, as `speaker_errors` finds it.
        language: of the normaliser.
    """
    said, heard = _words_with_speakers(reference, language), _words_with_speakers(hypothesis, language)
    partners = dict(assignment)
    pairs = [
        (said[chunk.ref_start_idx + offset][1], heard[chunk.hyp_start_idx + offset][1])
        for chunk in aligned([word for word, _ in said], [word for word, _ in heard])
        if chunk.type in {"equal", "substitute"}
        for offset in range(chunk.ref_end_idx - chunk.ref_start_idx)
    ]
    return AttributionCounts(len(pairs), sum(partners.get(speaker) != given for speaker, given in pairs))


def _words_with_speakers(spoken: Iterable[Spoken], language: str) -> list[tuple[str, str]]:
    """All words in order of time, each with its speaker."""
    return [(word, one.speaker) for one in in_order(spoken) for word in normalised_words([one.text], language)]


def words_by_speaker(spoken: Iterable[Spoken], language: str | None) -> dict[str, list[str]]:
    """String together what each speaker said, speakers in order of their first utterance."""
    words: dict[str, list[str]] = {}
    for one in in_order(spoken):
        words.setdefault(one.speaker, []).extend(normalised_words([one.text], language))
    return words


def _padded(words: Mapping[str, Sequence[WordT]], size: int) -> list[tuple[str | None, Sequence[WordT]]]:
    """Fill up with silent nobodies."""
    return [*words.items(), *[(None, ())] * (size - len(words))]
