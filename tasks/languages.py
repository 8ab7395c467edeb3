"""Pure: which language each chunk of a call is in, from what the model takes each chunk for.

A chunk of a few words is guessed at by the model. What its neighbours are in says more: people seldom change the
language, and when they do, they stay there. So the languages of a call are the likeliest path through its chunks, with
a price on every change (a hidden Markov model of two parameters).
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from tasks.viterbi import cheapest_path

# Written without spaces between words.
UNSPACED_LANGUAGES = frozenset({"ja", "lo", "my", "th", "yue", "zh"})
# How likely the language is to change from one chunk to the next, into any one other.
CHANGE = 0.03
# A chunk of this length counts in full, a shorter one by its share of it: its sound says less.
FULL_S = 10.0
# A language that the model takes no chunk for, at no better odds than this, is no candidate.
LEAST = 0.01
# No probability is taken for smaller: one chunk that is surely something else must not settle the call.
FLOOR = 1e-4

Odds = Mapping[str, float]
"""The model's probability of each language (ISO 639-1) for one chunk."""


@dataclass(frozen=True, slots=True)
class CallLanguages:
    """The language of each chunk, and of the call: the one that most of its speech is in.

    `probability` is the mean of the model's own for that language over the chunks that are in it, by their length.
    `shares` are those of the speech, 0 to 1, of every language that a chunk is in; they add up to 1.
    """

    chunks: tuple[str, ...]
    language: str | None
    probability: float | None
    shares: Mapping[str, float]


def restrict(odds: Odds, allowed: Collection[str]) -> dict[str, float]:
    """Odds among the allowed languages alone, adding up to 1; all of them where none is named."""
    kept = {language: odds.get(language, 0.0) for language in allowed} if allowed else dict(odds)
    total = sum(kept.values())
    if total <= 0:
        return dict.fromkeys(kept, 1 / len(kept))
    return {language: value / total for language, value in kept.items()}


def smooth(odds: Sequence[Odds], seconds: Sequence[float], before: str | None = None) -> tuple[str, ...]:
    """The likeliest language of each chunk of a call, in order.

    Args:
        odds: of each chunk, in order of time.
        seconds: length of each chunk.
        before: the language of the chunk before the first one; None where that is the first of the call.
    """
    likely = {name for one in odds for name, value in one.items() if value >= LEAST}
    if not likely and before is None:  # a model that finds nothing likely still names languages
        likely = {name for one in odds for name in one}
    candidates = sorted(likely | ({before} if before else set()))
    costs = [
        {name: -min(1.0, length / FULL_S) * math.log(max(one.get(name, 0.0), FLOOR)) for name in candidates}
        for one, length in zip(odds, seconds, strict=True)
    ]
    known = [{before: 0.0}] if before else []
    changes = [math.log((1 - CHANGE) / CHANGE)] * (len(known) + len(costs) - 1)
    return tuple(cheapest_path([*known, *costs], changes)[len(known) :])


def summarise(languages: Sequence[str], odds: Sequence[Odds | None], seconds: Sequence[float]) -> CallLanguages:
    """What a call is in, from the language of each of its chunks.

    Args:
        languages: of each chunk.
        odds: of each chunk; None where the language was given and not detected.
        seconds: of speech in each chunk.
    """
    spoken: dict[str, float] = {}
    for language, length in zip(languages, seconds, strict=True):
        spoken[language] = spoken.get(language, 0.0) + length
    total = sum(spoken.values())
    if not total:
        return CallLanguages(tuple(languages), None, None, {})
    language = max(sorted(spoken), key=lambda name: spoken[name])
    known = [
        (one.get(language, 0.0), length)
        for name, one, length in zip(languages, odds, seconds, strict=True)
        if name == language and one is not None
    ]
    weight = sum(length for _, length in known)
    return CallLanguages(
        chunks=tuple(languages),
        language=language,
        probability=sum(value * length for value, length in known) / weight if weight else None,
        shares={name: length / total for name, length in sorted(spoken.items())},
    )
