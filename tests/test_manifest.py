"""A list of the calls instead of a listing of the archive; keys that a regular expression reads."""

import io
import json
import secrets
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import BUCKET
from job_worker import settings_of
from stand_ins import build_bundle, stand_in_models, tone, wav

from tasks.certificates import certify
from tasks.dataset import DataSet
from tasks.errors import ScratchFull, SettingsError, StorageRefused
from tasks.inventory import archive_of, read_archive
from tasks.keys import KeyReader
from tasks.manifest import ManifestRow, month_of
from tasks.plan_run import plan_run
from tasks.reconcile import RunSummary
from tasks.records import CallHints, CallRef
from tasks.run_job import run_job
from tasks.run_models import fingerprints_of
from tasks.setting_groups import ArchiveSettings
from tasks.settings import load_settings
from tasks.storage import Storage, open_storage

MONTH = "2026-10"
ODD_NAMES = [
    "a call.wav",
    "ünïcode-通話-📞.wav",
    "plus+and%20percent%.wav",
    "quote'\"&<>#?;=.wav",
    "two..dots.wav",
    f"{'long' * 60}.wav",
]


@pytest.fixture(params=["file", "s3"])
def storage(request: pytest.FixtureRequest) -> Storage:
    """An empty archive of each kind."""
    if request.param == "file":
        return open_storage(request.getfixturevalue("tmp_path").as_uri())
    request.getfixturevalue("s3_environment")
    return open_storage(f"s3://{BUCKET}/{secrets.token_hex(8)}")


def _settings(storage: Storage, name: str = "lists/calls.jsonl", **more: object) -> ArchiveSettings:
    return ArchiveSettings(manifest=f"{storage.uri}/{name}", **more)  # type: ignore[arg-type]


def _lines(*rows: dict[str, Any]) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def _read(storage: Storage, settings: ArchiveSettings, month: str = MONTH) -> tuple[list[CallRef], list[str]]:
    """The calls of a month, and what is none."""
    found = list(read_archive(storage, month, settings))
    return [call for call, _ in found if call is not None], [key for call, key in found if call is None]


# ---------- manifests


def test_everything_that_a_row_may_say(storage: Storage) -> None:
    """What it does not say of the object the store is asked for; unknown columns are attributes."""
    etag = storage.put("billing/17.wav", b"sound")
    row = {
        "call_id": "c17",
        "uri": "billing/17.wav",
        "started_at": "2026-10-05T09:30:00+02:00",
        "language": "de",
        "languages": ["de", "tr"],
        "channel_roles": ["customer", "agent"],
        "speakers": 2,
        "hot_words": ["Kontoro"],
        "queue": "billing",
        "priority": 3,
        "note": None,
    }
    storage.put("lists/calls.jsonl", _lines(row))
    (call,), rest = _read(storage, _settings(storage))
    assert [] == rest
    assert call == CallRef(
        call_id="c17",
        month=MONTH,
        key="billing/17.wav",
        uri=storage.object_uri("billing/17.wav"),
        etag=etag,
        size_bytes=5,
        started_at=datetime(2026, 10, 5, 7, 30, tzinfo=UTC),
        hints=CallHints("de", ("customer", "agent"), 2, ("de", "tr"), ("Kontoro",)),
        attributes={"queue": "billing", "priority": "3"},
    )


def test_the_archives_own_hints_stand_where_a_row_has_none(storage: Storage) -> None:
    """Language, roles and the rest."""
    storage.put("1.wav", b"sound")
    storage.put("lists/calls.jsonl", _lines({"call_id": "1", "uri": "1.wav", "month": MONTH, "speakers": 3}))
    settings = _settings(storage, language="es", languages=("es", "en"), speakers=2)
    (call,), _ = _read(storage, settings)
    assert CallHints("es", ("agent", "customer"), 3, ("es", "en")) == call.hints


