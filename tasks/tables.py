"""The two tables: their schemas, rows in and out, Parquet bytes. The only importer of pyarrow.

Every column says its unit and meaning in its field metadata (`comment`). Columns are only ever added.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as pads
import pyarrow.fs as pafs
import pyarrow.parquet as pq

from tasks.errors import QueryError
from tasks.fingerprint import transcript_id
from tasks.records import CallHints, CallRef, Outcome, PlannedCall, Provenance, Utterance
from tasks.shards import Table
from tasks.storage import DirectAccess, FolderAccess

SCHEMA_VERSION = 1
_VERSION_KEY = b"callscribe.schema_version"
_WRITE_KEY = b"callscribe.write_id"

_time = pa.timestamp("us", tz="UTC")
_text_map = pa.map_(pa.string(), pa.string())
_second_map = pa.map_(pa.string(), pa.float64())


def _column(name: str, kind: pa.DataType, comment: str) -> pa.Field:
    return pa.field(name, kind, metadata={"comment": comment})


CALLS = pa.schema(
    [
        _column("call_id", pa.string(), "identity of the call; one row per call and month"),
        _column("transcript_id", pa.string(), "identity of the transcript; joins `utterances`"),
        _column("audio_uri", pa.string(), "where the recording lies"),
        _column("audio_etag", pa.string(), "ETag of the object that was read"),
        _column("audio_sha256", pa.string(), "SHA-256 of the bytes that were read; null when they could not be"),
        _column("audio_bytes", pa.int64(), "size of the object, bytes"),
        _column("started_at", _time, "when the call began (UTC); null when the archive does not say"),
        _column("duration_s", pa.float64(), "length of the recording, seconds; null when it does not decode"),
        _column("codec", pa.string(), "codec of the recording, by FFmpeg's name"),
        _column("container", pa.string(), "container of the recording, by FFmpeg's name"),
        _column("sampling_rate", pa.int32(), "sampling rate of the recording, Hz"),
        _column("channels", pa.int32(), "channels of the recording"),
        _column(
            "channel_layout", pa.string(), "mono; dual_mono, one_sided (treated as mono); separate (one a speaker)"
        ),
        _column("channel_roles", pa.list_(pa.string()), "what each channel carries, where channels are separate"),
        _column("outcome", pa.string(), "transcribed, no_speech or failed"),
        _column("error_code", pa.string(), "stable code of the failure; null unless failed"),
        _column("error", pa.string(), "one sentence about the failure; null unless failed"),
        _column("language", pa.string(), "language of the call, ISO 639-1"),
        _column("language_probability", pa.float64(), "how sure the detection was, 0 to 1; null when it was given"),
        _column("speakers", pa.list_(pa.string()), "speakers: roles, or anonymous clusters SPEAKER_00, …"),
        _column("speech_s", pa.float64(), "detected speech, summed over channels, seconds"),
        _column("loudness_lufs", pa.float64(), "integrated loudness of the recording (EBU R 128), LUFS"),
        _column("clipped_ratio", pa.float64(), "share of samples at full scale, 0 to 1"),
        _column("preprocessing", pa.list_(pa.string()), "steps done to the sound before the models, in order"),
        _column("uncovered_speech_s", pa.float64(), "speech that no word covers, seconds"),
        _column("unsupported_words", pa.int32(), "words without speech under them"),
        _column("confidence", pa.float64(), "mean word probability, 0 to 1; null without words"),
        _column("review", pa.bool_(), "whether a person should look"),
        _column("review_reasons", pa.list_(pa.string()), "why a person should look"),
        _column("talk_s", _second_map, "talk time of each speaker, seconds"),
        _column("overlap_s", pa.float64(), "time in which two or more talk, seconds"),
        _column("interruptions", pa.int32(), "times that somebody starts while another speaks and goes on after"),
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
        _column("compute_type", pa.string(), "number format that the recogniser computed in"),
        _column("load_s", pa.float64(), "fetching, decoding and preparing, wall seconds"),
        _column("vad_s", pa.float64(), "speech detection, wall seconds"),
        _column("recognize_s", pa.float64(), "recognition, wall seconds"),
        _column("diarize_s", pa.float64(), "diarization, wall seconds"),
        _column("transcribed_at", _time, "when the row was made (UTC)"),
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
        _column("probability", pa.float64(), "the recogniser's probability, 0 to 1"),
    ]
)

UTTERANCES = pa.schema(
    [
        _column("call_id", pa.string(), "identity of the call"),
        _column("transcript_id", pa.string(), "identity of the transcript; joins `calls`"),
        _column("index", pa.int32(), "number of the utterance in its call, from 0, by start"),
        _column("speaker", pa.string(), "role, or anonymous cluster SPEAKER_00, …, or UNKNOWN"),
        _column("channel", pa.int32(), "channel of the recording, from 0"),
        _column("start", pa.float64(), "start, seconds from the start of the call"),
        _column("end", pa.float64(), "end, seconds from the start of the call"),
        _column("text", pa.string(), "what was said"),
        _column("language", pa.string(), "language, ISO 639-1"),
        _column("confidence", pa.float64(), "mean word probability, 0 to 1"),
        _column("avg_logprob", pa.float64(), "the decoder's mean log-probability of the segment it lies in"),
        _column("no_speech_prob", pa.float64(), "the decoder's probability of no speech, 0 to 1"),
        _column("compression_ratio", pa.float64(), "gzip ratio of the segment's text; high means repetition"),
        _column("overlap", pa.bool_(), "whether somebody else speaks in the same time"),
        _column("flags", pa.list_(pa.string()), "doubts about this utterance"),
        _column("words", pa.list_(_WORD), "the words with their times"),
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
        _column("started_at", _time, "when the call began (UTC)"),
        _column("language", pa.string(), "language hint"),
        _column("channel_roles", pa.list_(pa.string()), "role of each channel"),
        _column("speaker_count", pa.int32(), "speaker count hint"),
        _column("attributes", _text_map, "other fields of the key"),
        _column("shard", pa.int32(), "shard of the call"),
        _column("attempt", pa.int32(), "try at these bytes, from 1"),
        _column("known_sha256", pa.string(), "digest of bytes that have a good transcript"),
    ]
)

SCHEMAS: Mapping[Table, pa.Schema] = {"calls": CALLS, "utterances": UTTERANCES}
Row = dict[str, Any]


def column_rows(name: Table) -> list[tuple[str, str, str]]:
    """Every column of a table as (name, type, meaning), for the documentation."""
    return [(field.name, str(field.type), field.metadata[b"comment"].decode()) for field in SCHEMAS[name]]


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
        "bundle": provenance.bundle,
        "bundle_digest": provenance.bundle_digest,
        "fingerprint": provenance.fingerprint,
        "run_id": provenance.run_id,
        "job": provenance.job,
        "attempt": provenance.attempt,
        "device": provenance.device,
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
            "sampling_rate": outcome.source.sampling_rate,
            "channels": outcome.source.channels,
        }
    if outcome.layout == "separate":
        row["channel_roles"] = list(call.hints.channel_roles)
    if failure is not None:
        row |= {"error_code": failure.code, "error": failure.message}
    if transcript is None:
        return CallRows(row, ())
    quality, metrics = transcript.quality, transcript.metrics
    row |= {
        "language": transcript.language,
        "language_probability": transcript.language_probability,
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
        "longest_silence_s": metrics.longest_silence_s,
        "words": metrics.words,
        "words_per_minute": metrics.words_per_minute,
    }
    return CallRows(row, tuple(_utterance_row(item, call.call_id, identity) for item in transcript.utterances))


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
            "attributes": list(planned.call.attributes.items()),
            "shard": planned.shard,
            "attempt": planned.attempt,
            "known_sha256": planned.known_sha256,
        }
        for planned in work
    ]


def planned_calls(table: pa.Table) -> list[PlannedCall]:
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
                hints=CallHints(row["language"], tuple(row["channel_roles"]), row["speaker_count"]),
                attributes=dict(row["attributes"]),
            ),
            shard=row["shard"],
            attempt=row["attempt"],
            known_sha256=row["known_sha256"],
        )
        for row in table.to_pylist()
    ]


def table_of(rows: Sequence[Row], schema: pa.Schema) -> pa.Table:
    """An Arrow table of rows."""
    return pa.Table.from_pylist(list(rows), schema=schema)


def to_parquet(table: pa.Table, write_id: str = "") -> bytes:
    """Parquet bytes (zstd) of a table, with the schema version and who wrote it in the file's metadata."""
    ours = {_VERSION_KEY: str(SCHEMA_VERSION).encode(), _WRITE_KEY: write_id.encode()}
    metadata = {**(table.schema.metadata or {}), **ours}
    sink = pa.BufferOutputStream()
    pq.write_table(table.replace_schema_metadata(metadata), sink, compression="zstd", write_page_checksum=True)
    content: bytes = sink.getvalue().to_pybytes()
    return content


