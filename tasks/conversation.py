"""Pure: how a conversation went."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from statistics import median

from tasks.attribute import MIN_OVERLAP_S
from tasks.records import CallMetrics, Turn, Utterance
from tasks.regions import together
from tasks.utterances import spans

# Who says less, in seconds, while another speaks does not take the floor: "mm-hm".
LEAST_INTERRUPTION_S = 1.0


def measure(utterances: Sequence[Utterance], talks: Sequence[Turn]) -> CallMetrics:
    """Talk time, overlap, interruptions, reaction times, silence and speed of a call.

    Args:
        utterances: ordered by start.
        talks: who talks when; turns of one speaker do not overlap each other, those of two may.
    """
    speakers = sorted({item.speaker for item in utterances})
    talk = {
        speaker: round(sum(span.duration_s for span in spans(u for u in utterances if u.speaker == speaker)), 3)
        for speaker in speakers
    }
    talk_s = sum(talk.values())
    words = sum(len(item.words) for item in utterances)
    silences = [after.start - before.end for before, after in pairwise(spans(utterances))]
    interrupters = interruptions(talks)
    return CallMetrics(
        talk_s=talk,
        overlap_s=round(sum(region.duration_s for region in together(talks)), 3),
        interruptions=interrupters.total(),
        interruptions_by={speaker: interrupters[speaker] for speaker in speakers},
        reaction_s=reactions(talks),
        longest_silence_s=round(max(silences, default=0.0), 3),
        words=words,
        words_per_minute=round(60 * words / talk_s, 1) if talk_s > 0 else None,
    )


def interruptions(talks: Sequence[Turn]) -> Counter[str]:
    """How often each speaker takes the floor from another: starts while that one talks, and goes on after.

    Turns of less than a second do not take it, nor do those that overlap by no more than the raggedness of times.
    """
    found: Counter[str] = Counter()
    going: list[Turn] = []
    for later in sorted(talks):
        going = [earlier for earlier in going if earlier.end - later.start > MIN_OVERLAP_S]
        found[later.speaker] += later.end - later.start >= LEAST_INTERRUPTION_S and any(
            earlier.speaker != later.speaker and earlier.start < later.start and earlier.end < later.end
            for earlier in going
        )
        going.append(later)
    return found


def reactions(talks: Sequence[Turn]) -> dict[str, float]:
    """How long each speaker takes to answer: the median over the times that the floor changes to them, in seconds.

    A time is that from the end of the other's turn to the start of this one's: below zero where they overlap (the floor
    transfer offset of Heldner & Edlund, "Pauses, gaps and overlaps in conversations", Journal of Phonetics 38, 2010).
    A turn within another one's changes nothing. Who never answers is not in it.
    """
    found: dict[str, list[float]] = {}
    floor: Turn | None = None
    for turn in sorted(talks):
        if floor is not None and turn.end <= floor.end:
            continue
        if floor is not None and turn.speaker != floor.speaker:
            found.setdefault(turn.speaker, []).append(turn.start - floor.end)
        floor = turn
    return {speaker: round(median(times), 3) for speaker, times in sorted(found.items())}
