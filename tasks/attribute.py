"""Pure: who said which word, and who talks when."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate, pairwise

from tasks.records import Diarization, Region, Segment, Turn, Word
from tasks.regions import by_speaker, common_s, merge, together
from tasks.viterbi import cheapest_path

UNKNOWN_SPEAKER = "UNKNOWN"
SENTENCE_ENDS = (".", "?", "!", "。", "？", "！")  # noqa: RUF001  # the full-width marks are meant
CLOSING_MARKS = "\"'”’»)」』"  # noqa: RUF001  # as they are written
# A word outside every turn belongs to somebody whose turn is within this distance, in seconds.
NEAREST_TURN_S = 2.0
# Speakers change between sentences and after pauses of this length, in seconds; elsewhere a change must be worth so
# many seconds of words that lie in somebody else's turn.
CHANGE_PAUSE_S = 0.3
CHANGE_COST_S = 0.2
# Shorter common stretches are the raggedness of times, not two people talking at once.
MIN_OVERLAP_S = 0.1
# Who pauses no longer between words, in seconds, goes on talking.
BREATH_S = 0.3


@dataclass(frozen=True, slots=True)
class SpokenWord:
    """A word, who said it, and the segment it was decoded in."""

    word: Word
    speaker: str
    segment: Segment


@dataclass(frozen=True, slots=True)
class Attribution:
    """Who said which word, words in the order of their segments; and who talks when, where turns may overlap."""

    words: tuple[SpokenWord, ...]
    talks: tuple[Turn, ...]


def attribute(
    segments: Sequence[Segment], speakers: Sequence[str], diarizations: Mapping[int, Diarization] | None = None
) -> Attribution:
    """Give every word of a call to a speaker, and mark those that are said while somebody else talks.

    Args:
        segments: what was recognised.
        speakers: what each channel is called: who says its words. Where the channel was diarized and one speaker has
            words in it, that one is called so too; several are `agent_00`, `agent_01`, … by their first turns, and
            words too far from every turn are the channel's. In a channel called `UNKNOWN_SPEAKER`, speakers keep the
            diarizer's labels.
        diarizations: who speaks when, of channels that several people may share.

    Returns:
        every word once, as it was but for its mark.
    """
    found: dict[int, list[SpokenWord]] = {}
    talks: dict[int, list[Turn]] = {}
    for channel in sorted({segment.channel for segment in segments}):
        own = [segment for segment in segments if segment.channel == channel]
        diarization = (diarizations or {}).get(channel, Diarization((), ()))
        spoken = attribute_by_turns(own, diarization.exclusive, otherwise=speakers[channel])
        names = _names(spoken, diarization, speakers[channel])
        found[channel] = [replace(item, speaker=names.get(item.speaker, item.speaker)) for item in spoken]
        named = [replace(turn, speaker=names[turn.speaker]) for turn in diarization.turns if turn.speaker in names]
        talks[channel] = _talks(found[channel], named)
    in_order = {channel: iter(_marked(channel, words, talks)) for channel, words in found.items()}
    return Attribution(
        words=tuple(next(in_order[segment.channel]) for segment in segments for _ in segment.words),
        talks=tuple(sorted(turn for turns in talks.values() for turn in turns)),
    )


def attribute_by_turns(
    segments: Iterable[Segment],
    turns: Sequence[Turn],
    otherwise: str = UNKNOWN_SPEAKER,
    *,
    change_cost_s: float = CHANGE_COST_S,
) -> list[SpokenWord]:
    """Give the words of one channel to the speakers of turns.

    Of all ways to do so, that with the least cost is taken, in seconds: for every word as much of it as lies outside
    the turns of its speaker, and how far it is from them; and `change_cost_s` for every change of speaker within a
    sentence and without a pause. So a single word does not flip because a turn is ragged, and what no turn covers goes
    to whose sentence it stands in.

    Args:
        segments: what was recognised in the channel.
        turns: in any order.
        otherwise: the speaker of words that are `NEAREST_TURN_S` or more from every turn.
        change_cost_s: see above.

    Returns:
        every word, in the order of the segments, unchanged.
    """
    ordered = sorted(turns)
    latest = list(accumulate((turn.end for turn in ordered), max))
    words = [(word, segment) for segment in segments for word in segment.words]
    in_time = sorted(range(len(words)), key=lambda index: (words[index][0].start, words[index][0].end))
    costs = [_costs(words[index][0], ordered, latest) or {otherwise: 0.0} for index in in_time]
    changes = [
        0.0 if ends_sentence(before) or after.start - before.end >= CHANGE_PAUSE_S else change_cost_s
        for before, after in pairwise(words[index][0] for index in in_time)
    ]
    speakers = dict(zip(in_time, cheapest_path(costs, changes), strict=True))
    return [SpokenWord(word, speakers[index], segment) for index, (word, segment) in enumerate(words)]


def ends_sentence(word: Word) -> bool:
    """Whether a sentence ends with a word, by how it is written."""
    return word.text.rstrip(CLOSING_MARKS).endswith(SENTENCE_ENDS)


def _costs(word: Word, turns: Sequence[Turn], latest: Sequence[float]) -> dict[str, float]:
    """What it costs to give a word to each speaker near it, in order of their turns.

    Args:
        word: in seconds of the call.
        turns: ordered by start.
        latest: the latest end of each turn and all before it, so that those that are near are soon found.
    """
    covered: dict[str, float] = {}
    distance: dict[str, float] = {}
    for index in range(bisect_left(latest, word.start - NEAREST_TURN_S), len(turns)):
        turn = turns[index]
        if turn.start > word.end + NEAREST_TURN_S:
            break
        common = min(word.end, turn.end) - max(word.start, turn.start)
        if -common < NEAREST_TURN_S:
            covered[turn.speaker] = covered.get(turn.speaker, 0.0) + max(0.0, common)
            distance[turn.speaker] = min(distance.get(turn.speaker, NEAREST_TURN_S), max(0.0, -common))
    return {speaker: word.end - word.start - covered[speaker] + distance[speaker] for speaker in covered}


def _names(spoken: Sequence[SpokenWord], diarization: Diarization, channel: str) -> dict[str, str]:
    """What those speakers of a diarized channel are called who have words in it."""
    heard = {item.speaker for item in spoken}
    labels = [label for label in by_speaker((*diarization.turns, *diarization.exclusive)) if label in heard]
    if channel == UNKNOWN_SPEAKER:
        return {label: label for label in labels}
    if len(labels) == 1:
        return {labels[0]: channel}
    return {label: f"{channel}_{number:02d}" for number, label in enumerate(labels)}


def _talks(words: Sequence[SpokenWord], turns: Sequence[Turn]) -> list[Turn]:
    """When those talk who have words in a channel: by their turns, where there are any, else by their words."""
    known = {turn.speaker for turn in turns}
    said = (Turn(spoken.word.start, spoken.word.end, spoken.speaker) for spoken in words if spoken.speaker not in known)
    return [
        *turns,
        *(
            Turn(region.start, region.end, speaker)
            for speaker, regions in by_speaker(said, BREATH_S).items()
            for region in regions
        ),
    ]


def _marked(channel: int, words: Sequence[SpokenWord], talks: Mapping[int, Sequence[Turn]]) -> list[SpokenWord]:
    """Words of a channel, each with whether somebody else talks in its time."""
    at_once = together(talks[channel])
    others = by_speaker(turn for other, turns in talks.items() if other != channel for turn in turns)
    disturbed: dict[str, list[Region]] = {}
    for speaker in {spoken.speaker for spoken in words}:
        elsewhere = [region for other, regions in others.items() if other != speaker for region in regions]
        disturbed[speaker] = merge([*at_once, *elsewhere])
    return [
        replace(spoken, word=replace(spoken.word, overlap=True))
        if _is_disturbed(spoken.word, disturbed[spoken.speaker])
        else spoken
        for spoken in words
    ]


def _is_disturbed(word: Word, regions: Sequence[Region]) -> bool:
    # Half of a word that is shorter than what counts as raggedness is more than that, too.
    return common_s(word.start, word.end, regions) > min(MIN_OVERLAP_S, (word.end - word.start) / 2)