@pytest.mark.parametrize("kind", ["jsonl", "csv", "parquet"])
def test_kinds_of_manifests(storage: Storage, kind: str) -> None:
    """The same calls, however they are written; call_ids that look like numbers keep their zeros."""
    rows = [
        {"call_id": f"00{number}", "uri": f"{number}.wav", "month": MONTH, "hot_words": ["x", "y"], "queue": "b, c"}
        for number in range(300)
    ]
    for row in rows[::50]:
        storage.put(str(row["uri"]), b"sound")
    if kind == "parquet":
        sink = io.BytesIO()
        pq.write_table(pa.Table.from_pylist(rows), sink)
        content = sink.getvalue()
    elif kind == "csv":
        lines = [f'{row["call_id"]},{row["uri"]},{MONTH},x; y,"b, c",\r\n' for row in rows]
        content = ("\ufeffcall_id,uri,month,hot_words,queue,empty\r\n" + "".join(lines)).encode()
    else:
        content = _lines(*rows)
    storage.put(f"lists/calls.{kind}", content)
    calls, rest = _read(storage, _settings(storage, f"lists/calls.{kind}"))
    assert ([], [f"00{number}" for number in range(300)]) == (rest, [call.call_id for call in calls])
    assert {(("x", "y"), "b, c")} == {(call.hints.hot_words, call.attributes["queue"]) for call in calls}
    assert [call.call_id for call in calls if call.etag] == [f"00{number}" for number in range(0, 300, 50)]


def test_what_a_manifest_says_of_the_object_is_not_asked_for(storage: Storage) -> None:
    """With etag and size in every row, no object is looked at."""
    row = {"call_id": "1", "uri": "nowhere.wav", "month": MONTH, "etag": "e1", "size_bytes": 7}
    storage.put("lists/calls.jsonl", _lines(row))
    (call,), _ = _read(storage, _settings(storage))
    assert ("e1", 7) == (call.etag, call.size_bytes)


def test_months(storage: Storage) -> None:
    """By the row, by when the call began in the archive's time zone, or by the manifest's own name."""
    rows = [
        {"call_id": "said", "uri": "a", "month": MONTH, "started_at": "2026-11-05T00:00:00Z"},
        {"call_id": "berlin", "uri": "b", "started_at": "2026-09-30T22:30:00Z"},
        {"call_id": "naive", "uri": "c", "started_at": "2026-10-01T00:10:00"},
        {"call_id": "other", "uri": "d", "started_at": "2026-10-31T23:30:00Z"},
        {"call_id": "unknown", "uri": "e"},
    ]
    storage.put("lists/calls.jsonl", _lines(*rows))
    calls, rest = _read(storage, _settings(storage, timezone="Europe/Berlin"))
    assert (["said", "berlin", "naive"], ["calls.jsonl, row 5"]) == ([call.call_id for call in calls], rest)
    storage.put("lists/2026/10.jsonl", _lines(*rows))
    calls, rest = _read(storage, _settings(storage, "lists/{year}/{month}.jsonl", timezone="Europe/Berlin"))
    assert (["said", "berlin", "naive", "other", "unknown"], []) == ([call.call_id for call in calls], rest)
    assert datetime(2026, 10, 1, 0, 10, tzinfo=ZoneInfo("Europe/Berlin")) == calls[2].started_at


def test_a_manifest_that_is_named_for_a_month(storage: Storage) -> None:
    """Its rows are of that month, whenever the call began; one that says another is named: no other list has it."""
    began = {"started_at": "2026-09-30T20:00:00Z"}
    rows = [
        {"call_id": "late", "uri": "a", **began},
        {"call_id": "said", "uri": "b", "month": MONTH, **began},
        {"call_id": "elsewhere", "uri": "c", "month": "2026-09"},
    ]
    storage.put("lists/2026-10.jsonl", _lines(*rows))
    calls, rest = _read(storage, _settings(storage, "lists/{year}-{month}.jsonl"))
    assert (["late", "said"], ["2026-10.jsonl, row 3"]) == ([call.call_id for call in calls], rest)


