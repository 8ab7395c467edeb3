"""Calls in several files, one for each channel: how a manifest names them, and what stands for all of them."""

import io
import json
import secrets
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from builders import call_ref, outcome, provenance
from conftest import BUCKET
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.dataset import DataSet
from tasks.errors import StorageRefused
from tasks.inventory import claimed_by_others, duplicate_message, group_calls, read_archive
from tasks.legs import claimed_twice, etag_of
from tasks.listing import ListedMonth
from tasks.records import CallRef, CopiedAudio, Leg
from tasks.rows import rows_of
from tasks.runs import unplanned_key, write_unplanned
from tasks.setting_groups import ArchiveSettings
from tasks.storage import Storage, open_storage

MONTH = "2026-10"
IN, OUT = "billing/1-in; now.wav", "billing/1-out.wav"


@pytest.fixture(params=["file", "s3"])
def storage(request: pytest.FixtureRequest) -> Storage:
    """An archive of each kind, with the two files of a call."""
    if request.param == "file":
        found = open_storage(request.getfixturevalue("tmp_path").as_uri())
    else:
        request.getfixturevalue("s3_environment")
        found = open_storage(f"s3://{BUCKET}/{secrets.token_hex(8)}")
    found.put(IN, b"one side")
    found.put(OUT, b"the other")
    return found


@pytest.fixture
def folder(tmp_path: Path) -> Storage:
    """An empty archive in a folder."""
    return open_storage(tmp_path.as_uri())


def _read(
    storage: Storage, *rows: dict[str, Any], month: str = MONTH, contested: bool = False
) -> tuple[list[CallRef], list[str]]:
    """The calls of a manifest of JSON lines, and what is none."""
    storage.put("calls.jsonl", "".join(json.dumps(row) + "\n" for row in rows).encode())
    manifest = ArchiveSettings(manifest=f"{storage.uri}/calls.jsonl")
    found = list(read_archive(storage, month, manifest, contested=contested))
    return [call for call, _ in found if call is not None], [key for call, key in found if call is None]


def _leg(key: str = "a.wav", etag: str = "e", size_bytes: int = 5) -> Leg:
    return Leg(key, f"s3://archive/{key}", etag, size_bytes)


def _of_legs(*legs: Leg, **changes: object) -> CallRef:
    """A call in several files."""
    sizes = sum(leg.size_bytes for leg in legs)
    first = legs[0]
    plain = call_ref(key=first.key, uri=first.uri, etag=etag_of(legs), size_bytes=sizes, legs=legs)
    return replace(plain, **changes)


# ---------------------------------------------------------------------------------------------------- in a manifest


def _csv(*lines: str) -> bytes:
    return "".join(f"{line}\r\n" for line in lines).encode()


def _parquet() -> bytes:
    sink = io.BytesIO()
    rows = [
        {"call_id": "c1", "uri": [IN, OUT], "month": MONTH, "queue": "billing"},
        {"call_id": "c2", "uri": ["c2.wav"], "month": MONTH, "queue": None},
    ]
    pq.write_table(pa.Table.from_pylist(rows), sink)
    return sink.getvalue()


def _lines(*rows: dict[str, Any]) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


LISTED = json.dumps([IN, OUT]).replace('"', '""')
MANIFESTS = {
    "list.jsonl": _lines(
        {"call_id": "c1", "uri": [IN, OUT], "month": MONTH, "queue": "billing"},
        {"call_id": "c2", "uri": ["c2.wav"], "month": MONTH},
    ),
    "columns.jsonl": _lines(
        {"call_id": "c1", "uri_1": OUT, "uri_0": IN, "month": MONTH, "queue": "billing"},
        {"call_id": "c2", "uri_0": "c2.wav", "month": MONTH},
    ),
    "list.parquet": _parquet(),
    "columns.csv": _csv(
        "call_id,uri_0,uri_1,uri_2,month,queue", f"c1,{IN},{OUT},,{MONTH},billing", f"c2,c2.wav,,,{MONTH},"
    ),
    "both.csv": _csv("call_id,uri,uri_0,uri_1,month,queue", f"c1,,{IN},{OUT},{MONTH},billing", f"c2,c2.wav,,,{MONTH},"),
    "json.csv": _csv("call_id,uri,month,queue", f'c1,"{LISTED}",{MONTH},billing', f"c2,c2.wav,{MONTH},"),
}


