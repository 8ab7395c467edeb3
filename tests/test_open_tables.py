"""The data set opens in other people's tools: DuckDB, pandas and pyarrow, without any of our code."""

import secrets
from pathlib import Path
from urllib.parse import urlsplit

import duckdb
import pandas as pd
import pyarrow.dataset as pads
import pyarrow.fs as pafs
import pytest
from builders import call_ref, failure, outcome, provenance, transcript, utterance
from conftest import BUCKET

from flows.s3_server import LocalS3Server
from tasks.dataset import DataSet
from tasks.query import run_query
from tasks.rows import rows_of
from tasks.schemas import SCHEMAS
from tasks.shards import object_key, shard_of
from tasks.storage import Storage, open_storage
from tasks.tables import table_of, to_parquet

MONTHS = ("2026-09", "2026-10")
SHARDS = 2
TEXTS = ("guten Tag", "what can I do for you")
CALL_IDS = ("call-0", "call-1", "call-2", "call-5")


def _fill(storage: Storage) -> None:
    """Commit three transcribed calls and a failed one to each of two months, and control files beside them."""
    data = DataSet(storage)
    data.prove_safe()
    spoken = transcript([utterance(text, float(start), speaker="agent") for start, text in enumerate(TEXTS)])
    for month in MONTHS:
        data.fix_shards(month, SHARDS)
        for call_id in CALL_IDS:
            call = call_ref(call_id, month=month, attributes={"queue": "sales"})
            found = outcome(call, transcript=spoken)
            if call_id == CALL_IDS[-1]:
                found = outcome(call, failure=failure())
            data.commit(month, shard_of(call_id, SHARDS), SHARDS, [rows_of(found, provenance())])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that holds the data set."""
    root = tmp_path_factory.mktemp("transcripts")
    _fill(open_storage(root.as_uri()))
    return root


def test_two_shards_are_in_use(folder: Path) -> None:
    """The data set under test has files in both shards of each month."""
    names = sorted(path.relative_to(folder / "calls").as_posix() for path in (folder / "calls").rglob("*.parquet"))
    assert [f"month={month}/shard-000{shard}-of-0002.parquet" for month in MONTHS for shard in (0, 1)] == names


def test_duckdb(folder: Path) -> None:
    """Plain DuckDB reads both tables, sees months as text, joins them, and unnests words."""
    duckdb.sql(f"CREATE OR REPLACE VIEW c AS FROM read_parquet('{folder}/calls/*/*.parquet', hive_partitioning=true)")
    duckdb.sql(f"CREATE OR REPLACE VIEW u AS FROM read_parquet('{folder}/utterances/*/*.parquet')")
    assert [("2026-09", 4), ("2026-10", 4)] == duckdb.sql("SELECT month, count(*) FROM c GROUP BY ALL ORDER BY 1"
                                                          ).fetchall()  # fmt: skip
    assert [("failed", 2), ("transcribed", 6)] == duckdb.sql(
        "SELECT outcome, count(*) FROM c GROUP BY ALL ORDER BY 1"
    ).fetchall()
    assert [(TEXTS[0], "guten", 0.0), (TEXTS[0], "Tag", 0.4)] == duckdb.sql(
        "SELECT text, w.text, w.start FROM (SELECT *, unnest(words) AS w FROM u SEMI JOIN c USING (transcript_id))"
        " WHERE month = '2026-10' AND call_id = 'call-1' AND \"index\" = 0 ORDER BY w.start"
    ).fetchall()
    assert [("sales",)] == duckdb.sql("SELECT DISTINCT attributes['queue'] FROM c").fetchall()


def test_duckdb_reads_one_month_only(folder: Path) -> None:
    """A filter on the month is one on files."""
    plan = duckdb.sql(
        f"EXPLAIN ANALYZE SELECT call_id FROM read_parquet('{folder}/calls/*/*.parquet') WHERE month = '2026-10'"
    ).fetchall()[0][1]
    assert "Scanning Files: 2/4" in plan


def test_duckdb_shows_comments(folder: Path) -> None:
    """The meaning of a column can be read from the file by whoever has only the file."""
    file = next((folder / "calls").rglob("*.parquet"))
    keys = [key for (key,) in duckdb.sql(f"SELECT key FROM parquet_kv_metadata('{file}')").fetchall()]
    assert {b"callscribe.schema_version", b"callscribe.write_id", b"ARROW:schema"} <= set(keys)


def test_our_views_read_files_of_older_code(tmp_path: Path) -> None:
    """Columns that an older shard lacks are null beside a newer shard that has them, whatever their type."""
    storage = open_storage(tmp_path.as_uri())
    added = {"languages", "recognition", "set_aside", "translation"}
    for shard, lacking in enumerate((added, set())):
        found = rows_of(outcome(f"call-{shard}"), provenance(run_id=f"run-{shard}"))
        for name, rows in (("calls", [found.call]), ("utterances", found.utterances)):
            columns = [column for column in SCHEMAS[name].names if column not in lacking]
            content = to_parquet(table_of(rows, SCHEMAS[name]).select(columns))
            storage.put(object_key(name, "2026-10", shard, SHARDS), content)
    _, found = run_query(
        storage,
        "SELECT c.call_id, languages['en'], recognition.chunks, set_aside, translation"
        " FROM calls AS c JOIN utterances USING (transcript_id) ORDER BY ALL",
    )
    assert [("call-0", None, None, None, None), ("call-1", 1.0, 1, [], None)] == found


def test_pandas(folder: Path) -> None:
    """Pandas reads a table as the folder that it is, with the month as a column and words nested."""
    calls = pd.read_parquet(folder / "calls")
    spoken = pd.read_parquet(folder / "utterances", filters=[("month", "=", "2026-10")])
    assert {"2026-09": 4, "2026-10": 4} == calls["month"].astype(str).value_counts().to_dict()
    assert 6 == len(spoken)
    first = spoken[(spoken["call_id"] == "call-0") & (spoken["index"] == 0)].iloc[0]
    assert (TEXTS[0], "agent") == (first["text"], first["speaker"])
    assert ["guten", "Tag"] == [word["text"] for word in first["words"]]
    joined = calls[["month", "call_id", "transcript_id", "outcome"]].merge(spoken, on="transcript_id")
    assert {"transcribed"} == set(joined["outcome"])


def _assert_opens(calls: pads.Dataset, utterances: pads.Dataset) -> None:
    of_october = pads.field("month") == "2026-10"
    assert list(CALL_IDS) == sorted(calls.to_table(filter=of_october)["call_id"].to_pylist())
    table = utterances.to_table(filter=of_october & (pads.field("call_id") == "call-2")).sort_by("index")
    assert list(TEXTS) == table["text"].to_pylist()
    assert {"text": "guten", "start": 0.0, "end": 0.4, "probability": 0.9, "overlap": False} == table["words"][
        0
    ].as_py()[0]
    assert b"seconds" in calls.schema.field("duration_s").metadata[b"comment"]
    assert {"2026-09", "2026-10"} == set(calls.to_table(columns=["month"])["month"].to_pylist())


def test_pyarrow(folder: Path) -> None:
    """Pyarrow opens a table as a Hive-partitioned data set, column comments included."""
    _assert_opens(*(pads.dataset(folder / name, partitioning="hive") for name in ("calls", "utterances")))


def test_pyarrow_on_s3(s3_environment: LocalS3Server) -> None:
    """The same from a bucket, by pyarrow's own S3 client."""
    prefix = secrets.token_hex(8)
    _fill(open_storage(f"s3://{BUCKET}/{prefix}"))
    keys = s3_environment.environment()
    bucket = pafs.S3FileSystem(
        access_key=keys["AWS_ACCESS_KEY_ID"],
        secret_key=keys["AWS_SECRET_ACCESS_KEY"],
        endpoint_override=urlsplit(s3_environment.endpoint_url).netloc,
        scheme="http",
        region="us-east-1",
    )
    tables = (f"{BUCKET}/{prefix}/{name}" for name in ("calls", "utterances"))
    _assert_opens(*(pads.dataset(table, filesystem=bucket, partitioning="hive") for table in tables))
