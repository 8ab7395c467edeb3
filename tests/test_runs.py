"""A run in storage: its plan comes back as it was written, and its certificate accounts for every object."""

import json
import tempfile
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from builders import (
    FINGERPRINT,
    SHA256,
    TRANSCRIBED_AT,
    call_ref,
    failure,
    outcome,
    planned_call,
    provenance,
    transcript,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.dataset import Change, DataSet
from tasks.errors import PreconditionFailed, SettingsError
from tasks.reconcile import RunSummary, reconcile, summary_rows
from tasks.records import CopiedAudio, PlannedCall, RecognitionCounts
from tasks.rows import CallRows, rows_of
from tasks.runs import RunHead, new_run_id, read_head, read_job, read_jobs, write_head, write_job, write_unplanned
from tasks.shards import shard_of
from tasks.storage import Storage, open_storage

MONTH = "2026-10"
SHARDS = 3
EARLIER, NOW, LATER = (new_run_id(TRANSCRIBED_AT + timedelta(days=day)) for day in range(3))


def head(**changes: Any) -> RunHead:  # noqa: ANN401  # fields of the record
    """The plan's head of a run over nothing."""
    plain = RunHead(
        run_id=NOW,
        month=MONTH,
        archive="file:///archive",
        transcripts="file:///transcripts",
        created_at="2026-11-02T02:00:00+00:00",
        shards=SHARDS,
        jobs=0,
        calls=0,
        estimated_hours=0.0,
        bundle="starter",
        bundle_digest="b0" * 32,
        compute_type="int8",
        fingerprint=FINGERPRINT,
        settings_fingerprint="5e" * 8,
        listed_objects=0,
        inventory_digest="1d" * 32,
        standing=0,
        standing_failed=0,
        erased=0,
        ambiguous=0,
        unmatched=0,
    )
    return replace(plain, **changes)


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    """An empty folder for a data set."""
    return open_storage(tmp_path.as_uri())


def write_plan(storage: Storage, planned_head: RunHead, jobs: Sequence[Sequence[PlannedCall]]) -> None:
    """Write jobs and head of a plan, as planning does."""
    for number, job in enumerate(jobs, start=1):
        write_job(storage, planned_head.run_id, number, job)
    write_head(storage, planned_head)


_moments = st.datetimes(datetime(2000, 1, 1), datetime(2200, 1, 1)).flatmap(  # noqa: DTZ001  # a zone is added
    lambda naive: st.integers(-12, 14).map(lambda hours: naive.replace(tzinfo=timezone(timedelta(hours=hours))))
)


@given(_moments, _moments)
def test_run_ids_sort_by_time(first: datetime, second: datetime) -> None:
    """Of runs that were planned a millisecond or more apart, the later one has the larger id, in any time zone."""
    earlier, later = sorted((first, second))
    if later - earlier >= timedelta(milliseconds=1):
        assert new_run_id(earlier) < new_run_id(later)


def test_run_ids() -> None:
    """A run_id is the time of planning in UTC, and never that of another run."""
    moment = datetime(2026, 11, 1, 3, 4, 5, 678_999, tzinfo=timezone(timedelta(hours=1)))
    ids = {new_run_id(moment) for _ in range(100)}
    assert 100 == len(ids)
    assert {"20261101T020405678Z"} == {run_id.partition("-")[0] for run_id in ids}
    before = datetime.now(UTC) - timedelta(milliseconds=1)
    assert new_run_id(before) < new_run_id() < new_run_id(datetime.now(UTC) + timedelta(milliseconds=1))


def test_plan_comes_back(storage: Storage) -> None:
    """Head and jobs are read as they were written."""
    jobs = [[planned_call("c1"), planned_call("c2", attempt=2, known_sha256=SHA256)], [planned_call("c3", shard=2)]]
    written = head(jobs=2, calls=3, reasons={"new": 2, "retry": 1})
    write_plan(storage, written, jobs)
    assert written == read_head(storage, NOW)
    assert jobs == [read_job(storage, NOW, number) for number in (1, 2)] == list(read_jobs(storage, written))
    assert [f"_runs/{NOW}/jobs/job-0001.parquet", f"_runs/{NOW}/jobs/job-0002.parquet", f"_runs/{NOW}/plan.json"] == [
        info.key for info in storage.list()
    ]


def test_a_plan_is_written_once(storage: Storage) -> None:
    """A plan whose write is answered late is the same plan; another one under its name is refused."""
    jobs = [[planned_call("c1")]]
    write_plan(storage, head(jobs=1), jobs)
    write_plan(storage, head(jobs=1), jobs)
    with pytest.raises(PreconditionFailed):
        write_plan(storage, head(jobs=1), [[planned_call("c2")]])
    with pytest.raises(PreconditionFailed):
        write_plan(storage, head(jobs=1, calls=7), jobs)
    assert jobs[0] == read_job(storage, NOW, 1)


def test_what_was_never_planned(storage: Storage) -> None:
    """A run or a job that is not there is named."""
    with pytest.raises(SettingsError, match=f"there is no run {EARLIER} in file://"):
        read_head(storage, EARLIER)
    write_plan(storage, head(), [])
    with pytest.raises(SettingsError, match=f"run {NOW} in file://.* has no job 1"):
        read_job(storage, NOW, 1)


def _summary(**changes: Any) -> RunSummary:  # noqa: ANN401  # fields of the record
    plain = RunSummary(
        run_id=NOW,
        month=MONTH,
        listed_objects=11,
        outcomes={"failed": 3, "no_speech": 1, "transcribed": 2},
        errors={"ambiguous_call_id": 1, "empty_object": 2},
        copied=1,
        superseded=1,
        standing=1,
        standing_failed=1,
        erased=0,
        ambiguous=2,
        unmatched=1,
        missing=0,
        other_fingerprints=0,
        audio_s=1.0,
        wall_s=1.0,
        jobs=1,
    )
    return replace(plain, **changes)


def test_accounted() -> None:
    """Each listed object is in exactly one place; the row of an ambiguous call_id stands for objects counted there."""
    assert _summary().accounted
    assert 3 == _summary().failed
    assert _summary().to_json()["accounted"]


@pytest.mark.parametrize(
    "change",
    [
        {"listed_objects": 12},
        {"listed_objects": 10},
        {"copied": 2},
        {"superseded": 0},
        {"standing": 0},
        {"ambiguous": 3},
        {"unmatched": 0},
        {"missing": 1},
        {"missing": 1, "copied": 0},
        {"outcomes": {"failed": 3, "transcribed": 2}},
    ],
)
def test_not_accounted(change: dict[str, Any]) -> None:
    """One object too few or too many anywhere, and the certificate says no."""
    assert not _summary(**change).accounted


def _rows(call_id: str, fate: str, run_id: str, etag: str | None = None) -> CallRows:
    call = call_ref(call_id, **({"etag": etag} if etag else {}))
    heard = transcript(recognition=RecognitionCounts(7, 4, 3, 1, 0))
    silent = transcript([], recognition=RecognitionCounts(2, 0, 0, 0, 5))
    changes: dict[str, Any] = {"transcript": silent if fate == "no_speech" else heard}
    if fate not in {"transcribed", "no_speech"}:
        changes = {"transcript": None, "failure": failure(fate)}
    return rows_of(outcome(call, duration_s=10.0, **changes), provenance(run_id=run_id))


def _old(call_id: str, fate: str = "transcribed", etag: str | None = None) -> CallRows:
    """What an earlier run wrote of a call."""
    return _rows(call_id, fate, EARLIER, etag)


def _under_old_settings(call_id: str) -> CallRows:
    return rows_of(outcome(call_ref(call_id)), provenance(run_id=EARLIER, fingerprint="old"))


# What can become of one listed object, as the commits that bring it about; an ambiguous call_id stands for two objects.
FATES: dict[str, Callable[[str], Sequence[Change]]] = {
    "transcribed": lambda c: [_rows(c, "transcribed", NOW)],
    "no_speech": lambda c: [_rows(c, "no_speech", NOW)],
    "empty_object": lambda c: [_rows(c, "empty_object", NOW)],
    "storage_unavailable": lambda c: [_old(c, "processing_error"), _rows(c, "storage_unavailable", NOW)],
    "failed_over_transcript": lambda c: [_old(c, etag="old"), _rows(c, "object_changed", NOW)],
    "copied": lambda c: [_old(c, etag="old"), CopiedAudio(call_ref(c), SHA256)],
    "superseded": lambda c: [_rows(c, "transcribed", LATER, "newer"), _rows(c, "transcribed", NOW)],
    "superseded_by_a_failure": lambda c: [_rows(c, "too_long", LATER, "newer"), _rows(c, "empty_object", NOW)],
    "standing": lambda c: [_old(c)],
    "standing_old_settings": lambda c: [_under_old_settings(c)],
    "ambiguous": lambda c: [_rows(c, "ambiguous_call_id", NOW, "both")],
    "ambiguous_over_transcript": lambda c: [_old(c), _rows(c, "ambiguous_call_id", NOW, "both")],
    "ambiguous_before": lambda c: [_old(c, "ambiguous_call_id", "both")],
    "unmatched": lambda _: [],
    "never_committed": lambda _: [],
    "only_the_row_of_old_bytes": lambda c: [_old(c, etag="old")],
}


def _play(data: DataSet, fates: list[str]) -> tuple[RunHead, list[list[PlannedCall]]]:
    """Bring the data set to where a run with these fates leaves it; the run's head, and its jobs."""
    data.fix_shards(MONTH, SHARDS)
    work: list[PlannedCall] = []
    counts = Counter[str]()
    for number, fate in enumerate(fates):
        call_id = f"c{number}"
        shard = shard_of(call_id, SHARDS)
        data.commit(MONTH, shard, SHARDS, FATES[fate](call_id))
        kind = fate.partition("_")[0]
        if kind in {"standing", "ambiguous", "unmatched"}:
            counts[kind] += 2 if kind == "ambiguous" else 1
        else:
            work.append(planned_call(call_id, shard=shard, known_sha256=SHA256 if kind == "copied" else None))
    work.sort(key=lambda planned: planned.shard)
    half = len(work) // 2
    jobs = [job for job in (work[:half], work[half:]) if job]
    listed = len(work) + counts.total()
    old = fates.count("standing_old_settings")
    return head(jobs=len(jobs), calls=len(work), listed_objects=listed, other_fingerprints=old, **counts), jobs


@settings(max_examples=30, deadline=None)
@given(st.lists(st.sampled_from(sorted(FATES)), max_size=9))
def test_every_object_is_accounted_for(fates: list[str]) -> None:
    """Whatever became of the objects, each is counted once, and the verdict is no exactly when a call was lost."""
    with tempfile.TemporaryDirectory() as folder:
        data = DataSet(open_storage(Path(folder).as_uri()))
        planned_head, jobs = _play(data, fates)
        summary = reconcile(data, planned_head, jobs, wall_s=12.3456)
    count = Counter(fates)
    failed = {
        "empty_object": count["empty_object"],
        "storage_unavailable": count["storage_unavailable"],
        "object_changed": count["failed_over_transcript"],
        "ambiguous_call_id": count["ambiguous"] + count["ambiguous_over_transcript"],
    }
    outcomes = {
        "transcribed": count["transcribed"],
        "no_speech": count["no_speech"],
        "failed": sum(failed.values()),
    }
    lost = count["never_committed"] + count["only_the_row_of_old_bytes"]
    assert {name: number for name, number in outcomes.items() if number} == summary.outcomes
    assert {name: number for name, number in failed.items() if number} == summary.errors
    assert count["copied"] == summary.copied
    assert count["superseded"] + count["superseded_by_a_failure"] == summary.superseded
    assert count["standing"] + count["standing_old_settings"] == summary.standing
    assert count["standing_old_settings"] == summary.other_fingerprints
    assert 2 * sum(number for fate, number in count.items() if fate.startswith("ambiguous")) == summary.ambiguous
    assert count["unmatched"] == summary.unmatched
    assert lost == summary.missing
    assert (lost == 0) == summary.accounted
    assert 10.0 * (count["transcribed"] + count["no_speech"]) == summary.audio_s
    assert 12.346 == summary.wall_s
    heard, silent = count["transcribed"], count["no_speech"]
    assert {
        "chunks": 7 * heard + 2 * silent,
        "retried": 4 * heard,
        "improved": 3 * heard,
        "suspicious": heard,
        "set_aside_words": 5 * silent,
    } == summary.recognition


def test_a_call_that_was_never_planned_is_noticed(storage: Storage) -> None:
    """An object that was listed, and is in no job and no other place, makes the certificate say no."""
    data = DataSet(storage)
    planned_head, jobs = _play(data, ["transcribed", "standing"])
    assert not reconcile(data, replace(planned_head, listed_objects=3), jobs, 1.0).accounted


def test_what_other_runs_did_is_not_counted(storage: Storage) -> None:
    """Rows of calls that are not in the plan, or of later runs, are not this run's outcomes."""
    data = DataSet(storage)
    planned_head, jobs = _play(data, ["transcribed", "transcribed"])
    data.commit(MONTH, shard_of("elsewhere", SHARDS), SHARDS, [_rows("elsewhere", "transcribed", EARLIER)])
    data.commit(MONTH, shard_of("c0", SHARDS), SHARDS, [_rows("c0", "processing_error", LATER)])
    summary = reconcile(data, planned_head, jobs, 1.0)
    assert {"transcribed": 2} == summary.outcomes
    assert summary.accounted


def test_rows_without_counts_of_recognition(storage: Storage) -> None:
    """A row that older code wrote in the same run counts as nothing."""
    data = DataSet(storage)
    planned_head, jobs = _play(data, ["transcribed", "never_committed"])
    older = _rows("c1", "transcribed", NOW)
    data.commit(MONTH, shard_of("c1", SHARDS), SHARDS, [CallRows(older.call | {"recognition": None}, older.spoken)])
    summary = reconcile(data, planned_head, jobs, 1.0)
    assert {"transcribed": 2} == summary.outcomes
    assert 7 == summary.recognition["chunks"]


def test_people_read_how_calls_were_recognised() -> None:
    """The counts have names; what is none is left out, and so is all of it where nothing was recognised."""
    counts = RecognitionCounts(chunks=1200, retried=40, improved=30, suspicious=10, set_aside_words=0)
    lines = [
        ("chunks recognised", "1,200"),
        ("  decoded again", "40"),
        ("  improved by that", "30"),
        ("  still suspicious", "10"),
    ]
    assert lines == [row for row in summary_rows(_summary(recognition=asdict(counts))) if row in lines]
    nothing = {name for name, _ in lines} | {"words set aside (no speech)"}
    assert not nothing & {name for name, _ in summary_rows(_summary(recognition=asdict(RecognitionCounts())))}
    (aside,) = [value for name, value in summary_rows(_summary(recognition={"set_aside_words": 5})) if name in nothing]
    assert "5" == aside


def test_what_is_no_call_is_named(storage: Storage) -> None:
    """Objects that are neither work nor a call, and calls without an object, have a line each, with the reason."""
    group = (call_ref("twice", key="a", etag="1"), call_ref("twice", key="b", etag="2"))
    write_unplanned(storage, NOW, [group], ["README"], ["gone"])
    lines = storage.get(f"_runs/{NOW}/unplanned.jsonl").data.decode().splitlines()
    assert [
        {"call_id": "twice", "key": "a", "etag": "1", "reason": "ambiguous_call_id"},
        {"call_id": "twice", "key": "b", "etag": "2", "reason": "ambiguous_call_id"},
        {"key": "README", "etag": None, "reason": "key_not_understood"},
        {"call_id": "gone", "reason": "removed_from_archive"},
    ] == [json.loads(line) for line in lines]


def test_nothing_to_name(storage: Storage) -> None:
    """A month in which every object is a call, and every call has its object, has no such list."""
    write_unplanned(storage, NOW, [], [], [])
    assert [] == list(storage.list())
