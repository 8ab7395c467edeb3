"""What is removed because of its age, and what stays."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from builders import call_ref, failure, outcome, planned_call, provenance, transcript, utterance
from test_runs import head
from typer.testing import CliRunner

from evaluation.backfills import changes_key
from evaluation.changes import Side, compare
from flows.cli import app
from flows.retention import retain as retain_flow
from tasks.certificates import certify, read_chain
from tasks.dataset import DataSet
from tasks.errors import SettingsError
from tasks.holds import Hold, add_hold, release_hold
from tasks.job_record import JobRecord
from tasks.query import run_query
from tasks.records import SetAside
from tasks.retention import OldCalls, Retained, end_of, old_calls, retain, retention_rows
from tasks.rows import CallRows, rows_of
from tasks.runs import new_run_id, write_head, write_job, write_unplanned
from tasks.schemas import CHANGES
from tasks.setting_groups import ArchiveSettings, RetentionSettings
from tasks.shards import shard_of
from tasks.storage import Storage, open_storage
from tasks.tables import table_of, to_parquet
from tasks.verify import verify

MONTH, SHARDS = "2026-10", 2
NOW = datetime(2026, 12, 1, tzinfo=UTC)
SPOKEN = "zarquonflute"
RUN = new_run_id(datetime(2026, 11, 2, tzinfo=UTC))
DAYS = {"early": 1, "middle": 16, "late": 31}


def _rows(call_id: str, started_at: datetime | None, **changes: Any) -> CallRows:  # noqa: ANN401  # fields of the record
    call = call_ref(call_id, started_at=started_at, attributes={"customer_id": call_id})
    aside = SetAside(0, 1.0, 2.0, f"{SPOKEN} {call_id}", "no_speech", -1.0, 0.9)
    heard = transcript([utterance(f"{SPOKEN} {call_id}")], set_aside=(aside,))
    return rows_of(outcome(call, **({"transcript": heard} | changes)), provenance(run_id=RUN))


def _began(call_id: str) -> datetime:
    return datetime(2026, 10, DAYS[call_id], 12, tzinfo=UTC)


@pytest.fixture
def data(tmp_path: Path) -> DataSet:
    """A month of five calls, one without a time and one that failed; each is in changes, and one in a checkpoint."""
    storage = open_storage(tmp_path.as_uri())
    data = DataSet(storage)
    data.fix_shards(MONTH, SHARDS)
    items = [_rows(call_id, _began(call_id)) for call_id in DAYS]
    items += [
        _rows("undated", None),
        _rows("broken", _began("early"), transcript=None, failure=failure("empty_object")),
    ]
    work = sorted(
        (planned_call(item.call["call_id"], shard=shard_of(item.call["call_id"], SHARDS)) for item in items),
        key=lambda planned: planned.shard,
    )
    planned = replace(
        head(), run_id=RUN, month=MONTH, shards=SHARDS, jobs=1, calls=5, listed_objects=5,
        created_at="2026-11-02T00:00:00+00:00",
    )  # fmt: skip
    write_job(storage, RUN, 1, work)
    write_unplanned(storage, RUN, [], [], ["long-gone"])
    write_head(storage, planned)
    for item in items:
        data.commit(MONTH, shard_of(item.call["call_id"], SHARDS), SHARDS, [item])
    changed = [compare(Side(item.call), Side(item.call, item.utterances), RUN)[0] for item in items]
    storage.put(changes_key(MONTH, RUN, 0, 1), to_parquet(table_of(changed, CHANGES)))
    JobRecord(storage, "20261101T000000000Z-dead00", 1).save([items[0]])
    assert certify(data, planned, 1.0)[0].accounted
    assert [] == verify(data).findings
    return data


def _retain(data: DataSet, *, apply: bool = True, now: datetime = NOW, **days: float) -> Retained:
    return retain(data, RetentionSettings(**days), ArchiveSettings(), apply=apply, now=now)


def _holding(storage: Storage, text: str) -> list[str]:
    """The keys of objects that hold a text, in Parquet or not, certificates and tombstones aside."""
    import io

    import pyarrow.parquet as pq

    found = []
    for info in storage.list():
        content = storage.get(info.key).data
        if info.key.endswith(".parquet"):
            content = str(pq.read_table(io.BytesIO(content)).to_pylist()).encode()
        if text.encode() in content and not info.key.startswith(("_control/", "_certificates/")):
            found.append(info.key)
    return found


# ---------- the rules


@pytest.mark.parametrize(
    ("days", "expected"),
    [
        ({}, (set(), set(), set())),
        ({"utterances_days": 60.6}, (set(), set(), set())),
        ({"utterances_days": 60.4}, (set(), {"early"}, set())),
        ({"utterances_days": 45.4}, (set(), {"early", "middle"}, set())),
        ({"utterances_days": 30.4}, (set(), {"early", "middle", "late"}, set())),
        ({"utterances_days": 29.9}, (set(), {"early", "middle", "late", "undated"}, set())),
        ({"changes_days": 50}, (set(), set(), {"early", "broken"})),
        ({"calls_days": 50}, ({"early", "broken"}, set(), set())),
        ({"calls_days": 50, "utterances_days": 40}, ({"early", "broken"}, {"middle"}, set())),
        ({"utterances_days": 50, "changes_days": 40}, (set(), {"early"}, {"early", "broken", "middle"})),
    ],
)
def test_how_old_is_too_old(data: DataSet, days: dict[str, float], expected: tuple[set[str], ...]) -> None:
    """By when the call began, else by the end of its month; what failed has no text."""
    old = old_calls(data.read_calls(MONTH), MONTH, RetentionSettings(**days), [], NOW)
    assert expected == (old.calls, old.utterances, old.changes)


def test_holds_keep_what_is_old(data: DataSet) -> None:
    """And are counted."""
    holds = [Hold("1", "call_id", "early", "case", ""), Hold("2", "customer_id", "late", "case", "")]
    rules = RetentionSettings(utterances_days=1, calls_days=50)
    old = old_calls(data.read_calls(MONTH), MONTH, rules, holds, NOW)
    expected = OldCalls(frozenset({"broken"}), frozenset({"middle", "undated"}), frozenset(), 2)
    assert expected == old


@pytest.mark.parametrize(("month", "end"), [("2026-10", (2026, 11)), ("2026-12", (2027, 1)), ("2026-01", (2026, 2))])
def test_the_end_of_a_month(month: str, end: tuple[int, int]) -> None:
    """Is the beginning of the next."""
    assert datetime(*end, 1, tzinfo=UTC) == end_of(month)


# ---------- what is removed


def test_a_dry_run_says_what_a_real_one_does(data: DataSet) -> None:
    """And writes nothing; done again, there is nothing left to do."""
    rules = {"calls_days": 50, "utterances_days": 40, "changes_days": 30, "runs_days": 20}
    before = {info.key: info.etag for info in data.storage.list()}
    planned = _retain(data, apply=False, **rules)
    assert before == {info.key: info.etag for info in data.storage.list()}
    assert (2, 1, 4, 0) == (planned.calls, planned.utterances, planned.changes, planned.held)
    assert 0 < planned.run_objects
    done = _retain(data, **rules)
    assert replace(done, certificate=0) == planned
    again = _retain(data, **rules)
    assert (0, 0, 0, 0) == (again.calls, again.utterances, again.changes, again.run_objects)
    assert [] == verify(data).findings


def test_everything_that_was_spoken_goes(data: DataSet) -> None:
    """From utterances, set-aside text, changes and checkpoints; the row stays, and says since when."""
    assert _holding(data.storage, f"{SPOKEN} early")
    _retain(data, utterances_days=40)
    assert [] == _holding(data.storage, f"{SPOKEN} early") == _holding(data.storage, f"{SPOKEN} middle")
    assert _holding(data.storage, f"{SPOKEN} late")
    rows = {row["call_id"]: row for row in data.read_calls(MONTH)}
    assert {"early": NOW, "middle": NOW, "late": None, "undated": None, "broken": None} == {
        call_id: row["text_removed_at"] for call_id, row in rows.items()
    }
    assert ("transcribed", 2, []) == tuple(rows["early"][name] for name in ("outcome", "words", "set_aside"))
    _, spoken = run_query(data.storage, "SELECT DISTINCT call_id FROM utterances ORDER BY 1")
    assert [("late",), ("undated",)] == spoken
    result = verify(data)
    assert ([], 5, 2) == (result.findings, result.calls, result.text_removed)


def test_text_that_is_gone_without_a_retention_is_a_finding(data: DataSet) -> None:
    """Whoever says that it was old must have a certificate, and the call must be as old as that says."""
    for call_id in ("middle", "late"):
        data.remove_text(MONTH, shard_of(call_id, SHARDS), SHARDS, [call_id], NOW)
    assert {"middle", "late"} == {finding.call_id for finding in verify(data).findings}
    _retain(data, utterances_days=40)
    assert ["late"] == [finding.call_id for finding in verify(data).findings]


def test_calls_go_for_good(data: DataSet) -> None:
    """As by an erasure: they are not transcribed again."""
    _retain(data, calls_days=50)
    assert {"middle", "late", "undated"} == {row["call_id"] for row in data.read_calls(MONTH)}
    assert [] == _holding(data.storage, '"early"') == _holding(data.storage, f"{SPOKEN} early")
    assert "early" in data.erased(MONTH, shard_of("early", SHARDS), SHARDS)
    assert ["run", "erasure", "retention"] == [one.kind for one in read_chain(data.storage)]
    assert [] == verify(data).findings


def test_only_records_of_ended_runs_go(data: DataSet) -> None:
    """Head, certificate and digests stay, so that what was certified can still be held against what stands."""
    unfinished = new_run_id(datetime(2026, 11, 3, tzinfo=UTC))
    write_job(data.storage, unfinished, 1, [planned_call("early")])
    _retain(data, runs_days=20)
    left = {info.key.split("/")[2] for info in data.storage.list(f"_runs/{RUN}/")}
    assert {"plan.json", "certificate.json", "outputs"} == left
    assert [f"_runs/{unfinished}/jobs/job-0001.parquet"] == [i.key for i in data.storage.list(f"_runs/{unfinished}/")]
    assert [] == verify(data).findings


def test_a_hold_that_is_released_no_longer_keeps(data: DataSet) -> None:
    """The next retention removes what was kept."""
    hold = add_hold(data.storage, "customer_id", "early", "case 1")
    assert (1, 1) == ((first := _retain(data, utterances_days=40)).utterances, first.held)
    release_hold(data.storage, hold.hold_id)
    assert (1, 0) == ((second := _retain(data, utterances_days=40)).utterances, second.held)


def test_young_months_are_not_looked_at(data: DataSet) -> None:
    """Nor is anything where there is no rule for calls."""
    assert {} == _retain(data, utterances_days=100).months == _retain(data, runs_days=1000).months
    assert {MONTH} == set(_retain(data, utterances_days=61.0, apply=False).months)


def test_a_new_transcript_has_its_text(data: DataSet) -> None:
    """A recording that was replaced is transcribed, as ever, and grows old anew by when its call began."""
    _retain(data, utterances_days=40)
    later = provenance(run_id=new_run_id(NOW + timedelta(days=1)))
    item = rows_of(outcome(call_ref("early", started_at=_began("early")), transcript=transcript()), later)
    data.commit(MONTH, shard_of("early", SHARDS), SHARDS, [item])
    (row,) = (row for row in data.read_calls(MONTH) if row["call_id"] == "early")
    assert None is row["text_removed_at"]
    assert 1 == _retain(data, utterances_days=40, apply=False).utterances


# ---------- command line, flow, people


def test_on_the_command_line(data: DataSet) -> None:
    """Without --apply it only says; without a rule it says which there are."""

    def invoke(*options: str) -> str:
        result = CliRunner().invoke(app, ["retain", "--transcripts", data.storage.uri, *options])
        if isinstance(result.exception, SettingsError):
            raise result.exception
        return result.output

    assert "nothing was done" in invoke("--utterances-days", "1")
    assert [] != _holding(data.storage, SPOKEN)
    assert "certificate" in invoke("--utterances-days", "1", "--apply")
    assert [] == _holding(data.storage, SPOKEN)
    with pytest.raises(SettingsError, match="there is no rule"):
        invoke()


def test_the_flow_asks_for_a_rule(data: DataSet) -> None:
    """Before anything is looked at."""
    with pytest.raises(SettingsError, match="there is no rule"):
        retain_flow.fn(transcripts=data.storage.uri)


def test_for_people() -> None:
    """A certificate is named where there is one."""
    assert "certificate" not in dict(retention_rows(Retained(calls=1200)))
    rows = dict(retention_rows(Retained(calls=1200, certificate=7)))
    assert ("1,200", "7") == (rows["calls, everything of them"], rows["certificate"])