@pytest.mark.parametrize("name", MANIFESTS)
def test_a_call_of_two_files(storage: Storage, name: str) -> None:
    """However it is written: one call, of both files in their order; a list of one is a call in one file."""
    storage.put(f"lists/{name}", MANIFESTS[name])
    archive = ArchiveSettings(manifest=f"{storage.uri}/lists/{name}", channel_roles=("customer", "agent"))
    (call, key), (other, _) = read_archive(storage, MONTH, archive)
    infos = [storage.head(key) for key in (IN, OUT)]
    legs = tuple(Leg(info.key, storage.object_uri(info.key), info.etag, info.size_bytes) for info in infos if info)
    assert IN == key
    assert call == CallRef(
        call_id="c1",
        month=MONTH,
        key=IN,
        uri=storage.object_uri(IN),
        etag=etag_of(legs),
        size_bytes=17,
        hints=archive.hints(),
        attributes={"queue": "billing"},
        legs=legs,
    )
    assert (("c2", "c2.wav", "", ()), {}) == ((other.call_id, other.key, other.etag, other.legs), other.attributes)


def test_the_files_of_a_call() -> None:
    """Each as a call that lies in it alone; a call in one file is its own."""
    legs = (_leg("a"), _leg("b", "f", 7))
    call = _of_legs(*legs, attributes={"queue": "billing"})
    alone = replace(call, legs=())
    assert call.files == (
        replace(alone, key="a", uri=legs[0].uri, etag="e", size_bytes=5),
        replace(alone, key="b", uri=legs[1].uri, etag="f", size_bytes=7),
    )
    assert (call_ref(),) == call_ref().files


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ({"etag": ["e1", "e2"], "size_bytes": [1, 2]}, [("e1", 1), ("e2", 2)]),
        ({"etag": ["e1", None], "size_bytes": [1, 2]}, [("e1", 1), ("there", 9)]),
        ({"etag": ["e1", "e2"]}, [("there", 8), ("there", 9)]),
    ],
)
def test_what_a_row_says_of_its_files(storage: Storage, said: dict[str, Any], expected: list[tuple[str, int]]) -> None:
    """It is taken for what is so; the store is asked for the rest, of each file."""
    (call,), _ = _read(storage, {"call_id": "c", "uri": [IN, OUT], "month": MONTH} | said)
    there = {key: info.etag for key in (IN, OUT) if (info := storage.head(key))}
    assert expected == [("there" if leg.etag == there[leg.key] else leg.etag, leg.size_bytes) for leg in call.legs]


def test_columns_of_each_channel(folder: Storage) -> None:
    """ETag and size have theirs, too; what is numbered and means nothing is an attribute."""
    row = {"uri_0": "a", "uri_1": "b", "etag_0": "e1", "etag_1": "e2", "size_bytes_0": "1", "size_bytes_1": 2}
    (call,), rest = _read(folder, {"call_id": "c", "month": MONTH, "uri_01": "x", "line_0": "y"} | row)
    assert ([], {"uri_01": "x", "line_0": "y"}) == (rest, call.attributes)
    assert [("a", "e1", 1), ("b", "e2", 2)] == [(leg.key, leg.etag, leg.size_bytes) for leg in call.legs]


@pytest.mark.parametrize(
    "row",
    [
        {"uri": []},
        {"uri": ["a", None]},
        {"uri": ["a", ""]},
        {"uri": ["a", ["b"]]},
        {"uri": {"agent": "a", "customer": "b"}},
        {"uri": ["a", "a"]},
        {"uri": ["a", "{archive}/a"]},
        {"uri": ["a", "s3://another-bucket/b"]},
        {"uri": ["a", "../b"]},
        {"uri": [str(number) for number in range(17)]},
        {"uri": "[]"},
        {"uri": f'["a", {"1" * 5000}]'},
        {"uri": "[" * 200_000},
        {"uri": ["a", "b"], "etag": "e"},
        {"uri": ["a", "b"], "etag": ["e"]},
        {"uri": ["a", "b"], "size_bytes": [1, 2, 3]},
        {"uri": ["a", "b"], "size_bytes": [1, -2]},
        {"uri": "a", "etag": ["e", "f"]},
        {"uri": "a", "uri_0": "b"},
        {"uri_0": "a", "uri_2": "b"},
        {"uri_1": "a"},
        {"uri_0": "a", "uri_1": "b", "etag": "e"},
    ],
    ids=range(22),
)
def test_an_odd_list_stops_nobody(folder: Storage, row: dict[str, Any]) -> None:
    """Its row is named, and those after it are read."""
    row = json.loads(json.dumps(row).replace("{archive}", folder.uri))
    good = {"call_id": "good", "uri": ["x", "y"], "month": MONTH}
    calls, rest = _read(folder, {"call_id": "odd", "month": MONTH} | row, good)
    assert (["good"], ["calls.jsonl, row 1"]) == ([call.call_id for call in calls], rest)


