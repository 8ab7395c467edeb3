"""Pure: what outcomes and planned calls become as rows of the tables, and back."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from itertools import accumulate, pairwise

import numpy as np

from tasks.fingerprint import transcript_id
from tasks.records import (
    CallHints,
    CallRef,
    CallSignals,
    CopiedAudio,
    DenoiseTrial,
    Leg,
    Outcome,
    PlannedCall,
    Provenance,
    Utterance,
)
from tasks.schemas import CALLS, UTTERANCES, Row
from tasks.tables import NOTHING_SAID, ArrowTable, SpokenColumns, utterances_of

# Beyond these digits, a probability says nothing; all of them were a fifth of the data set.
_PROBABILITY_DIGITS = 4
_WORD_NUMBERS = ("start", "end", "probability")
_UTTERANCE_NUMBERS = tuple(field.name for field in UTTERANCES if field.type == "double")
_UTTERANCE_VALUES = tuple(name for name in UTTERANCES.names if name not in {*_UTTERANCE_NUMBERS, "words"})
_EMPTY = dict.fromkeys(CALLS.names)
# Columns that are fields of the record too.
_OF_AN_UTTERANCE = tuple(name for name in UTTERANCES.names if name not in {"call_id", "transcript_id", "words"})


@dataclass(frozen=True, slots=True)
class CallRows:
    """The rows of one outcome: one of `calls`, and those of `utterances` as a table.

    There are a thousand words in a call: as Python objects, they would take most of the time and memory of a job.
    """

    call: Row
    spoken: ArrowTable

    @property
    def utterances(self) -> tuple[Row, ...]:
        """The rows of `utterances`, made anew."""
        return tuple(self.spoken.to_pylist())


def rows_of(outcome: Outcome, provenance: Provenance) -> CallRows:
    """The rows that an outcome becomes."""
    call, transcript, failure = outcome.call, outcome.transcript, outcome.failure
    identity = transcript_id(call.call_id, outcome.audio_sha256, provenance)
    row: Row = _EMPTY | {
        "call_id": call.call_id,
        "transcript_id": identity,
        **audio_columns(outcome),
        "audio_sha256": outcome.audio_sha256,
        "audio_bytes": call.size_bytes,
        "started_at": call.started_at,
        "duration_s": outcome.duration_s,
        "channel_layout": outcome.layout,
        "outcome": outcome.kind,
        "loudness_lufs": outcome.loudness_lufs,
        "clipped_ratio": outcome.clipped_ratio,
        "preprocessing": list(outcome.preprocessing),
        "denoise_trials": [_trial_row(trial) for trial in outcome.denoise_trials],
        "bundle": provenance.bundle,
        "bundle_digest": provenance.bundle_digest,
        "fingerprint": provenance.fingerprint,
        "run_id": provenance.run_id,
        "job": provenance.job,
        "attempt": provenance.attempt,
        "device": provenance.device,
        "driver_version": provenance.driver_version,
        "compute_type": provenance.compute_type or None,
        "recognizer": provenance.recognizer,
        "instead": provenance.instead,
        "load_s": outcome.timings.load_s,
        "vad_s": outcome.timings.vad_s,
        "recognize_s": outcome.timings.recognize_s,
        "diarize_s": outcome.timings.diarize_s,
        "transcribed_at": provenance.transcribed_at,
        "attributes": list(call.attributes.items()),
    }
    if outcome.source is not None:
        row |= {
            "codec": outcome.source.codec,
            "container": outcome.source.container,
            "declared_duration_s": outcome.source.declared_s,
            "undecoded_s": outcome.source.undecoded_s,
            "sampling_rate": outcome.source.sampling_rate,
            "channels": outcome.source.channels,
            "streams": outcome.source.streams,
            "undecoded_streams": outcome.source.undecoded_streams,
            "channel_s": list(outcome.source.channel_s),
        }
    if outcome.signals is not None:
        row |= _signals_columns(outcome.signals)
    if outcome.layout == "separate":
        row["channel_roles"] = list(call.hints.channel_roles)
    if failure is not None:
        row |= {"error_code": failure.code, "error": failure.message}
    if transcript is None:
        return CallRows(row | {"transcript_sha256": transcript_digest(row)}, utterances_of(NOTHING_SAID))
    quality, metrics = transcript.quality, transcript.metrics
    row |= {
        "language": transcript.language,
        "language_probability": transcript.language_probability,
        "languages": list(transcript.languages.items()),
        "recognition": asdict(transcript.recognition),
        "set_aside": [asdict(one) for one in transcript.set_aside],
        "speakers": list(transcript.speakers),
        "speech_s": quality.speech_s,
        "uncovered_speech_s": quality.uncovered_speech_s,
        "unsupported_words": quality.unsupported_words,
        "confidence": quality.confidence,
        "review": quality.review,
        "review_reasons": list(quality.review_reasons),
        "talk_s": list(metrics.talk_s.items()),
        "overlap_s": metrics.overlap_s,
        "interruptions": metrics.interruptions,
        "interruptions_by": list(metrics.interruptions_by.items()),
        "reaction_s": list(metrics.reaction_s.items()),
        "longest_silence_s": metrics.longest_silence_s,
        "words": metrics.words,
        "words_per_minute": metrics.words_per_minute,
    }
    columns = _columns(transcript.utterances, call.call_id, identity)
    return CallRows(row | {"transcript_sha256": transcript_digest(row, columns)}, utterances_of(columns))


def audio_columns(outcome: Outcome | CopiedAudio) -> Row:
    """The columns that say where a recording lies; of a copy, they are all that is new."""
    call, digests = outcome.call, outcome.leg_sha256
    legs = [
        {
            "uri": leg.uri,
            "etag": leg.etag,
            "sha256": digests[index] if index < len(digests) else None,
            "bytes": leg.size_bytes,
        }
        for index, leg in enumerate(call.legs)
    ]
    return {"audio_uri": call.uri, "audio_etag": call.etag, "audio_legs": legs}


def transcript_digest(call: Row, said: SpokenColumns = NOTHING_SAID) -> str:
    """SHA-256 over what a call came to: its transcript_id and outcome, and every column of its utterances.

    In this order: the JSON of `[transcript_id, outcome, error_code]`; then of each utterance the JSON of a list of its
    columns that hold no floats, in order of the schema, with the texts and then the marks of overlap of its words in
    the place of `words`; and the float columns, in order, followed by start, end and probability of each word, as
    little-endian float64 (null is a quiet NaN).

    Args:
        call: row of `calls`.
        said: its utterances, in order of `index`.
    """
    digest = hashlib.sha256(json.dumps([call[name] for name in ("transcript_id", "outcome", "error_code")]).encode())
    numbers, times = (
        np.array([columns[name] for name in names], "<f8").T.tobytes()
        for columns, names in ((said.columns, _UTTERANCE_NUMBERS), (said.words, _WORD_NUMBERS))
    )
    of_utterance, of_word = 8 * len(_UTTERANCE_NUMBERS), 8 * len(_WORD_NUMBERS)
    places = list(pairwise(accumulate(said.lengths, initial=0)))
    nested = [[said.words[name][start:end] for start, end in places] for name in ("text", "overlap")]
    rows = zip(*(said.columns[name] for name in _UTTERANCE_VALUES), *nested, strict=True)
    for index, (values, (start, end)) in enumerate(zip(_encoded(rows), places, strict=True)):
        digest.update(values.encode())
        digest.update(numbers[index * of_utterance : (index + 1) * of_utterance])
        digest.update(times[start * of_word : end * of_word])
    return digest.hexdigest()


def _encoded(rows: Iterable[Sequence[object]]) -> list[str]:
    """The JSON of each of some lists that hold no objects; all are encoded in one go, which is faster."""
    marked = [part for row in rows for part in (row, {"": 0})]
    # A text cannot hold the mark, because the quotes in it are escaped.
    return [encoded.removeprefix(", ") for encoded in json.dumps(marked)[1:-1].split(', {"": 0}')[:-1]]


def planned_rows(work: Iterable[PlannedCall]) -> list[Row]:
    """The rows of a job's part of the plan."""
    return [
        {
            "call_id": planned.call.call_id,
            "month": planned.call.month,
            "key": planned.call.key,
            "uri": planned.call.uri,
            "etag": planned.call.etag,
            "size_bytes": planned.call.size_bytes,
            "legs": [asdict(leg) for leg in planned.call.legs],
            "started_at": planned.call.started_at,
            "language": planned.call.hints.language,
            "channel_roles": list(planned.call.hints.channel_roles),
            "speaker_count": planned.call.hints.speakers,
            "languages": list(planned.call.hints.languages),
            "hot_words": list(planned.call.hints.hot_words),
            "attributes": list(planned.call.attributes.items()),
            "shard": planned.shard,
            "attempt": planned.attempt,
            "known_sha256": planned.known_sha256,
            "fingerprint": planned.fingerprint,
        }
        for planned in work
    ]