def test_a_manifest_that_is_named_for_a_year(storage: Storage) -> None:
    """Each of its months has its own rows; one of which no month is known is named."""
    rows = [
        {"call_id": "october", "uri": "a", "started_at": "2026-10-05T09:30:00Z"},
        {"call_id": "november", "uri": "b", "month": "2026-11"},
        {"call_id": "unknown", "uri": "c"},
    ]
    storage.put("lists/2026.jsonl", _lines(*rows))
    settings = _settings(storage, "lists/{year}.jsonl")
    for month, call_id in ((MONTH, "october"), ("2026-11", "november")):
        calls, rest = _read(storage, settings, month)
        assert ([call_id], ["2026.jsonl, row 3"]) == ([call.call_id for call in calls], rest)


@pytest.mark.parametrize(
    "odd",
    [
        '"started_at": 20261005',
        '"started_at": "20261005"',
        '"started_at": "1791187200"',
        '"started_at": 1791187200.5',
        '"started_at": "0001-01-01T00:00:00Z"',
        '"started_at": "9999-12-31T23:59:59Z"',
        '"month": "0206-10"',
        '"uri": "../x"',
        '"uri": "a/../x"',
        '"uri": "a\\u0000b"',
        '"uri": "\\ud800"',
        f'"uri": "{"k" * 1025}"',
        '"queue": "\\ud800"',
        '"\\ud800": "billing"',
        '"call_id": "\\ud800"',
        '"size_bytes": 1e20',
        '"size_bytes": 9223372036854775807',
        '"speakers": 9999999999',
        f'"hot_words": "{"[" * 200_000}"',
        f'"queue": {"[" * 200_000}{"]" * 200_000}',
        f'"queue": {"1" * 5000}',
    ],
    ids=range(21),
)
def test_an_odd_row_stops_nobody(storage: Storage, odd: str) -> None:
    """It is counted and named, and the rows after it are read."""
    good = '{"call_id": "good", "uri": "a", "month": "2026-10"}\n'
    content = f'{{"call_id": "odd", "uri": "b", {odd}}}\n{good}'
    storage.put("lists/2026-10.jsonl", content.encode())
    calls, rest = _read(storage, _settings(storage, "lists/{year}-{month}.jsonl"))
    assert (["good"], ["2026-10.jsonl, row 1"]) == ([call.call_id for call in calls], rest)


@pytest.mark.parametrize("key", ["/x", "a//x"])
def test_a_key_that_only_some_stores_can_hold(storage: Storage, key: str) -> None:
    """In a bucket it is a key like others; in a folder it is none, and its row is named."""
    storage.put("lists/calls.jsonl", _lines({"call_id": "odd", "uri": key, "month": MONTH}))
    calls, rest = _read(storage, _settings(storage))
    is_bucket = storage.uri.startswith("s3:")
    assert ([key] if is_bucket else [], is_bucket) == ([call.key for call in calls], rest == [])


