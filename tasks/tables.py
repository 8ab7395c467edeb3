"""Rows as Arrow tables, Parquet bytes and data sets. pyarrow is used here and in `schemas.py` alone."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tasks.errors import QueryError
from tasks.schemas import SCHEMA_VERSION, SCHEMAS, Row
from tasks.shards import Table
from tasks.storage import DirectAccess, FolderAccess

if TYPE_CHECKING:
    import pyarrow.dataset as pads
    import pyarrow.fs as pafs

ArrowTable: TypeAlias = pa.Table
"""For the annotations of those who do not import pyarrow."""

_VERSION_KEY = b"callscribe.schema_version"
_WRITE_KEY = b"callscribe.write_id"


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


def among(table: pa.Table, column: str, values: Iterable[str]) -> pa.Table:
    """The rows whose column holds one of the values, given as Python strings."""
    return table.filter(pc.is_in(table[column], pa.array(list(values), table[column].type)))


def without(table: pa.Table, column: str, values: Iterable[str]) -> pa.Table:
    """The rows whose column holds none of the values."""
    return table.filter(pc.invert(pc.is_in(table[column], pa.array(list(values), table[column].type))))


def joined(standing: pa.Table, rows: Sequence[Row], order: Sequence[str]) -> pa.Table:
    """A table with new rows added, sorted by columns (nulls last)."""
    table = pa.concat_tables([standing, table_of(rows, standing.schema)])
    return table.sort_by([(name, "ascending") for name in order])


def open_table(access: DirectAccess, name: Table) -> pads.Dataset:
    """All files of one table as an Arrow dataset with the Hive column `month`, read where they lie.

    Raises:
        QueryError: the place cannot be read.
    """
    import pyarrow.dataset as pads  # brings pandas, which what only writes does without
    import pyarrow.fs as pafs

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
