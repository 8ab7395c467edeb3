"""Builders of records for the tests: each gives a whole, plausible record, of which a test names only what it is about.

Whatever is not a parameter of its own can be given by the name of the record's field:
`utterance("hello", overlap=True)`, `call_ref("call-7", size_bytes=0)`.
"""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime

from tasks.records import (
    CallMetrics,
    CallRef,
    CallSignals,
    ChannelSignals,
    Diarization,
    Failure,
    Outcome,
    PlannedCall,
    Provenance,
    Quality,
    RecognitionCounts,
    Region,
    Segment,
    SourceFormat,
    StageTimings,
    Transcript,
    Turn,
    Utterance,
    Word,
)

STARTED_AT = datetime(2026, 10, 5, 9, 30, tzinfo=UTC)
TRANSCRIBED_AT = datetime(2026, 11, 1, 2, 0, tzinfo=UTC)
SHA256 = "5e" * 32
FINGERPRINT = "f1" * 8
WORD_S = 0.4


def word(text: str = "hello", start: float = 0.0, end: float | None = None, probability: float = 0.9) -> Word:
    """One word; 0.4 s long unless its end is given."""
    return Word(text, start, start + WORD_S if end is None else end, probability)


def words(text: str, start: float = 0.0, end: float | None = None, probability: float = 0.9) -> tuple[Word, ...]:
    """The words of a text, spread evenly and without gaps from start to end; 0.4 s each unless an end is given."""
    parts = text.split()
    step = WORD_S if end is None else (end - start) / len(parts)
    return tuple(
        Word(part, round(start + step * index, 3), round(start + step * (index + 1), 3), probability)
        for index, part in enumerate(parts)
    )


def segment(*words: Word, channel: int = 0, **changes: object) -> Segment:
    """An English segment around words (`hello` when none are given), of which nothing is suspicious."""
    held = words or (word(),)
    plain = Segment(
        channel=channel,
        start=held[0].start,
        end=held[-1].end,
        text=" ".join(item.text for item in held),
        words=held,
        avg_logprob=-0.2,
        no_speech_prob=0.01,
        compression_ratio=1.2,
    )
    return replace(plain, **changes)


def region(start: float = 0.0, end: float = 1.0) -> Region:
    """A stretch of speech, one second long by default."""
    return Region(start, end)


def turn(start: float = 0.0, end: float = 1.0, speaker: str = "SPEAKER_00") -> Turn:
    """A speech turn, one second long by default."""
    return Turn(start, end, speaker)


def diarization(*turns: Turn) -> Diarization:
    """Turns of which none overlap."""
    return Diarization(tuple(sorted(turns)), tuple(sorted(turns)))


def utterance(
    text: str = "hello world",
    start: float = 0.0,
    end: float | None = None,
    speaker: str = "SPEAKER_00",
    **changes: object,
) -> Utterance:
    """An utterance whose words fill it evenly; 0.4 s for each word unless its end is given."""
    held = words(text, start, end)
    plain = Utterance(
        index=0,
        speaker=speaker,
        channel=0,
        start=start,
        end=held[-1].end if end is None else end,
        text=text,
        words=held,
        language="en",
        confidence=0.9,
        avg_logprob=-0.2,
        no_speech_prob=0.01,
        compression_ratio=1.2,
        overlap=False,
    )
    return replace(plain, **changes)


def call_ref(call_id: str = "call-1", **changes: object) -> CallRef:
    """A call of October 2026; key, URI and ETag follow from its id."""
    key = f"2026/10/05/{call_id}.wav"
    plain = CallRef(
        call_id=call_id,
        month="2026-10",
        key=key,
        uri=f"s3://archive/{key}",
        etag=f'"etag-of-{call_id}"',
        size_bytes=96_000,
        started_at=STARTED_AT,
    )
    return replace(plain, **changes)


def planned_call(call: CallRef | str = "call-1", **changes: object) -> PlannedCall:
    """A first attempt at a call (or at the plain call of that id), in shard 0."""
    plain = PlannedCall(call_ref(call) if isinstance(call, str) else call, shard=0, attempt=1, fingerprint=FINGERPRINT)
    return replace(plain, **changes)


