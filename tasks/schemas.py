"""The schemas of the tables. Every column says its unit and meaning in its field metadata (`comment`).

Columns are only ever added. Imports pyarrow, as `tasks.tables` does, and no other module.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Literal, TypeAlias

import pyarrow as pa

from tasks.shards import Table

SCHEMA_VERSION = 1

_time = pa.timestamp("us", tz="UTC")
_text_map = pa.map_(pa.string(), pa.string())
_number_map = pa.map_(pa.string(), pa.float64())
_long_map = pa.map_(pa.string(), pa.int64())
_count_map = pa.map_(pa.string(), pa.int32())


Kind = Literal["text", "texts", "number", "count", "yes or no"]
"""What the columns of a plain table hold."""
_KINDS: Mapping[Kind, pa.DataType] = {
    "text": pa.string(),
    "texts": pa.list_(pa.string()),
    "number": pa.float64(),
    "count": pa.int64(),
    "yes or no": pa.bool_(),
}


def _column(name: str, kind: pa.DataType, comment: str) -> pa.Field:
    return pa.field(name, kind, metadata={"comment": comment})


def plain_schema(columns: Iterable[tuple[str, Kind, str]], metadata: Mapping[str, str] | None = None) -> pa.Schema:
    """The schema of a table that is no part of the data set.

    Args:
        columns: name, kind and meaning of each.
        metadata: what the file says of itself, by key.
    """
    return pa.schema([_column(name, _KINDS[kind], comment) for name, kind, comment in columns], metadata=metadata)


_CHANNEL_SIGNALS = pa.struct(
    [
        _column("channel", pa.int32(), "channel of the recording, from 0"),
        _column("loudness_lufs", pa.float64(), "integrated loudness (EBU R 128), LUFS; null when too quiet or short"),
        _column("true_peak_dbtp", pa.float64(), "true peak (ITU-R BS.1770), dBTP, from -120"),
        _column("clipped_ratio", pa.float64(), "share of samples at full scale, 0 to 1"),
        _column("dc_offset", pa.float64(), "mean of the samples, taken away; full scale is 1"),
        _column("noise_floor_db", pa.float64(), "tenth percentile of the power outside of speech, dBFS, from -120"),
        _column("snr_db", pa.float64(), "active speech over noise, dB, 0 to 60; null without speech or without pause"),
        _column("bandwidth_hz", pa.float64(), "highest frequency of speech, Hz, at most 8000; null without speech"),
        _column("silence_ratio", pa.float64(), "share of time outside of speech regions, 0 to 1"),
        _column("crosstalk_s", pa.float64(), "time of nothing but another channel's voice, seconds; no speech here"),
        _column("crosstalk_db", pa.float64(), "how loud that voice is here, relative to its own channel, dB; or null"),
        _column("crosstalk_delay_ms", pa.float64(), "how much later it comes, milliseconds; or null"),
        _column("crosstalk_source", pa.int32(), "the channel that it comes from, from 0; or null"),
    ]
)

_DENOISE_TRIAL = pa.struct(
    [
        _column("channel", pa.int32(), "channel of the recording, from 0"),
        _column("snr_db", pa.float64(), "SNR that made it a candidate, dB"),
        _column("probe_s", pa.float64(), "speech that was recognised both ways, seconds"),
        _column("recorded_avg_logprob", pa.float64(), "mean log-probability of the words, as recorded; null without"),
        _column("recorded_coverage", pa.float64(), "share of the speech that has words, as recorded, 0 to 1"),
        _column("denoised_avg_logprob", pa.float64(), "… with noise reduced"),
        _column("denoised_coverage", pa.float64(), "… with noise reduced"),
        _column("applied", pa.bool_(), "whether the transcript was made from the reduced sound"),
    ]
)

_RECOGNITION = pa.struct(
    [
        _column("chunks", pa.int32(), "pieces of speech that were decoded"),
        _column("retried", pa.int32(), "… of them suspicious or saying something twice, and heard again"),
        _column("improved", pa.int32(), "… of those that have another text for it"),
        _column("suspicious", pa.int32(), "chunks that remained suspicious"),
        _column("set_aside_words", pa.int32(), "words that were written where nobody speaks, or that are an echo"),
    ]
)

_SET_ASIDE = pa.struct(
    [
        _column("channel", pa.int32(), "channel of the recording, from 0"),
        _column(
            "start",
            pa.float64(),
            "start of what it was heard in (an echo: of its words), seconds from the start of the call",
        ),
        _column(
            "end",
            pa.float64(),
            "end of what it was heard in (an echo: of its words), seconds from the start of the call",
        ),
        _column("text", pa.string(), "what the recogniser wrote"),
        _column(
            "reason",
            pa.string(),
            "no_voice (no voice is heard), no_speech or no_words (the decoder doubts it), echo (of another channel)",
        ),
        _column("avg_logprob", pa.float64(), "the decoder's mean log-probability of it"),
        _column("no_speech_prob", pa.float64(), "the decoder's probability of no speech, 0 to 1"),
    ]
)

_LEG = pa.struct(
    [
        _column("uri", pa.string(), "where the file lies"),
        _column("etag", pa.string(), "ETag of the object that was read; empty where it was not there"),
        _column("sha256", pa.string(), "SHA-256 of its bytes; null when they could not be read"),
        _column("bytes", pa.int64(), "size of the object, bytes"),
    ]
)

CALLS = pa.schema(
    [
        _column("call_id", pa.string(), "identity of the call; one row per call and month"),
        _column("transcript_id", pa.string(), "identity of the transcript; joins `utterances`"),
        _column("audio_uri", pa.string(), "where the recording lies; of several files, the first"),
        _column("audio_etag", pa.string(), "ETag of the object that was read; of several files, one made of theirs"),
        _column(
            "audio_sha256",
            pa.string(),
            "SHA-256 of the bytes that were read, of several files that of their digests; null when they could not be",
        ),
        _column("audio_bytes", pa.int64(), "size of the object, of several files their sum, bytes"),
        _column(
            "audio_legs",
            pa.list_(_LEG),
            "the files of a call that lies in several, in order of their channels; empty where it lies in one",
        ),
        _column("started_at", _time, "when the call began (UTC); null when the archive does not say"),
        _column("duration_s", pa.float64(), "length of the recording, seconds; null when it does not decode"),
        _column("declared_duration_s", pa.float64(), "length that the header states, seconds; or null"),
        _column("undecoded_s", pa.float64(), "sound that did not decode and is silence here, seconds; worst stream"),
        _column("codec", pa.string(), "codec of the recording, by FFmpeg's name"),
        _column("container", pa.string(), "container of the recording, by FFmpeg's name"),
        _column("sampling_rate", pa.int32(), "sampling rate of the recording, Hz"),
        _column("channels", pa.int32(), "channels of the recording, of all its audio streams"),
        _column("streams", pa.int32(), "audio streams of the recording"),
        _column("undecoded_streams", pa.int32(), "audio streams of which nothing decodes, and that are silence here"),
        _column(
            "channel_s",
            pa.list_(pa.float64()),
            "length of each channel before it was filled up, seconds; empty where they are alike",
        ),
        _column(
            "channel_layout", pa.string(), "mono; dual_mono, one_sided (treated as mono); separate (one a speaker)"
        ),
        _column("channel_roles", pa.list_(pa.string()), "what each channel carries, where channels are separate"),
        _column("outcome", pa.string(), "transcribed, no_speech or failed"),
        _column("error_code", pa.string(), "stable code of the failure; null unless failed"),
        _column("error", pa.string(), "one sentence about the failure; null unless failed"),
        _column("language", pa.string(), "language of the call, ISO 639-1"),
        _column("language_probability", pa.float64(), "how sure the detection was, 0 to 1; null when it was given"),
        _column("languages", _number_map, "share of the speech in each language, 0 to 1"),
        _column(
            "speakers",
            pa.list_(pa.string()),
            "speakers: roles (several in a channel: agent_00, …), or clusters SPEAKER_00, …",
        ),
        _column("speech_s", pa.float64(), "detected speech, summed over channels, seconds"),
        _column("loudness_lufs", pa.float64(), "integrated loudness of the recording (EBU R 128), LUFS"),
        _column("clipped_ratio", pa.float64(), "share of samples at full scale, 0 to 1"),
        _column("true_peak_dbtp", pa.float64(), "true peak (ITU-R BS.1770), dBTP, from -120; loudest channel"),
        _column(
            "dc_offset",
            pa.float64(),
            "mean of the samples, taken away; full scale is 1; of the channel with most",
        ),
        _column("noise_floor_db", pa.float64(), "power outside of speech (tenth percentile), dBFS; noisiest channel"),
        _column("snr_db", pa.float64(), "active speech over noise, dB, 0 to 60; worst channel with speech"),
        _column("bandwidth_hz", pa.float64(), "highest frequency of speech, Hz, at most 8000; narrowest channel"),
        _column("silence_ratio", pa.float64(), "share of time without speech on any channel, 0 to 1"),
        _column("crosstalk_s", pa.float64(), "another channel's voice, set aside, summed over channels, seconds"),
        _column("channel_correlation", pa.float64(), "correlation of the two channels, -1 to 1; null when not two"),
        _column("channel_signals", pa.list_(_CHANNEL_SIGNALS), "the measurements of each channel that was kept"),
        _column("preprocessing", pa.list_(pa.string()), "steps done to the sound before the models, in order"),
        _column("denoise_trials", pa.list_(_DENOISE_TRIAL), "evidence on noise reduction, where it was tried"),
        _column("recognition", _RECOGNITION, "how many chunks were decoded, again, and to what end"),
        _column(
            "set_aside",
            pa.list_(_SET_ASIDE),
            "text that the recogniser wrote where nobody speaks; kept out of utterances",
        ),
        _column("uncovered_speech_s", pa.float64(), "speech that no word covers, seconds"),
        _column("unsupported_words", pa.int32(), "words without speech under them"),
        _column("confidence", pa.float64(), "mean word probability, 0 to 1; null without words"),
        _column("review", pa.bool_(), "whether a person should look"),
        _column("review_reasons", pa.list_(pa.string()), "why a person should look"),
        _column("talk_s", _number_map, "talk time of each speaker, seconds"),
        _column("overlap_s", pa.float64(), "time in which two or more talk, seconds"),
        _column("interruptions", pa.int32(), "times that somebody starts while another speaks and goes on after"),
        _column("interruptions_by", _count_map, "… by each speaker"),
        _column(
            "reaction_s",
            _number_map,
            "median time that each speaker takes to answer, seconds; below zero: the other still speaks",
        ),
        _column("longest_silence_s", pa.float64(), "longest time between utterances, seconds"),
        _column("words", pa.int32(), "words in the transcript"),
        _column("words_per_minute", pa.float64(), "words per minute of talk; null without talk"),
        _column("bundle", pa.string(), "name of the model bundle"),
        _column("bundle_digest", pa.string(), "digest of the model bundle's files, SHA-256"),
        _column("fingerprint", pa.string(), "hash of everything that can change the transcript"),
        _column("run_id", pa.string(), "run that wrote the row; sorts by the time of planning"),
        _column("job", pa.int32(), "job of the run"),
        _column("attempt", pa.int32(), "try at these bytes, from 1"),
        _column("device", pa.string(), "device that ran the models"),
        _column("driver_version", pa.string(), "version of its driver; null of a CPU"),
        _column("compute_type", pa.string(), "number format that the recogniser computed in; null where nobody knows"),
        _column(
            "recognizer",
            pa.string(),
            "who recognised: whisper (the bundle's, on the device), or openai:HOST/MODEL (the fallback); null: whisper",
        ),
        _column(
            "instead",
            pa.string(),
            "cpu or fallback, where that was used instead of what was planned (run.without_gpu); else null",
        ),
        _column("load_s", pa.float64(), "fetching, decoding and preparing, wall seconds"),
        _column("vad_s", pa.float64(), "speech detection, wall seconds"),
        _column("recognize_s", pa.float64(), "recognition, wall seconds"),
        _column("diarize_s", pa.float64(), "diarization, wall seconds"),
        _column(
            "transcript_sha256", pa.string(), "SHA-256 of transcript_id, outcome and utterances; `callscribe verify`"
        ),
        _column("transcribed_at", _time, "when the row was made (UTC)"),
        _column("text_removed_at", _time, "when its utterances were removed because of their age (UTC); else null"),
        _column("last_attempt_at", _time, "a later try that failed and left this row standing: when (UTC)"),
        _column("last_attempt_run_id", pa.string(), "… in which run"),
        _column("last_attempt_etag", pa.string(), "… at which ETag"),
        _column("last_attempt_error_code", pa.string(), "… with which code"),
        _column("last_attempt_error", pa.string(), "… with which sentence"),
        _column("last_attempt", pa.int32(), "… the how manieth at those bytes"),
        _column("attributes", _text_map, "what the archive's key or manifest says beyond the known columns"),
    ]
)

_WORD = pa.struct(
    [
        _column("text", pa.string(), "the word as the recogniser wrote it"),
        _column("start", pa.float64(), "start, seconds from the start of the call"),
        _column("end", pa.float64(), "end, seconds from the start of the call"),
        _column("probability", pa.float64(), "the recogniser's probability, 0 to 1, to four decimals"),
        _column("overlap", pa.bool_(), "whether somebody else talks in its time"),
    ]
)

UTTERANCES = pa.schema(
    [
        _column("call_id", pa.string(), "identity of the call"),
        _column("transcript_id", pa.string(), "identity of the transcript; joins `calls`"),
        _column("index", pa.int32(), "number of the utterance in its call, from 0, by start"),
        _column(
            "speaker",
            pa.string(),
            "role (several in a channel: agent_00, …), or anonymous cluster SPEAKER_00, …, or UNKNOWN",
        ),
        _column("channel", pa.int32(), "channel of the recording, from 0"),
        _column("start", pa.float64(), "start, seconds from the start of the call"),
        _column("end", pa.float64(), "end, seconds from the start of the call"),
        _column("text", pa.string(), "what was said"),
        _column("translation", pa.string(), "… in English, where that was asked for; else null"),
        _column("language", pa.string(), "language, ISO 639-1"),
        _column("confidence", pa.float64(), "mean word probability, 0 to 1"),
        _column("avg_logprob", pa.float64(), "the decoder's mean log-probability of the segment it lies in"),
        _column("no_speech_prob", pa.float64(), "the decoder's probability of no speech, 0 to 1"),
        _column("compression_ratio", pa.float64(), "gzip ratio of the segment's text; high means repetition"),
        _column("overlap", pa.bool_(), "whether somebody else talks in the time of one of its words"),
        _column(
            "flags",
            pa.list_(pa.string()),
            "doubts that are left about it: repetitive, unsure, too_fast, sparse, missed_speech, unsupported, "
            "approximate_times",
        ),
        _column("words", pa.list_(_WORD), "the words with their times"),
    ]
)

_PLANNED_LEG = pa.struct(
    [
        _column("key", pa.string(), "key in the archive"),
        _column("uri", pa.string(), "URI of the object"),
        _column("etag", pa.string(), "ETag that was listed"),
        _column("size_bytes", pa.int64(), "size, bytes"),
    ]
)

PLANNED = pa.schema(
    [
        _column("call_id", pa.string(), "identity of the call"),
        _column("month", pa.string(), "month of the call, YYYY-MM"),
        _column("key", pa.string(), "key in the archive"),
        _column("uri", pa.string(), "URI of the object"),
        _column("etag", pa.string(), "ETag that was listed"),
        _column("size_bytes", pa.int64(), "size, bytes"),
        _column("legs", pa.list_(_PLANNED_LEG), "the files of a call that lies in several; empty where it lies in one"),
        _column("started_at", _time, "when the call began (UTC)"),
        _column("language", pa.string(), "language hint"),
        _column("channel_roles", pa.list_(pa.string()), "role of each channel"),
        _column("speaker_count", pa.int32(), "speaker count hint"),
        _column("languages", pa.list_(pa.string()), "languages that may occur; empty: any"),
        _column("hot_words", pa.list_(pa.string()), "names and terms that may be said"),
        _column("attributes", _text_map, "other fields of the key"),
        _column("shard", pa.int32(), "shard of the call"),
        _column("attempt", pa.int32(), "try at these bytes, from 1"),
        _column("known_sha256", pa.string(), "digest of bytes that have a good transcript"),
        _column("fingerprint", pa.string(), "fingerprint of the transcript that it is to get"),
    ]
)

_PASSAGE = pa.struct(
    [
        _column("start", pa.float64(), "when it begins in the new transcript, seconds from the start of the call"),
        _column("before", pa.string(), "words of the old transcript, normalised; empty where some were added"),
        _column("after", pa.string(), "words of the new transcript, normalised; empty where some are gone"),
    ]
)


def _both(name: str, kind: pa.DataType, comment: str) -> tuple[pa.Field, pa.Field]:
    """A column of the old row, and the same of the new one."""
    return _column(f"{name}_before", kind, f"{comment}, before"), _column(f"{name}_after", kind, "… after")


CHANGES = pa.schema(
    [
        _column("call_id", pa.string(), "identity of the call"),
        _column("run_id", pa.string(), "the backfill"),
        *_both("transcript_id", pa.string(), "identity of the transcript"),
        *_both("run_id_of_row", pa.string(), "run that wrote the row"),
        *_both("outcome", pa.string(), "outcome"),
        *_both("error_code", pa.string(), "code of the failure"),
        *_both("bundle", pa.string(), "name of the model bundle"),
        *_both("fingerprint", pa.string(), "fingerprint of the transcript"),
        *_both("language", pa.string(), "language of the call"),
        *_both("words", pa.int32(), "normalised words"),
        _column("words_kept", pa.int32(), "words of the old transcript that stand in the new one too"),
        _column("words_replaced", pa.int32(), "words that are others now"),
        _column("words_lost", pa.int32(), "words that are gone"),
        _column("words_added", pa.int32(), "words that are new"),
        _column("word_changes", pa.float64(), "replaced, lost and added words for each old one; null without old ones"),
        _column("passages", pa.list_(_PASSAGE), "the first passages that changed"),
        *_both("speakers", pa.list_(pa.string()), "speakers"),
        _column("words_moved", pa.int32(), "words that were kept and are given to another speaker"),
        _column("values_lost", pa.list_(pa.string()), "amounts and numbers, dates, times that are gone, by value"),
        _column("values_added", pa.list_(pa.string()), "… that are new"),
        *_both("confidence", pa.float64(), "mean word probability, 0 to 1"),
        *_both("review", pa.bool_(), "whether a person should look"),
        *_both("uncovered_speech_s", pa.float64(), "speech that no word covers, seconds"),
        *_both("unsupported_words", pa.int32(), "words without speech under them"),
        *_both("overlap_s", pa.float64(), "time in which two or more talk, seconds"),
        *_both("interruptions", pa.int32(), "interruptions"),
        *_both("longest_silence_s", pa.float64(), "longest time between utterances, seconds"),
        *_both("words_per_minute", pa.float64(), "words per minute of talk"),
    ]
)
"""What a backfill changed, a row for each call that it did anew."""

CHECKPOINT = CALLS.append(_column("utterances", pa.list_(pa.struct(list(UTTERANCES))), "its rows of `utterances`"))

RUNS = pa.schema(
    [
        _column("number", pa.int32(), "number of the certificate, from 1; one row per certificate"),
        _column("kind", pa.string(), "what was done: run, backfill, erasure, retention, mending, …"),
        _column("run_id", pa.string(), "which run (or erasure) it was; joins `calls`"),
        _column("month", pa.string(), "month that it was about, YYYY-MM; null where it was about several"),
        _column("began_at", _time, "when it was planned (UTC)"),
        _column("ended_at", _time, "when the certificate was written (UTC)"),
        _column(
            "latest", pa.bool_(), "whether no later certificate is about the same run: add up counts of these only"
        ),
        _column("final", pa.bool_(), "whether the run was over, and not to be gone on with"),
        _column("adopted", pa.bool_(), "whether another process had begun it, so that `wall_s` is not all of its time"),
        _column("accounted", pa.bool_(), "whether every listed object was in exactly one place"),
        _column(
            "listed_objects", pa.int64(), "objects of the archive that were listed; a call in several files counts once"
        ),
        _column("listed_bytes", pa.int64(), "… their size, bytes"),
        _column("planned", pa.int64(), "calls that were work"),
        _column("planned_bytes", pa.int64(), "… their size, bytes"),
        _column("reasons", _long_map, "why they were work: calls by reason"),
        _column("estimated_hours", pa.float64(), "audio hours of them, as their size suggested"),
        _column("transcribed", pa.int64(), "calls that it transcribed"),
        _column("no_speech", pa.int64(), "calls in which it found no speech"),
        _column("failed", pa.int64(), "calls that failed"),
        _column("errors", _long_map, "calls that failed, by error code"),
        _column("instead", _long_map, "transcribed and silent calls that were done otherwise than planned, by how"),
        _column("copied", pa.int64(), "objects whose bytes already had a transcript"),
        _column("superseded", pa.int64(), "calls that a run planned later had done meanwhile"),
        _column("standing", pa.int64(), "calls that needed nothing"),
        _column("standing_failed", pa.int64(), "… of them failed for good, or too often"),
        _column("erased", pa.int64(), "calls that were erased: by it, or before or during the run"),
        _column("ambiguous", pa.int64(), "objects whose call_id others claimed too"),
        _column("unmatched", pa.int64(), "objects whose key the template does not read"),
        _column("missing", pa.int64(), "calls that were planned and had no row"),
        _column("removed", pa.int64(), "calls whose object was no longer in the archive; their rows are kept"),
        _column("other_fingerprints", pa.int64(), "calls that stand under other settings or models than its own"),
        _column("audio_s", pa.float64(), "audio that was transcribed or found silent, seconds"),
        _column("wall_s", pa.float64(), "time that the process took that wrote the certificate, seconds"),
        _column("worker_s", pa.float64(), "time that workers worked on its jobs, seconds"),
        _column("quoted_worker_s", pa.float64(), "… as it was quoted before the run"),
        _column("worker_hour_price", pa.float64(), "price of an hour of a worker, where it was set"),
        _column("currency", pa.string(), "… in which currency"),
        _column("jobs", pa.int32(), "jobs of the plan"),
        _column("bundle", pa.string(), "name of the model bundle"),
        _column("bundle_digest", pa.string(), "digest of the model bundle's files, SHA-256"),
        _column("compute_type", pa.string(), "number format that the recogniser computed in"),
        _column("fingerprint", pa.string(), "hash of the settings and models of calls without hints of their own"),
        _column("inventory_digest", pa.string(), "digest of what was listed, SHA-256"),
        _column("archive", pa.string(), "URI of the archive"),
        _column("versions", _text_map, "versions of packages"),
    ]
)
"""The view `runs`; it is made of the certificates, and is no file."""

MAP_COLUMNS = frozenset(field.name for field in CALLS if pa.types.is_map(field.type))
"""Of `calls`: in a row, a map is a list of pairs."""
SCHEMAS: Mapping[Table, pa.Schema] = {"calls": CALLS, "utterances": UTTERANCES, "changes": CHANGES}
Row = dict[str, Any]
ArrowSchema: TypeAlias = pa.Schema
"""For the annotations of those who do not import pyarrow."""


View = Literal["calls", "utterances", "words", "changes", "runs"]
VIEWS: Mapping[View, str] = {
    "calls": "one row per call, whatever its outcome",
    "utterances": "one row per utterance",
    "words": "one row per word",
    "changes": "one row per call that a backfill did anew: what that changed",
    "runs": "one row per certificate: runs, backfills, erasures, retentions",
}
_MONTH = _column("month", pa.string(), "month of the call, YYYY-MM; a query that names it reads the files of it alone")


def column_rows(name: View) -> list[tuple[str, str, str]]:
    """Every column of a view as (name, type, meaning), for the documentation; of a table without `month`."""
    return [(field.name, str(field.type), field.metadata[b"comment"].decode()) for field in _view_schema(name)]


def comments(name: View) -> dict[str, str]:
    """What each column of a view means, `month` included."""
    found = {column: text for column, _, text in column_rows(name)}
    return found if name == "runs" else found | {"month": _MONTH.metadata[b"comment"].decode()}


def with_month(name: Table) -> pa.Schema:
    """The schema of a table with the month, which is not in the files but in their names."""
    return SCHEMAS[name].append(_MONTH)


def _view_schema(name: View) -> pa.Schema:
    if name == "words":
        spoken = [UTTERANCES.field(column) for column in ("call_id", "transcript_id", "speaker", "channel")]
        spoken.insert(2, _column("utterance", pa.int32(), "number of the utterance in its call: `index` there"))
        return pa.schema([*spoken, *_WORD])
    return RUNS if name == "runs" else SCHEMAS[name]