def test_a_key_that_begins_like_a_list(folder: Storage) -> None:
    """Is a key."""
    (call,), _ = _read(folder, {"call_id": "c", "uri": "[17] in.wav", "month": MONTH})
    assert "[17] in.wav" == call.key


def test_odd_lists_of_other_months(folder: Storage) -> None:
    """They are named where their month is read; where none is known, in each."""
    rows = [
        {"call_id": "a", "uri": ["a", "../b"], "month": "2026-11"},
        {"call_id": "b", "uri": [], "month": "2026-11"},
        {"call_id": "c", "uri": ["c", "d"]},
    ]
    assert ([], ["calls.jsonl, row 2", "calls.jsonl, row 3"]) == _read(folder, *rows)
    assert ([], [f"calls.jsonl, row {number}" for number in (1, 2, 3)]) == _read(folder, *rows, month="2026-11")


# ---------------------------------------------------------------------------------------------------- contested files


def test_a_file_that_two_calls_claim(folder: Storage) -> None:
    """Neither is a call, also where one of them is of another month or has nothing else; both are named."""
    rows = [
        {"call_id": "a", "uri": ["a0", "a1"], "month": MONTH},
        {"call_id": "b", "uri": ["b0", "a1"], "month": MONTH},
        {"call_id": "c", "uri": ["c0", "c1"], "month": MONTH},
        {"call_id": "d", "uri": "c1", "month": MONTH},
        {"call_id": "e", "uri": ["e0", "e1"], "month": MONTH},
        {"call_id": "f", "uri": ["e0", "f1"], "month": "2026-11"},
        {"call_id": "good", "uri": ["g0", "g1"], "month": MONTH},
    ]
    calls, rest = _read(folder, *rows)
    named = [f"calls.jsonl, row {number}" for number in range(1, 6)]
    assert (["good"], named) == ([call.call_id for call in calls], rest)
    calls, rest = _read(folder, *rows, contested=True)
    assert (["a", "b", "c", "d", "e", "good"], []) == ([call.call_id for call in calls], rest)


def test_claims_that_are_none(folder: Storage) -> None:
    """Of rows that are no calls, of one call_id, and of calls in one file, for which nothing is put together."""
    rows = [
        {"call_id": "a", "uri": ["a0", "a1"], "month": MONTH},
        {"call_id": "b", "uri": ["a0", "b1"], "month": MONTH, "speakers": "many"},
        {"call_id": "c", "uri": ["a0", "s3://another-bucket/x"], "month": MONTH},
        {"call_id": "twice", "uri": ["t0", "t1"], "month": MONTH},
        {"call_id": "twice", "uri": ["t0", "t1"], "month": MONTH},
        {"call_id": "e", "uri": "e", "month": MONTH},
        {"call_id": "f", "uri": "e", "month": MONTH},
    ]
    calls, rest = _read(folder, *rows)
    assert ["calls.jsonl, row 2", "calls.jsonl, row 3"] == rest
    assert ["a", "twice", "twice", "e", "f"] == [call.call_id for call in calls]
    (ambiguous,) = group_calls(MONTH, calls).ambiguous
    assert "t0, t1, t0, t1" in duplicate_message(ambiguous)


def test_what_a_manifest_gives_to_others(folder: Storage) -> None:
    """In any month; without a manifest, nothing is anybody else's."""
    rows = [
        {"call_id": "a", "uri": ["a0", "a1"], "month": MONTH},
        {"call_id": "b", "uri": "a1", "month": "2026-11"},
        {"call_id": "c", "uri": ["c0", "a0"], "month": MONTH},
    ]
    _read(folder, *rows)
    archive = ArchiveSettings(manifest=f"{folder.uri}/calls.jsonl")
    keys = {"a0", "a1"}
    assert keys == claimed_by_others(folder, MONTH, archive, ["a"], keys)
    assert {"a1"} == claimed_by_others(folder, MONTH, archive, ["a", "c"], keys)
    assert set() == claimed_by_others(folder, MONTH, ArchiveSettings(), ["a"], keys)


_claims = st.lists(st.tuples(st.sampled_from("abc"), st.lists(st.sampled_from("uvwxyz"), min_size=1, unique=True)))


@given(_claims)
@settings(max_examples=50, deadline=None)
def test_contested_keys(claims: list[tuple[str, list[str]]]) -> None:
    """Those of two call_ids, one of which has the key as one of several."""
    expected = {
        key
        for call_id, keys in claims
        for key in keys
        if len(keys) > 1 and any(other != call_id and key in others for other, others in claims)
    }
    assert expected == claimed_twice(claims)


