"""Pure: words into utterances, the runs of words of one speaker that analysts read."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace

from tasks.attribute import SpokenWord, ends_sentence
from tasks.languages import UNSPACED_LANGUAGES
from tasks.records import Region, Utterance
from tasks.regions import merge
from tasks.setting_groups import UtteranceSettings


def to_utterances(
    words: Iterable[SpokenWord], channels: Sequence[int], settings: UtteranceSettings
) -> tuple[Utterance, ...]:
    """Group words into utterances: a new one at every change of speaker or language, and at pauses and sentence ends.

    A pause cuts that is longer than `max_pause_s`. The end of a sentence does where a pause of `sentence_pause_s`
    follows, where the utterance has lasted `long_s`, and where another channel speaks between it and the next word.
    Speakers on channels of their own are grouped apart, so that a short "yes" of one does not cut the other's sentence.

    Args:
        words: attributed words of one call.
        channels: the file's channel for each channel index of the segments.
        settings: where to cut.

    Returns:
        utterances ordered by start, numbered from 0; every word is in exactly one.
    """
    by_channel: dict[int, list[SpokenWord]] = {}
    for spoken in words:
        by_channel.setdefault(spoken.segment.channel, []).append(spoken)
    utterances: list[Utterance] = []
    for channel, own in by_channel.items():
        others = sorted(item.word.start for other, spoken in by_channel.items() if other != channel for item in spoken)
        ordered = sorted(own, key=lambda item: (item.word.start, item.word.end))
        utterances += [_utterance(run, channels[channel]) for run in _runs(ordered, others, settings)]
    utterances.sort(key=lambda item: (item.start, item.channel))
    return tuple(replace(utterance, index=index) for index, utterance in enumerate(utterances))


def spans(utterances: Iterable[Utterance]) -> list[Region]:
    """The stretches of speech of utterances, merged where they touch, in order."""
    return merge(Region(item.start, item.end) for item in utterances)


def _runs(
    words: Sequence[SpokenWord], others: Sequence[float], settings: UtteranceSettings
) -> Iterable[list[SpokenWord]]:
    """Cut the ordered words of one channel; `others` are the ordered starts of words on other channels."""
    run: list[SpokenWord] = []
    for spoken in words:
        if run and _cuts(run, spoken, others, settings):
            yield run
            run = []
        run.append(spoken)
    if run:
        yield run


def _cuts(run: Sequence[SpokenWord], after: SpokenWord, others: Sequence[float], settings: UtteranceSettings) -> bool:
    """Whether a word begins a new utterance."""
    before = run[-1]
    if before.speaker != after.speaker or before.segment.language != after.segment.language:
        return True
    pause_s = after.word.start - before.word.end
    if pause_s > settings.max_pause_s:
        return True
    if not ends_sentence(before.word):
        return False
    answered = bisect_left(others, after.word.start) > bisect_left(others, before.word.start)
    lasted_s = before.word.end - run[0].word.start
    return answered or pause_s >= settings.sentence_pause_s or lasted_s >= settings.long_s


def _utterance(run: Sequence[SpokenWord], channel: int) -> Utterance:
    words = tuple(spoken.word for spoken in run)
    by_segment = Counter(id(spoken.segment) for spoken in run)
    main_id = by_segment.most_common(1)[0][0]
    main = next(spoken.segment for spoken in run if id(spoken.segment) == main_id)
    return Utterance(
        index=0,
        speaker=run[0].speaker,
        channel=channel,
        start=words[0].start,
        end=max(word.end for word in words),
        text=("" if main.language in UNSPACED_LANGUAGES else " ").join(word.text for word in words),
        words=words,
        language=main.language,
        confidence=sum(word.probability for word in words) / len(words),
        avg_logprob=main.avg_logprob,
        no_speech_prob=main.no_speech_prob,
        compression_ratio=main.compression_ratio,
        overlap=any(word.overlap for word in words),
        flags=tuple(dict.fromkeys(flag for spoken in run for flag in spoken.segment.flags)),
    )
