"""The fallback recogniser: speech of calls to an endpoint, its answers to segments, as our own recogniser gives them.

What is sent is the speech of one channel alone, in chunks: where nobody speaks is not sent. Times are mapped back into
the call, words are held against the voices that our detector hears, and what was written where nobody speaks is set
aside, by the same rules as of Whisper on this machine. There are no second chances: each would be sent again.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field

from tasks.calibration import Calibration
from tasks.errors import FallbackRefused
from tasks.fallback_settings import FallbackSettings
from tasks.heard import CallSpeech, HeardChunk, chunks_of, one_channel, within
from tasks.hypotheses import Hypothesis, find_faults, why_no_speech
from tasks.languages import summarise
from tasks.records import CallHints, Recognition, RecognitionCounts, Region, Segment, SetAside, Word
from tasks.remote import Endpoint, longest_s
from tasks.remote_answers import Answer, AnsweredSegment, TimedWord
from tasks.setting_groups import RecognizerSettings
from tasks.tracks import Track
from tasks.words import within_voice

# Times of an endpoint's segments are rough: the voices so near to one, in seconds, may be its own.
AROUND_S = 1.0
APPROXIMATE_TIMES = "approximate_times"
# Of a language that neither the endpoint nor the archive names in a way that we know (ISO 639-2).
UNDETERMINED = "und"


@dataclass(slots=True)
class _CallState:
    """What is known of a call while its chunks are recognised."""

    segments: list[Segment] = field(default_factory=list)
    set_aside: list[SetAside] = field(default_factory=list)
    languages: list[str] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    counts: RecognitionCounts = field(default_factory=RecognitionCounts)
    error: Exception | None = None


class RemoteRecognizer:
    """An endpoint as a recogniser; nobody has calibrated its probabilities.

    Args:
        settings: where the endpoint is, and how it is asked.
        recognizer: words that may be said in any call.

    Raises:
        SettingsError: sound may not be sent there.
    """

    calibration = Calibration()

    def __init__(self, settings: FallbackSettings, recognizer: RecognizerSettings) -> None:
        self._settings = settings
        self._hot_words = recognizer.hot_words
        self._endpoint = Endpoint(settings)

    def prove(self) -> None:
        """Have silence transcribed.

        Raises:
            FallbackRefused: the endpoint is not there, refuses us, or does not answer as it must.
        """
        self._endpoint.prove()

    def transcribe(
        self, track: Track, regions: tuple[Region, ...], channel: int, language: str | None
    ) -> list[Segment]:
        """Transcribe the speech regions of one channel alone."""
        return one_channel(self.recognize, track, regions, channel, language)

    def recognize(self, calls: Sequence[CallSpeech]) -> list[Recognition | Exception]:
        """Recognise a pile of calls.

        Returns:
            for every call, in order, what was recognised, or the error that failed it and no other.

        Raises:
            FallbackRefused: the endpoint refuses us: it would refuse every call.
        """
        states = [_CallState() for _ in calls]
        refusals: list[FallbackRefused] = []
        asked: list[tuple[HeardChunk, Future[Answer | None]]] = []
        with ThreadPoolExecutor(self._settings.parallel, thread_name_prefix="fallback") as pool:
            for index, speech in enumerate(calls):
                try:
                    chunks = chunks_of(index, speech, longest_s(self._settings))
                except OSError as error:  # its sound cannot be read
                    states[index].error = error
                    continue
                asked += [(heard, pool.submit(self._ask, heard, states[index], refusals)) for heard in chunks]
        if refusals:
            raise refusals[0]
        for heard, future in asked:
            if (answer := future.result()) is not None:
                _take(answer, heard, states[heard.call])
        return [_recognition(state) for state in states]

    def _ask(self, heard: HeardChunk, state: _CallState, refusals: list[FallbackRefused]) -> Answer | None:
        """What the endpoint makes of a chunk; None where that is of no use any more.

        Nothing is sent of a call that has failed meanwhile, and nothing at all to who has refused us.
        """
        if state.error is not None or refusals:
            return None
        hot_words = (*self._hot_words, *heard.hints.hot_words)
        try:
            return self._endpoint.transcribe(heard.chunk.read(heard.source.track), _language(heard.hints), hot_words)
        except FallbackRefused as error:
            refusals.append(error)
        except Exception as error:  # noqa: BLE001  # whatever it is, it is this call's
            state.error = error
        return None


def _take(answer: Answer, heard: HeardChunk, state: _CallState) -> None:
    """Put what was answered of a chunk into its call."""
    language = _language(heard.hints) or answer.language or UNDETERMINED
    before = heard.chunk.start
    for segment in answer.segments:
        words, approximate = _words(segment, heard, language, before)
        if words:
            before = words[-1].end
            _keep(segment, heard, words, language, state, approximate=approximate)


def _language(hints: CallHints) -> str | None:
    """The language that an endpoint is told: the call's, or the only one that occurs."""
    return hints.language or (hints.languages[0] if len(hints.languages) == 1 else None)


