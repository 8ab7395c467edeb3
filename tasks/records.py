"""The frozen records that pass between the steps. Imports nothing of ours.

Times are float seconds from the start of the call, always `start` and `end`. Other quantities carry their unit in the
name. A changed record is a new record (`dataclasses.replace`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Samples = NDArray[np.float32]
"""Audio samples in [-1, 1]: shape `[sample]` for one channel, `[channel, sample]` for a call."""

OutcomeKind = Literal["transcribed", "no_speech", "failed"]
ChannelLayout = Literal["mono", "dual_mono", "one_sided", "separate"]


@dataclass(frozen=True, slots=True)
class CallHints:
    """What is known about a call before it is heard; part of its fingerprint.

    `channel_roles` names what each channel carries (`("agent", "customer")`); `speakers` is the number of people.
    `languages` are those that may occur (ISO 639-1; empty: any), where `language` does not name the one of the call.
    `hot_words` are names and terms that may be said.
    """

    language: str | None = None
    channel_roles: tuple[str, ...] = ()
    speakers: int | None = None
    languages: tuple[str, ...] = ()
    hot_words: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class CallRef:
    """One object of the archive that holds one call.

    `key` is relative to the archive's URI; `month` is `YYYY-MM`; `uri` is what the row will name.
    """

    call_id: str
    month: str
    key: str
    uri: str
    etag: str
    size_bytes: int
    started_at: datetime | None = None
    hints: CallHints = CallHints()
    attributes: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class SourceFormat:
    """What the file said of itself: codec name (FFmpeg's), container, native sampling rate and channel count.

    `declared_s` is the length that the header states, in seconds; None where it states none. `undecoded_s` are seconds
    in the middle that did not decode, and in whose place silence stands.

    A file may hold several audio streams, whose channels are those of the call, in order: `codec` then names each kind
    once (`aac+opus`), `sampling_rate` is the highest, and `undecoded_s` is that of the stream which lost most: of one
    that lost its end while others went on, also that; of one of which nothing decodes, the length of the call.
    `undecoded_streams` counts the latter. `channel_s` are the seconds of each channel, before silence was put in front
    of it and behind; empty where all are alike.
    """

    codec: str
    container: str
    sampling_rate: int
    channels: int
    declared_s: float | None = None
    undecoded_s: float = 0.0
    streams: int = 1
    undecoded_streams: int = 0
    channel_s: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class Audio:
    """Decoded audio of one call: `samples` is float32 `[channel, sample]` at `sampling_rate` Hz."""

    samples: Samples
    sampling_rate: int

    @property
    def channels(self) -> int:
        """The number of channels."""
        return int(self.samples.shape[0])

    @property
    def duration_s(self) -> float:
        """The length in seconds."""
        return float(self.samples.shape[1] / self.sampling_rate)


@dataclass(frozen=True, slots=True)
class ChannelLevels:
    """Levels of one channel before any gain.

    `loudness_lufs` is None when it holds nothing loud enough to measure; `true_peak_dbtp` is -inf for digital silence;
    `clipped_ratio` is the share of its samples at full scale. `dc_offset` is the mean that was taken away from it, in
    shares of full scale.
    """

    loudness_lufs: float | None
    true_peak_dbtp: float
    clipped_ratio: float
    dc_offset: float = 0.0


@dataclass(frozen=True, slots=True)
class ChannelSignals:
    """What one channel of a recording sounds like, before any gain and any noise reduction.

    `channel` is 0-based, of the file. Levels are in dB relative to full scale, from -120 (digital silence) up.
    `dc_offset` is the mean, in shares of full scale. `noise_floor_db` is the tenth percentile of the power outside of
    speech. `snr_db` is active speech (ITU-T P.56) over noise, from 0 to 60; None without speech, or without anything
    but speech. `bandwidth_hz` is how high speech reaches, at most 8000 and half the recording's sampling rate; None
    without speech. `silence_ratio` is the share of its time outside of speech regions. `crosstalk_s` are seconds of
    nothing but the voice of channel `crosstalk_source`, which is `crosstalk_db` (negative) louder here than there and
    comes `crosstalk_delay_ms` later.
    """

    channel: int
    loudness_lufs: float | None
    true_peak_dbtp: float
    clipped_ratio: float
    dc_offset: float
    noise_floor_db: float | None
    snr_db: float | None
    bandwidth_hz: float | None
    silence_ratio: float
    crosstalk_s: float = 0.0
    crosstalk_db: float | None = None
    crosstalk_delay_ms: float | None = None
    crosstalk_source: int | None = None


@dataclass(frozen=True, slots=True)
class CallSignals:
    """What a call sounds like: its kept channels, and one figure for the call, that of the worst channel.

    `silence_ratio` is the share of the call in which no channel holds speech. `channel_correlation` is that of the two
    channels of the file (-1 to 1, without delay); None when it has not two, or one of them is constant.
    """

    channels: tuple[ChannelSignals, ...]
    silence_ratio: float
    channel_correlation: float | None

    @property
    def snr_db(self) -> float | None:
        """The lowest SNR of the channels that hold speech."""
        return min((one.snr_db for one in self.channels if one.snr_db is not None), default=None)

    @property
    def noise_floor_db(self) -> float | None:
        """The highest noise floor of the channels."""
        return max((one.noise_floor_db for one in self.channels if one.noise_floor_db is not None), default=None)

    @property
    def dc_offset(self) -> float:
        """The DC offset of the channel that has most of it."""
        return max((one.dc_offset for one in self.channels), key=abs)

    @property
    def true_peak_dbtp(self) -> float:
        """The highest true peak of the channels."""
        return max(one.true_peak_dbtp for one in self.channels)

    @property
    def crosstalk_s(self) -> float:
        """Seconds of crosstalk in all channels together."""
        return sum(one.crosstalk_s for one in self.channels)

    @property
    def bandwidth_hz(self) -> float | None:
        """The narrowest band of the channels that hold speech."""
        return min((one.bandwidth_hz for one in self.channels if one.bandwidth_hz is not None), default=None)


@dataclass(frozen=True, slots=True, order=True)
class Region:
    """A stretch of speech in one channel."""

    start: float
    end: float

    @property
    def duration_s(self) -> float:
        """The length in seconds."""
        return self.end - self.start


@dataclass(frozen=True, slots=True)
class Word:
    """One recognised word; `text` as the recogniser wrote it, without surrounding space.

    `overlap` says that somebody else talks in its time.
    """

    text: str
    start: float
    end: float
    probability: float
    overlap: bool = False


@dataclass(frozen=True, slots=True)
class Segment:
    """What the recogniser decoded in one go, with its own measures of trust (Whisper's).

    `language` is ISO 639-1; `flags` say what is suspicious about it (`tasks.hypotheses.FAULTS`).
    """

    channel: int
    start: float
    end: float
    text: str
    words: tuple[Word, ...]
    avg_logprob: float
    no_speech_prob: float
    compression_ratio: float
    language: str = "en"
    flags: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class SetAside:
    """Text that the recogniser wrote where nobody speaks, or only an echo: kept out of the transcript, and not lost.

    `channel` is the index in the call; times are those of what it was heard in (of an echo, those of its
    words); `reason` says why.
    """

    channel: int
    start: float
    end: float
    text: str
    reason: str
    avg_logprob: float
    no_speech_prob: float


@dataclass(frozen=True, slots=True)
class RecognitionCounts:
    """How a call was recognised.

    `chunks` were decoded; `retried` of them were suspicious or said something twice, and were heard again; `improved`
    of those have another text for it; `suspicious` remained so. `set_aside_words` were written where nobody speaks,
    or are the echo of another channel's.
    """

    chunks: int = 0
    retried: int = 0
    improved: int = 0
    suspicious: int = 0
    set_aside_words: int = 0

    def __add__(self, other: RecognitionCounts) -> RecognitionCounts:
        """Add count by count."""
        return RecognitionCounts(
            self.chunks + other.chunks,
            self.retried + other.retried,
            self.improved + other.improved,
            self.suspicious + other.suspicious,
            self.set_aside_words + other.set_aside_words,
        )


@dataclass(frozen=True, slots=True)
class Recognition:
    """All segments of a call, ordered by start, with the languages they were decoded in.

    `language` is the one that most of the speech is in, `languages` the share of each, 0 to 1.
    """

    segments: tuple[Segment, ...]
    language: str | None
    language_probability: float | None
    languages: Mapping[str, float] = field(default_factory=dict)
    set_aside: tuple[SetAside, ...] = ()
    counts: RecognitionCounts = RecognitionCounts()


@dataclass(frozen=True, slots=True)
class ProbeScore:
    """How a recogniser takes a stretch of sound.

    `avg_logprob` is the mean log-probability of its words (None where it found none); `coverage` the share of the
    speech that has words, 0 to 1.
    """

    avg_logprob: float | None
    coverage: float


@dataclass(frozen=True, slots=True)
class DenoiseTrial:
    """The evidence for or against noise reduction in one channel.

    `channel` is 0-based, of the file; `snr_db` is what made it a candidate; `probe_s` the seconds of speech that were
    recognised both as `recorded` and `denoised`; `applied` says which of them the transcript was made from.
    """

    channel: int
    snr_db: float | None
    probe_s: float
    recorded: ProbeScore
    denoised: ProbeScore
    applied: bool


@dataclass(frozen=True, slots=True, order=True)
class Turn:
    """A speech turn of one anonymous speaker, from the diarizer."""

    start: float
    end: float
    speaker: str


@dataclass(frozen=True, slots=True)
class Diarization:
    """Who speaks when in one channel, ordered by start.

    `turns` of different speakers may overlap; in `exclusive` they do not: where two talk at once, the one who is more
    plainly heard has it.
    """

    turns: tuple[Turn, ...]
    exclusive: tuple[Turn, ...]


@dataclass(frozen=True, slots=True)
class Utterance:
    """A run of words of one speaker: what analysts read.

    `channel` is 0-based. `confidence` is the mean word probability. `overlap` says that somebody else talks in the
    time of one of its words. The three measures of trust and the language are those of the segment that holds most of
    its words, `flags` those of every segment that holds one. `translation` is into English, where that was asked for.
    """

    index: int
    speaker: str
    channel: int
    start: float
    end: float
    text: str
    words: tuple[Word, ...]
    language: str | None
    confidence: float
    avg_logprob: float
    no_speech_prob: float
    compression_ratio: float
    overlap: bool
    flags: tuple[str, ...] = ()
    translation: str | None = None


@dataclass(frozen=True, slots=True)
class CallMetrics:
    """How the conversation went.

    `talk_s` maps each speaker to seconds of talk; `overlap_s` is time with two or more talking; `interruptions` counts
    the times somebody starts while another speaks and takes the floor, `interruptions_by` whom each time it was;
    `reaction_s` maps each speaker who answers to the median seconds that it takes (`tasks.conversation`);
    `longest_silence_s` lies between utterances.
    """

    talk_s: Mapping[str, float]
    overlap_s: float
    interruptions: int
    interruptions_by: Mapping[str, int]
    reaction_s: Mapping[str, float]
    longest_silence_s: float
    words: int
    words_per_minute: float | None


@dataclass(frozen=True, slots=True)
class Quality:
    """What can be said of a transcript without a reference.

    `uncovered_speech_s` is speech that no word covers; `unsupported_words` counts words without speech under them;
    `review_reasons` says why a person should look.
    """

    speech_s: float
    uncovered_speech_s: float
    unsupported_words: int
    confidence: float | None
    review_reasons: tuple[str, ...]

    @property
    def review(self) -> bool:
        """Whether a person should look at this call."""
        return bool(self.review_reasons)


@dataclass(frozen=True, slots=True)
class Transcript:
    """Everything that the models found in one call."""

    utterances: tuple[Utterance, ...]
    language: str | None
    language_probability: float | None
    speakers: tuple[str, ...]
    quality: Quality
    metrics: CallMetrics
    languages: Mapping[str, float] = field(default_factory=dict)
    set_aside: tuple[SetAside, ...] = ()
    recognition: RecognitionCounts = RecognitionCounts()


@dataclass(frozen=True, slots=True)
class StageTimings:
    """Wall seconds that a call spent in each stage of the job (its share, where calls are handled together)."""

    load_s: float = 0.0
    vad_s: float = 0.0
    recognize_s: float = 0.0
    diarize_s: float = 0.0

    def __add__(self, other: StageTimings) -> StageTimings:
        """Add stage by stage."""
        return StageTimings(
            self.load_s + other.load_s,
            self.vad_s + other.vad_s,
            self.recognize_s + other.recognize_s,
            self.diarize_s + other.diarize_s,
        )

    @property
    def total_s(self) -> float:
        """All stages together."""
        return self.load_s + self.vad_s + self.recognize_s + self.diarize_s


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a call could not be processed: a stable code, a sentence, and whether another try may work."""

    code: str
    message: str
    transient: bool


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one attempt at one call.

    Exactly one of `transcript` and `failure` is set. What could not be found out before a failure is None.
    """

    call: CallRef
    audio_sha256: str | None
    source: SourceFormat | None
    duration_s: float | None
    layout: ChannelLayout | None
    loudness_lufs: float | None
    clipped_ratio: float | None
    preprocessing: tuple[str, ...]
    transcript: Transcript | None
    failure: Failure | None
    timings: StageTimings = StageTimings()
    signals: CallSignals | None = None
    denoise_trials: tuple[DenoiseTrial, ...] = ()

    @classmethod
    def not_processed(cls, call: CallRef, failure: Failure) -> Outcome:
        """The outcome of a call whose recording was never opened."""
        return cls(call, None, None, None, None, None, None, (), None, failure)

    @property
    def kind(self) -> OutcomeKind:
        """`failed`, or `transcribed` when there is at least one utterance, else `no_speech`."""
        if self.transcript is None:
            return "failed"
        return "transcribed" if self.transcript.utterances else "no_speech"


@dataclass(frozen=True, slots=True)
class PlannedCall:
    """A call that a run has to do.

    `attempt` counts tries at these bytes, from 1. `known_sha256` is the digest of the bytes that the data set already
    has a good transcript of, so that an object that was merely copied is not transcribed again. `fingerprint` is that
    of the transcript that it is to get.
    """

    call: CallRef
    shard: int
    attempt: int
    known_sha256: str | None = None
    fingerprint: str = ""


@dataclass(frozen=True, slots=True)
class CopiedAudio:
    """The outcome of a call whose object has a new ETag and the same bytes: its transcript stands."""

    call: CallRef
    audio_sha256: str


@dataclass(frozen=True, slots=True)
class Provenance:
    """What a row says of where it comes from; the same for every call of a job but `attempt` and `fingerprint`."""

    run_id: str
    job: int
    bundle: str
    bundle_digest: str
    device: str
    compute_type: str
    fingerprint: str
    attempt: int
    transcribed_at: datetime
    driver_version: str | None = None
