"""Questions to the data set, by SQL over the views of `tasks.views`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from tasks.errors import QueryError
from tasks.storage import Storage
from tasks.views import Database, Reader

if TYPE_CHECKING:
    import duckdb


def connect(storage: Storage) -> duckdb.DuckDBPyConnection:
    """A DuckDB connection with the views; it shows the files that are there now, and no runs.

    Raises:
        StorageRefused: the data set cannot be reached.
    """
    return Database(storage).connection


def run_query(storage: Storage, sql: str, most: int | None = None) -> tuple[list[str], list[tuple[Any, ...]]]:
    """Answer one SQL statement; see `answer`.

    Returns:
        column names, and rows.

    Raises:
        QueryError: DuckDB refuses the statement; its message says why.
    """
    with Database(storage) as database:
        return answer(database, sql, most)


def answer(database: Database, sql: str, most: int | None = None) -> tuple[list[str], list[tuple[Any, ...]]]:
    """Answer one SQL statement.

    Args:
        database: the views.
        sql: the statement.
        most: fetch no more rows than these; all when None.

    Returns:
        column names, and rows.

    Raises:
        QueryError: DuckDB refuses the statement; its message says why.
    """
    try:
        with explained():
            result = database.execute(sql)
            names = [column[0] for column in result.description or ()]
            return names, result.fetchall() if most is None else result.fetchmany(most)
    except KeyboardInterrupt:
        database.connection.interrupt()  # else its threads go on, and the next statement waits for them
        raise


def read_transcript(
    storage: Storage, call_id: str, reader: Reader | None = None
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """One call: its row of `calls`, and its utterances in order.

    Only the files that may hold it are opened: one of each table and month.

    Args:
        storage: the data set.
        call_id: the call.
        reader: who reads the files; found out when left out.

    Raises:
        QueryError: the data set does not hold the call, or cannot be read.
    """
    with Database(storage, call_id, reader) as database, explained():
        found = database.execute("SELECT * FROM calls WHERE call_id = ? ORDER BY month DESC LIMIT 1", [call_id])
        rows = found.to_arrow_table().to_pylist()
        if not rows:
            message = f"{storage.uri} holds no call {call_id!r}; `callscribe query` finds which call_ids there are"
            raise QueryError(message)
        spoken = database.execute(
            'SELECT * FROM utterances WHERE transcript_id = ? ORDER BY "index"', [rows[0]["transcript_id"]]
        )
        return rows[0], spoken.to_arrow_table().to_pylist()


def read_utterances(
    storage: Storage, call_ids: Sequence[str], month: str | None = None
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """What was said in some calls, as far as they were transcribed or found silent.

    Args:
        storage: the data set.
        call_ids: which calls.
        month: only this month, `YYYY-MM`; all when None.

    Returns:
        every such row of `calls` (two of a call that is in two months), and the rows of `utterances`.

    Raises:
        QueryError: the data set cannot be read.
    """
    with Database(storage) as database, explained():
        calls = database.execute(
            "SELECT * FROM calls"
            " WHERE outcome <> 'failed' AND list_contains($ids, call_id) AND ($month IS NULL OR month = $month)",
            {"ids": list(call_ids), "month": month},
        )
        rows = calls.to_arrow_table().to_pylist()
        spoken = database.execute(
            "SELECT * FROM utterances WHERE list_contains($transcripts, transcript_id)",
            {"transcripts": [row["transcript_id"] for row in rows]},
        )
        return rows, spoken.to_arrow_table().to_pylist()


@contextmanager
def explained() -> Iterator[None]:
    """Turn what DuckDB says no to, a damaged file included, into our error.

    Raises:
        QueryError: it said no.
        KeyboardInterrupt: the person did, by Ctrl-C.
    """
    import duckdb

    try:
        yield
    except (RuntimeError, duckdb.InterruptException) as error:
        if "interrupted" not in str(error).lower():
            raise
        raise KeyboardInterrupt from error  # DuckDB has made something else of Ctrl-C
    except duckdb.Error as error:
        message = f"DuckDB refuses the query: {error}"
        raise QueryError(message) from error
