"""Rows as Arrow tables, Parquet bytes and data sets. pyarrow is used here and in `schemas.py` alone."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate, groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from tasks.errors import QueryError
from tasks.schemas import CALLS, CHECKPOINT, SCHEMA_VERSION, UTTERANCES, Row, with_month
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


@dataclass(frozen=True, slots=True)
class SpokenColumns:
    """Rows of the table `utterances` as columns.

    A call has a thousand words: as rows of dicts, they would take most of the time and the memory of a job.

    Attributes:
        columns: all but `words`, by name.
        words: the fields of the words of all utterances, one after the other, by name.
        lengths: how many of the words each utterance has.
    """

    columns: Mapping[str, Sequence[Any]]
    words: Mapping[str, Sequence[Any] | NDArray[Any]]
    lengths: Sequence[int]


# Said once: pyarrow makes a new object of them every time that it is asked.
_KINDS = {field.name: field.type for field in UTTERANCES}
_WORDS = _KINDS["words"]
_WORD_FIELDS = list(_WORDS.value_type)
NOTHING_SAID = SpokenColumns(
    {name: [] for name in _KINDS if name != "words"}, {field.name: [] for field in _WORD_FIELDS}, []
)


def utterances_of(said: SpokenColumns) -> pa.Table:
    """The table `utterances` of its columns."""
    words = [pa.array(said.words[field.name], field.type) for field in _WORD_FIELDS]
    ends = pa.array(list(accumulate(said.lengths, initial=0)), pa.int32())
    listed = pa.ListArray.from_arrays(ends, pa.StructArray.from_arrays(words, fields=_WORD_FIELDS), type=_WORDS)
    columns = [listed if name == "words" else pa.array(said.columns[name], kind) for name, kind in _KINDS.items()]
    return pa.Table.from_arrays(columns, schema=UTTERANCES)


def columns_of(utterances: pa.Table) -> SpokenColumns:
    """The columns of a table `utterances`."""
    words = utterances["words"].combine_chunks()
    fields = zip(_WORD_FIELDS, words.flatten().flatten(), strict=True)
    return SpokenColumns(
        {name: utterances[name].to_pylist() for name in _KINDS if name != "words"},
        {field.name: values.to_pylist() for field, values in fields},
        words.value_lengths().fill_null(0).to_pylist(),
    )


def nested(calls: pa.Table, spoken: Sequence[pa.Table]) -> pa.Table:
    """A checkpoint: the table `calls`, and in one more column the table `utterances` of each of them."""
    ends = pa.array(list(accumulate(map(len, spoken), initial=0)), pa.int32())
    rows = pa.concat_tables(spoken).to_struct_array().combine_chunks()
    column = pa.ListArray.from_arrays(ends, rows, type=CHECKPOINT.field("utterances").type)
    return pa.Table.from_arrays([*calls.columns, column], schema=CHECKPOINT)


def unnested(checkpoint: pa.Table) -> Iterator[tuple[Row, pa.Table]]:
    """What `nested` made one of, back: each row of `calls`, and its table `utterances`."""
    column = checkpoint["utterances"].combine_chunks()
    spoken = pa.Table.from_arrays(column.flatten().flatten(), schema=UTTERANCES)
    start = 0
    for row, length in zip(checkpoint.select(CALLS.names).to_pylist(), column.value_lengths().to_pylist(), strict=True):
        yield row, spoken.slice(start, length)
        start += length


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
        table = pq.ParquetFile(pa.BufferReader(content), page_checksum_verification=True).read()
        columns = table.columns if table.schema.equals(schema) else _fitted(table, schema)
        return pa.Table.from_arrays(columns, schema=schema)
    except (pa.ArrowException, OSError) as error:
        raise ValueError(str(error)) from error


def _fitted(table: pa.Table, schema: pa.Schema) -> list[pa.ChunkedArray | pa.Array]:
    """The columns of an older table in a schema; those that it lacks are null."""
    there = dict(zip(table.column_names, table.columns, strict=True))
    return [
        there[field.name].cast(field.type) if field.name in there else pa.nulls(len(table), field.type)
        for field in schema
    ]


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
    return _kept(table, pc.is_in(table[column], values.combine_chunks()))


def runs_of(table: pa.Table, column: str) -> Iterator[tuple[str, pa.Table]]:
    """Each value of a column, with the rows that have it and lie together; copies nothing."""
    start = 0
    for value, group in groupby(table[column].to_pylist()):
        length = sum(1 for _ in group)
        yield value, table.slice(start, length)
        start += length


class ByCall:
    """The rows of each call of a table whose calls lie together; only those that are asked for become Python objects.

    Args:
        table: with a column call_id.
    """

    def __init__(self, table: pa.Table) -> None:
        self._found = dict(runs_of(table, "call_id"))

    def rows(self, call_id: str) -> list[Row]:
        """The rows of a call, in the table's order; none where it is not there."""
        return self._found[call_id].to_pylist() if call_id in self._found else []


def among(table: pa.Table, column: str, values: Iterable[str]) -> pa.Table:
    """The rows whose column holds one of the values, given as Python strings."""
    return _kept(table, pc.is_in(table[column], pa.array(list(values), table[column].type)))


def without(table: pa.Table, column: str, values: Iterable[str]) -> pa.Table:
    """The rows whose column holds none of the values."""
    return _kept(table, pc.invert(pc.is_in(table[column], pa.array(list(values), table[column].type))))


def _kept(table: pa.Table, which: pa.ChunkedArray) -> pa.Table:
    """The rows that a mask names; mostly these are all, and nothing is copied."""
    return table if pc.all(which).as_py() else table.filter(which)


def calls_of(rows: Sequence[Row]) -> pa.Table:
    """The table `calls` of rows, in its order: by started_at (nulls last) and call_id."""
    return table_of(rows, CALLS).sort_by([("started_at", "ascending"), ("call_id", "ascending")])


def joined(parts: Iterable[pa.Table], calls: pa.Table) -> pa.Table:
    """Tables `utterances` as one, in its order: that of the table `calls`, and in a call by index.

    Args:
        parts: utterances that are there, and those that are added.
        calls: the calls in their order; utterances of other calls come last.
    """
    table = pa.concat_tables(parts).combine_chunks()
    place = pc.index_in(table["call_id"], calls["call_id"].combine_chunks())
    order = pa.table({"place": place, "transcript_id": table["transcript_id"], "index": table["index"]})
    indices = pc.sort_indices(order, [(name, "ascending") for name in order.column_names])
    # What is added is mostly of later calls: then nothing needs to be moved.
    is_sorted = np.array_equal(indices, np.arange(len(table)))
    return table if is_sorted else table.take(indices)


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