def from_parquet(content: bytes, schema: pa.Schema) -> pa.Table:
    """A table in today's schema; columns that an older file lacks are null.

    Raises:
        ValueError: the bytes are not Parquet, or were damaged.
    """
    try:
        table = pq.read_table(io.BytesIO(content), page_checksum_verification=True)
        columns = [
            table.column(field.name).cast(field.type)
            if field.name in table.column_names
            else pa.nulls(len(table), field.type)
            for field in schema
        ]
        return pa.Table.from_arrays(columns, schema=schema)
    except (pa.ArrowException, OSError) as error:
        raise ValueError(str(error)) from error


def write_id_of(content: bytes) -> str:
    """Who wrote these Parquet bytes: the write_id given to `to_parquet`; empty where they are not Parquet."""
    try:
        metadata = pq.read_metadata(io.BytesIO(content)).metadata or {}
    except (pa.ArrowException, OSError):
        return ""
    return str(metadata.get(_WRITE_KEY, b"").decode())


def without(table: pa.Table, column: str, values: Iterable[str]) -> pa.Table:
    """The rows whose column holds none of the values."""
    return table.filter(pc.invert(pc.is_in(table[column], pa.array(list(values), pa.string()))))


def only(table: pa.Table, column: str, values: pa.ChunkedArray) -> pa.Table:
    """The rows whose column holds one of the values."""
    return table.filter(pc.is_in(table[column], values.combine_chunks()))


