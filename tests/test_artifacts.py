"""What a run tells of its progress: when it is written, and what it says; Prefect's own server is asked elsewhere."""

import logging
from dataclasses import replace
from typing import Any
from uuid import UUID

import pytest

from flows import artifacts
from flows.artifacts import RunProgress, ended
from tasks.metrics import REGISTRY, forget_all
from tasks.runs import RunHead

HEAD = RunHead(
    run_id="20261102T030002123Z-a1b2c3", month="2026-10", archive="s3://calls", transcripts="s3://transcripts",
    created_at="", shards=1, jobs=4, calls=40, estimated_hours=80.0, bundle="starter", bundle_digest="",
    compute_type="", fingerprint="", settings_fingerprint="", listed_objects=40, inventory_digest="", standing=0,
    standing_failed=0, erased=0, ambiguous=0, unmatched=0,
)  # fmt: skip


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What is written, in the place of Prefect's server."""
    found: list[dict[str, Any]] = []
    for name in ("create_link", "create_progress", "create_table", "update_progress"):
        monkeypatch.setattr(f"flows.artifacts.{name}_artifact", lambda **fields: (found.append(fields), UUID(int=1))[1])
    forget_all()
    return found


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """A clock that stands until it is set."""
    moment = [1000.0]
    monkeypatch.setattr(artifacts.time, "monotonic", lambda: moment[0])
    return moment


def _gauge(name: str, **labels: str) -> float | None:
    return REGISTRY.get_sample_value(f"callscribe_run_{name}", {"run": HEAD.run_id, **labels})


def test_progress_is_written_now_and_then(written: list[dict[str, Any]], clock: list[float]) -> None:
    """At once, then at most once per interval, and at the end; metrics follow every time."""
    progress = RunProgress(HEAD, every_s=30.0)
    for second, done in ((0, 0), (10, 1), (20, 2), (40, 3), (45, 4)):
        clock[0] = 1000.0 + second
        progress.update(done)
        assert float(done) == _gauge("jobs", state="done")
    assert [0.0, 75.0, 100.0] == [one["progress"] for one in written]
    assert [None, UUID(int=1), UUID(int=1)] == [one.get("artifact_id") for one in written]
    assert "3 of 4 jobs done; 60.0 of 80.0 audio hours; about 0 min left" in written[1]["description"]
    assert 80.0 * 3600 == _gauge("audio_seconds", state="done")


def test_the_time_left_is_by_what_this_process_saw(written: list[dict[str, Any]], clock: list[float]) -> None:
    """Jobs that were done before it took up the run tell nothing of its speed; jobs that were given up are over."""
    progress = RunProgress(replace(HEAD, jobs=10), every_s=0.0)
    progress.update(4)
    assert _gauge("eta_seconds") is None
    clock[0] += 7200
    progress.update(5, jobs_failed=1, refusals=2)
    assert 4 * 3600.0 == _gauge("eta_seconds")
    assert (2.0, 1.0) == (_gauge("device_refusals"), _gauge("jobs", state="failed"))
    assert "5 of 10 jobs done, 1 given up; 40.0 of 80.0 audio hours; about 4 h 0 min left" in written[-1]["description"]


def test_what_is_known_better_is_taken(written: list[dict[str, Any]]) -> None:
    """Hours and time left that the caller knows."""
    RunProgress(HEAD).update(1, hours_done=33.0, eta_s=60.0)
    assert "33.0 of 80.0 audio hours; about 1 min left" in written[0]["description"]


def test_a_run_without_jobs_is_over(written: list[dict[str, Any]]) -> None:
    """There is nothing to divide by."""
    RunProgress(replace(HEAD, jobs=0, estimated_hours=0.0)).update(0)
    assert [100.0] == [one["progress"] for one in written]


def test_the_end_of_a_backfill(written: list[dict[str, Any]]) -> None:
    """It has links to its certificate and its report, and a table of failures only where there were some."""
    ended(replace(HEAD, kind="backfill"), {}, [("calls", "40")], "s3://t/certificate.json", "s3://t/changes/")
    assert ["backfill", "backfill-certificate", "backfill-report"] == [one["key"] for one in written]
    assert ["s3://t/certificate.json", "s3://t/changes/"] == [one["link"] for one in written[1:]]


def test_prefect_away_stops_no_run(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """An artifact that cannot be written is a warning; progress tries again."""

    def refuse(**_: object) -> None:
        raise ConnectionError

    monkeypatch.setattr("flows.artifacts.create_progress_artifact", refuse)
    with caplog.at_level(logging.WARNING, "flows.artifacts"):
        progress = RunProgress(HEAD, every_s=0.0)
        progress.update(0)
        progress.update(1)
    assert ["an artifact cannot be written: ConnectionError"] * 2 == [one.getMessage() for one in caplog.records]
