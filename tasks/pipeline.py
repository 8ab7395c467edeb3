"""The straight line: calls in, outcomes out. The one place where an error becomes a row.

Loading (fetch, decode, prepare, find speech, measure) of the next calls runs in threads while the models work on these,
and so does diarization on a GPU (`tasks.diarization_queue`).
Calls are recognised in piles, so that the model's batches are full; what is loaded lies on scratch disk, of a pile and
the next one. A call can fail; nothing that happens to one call touches another.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from itertools import count
from pathlib import Path
from shutil import rmtree

from tasks.attempts import Attempt, outcome_of, stage
from tasks.attribute import UNKNOWN_SPEAKER, attribute
from tasks.conversation import measure
from tasks.decoder import DecoderPool
from tasks.denoise import HeardChannel, choose
from tasks.devices import automatic_loaders
from tasks.diarization_queue import DiarizationQueue, channel_speakers
from tasks.echoed_words import Echoes, level_of, set_echoes_aside
from tasks.errors import ProcessingError, UsageError
from tasks.heard import CHUNKS_AT_A_TIME, CallSpeech, ChannelSpeech
from tasks.loading import MOST_CROSSING, Fetch, load
from tasks.models import Models, prove
from tasks.quality import assess, recording_reasons
from tasks.records import (
    CopiedAudio,
    Outcome,
    PlannedCall,
    Recognition,
    RecognitionCounts,
    Region,
    StageTimings,
    Transcript,
    Utterance,
)
from tasks.scratch import scratch_folder
from tasks.settings import Settings
from tasks.translate import Spoken, translate, wanted
from tasks.utterances import to_utterances
from tasks.vad import total_s

__all__ = ["Fetch", "process"]

# Calls are recognised together up to so many, or until they hold so many chunks' worth of speech; and loaded ahead as
# long as what lies on scratch disk is estimated to last so long, in seconds.
PILE_CALLS = 32
PILE_CHUNKS = CHUNKS_AT_A_TIME
AHEAD_S = 7200.0


def process(
    work: Iterable[PlannedCall], fetch: Fetch, models: Models, settings: Settings
) -> Generator[Outcome | CopiedAudio]:
    """Transcribe calls, one after another, in order; every call gives exactly one outcome.

    Args:
        work: the calls; taken as they are needed.
        fetch: how their bytes are had.
        models: loaded models.
        settings: how to process.

    Raises:
        UsageError: something around the calls is wrong; what was not yielded was not done.
    """
    loaders = settings.run.loader_threads or automatic_loaders(models.device)
    with (
        scratch_folder() as scratch,
        DecoderPool(settings.decoder.limits()) as decoders,
        DiarizationQueue(models, settings) as queue,
        _loaders(loaders) as pool,
    ):
        numbers = count()

        def loaded(planned: PlannedCall) -> Attempt:
            attempt = Attempt(planned, Path(scratch, str(next(numbers))))
            stage(attempt, lambda: load(attempt, fetch, decoders, settings))
            if attempt.failure or attempt.copied:
                rmtree(attempt.scratch, ignore_errors=True)  # its turn may be hours away
            return attempt

        for pile in _piles(_ahead(pool, loaded, work, loaders, settings), settings):
            _recognize_pile(pile, models, queue, settings)
            for attempt in pile:
                if not attempt.copied:
                    stage(attempt, partial(_transcribe, attempt, models, queue, settings))
                    queue.forget(attempt)
                    _require_device(attempt, models)
                rmtree(attempt.scratch, ignore_errors=True)
                yield CopiedAudio(attempt.planned.call, str(attempt.sha256)) if attempt.copied else outcome_of(attempt)


@contextmanager
def _loaders(threads: int) -> Iterator[ThreadPoolExecutor]:
    """Threads that load calls; whatever ends the pipeline, what none of them has begun is not loaded any more."""
    pool = ThreadPoolExecutor(threads)
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)


def _require_device(attempt: Attempt, models: Models) -> None:
    """After a call that a library failed on a GPU, make sure that it was the call: a dead GPU would fail all others.

    Raises:
        DeviceError: the device does not run the models any more; the call has no outcome.
    """
    if models.device.kind == "cuda" and attempt.failure is not None and attempt.failure.code == ProcessingError.code:
        prove(models)


def _ahead(
    pool: ThreadPoolExecutor,
    load: Callable[[PlannedCall], Attempt],
    work: Iterable[PlannedCall],
    loaders: int,
    settings: Settings,
) -> Iterator[Future[Attempt]]:
    """Submit calls in order, as far ahead of the one that is handed out as fits onto scratch disk.

    That is as many calls as a pile holds, as long as they are estimated to last no more than `AHEAD_S` together; and
    in any case one for each loader.
    """
    calls = iter(work)
    pending: deque[tuple[Future[Attempt], float]] = deque()

    def fill() -> None:
        while len(pending) < PILE_CALLS:
            if len(pending) >= loaders and sum(length for _, length in pending) >= AHEAD_S:
                return
            planned = next(calls, None)
            if planned is None:
                return
            pending.append((pool.submit(load, planned), planned.call.size_bytes / settings.run.bytes_per_second))

    fill()
    while pending:
        ready, _ = pending.popleft()
        fill()
        yield ready


def _piles(futures: Iterator[Future[Attempt]], settings: Settings) -> Iterator[list[Attempt]]:
    """Loaded calls in piles that fill the model's batches: so many calls, or so much speech, or so much sound."""
    pile: list[Attempt] = []
    speech_s = sound_s = 0.0
    for future in futures:
        try:
            attempt = future.result()
        except UsageError:
            # The run stops here; what was loaded before is still done.
            if pile:
                yield pile
            raise
        pile.append(attempt)
        speech_s += sum(total_s(regions) for regions in attempt.regions)
        sound_s += attempt.duration_s or 0.0
        enough_s = PILE_CHUNKS * settings.recognizer.chunk_s
        if len(pile) >= PILE_CALLS or speech_s >= enough_s or sound_s >= AHEAD_S:
            yield pile
            pile, speech_s, sound_s = [], 0.0, 0.0
    if pile:
        yield pile