def planned_calls(rows: Iterable[Row]) -> list[PlannedCall]:
    """What `planned_rows` wrote, back."""
    return [
        PlannedCall(
            call=CallRef(
                call_id=row["call_id"],
                month=row["month"],
                key=row["key"],
                uri=row["uri"],
                etag=row["etag"],
                size_bytes=row["size_bytes"],
                started_at=row["started_at"],
                hints=CallHints(
                    language=row["language"],
                    channel_roles=tuple(row["channel_roles"]),
                    speakers=row["speaker_count"],
                    # Null, as `legs` may be, in a plan that was written before there were these hints.
                    languages=tuple(row["languages"] or ()),
                    hot_words=tuple(row["hot_words"] or ()),
                ),
                attributes=dict(row["attributes"]),
                legs=tuple(Leg(**leg) for leg in row["legs"] or ()),
            ),
            shard=row["shard"],
            attempt=row["attempt"],
            known_sha256=row["known_sha256"],
            fingerprint=row["fingerprint"] or "",
        )
        for row in rows
    ]


def _signals_columns(signals: CallSignals) -> Row:
    return {
        "true_peak_dbtp": signals.true_peak_dbtp,
        "dc_offset": signals.dc_offset,
        "noise_floor_db": signals.noise_floor_db,
        "snr_db": signals.snr_db,
        "bandwidth_hz": signals.bandwidth_hz,
        "silence_ratio": signals.silence_ratio,
        "crosstalk_s": signals.crosstalk_s,
        "channel_correlation": signals.channel_correlation,
        "channel_signals": [asdict(channel) for channel in signals.channels],
    }


