"""Pure: what outcomes and planned calls become as rows of the tables, and back."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass

import numpy as np

from tasks.fingerprint import transcript_id
from tasks.records import CallHints, CallRef, CallSignals, DenoiseTrial, Outcome, PlannedCall, Provenance, Utterance
from tasks.schemas import CALLS, UTTERANCES, Row

# Beyond these digits, a probability says nothing; all of them were a fifth of the data set.
_PROBABILITY_DIGITS = 4
_WORD_NUMBERS = ("start", "end", "probability")
_UTTERANCE_NUMBERS = tuple(field.name for field in UTTERANCES if field.type == "double")
_UTTERANCE_VALUES = tuple(name for name in UTTERANCES.names if name not in {*_UTTERANCE_NUMBERS, "words"})


@dataclass(frozen=True, slots=True)
class CallRows:
    """The rows of one outcome: one of `calls`, and those of `utterances`."""

    call: Row
    utterances: tuple[Row, ...]


def rows_of(outcome: Outcome, provenance: Provenance) -> CallRows:
    """The rows that an outcome becomes."""
    call, transcript, failure = outcome.call, outcome.transcript, outcome.failure
    identity = transcript_id(call.call_id, outcome.audio_sha256, provenance)
    row: Row = dict.fromkeys(CALLS.names)
    row |= {
        "call_id": call.call_id,
        "transcript_id": identity,
        "audio_uri": call.uri,
        "audio_etag": call.etag,
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
        "compute_type": provenance.compute_type,
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
        return CallRows(row | {"transcript_sha256": transcript_digest(row, ())}, ())
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
    # In one go: rounding each in Python would take as long as all else of a row.
    words = (word.probability for item in transcript.utterances for word in item.words)
    rounded = iter(np.round(np.fromiter(words, float), _PROBABILITY_DIGITS).tolist())
    utterances = tuple(_utterance_row(item, call.call_id, identity, rounded) for item in transcript.utterances)
    return CallRows(row | {"transcript_sha256": transcript_digest(row, utterances)}, utterances)


def transcript_digest(call: Row, utterances: Iterable[Row]) -> str:
    """SHA-256 over what a call came to: its transcript_id and outcome, and every column of its utterances.

    In this order: the JSON of `[transcript_id, outcome, error_code]`; then of each utterance the JSON of a list of its
    columns that hold no floats, in order of the schema, with the texts and then the marks of overlap of its words in
    the place of `words`; and the float columns, in order, followed by start, end and probability of each word, as
    little-endian float64 (null is a quiet NaN).

    Args:
        call: row of `calls`.
        utterances: its rows of `utterances`, in order of `index`.
    """
    digest = hashlib.sha256(json.dumps([call[name] for name in ("transcript_id", "outcome", "error_code")]).encode())
    for row in utterances:
        words = row["words"]
        values = [row[name] for name in _UTTERANCE_VALUES]
        values += [[word["text"] for word in words], [word["overlap"] for word in words]]
        numbers = [row[name] for name in _UTTERANCE_NUMBERS]
        numbers += [word[name] for word in words for name in _WORD_NUMBERS]
        digest.update(json.dumps(values).encode())
        digest.update(np.array(numbers, dtype="<f8").tobytes())
    return digest.hexdigest()


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
                    # Null in a plan that was written before there were these hints.
                    languages=tuple(row["languages"] or ()),
                    hot_words=tuple(row["hot_words"] or ()),
                ),
                attributes=dict(row["attributes"]),
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


def _utterance_row(utterance: Utterance, call_id: str, identity: str, probabilities: Iterator[float]) -> Row:
    return {
        "call_id": call_id,
        "transcript_id": identity,
        "index": utterance.index,
        "speaker": utterance.speaker,
        "channel": utterance.channel,
        "start": utterance.start,
        "end": utterance.end,
        "text": utterance.text,
        "translation": utterance.translation,
        "language": utterance.language,
        "confidence": utterance.confidence,
        "avg_logprob": utterance.avg_logprob,
        "no_speech_prob": utterance.no_speech_prob,
        "compression_ratio": utterance.compression_ratio,
        "overlap": utterance.overlap,
        "flags": list(utterance.flags),
        # Not by `asdict`: there are a thousand words in a call, and that would take most of the time of its rows.
        "words": [
            {
                "text": word.text,
                "start": word.start,
                "end": word.end,
                "probability": probability,
                "overlap": word.overlap,
            }
            # What comes first ends first, so that nothing of the next utterance's is taken.
            for word, probability in zip(utterance.words, probabilities, strict=False)
        ],
    }
