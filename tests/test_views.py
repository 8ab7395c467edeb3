"""The views of `callscribe query` and `shell`: what reads them, on folders and on S3, and the view of certificates."""

import secrets
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path

import duckdb
import pyarrow.parquet as pq
import pytest
from builders import call_ref, outcome, provenance, transcript, utterance
from conftest import BUCKET
from queried_months import OCTOBER_RUN, SEPTEMBER_RUN, fill, october, september

from flows.s3_server import LocalS3Server
from tasks.certificates import append, certificate_key
from tasks.certified_runs import read_runs, run_rows
from tasks.dataset import DataSet
from tasks.errors import QueryError
from tasks.query import answer, explained, read_transcript, run_query
from tasks.rows import rows_of
from tasks.schemas import RUNS, VIEWS, comments
from tasks.shards import may_hold, object_key, shard_of
from tasks.storage import S3Access, Storage, StorageOptions, open_storage
from tasks.views import Database, Reader, choose_reader, use_credentials

COUNTS = (
    "SELECT (SELECT count(*) FROM calls), (SELECT count(*) FROM utterances), (SELECT count(*) FROM words),"
    " (SELECT count(*) FROM runs)"
)
HELD = [one for one in (*september(), *october()) if one.transcript is not None]
SPOKEN = [said for one in HELD if one.transcript for said in one.transcript.utterances]
COUNTED = [(10, len(SPOKEN), sum(len(said.words) for said in SPOKEN), 5)]
IN_OCTOBER = "SELECT call_id FROM utterances WHERE month = '2026-10' AND says(text, 'cancel my contract')"
HAS_HTTPFS = find_spec("duckdb_extension_httpfs") is not None
NEEDS_HTTPFS = pytest.mark.skipif(not HAS_HTTPFS, reason="the package duckdb-extension-httpfs is not installed")
S3_READERS = ["pyarrow", pytest.param("duckdb", marks=NEEDS_HTTPFS)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Storage:
    """The small data set in a folder."""
    found = open_storage(tmp_path_factory.mktemp("transcripts").as_uri())
    fill(found)
    return found


@pytest.fixture
def bucket(folder: Storage, s3_environment: LocalS3Server) -> Iterator[str]:
    """The same in a bucket; its URI."""
    assert s3_environment.pid
    uri = f"s3://{BUCKET}/{secrets.token_hex(8)}/with space"
    target = open_storage(uri)
    for info in folder.list():
        target.put(info.key, folder.get(info.key).data)
    yield uri
    for info in list(target.list()):
        target.delete(info.key)


@pytest.mark.parametrize("reader", ["duckdb", "pyarrow"])
def test_a_folder(folder: Storage, reader: Reader) -> None:
    """DuckDB and pyarrow read the same out of a folder."""
    with Database(folder, reader=reader) as database:
        assert COUNTED == answer(database, COUNTS)[1]
        assert [("cancels",)] == answer(database, IN_OCTOBER)[1]


@pytest.mark.parametrize("reader", S3_READERS)
@pytest.mark.parametrize("path_style", [True, None])
def test_s3(bucket: str, s3_server: LocalS3Server, reader: Reader, *, path_style: bool | None) -> None:
    """Both read a bucket behind an endpoint of its own, without TLS."""
    options = StorageOptions(endpoint_url=s3_server.endpoint_url, path_style=path_style)
    with Database(open_storage(bucket, options), reader=reader) as database:
        assert COUNTED == answer(database, COUNTS)[1]
        assert [("cancels",)] == answer(database, IN_OCTOBER)[1]


def test_s3_without_httpfs(bucket: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Where DuckDB has no extension for S3, pyarrow reads, and nothing is downloaded."""
    monkeypatch.setattr("tasks.views.find_spec", lambda _: None)
    monkeypatch.setenv("HOME", str(tmp_path))
    with Database(open_storage(bucket)) as database:
        assert "pyarrow" == database.reader
        assert [("cancels",)] == answer(database, IN_OCTOBER)[1]
    assert [] == list(tmp_path.rglob("*"))
    with pytest.raises(QueryError, match="duckdb-extension-httpfs"):
        Database(open_storage(bucket), reader="duckdb")


@NEEDS_HTTPFS
def test_s3_with_httpfs(bucket: str) -> None:
    """Where the extension is there, DuckDB reads S3 itself."""
    with Database(open_storage(bucket)) as database:
        assert "duckdb" == database.reader


@pytest.mark.parametrize("reader", S3_READERS)
def test_tls_is_asked_for_where_the_endpoint_has_it(
    s3_server: LocalS3Server, s3_environment: LocalS3Server, reader: Reader
) -> None:
    """An endpoint with https is spoken to by TLS alone: the server here has none, so that nothing is read."""
    assert s3_environment.pid
    plain = open_storage(f"s3://{BUCKET}/{secrets.token_hex(8)}")
    plain.put(object_key("calls", "2026-10", 0, 1), b"PAR1")

    class OverTls(type(plain)):  # type: ignore[misc]  # lists without TLS, so that only the reader speaks it
        def direct_access(self) -> S3Access:
            held = super().direct_access()
            return S3Access(**{name: getattr(held, name) for name in S3Access.__slots__} | {"scheme": "https"})

    store = OverTls(plain.uri, StorageOptions(endpoint_url=s3_server.endpoint_url, max_attempts=1))
    with pytest.raises(QueryError, match=r"(?i)ssl|tls|curl"), Database(store, reader=reader) as database:
        answer(database, "SELECT call_id FROM calls")


@NEEDS_HTTPFS
def test_a_refused_secret_shows_no_key() -> None:
    """DuckDB's message about a secret may hold it, and is not passed on."""
    wrong = S3Access("bucket", "", "host:1", "http", "x", True, None, "key", "hidden", "token")  # noqa: FBT003
    with duckdb.connect() as connection:  # without the extension, no secret of this type is known
        connection.execute("SET autoload_known_extensions = false")
        with pytest.raises(QueryError) as told:
            use_credentials(connection, wrong)
    assert "hidden" not in told.value.message
    assert "s3://bucket" in told.value.message


def test_a_folder_whose_name_is_a_pattern(tmp_path: Path) -> None:
    """DuckDB would take [1] for a pattern: pyarrow reads such a folder."""
    place = tmp_path / "set[1]*?"
    place.mkdir()
    fill(open_storage(place.as_uri()))
    with Database(open_storage(place.as_uri())) as database:
        assert "pyarrow" == choose_reader(open_storage(place.as_uri()).direct_access(), database.connection)
        assert [("cancels",)] == answer(database, IN_OCTOBER)[1]


def test_a_quote_in_a_folder(tmp_path: Path) -> None:
    """A name with a quote in it is a name."""
    place = tmp_path / "month=2020-01" / "it's; DROP"
    place.mkdir(parents=True)
    fill(open_storage(place.as_uri()))
    assert [("2026-09", 2), ("2026-10", 8)] == run_query(
        open_storage(place.as_uri()), "SELECT month, count(*) FROM calls GROUP BY ALL ORDER BY ALL"
    )[1]


def test_only_files_of_the_month_are_opened(folder: Storage) -> None:
    """A filter on the month is one on files, of whose others nothing is read."""
    with Database(folder) as database:
        plan = answer(database, "EXPLAIN ANALYZE SELECT call_id FROM calls WHERE month = '2026-10'")[1][0][1]
    assert "Scanning Files: 2/3" in plan


@pytest.mark.parametrize("reader", ["duckdb", "pyarrow"])
def test_each_statement_sees_what_is_there_then(
    tmp_path: Path, reader: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A shard that is rewritten while the database is open is read anew."""
    storage = open_storage(tmp_path.as_uri())
    data = DataSet(storage)
    data.fix_shards("2026-10", 1)
    counted = "SELECT count(DISTINCT call_id), count(*) FILTER (says(text, 'word*')) FROM utterances"
    with Database(storage, reader=reader) as database:
        monkeypatch.setattr("tasks.views.LISTED_FOR_S", 0.0)
        assert [(0, 0)] == answer(database, counted)[1]
        for number in range(1, 4):
            spoken = transcript([utterance(f"word{place} " * 9, 5.0 * place) for place in range(10 * number)])
            found = outcome(call_ref(f"call-{number}"), transcript=spoken)
            data.commit("2026-10", 0, 1, [rows_of(found, provenance())])
            assert [(number, 5 * number * (number + 1))] == answer(database, counted)[1]
            monkeypatch.setattr("tasks.views.LISTED_FOR_S", 60.0)


def test_one_call_is_looked_for_in_its_own_files(folder: Storage, tmp_path: Path) -> None:
    """`callscribe show` opens the files that may hold the call: a damaged one beside them does no harm."""
    place = Path(shutil.copytree(folder.uri.removeprefix("file://"), tmp_path / "set"))
    storage = open_storage(place.as_uri())
    other = 1 - shard_of("cancels", 2)
    for name in ("calls", "utterances"):
        for month in ("2026-09", "2026-10"):
            path = place / object_key(name, month, other, 2)  # type: ignore[arg-type]
            if path.exists():
                path.write_bytes(b"damaged")
    row, spoken = read_transcript(storage, "cancels")
    assert ("cancels", 5) == (row["call_id"], len(spoken))
    with pytest.raises(QueryError):
        run_query(storage, "SELECT count(duration_s) FROM calls")


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        ("calls/month=2026-10/shard-0059-of-0120.parquet", True),
        ("calls/month=2026-10/shard-0058-of-0120.parquet", False),
        ("calls/month=2026-10/shard-0000-of-0001.parquet", True),
        ("calls/month=2026-10/somebody-elses.parquet", True),
    ],
)
def test_which_files_may_hold_a_call(key: str, *, expected: bool) -> None:
    """By the name of the shard; a file of another name may hold anything."""
    assert expected == may_hold(key, "demo-0001")


@pytest.mark.parametrize(
    ("text", "phrase", "expected"),
    [
        ("I want to cancel my contract.", "cancel my contract", True),
        ("I want to CANCEL, my… contract", "Cancel my contract!", True),
        ("cancel\nmy\tcontract", "cancel my contract", True),
        ("I cancelled my contract", "cancel my contract", False),
        ("I cancelled my contract", "cancel* my contract", True),
        ("I want to cancel the contract", "cancel my contract", False),
        ("it is uncancel my contract", "cancel my contract", False),
        ("SEPA-Mandat, bitte", "sepa mandat", True),
        ("Ich möchte KÜNDIGEN.", "kündig*", True),
        ("kündigen", "kundigen", False),
        ("don\u2019t do that", "don't", True),
        ("number 4471-9025", "4471 9025", True),
        ("a (b) c+d [e] \\ $ .", "b c d e", True),
        ("abc", ".", None),
        ("abc", "", None),
        (None, "abc", None),
        ("Тариф «Семья»", "тариф семья", True),
    ],
)
def test_says(folder: Storage, text: str | None, phrase: str, *, expected: bool | None) -> None:
    """Words in their order, whatever stands between them, in any case; `*` is any ending; without words, nothing."""
    with Database(folder) as database, explained():
        assert [(expected,)] == database.execute("SELECT says(?, ?)", [text, phrase]).fetchall()


def test_a_phrase_is_compiled_once(folder: Storage) -> None:
    """The expression of a phrase is a constant of the plan: DuckDB would else make it anew for every row."""
    with Database(folder) as database:
        asked = "SELECT count(*) FROM utterances WHERE says(text, 'cancel my contract')"
        plan = answer(database, f"EXPLAIN (FORMAT json) {asked}")[1][0][1]
    assert "phrase_pattern" not in plan
    assert "regexp_replace" not in plan
    assert "(?i)" in plan


def test_runs(folder: Storage) -> None:
    """One row per certificate: what a run did, the same run gone on with, an erasure, and a kind nobody knows."""
    names = (
        "number, kind, run_id, month, latest, final, adopted, planned, transcribed, no_speech, failed, erased, wall_s"
    )
    _, rows = run_query(folder, f"SELECT {names} FROM runs ORDER BY number")
    assert [
        (1, "run", SEPTEMBER_RUN, "2026-09", True, True, False, 2, 2, 0, 0, 0, 1800.0),
        (2, "run", OCTOBER_RUN, "2026-10", False, False, False, 8, 4, 1, 3, 0, 900.0),
        (3, "run", OCTOBER_RUN, "2026-10", True, True, True, 8, 4, 1, 3, 0, 1800.0),
        (4, "erasure", "erasure-20261105T100000Z", "2026-10", True, None, None, None, None, None, None, 2, None),
        (5, "prophecy", "p-1", None, True, None, None, None, None, None, None, None, None),
    ] == rows
    _, rows = run_query(
        folder,
        "SELECT accounted, errors['object_refused'], reasons['new'], estimated_hours, bundle, began_at"
        " FROM Runs WHERE number = 1 OR number = 3 ORDER BY number",
    )
    planned_at = datetime(2026, 11, 2, 2, tzinfo=UTC)
    assert [(True, None, 2, 0.25, "starter", planned_at), (True, 2, 8, 0.25, "starter", planned_at)] == rows


@pytest.mark.parametrize(
    "content",
    [
        {},
        {"run": 1, "result": None, "erased": [], "versions": "1", "written_at": 3},
        {"run": {"calls": "many", "month": 10, "created_at": "soon"}, "result": {"outcomes": {"failed": True}}},
        {"result": {"errors": {"x": "y", "z": 1}, "audio_s": True, "outcomes": []}, "erased": {}},
    ],
)
def test_certificates_of_other_forms(content: dict[str, object]) -> None:
    """What is not there, or is of another type, is null, and never stops a query."""
    row = run_rows([{"number": 7, "kind": "new", "subject": "s", "content": content}])[0]
    assert set(RUNS.names) == set(row)
    assert (7, "new", "s") == (row["number"], row["kind"], row["run_id"])
    assert {None} >= {row[name] for name in ("month", "planned", "failed", "audio_s", "began_at", "ended_at")}
    assert row["errors"] in (None, [("z", 1)])


def test_a_damaged_certificate_is_named(tmp_path: Path) -> None:
    """Who asks for runs hears of it, and nobody else."""
    storage = open_storage(tmp_path.as_uri())
    append(storage, "run", "r", {})
    assert 1 == len(read_runs(storage))
    storage.put(certificate_key(2), b"[1, 2")
    with pytest.raises(QueryError, match=r"00000002\.json is damaged"):
        run_query(storage, "SELECT count(*) FROM runs")
    assert [(0,)] == run_query(storage, "SELECT count(*) FROM calls")[1]


def test_a_view_that_was_made_of_runs_stays_full(folder: Storage) -> None:
    """Certificates are read for statements that name runs, and for those after one that did."""
    with Database(folder) as database:
        answer(database, "CREATE VIEW mine AS SELECT * FROM runs")
        assert [(5,)] == answer(database, "SELECT count(*) FROM mine")[1]


@pytest.mark.parametrize("view", VIEWS)
def test_every_column_of_a_view_is_explained(folder: Storage, view: str) -> None:
    """The views have the columns that the documentation explains, in that order, and the month."""
    with Database(folder) as database:
        columns = [row[0] for row in answer(database, f"DESCRIBE {view}")[1]]
    assert columns == list(comments(view))  # type: ignore[arg-type]


def test_page_checksums_are_written(folder: Storage) -> None:
    """What the engines read can be checked by them."""
    path = next(Path(folder.uri.removeprefix("file://")).glob("calls/*/*.parquet"))
    assert pq.read_table(path, page_checksum_verification=True).num_rows


def test_nothing_is_downloaded(folder: Storage, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A query that would need an extension that is not there is refused, and does not fetch it."""
    monkeypatch.setenv("HOME", str(tmp_path))
    with Database(folder) as database, pytest.raises(QueryError, match="httpfs"):
        answer(database, "SELECT * FROM 'https://127.0.0.1:9/nothing.parquet'")
    assert [] == list(tmp_path.rglob("*"))