def _recognize_pile(pile: Sequence[Attempt], models: Models, queue: DiarizationQueue, settings: Settings) -> None:
    """Recognise the calls of a pile that were loaded; whatever goes wrong with one is its own failure."""
    for attempt in pile:
        if not attempt.copied:
            stage(attempt, partial(_choose_sound, attempt, models, settings))
    sound = [attempt for attempt in pile if attempt.failure is None and not attempt.copied]
    for attempt in sound:
        queue.begin(attempt)
    started = time.monotonic()
    try:
        results: Sequence[Recognition | Exception] = models.recognizer.recognize([_speech(one) for one in sound])
    except UsageError:
        raise
    except Exception as error:  # noqa: BLE001  # not known to be one call's fault: all calls get another try
        results = [error] * len(sound)
    spent = time.monotonic() - started
    seconds = [sum(total_s(regions) for regions in attempt.regions) for attempt in sound]
    for attempt, result, length in zip(sound, results, seconds, strict=True):
        stage(attempt, partial(_take, attempt, result))
        attempt.timings += StageTimings(recognize_s=spent * length / sum(seconds) if length else 0.0)


def _choose_sound(attempt: Attempt, models: Models, settings: Settings) -> None:
    """For every channel, the recorded sound or the one with noise reduced."""
    started = time.monotonic()
    prepared = attempt.sound
    for index, measured in enumerate(attempt.signals.channels if attempt.signals else ()):
        channel = HeardChannel(
            prepared.tracks[index],
            attempt.denoised[index],
            attempt.regions[index],
            index,
            measured.channel,
            measured.snr_db,
        )
        track, trial = choose(models.recognizer, channel, attempt.planned.call.hints.language, settings.audio)
        attempt.heard.append(track)
        attempt.trials += [trial] if trial else []
    if attempt.trials:
        attempt.timings += StageTimings(recognize_s=time.monotonic() - started)


def _speech(attempt: Attempt) -> CallSpeech:
    channels = zip(attempt.heard, attempt.regions, attempt.voices, strict=True)
    return CallSpeech(
        tuple(ChannelSpeech(track, regions, voices) for track, regions, voices in channels), attempt.planned.call.hints
    )


def _take(attempt: Attempt, result: Recognition | Exception) -> None:
    if isinstance(result, Exception):
        raise result
    attempt.recognition = result


def _transcribe(attempt: Attempt, models: Models, queue: DiarizationQueue, settings: Settings) -> None:
    """Words to speakers and utterances, and what can be said of them."""
    recognition, prepared, hints = attempt.recognition, attempt.sound, attempt.planned.call.hints
    if recognition is None:  # pragma: no cover  # a call that did not fail was recognised
        return
    diarizations = queue.result_of(attempt)
    started = time.monotonic()
    segments, echoes, counts = recognition.segments, Echoes(), recognition.counts
    if prepared.layout == "separate":
        speakers = channel_speakers(prepared, hints.channel_roles)
        if settings.audio.set_crosstalk_aside and len(prepared.tracks) <= MOST_CROSSING:
            segments, echoes = set_echoes_aside(segments, level_of(prepared.tracks))
            counts += RecognitionCounts(set_aside_words=echoes.words)
    else:
        speakers = [UNKNOWN_SPEAKER]
    spoken = attribute(segments, speakers, diarizations)
    utterances = to_utterances(spoken.words, prepared.source_channels, settings.utterances)
    utterances = _translated(utterances, attempt, models, settings)
    attempt.timings += StageTimings(recognize_s=time.monotonic() - started)
    attempt.transcript = Transcript(
        utterances=utterances,
        language=recognition.language if utterances else None,
        language_probability=recognition.language_probability if utterances else None,
        speakers=tuple(sorted({item.speaker for item in utterances})),
        quality=assess(
            attempt.regions,
            prepared.source_channels,
            utterances,
            recording_reasons(prepared.source, prepared.duration_s),
            set_aside_words=counts.set_aside_words,
        ),
        metrics=measure(utterances, spoken.talks),
        languages=recognition.languages if utterances else {},
        set_aside=tuple(
            replace(item, channel=prepared.source_channels[item.channel])
            for item in (*recognition.set_aside, *echoes.set_aside)
        ),
        recognition=counts,
    )


def _translated(
    utterances: tuple[Utterance, ...], attempt: Attempt, models: Models, settings: Settings
) -> tuple[Utterance, ...]:
    """Utterances with translations, where these are asked for; what cannot be translated has none."""
    asked = [item for item in utterances if wanted(item.language, settings.recognizer.translate)]
    if not asked:
        return utterances
    tracks = dict(zip(attempt.sound.source_channels, attempt.heard, strict=True))
    hints = attempt.planned.call.hints
    spoken = [Spoken(tracks[item.channel], Region(item.start, item.end), str(item.language), hints) for item in asked]
    found = translate(models.recognizer, spoken, settings.recognizer.chunk_s)
    texts = dict(zip((item.index for item in asked), found, strict=True))
    return tuple(replace(item, translation=texts.get(item.index)) for item in utterances)
