"""What the recogniser is given, and what becomes of each chunk of it."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Protocol

from tasks.chunks import Chunk, cut
from tasks.hypotheses import Hypothesis
from tasks.languages import Odds
from tasks.records import CallHints, Recognition, Region, Segment
from tasks.tracks import Track
from tasks.whisper import Decoded, Decoding, Encoded

# What the encoder made of a chunk takes 3 MB (base) to 8 MB (large, float32); of so many chunks it is held at a time.
CHUNKS_AT_A_TIME = 64


@dataclass(frozen=True, slots=True)
class ChannelSpeech:
    """One channel of a call as the recogniser gets it.

    `regions` are what it hears, with padding; `voices` where the detector hears a voice, without: the evidence that
    words are held against. Both are ordered and disjoint.
    """

    track: Track
    regions: tuple[Region, ...]
    voices: tuple[Region, ...]


@dataclass(frozen=True, slots=True)
class CallSpeech:
    """A call as the recogniser gets it: its channels, and what is known about it."""

    channels: tuple[ChannelSpeech, ...]
    hints: CallHints = field(default_factory=CallHints)


def one_channel(
    recognize: Callable[[Sequence[CallSpeech]], list[Recognition | Exception]],
    track: Track,
    regions: tuple[Region, ...],
    channel: int,
    language: str | None,
) -> list[Segment]:
    """Let a recogniser hear the speech regions of one channel alone.

    Args:
        recognize: recognises a pile of calls, as its method of this name.
        track: the sound of the channel.
        regions: where it has speech; ordered and disjoint, in seconds.
        channel: its number in the call, from 0, for the segments.
        language: of the speech; None: the recogniser finds it out.

    Raises:
        Exception: whatever made the recogniser fail the call.
    """
    speech = CallSpeech((ChannelSpeech(track, regions, regions),), CallHints(language=language))
    (found,) = recognize([speech])
    if isinstance(found, Exception):
        raise found
    return [replace(segment, channel=channel) for segment in found.segments]


class Steps(Protocol):
    """The steps of a recogniser, as what works on chunks beside it needs them; each passes over chunks that failed."""

    def decoding(self) -> Decoding:
        """How text is decoded, by the settings."""

    def encode(self, load: Sequence[HeardChunk], pool: ThreadPoolExecutor) -> None:
        """Encode chunks; the pool's threads compute their spectra."""

    def detect(self, load: Sequence[HeardChunk]) -> None:
        """Find the odds of every language for encoded chunks."""

    def write(self, load: Sequence[HeardChunk]) -> None:
        """Decode encoded chunks whose language is known to texts, each in its own way."""

    def decode(self, load: Sequence[HeardChunk]) -> None:
        """Decode and align encoded chunks whose language is known; each then has a hypothesis."""


@dataclass(slots=True, eq=False)
class HeardChunk:
    """A chunk on its way through the recogniser, filled step by step.

    Attributes:
        call, channel: indices of the call in its pile and of the channel in its call.
        source: the channel.
        chunk: what of it is heard.
        hints: what is known of the call.
        whole: whether it is heard in a window of 30 s, however short it is.
        encoded: what the encoder made of it.
        odds: of the languages; None where the language was given.
        language: what it is decoded in.
        decoding: how; None means as settings say.
        decoded: its text.
        hypothesis: what stands as recognised.
        retried, improved: whether it was heard again, in a whole window or decoded in other ways, and whether what
            stands is another text for it.
        error: what failed it; nothing more is done with it.
    """

    call: int
    channel: int
    source: ChannelSpeech
    chunk: Chunk
    hints: CallHints = field(default_factory=CallHints)
    whole: bool = False
    encoded: Encoded | None = None
    odds: Odds | None = None
    language: str = ""
    decoding: Decoding | None = None
    decoded: Decoded | None = None
    hypothesis: Hypothesis | None = None
    retried: bool = False
    improved: bool = False
    error: Exception | None = None
    _voices: list[Region] | None = field(default=None, repr=False)

    @property
    def duration_s(self) -> float:
        """Seconds of sound."""
        return self.chunk.duration_s

    @property
    def voices(self) -> list[Region]:
        """Where a voice is heard in it, in order."""
        if self._voices is None:
            # A long channel has thousands of them, of which a chunk holds a few.
            all_of_them, start, end = self.source.voices, self.chunk.start, self.chunk.end
            first = max(bisect_left(all_of_them, Region(start, start)) - 1, 0)
            last = bisect_left(all_of_them, Region(end, end))
            self._voices = within(all_of_them[first:last], self.chunk.regions)
        return self._voices

    def part(self, chunk: Chunk, language: str = "", *, whole: bool = False) -> HeardChunk:
        """A part of it, to be heard alone."""
        return HeardChunk(self.call, self.channel, self.source, chunk, self.hints, whole=whole, language=language)

    def again(self, decoding: Decoding) -> HeardChunk:
        """The same sound, encoded as it is, to be decoded in another way."""
        same = self.part(self.chunk, self.language)
        same.encoded, same.decoding = self.encoded, decoding
        return same


def within(regions: Iterable[Region], others: Iterable[Region]) -> list[Region]:
    """What of some regions lies in others; both ordered and disjoint, as is the result."""
    found: list[Region] = []
    waiting = iter(others)
    other = next(waiting, None)
    for region in regions:
        while other is not None and other.end <= region.start:
            other = next(waiting, None)
        while other is not None and other.start < region.end:
            found.append(Region(max(region.start, other.start), min(region.end, other.end)))
            if other.end > region.end:
                break
            other = next(waiting, None)
    return found


def chunks_of(call: int, speech: CallSpeech, longest_s: float) -> list[HeardChunk]:
    """All chunks of a call, of all its channels, in order of time."""
    heard = [
        HeardChunk(call, channel, source, chunk, speech.hints)
        for channel, source in enumerate(speech.channels)
        for chunk in cut(source.track, source.regions, longest_s)
    ]
    return sorted(heard, key=lambda one: (one.chunk.start, one.channel))


def loads(calls: Iterable[list[HeardChunk]], most: int = CHUNKS_AT_A_TIME) -> Iterator[list[HeardChunk]]:
    """Chunks of many calls in loads of at most so many, in order; a call is parted only where it is longer than that.

    Where a call is parted does not depend on the calls before it.
    """
    load: list[HeardChunk] = []
    for chunks in calls:
        for start in range(0, len(chunks), most):
            part = chunks[start : start + most]
            if load and len(load) + len(part) > most:
                yield load
                load = []
            load = load + part
    if load:
        yield load
