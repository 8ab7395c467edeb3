"""From speech to words: chunks of many calls, packed into full batches of one Whisper model.

Every channel's speech is cut into chunks; those of all calls of a pile are encoded, their languages found and smoothed
over each call, and their texts decoded and aligned, each step in batches of like length. What a short window has
garbled is heard anew in a whole one; what is suspicious then is decoded again in other ways (`tasks.second_chances`),
and what was written where nobody speaks is set aside. What a chunk is recognised as does not depend on what else is in
its batches: on the CPU to the last bit, on a GPU but for the rounding of sums, which may turn a word now and then.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace

import numpy as np

from tasks.batches import Batches
from tasks.calibration import Calibration
from tasks.chunk_languages import find_languages
from tasks.devices import CPU_BATCH
from tasks.errors import ProcessingError
from tasks.heard import CallSpeech, HeardChunk, chunks_of, loads, one_channel
from tasks.hypotheses import Hypothesis, find_faults, says_twice, why_no_speech
from tasks.languages import UNSPACED_LANGUAGES, Odds, restrict, summarise
from tasks.records import Recognition, RecognitionCounts, Region, Segment, SetAside, Word
from tasks.second_chances import give_second_chances
from tasks.setting_groups import RecognizerSettings
from tasks.spectra import Spectra
from tasks.tracks import MODEL_SAMPLING_RATE, Track
from tasks.whisper import (
    FRAMES_PER_SECOND,
    WHOLE_WINDOW_S,
    WINDOW_FRAMES,
    Decoded,
    Decoding,
    Encoded,
    Piece,
    Spectrum,
    Whisper,
    window_frames,
)
from tasks.words import to_words

NO_CALIBRATION = Calibration()


@dataclass(slots=True)
class _CallState:
    """What is known of a call while its chunks are recognised."""

    segments: list[Segment] = field(default_factory=list)
    set_aside: list[SetAside] = field(default_factory=list)
    languages: list[str] = field(default_factory=list)
    odds: list[Odds | None] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    counts: RecognitionCounts = field(default_factory=RecognitionCounts)
    error: Exception | None = None


class Recognizer:
    """One loaded Whisper model, used for every call of the process.

    Args:
        whisper: the loaded model.
        settings: how to decode.
        batches: how many chunks go through the model at once; decides speed and memory, not the words.
        encoded_at_once: how many go through the encoder at once, at most.
        calibration: from the model's word probabilities to those that are right so often.
        least_window_s: of the windows that chunks are heard in (`tasks.whisper.window_frames`), where settings do not
            say it.
    """

    def __init__(
        self,
        whisper: Whisper,
        settings: RecognizerSettings,
        batches: Batches | None = None,
        encoded_at_once: int | None = None,
        calibration: Calibration = NO_CALIBRATION,
        least_window_s: float = WHOLE_WINDOW_S,
    ) -> None:
        self._whisper = whisper
        self._settings = settings
        self.batches = batches or Batches(CPU_BATCH)
        self._encoded_at_once = encoded_at_once
        self.calibration = calibration
        self._least_window_s = least_window_s

    def uncalibrated(self) -> Recognizer:
        """The same recogniser with the model's own word probabilities."""
        return Recognizer(
            self._whisper, self._settings, self.batches, self._encoded_at_once, least_window_s=self._least_window_s
        )

    def under(self, settings: RecognizerSettings) -> Recognizer:
        """The same model under other settings; those that concern its loading have no effect."""
        return Recognizer(
            self._whisper, settings, self.batches, self._encoded_at_once, self.calibration, self._least_window_s
        )

    def dimension(self) -> int:
        """The dimension of the model."""
        return self._whisper.dimension()

    def prove(self) -> None:
        """Encode, decode and align two seconds of silence.

        Raises:
            RuntimeError, ValueError: the model cannot run on its device.
        """
        silence = np.zeros(MODEL_SAMPLING_RATE, dtype=np.float32)
        encoded = self._whisper.encode([self._whisper.spectrum(silence, 2 * FRAMES_PER_SECOND)])
        self._whisper.languages(encoded)
        decoding = Decoding(beam_size=1)
        decoded = self._whisper.decode(encoded, [self._whisper.prompt("en", decoding)], decoding)
        self._whisper.align(encoded, decoded, [FRAMES_PER_SECOND], "en")

    def transcribe(
        self, track: Track, regions: tuple[Region, ...], channel: int, language: str | None
    ) -> list[Segment]:
        """Transcribe the speech regions of one channel alone; in the language that is found where none is given."""
        return one_channel(self.recognize, track, regions, channel, language)

    def recognize(self, calls: Sequence[CallSpeech]) -> list[Recognition | Exception]:
        """Recognise a pile of calls.

        Args:
            calls: with their channels.

        Returns:
            for every call, in order, what was recognised, or the error that failed it and no other.

        Raises:
            DeviceError: the device has no memory even for one chunk.
        """
        states = [_CallState() for _ in calls]
        with ThreadPoolExecutor(self._settings.feature_threads, thread_name_prefix="spectrum") as pool:
            for load in loads(self._chunks(calls, states)):
                self._recognize_load(load, states, pool)
        return [_recognition(state) for state in states]

    def _chunks(self, calls: Sequence[CallSpeech], states: Sequence[_CallState]) -> Iterable[list[HeardChunk]]:
        for index, speech in enumerate(calls):
            try:
                yield chunks_of(index, speech, self._settings.chunk_s)
            except OSError as error:  # its sound cannot be read
                states[index].error = error

    def _recognize_load(self, load: list[HeardChunk], states: Sequence[_CallState], pool: ThreadPoolExecutor) -> None:
        self.encode(load, pool)
        before = {heard.call: states[heard.call].languages[-1] for heard in load if states[heard.call].languages}
        load = find_languages(self, load, before, pool)
        self.decode(load)
        self._hear_in_whole_windows(load, pool)
        give_second_chances(self, load, pool)
        for heard in load:
            self._finish(heard, states[heard.call])

    def _hear_in_whole_windows(self, load: Sequence[HeardChunk], pool: ThreadPoolExecutor) -> None:
        """Hear chunks anew that were heard in shorter windows, and whose text shows that this did not do.

        That is where it says something twice, and where it is suspicious in any other way. What is heard in the whole
        window stands, unless that fails.
        """
        doubted = [
            heard
            for heard in load
            if heard.error is None
            and heard.hypothesis is not None
            and self._frames(heard) < WINDOW_FRAMES
            and (heard.hypothesis.suspicious or _says_twice(heard.hypothesis))
        ]
        anew = [heard.part(heard.chunk, heard.language, whole=True) for heard in doubted]
        self.encode(anew, pool)
        self.decode(anew)
        for heard, again in zip(doubted, anew, strict=True):
            heard.retried = True
            if again.error is None and again.hypothesis is not None and heard.hypothesis is not None:
                heard.improved = again.hypothesis.text != heard.hypothesis.text
                heard.encoded, heard.hypothesis = again.encoded, again.hypothesis

    # ------------------------------------------------------------------------------------------------- the steps

    def decoding(self) -> Decoding:
        """How text is decoded, by the settings."""
        return Decoding(beam_size=self._settings.beam_size)

    def encode(self, load: Sequence[HeardChunk], pool: ThreadPoolExecutor) -> None:
        """Encode chunks; worker threads compute the spectra of the next batches while the model runs."""
        ordered = sorted(load, key=lambda heard: -heard.duration_s)
        spectra = Spectra(pool, self._spectrum, ordered, 2 * self.batches.size * self.batches.workers)

        def step(batch: Sequence[HeardChunk]) -> None:
            found = self._whisper.encode([spectra.of(heard) for heard in batch])
            for heard, encoded in zip(batch, found, strict=True):
                heard.encoded = encoded
                spectra.done(heard)

        self._run(load, step, key=self._frames, most=self._encoded_at_once)

    def _frames(self, heard: HeardChunk) -> int:
        least_s = WHOLE_WINDOW_S if heard.whole else self._settings.least_window_s or self._least_window_s
        return window_frames(heard.duration_s, least_s)

    def _spectrum(self, heard: HeardChunk) -> Spectrum:
        return self._whisper.spectrum(heard.chunk.read(heard.source.track), self._frames(heard))

    def detect(self, load: Sequence[HeardChunk]) -> None:
        """Find the odds of every language for encoded chunks, among those that are allowed."""

        def step(batch: Sequence[HeardChunk]) -> None:
            found = self._whisper.languages([_encoded(heard) for heard in batch])
            for heard, odds in zip(batch, found, strict=True):
                heard.odds = restrict(odds, heard.hints.languages)

        self._run(load, step, key=_positions)

    def decode(self, load: Sequence[HeardChunk]) -> None:
        """Decode and align encoded chunks whose language is known; each then has a hypothesis."""
        self.write(load)

        def align(batch: Sequence[HeardChunk]) -> None:
            texts = [_decoded(heard) for heard in batch]
            frames = [max(1, round(heard.duration_s * FRAMES_PER_SECOND)) for heard in batch]
            pieces = self._whisper.align([_encoded(heard) for heard in batch], texts, frames, batch[0].language)
            for heard, text, found in zip(batch, texts, pieces, strict=True):
                heard.hypothesis = _hypothesis(heard, text, found)

        self._run(load, align, key=lambda heard: (heard.language, _positions(heard)))

    def write(self, load: Sequence[HeardChunk]) -> None:
        """Decode encoded chunks whose language is known, each in its own way; each then has a text."""
        plain = self.decoding()
        prompts: dict[HeardChunk, tuple[int, ...]] = {}
        for heard in load:
            hot_words = (*self._settings.hot_words, *heard.hints.hot_words)
            try:
                prompts[heard] = self._whisper.prompt(heard.language, heard.decoding or plain, hot_words)
            except ProcessingError as error:  # its call was said to be in a language that the model does not know
                heard.error = heard.error or error

        def write(batch: Sequence[HeardChunk]) -> None:
            found = self._whisper.decode(
                [_encoded(heard) for heard in batch],
                [prompts[heard] for heard in batch],
                batch[0].decoding or plain,
            )
            for heard, decoded in zip(batch, found, strict=True):
                heard.decoded = decoded

        self._run(load, write, key=lambda heard: (heard.decoding or plain, len(prompts[heard]), _positions(heard)))

    def _run(
        self,
        load: Sequence[HeardChunk],
        step: Callable[[Sequence[HeardChunk]], None],
        key: Callable[[HeardChunk], Hashable] = lambda _: None,
        most: int | None = None,
    ) -> None:
        """One step over all chunks that have not failed, in batches of like length."""

        def failed(heard: HeardChunk, error: Exception) -> None:
            heard.error = error

        sound = [heard for heard in load if heard.error is None]
        self.batches.run(sound, step, failed, key=key, length=lambda heard: heard.duration_s, most=most)

    # ----------------------------------------------------------------------------------------------- the results

    def _finish(self, heard: HeardChunk, state: _CallState) -> None:
        """Put what was recognised in a chunk into its call."""
        heard.encoded = None
        found = heard.hypothesis
        if heard.error is not None or found is None:
            state.error = state.error or heard.error or RuntimeError("a chunk was passed over")
            return
        state.counts += RecognitionCounts(chunks=1, retried=int(heard.retried), improved=int(heard.improved))
        if not found.words:
            return
        reason = why_no_speech(found, heard.voices)
        if reason is not None:
            state.counts += RecognitionCounts(set_aside_words=len(found.words))
            state.set_aside.append(
                SetAside(
                    channel=heard.channel,
                    start=heard.chunk.start,
                    end=heard.chunk.end,
                    text=found.text,
                    reason=reason,
                    avg_logprob=found.avg_logprob,
                    no_speech_prob=found.no_speech_prob,
                )
            )
            return
        state.languages.append(heard.language)
        state.odds.append(heard.odds)
        state.seconds.append(heard.duration_s)
        state.counts += RecognitionCounts(suspicious=int(found.suspicious))
        words = tuple(replace(word, probability=self.calibration.apply(word.probability)) for word in found.words)
        state.segments.append(
            Segment(
                channel=heard.channel,
                start=words[0].start,
                end=words[-1].end,
                text=found.text,
                words=words,
                avg_logprob=found.avg_logprob,
                no_speech_prob=found.no_speech_prob,
                compression_ratio=found.compression_ratio,
                language=heard.language,
                flags=found.faults,
            )
        )


