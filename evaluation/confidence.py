"""How well word probabilities say which words are right, and how they are brought to say it. Pure.

A word is right when all tokens that the normaliser makes of it are aligned to equal ones of the reference. What is
right depends on the normaliser (`evaluation.normalise`), with one mercy: a number that is written in other groups of
digits than the reference has ("555-0142" for "5550142", "3:30" for "330") is right, though WER counts it wrong.

Calibration is measured by the Brier score (Brier 1950, the mean squared distance of probability from outcome) and by
the expected calibration error: the mean distance of probability from accuracy over bins of words, weighted by their
words (Guo et al., "On Calibration of Modern Neural Networks", 2017). The bins hold equally many words, not equally wide
stretches of probability: most words of a recogniser lie above 0.9, where bins of equal width see nothing (Nixon et al.,
"Measuring Calibration in Deep Learning", 2019). Two ways to calibrate: isotonic regression (Zadrozny and Elkan, 2002),
and the temperature of Guo et al., one number that the logit is divided by.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise, takewhile
from typing import Final, NamedTuple

import numpy as np

from evaluation.normalise import normal_words
from evaluation.word_alignment import aligned
from tasks.calibration import Calibration
from tasks.records import Word

Pair = tuple[float, bool]
"""The probability of a word, 0 to 1, and whether the word is right."""

Token = tuple[str, tuple[int, ...]]
"""A normalised token, and the indices of the words that it comes from."""

MOST_KNOTS: Final = 20
# A knot stands for no fewer words: the share of fewer is chance.
LEAST_WORDS: Final = 20
# No word is certainly right or wrong.
LOWEST, HIGHEST = 0.01, 0.99
# Logits of the knots that a temperature is written as: probabilities from 0.0001 to 0.9999.
LOGITS: Final = np.linspace(-9.2, 9.2, MOST_KNOTS)
# Between groups of digits; the normaliser would take each for a number of its own, and its zeros in front away.
_BETWEEN_DIGITS: Final = re.compile(r"(?<=\d)[-:](?=\d)")


@dataclass(frozen=True, slots=True)
class ReliabilityBin:
    """Words of like probability: how many, their mean probability, and the share of them that is right (0 to 1)."""

    words: int
    mean_probability: float
    accuracy: float


def scored_words(reference: Sequence[str], utterances: Sequence[Sequence[Word]], language: str = "en") -> list[Pair]:
    """Say of each recognised word of a call whether it is right.

    Args:
        reference: the normalised words of the whole call, as `evaluation.normalise.normalised_words` gives them.
        utterances: the recognised words of each utterance, raw, in the order of the reference.
        language: of the normaliser.

    Returns:
        Probability and whether it is right, of every word in order; words that the normaliser leaves nothing of
        (fillers, punctuation) are left out.
    """
    return [pair for pairs in scored_utterances(reference, utterances, language) for pair in pairs]


def scored_utterances(
    reference: Sequence[str], utterances: Sequence[Sequence[Word]], language: str = "en"
) -> list[list[Pair]]:
    """The same as `scored_words`, utterance by utterance."""
    scored: list[list[Pair]] = []
    texts = [[_BETWEEN_DIGITS.sub("", word.text) for word in words] for words in utterances]
    tokens = [word_tokens(words, language) for words in texts]
    right = iter(_right_tokens(reference, [token for found in tokens for token, _ in found]))
    for words, found in zip(utterances, tokens, strict=True):
        judged: dict[int, bool] = {}
        for _, owners in found:
            fits = next(right)
            judged |= {owner: fits and judged.get(owner, True) for owner in owners}
        scored.append([(word.probability, judged[index]) for index, word in enumerate(words) if index in judged])
    return scored


def word_tokens(words: Sequence[str], language: str = "en") -> list[Token]:
    """Normalise an utterance as a whole, and tell which words each token comes from.

    Between two words may be cut where both parts, normalised alone, give the tokens of the whole. The words between two
    cuts share the tokens between them ("one hundred dollars": `$100`), unless each gives its own.

    Args:
        words: the raw words of one utterance.
        language: of the normaliser.

    Returns:
        The tokens of the whole text, in order.
    """
    whole = _tokens(words, language)
    alone: list[Token] = [
        (token, (index,)) for index, word in enumerate(words) for token in normal_words(word, language)
    ]
    if [token for token, _ in alone] == whole:  # nearly always, and much faster
        return alone
    cuts = [(0, 0)]
    for index in range(1, len(words)):
        before = _tokens(words[:index], language)
        if len(before) >= cuts[-1][1] and before + _tokens(words[index:], language) == whole:
            cuts.append((index, len(before)))
    cuts.append((len(words), len(whole)))
    return [
        token
        for (first, start), (last, end) in pairwise(cuts)
        for token in _shared(words[first:last], first, whole[start:end], language)
    ]


def expected_calibration_error(pairs: Sequence[Pair], bins: int = 10) -> float | None:
    """Mean distance of probability from accuracy, 0 to 1, over bins of equal mass; None without words."""
    table = reliability(pairs, bins)
    gaps = [one.words * abs(one.mean_probability - one.accuracy) for one in table]
    return sum(gaps) / len(pairs) if pairs else None


def brier_score(pairs: Sequence[Pair]) -> float | None:
    """Mean squared distance of the probability from 1 for right words and 0 for wrong ones; None without words."""
    return sum((probability - right) ** 2 for probability, right in pairs) / len(pairs) if pairs else None


def reliability(pairs: Sequence[Pair], bins: int = 10) -> tuple[ReliabilityBin, ...]:
    """Sort words by probability into bins of equal mass, as near as words of one probability, kept together, allow."""
    _, place, counts = np.unique([probability for probability, _ in pairs], return_inverse=True, return_counts=True)
    middles = np.cumsum(counts) - counts / 2
    groups: dict[int, list[Pair]] = {}
    for pair, one in zip(pairs, place, strict=True):
        groups.setdefault(int(bins * middles[one] / len(pairs)), []).append(pair)
    return tuple(
        ReliabilityBin(
            words=len(group),
            mean_probability=sum(probability for probability, _ in group) / len(group),
            accuracy=sum(right for _, right in group) / len(group),
        )
        for _, group in sorted(groups.items())
    )


def fit_isotonic(pairs: Sequence[Pair]) -> Calibration:
    """The rising steps that come nearest to the outcomes, as a line through their middles.

    Steps of fewer than `LEAST_WORDS`, and then those that differ least, are joined with a neighbour until at most
    `MOST_KNOTS` are left.
    """
    from scipy.optimize import isotonic_regression

    if not pairs:
        return Calibration()
    raw, place, words = np.unique([probability for probability, _ in pairs], return_inverse=True, return_counts=True)
    shares = np.bincount(place, weights=[right for _, right in pairs]) / words
    fitted = isotonic_regression(shares, weights=words)
    steps = [
        _Step(int(words[at].sum()), float(np.average(raw[at], weights=words[at])), float(fitted.x[at.start]))
        for at in (slice(first, last) for first, last in pairwise(fitted.blocks.tolist()))
    ]
    while len(steps) > 1 and (len(steps) > MOST_KNOTS or min(step.words for step in steps) < LEAST_WORDS):
        at = _cheapest(steps)
        steps[at : at + 2] = [_joined(*steps[at : at + 2])]
    return Calibration(tuple((step.raw, _clamped(step.share)) for step in steps))


def fit_temperature(pairs: Sequence[Pair]) -> Calibration:
    """The temperature under which the outcomes are likeliest, as a line through points of its curve."""
    from scipy.optimize import minimize_scalar

    if not pairs:
        return Calibration()
    probabilities = np.clip([probability for probability, _ in pairs], 1e-6, 1 - 1e-6)
    logits = np.log(probabilities / (1 - probabilities))
    signed = np.where([right for _, right in pairs], logits, -logits)

    def surprise(log_temperature: float) -> float:
        return float(np.logaddexp(0, -signed / math.exp(log_temperature)).mean())

    temperature = math.exp(minimize_scalar(surprise, bounds=(-3.0, 3.0), method="bounded").x)
    return Calibration(tuple((_sigmoid(logit), _clamped(_sigmoid(logit / temperature))) for logit in LOGITS))


class _Step(NamedTuple):
    """Words of neighbouring raw probabilities: how many, their mean raw probability, and the share that is right."""

    words: int
    raw: float
    share: float


def _cheapest(steps: Sequence[_Step]) -> int:
    """The first of the two neighbours that lose least when they are joined; where a step is too small, one of them."""
    loss = [
        one.words * other.words / (one.words + other.words) * (one.share - other.share) ** 2
        for one, other in pairwise(steps)
    ]
    small = [at for at, two in enumerate(pairwise(steps)) if min(step.words for step in two) < LEAST_WORDS]
    return min(small or range(len(loss)), key=lambda at: loss[at])


def _joined(one: _Step, other: _Step) -> _Step:
    """Both steps as one, at their weighted means."""
    words = one.words + other.words
    raw, share = (
        (first * one.words + second * other.words) / words
        for first, second in ((one.raw, other.raw), (one.share, other.share))
    )
    return _Step(words, raw, share)


def _sigmoid(logit: float) -> float:
    return 1 / (1 + math.exp(-logit))


def _clamped(share: float) -> float:
    return min(max(share, LOWEST), HIGHEST)


def _tokens(words: Sequence[str], language: str) -> list[str]:
    return list(normal_words(" ".join(words), language))


def _shared(words: Sequence[str], first: int, tokens: Sequence[str], language: str) -> list[Token]:
    """The tokens of words between two cuts, each with the words it comes from; the first word has the index `first`."""
    alone = [_tokens([word], language) for word in words]
    own: list[Token] = [(token, (index,)) for index, found in enumerate(alone, start=first) for token in found]
    if [token for token, _ in own] == list(tokens):
        return own
    spoken = tuple(index for index, found in enumerate(alone, start=first) if found)
    return [(token, spoken or tuple(range(first, first + len(words)))) for token in tokens]


def _right_tokens(reference: Sequence[str], hypothesis: Sequence[str]) -> list[bool]:
    """Whether each token of the hypothesis is in the reference, by the alignment of the whole call."""
    right = [False] * len(hypothesis)
    others: list[tuple[range, range]] = []
    for chunk in aligned(reference, hypothesis):
        ref, hyp = range(chunk.ref_start_idx, chunk.ref_end_idx), range(chunk.hyp_start_idx, chunk.hyp_end_idx)
        if chunk.type == "equal":
            right[hyp.start : hyp.stop] = [True] * len(hyp)
        elif others and (others[-1][0].stop, others[-1][1].stop) == (ref.start, hyp.start):
            others[-1] = (range(others[-1][0].start, ref.stop), range(others[-1][1].start, hyp.stop))
        else:
            others.append((ref, hyp))
    for ref, hyp in others:
        for at in _same_digits([reference[one] for one in ref], [hypothesis[one] for one in hyp]):
            right[hyp.start + at] = True
    return right


def _same_digits(reference: Sequence[str], hypothesis: Sequence[str]) -> Iterator[int]:
    """Where tokens are a number of the reference in other groups of digits; both are stretches that are not equal."""
    known = list(_numbers(reference))
    whole, split = ({digits for size, digits in known if (size > 1) is several} for several in (False, True))
    for first in range(len(hypothesis)):
        for size, digits in _numbers_at(hypothesis, first):
            if digits in split or (size > 1 and digits in whole):
                yield from range(first, first + size)


def _numbers(tokens: Sequence[str]) -> Iterator[tuple[int, str]]:
    """Every run of neighbouring digits: how many tokens, and all of its digits."""
    return (found for first in range(len(tokens)) for found in _numbers_at(tokens, first))


def _numbers_at(tokens: Sequence[str], first: int) -> Iterator[tuple[int, str]]:
    """The runs of digits that begin at one token. The normaliser writes a lone 1 as a word."""
    plain = ("1" if word == "one" else word for word in tokens[first:])
    return enumerate(accumulate(takewhile(str.isdecimal, plain)), start=1)
