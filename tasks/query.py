"""SQL over the data set: DuckDB with the views `calls`, `utterances` and `words`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from tasks.errors import QueryError
from tasks.storage import Storage
from tasks.tables import open_table

if TYPE_CHECKING:
    import duckdb

# A bare read of `utterances` may for moments see superseded rows; the join on transcript_id never does.
_VIEWS = """
CREATE VIEW calls AS SELECT * FROM calls_files;
CREATE VIEW utterances AS
    SELECT u.* FROM utterances_files AS u SEMI JOIN calls_files AS c USING (transcript_id);
CREATE VIEW changes AS SELECT * FROM changes_files;
CREATE VIEW words AS
    SELECT call_id, transcript_id, "index" AS utterance, speaker, channel,
           w.text AS text, w.start AS start, w."end" AS "end", w.probability AS probability, w.overlap AS overlap, month
    FROM (SELECT *, unnest(words) AS w FROM utterances);
"""


def connect(storage: Storage) -> duckdb.DuckDBPyConnection:
    """Open an in-memory DuckDB whose views read the data set where it lies, on S3 or in a folder.

    Raises:
        StorageRefused: the data set cannot be reached.
    """
    import duckdb

    storage.check()
    connection = duckdb.connect(config={"autoinstall_known_extensions": "false", "autoload_known_extensions": "false"})
    connection.execute("SET TimeZone = 'UTC'")
    access = storage.direct_access()
    connection.register("calls_files", open_table(access, "calls"))
    connection.register("utterances_files", open_table(access, "utterances"))
    connection.register("changes_files", open_table(access, "changes"))
    connection.execute(_VIEWS)
    return connection


def run_query(storage: Storage, sql: str) -> tuple[list[str], list[tuple[Any, ...]]]:
    """Answer one SQL statement.

    Returns:
        column names, and rows.

    Raises:
        QueryError: DuckDB refuses the statement; its message says why.
    """
    with connect(storage) as connection, _explained():
        result = connection.execute(sql)
        names = [column[0] for column in result.description or ()]
        return names, result.fetchall()


def read_transcript(storage: Storage, call_id: str) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """One call: its row of `calls`, and its utterances in order.

    Raises:
        QueryError: the data set does not hold the call, or cannot be read.
    """
    with connect(storage) as connection, _explained():
        found = connection.execute("SELECT * FROM calls WHERE call_id = ? ORDER BY month DESC LIMIT 1", [call_id])
        rows = found.to_arrow_table().to_pylist()
        if not rows:
            message = f"{storage.uri} holds no call {call_id!r}; `callscribe query` finds which call_ids there are"
            raise QueryError(message)
        spoken = connection.execute(
            'SELECT * FROM utterances WHERE transcript_id = ? ORDER BY "index"', [rows[0]["transcript_id"]]
        )
        return rows[0], spoken.to_arrow_table().to_pylist()


def read_utterances(
    storage: Storage, call_ids: Sequence[str], month: str | None = None
) -> tuple[list[str], list[dict[str, Any]]]:
    """What was said in some calls, as far as they were transcribed or found silent.

    Args:
        storage: the data set.
        call_ids: which calls.
        month: only this month, `YYYY-MM`; all when None.

    Returns:
        the call_id of every such row of `calls` (twice where a call is in two months), and the rows of `utterances`.

    Raises:
        QueryError: the data set cannot be read.
    """
    with connect(storage) as connection, _explained():
        calls = connection.execute(
            "SELECT call_id, transcript_id FROM calls"
            " WHERE outcome <> 'failed' AND list_contains($ids, call_id) AND ($month IS NULL OR month = $month)",
            {"ids": list(call_ids), "month": month},
        ).fetchall()
        spoken = connection.execute(
            "SELECT * FROM utterances WHERE list_contains($transcripts, transcript_id)",
            {"transcripts": [transcript for _, transcript in calls]},
        )
        return [call_id for call_id, _ in calls], spoken.to_arrow_table().to_pylist()


@contextmanager
def _explained() -> Iterator[None]:
    """Turn what DuckDB says no to, a damaged file included, into our error."""
    import duckdb

    try:
        yield
    except duckdb.Error as error:
        message = f"DuckDB refuses the query: {error}"
        raise QueryError(message) from error