def _words(segment: AnsweredSegment, heard: HeardChunk, language: str, before: float) -> tuple[tuple[Word, ...], bool]:
    """The words of a segment, with times in the call, one after the other; and whether these are guessed."""
    timed = segment.words
    approximate = timed is None
    if timed is None:
        timed = segment.spread(language)
    words: list[Word] = []
    for word in timed:
        start, end = _in_call(word, heard)
        start = max(start, before)
        before = max(start, end)
        probability = segment.probability if word.probability is None else word.probability
        words.append(Word(word.text, start, before, probability))
    return tuple(words), approximate


def _in_call(word: TimedWord, heard: HeardChunk) -> tuple[float, float]:
    return within_voice(*heard.chunk.in_call(word.start, word.end), heard.voices)


def _keep(
    answered: AnsweredSegment,
    heard: HeardChunk,
    words: tuple[Word, ...],
    language: str,
    state: _CallState,
    *,
    approximate: bool,
) -> None:
    """Put a segment into its call, or aside where nobody speaks."""
    near = [Region(words[0].start - AROUND_S, words[-1].end + AROUND_S)]
    voices = within(heard.voices, near)
    faults, missed_s = find_faults(words, answered.avg_logprob, answered.compression_ratio, voices, language=language)
    found = Hypothesis(
        words=words,
        text=answered.text,
        language=language,
        avg_logprob=answered.avg_logprob,
        no_speech_prob=answered.no_speech_prob,
        compression_ratio=answered.compression_ratio,
        faults=faults,
        missed_s=missed_s,
    )
    state.counts += RecognitionCounts(chunks=1)
    reason = why_no_speech(found, voices)
    start, end = words[0].start, words[-1].end
    if reason is not None:
        state.counts += RecognitionCounts(set_aside_words=len(words))
        state.set_aside.append(
            SetAside(heard.channel, start, end, found.text, reason, found.avg_logprob, found.no_speech_prob)
        )
        return
    state.counts += RecognitionCounts(suspicious=int(found.suspicious))
    state.languages.append(language)
    state.seconds.append(end - start)
    state.segments.append(
        Segment(
            channel=heard.channel,
            start=start,
            end=end,
            text=found.text,
            words=words,
            avg_logprob=found.avg_logprob,
            no_speech_prob=found.no_speech_prob,
            compression_ratio=found.compression_ratio,
            language=language,
            flags=(*faults, APPROXIMATE_TIMES) if approximate else faults,
        )
    )


def _recognition(state: _CallState) -> Recognition | Exception:
    if state.error is not None:
        return state.error
    found = summarise(state.languages, [None] * len(state.languages), state.seconds)
    return Recognition(
        segments=tuple(sorted(state.segments, key=lambda item: (item.start, item.channel))),
        language=found.language,
        language_probability=None,
        languages=found.shares,
        set_aside=tuple(state.set_aside),
        counts=state.counts,
    )
