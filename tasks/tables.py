"""Rows as Arrow tables, Parquet bytes and data sets. pyarrow is used here and in `schemas.py` alone."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tasks.errors import QueryError
from tasks.schemas import CALLS, SCHEMA_VERSION, Row, with_month
from tasks.shards import Table
from tasks.storage import DirectAccess, FolderAccess

if TYPE_CHECKING:
    import pyarrow.dataset as pads
    import pyarrow.fs as pafs

ArrowTable: TypeAlias = pa.Table
"""For the annotations of those who do not import pyarrow."""

_VERSION_KEY = b"callscribe.schema_version"
_WRITE_KEY = b"callscribe.write_id"

# Measured on made-up calls (evaluation/benchmarks/phrase_search.md): level 2 takes as long as level 1 and a fifth less
# room, and level 3 no less; groups of this size are read by several threads, and take 1 % more room than one.
COMPRESSION_LEVEL = 2
ROWS_PER_GROUP = 65_536
# Values that hardly repeat: a dictionary of them is written, found too large, and given up.
_SELDOM_REPEATED = frozenset(
    {"text", "translation", "start", "end", "confidence", "words.list.element.start", "words.list.element.end"}
)


def table_of(rows: Sequence[Row], schema: pa.Schema) -> pa.Table:
    """An Arrow table of rows."""
    return pa.Table.from_pylist(list(rows), schema=schema)


def to_parquet(table: pa.Table, write_id: str = "") -> bytes:
    """Parquet bytes (zstd) of a table, with the schema version and who wrote it in the file's metadata.

    Every row group and every page of it has statistics.
    """
    ours = {_VERSION_KEY: str(SCHEMA_VERSION).encode(), _WRITE_KEY: write_id.encode()}
    metadata = {**(table.schema.metadata or {}), **ours}
    sink = pa.BufferOutputStream()
    pq.write_table(
        table.replace_schema_metadata(metadata),
        sink,
        row_group_size=ROWS_PER_GROUP,
        compression="zstd",
        compression_level=COMPRESSION_LEVEL,
        use_dictionary=_repeating(table.schema),
        write_page_index=True,
        write_page_checksum=True,
    )
    content: bytes = sink.getvalue().to_pybytes()
    return content


@lru_cache(maxsize=8)
def _repeating(schema: pa.Schema) -> list[str]:
    """Paths of the Parquet columns that get a dictionary."""
    sink = pa.BufferOutputStream()
    pq.write_table(schema.empty_table(), sink)
    columns = pq.read_metadata(pa.BufferReader(sink.getvalue())).schema
    paths = [columns.column(index).path for index in range(len(columns))]
    return [path for path in paths if path not in _SELDOM_REPEATED]


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


def parquet_rows(path: Path) -> tuple[list[str], Iterator[Row]]:
    """The columns of a Parquet file that somebody else wrote, and its rows, few of them at a time.

    Raises:
        ValueError: it is not Parquet, or is damaged; also while rows are taken.
    """
    try:
        file = pq.ParquetFile(path)
    except (pa.ArrowException, OSError) as error:
        raise ValueError(str(error)) from error
    return file.schema_arrow.names, _rows_of_file(file)


def _rows_of_file(file: pq.ParquetFile) -> Iterator[Row]:
    try:
        for batch in file.iter_batches(batch_size=2000):
            yield from batch.to_pylist()
    except (pa.ArrowException, OSError) as error:
        raise ValueError(str(error)) from error


def write_id_of(content: bytes) -> str:
    """Who wrote these Parquet bytes: the write_id given to `to_parquet`; empty where they are not Parquet."""
    try:
        metadata = pq.read_metadata(io.BytesIO(content)).metadata or {}
    except (pa.ArrowException, OSError):
        return ""
    return str(metadata.get(_WRITE_KEY, b"").decode())


def only(table: pa.Table, column: str, values: pa.ChunkedArray) -> pa.Table:
    """The rows whose column holds one of the values."""
    return table.filter(pc.is_in(table[column], values.combine_chunks()))


class ByCall:
    """The rows of each call of a table whose calls lie together; only those that are asked for become Python objects.

    Args:
        table: with a column call_id.
    """

    def __init__(self, table: pa.Table) -> None:
        self._table = table
        self._places: dict[str, tuple[int, int]] = {}
        start = 0
        for call_id, group in groupby(table["call_id"].to_pylist()):
            length = sum(1 for _ in group)
            self._places[call_id] = start, length
            start += length

    def rows(self, call_id: str) -> list[Row]:
        """The rows of a call, in the table's order; none where it is not there."""
        start, length = self._places.get(call_id, (0, 0))
        found: list[Row] = self._table.slice(start, length).to_pylist()
        return found


def among(table: pa.Table, column: str, values: Iterable[str]) -> pa.Table:
    """The rows whose column holds one of the values, given as Python strings."""
    return table.filter(pc.is_in(table[column], pa.array(list(values), table[column].type)))


def without(table: pa.Table, column: str, values: Iterable[str]) -> pa.Table:
    """The rows whose column holds none of the values."""
    return table.filter(pc.invert(pc.is_in(table[column], pa.array(list(values), table[column].type))))


def calls_of(rows: Sequence[Row]) -> pa.Table:
    """The table `calls` of rows, in its order: by started_at (nulls last) and call_id."""
    return table_of(rows, CALLS).sort_by([("started_at", "ascending"), ("call_id", "ascending")])


def joined(standing: pa.Table, added: pa.Table, calls: pa.Table) -> pa.Table:
    """Two tables `utterances` as one, in its order: that of the table `calls`, and in a call by index.

    Args:
        standing: the utterances that are there.
        added: those that are added.
        calls: the calls in their order; utterances of other calls come last.
    """
    table = pa.concat_tables([standing, added])
    place = pc.index_in(table["call_id"], calls["call_id"].combine_chunks())
    order = pa.table({"place": place, "transcript_id": table["transcript_id"], "index": table["index"]})
    return table.take(pc.sort_indices(order, [(name, "ascending") for name in order.column_names]))


def open_table(access: DirectAccess, name: Table, keys: Sequence[str]) -> pads.Dataset:
    """Files of one table as an Arrow dataset with the column `month`, read where they lie.

    Args:
        access: how to reach them.
        name: the table.
        keys: the files.

    Raises:
        QueryError: the place cannot be read.
    """
    import pyarrow.dataset as pads  # brings pandas, which what only writes does without

    partitioning = pads.partitioning(pa.schema([("month", pa.string())]), flavor="hive")
    filesystem, root = _filesystem(access)
    try:
        return pads.dataset([f"{root}/{key}" for key in keys], schema=with_month(name), format="parquet",
                            filesystem=filesystem, partitioning=partitioning,
                            partition_base_dir=f"{root}/{name}")  # fmt: skip
    except OSError as error:
        message = f"cannot read the table `{name}`: {error}"
        raise QueryError(message) from error


def _filesystem(access: DirectAccess) -> tuple[pafs.FileSystem, str]:
    import pyarrow.fs as pafs

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
