"""tcpWER: cpWER that lets words stand for each other only where they are said at about the same time.

A transcript that has the right words at the wrong times makes no errors in cpWER, and an alignment of a long call may
take a word of one minute for one of another. The time-constrained minimum-permutation word error rate forbids both
(`evaluation.reach`).

Most references have no word times. A word of an utterance is then given the share of the utterance's time that it has
of its characters; on the side of the hypothesis the middle of this share. Where the hypothesis knows the times of its
words, the middle of the word is taken, as meeteval does with segments of one word.

Source: von Neumann et al., "MeetEval: A Toolkit for Computation of Word Error Rates for Meeting Transcription Systems"
(2023), section 3. Counts are those of meeteval 0.4.3 (`tcpwer` with its default pseudo-word times) on the same words,
kind by kind.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from difflib import SequenceMatcher
from functools import partial
from itertools import accumulate, pairwise
from typing import Final

from evaluation.hypotheses import HypothesisUtterance, TimedSpoken, in_order
from evaluation.normalise import normal_words, normalised_words
from evaluation.reach import TimedWord, count_timed_errors
from evaluation.speakers import SpeakerErrors, fewest_errors, pair_speakers

COLLAR_S: Final = 5.0
"""What meeteval recommends for hypotheses without word times."""


def timed_speaker_errors(
    reference: Iterable[TimedSpoken],
    hypothesis: Iterable[HypothesisUtterance],
    language: str | None = "en",
    collar_s: float = COLLAR_S,
) -> SpeakerErrors:
    """Compute tcpWER of one call.

    Args:
        reference: what was said by whom, raw text, in any order.
        hypothesis: what was recognised and given to whom, raw text, in any order.
        language: of the normaliser; None takes the words as they are.
        collar_s: how far a word of the hypothesis may be off, in seconds; infinity gives cpWER.

    Returns:
        Counts over normalised words, the same words as for cpWER, and who is whom.
    """
    said: dict[str, list[TimedWord]] = {}
    for line in in_order(reference):
        words = normalised_words([line.text], language)
        said.setdefault(line.speaker, []).extend(_shared_out(words, line.start, line.end))
    heard: dict[str, list[TimedWord]] = {}
    for utterance in in_order(hypothesis):
        heard.setdefault(utterance.speaker, []).extend(map(_middle, _recognised(utterance, language)))
    return pair_speakers(said, heard, partial(count_timed_errors, collar_s=collar_s), _fewest_errors)


def _fewest_errors(reference: Sequence[TimedWord], hypothesis: Sequence[TimedWord]) -> int:
    """The errors if all words were within reach of each other."""
    return fewest_errors([word.text for word in reference], [word.text for word in hypothesis])


def _recognised(utterance: HypothesisUtterance, language: str | None) -> Iterator[TimedWord]:
    """The normalised words of an utterance, as they are spread over it or over what of its own words they come from.

    The normaliser may make one word of many ("one hundred dollars": `$100`) and many of one ("it's": `it is`). So each
    word is normalised alone, too: what both ways give alike has the time of its word, and what stands between shares
    the time between. `evaluation.confidence.word_tokens` is more exact than a collar of seconds asks for, and takes
    more than twenty times as long: it normalises the utterance twice for every word.
    """
    words = normalised_words([utterance.text], language)
    own = [(token, word) for word in utterance.words for token in normal_words(word.text, language)]
    if not own:
        yield from _shared_out(words, utterance.start, utterance.end)
        return
    alone = [token for token, _ in own]
    if alone == words:
        yield from (TimedWord(token, word.start, word.end) for token, word in own)
        return
    for kind, first, last, start, end in SequenceMatcher(None, alone, words, autojunk=False).get_opcodes():
        if kind == "equal":
            yield from (TimedWord(token, word.start, word.end) for token, word in own[first:last])
        elif first < last:
            spoken = [word for _, word in own[first:last]]
            yield from _shared_out(words[start:end], spoken[0].start, max(spoken[0].start, spoken[-1].end))
        else:
            begin = own[first - 1][1].end if first else utterance.start
            stop = own[first][1].start if first < len(own) else utterance.end
            yield from _shared_out(words[start:end], begin, max(begin, stop))


def _shared_out(words: Sequence[str], start: float, end: float) -> list[TimedWord]:
    """Give each word the share of a time that it has of the characters."""
    if len(words) == 1:
        return [TimedWord(words[0], start, end)]
    behind = list(accumulate(map(len, words), initial=0))
    second = (end - start) / (behind[-1] or 1)
    return [
        TimedWord(word, start + second * first, start + second * last)
        for word, (first, last) in zip(words, pairwise(behind), strict=True)
    ]


def _middle(word: TimedWord) -> TimedWord:
    """A word at the middle of its time."""
    middle = (word.end + word.start) / 2
    return TimedWord(word.text, middle, middle)
