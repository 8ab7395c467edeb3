"""From speech to words: faster-whisper over the speech regions of each channel, one loaded model for all calls."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from tasks.attribute import UNSPACED_LANGUAGES
from tasks.records import Region, Samples, Segment, Word
from tasks.setting_groups import RecognizerSettings
from tasks.tracks import MODEL_SAMPLING_RATE, Track

if TYPE_CHECKING:
    from faster_whisper import WhisperModel
    from faster_whisper.transcribe import Segment as WhisperSegment
    from faster_whisper.transcribe import Word as WhisperWord
    from faster_whisper.vad import SpeechTimestampsMap

WHISPER_WINDOW_S = 30.0
LANGUAGE_WINDOWS = 4
# Speech that is heard in one go, in seconds: its samples, spectrum and features take some 200 MB.
WINDOW_S = 600.0
# Pieces of one word are no further apart, in seconds.
LONGEST_GAP_S = 0.5
# Speech without a pause is cut at a quiet moment within so many seconds of the longest window.
CUT_WITHIN_S = 20.0


class Recognizer:
    """One loaded Whisper model, used for every call of the process.

    Args:
        model: the loaded model.
        settings: how to decode.
    """

    def __init__(self, model: WhisperModel, settings: RecognizerSettings) -> None:
        self._model = model
        self._settings = settings

    def prove(self) -> None:
        """Encode and decode a second of silence.

        Raises:
            RuntimeError, ValueError: the model cannot run on its device.
        """
        silence = np.zeros(MODEL_SAMPLING_RATE, dtype=np.float32)
        segments, _ = self._model.transcribe(silence, language="en", beam_size=1, temperature=0.0, max_new_tokens=4)
        list(segments)  # decoding is lazy

    def detect_language(
        self, tracks: Sequence[Track], regions: Sequence[tuple[Region, ...]]
    ) -> tuple[str | None, float | None]:
        """The language of a call (ISO 639-1) and its probability, from the first two minutes of speech; None without.

        One decision for the call: a channel with two words in it would be guessed at on its own.
        """
        spoken = [(track, found) for track, found in zip(tracks, regions, strict=True) if found]
        if not spoken:
            return None, None
        share_s = LANGUAGE_WINDOWS * WHISPER_WINDOW_S / len(spoken)
        speech = [_joined(track, first_s(found, share_s)) for track, found in spoken]
        language, probability, _ = self._model.detect_language(
            np.concatenate(speech), language_detection_segments=LANGUAGE_WINDOWS, language_detection_threshold=0.5
        )
        return language, float(probability)

    def transcribe(
        self, track: Track, regions: tuple[Region, ...], channel: int, language: str | None
    ) -> list[Segment]:
        """Transcribe the speech regions of one channel.

        Long calls are heard a window of `WINDOW_S` seconds of speech at a time, to bound memory.

        Returns:
            segments that have text, with times in the call; none where there is no speech.
        """
        return [
            segment
            for window in speech_windows(track, regions)
            for segment in self._transcribe(_joined(track, window), window, channel, str(language))
        ]

    def _transcribe(self, samples: Samples, regions: tuple[Region, ...], channel: int, language: str) -> list[Segment]:
        from faster_whisper.vad import SpeechTimestampsMap

        found, _ = self._model.transcribe(
            samples,
            language=language,
            beam_size=self._settings.beam_size,
            condition_on_previous_text=self._settings.condition_on_previous_text,
            word_timestamps=True,
            vad_filter=False,
        )
        chunks = [
            {"start": round(region.start * MODEL_SAMPLING_RATE), "end": round(region.end * MODEL_SAMPLING_RATE)}
            for region in regions
        ]
        times = SpeechTimestampsMap(chunks, MODEL_SAMPLING_RATE)
        return [_segment(item, channel, times, language) for item in found if item.text.strip()]


def ordered(segments: Iterable[Segment]) -> tuple[Segment, ...]:
    """Segments of all channels of a call, by start."""
    return tuple(sorted(segments, key=lambda item: (item.start, item.channel)))


def speech_windows(
    track: Track, regions: Sequence[Region], longest_s: float = WINDOW_S
) -> Iterator[tuple[Region, ...]]:
    """Regions in groups of at most so many seconds of speech; a longer region is cut where it is quietest."""
    window: list[Region] = []
    held_s = 0.0
    for region in regions:
        for piece in _pieces(track, region, longest_s):
            if window and held_s + piece.duration_s > longest_s:
                yield tuple(window)
                window, held_s = [], 0.0
            window.append(piece)
            held_s += piece.duration_s
    if window:
        yield tuple(window)


def first_s(regions: Sequence[Region], seconds: float) -> tuple[Region, ...]:
    """The first so many seconds of speech of a channel."""
    found: list[Region] = []
    left_s = seconds
    for region in regions:
        if left_s <= 0:
            break
        found.append(Region(region.start, min(region.end, region.start + left_s)))
        left_s -= region.duration_s
    return tuple(found)


def _pieces(track: Track, region: Region, longest_s: float) -> Iterator[Region]:
    """A region, or pieces of it that are no longer than that, cut at quiet moments."""
    start = region.start
    while region.end - start > longest_s:
        cut = _quietest(track, Region(start + longest_s - min(CUT_WITHIN_S, longest_s / 2), start + longest_s))
        yield Region(start, cut)
        start = cut
    yield Region(start, region.end)


def _quietest(track: Track, region: Region) -> float:
    """The middle of the quietest tenth of a second of a region."""
    samples = track.read_region(region)
    frame = MODEL_SAMPLING_RATE // 10
    powers = np.square(samples[: len(samples) // frame * frame].reshape(-1, frame)).mean(axis=1)
    return region.start + (int(np.argmin(powers)) + 0.5) / 10


def _joined(track: Track, regions: Iterable[Region]) -> Samples:
    """The speech of one channel, joined."""
    return np.concatenate([track.read_region(region) for region in regions])


def _segment(found: WhisperSegment, channel: int, times: SpeechTimestampsMap, language: str) -> Segment:
    aligned = [(word.word, _word(word, times)) for word in found.words or () if word.word.strip()]
    words = join_pieces(aligned, language) or (_whole(found, times),)
    return Segment(
        channel=channel,
        start=words[0].start,
        end=words[-1].end,
        text=found.text.strip(),
        words=words,
        avg_logprob=float(found.avg_logprob),
        no_speech_prob=float(found.no_speech_prob),
        compression_ratio=float(found.compression_ratio),
        temperature=float(found.temperature or 0.0),
    )


def join_pieces(pieces: Sequence[tuple[str, Word]], language: str) -> tuple[Word, ...]:
    """Join what the aligner cut inside a word: `$89` and `.95` are one word, `$89.95`.

    Whisper starts a word with a space; a piece without one belongs to the word before it, but for one that is said
    after a pause: two numbers that it wrote as one stay two. Languages that are written without spaces keep their
    pieces.

    Args:
        pieces: the piece as the recogniser wrote it, and the word made of it.
        language: ISO 639-1.
    """
    words: list[Word] = []
    for raw, word in pieces:
        joins = not raw.startswith(" ") and language not in UNSPACED_LANGUAGES
        if words and joins and word.start - words[-1].end <= LONGEST_GAP_S:
            before = words.pop()
            probability = min(before.probability, word.probability)
            words.append(Word(before.text + word.text, before.start, word.end, probability))
        else:
            words.append(word)
    return tuple(words)


def _word(found: WhisperWord, times: SpeechTimestampsMap) -> Word:
    start, end = _times_in_call(found.start, found.end, times)
    return Word(found.word.strip(), start, end, float(found.probability))


def _whole(found: WhisperSegment, times: SpeechTimestampsMap) -> Word:
    """A segment that the aligner found no words in, as one word: its text is not lost."""
    start, end = _times_in_call(found.start, found.end, times)
    return Word(found.text.strip(), start, end, min(1.0, math.exp(found.avg_logprob)))


def _times_in_call(start: float, end: float, times: SpeechTimestampsMap) -> tuple[float, float]:
    """Times in the joined speech as times in the call: both in the region that their middle lies in."""
    region = times.get_chunk_index((start + end) / 2)
    first = times.get_original_time(start, region)
    last = max(first, times.get_original_time(end, region))
    return round(float(first), 3), round(float(last), 3)
