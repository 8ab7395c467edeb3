"""ORC-WER: word errors that forgive a wrong speaker, though not the order of the words of an utterance.

The optimal-reference-combination word error rate keeps the utterances of the reference whole and in order of their
start, whoever said them, and gives each to the stream (speaker) of the hypothesis where it makes the fewest errors.
What cpWER has more than that is wrong attribution; what WER has more, the order of words where people talk at once.

Source: Sklyar et al., "Multi-turn RNN-T for streaming recognition of multi-party speech" (2022); solved by the dynamic
programming over all streams at once of von Neumann et al., "On Word Error Rate Definitions and their Efficient
Computation for Multi-Speaker Speech Recognition Systems" (2023), section 3. The number of errors agrees with that of
meeteval 0.4.3 (`orcwer`) on the same words; their split into kinds is that of `evaluation.wer.count_errors`.

The programme has a state for every word of the reference and every place in all streams: for an hour of two speakers
some 10¹¹. Only those are looked at that a way with the fewest errors can pass through (`evaluation.orc_bounds`), which
are some 10⁸. Where they are more than `MOST_STATES`, there is no result.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from evaluation.hypotheses import Spoken, in_order
from evaluation.normalise import normalised_words
from evaluation.orc_bounds import FEW_PLACES, Array, Gains, Windows, Words, corridor, gains_of, places, say
from evaluation.rates import ErrorCounts
from evaluation.speakers import words_by_speaker
from evaluation.wer import count_errors

MOST_STATES: Final = 500_000_000
"""Words of the reference times places that are looked at, in each stream alone (some two and a half hours of a call of
two speakers, and 1 GB) or in all at once.
"""


@dataclass(frozen=True, slots=True)
class StreamErrors:
    """The errors where every utterance stands at its best, and where that is.

    `assignment` has the speaker of the hypothesis that each utterance of the reference with words is given to, in order
    of start; None where the hypothesis has no speaker.
    """

    counts: ErrorCounts
    assignment: tuple[str | None, ...]


def stream_errors(
    reference: Iterable[Spoken], hypothesis: Iterable[Spoken], language: str | None = "en"
) -> StreamErrors | None:
    """Compute ORC-WER of one call.

    Args:
        reference: what was said, raw text, in any order.
        hypothesis: what was recognised and given to whom, raw text, in any order.
        language: of the normaliser; None takes the words as they are.

    Returns:
        Counts over normalised words; None where the call is too long, or has too many speakers, to be computed.
    """
    utterances = [normalised_words([line.text], language) for line in in_order(reference)]
    return best_streams([words for words in utterances if words], words_by_speaker(hypothesis, language))


def best_streams(
    utterances: Sequence[Sequence[str]],
    streams: Mapping[str, Sequence[str]],
    most_states: float = MOST_STATES,
    few_places: float = FEW_PLACES,
) -> StreamErrors | None:
    """Give each utterance to the stream where it makes the fewest errors.

    Args:
        utterances: normalised words of each utterance of the reference, in order, none empty.
        streams: speaker → the normalised words of all that they said in the hypothesis.
        most_states: None is returned where more would have to be looked at.
        few_places: how many places, for each word of the reference, need not be made fewer before they are looked at.
            The result is the same for any.
    """
    numbers: dict[str, int] = {}
    said = [[numbers.setdefault(word, len(numbers)) for word in words] for words in utterances]
    heard = [np.array([numbers.setdefault(word, len(numbers)) for word in words], int) for words in streams.values()]
    chosen = _best_way(said, heard, most_states, few_places) if heard and said else [-1] * len(said)
    if chosen is None:
        return None
    names = [*streams, None]  # -1 is nobody
    assignment = tuple(names[stream] for stream in chosen)
    given: dict[str | None, list[str]] = {name: [] for name in names}
    for name, words in zip(assignment, utterances, strict=True):
        given[name] += words
    counts = (count_errors(words, () if name is None else streams[name]) for name, words in given.items())
    return StreamErrors(sum(counts, ErrorCounts.zero()), assignment)


def _best_way(said: Sequence[Words], heard: Sequence[Array], most_states: float, few_places: float) -> list[int] | None:
    """Find the stream that each utterance is given to; None where that takes too long."""
    # The bounds align each stream alone, in all of its places.
    if sum(map(len, said)) * sum(len(words) + 1 for words in heard) > most_states:
        return None
    windows = corridor(said, heard, few_places)
    if places(said, windows) > most_states:
        return None
    dtype = np.int16 if sum(map(len, said)) < 1 << 14 else np.int32
    gains = [gains_of(said, words, 1, dtype) for words in heard]
    return _trace_back(said, gains, windows, _forward(said, gains, windows, dtype))


def _forward(said: Sequence[Words], gains: Sequence[Gains], windows: Windows, dtype: type) -> list[Array]:
    """What can be saved at most, before the first and after each utterance, at every place in the windows."""
    saved = np.zeros(windows[0, :, 1] - windows[0, :, 0] + 1, dtype)
    states = [saved]
    for utterance, (low, high), (first, last) in zip(said, windows.mT, windows.mT[1:], strict=False):
        wide = np.pad(saved, [(0, size) for size in last - high], mode="edge")
        cut = [slice(size, None) for size in first - low]
        following = wide[tuple(cut)]
        for stream, own in enumerate(gains):
            others = tuple(slice(None) if axis == stream else one for axis, one in enumerate(cut))
            # The axis of the stream comes first, where running maxima are fast.
            along = np.moveaxis(wide[others], stream, 0).copy()
            say(along, [_at(own[word], low[stream], last[stream], along.ndim) for word in utterance])
            following = np.maximum(following, np.moveaxis(along[cut[stream]], 0, stream))
        saved = following
        states.append(saved)
    return states


def _at(gain: Array, first: int, last: int, axes: int) -> Array:
    """What a word saves with those from one place of a stream to another, along the first of some axes."""
    return gain[first:last].reshape(-1, *[1] * (axes - 1))


def _trace_back(said: Sequence[Words], gains: Sequence[Gains], windows: Windows, states: Sequence[Array]) -> list[int]:
    """Find, from the last utterance to the first, which stream each was given to."""
    at = windows[-1, :, 1].copy()
    chosen: list[int] = []
    for number in range(len(said) - 1, -1, -1):
        low, high = windows[number].T
        after = states[number + 1][tuple(at - windows[number + 1, :, 0])]
        for stream, own in enumerate(gains):
            if any((at > high) & (np.arange(len(at)) != stream)):
                continue  # no best way passes there
            # What the utterance saves when it begins at each place of the stream: the alignment read from its end.
            alone = np.zeros(at[stream] - low[stream] + 1, int)
            say(alone, [own[word][low[stream] : at[stream]][::-1] for word in reversed(said[number])])
            index = tuple(
                slice(at[stream] - low[stream] + 1) if axis == stream else one for axis, one in enumerate(at - low)
            )
            before = states[number][index]
            total = before + alone[::-1][: len(before)]
            if total.max() == after:
                at[stream] = low[stream] + total.argmax()
                chosen.append(stream)
                break
    return chosen[::-1]