def source_format(**changes: object) -> SourceFormat:
    """Mono mu-law in a WAV file."""
    return replace(SourceFormat("pcm_mulaw", "wav", sampling_rate=8000, channels=1, declared_s=12.0), **changes)


def channel_signals(**changes: object) -> ChannelSignals:
    """One good channel of the telephone."""
    plain = ChannelSignals(
        channel=0,
        loudness_lufs=-27.5,
        true_peak_dbtp=-3.0,
        clipped_ratio=0.0,
        dc_offset=0.0,
        noise_floor_db=-60.0,
        snr_db=30.0,
        bandwidth_hz=3500.0,
        silence_ratio=0.2,
    )
    return replace(plain, **changes)


def call_signals(*channels: ChannelSignals, **changes: object) -> CallSignals:
    """The signals of a call of these channels (of one good one when none are given)."""
    return replace(CallSignals(channels or (channel_signals(),), 0.2, None), **changes)


def quality(**changes: object) -> Quality:
    """Nothing to complain of."""
    plain = Quality(speech_s=1.0, uncovered_speech_s=0.0, unsupported_words=0, confidence=0.9, review_reasons=())
    return replace(plain, **changes)


def call_metrics(**changes: object) -> CallMetrics:
    """One speaker, two words."""
    plain = CallMetrics(
        talk_s={"SPEAKER_00": 0.8},
        overlap_s=0.0,
        interruptions=0,
        interruptions_by={"SPEAKER_00": 0},
        reaction_s={},
        longest_silence_s=0.0,
        words=2,
        words_per_minute=150.0,
    )
    return replace(plain, **changes)


def transcript(utterances: Sequence[Utterance] | None = None, **changes: object) -> Transcript:
    """A transcript of the given utterances, numbered in their order; one plain utterance when none are named.

    `transcript([])` is that of a call without speech.
    """
    given = (utterance(),) if utterances is None else utterances
    held = tuple(replace(item, index=index) for index, item in enumerate(given))
    plain = Transcript(
        utterances=held,
        language="en" if held else None,
        language_probability=0.98 if held else None,
        speakers=tuple(sorted({item.speaker for item in held})),
        quality=quality() if held else quality(speech_s=0.0, confidence=None),
        metrics=call_metrics() if held else call_metrics(talk_s={}, words=0, words_per_minute=None),
        languages={"en": 1.0} if held else {},
        recognition=RecognitionCounts(chunks=len(held)),
    )
    return replace(plain, **changes)


def failure(code: str = "processing_error", message: str = "RuntimeError: it broke", **changes: object) -> Failure:
    """A failure for a passing reason."""
    return replace(Failure(code, message, transient=True), **changes)


def outcome(call: CallRef | str = "call-1", **changes: object) -> Outcome:
    """A transcribed call (or the plain call of that id); with `failure=…` a failed one that decoded.

    `outcome(transcript=transcript([]))` is a call without speech.
    """
    plain = Outcome(
        call=call_ref(call) if isinstance(call, str) else call,
        audio_sha256=SHA256,
        source=source_format(),
        duration_s=12.0,
        layout="mono",
        loudness_lufs=-27.5,
        clipped_ratio=0.0,
        preprocessing=("channels(mono: 0 of 1)", "resample(soxr_hq: 8000 to 16000 Hz)"),
        transcript=None if changes.get("failure") is not None else transcript(),
        failure=None,
        timings=StageTimings(load_s=0.1, vad_s=0.2, recognize_s=1.5, diarize_s=0.5),
        signals=call_signals(),
    )
    return replace(plain, **changes)


def provenance(**changes: object) -> Provenance:
    """A first attempt, in job 0 of a run, on a CPU."""
    plain = Provenance(
        run_id="20261101T020000Z-abcdef",
        job=0,
        bundle="starter",
        bundle_digest="b0" * 32,
        device="a cpu",
        compute_type="int8",
        fingerprint=FINGERPRINT,
        attempt=1,
        transcribed_at=TRANSCRIBED_AT,
    )
    return replace(plain, **changes)