def test_a_full_scratch_disk_stops_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is no failure of one call: there is none yet."""
    storage = open_storage(tmp_path.as_uri())
    storage.put("calls.jsonl", _lines({"call_id": "c", "uri": "a", "month": MONTH}))

    def full(*_: object, **__: object) -> None:
        raise ScratchFull

    monkeypatch.setattr("tasks.storage_file.write_whole", full)
    with pytest.raises(StorageRefused, match=r"the scratch folder .* is full: make room there"):
        _read(storage, _settings(storage, "calls.jsonl"))


def test_rows_that_are_no_calls_are_named(storage: Storage) -> None:
    """By their place: without an id, with values of another kind, or with an object outside of the archive."""
    rows = [
        {"uri": "a", "month": MONTH},
        {"call_id": "", "uri": "a", "month": MONTH},
        {"call_id": "c", "month": MONTH},
        {"call_id": "c", "uri": "a", "month": "2026-13"},
        {"call_id": "c", "uri": "a", "month": MONTH, "speakers": "many"},
        {"call_id": "c", "uri": "a", "month": MONTH, "language": "german"},
        {"call_id": "c", "uri": "s3://another-bucket/a", "month": MONTH},
        {"call_id": "good", "uri": "a", "month": MONTH},
    ]
    storage.put("lists/calls.jsonl", _lines(*rows))
    calls, rest = _read(storage, _settings(storage))
    assert ["good"] == [call.call_id for call in calls]
    assert [f"calls.jsonl, row {number}" for number in range(1, 8)] == rest


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("none.csv", None, "there is no archive.manifest"),
        ("calls.xlsx", b"", "must end in .parquet, .csv, .jsonl"),
        ("calls.csv", b"", "it has no column call_id and no column uri"),
        ("calls.csv", b"call_id,url\n1,2\n", "it has no column uri"),
        ("calls.csv", b'call_id,uri\n1,"a\n', "cannot be read after calls.csv"),
        ("calls.csv", b"call_id,uri\n1,\xff\n", "cannot be read after calls.csv"),
        ("calls.jsonl", b'{"call_id": "1", "uri": "a"}\n{"call_id"\n', "cannot be read after calls.jsonl, row 1"),
        ("calls.jsonl", b"[]\n", "a line is no JSON object"),
        ("calls.parquet", b"PAR1 or not", "cannot be read after calls.parquet"),
    ],
)
def test_manifests_that_cannot_be_read(tmp_path: Path, name: str, content: bytes | None, message: str) -> None:
    """Stop the run, by a sentence that names the file and how far it was read."""
    storage = open_storage(tmp_path.as_uri())
    if content is not None:
        storage.put(name, content)
    with pytest.raises(SettingsError, match=message):
        _read(storage, _settings(storage, name))


def test_a_uri_is_of_the_archive(storage: Storage) -> None:
    """Whole, or as a key; odd names too."""
    for name in ODD_NAMES:
        storage.put(name, b"sound")
    rows = [{"call_id": f"k{number}", "uri": name, "month": MONTH} for number, name in enumerate(ODD_NAMES)]
    rows += [
        {"call_id": f"u{number}", "uri": storage.object_uri(name), "month": MONTH}
        for number, name in enumerate(ODD_NAMES)
    ]
    storage.put("lists/calls.jsonl", _lines(*rows))
    calls, rest = _read(storage, _settings(storage))
    assert ([], [*ODD_NAMES, *ODD_NAMES]) == (rest, [call.key for call in calls])
    assert {5} == {call.size_bytes for call in calls}


def test_a_moment_without_a_zone_is_the_archives() -> None:
    """Also in the night in which a month ends."""
    row = ManifestRow(call_id="1", uri="a", started_at=datetime(2026, 10, 31, 23, 59))  # noqa: DTZ001  # on purpose
    assert MONTH == month_of(row, None, ZoneInfo("Asia/Kolkata"))


def test_a_month_by_manifest_from_beginning_to_end(tmp_path: Path) -> None:
    """Calls have fingerprints by their own hints; one whose object is not there is a row, and is done when it comes."""
    build_bundle(tmp_path / "models")
    for name in ("archive", "transcripts"):
        (tmp_path / name).mkdir()
    archive, transcripts = (open_storage((tmp_path / name).as_uri()) for name in ("archive", "transcripts"))
    archive.put("a.wav", wav(tone()))
    archive.put("b.wav", wav(tone(400)))
    names = {"de": "a.wav", "en": "b.wav", "fr": "late.wav"}
    rows = [{"call_id": one, "uri": uri, "month": MONTH, "language": one} for one, uri in names.items()]
    archive.put("calls.jsonl", _lines(*rows, {"call_id": "no-uri"}))
    plain = settings_of(tmp_path).model_dump(mode="json", exclude_unset=True)
    settings = load_settings(overrides=plain | {"archive": {"manifest": f"{archive.uri}/calls.jsonl"}})
    data = DataSet(transcripts)

    def run() -> RunSummary:
        head = plan_run(data, archive, MONTH, settings, fingerprints_of(settings))
        for number in range(1, head.jobs + 1):
            run_job(data, head, number, stand_in_models(tmp_path / "models"), settings, lambda _: None)
        return certify(data, head, 1.0)[0]

    first = run()
    assert ({"failed": 1, "transcribed": 2}, {"object_vanished": 1}) == (first.outcomes, first.errors)
    assert (1, 0, True) == (first.unmatched, first.other_fingerprints, first.accounted)
    assert 3 == len({row["fingerprint"] for row in data.read_calls(MONTH)})
    archive.put("late.wav", wav(tone(500)))
    second = run()
    assert ({"transcribed": 1}, 2, 0) == (second.outcomes, second.standing, second.other_fingerprints)
    third = run()
    assert ({}, 3, True) == (third.outcomes, third.standing, third.accounted)


# ---------- keys


def test_odd_keys_by_listing(storage: Storage) -> None:
    """Spaces, Unicode, plus, percent, quotes, dots, long names: each is a call, of the bytes behind its key."""
    for number, name in enumerate(ODD_NAMES):
        storage.put(f"2026/10/05/{name}", bytes([number]))
    calls, rest = _read(storage, ArchiveSettings())
    assert ([], {name.rpartition(".")[0] for name in ODD_NAMES}) == (rest, {call.call_id for call in calls})
    assert {call.call_id: storage.get(call.key, if_match=call.etag).data for call in calls} == {
        name.rpartition(".")[0]: bytes([number]) for number, name in enumerate(ODD_NAMES)
    }


PATTERN = (
    r"(?P<line>\w+)/rec_(?P<year>\d{4})(?P<month>\d\d)(?P<day>\d\d)-(?P<hour>\d\d)(?P<minute>\d\d)"
    r"_(?P<call_id>\d+)(_(?P<queue>\w+))?\.wav"
)


def test_a_regular_expression(storage: Storage) -> None:
    """Reads whole keys; what has no meaning of its own is an attribute; a group that took no part is none."""
    for key in ("l1/rec_20261005-0930_17_billing.wav", "l1/rec_20261006-1000_18.wav", "l2/notes.txt"):
        storage.put(key, b"sound")
    storage.put("l1/rec_20261105-0930_19.wav", b"of november")
    calls, rest = _read(storage, ArchiveSettings(key_pattern=PATTERN, timezone="Europe/Berlin"))
    assert (["17", "18"], ["l2/notes.txt"]) == ([call.call_id for call in calls], rest)
    assert [{"line": "l1", "queue": "billing"}, {"line": "l1"}] == [dict(call.attributes) for call in calls]
    assert datetime(2026, 10, 5, 9, 30, tzinfo=ZoneInfo("Europe/Berlin")) == calls[0].started_at


def test_a_prefix_narrows_the_listing(storage: Storage) -> None:
    """What lies outside of it is not looked at, and so not accounted for."""
    for key in ("2026-10/a.wav", "2026-10/note", "2026-11/b.wav", "note"):
        storage.put(key, b"sound")
    pattern = r"(?P<year>\d+)-(?P<month>\d+)/(?P<call_id>\w+)\.wav"
    settings = ArchiveSettings(key_pattern=pattern, key_prefix="{year}-{month}/")
    calls, rest = _read(storage, settings)
    assert (["a"], ["2026-10/note"]) == ([call.call_id for call in calls], rest)
    assert f"{storage.uri}/2026-10/" == archive_of(storage, MONTH, settings)


def test_call_ids_that_a_recorder_uses_again() -> None:
    """Are made unique by other fields of the key."""
    settings = ArchiveSettings(call_id_template="{year}{month}{day}-{call_id}")
    read = [KeyReader(settings).read(f"2026/10/{day}/17.wav") for day in ("05", "06")]
    assert ["20261005-17", "20261006-17"] == [one.call_id for one in read if one]


@pytest.mark.parametrize(
    ("archive", "message"),
    [
        ({"key_pattern": "("}, "archive.key_pattern: is no regular expression"),
        ({"key_pattern": r"(?P<year>\d+)/(?P<call_id>\w+)"}, r"must have the named groups \(\?P<month>…\)"),
        ({"call_id_template": "{year}"}, r"must hold \{call_id\}"),
        ({"call_id_template": "{agent}-{call_id}"}, r"not \{agent\}"),
        ({"call_id_template": "{agent-id}{call_id}"}, "named by letters"),
        ({"manifest": "calls.csv"}, "archive.manifest: must be a URI"),
    ],
)
def test_settings_that_cannot_be(archive: dict[str, str], message: str) -> None:
    """Said before anything is listed."""
    with pytest.raises(SettingsError, match=message):
        load_settings(overrides={"archive": archive})
