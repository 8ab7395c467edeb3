"""Rows to Parquet and back: nothing is lost on the way, and what older code wrote stays readable."""

import io
from collections.abc import Iterator
from dataclasses import asdict, fields, replace
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from builders import (
    TRANSCRIBED_AT,
    call_ref,
    call_signals,
    channel_signals,
    failure,
    outcome,
    planned_call,
    provenance,
    transcript,
    utterance,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.records import (
    CallHints,
    DenoiseTrial,
    PlannedCall,
    ProbeScore,
    Provenance,
    RecognitionCounts,
    SetAside,
    Utterance,
    Word,
)
from tasks.rows import planned_calls, planned_rows, rows_of
from tasks.schemas import CALLS, PLANNED, SCHEMA_VERSION, UTTERANCES, Row
from tasks.tables import ROWS_PER_GROUP, calls_of, from_parquet, joined, only, table_of, to_parquet, write_id_of

SCHEMAS = {"calls": CALLS, "utterances": UTTERANCES, "planned": PLANNED}

_times = st.datetimes(datetime(1900, 1, 1), datetime(2200, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001
_text = st.text(max_size=12)
_VALUES: dict[pa.DataType, st.SearchStrategy[Any]] = {
    pa.string(): _text,
    pa.int32(): st.integers(-(2**31), 2**31 - 1),
    pa.int64(): st.integers(-(2**63), 2**63 - 1),
    pa.float64(): st.floats(allow_nan=False),
    pa.bool_(): st.booleans(),
    pa.timestamp("us", tz="UTC"): _times,
}


def _values(kind: pa.DataType) -> st.SearchStrategy[Any]:
    """Any value of a column, null included."""
    if pa.types.is_map(kind):
        pairs = st.dictionaries(_VALUES[kind.key_type], _values(kind.item_type), max_size=3)
        return st.none() | pairs.map(lambda held: list(held.items()))
    if pa.types.is_list(kind):
        return st.none() | st.lists(_values(kind.value_type), max_size=3)
    if pa.types.is_struct(kind):
        return st.none() | st.fixed_dictionaries({field.name: _values(field.type) for field in kind})
    return st.none() | _VALUES[kind]


def _rows(schema: pa.Schema) -> st.SearchStrategy[list[Row]]:
    row = st.fixed_dictionaries({field.name: _values(field.type) for field in schema})
    return st.lists(row, max_size=3)


def _columns(schema: pa.Schema) -> Iterator[pa.Field]:
    """Every column of a schema, and the fields of structs in it."""
    for field in schema:
        yield field
        inner = field.type.value_type if pa.types.is_list(field.type) else field.type
        if pa.types.is_struct(inner):
            yield from inner


@pytest.mark.parametrize("name", SCHEMAS)
def test_every_column_says_what_it_holds(name: str) -> None:
    """Unit and meaning are in the schema, also those of nested fields, and in the file that is written."""
    schema = SCHEMAS[name]
    assert [] == [field.name for field in _columns(schema) if not (field.metadata or {}).get(b"comment")]
    written = pq.read_schema(io.BytesIO(to_parquet(table_of([], schema))))
    assert [field.metadata[b"comment"] for field in schema] == [field.metadata[b"comment"] for field in written]


@pytest.mark.parametrize("name", SCHEMAS)
def test_no_column_twice(name: str) -> None:
    """Each column has a name of its own, in the letters that every engine takes unquoted."""
    names = SCHEMAS[name].names
    assert len(names) == len(set(names))
    assert [] == [column for column in names if not column.isascii() or not column.islower()]


def test_quantities_carry_their_unit() -> None:
    """A column of seconds says so in its name (start and end are seconds everywhere), and in its comment."""
    for field in (*_columns(CALLS), *_columns(UTTERANCES)):
        comment = field.metadata[b"comment"].decode()
        if "milliseconds" in comment:
            assert field.name.endswith("_ms")
        elif "seconds" in comment:
            assert field.name.endswith("_s") or field.name in {"start", "end"}


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(sorted(SCHEMAS)).flatmap(lambda name: st.tuples(st.just(name), _rows(SCHEMAS[name]))))
def test_rows_come_back(named: tuple[str, list[Row]]) -> None:
    """Any text, number, time, list, map or null comes back from Parquet as it went in."""
    name, rows = named
    assert rows == from_parquet(to_parquet(table_of(rows, SCHEMAS[name])), SCHEMAS[name]).to_pylist()


def test_file_says_version_and_writer() -> None:
    """Schema version and write_id are in the file's own metadata, and so is the codec."""
    content = to_parquet(table_of([{"call_id": "c"}], CALLS), "write-1")
    metadata = pq.read_metadata(io.BytesIO(content))
    assert str(SCHEMA_VERSION).encode() == metadata.metadata[b"callscribe.schema_version"]
    assert "write-1" == write_id_of(content)
    assert {"ZSTD"} == {metadata.row_group(0).column(index).compression for index in range(metadata.num_columns)}


def test_write_ids_tell_writes_apart() -> None:
    """Two writes of the same rows differ; without a write_id, or without Parquet, there is none."""
    table = table_of([], CALLS)
    assert ["a", "b", ""] == [write_id_of(to_parquet(table, name)) for name in ("a", "b", "")]
    assert "" == write_id_of(b"not Parquet")
    assert "" == write_id_of(b"")


def test_write_id_survives_reading_and_writing() -> None:
    """A table that was read and is written again carries the new writer's id."""
    again = from_parquet(to_parquet(table_of([], CALLS), "first"), CALLS)
    assert "second" == write_id_of(to_parquet(again, "second"))


ADDED = {
    "calls": ["languages", "recognition", "set_aside", "attributes"],
    "utterances": ["translation", "words"],
    "planned": ["languages", "hot_words", "known_sha256"],
}


def _older(rows: list[Row], name: str) -> bytes:
    """A Parquet file of rows as it was written before columns were added."""
    old = pa.schema([field for field in SCHEMAS[name] if field.name not in ADDED[name]])
    held = [{column: row.get(column) for column in old.names} for row in rows]
    sink = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(held, schema=old), sink)
    return sink.getvalue()


@pytest.mark.parametrize("name", SCHEMAS)
def test_columns_that_an_older_file_lacks_are_null(name: str) -> None:
    """A file that was written before columns were added reads as if its calls had nothing to say there."""
    schema = SCHEMAS[name]
    row = dict.fromkeys(schema.names) | {"call_id": "c"}
    table = from_parquet(_older([row], name), schema)
    assert schema.equals(table.schema)
    assert [row] == table.to_pylist()


@pytest.mark.parametrize("name", ["calls", "utterances"])
def test_older_and_newer_rows_in_one_file(name: str) -> None:
    """What older code wrote takes rows of today, and both come back."""
    found = rows_of(outcome(), provenance())
    new = [found.call] if name == "calls" else list(found.utterances)
    schema = SCHEMAS[name]
    old = dict.fromkeys(schema.names) | {"call_id": "a"}
    standing = from_parquet(_older([old], name), schema)
    if name == "calls":
        both = calls_of([*standing.to_pylist(), *[row | {"started_at": None} for row in new]])
    else:
        both = joined(standing, table_of(new, schema), calls_of([{"call_id": "a"}, {"call_id": "call-1"}]))
    first, *rest = from_parquet(to_parquet(both), schema).to_pylist()
    assert old == first
    assert [row | {"started_at": None} if name == "calls" else row for row in table_of(new, schema).to_pylist()] == rest


def test_columns_in_another_order_and_width() -> None:
    """Columns are found by name, and narrower numbers are widened."""
    sink = io.BytesIO()
    pq.write_table(pa.table({"end": pa.array([2.5], pa.float32()), "call_id": ["c"]}), sink)
    row = from_parquet(sink.getvalue(), UTTERANCES).to_pylist()[0]
    assert ("c", 2.5, None) == (row["call_id"], row["end"], row["words"])


_DAMAGED = to_parquet(table_of(rows_of(outcome(), provenance()).utterances * 40, UTTERANCES), "w")
_FOOTER_BYTES = 8 + int.from_bytes(_DAMAGED[-8:-4], "little")


@pytest.mark.parametrize("content", [b"", b"PAR1", b"no Parquet at all", _DAMAGED[:-1], _DAMAGED[:400], _DAMAGED[1:]])
def test_bytes_that_are_not_parquet(content: bytes) -> None:
    """What is not a whole Parquet file is one kind of error."""
    with pytest.raises(ValueError, match=r"."):
        from_parquet(content, UTTERANCES)


@given(st.integers(0, len(_DAMAGED) - _FOOTER_BYTES - 1), st.integers(0, 7))
def test_a_flipped_bit_never_changes_a_row(position: int, bit: int) -> None:
    """Damaged pages are refused: they never become other words or times."""
    damaged = bytearray(_DAMAGED)
    damaged[position] ^= 1 << bit
    try:
        table = from_parquet(bytes(damaged), UTTERANCES)
    except ValueError:
        return
    assert from_parquet(_DAMAGED, UTTERANCES).to_pylist() == table.to_pylist()


def test_the_row_of_a_transcribed_call() -> None:
    """Every column that a transcribed call can fill is filled."""
    call = call_ref(attributes={"queue": "sales"})
    row = rows_of(outcome(call), provenance()).call
    empty = {name for name, value in row.items() if value is None}
    last = {name for name in CALLS.names if name.startswith("last_attempt")}
    stated_by_some_headers = {"declared_duration_s"}
    of_others = {"channel_roles", "channel_correlation", "driver_version"}  # of two channels, and of a GPU
    assert {"error", "error_code", "text_removed_at"} | of_others | last == empty - stated_by_some_headers
    assert [("queue", "sales")] == row["attributes"]
    assert CALLS.names == list(row)


def test_measured_signals_of_call_and_channels() -> None:
    """The call has the figures of its worst channel, each channel its own; they come back from Parquet."""
    agent = channel_signals(snr_db=35.0, dc_offset=-0.01)
    customer = channel_signals(channel=1, snr_db=9.0, noise_floor_db=-40.0, bandwidth_hz=3300.0, loudness_lufs=None)
    signals = call_signals(agent, customer, channel_correlation=0.02)
    row = rows_of(outcome(signals=signals), provenance()).call
    (read,) = from_parquet(to_parquet(table_of([row], CALLS)), CALLS).to_pylist()
    assert (9.0, -40.0, 3300.0, -0.01, -3.0, 0.2, 0.02) == tuple(
        read[name]
        for name in (
            "snr_db",
            "noise_floor_db",
            "bandwidth_hz",
            "dc_offset",
            "true_peak_dbtp",
            "silence_ratio",
            "channel_correlation",
        )
    )
    assert [asdict(agent), asdict(customer)] == read["channel_signals"]
    assert rows_of(outcome(signals=None), provenance()).call["channel_signals"] is None


def test_trials_of_noise_reduction() -> None:
    """The evidence comes back from Parquet as it was found, with nulls where no words were; none is an empty list."""
    trials = (
        DenoiseTrial(0, 7.5, 60.0, ProbeScore(-0.5, 0.75), ProbeScore(-0.25, 1.0), applied=True),
        DenoiseTrial(2, None, 3.25, ProbeScore(None, 0.0), ProbeScore(None, 0.0), applied=False),
    )
    rows = [rows_of(outcome(denoise_trials=held), provenance()).call for held in (trials, ())]
    tried, untried = from_parquet(to_parquet(table_of(rows, CALLS)), CALLS).to_pylist()
    assert [(0, 7.5, 60.0, -0.5, 0.75, -0.25, 1.0, True), (2, None, 3.25, None, 0.0, None, 0.0, False)] == [
        tuple(trial.values()) for trial in tried["denoise_trials"]
    ]
    assert [] == untried["denoise_trials"]


def test_how_a_call_was_recognised() -> None:
    """Language shares, counts and what was set aside come back from Parquet; a failed call has none of them."""
    aside = (
        SetAside(0, 1.5, 9.25, "Thanks for watching!", "no_voice", -0.5, 0.25),
        SetAside(1, 30.0, 31.0, "you", "no_speech", -1.25, 0.75),
    )
    counts = RecognitionCounts(chunks=9, retried=4, improved=3, suspicious=1, set_aside_words=4)
    heard = transcript(languages={"en": 0.75, "de": 0.25}, set_aside=aside, recognition=counts)
    found = (outcome(transcript=heard), outcome(transcript=transcript([])), outcome(failure=failure()))
    rows = [rows_of(one, provenance()).call for one in found]
    spoken, silent, failed = from_parquet(to_parquet(table_of(rows, CALLS)), CALLS).to_pylist()
    assert [("en", 0.75), ("de", 0.25)] == spoken["languages"]
    assert counts == RecognitionCounts(**spoken["recognition"])
    assert list(aside) == [SetAside(**one) for one in spoken["set_aside"]]
    assert ([], RecognitionCounts(), []) == (
        silent["languages"],
        RecognitionCounts(**silent["recognition"]),
        silent["set_aside"],
    )
    assert [None] * 3 == [failed[name] for name in ("languages", "recognition", "set_aside")]


def test_every_count_and_every_field_has_a_column() -> None:
    """The structs of `calls` hold what the records hold, by the same names, in the same order."""
    assert [field.name for field in fields(RecognitionCounts)] == [one.name for one in CALLS.field("recognition").type]
    assert [field.name for field in fields(SetAside)] == [one.name for one in CALLS.field("set_aside").type.value_type]


def test_every_field_of_a_provenance_is_in_the_row() -> None:
    """What a row says of where it comes from is all there."""
    said = provenance(job=7, attempt=2, device="H100", driver_version="580.1", compute_type="float16")
    row = rows_of(outcome(), said).call
    assert [] == [field.name for field in fields(Provenance) if row[field.name] != getattr(said, field.name)]


def test_the_row_of_a_silent_call() -> None:
    """A call without speech has measures and no utterances."""
    rows = rows_of(outcome(transcript=transcript([])), provenance())
    assert ("no_speech", 0, 0.0, None) == tuple(rows.call[n] for n in ("outcome", "words", "speech_s", "confidence"))
    assert () == rows.utterances


def test_the_row_of_a_failed_call() -> None:
    """A failed call says why, and what was known before it failed."""
    rows = rows_of(outcome(failure=failure("too_long", "it is too long")), provenance())
    assert ("failed", "too_long", "it is too long") == tuple(
        rows.call[name] for name in ("outcome", "error_code", "error")
    )
    assert 12.0 == rows.call["duration_s"]
    assert () == rows.utterances


@pytest.mark.parametrize(("layout", "expected"), [("separate", ["agent", "customer"]), ("mono", None)])
def test_roles_only_of_separate_channels(layout: str, expected: list[str] | None) -> None:
    """Roles are said only where a channel carries one person."""
    call = call_ref(hints=CallHints(channel_roles=("agent", "customer")))
    assert expected == rows_of(outcome(call, layout=layout), provenance()).call["channel_roles"]


def test_rows_of_utterances() -> None:
    """Utterances carry everything that the record holds, and the call's transcript_id."""
    said = replace(utterance("Grüß Gott", 1.5, speaker="agent", channel=1, overlap=True), flags=("unsure",))
    said = replace(said, language="de", translation="Good day")
    rows = rows_of(outcome(transcript=transcript([said, utterance()])), provenance())
    first = rows.utterances[0]
    assert [0, 1] == [row["index"] for row in rows.utterances]
    assert {rows.call["transcript_id"]} == {row["transcript_id"] for row in rows.utterances}
    assert {"call-1"} == {row["call_id"] for row in rows.utterances}
    for field in fields(Utterance):
        if field.name not in {"index", "words", "flags"}:
            assert getattr(said, field.name) == first[field.name]
    assert ["unsure"] == first["flags"]
    assert list(said.words) == [Word(**held) for held in first["words"]]
    assert UTTERANCES.names == list(first)


def test_times_are_moments_whatever_their_zone() -> None:
    """A start in another time zone is the same moment in the table."""
    local = datetime(2026, 10, 5, 11, 30, tzinfo=timezone(timedelta(hours=2)))
    row = rows_of(outcome(call_ref(started_at=local)), provenance()).call
    (back,) = from_parquet(to_parquet(table_of([row], CALLS)), CALLS).to_pylist()
    assert local == back["started_at"]
    assert timedelta(0) == back["started_at"].utcoffset()


@pytest.mark.parametrize(
    "change",
    [
        {"call": call_ref("call-2")},
        {"audio_sha256": "other bytes"},
        {"audio_sha256": None},
        {"run_id": "another run"},
        {"fingerprint": "other settings"},
        {"attempt": 2},
        {"transcribed_at": TRANSCRIBED_AT + timedelta(microseconds=1)},
    ],
)
def test_transcript_ids_tell_tries_apart(change: dict[str, Any]) -> None:
    """Another call, other bytes, other settings or another try is another transcript."""
    of_outcome = {name: value for name, value in change.items() if name in {"call", "audio_sha256"}}
    of_run = {name: value for name, value in change.items() if name not in of_outcome}
    plain = rows_of(outcome(), provenance()).call["transcript_id"]
    assert plain != rows_of(outcome(**of_outcome), provenance(**of_run)).call["transcript_id"]


def test_transcript_ids_are_stable() -> None:
    """The same try has the same identity on every machine, whatever its time zone."""
    there = TRANSCRIBED_AT.astimezone(timezone(timedelta(hours=9)))
    ids = [rows_of(outcome(), provenance(transcribed_at=at)).call["transcript_id"] for at in (TRANSCRIBED_AT, there)]
    assert ["e89a3b77abbe7fb219f8d0f761a07d5a"] * 2 == ids


_hints = st.builds(
    CallHints,
    language=st.none() | st.sampled_from(["en", "de"]),
    channel_roles=st.lists(_text, max_size=3).map(tuple),
    speakers=st.none() | st.integers(1, 9),
    languages=st.lists(st.sampled_from(["en", "de", "yue"]), max_size=3).map(tuple),
    hot_words=st.lists(_text, max_size=3).map(tuple),
)
_planned = st.builds(
    planned_call,
    st.builds(
        call_ref,
        _text,
        key=_text,
        uri=_text,
        etag=_text,
        size_bytes=st.integers(0, 2**62),
        started_at=st.none() | _times,
        hints=_hints,
        attributes=st.dictionaries(_text, _text, max_size=3),
    ),
    shard=st.integers(0, 9999),
    attempt=st.integers(1, 99),
    known_sha256=st.none() | _text,
)


@settings(max_examples=60)
@given(st.lists(_planned, max_size=4))
def test_a_plan_comes_back(work: list[PlannedCall]) -> None:
    """The calls of a job are read as they were planned, in order."""
    content = to_parquet(table_of(planned_rows(work), PLANNED))
    assert work == planned_calls(from_parquet(content, PLANNED).to_pylist())


def test_an_older_plan_comes_back() -> None:
    """A plan that was written before there were hints of languages and hot words says that there are none."""
    work = [planned_call(call_ref(hints=CallHints("de", ("agent",), 2)))]
    assert work == planned_calls(from_parquet(_older(planned_rows(work), "planned"), PLANNED).to_pylist())


def _words(*texts: str | None) -> list[Row]:
    return [{"text": text, "transcript_id": text} for text in texts]


def test_only() -> None:
    """Rows are kept by the values of a column; none of none is none."""
    table = table_of(_words("a", "b", "c"), UTTERANCES)
    assert ["a", "c"] == only(table, "transcript_id", pa.chunked_array([["c"], ["a", "x"]]))["text"].to_pylist()
    assert [] == only(table, "transcript_id", pa.chunked_array([], pa.string()))["text"].to_pylist()


def test_calls_are_sorted_by_their_beginning() -> None:
    """By time and then call_id; calls of unknown time come last."""
    early, late = datetime(2026, 10, 5, tzinfo=UTC), datetime(2026, 10, 6, tzinfo=UTC)
    rows = [{"call_id": name, "started_at": at} for name, at in (("d", None), ("a", late), ("c", early), ("b", late))]
    assert ["c", "a", "b", "d"] == calls_of(rows)["call_id"].to_pylist()


def test_utterances_are_in_the_order_of_their_calls() -> None:
    """Call by call in the order of `calls`, and each in order of its index; those of no call come last."""

    def spoken(call_id: str, *indices: int) -> list[Row]:
        return [{"call_id": call_id, "transcript_id": call_id, "index": index} for index in indices]

    calls = calls_of([{"call_id": "b", "started_at": datetime(2026, 10, 5, tzinfo=UTC)}, {"call_id": "a"}])
    standing = table_of([*spoken("gone", 0), *spoken("a", 1, 0)], UTTERANCES)
    found = joined(standing, table_of(spoken("b", 10, 9), UTTERANCES), calls).select(["call_id", "index"]).to_pylist()
    assert [("b", 9), ("b", 10), ("a", 0), ("a", 1), ("gone", 0)] == [(row["call_id"], row["index"]) for row in found]


def test_layout_of_a_file() -> None:
    """Row groups of a bounded size, each with statistics; dictionaries for what repeats, none for what does not."""
    utterances = rows_of(outcome(), provenance()).utterances
    content = to_parquet(table_of(list(utterances) * (ROWS_PER_GROUP + 1), UTTERANCES))
    found = pq.read_metadata(io.BytesIO(content))
    assert [ROWS_PER_GROUP, 1] == [found.row_group(index).num_rows for index in range(found.num_row_groups)]
    group = found.row_group(0)
    columns = {group.column(index).path_in_schema: group.column(index) for index in range(group.num_columns)}
    assert ("call-1", "call-1") == (columns["call_id"].statistics.min, columns["call_id"].statistics.max)
    assert {"ZSTD"} == {column.compression for column in columns.values()}
    plain = {name for name, column in columns.items() if not column.has_dictionary_page and "overlap" not in name}
    assert {"words.list.element.start", "words.list.element.end"} == {name for name in plain if "words" in name}
    assert {"text", "translation", "start", "end", "confidence"} == {name for name in plain if "." not in name}


def test_probabilities_have_four_decimals() -> None:
    """What is beyond says nothing, and does not compress."""
    said = utterance("hello", words=(Word("hello", 0.0, 0.4, 0.123456789),))
    rows = rows_of(outcome(transcript=transcript([said])), provenance()).utterances
    assert 0.1235 == rows[0]["words"][0]["probability"]
