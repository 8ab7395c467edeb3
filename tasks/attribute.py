"""Pure: who said which word, and words into utterances."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from tasks.records import Region, Segment, Turn, Utterance, Word

# Written without spaces between words.
UNSPACED_LANGUAGES = frozenset({"ja", "lo", "my", "th", "yue", "zh"})

UNKNOWN_SPEAKER = "UNKNOWN"
SENTENCE_ENDS = (".", "?", "!", "。", "？", "！")  # noqa: RUF001  # the full-width marks are meant
# A word outside every turn belongs to the nearest one within this distance, in seconds.
NEAREST_TURN_S = 2.0
# Shorter common stretches are the raggedness of word times, not two people talking at once.
MIN_OVERLAP_S = 0.1


@dataclass(frozen=True, slots=True)
class SpokenWord:
    """A word, who said it, and the segment it was decoded in."""

    word: Word
    speaker: str
    segment: Segment


def attribute_by_channel(segments: Iterable[Segment], speakers: Sequence[str]) -> list[SpokenWord]:
    """Words of a call that has one channel per speaker: `speakers[channel]` said them."""
    return [SpokenWord(word, speakers[segment.channel], segment) for segment in segments for word in segment.words]


def attribute_by_turns(segments: Iterable[Segment], turns: Sequence[Turn]) -> list[SpokenWord]:
    """Words of a one-channel call: the speaker whose turns cover most of a word said it.

    A word that no turn covers goes to the nearest turn within `NEAREST_TURN_S`, else to `UNKNOWN_SPEAKER`; no word is
    lost and no time changes.
    """
    ordered = sorted(turns)
    longest = max((turn.end - turn.start for turn in ordered), default=0.0)
    return [
        SpokenWord(word, _speaker_of(word, ordered, longest), segment) for segment in segments for word in segment.words
    ]


def to_utterances(words: Iterable[SpokenWord], channels: Sequence[int], max_pause_s: float) -> tuple[Utterance, ...]:
    """Group words into utterances: a new one at every change of speaker or language and after every longer pause.

    Speakers on channels of their own are grouped apart, so that a short "yes" of one does not cut the other's sentence;
    between two sentences it does.

    Args:
        words: attributed words of one call.
        channels: the file's channel for each channel index of the segments.
        max_pause_s: a longer pause between two words starts a new utterance.

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
        utterances += [_utterance(run, channels[channel]) for run in _runs(ordered, others, max_pause_s)]
    utterances.sort(key=lambda item: (item.start, item.channel))
    overlapped = _overlapped(utterances)
    return tuple(
        replace(utterance, index=index, overlap=index in overlapped) for index, utterance in enumerate(utterances)
    )


def spans(utterances: Iterable[Utterance]) -> list[Region]:
    """The stretches of speech of utterances, merged where they touch, in order."""
    return merge(Region(item.start, item.end) for item in utterances)


def merge(regions: Iterable[Region]) -> list[Region]:
    """Regions in order, joined where they touch or overlap."""
    merged: list[Region] = []
    for region in sorted(regions):
        if merged and region.start <= merged[-1].end:
            merged[-1] = Region(merged[-1].start, max(merged[-1].end, region.end))
        else:
            merged.append(region)
    return merged


def _speaker_of(word: Word, turns: Sequence[Turn], longest: float) -> str:
    # Turns are ordered by start, and none is longer than `longest`: only those that start in this window can be near.
    first = bisect_left(turns, Turn(word.start - longest - NEAREST_TURN_S, 0.0, ""))
    covered: Counter[str] = Counter()
    nearest, distance = UNKNOWN_SPEAKER, NEAREST_TURN_S
    for turn in turns[first:]:
        if turn.start > word.end + NEAREST_TURN_S:
            break
        common = min(word.end, turn.end) - max(word.start, turn.start)
        if common > 0:
            covered[turn.speaker] += common  # type: ignore[assignment]  # a Counter of seconds, not of items
        elif -common < distance:
            nearest, distance = turn.speaker, -common
    return max(covered, key=lambda speaker: covered[speaker]) if covered else nearest


def _runs(words: Sequence[SpokenWord], others: Sequence[float], max_pause_s: float) -> Iterable[list[SpokenWord]]:
    """Cut the ordered words of one channel; `others` are the ordered starts of words on other channels."""
    run: list[SpokenWord] = []
    for spoken in words:
        if run and _cut_between(run[-1], spoken, others, max_pause_s):
            yield run
            run = []
        run.append(spoken)
    if run:
        yield run


def _cut_between(before: SpokenWord, after: SpokenWord, others: Sequence[float], max_pause_s: float) -> bool:
    if before.speaker != after.speaker or before.segment.language != after.segment.language:
        return True
    if after.word.start - before.word.end > max_pause_s:
        return True
    answered = bisect_left(others, after.word.start) > bisect_left(others, before.word.start)
    return answered and before.word.text.endswith(SENTENCE_ENDS)


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
        overlap=False,
        flags=tuple(dict.fromkeys(flag for spoken in run for flag in spoken.segment.flags)),
    )


def _overlapped(utterances: Sequence[Utterance]) -> set[int]:
    """Which of the utterances, ordered by start, share more than ragged edges with somebody else's."""
    found: set[int] = set()
    going: list[int] = []
    for index, later in enumerate(utterances):
        going = [earlier for earlier in going if utterances[earlier].end > later.start]
        for earlier in going:
            other = utterances[earlier]
            if other.speaker != later.speaker and min(other.end, later.end) - later.start > MIN_OVERLAP_S:
                found |= {earlier, index}
        going.append(index)
    return found
