"""What stood of the calls that a backfill does anew, kept so that it can be compared with what comes.

Under `_runs/<run_id>/previous/`, a file for each table and shard, in the tables' own schemas. They are written when the
backfill is planned, and removed when it has been compared.
"""

from __future__ import annotations

from collections.abc import Sequence

from tasks.dataset import DataSet
from tasks.errors import ObjectVanished
from tasks.schemas import SCHEMAS
from tasks.shards import Table, shard_name
from tasks.storage import Storage
from tasks.tables import ArrowTable, among, from_parquet, table_of, to_parquet, without


class DamagedPrevious(Exception):
    """What was kept of a shard cannot be read."""


def keep_previous(data: DataSet, run_id: str, month: str, shard: int, call_ids: Sequence[str]) -> None:
    """Keep the rows of some calls of a shard as they stand.

    A call that is erased meanwhile is in them no more: the tombstones are read again after every write, and whoever
    erases looks here after writing them.

    Args:
        data: the data set.
        run_id: the backfill.
        month: `YYYY-MM`.
        shard: its number.
        call_ids: the calls, which have a row.
    """
    shards = data.shards(month) or 1
    both = data.read_both(month, shard, shards)
    tables = {name: among(table, "call_id", call_ids) for name, table in both.items()}
    erased = data.erased(month, shard, shards)
    while True:
        for name, table in tables.items():
            data.storage.put(_key(run_id, name, shard, shards), to_parquet(without(table, "call_id", erased)))
        if (now := data.erased(month, shard, shards)) == erased:
            return
        erased = now


def kept_shards(storage: Storage, run_id: str) -> list[tuple[int, int]]:
    """The shards of which something is kept, as (number, of how many)."""
    keys = (info.key for info in storage.list(_key_prefix(run_id)) if "/calls-" in info.key)
    return sorted(_shard_of_key(key) for key in keys)


def previous_table(storage: Storage, run_id: str, name: Table, shard: int, shards: int) -> ArrowTable:
    """What is kept of one shard of a table.

    Raises:
        DamagedPrevious: it cannot be read.
    """
    key = _key(run_id, name, shard, shards)
    try:
        return from_parquet(storage.get(key).data, SCHEMAS[name])
    except ObjectVanished:
        return table_of([], SCHEMAS[name])
    except ValueError as error:
        message = f"{storage.object_uri(key)} is not the Parquet file that was written: {error}"
        raise DamagedPrevious(message) from error


def forget_previous(storage: Storage, run_id: str) -> None:
    """Remove what is kept of a backfill."""
    for info in list(storage.list(_key_prefix(run_id))):
        storage.delete(info.key)


def table_of_key(key: str) -> Table:
    """Which table an object of this folder holds rows of."""
    return "calls" if key.rpartition("/")[2].startswith("calls-") else "utterances"


def _key_prefix(run_id: str) -> str:
    return f"_runs/{run_id}/previous/"


def _key(run_id: str, name: Table, shard: int, shards: int) -> str:
    return f"{_key_prefix(run_id)}{name}-{shard_name(shard, shards)}.parquet"


def _shard_of_key(key: str) -> tuple[int, int]:
    _, _, shard, _, shards = key.rpartition("/")[2].removesuffix(".parquet").split("-")
    return int(shard), int(shards)
