"""Backfills that die, beside others, and over what an earlier version wrote."""

import json
from pathlib import Path
from typing import Any

import pytest
from small_month import CALLS, MONTH, SmallMonth, bundles, fill, recognizer
from stand_ins import StandInRecognizer

from flows.backfill import Backfill, backfill, unfinished
from flows.month import Workplace
from tasks.certificates import HEAD_KEY, append, certify, read_chain
from tasks.errors import QueryError
from tasks.job_record import InFlight, JobRecord, worker_seconds
from tasks.quote import measured_rtfx
from tasks.run_models import fingerprints_of
from tasks.runs import new_run_id, read_head
from tasks.schemas import CALLS as CALLS_SCHEMA
from tasks.selection import Selection
from tasks.settings import load_settings
from tasks.storage import open_storage
from tasks.tables import table_of
from tasks.verify import verify

__all__ = ["bundles", "recognizer"]

GOOD = 6


@pytest.fixture
def month(tmp_path: Path, recognizer: StandInRecognizer, bundles: Path) -> SmallMonth:
    """A month that was run, under other settings than today's."""
    recognizer.heard = 0
    for name in ("archive", "transcripts"):
        (tmp_path / name).mkdir()
    month = SmallMonth((tmp_path / "archive").as_uri(), (tmp_path / "transcripts").as_uri(), bundles)
    fill(open_storage(month.archive))
    assert month.run(recognizer={"beam_size": 2}).accounted
    return month


def _backfill(month: SmallMonth, **options: Any) -> Backfill:  # noqa: ANN401  # parameters of the flow
    plain = {"archive": month.archive, "transcripts": month.transcripts, "overrides": month.overrides()}
    return backfill.fn(MONTH, **(plain | options))


def _previous(month: SmallMonth) -> list[str]:
    return [info.key for info in month.storage.list("_runs/") if "/previous/" in info.key]


class Killed(Exception):
    """The process dies here."""


def _die(*_: object, **__: object) -> None:
    raise Killed


def test_one_that_dies_after_its_last_commit_is_ended(month: SmallMonth, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is left to transcribe, and yet it has not ended: the same request compares and certifies."""
    place = Workplace.opened(month.archive, month.transcripts, month.overrides())
    assert [] == unfinished(place, [MONTH])
    with monkeypatch.context() as patch:
        patch.setattr("flows.month.certify", _die)
        with pytest.raises(Killed):
            _backfill(month)
    assert [MONTH] == unfinished(place, [MONTH])
    assert [] != _previous(month)
    done = _backfill(month)
    assert (GOOD, [{"no_speech": 1, "transcribed": 5}]) == (done.changes.calls, [one.outcomes for one in done.runs])
    assert ([], []) == (unfinished(place, [MONTH]), _previous(month))
    assert [] == verify(month.data).findings


def test_one_that_dies_while_it_is_planned_leaves_nothing(month: SmallMonth, monkeypatch: pytest.MonkeyPatch) -> None:
    """What it had kept goes: nobody will ever ask for it."""
    with monkeypatch.context() as patch:
        patch.setattr("tasks.plan_run.write_head", _die)
        with pytest.raises(Killed):
            _backfill(month)
    (dead,) = {key.split("/")[1] for key in _previous(month)}
    assert GOOD == _backfill(month).changes.calls
    assert [] == [info.key for info in month.storage.list(f"_runs/{dead}/")]


def test_what_was_kept_and_cannot_be_read_holds_up_nothing(month: SmallMonth, monkeypatch: pytest.MonkeyPatch) -> None:
    """The shard is counted, the others are compared, and the transcripts stand."""
    with monkeypatch.context() as patch:
        patch.setattr("flows.month.certify", _die)
        with pytest.raises(Killed):
            _backfill(month)
    damaged = next(key for key in _previous(month) if "calls-" in key)
    month.storage.put(damaged, b"PAR1 no more")
    done = _backfill(month)
    assert 1 == done.changes.not_compared
    assert 0 < done.changes.calls < GOOD
    assert ([], []) == (_previous(month), verify(month.data).findings)


def test_no_value_of_a_row_is_in_an_error(month: SmallMonth) -> None:
    """DuckDB quotes what it cannot convert; Prefect would keep it."""
    rows = [row | {"attributes": [("customer_id", "zarquon-4711")]} for row in month.data.read_calls(MONTH)]
    selection = Selection("attributes['customer_id']::INT > 5")
    selection.check()
    with pytest.raises(QueryError, match="callscribe query") as caught:
        selection.of(table_of(rows, CALLS_SCHEMA), MONTH)
    assert "zarquon" not in caught.value.message
    assert (None, True) == (caught.value.__cause__, caught.value.__suppress_context__)


def test_of_two_transcripts_that_of_the_later_plan_is_expected(month: SmallMonth) -> None:
    """Also where the run that was planned first is certified last, with what it had seen before."""
    first = next(link for link in read_chain(month.storage) if link.kind == "run")
    _backfill(month)
    append(month.storage, "run", first.subject, first.content)
    assert [] == verify(month.data).findings


# ---------- what an earlier version wrote


def test_certificates_without_the_time_of_workers(month: SmallMonth) -> None:
    """Speed is then assumed, and so it is where the chain is broken."""
    settings = load_settings(overrides=month.overrides())
    (link,) = read_chain(month.storage)
    result = {name: value for name, value in link.content["result"].items() if name != "worker_s"}
    month.storage.delete("_certificates/00000001.json")
    month.storage.delete(HEAD_KEY)
    append(month.storage, "run", link.subject, {**link.content, "result": result})
    models = fingerprints_of(settings)
    assert (settings.run.assumed_rtfx, 0) == measured_rtfx(month.storage, settings, models)
    month.storage.delete(HEAD_KEY)
    assert (settings.run.assumed_rtfx, 0) == measured_rtfx(month.storage, settings, models)


def test_records_without_times(month: SmallMonth) -> None:
    """An attempt and a mark of an earlier version are read, and its plan is certified."""
    (run_id,) = {info.key.split("/")[1] for info in month.storage.list("_runs/")}
    month.storage.put(f"_runs/{run_id}/attempts/job-0009-1.json", json.dumps({"at": "", "orderly": False}).encode())
    mark = {"call_ids": ["mono-0"], "deaths": {}}
    month.storage.put(f"_runs/{run_id}/in_flight/job-0009.json", json.dumps(mark).encode())
    assert ("mono-0",) == JobRecord(month.storage, run_id, 9).begin(5).suspects
    assert certify(month.data, read_head(month.storage, run_id), 1.0)[0].accounted


def test_time_of_processes_that_died(month: SmallMonth) -> None:
    """Counts as far as their last mark says, before and after the next attempt begins, however many died."""
    run_id = new_run_id()
    expected = 0.0
    for number in range(1, 4):
        record = JobRecord(month.storage, run_id, 1, began=0.0)
        record.begin(10)
        if number != 2:  # that one died before it took any call
            record.mark(InFlight(("a", "b")))
            mark = json.loads(month.storage.get(f"_runs/{run_id}/in_flight/job-0001.json").data)
            expected += mark["spent_s"]
        assert pytest.approx(expected, abs=0.01) == worker_seconds(month.storage, run_id)
    assert worker_seconds(month.storage, run_id) == worker_seconds(month.storage, run_id, 1)
    assert 0.0 == worker_seconds(month.storage, run_id, 2)
    assert len(CALLS) == len(month.data.read_calls(MONTH))
