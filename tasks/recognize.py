"""From speech to words: faster-whisper over the speech regions of each channel, one loaded model for all calls."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from tasks.attribute import UNSPACED_LANGUAGES
from tasks.audio import MODEL_SAMPLING_RATE
from tasks.records import Recognition, Region, Samples, Segment, Word
from tasks.setting_groups import RecognizerSettings

if TYPE_CHECKING:
    from faster_whisper import WhisperModel
    from faster_whisper.transcribe import Segment as WhisperSegment
    from faster_whisper.transcribe import Word as WhisperWord
    from faster_whisper.vad import SpeechTimestampsMap


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

    def recognize(
        self, channels: Samples, regions: Sequence[tuple[Region, ...]], language: str | None = None
    ) -> Recognition:
        """Transcribe the speech regions of each channel of one call, in one language.

        Args:
            channels: `[channel, sample]` at 16 kHz.
            regions: for each channel, where somebody speaks.
            language: ISO 639-1; detected over the speech of all channels together when None.

        Returns:
            every segment that has text, ordered by start, with times in the call.
        """
        speech = [_collect(channel, found) for channel, found in zip(channels, regions, strict=True)]
        if not any(len(samples) for samples in speech):
            return Recognition((), language, None)
        probability: float | None = None
        if language is None:
            language, probability = self._detect_language(speech)
        segments = [
            segment
            for index, (samples, found) in enumerate(zip(speech, regions, strict=True))
            if len(samples)
            for segment in self._transcribe(samples, found, index, language)
        ]
        return Recognition(tuple(sorted(segments, key=lambda item: (item.start, item.channel))), language, probability)

    def _detect_language(self, speech: Sequence[Samples]) -> tuple[str, float]:
        # One decision for the call: a channel with two words in it would be guessed at on its own.
        language, probability, _ = self._model.detect_language(
            np.concatenate(speech), language_detection_segments=4, language_detection_threshold=0.5
        )
        return language, float(probability)

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


def _collect(channel: Samples, regions: tuple[Region, ...]) -> Samples:
    """The speech of one channel, joined."""
    pieces = [
        channel[round(region.start * MODEL_SAMPLING_RATE) : round(region.end * MODEL_SAMPLING_RATE)]
        for region in regions
    ]
    return np.concatenate(pieces) if pieces else np.zeros(0, dtype=np.float32)


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

    Whisper starts a word with a space; a piece without one belongs to the word before it. Languages that are written
    without spaces keep their pieces.

    Args:
        pieces: the piece as the recogniser wrote it, and the word made of it.
        language: ISO 639-1.
    """
    words: list[Word] = []
    for raw, word in pieces:
        if words and not raw.startswith(" ") and language not in UNSPACED_LANGUAGES:
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
    return round(first, 3), round(max(first, times.get_original_time(end, region)), 3)
