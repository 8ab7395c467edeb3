"""Which shard a call belongs to, and how work is packed into jobs."""

import math

import pytest
from builders import call_ref, planned_call
from hypothesis import given
from hypothesis import strategies as st

from tasks.records import PlannedCall
from tasks.shards import hours_of, object_key, pack_jobs, shard_count, shard_name, shard_of

BYTES_PER_SECOND = 8000
HOUR_BYTES = 3600 * BYTES_PER_SECOND

_call_ids = st.text(min_size=1, max_size=20)
_works = st.lists(
    st.builds(
        lambda call_id, size, shard: planned_call(call_ref(call_id, size_bytes=size), shard=shard),
        _call_ids,
        st.integers(0, 3 * HOUR_BYTES),
        st.integers(0, 5),
    ),
    max_size=40,
    unique_by=lambda planned: planned.call.call_id,
)
_job_hours = st.floats(0.01, 10)


def _order(planned: PlannedCall) -> tuple[int, str]:
    return planned.shard, planned.call.call_id


@pytest.mark.parametrize(
    ("call_id", "shards", "expected"),
    [
        ("demo-0001", 1, 0),
        ("demo-0001", 120, 59),
        ("demo-0002", 120, 39),
        ("20261005T093000-4471", 120, 37),
        ("Anruf-ü-通話", 120, 49),
        ("", 120, 52),
    ],
)
def test_shard_of_never_changes(call_id: str, shards: int, expected: int) -> None:
    """These are the shards of today: another answer would look for every call in the wrong file."""
    assert expected == shard_of(call_id, shards)


@given(_call_ids, st.integers(1, 5000))
def test_shard_of_is_in_range(call_id: str, shards: int) -> None:
    """Every call_id has a shard, whatever is in it."""
    assert 0 <= shard_of(call_id, shards) < shards


def test_shards_fill_evenly() -> None:
    """Running numbers, as call_ids often are, spread over the shards."""
    sizes = [0] * 16
    for number in range(16_000):
        sizes[shard_of(f"2026-10-{number:06d}", 16)] += 1
    assert 850 < min(sizes) <= max(sizes) < 1150


@pytest.mark.parametrize(
    ("monthly_hours", "expected"), [(0.5, 1), (1000.0, 1), (1000.1, 2), (120_000.0, 120), (120_001.0, 121)]
)
def test_shard_count(monthly_hours: float, expected: int) -> None:
    """A month has as many shards as its configured hours need, and at least one."""
    assert expected == shard_count(monthly_hours, 1000.0)


def test_object_key() -> None:
    """A shard's two objects lie in Hive partitions, under names that sort."""
    assert "calls/month=2026-10/shard-0007-of-0120.parquet" == object_key("calls", "2026-10", 7, 120)
    assert "utterances/month=2026-10/shard-0007-of-0120.parquet" == object_key("utterances", "2026-10", 7, 120)
    assert sorted(shard_name(number, 1200) for number in range(1200)) == [shard_name(n, 1200) for n in range(1200)]


@given(_works, _job_hours)
def test_packing_loses_no_call(work: list[PlannedCall], job_hours: float) -> None:
    """Every call is in exactly one job, in the order in which they came, and no job is empty."""
    jobs = list(pack_jobs(work, job_hours, BYTES_PER_SECOND))
    assert work == [planned for job in jobs for planned in job]
    assert all(jobs)


@given(_works, _job_hours)
def test_jobs_end_with_the_call_that_fills_them(work: list[PlannedCall], job_hours: float) -> None:
    """A job without its last call is not full yet; all but the last job are full."""
    jobs = list(pack_jobs(work, job_hours, BYTES_PER_SECOND))
    for job in jobs:
        assert _hours(job[:-1]) < job_hours
    for job in jobs[:-1]:
        assert job_hours <= _hours(job)


@given(_works, _job_hours)
def test_only_the_job_that_is_filled_is_held(work: list[PlannedCall], job_hours: float) -> None:
    """A job is handed out as soon as it is full: no more work is taken before the next is wanted."""
    taken: list[PlannedCall] = []
    given_out = 0
    for job in pack_jobs((taken.append(one) or one for one in work), job_hours, BYTES_PER_SECOND):
        given_out += len(job)
        assert given_out == len(taken)


def test_nothing_to_pack() -> None:
    """No work is no job, not an empty one."""
    assert [] == list(pack_jobs([], 10.0, BYTES_PER_SECOND))


def test_many_small_calls_are_one_job_and_a_large_one_is_its_own() -> None:
    """Scattered calls share a job; what is larger than a job still is one."""
    small = [planned_call(call_ref(f"small-{n}", size_bytes=HOUR_BYTES // 100), shard=n) for n in range(50)]
    large = planned_call(call_ref("large", size_bytes=30 * HOUR_BYTES), shard=50)
    assert [51] == [len(job) for job in pack_jobs([*small, large], 10.0, BYTES_PER_SECOND)]
    assert [1, 50] == [len(job) for job in pack_jobs([planned_call(large.call, shard=0), *small], 10, BYTES_PER_SECOND)]


def test_hours_of() -> None:
    """Hours follow from sizes, and none from no calls."""
    assert math.isclose(1.5, hours_of(3 * HOUR_BYTES // 2, BYTES_PER_SECOND))
    assert 0 == hours_of(0, BYTES_PER_SECOND)


def _hours(job: list[PlannedCall]) -> float:
    return hours_of(sum(planned.call.size_bytes for planned in job), BYTES_PER_SECOND)
