"""Pure: which shard a call belongs to, what its objects are called, and how work is packed into jobs."""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Iterable, Iterator
from typing import Literal

from tasks.records import PlannedCall

Table = Literal["calls", "utterances", "changes"]
TABLES: tuple[Table, ...] = ("calls", "utterances")
"""Those that a commit writes."""
_SHARD_KEY = re.compile(r"/shard-(?P<shard>\d+)-of-(?P<shards>\d+)\.parquet$")


def shard_count(monthly_hours: float, hours_per_shard: float) -> int:
    """How many shards a month of this many audio hours is split into; at least one."""
    return max(1, math.ceil(monthly_hours / hours_per_shard))


def shard_of(call_id: str, shards: int) -> int:
    """The shard of a call: a stable hash of its call_id, the same on every machine and for ever."""
    digest = hashlib.sha256(call_id.encode()).digest()
    return int.from_bytes(digest[:8], "big") % shards


def object_key(table: Table, month: str, shard: int, shards: int) -> str:
    """Key of the one Parquet object that holds a shard of a table, Hive-partitioned by month."""
    return f"{table}/month={month}/{shard_name(shard, shards)}.parquet"


def shard_name(shard: int, shards: int) -> str:
    """Name of a shard, such as `shard-0007-of-0120`."""
    return f"shard-{shard:04d}-of-{shards:04d}"


def may_hold(key: str, call_id: str) -> bool:
    """Whether the object of a shard may hold a call, by its name; one with another name may hold anything."""
    found = _SHARD_KEY.search(key)
    return found is None or shard_of(call_id, int(found["shards"])) == int(found["shard"])


def pack_jobs(work: Iterable[PlannedCall], job_hours: float, bytes_per_second: int) -> Iterator[list[PlannedCall]]:
    """Pack calls into jobs of about `job_hours` estimated audio hours, in the order in which they come.

    Work that comes shard by shard lies in few jobs: a job is part of a shard or many shards; it ends after the call
    that fills it. Only the job that is being filled is held.

    Args:
        work: the calls to do.
        job_hours: audio hours after which a job is full.
        bytes_per_second: how many bytes an archived second takes, to estimate hours from sizes.
    """
    job: list[PlannedCall] = []
    size_bytes = 0
    for planned in work:
        job.append(planned)
        size_bytes += planned.call.size_bytes
        if hours_of(size_bytes, bytes_per_second) >= job_hours:
            yield job
            job, size_bytes = [], 0
    if job:
        yield job


def hours_of(size_bytes: int, bytes_per_second: int) -> float:
    """Audio hours of calls as their size suggests."""
    return size_bytes / bytes_per_second / 3600