def joined(standing: pa.Table, rows: Sequence[Row], order: Sequence[str]) -> pa.Table:
    """A table with new rows added, sorted by columns (nulls last)."""
    table = pa.concat_tables([standing, table_of(rows, standing.schema)])
    return table.sort_by([(name, "ascending") for name in order])


def open_table(access: DirectAccess, name: Table) -> pads.Dataset:
    """All files of one table as an Arrow dataset with the Hive column `month`, read where they lie.

    Raises:
        QueryError: the place cannot be read.
    """
    partitioning = pads.partitioning(pa.schema([("month", pa.string())]), flavor="hive")
    schema = SCHEMAS[name].append(pa.field("month", pa.string()))
    filesystem, root = _filesystem(access)
    selector = pafs.FileSelector(f"{root}/{name}", recursive=True, allow_not_found=True)
    try:
        return pads.dataset(_files(filesystem, selector), schema=schema, format="parquet", filesystem=filesystem,
                            partitioning=partitioning, partition_base_dir=f"{root}/{name}")  # fmt: skip
    except OSError as error:
        message = f"cannot read the table `{name}`: {error}"
        raise QueryError(message) from error


def _files(filesystem: pafs.FileSystem, selector: pafs.FileSelector) -> list[str]:
    return [info.path for info in filesystem.get_file_info(selector) if info.path.endswith(".parquet")]


def _filesystem(access: DirectAccess) -> tuple[pafs.FileSystem, str]:
    if isinstance(access, FolderAccess):
        return pafs.LocalFileSystem(), str(access.folder)
    filesystem = pafs.S3FileSystem(
        access_key=access.access_key,
        secret_key=access.secret_key,
        session_token=access.session_token,
        region=access.region,
        scheme=access.scheme,
        endpoint_override=access.endpoint,
        force_virtual_addressing=not access.path_style,
        tls_ca_file_path=access.ca_bundle or "",
    )
    return filesystem, f"{access.bucket}/{access.prefix}".rstrip("/")


def _utterance_row(utterance: Utterance, call_id: str, identity: str) -> Row:
    return {
        "call_id": call_id,
        "transcript_id": identity,
        "index": utterance.index,
        "speaker": utterance.speaker,
        "channel": utterance.channel,
        "start": utterance.start,
        "end": utterance.end,
        "text": utterance.text,
        "language": utterance.language,
        "confidence": utterance.confidence,
        "avg_logprob": utterance.avg_logprob,
        "no_speech_prob": utterance.no_speech_prob,
        "compression_ratio": utterance.compression_ratio,
        "overlap": utterance.overlap,
        "flags": list(utterance.flags),
        "words": [
            {"text": word.text, "start": word.start, "end": word.end, "probability": word.probability}
            for word in utterance.words
        ],
    }
