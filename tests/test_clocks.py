"""Machines whose clocks are hours apart work on one month: what was planned later stands, whatever the clock said."""

from datetime import UTC, datetime, timedelta, tzinfo
from pathlib import Path
from typing import Self

import pytest
from small_month import CALLS, MONTH, SmallMonth, assert_certified, bundles, content, fill, recognizer
from stand_ins import CURSED_S, StandInRecognizer, tone, wav

from tasks.certificates import read_chain
from tasks.runs import later_run_id, new_run_id
from tasks.schemas import Row
from tasks.storage import open_storage

__all__ = ["bundles", "recognizer"]

NOW = datetime(2026, 11, 2, 12, tzinfo=UTC)
CURSED = "cursed"
ALL = {**CALLS, CURSED: wav(tone(300, CURSED_S))}


def _set_clock(patch: pytest.MonkeyPatch, hours: float) -> None:
    """Let every module that asks for the time be so many hours off."""

    class Shifted(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> Self:
            return cls.fromtimestamp((datetime.now(UTC) + timedelta(hours=hours)).timestamp(), tz)

    for module in ("active", "runs", "run_job", "plan_run", "certificates", "job_record"):
        patch.setattr(f"tasks.{module}.datetime", Shifted, raising=False)


@pytest.fixture
def month(tmp_path: Path, recognizer: StandInRecognizer, bundles: Path) -> SmallMonth:
    """An archive of calls, one of which always fails, and an empty data set."""
    recognizer.heard = 0
    for name in ("archive", "transcripts"):
        (tmp_path / name).mkdir()
    month = SmallMonth((tmp_path / "archive").as_uri(), (tmp_path / "transcripts").as_uri(), bundles)
    fill(open_storage(month.archive), ALL)
    return month


def _row(month: SmallMonth, call_id: str) -> Row:
    (row,) = (row for row in month.data.read_calls(MONTH) if row["call_id"] == call_id)
    return row


def test_run_ids_go_on_when_the_clock_goes_back() -> None:
    """A new run_id is its time, or a millisecond after the last one, where that is later; they sort in that order."""
    last = new_run_id(NOW + timedelta(hours=5, milliseconds=999))
    found = later_run_id(new_run_id(NOW), last)
    assert last < found
    assert "20261102T170001000Z" == found.partition("-")[0]
    later = new_run_id(NOW + timedelta(hours=6))
    assert later == later_run_id(later, last)


def test_a_clock_that_goes_back_between_two_runs(month: SmallMonth, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second run's transcript of a replaced recording stands, its failures are its own, and so it goes on."""
    run_ids = []
    for number, hours in enumerate((5.0, -3.0, 0.0)):
        with monkeypatch.context() as patch:
            _set_clock(patch, hours)
            summary = month.run()
        run_ids.append(summary.run_id)
        assert_certified(month, summary, ALL)
        if number:
            assert ({"transcribed": 1, "failed": 1}, 0) == (summary.outcomes, summary.superseded)
            assert summary.run_id == _row(month, "mono-0")["run_id"]
            assert content(month.storage)["mono-0"][0]["duration_s"] == 1.0 + number / 4
        assert (summary.run_id, number + 1) == tuple(_row(month, CURSED)[name] for name in ("run_id", "attempt"))
        open_storage(month.archive).put("2026/10/05/mono-0.wav", wav(tone(300, 1.25 + number / 4)))
    assert sorted(run_ids) == run_ids
    assert run_ids == [link.subject for link in read_chain(month.storage)]


def test_a_run_is_gone_on_with_by_a_machine_with_another_clock(
    month: SmallMonth, recognizer: StandInRecognizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Planned by a clock that is ahead, finished by one that is behind: leases and checkpoints compare no clocks."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        _set_clock(patch, 5.0)
        patch.setattr("tasks.run_job.JobRecord.end", interrupt)
        with pytest.raises(KeyboardInterrupt):
            month.run()
    recognizer.heard = 0
    with monkeypatch.context() as patch:
        _set_clock(patch, -5.0)
        summary = month.run()
    assert 0 == recognizer.heard
    assert_certified(month, summary, ALL)
    with monkeypatch.context() as patch:
        _set_clock(patch, -5.0)
        # Other settings, so that the run which was left is not gone on with.
        patch.setattr("flows.crew.transcribe_job", interrupt)
        open_storage(month.archive).put("2026/10/05/late.wav", wav(tone(300, 2.0)))
        with pytest.raises(KeyboardInterrupt):
            month.run()
    anew = month.run(recognizer={"beam_size": 2})
    assert summary.run_id < anew.run_id
    assert_certified(month, anew, {**ALL, "late": b""})
