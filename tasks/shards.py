"""Pure: which shard a call belongs to, what its objects are called, and how work is packed into jobs."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Sequence
from typing import Literal

from tasks.records import PlannedCall

Table = Literal["calls", "utterances"]


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


def pack_jobs(work: Iterable[PlannedCall], job_hours: float, bytes_per_second: int) -> list[list[PlannedCall]]:
    """Pack calls into jobs of about `job_hours` estimated audio hours, calls of a shard together.

    A job is part of a shard or many shards; it ends after the call that fills it. Order: by shard, then call_id.

    Args:
        work: the calls to do.
        job_hours: audio hours after which a job is full.
        bytes_per_second: how many bytes an archived second takes, to estimate hours from sizes.
    """
    ordered = sorted(work, key=lambda item: (item.shard, item.call.call_id))
    jobs: list[list[PlannedCall]] = []
    hours = math.inf
    for planned in ordered:
        if hours >= job_hours:
            jobs.append([])
            hours = 0.0
        jobs[-1].append(planned)
        hours += estimated_hours([planned], bytes_per_second)
    return jobs


def estimated_hours(work: Sequence[PlannedCall], bytes_per_second: int) -> float:
    """Audio hours of calls as their sizes suggest."""
    return sum(planned.call.size_bytes for planned in work) / bytes_per_second / 3600