def _trial_row(trial: DenoiseTrial) -> Row:
    return {
        "channel": trial.channel,
        "snr_db": trial.snr_db,
        "probe_s": trial.probe_s,
        "recorded_avg_logprob": trial.recorded.avg_logprob,
        "recorded_coverage": trial.recorded.coverage,
        "denoised_avg_logprob": trial.denoised.avg_logprob,
        "denoised_coverage": trial.denoised.coverage,
        "applied": trial.applied,
    }


def _columns(utterances: Sequence[Utterance], call_id: str, identity: str) -> SpokenColumns:
    """The rows of `utterances` of a call."""
    columns = {name: [getattr(item, name) for item in utterances] for name in _OF_AN_UTTERANCE}
    columns |= {"call_id": [call_id] * len(utterances), "transcript_id": [identity] * len(utterances)}
    words = [word for item in utterances for word in item.words]
    probabilities = np.fromiter((word.probability for word in words), float, len(words))
    return SpokenColumns(
        columns,
        {
            "text": [word.text for word in words],
            "start": np.fromiter((word.start for word in words), float, len(words)),
            "end": np.fromiter((word.end for word in words), float, len(words)),
            "probability": probabilities.round(_PROBABILITY_DIGITS),
            "overlap": [word.overlap for word in words],
        },
        [len(item.words) for item in utterances],
    )