def test_claims_on_a_full_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stop the run as other things do that find no room."""
    monkeypatch.setattr("tasks.legs.MOST_PAGES", 20)
    claims = ((f"call-{number}", [f"{number}-in.wav", f"{number}-out.wav"]) for number in range(20_000))
    with pytest.raises(StorageRefused, match=r"the scratch folder .* is full"):
        claimed_twice(claims)


# ---------------------------------------------------------------------------------------------------- what stands


def test_one_etag_for_all() -> None:
    """It is the same as long as every file is; not where one is new, comes, goes or changes place."""
    plain = [_leg("a", "e1"), _leg("b", "e2")]
    assert etag_of(plain) == etag_of([_leg("moved", "e1"), _leg("b", "e2", 99)])
    others = [
        [_leg("a", "e1"), _leg("b", "new")],
        [_leg("a", "e1"), _leg("b", "")],
        [_leg("b", "e2"), _leg("a", "e1")],
        [_leg("a", "e1"), _leg("b", "e2"), _leg("c", "e3")],
        [_leg("a", 'e1", "e2')],
    ]
    assert 6 == len({etag_of(legs) for legs in [plain, *others]})


def test_the_row_of_a_call_in_two_files() -> None:
    """The first file's URI, one ETag, the sum of bytes; and each file, with the digests that are known."""
    legs = (_leg("a.wav", "e1", 5), _leg("b.wav", "e2", 7))
    row = rows_of(outcome(_of_legs(*legs), leg_sha256=("aa",)), provenance()).call
    assert ("s3://archive/a.wav", etag_of(legs), 12) == tuple(
        row[name] for name in ("audio_uri", "audio_etag", "audio_bytes")
    )
    assert row["audio_legs"] == [
        {"uri": "s3://archive/a.wav", "etag": "e1", "sha256": "aa", "bytes": 5},
        {"uri": "s3://archive/b.wav", "etag": "e2", "sha256": None, "bytes": 7},
    ]
    assert [] == rows_of(outcome(), provenance()).call["audio_legs"]


def test_a_copy_of_all_files(folder: Storage) -> None:
    """The row says where they lie now; all else stands."""
    data = DataSet(folder)
    data.fix_shards(MONTH, 1)
    before, after = ((_leg(f"{place}/a", etag), _leg(f"{place}/b", etag)) for place, etag in (("x", "e"), ("y", "f")))
    first = outcome(_of_legs(*before), leg_sha256=("aa", "bb"))
    data.commit(MONTH, 0, 1, [rows_of(first, provenance())])
    (row,) = data.read_calls(MONTH)
    data.commit(MONTH, 0, 1, [CopiedAudio(_of_legs(*after), str(first.audio_sha256), ("aa", "bb"))])
    legs = [
        {"uri": leg.uri, "etag": "f", "sha256": digest, "bytes": 5}
        for leg, digest in zip(after, ("aa", "bb"), strict=True)
    ]
    changed = {"audio_uri": after[0].uri, "audio_etag": etag_of(after), "audio_legs": legs}
    assert [row | changed] == data.read_calls(MONTH)


def test_the_inventory_counts_a_call_once(folder: Storage, tmp_path: Path) -> None:
    """With the bytes of all its files; its digest tells every file, and which channel it is."""
    for key in ("a", "b", "c"):
        folder.put(key, b"sound")

    def listed(*uris: object) -> ListedMonth:
        rows = [{"call_id": f"c{number}", "uri": uri, "month": MONTH} for number, uri in enumerate(uris)]
        _read(folder, *rows)
        scratch = tmp_path / secrets.token_hex(4)
        scratch.mkdir()
        month = ListedMonth(MONTH, 2, scratch)
        month.take(folder, ArchiveSettings(manifest=f"{folder.uri}/calls.jsonl"))
        assert len(uris) == sum(len(one.calls) for one in month.inventories())
        return month

    plain = listed(["a", "b"], "c")
    assert (2, 15, ()) == (plain.objects, plain.size_bytes, plain.unmatched)
    assert plain.digest == listed(["a", "b"], "c").digest
    assert 3 == len({plain.digest, listed(["b", "a"], "c").digest, listed(["a", "c"], "b").digest})


def test_ambiguous_calls_name_every_file(folder: Storage) -> None:
    """In the list of what is no work."""
    write_unplanned(folder, "run", [[_of_legs(_leg("a"), _leg("b")), call_ref(key="c")]], [], [])
    lines = folder.get(unplanned_key("run")).data.decode().splitlines()
    assert ["a", "b", "c"] == [json.loads(line)["key"] for line in lines]