def _recognition(state: _CallState) -> Recognition | Exception:
    if state.error is not None:
        return state.error
    found = summarise(state.languages, state.odds, state.seconds)
    return Recognition(
        segments=tuple(sorted(state.segments, key=lambda item: (item.start, item.channel))),
        language=found.language,
        language_probability=found.probability,
        languages=found.shares,
        set_aside=tuple(state.set_aside),
        counts=state.counts,
    )


def _hypothesis(heard: HeardChunk, text: Decoded, pieces: Sequence[Piece]) -> Hypothesis:
    """What stands as recognised in a chunk."""
    words = to_words(pieces, heard.chunk, heard.voices, heard.language)
    if not words and text.text.strip():
        # The aligner found no words: as one, the text is not lost.
        start, end = heard.chunk.in_call(0.0, heard.duration_s)
        words = (Word(text.text.strip(), start, end, min(1.0, math.exp(text.avg_logprob))),)
    faults, missed_s = find_faults(
        words, text.avg_logprob, text.compression_ratio, heard.voices, heard.duration_s, heard.language
    )
    return Hypothesis(
        words=words,
        text=text.text.strip(),
        language=heard.language,
        avg_logprob=text.avg_logprob,
        no_speech_prob=text.no_speech_prob,
        compression_ratio=text.compression_ratio,
        faults=faults,
        missed_s=missed_s,
    )


def _says_twice(found: Hypothesis) -> bool:
    return found.language not in UNSPACED_LANGUAGES and says_twice([word.text for word in found.words])


def _encoded(heard: HeardChunk) -> Encoded:
    if heard.encoded is None:  # pragma: no cover  # the steps come in order
        message = "a chunk is decoded before it is encoded"
        raise RuntimeError(message)
    return heard.encoded


def _positions(heard: HeardChunk) -> int:
    return len(_encoded(heard))


def _decoded(heard: HeardChunk) -> Decoded:
    if heard.decoded is None:  # pragma: no cover
        message = "a chunk is aligned before it is decoded"
        raise RuntimeError(message)
    return heard.decoded
