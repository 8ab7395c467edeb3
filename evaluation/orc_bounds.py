"""Where the best ways of giving utterances to streams can pass: bounds for `evaluation.orc`. Pure.

ORC-WER is one alignment with all streams at once, because every utterance goes to one of them. Here each stream takes
the utterances that suit it, whoever else takes them, too: an alignment with one stream at a time. Who takes an
utterance is given a reward for it, and the sum of all rewards is paid back. The best way takes each utterance once, so
that rewards do not change its cost; whatever they are, the streams on their own cost no more together than it (the
Lagrangian relaxation of "once": Geoffrion, "Lagrangean relaxation for integer programming", 1974). So the best way
passes through no place of a stream where that stream alone loses more, against its own best, than the gap between this
bound and the errors of some way that is known.

Rewards begin at zero. They are raised for utterances that nobody takes and lowered for those that several take, by
Polyak's step (Held, Wolfe & Crowder, "Validation of subgradient optimization", 1974). The gap closes to a few errors,
and what is left around the best way is a corridor.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

Words: TypeAlias = Sequence[int]
Array: TypeAlias = NDArray[Any]
Gains: TypeAlias = Mapping[int, Array]
"""Word → what it saves at most when it is aligned with each word of a stream."""

Windows: TypeAlias = NDArray[np.int64]
"""[before the first and after each utterance, stream, 2]: the first and the last place in the stream to look at."""

UNIT: Final = 256
"""One error: rewards are whole numbers of this part of it."""

MOST_ROUNDS: Final = 40
FEW_PLACES: Final = 16_384
"""Places of a corridor for each word of the reference below which another round costs more than it saves."""


def gains_of(said: Sequence[Words], heard: Array, unit: int, dtype: type) -> Gains:
    """Say what words save, of a deletion and an insertion: a hit both, a substitution one."""
    plain: Array = np.full(len(heard), unit, dtype)
    known = set(heard.tolist())
    return {
        word: np.where(heard == word, 2 * unit, unit).astype(dtype) if word in known else plain
        for word in {word for utterance in said for word in utterance}
    }


def say(saved: Array, gains: Sequence[Array]) -> None:
    """Align words with what follows in a stream, whose places are the first axis of `saved`; in place."""
    for gain in gains:
        np.maximum(saved[1:], saved[:-1] + gain, out=saved[1:])
        np.maximum.accumulate(saved, axis=0, out=saved)


def all_places(utterances: int, heard: Sequence[Array]) -> Windows:
    """The windows that leave nothing out."""
    return np.tile(np.array([(0, len(words)) for words in heard]), (utterances + 1, 1, 1))


def places(said: Sequence[Words], windows: Windows) -> float:
    """How many states an alignment with all streams at once looks at: words times places."""
    sizes = np.prod(windows[1:, :, 1] - windows[1:, :, 0] + 1.0, axis=1)
    return float(sizes @ np.array([len(words) for words in said], float))


def corridor(said: Sequence[Words], heard: Sequence[Array], few_places: float = FEW_PLACES) -> Windows:
    """Find windows that every best way stays in.

    Args:
        said: the words of each utterance of the reference, as numbers, in order.
        heard: the words of each stream of the hypothesis.
        few_places: with so many for each word of the reference, the windows are narrow enough.

    Returns:
        The windows. They hold all ways with the fewest errors, and may hold others.
    """
    lengths = np.array([len(words) for words in said], int)
    windows = all_places(len(said), heard)
    if places(said, windows) <= few_places * lengths.sum():
        return windows
    gains = [gains_of(said, words, UNIT, np.int32) for words in heard]
    rewards = np.zeros(len(said), np.int64)
    fewest = int(lengths.sum()) + sum(map(len, heard))
    for _ in range(MOST_ROUNDS):
        prices = (UNIT * lengths - rewards).astype(np.int32)
        alone = [_alone(said, own, prices, windows[:, stream]) for stream, own in enumerate(gains)]
        worth = np.array([one.worth for one in alone])
        fewest = min(fewest, _errors(said, heard, worth.argmax(axis=0)))
        bound = int(rewards.sum()) + sum(UNIT * len(words) - one.saved for words, one in zip(heard, alone, strict=True))
        gap = UNIT * fewest - bound
        windows = np.stack([_narrowed(windows[:, at], one, gap) for at, one in enumerate(alone)], axis=1)
        untaken = 1 - (worth > 0).sum(axis=0)
        if places(said, windows) <= few_places * lengths.sum() or not untaken.any():
            break
        rewards += np.rint(gap / (untaken @ untaken) * untaken).astype(np.int64)
    return windows


@dataclass(frozen=True, slots=True)
class _Alone:
    """The best of one stream alone, in parts of an error.

    `saved` is what it saves; `losses` what it loses by passing through each place, window by window; `worth` what it
    gains by taking each utterance, below zero where it is better without.
    """

    saved: int
    losses: Sequence[Array]
    worth: Array


def _alone(said: Sequence[Words], gains: Gains, prices: Array, window: Array) -> _Alone:
    """Let one stream take the utterances that suit it, each at a price."""
    words = [[gains[word] for word in utterance] for utterance in said]
    mirrored = [[gain[::-1] for gain in reversed(utterance)] for utterance in reversed(words)]
    steps = list(_steps(words, prices, window))
    back = [np.maximum(*step)[::-1] for step in _steps(mirrored, prices[::-1], (window[-1, 1] - window)[::-1, ::-1])]
    behind = [*reversed(back), np.zeros_like(steps[-1][0])]
    saved = int(behind[0].max())
    through = [behind[0], *(np.maximum(*step) + left for step, left in zip(steps, behind[1:], strict=True))]
    worth = [
        (taken + left).max() - (untaken + left).max() for (taken, untaken), left in zip(steps, behind[1:], strict=True)
    ]
    return _Alone(saved, [saved - one for one in through], np.array(worth))


def _steps(words: Sequence[Sequence[Array]], prices: Array, window: Array) -> Iterator[tuple[Array, Array]]:
    """What can be saved at most after each utterance, at every place of the window: with it taken, and without."""
    saved = np.zeros(window[0, 1] - window[0, 0] + 1, np.int32)
    for utterance, price, (low, high), (first, last) in zip(words, prices, window, window[1:], strict=False):
        wide = np.empty(last - low + 1, np.int32)
        wide[: high - low + 1], wide[high - low + 1 :] = saved, saved[-1]
        along = wide.copy()
        say(along, [gain[low:last] for gain in utterance])
        taken, untaken = along[first - low :] - price, wide[first - low :]
        saved = np.maximum(taken, untaken)
        yield taken, untaken


def _narrowed(window: Array, alone: _Alone, gap: int) -> Array:
    """Leave out the places at which a stream alone loses more than the gap."""
    kept = [np.flatnonzero(losses <= gap) for losses in alone.losses]
    return np.array([(low + one[0], low + one[-1]) for (low, _), one in zip(window, kept, strict=True)])


def _errors(said: Sequence[Words], heard: Sequence[Array], given: Array) -> int:
    """The errors when each utterance is given to a stream."""
    from rapidfuzz.distance import Levenshtein

    sides: list[list[int]] = [[] for _ in heard]
    for stream, words in zip(given.tolist(), said, strict=True):
        sides[stream] += words
    return sum(Levenshtein.distance(side, words.tolist()) for side, words in zip(sides, heard, strict=True))
