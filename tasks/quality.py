"""Pure: what can be said of a transcript without a reference."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence

from tasks.attribute import UNKNOWN_SPEAKER
from tasks.records import Quality, Region, SourceFormat, Utterance, Word
from tasks.regions import merge

# Speech this near to a word, in seconds, counts as covered by it: regions are padded and bridge short pauses.
COVER_MARGIN_S = 1.0
LOW_CONFIDENCE = 0.6
# Whisper's own bound: text that compresses better than this repeats itself.
REPETITIVE_COMPRESSION_RATIO = 2.4
UNCOVERED_SHARE = 0.1
UNCOVERED_MIN_S = 3.0
# Codecs that work in blocks, and headers that round, are this far from the length that is declared.
TRUNCATED_SHARE = 0.01
TRUNCATED_MIN_S = 1.0


def assess(
    regions: Sequence[tuple[Region, ...]],
    channels: Sequence[int],
    utterances: Sequence[Utterance],
    recording: Sequence[str] = (),
    set_aside_words: int = 0,
) -> Quality:
    """Compare words with speech, and list the reasons for a person to look.

    Args:
        regions: for each channel of `channels`, where somebody speaks.
        channels: the file's channels, as utterances name them.
        utterances: what was found in the call.
        recording: reasons that lie in the recording itself, see `recording_reasons`.
        set_aside_words: how many words were written where nobody speaks, and kept out of the utterances.
    """
    speech_s = sum(region.duration_s for found in regions for region in found)
    uncovered_s = 0.0
    unsupported = 0
    for channel, found in zip(channels, regions, strict=True):
        words = [word for utterance in utterances if utterance.channel == channel for word in utterance.words]
        uncovered_s += uncovered_speech_s(found, words)
        unsupported += _unsupported(words, found)
    words = [word for utterance in utterances for word in utterance.words]
    confidence = sum(word.probability for word in words) / len(words) if words else None
    reasons = [*recording]
    if confidence is not None and confidence < LOW_CONFIDENCE:
        reasons.append("low_confidence")
    if uncovered_s > max(UNCOVERED_MIN_S, UNCOVERED_SHARE * speech_s):
        reasons.append("uncovered_speech")
    if unsupported:
        reasons.append("unsupported_words")
    if any(_is_repetitive(item) for item in utterances):
        reasons.append("repetitive_text")
    if any(item.flags for item in utterances):
        reasons.append("suspicious_words")
    if set_aside_words:
        reasons.append("set_aside_text")
    if any(item.speaker == UNKNOWN_SPEAKER for item in utterances):
        reasons.append("unknown_speaker")
    return Quality(
        speech_s=round(speech_s, 3),
        uncovered_speech_s=_seconds(min(uncovered_s, speech_s)),
        unsupported_words=unsupported,
        confidence=confidence,
        review_reasons=tuple(reasons),
    )


def recording_reasons(source: SourceFormat, duration_s: float) -> tuple[str, ...]:
    """Why a person should look at a recording, whatever was recognised in it."""
    reasons = []
    if is_truncated(source, duration_s):
        reasons.append("truncated_audio")
    if source.undecoded_s:
        reasons.append("damaged_audio")
    if source.undecoded_streams:
        reasons.append("missing_stream")
    return tuple(reasons)


def is_truncated(source: SourceFormat, duration_s: float) -> bool:
    """Whether a recording is clearly shorter than its header says."""
    declared_s = source.declared_s
    return declared_s is not None and declared_s - duration_s > max(TRUNCATED_MIN_S, TRUNCATED_SHARE * declared_s)


def _seconds(difference: float) -> float:
    """A difference of times that cannot be negative, but for the last bit of a float: never `-0.0` in a table."""
    return round(max(0.0, difference), 3)


def uncovered_speech_s(regions: Sequence[Region], words: Sequence[Word]) -> float:
    """Seconds of the regions that lie farther than the margin from every word."""
    covers = merge(Region(word.start - COVER_MARGIN_S, word.end + COVER_MARGIN_S) for word in words)
    uncovered = 0.0
    for region in regions:
        common = sum(
            max(0.0, min(region.end, cover.end) - max(region.start, cover.start))
            for cover in covers
            if cover.start < region.end and cover.end > region.start
        )
        uncovered += region.duration_s - common
    return uncovered


def _unsupported(words: Sequence[Word], regions: Sequence[Region]) -> int:
    """How many words have their middle outside every region."""
    starts = [region.start for region in regions]
    count = 0
    for word in words:
        middle = (word.start + word.end) / 2
        before = bisect_right(starts, middle) - 1
        if before < 0 or middle > regions[before].end:
            count += 1
    return count


def _is_repetitive(utterance: Utterance) -> bool:
    return utterance.compression_ratio > REPETITIVE_COMPRESSION_RATIO or "repetitive" in utterance.flags
