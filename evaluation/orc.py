"""ORC-WER: word errors that forgive a wrong speaker, though not the order of the words of an utterance.

The optimal-reference-combination word error rate keeps the utterances of the reference whole and in order of their
start, whoever said them, and gives each to the stream (speaker) of the hypothesis where it makes the fewest errors.
What cpWER has more than that is wrong attribution; what WER has more, the order of words where people talk at once.

Source: Sklyar et al., "Multi-turn RNN-T for streaming recognition of multi-party speech" (2022); solved by the dynamic
programming over all streams at once of von Neumann et al., "On Word Error Rate Definitions and their Efficient
Computation for Multi-Speaker Speech Recognition Systems" (2023), section 3. The number of errors agrees with that of
meeteval 0.4.3 (`orcwer`) on the same words; their split into kinds is that of `evaluation.wer.count_errors`.

The cost is the number of reference words times the product of the lengths of all streams: it grows with the cube of the
length of a call of two speakers, and above `MOST_STATES` there is no result.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from evaluation.hypotheses import Spoken, in_order
from evaluation.normalise import normalised_words
from evaluation.rates import ErrorCounts
from evaluation.speakers import words_by_speaker
from evaluation.wer import count_errors

MOST_STATES: Final = 400_000_000
"""Reference words times places in the streams; about a call of eight minutes and two speakers, and several seconds.

Every utterance of the reference keeps two bytes per place: some 0.1 GB where utterances have eight words.
"""

Saved: TypeAlias = NDArray[Any]
"""[place in the first stream, in the second, …]: errors that aligned words save of all deletions and insertions."""


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
    utterances: Sequence[Sequence[str]], streams: Mapping[str, Sequence[str]], most_states: int = MOST_STATES
) -> StreamErrors | None:
    """Give each utterance to the stream where it makes the fewest errors.

    Args:
        utterances: normalised words of each utterance of the reference, in order, none empty.
        streams: speaker → the normalised words of all that they said in the hypothesis.
        most_states: None is returned where more would have to be looked at.
    """
    numbers: dict[str, int] = {}
    said = [[numbers.setdefault(word, len(numbers)) for word in words] for words in utterances]
    heard = [np.array([numbers.setdefault(word, len(numbers)) for word in words], int) for words in streams.values()]
    if sum(map(len, said)) * math.prod(len(words) + 1 for words in heard) > most_states:
        return None
    chosen = _trace_back(said, heard, _forward(said, heard)) if heard else [None] * len(said)
    names = [None, *streams]
    assignment = tuple(names[0 if stream is None else stream + 1] for stream in chosen)
    given: dict[str | None, list[str]] = {name: [] for name in names}
    for name, words in zip(assignment, utterances, strict=True):
        given[name] += words
    counts = (count_errors(words, () if name is None else streams[name]) for name, words in given.items())
    return StreamErrors(sum(counts, ErrorCounts.zero()), assignment)


def _forward(said: Sequence[Sequence[int]], heard: Sequence[Saved]) -> list[Saved]:
    """What can be saved at most, before the first and after each utterance, at every place in the streams."""
    saved = np.zeros([len(words) + 1 for words in heard], np.int16 if sum(map(len, said)) < 1 << 14 else np.int32)
    states = [saved]
    for utterance in said:
        following = saved
        for stream, words in enumerate(heard):
            # The axis of the stream comes first, where running maxima are fast.
            along = np.moveaxis(saved, stream, 0).copy()
            _say(along, utterance, words)
            following = np.maximum(following, np.moveaxis(along, 0, stream))
        saved = following
        states.append(saved)
    return states


def _say(saved: Saved, utterance: Sequence[int], words: Saved) -> None:
    """Align an utterance with what follows in a stream, whose axis is the first of `saved`; in place.

    A hit saves two errors (a deletion and an insertion), a substitution one.
    """
    for word in utterance:
        gain = (1 + (words == word)).astype(saved.dtype).reshape(-1, *[1] * (saved.ndim - 1))
        saved[1:] = np.maximum(saved[1:], saved[:-1] + gain)
        np.maximum.accumulate(saved, axis=0, out=saved)


def _trace_back(said: Sequence[Sequence[int]], heard: Sequence[Saved], states: Sequence[Saved]) -> list[int]:
    """Find, from the last utterance to the first, which stream each was given to."""
    places = [len(words) for words in heard]
    chosen = []
    for utterance, before, after in zip(reversed(said), states[-2::-1], states[:0:-1], strict=True):
        for stream, words in enumerate(heard):
            place = places[stream]
            # What the utterance saves when it begins at each place of the stream: the alignment read from its end.
            alone = np.zeros(place + 1, int)
            _say(alone, utterance[::-1], words[:place][::-1])
            index = tuple(slice(place + 1) if axis == stream else one for axis, one in enumerate(places))
            total = before[index] + alone[::-1]
            if total.max() == after[tuple(places)]:
                places[stream] = int(total.argmax())
                chosen.append(stream)
                break
    return chosen[::-1]
