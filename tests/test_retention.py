"""What is removed because of its age, and what stays."""

import json
import secrets
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

import pytest
from builders import call_ref, failure, outcome, planned_call, provenance, transcript, utterance
from test_runs import head
from typer.testing import CliRunner

from evaluation.backfills import changes_key
from evaluation.changes import Side, compare
from flows.cli import app
from flows.retention import retain as retain_flow
from tasks.active import active_key
from tasks.certificates import certify, read_chain
from tasks.dataset import DataSet
from tasks.errors import CallHeld, SettingsError
from tasks.holds import Hold, add_hold, read_holds, release_hold
from tasks.job_record import JobRecord
from tasks.mend import mend
from tasks.query import run_query
from tasks.records import SetAside
from tasks.retention import Retained, _Retention, retain, retention_rows
from tasks.retention_rules import OldCalls, end_of, old_calls
from tasks.rows import CallRows, rows_of
from tasks.runs import new_run_id, write_head, write_job, write_unplanned
from tasks.schemas import CALLS, CHANGES, UTTERANCES
from tasks.setting_groups import ArchiveSettings, RetentionSettings
from tasks.shards import Table, object_key, shard_name, shard_of
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


def _lease(storage: Storage, run_id: str, state: str) -> None:
    lease = {"run_id": run_id, "holder": "another", "lease_s": 0.2, "beat": secrets.randbelow(10**9), "state": state}
    storage.put(active_key(MONTH), json.dumps(lease).encode())


def _die(*_: object, **__: object) -> None:
    raise KeyboardInterrupt


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
    assert old.utterances == old.spoken - {"broken"}


def test_holds_keep_what_is_old(data: DataSet) -> None:
    """And are counted."""
    holds = [Hold("1", "call_id", "early", "case", ""), Hold("2", "customer_id", "late", "case", "")]
    rules = RetentionSettings(utterances_days=1, calls_days=50)
    old = old_calls(data.read_calls(MONTH), MONTH, rules, holds, NOW)
    young = frozenset({"middle", "undated"})
    expected = OldCalls(frozenset({"broken"}), young, young, frozenset(), 2)
    assert expected == old


@pytest.mark.parametrize(("month", "end"), [("2026-10", (2026, 11)), ("2026-12", (2027, 1)), ("2026-01", (2026, 2))])
def test_the_end_of_a_month(month: str, end: tuple[int, int]) -> None:
    """Is the beginning of the next, in the archive's time zone."""
    assert datetime(*end, 1, tzinfo=UTC) == end_of(month)
    assert datetime(*end, 1, 8, tzinfo=UTC) == end_of(month, "America/Los_Angeles").replace(hour=8)
    assert datetime(*end, 1, tzinfo=UTC) - timedelta(hours=9) == end_of(month, "Asia/Tokyo")


@pytest.mark.parametrize(
    ("timezone", "hour", "expected"),
    [
        ("UTC", 1, {"undated"}),
        ("America/New_York", 1, set()),  # its October ends at 4:00 UTC
        ("America/New_York", 5, {"undated"}),
    ],
)
def test_undated_calls_of_another_time_zone(data: DataSet, timezone: str, hour: int, expected: set[str]) -> None:
    """Do not go hours before their month has ended there for so many days."""
    rules = RetentionSettings(calls_days=10)
    now = datetime(2026, 11, 11, hour, tzinfo=UTC)
    rows = [row for row in data.read_calls(MONTH) if row["call_id"] == "undated"]
    assert expected == old_calls(rows, MONTH, rules, [], now, timezone).calls


def test_text_of_undated_calls_of_the_far_east(data: DataSet) -> None:
    """Their month ends before that of UTC, and the certificate says in which time zone it was counted."""
    now = end_of(MONTH) + timedelta(days=10, hours=-5)
    archive = ArchiveSettings(timezone="Asia/Tokyo")
    assert 4 == retain(data, RetentionSettings(utterances_days=10), archive, apply=True, now=now).utterances
    assert ([], 4) == ((result := verify(data)).findings, result.text_removed)


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
    assert {("middle", "text_gone"), ("late", "text_gone")} == {
        (one.call_id, one.kind) for one in verify(data).findings
    }
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
    _lease(data.storage, unfinished, "free")
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


def test_old_calls_in_a_young_month(data: DataSet) -> None:
    """A manifest may say that a call began long before its month; without a rule for calls, none is looked at."""
    long_ago = rows_of(
        outcome(call_ref("long-ago", started_at=NOW - timedelta(days=1000)), transcript=transcript()), provenance()
    )
    data.commit(MONTH, shard_of("long-ago", SHARDS), SHARDS, [long_ago])
    assert ({MONTH}, 1) == (set((done := _retain(data, utterances_days=100)).months), done.utterances)
    assert {} == _retain(data, runs_days=1000).months


def test_a_new_transcript_has_its_text(data: DataSet) -> None:
    """A recording that was replaced is transcribed, as ever, and grows old anew by when its call began."""
    _retain(data, utterances_days=40)
    later = provenance(run_id=new_run_id(NOW + timedelta(days=1)))
    item = rows_of(outcome(call_ref("early", started_at=_began("early")), transcript=transcript()), later)
    data.commit(MONTH, shard_of("early", SHARDS), SHARDS, [item])
    (row,) = (row for row in data.read_calls(MONTH) if row["call_id"] == "early")
    assert None is row["text_removed_at"]
    assert 1 == _retain(data, utterances_days=40, apply=False).utterances


# ---------- cut off


def _cut_off(data: DataSet, place: str, **days: float) -> None:
    """A retention that is killed when it comes to a step."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(place, _die)
        with pytest.raises(KeyboardInterrupt):
            _retain(data, **days)


def _cut_off_between_puts(data: DataSet, **days: float) -> None:
    """A retention that is killed when the utterances of a shard are gone, and its rows do not say so yet."""
    write = DataSet._write

    def killed(self: DataSet, name: Table, *rest: Any) -> str:  # noqa: ANN401  # what the method takes
        return write(self, name, *rest) if name == "utterances" else cast("str", _die())

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(DataSet, "_write", killed)
        with pytest.raises(KeyboardInterrupt):
            _retain(data, **days)


@pytest.mark.parametrize(
    "place",
    [
        "tasks.dataset.DataSet.remove_text",
        "tasks.retention.erase_from_runs",
        "tasks.retention.filter_changes",
        "tasks.retention.erase_calls",
        "tasks.dataset.DataSet.bury",
        "tasks.dataset.DataSet.purge",
        "tasks.erase.erase_from_runs",
        "tasks.erase.filter_changes",
        "tasks.erase.append",
        "tasks.retention.append",
    ],
)
def test_cut_off_and_done_again(data: DataSet, place: str) -> None:
    """Wherever it was killed, nothing spoken is left in the end, and the certificates explain everything."""
    JobRecord(data.storage, "20261101T000000000Z-dead00", 2).save([_rows("middle", _began("middle"))])
    rules = {"calls_days": 50, "utterances_days": 40}
    _cut_off(data, place, **rules)
    _retain(data, **rules)
    assert [] == _holding(data.storage, f"{SPOKEN} early") == _holding(data.storage, f"{SPOKEN} middle")
    assert {"middle", "late", "undated"} == {row["call_id"] for row in data.read_calls(MONTH)}
    assert ([], []) == (verify(data).findings, list(data.storage.list("_control/retaining/")))


def test_cut_off_between_two_puts(data: DataSet) -> None:
    """The row does not say yet that its text is gone, but the retention had said what it would do."""
    _cut_off_between_puts(data, utterances_days=40)
    (finding, *_) = findings = verify(data).findings
    assert {"text_gone"} == {one.kind for one in findings}
    assert finding.call_id in {"early", "middle"}
    _retain(data, utterances_days=40)
    assert ([], 2) == ((result := verify(data)).findings, result.text_removed)


def test_text_that_nothing_says_is_due(data: DataSet) -> None:
    """A retention that has begun excuses no younger call, and none that still has some of its words."""
    _cut_off(data, "tasks.dataset.DataSet.remove_text", utterances_days=40)
    shard = shard_of("late", SHARDS)
    key = object_key("utterances", MONTH, shard, SHARDS)
    rows = [row for row in data.read_table(MONTH, shard, SHARDS, "utterances").to_pylist() if row["call_id"] != "late"]
    data.storage.put(key, to_parquet(table_of(rows, UTTERANCES)))
    assert [("altered", "late")] == [(finding.kind, finding.call_id) for finding in verify(data).findings]


@pytest.mark.parametrize("between_puts", [False, True])
def test_mending_leaves_what_a_retention_began(data: DataSet, tmp_path: Path, *, between_puts: bool) -> None:
    """A row that was taken out would be transcribed again, text and all."""
    if between_puts:
        _cut_off_between_puts(data, utterances_days=40)
    else:
        _cut_off(data, "tasks.retention.append", utterances_days=40)
    (tmp_path / "archive").mkdir()
    archive = open_storage((tmp_path / "archive").as_uri())
    for call_id in DAYS:
        archive.put(f"2026/10/05/{call_id}.wav", b"RIFF")
    mended = mend(data, MONTH, archive, ArchiveSettings())
    assert (0, {"text_gone"}) == (mended.rows, {finding.kind for finding in mended.left})
    _retain(data, utterances_days=40)
    assert ([], 5) == ((result := verify(data)).findings, result.calls)


def test_a_longer_rule_after_one_that_was_cut_off(data: DataSet) -> None:
    """Nothing more is removed by the first, and the certificate of the second explains what was."""
    _cut_off(data, "tasks.retention.append", utterances_days=40)
    assert 0 == _retain(data, utterances_days=1000).utterances
    assert ([], 2) == ((result := verify(data)).findings, result.text_removed)


def test_changes_that_come_late(data: DataSet) -> None:
    """A backfill that compared before, and wrote after, a retention: the next one finds the passages."""
    _retain(data, utterances_days=40)
    item = _rows("early", _began("early"))
    row = compare(Side(item.call), Side(item.call, item.utterances), RUN)[0]
    data.storage.put(changes_key(MONTH, RUN, 1, SHARDS), to_parquet(table_of([row], CHANGES)))
    assert (0, 1) == ((again := _retain(data, utterances_days=40)).utterances, again.changes)
    assert [] == _holding(data.storage, f"{SPOKEN} early")


# ---------- holds that are set meanwhile


def test_a_hold_is_set_while_a_retention_runs(data: DataSet, monkeypatch: pytest.MonkeyPatch) -> None:
    """It counts from the next shard on, also for one that was read already."""
    read = DataSet.read_shard

    def reading(self: DataSet, *rest: Any) -> Any:  # noqa: ANN401  # what the method takes
        rows = read(self, *rest)
        if {"early"} <= {row["call_id"] for row in rows} and not read_holds(data.storage):
            add_hold(data.storage, "customer_id", "early", "case")
        return rows

    monkeypatch.setattr(DataSet, "read_shard", reading)
    assert (1, 1) == ((done := _retain(data, utterances_days=40)).utterances, done.held)
    assert _holding(data.storage, f"{SPOKEN} early")


@pytest.mark.parametrize("name", ["call_id", "customer_id"])
@pytest.mark.parametrize("rule", ["calls_days", "changes_days"])
def test_a_hold_is_set_after_the_shards_were_read(
    data: DataSet, monkeypatch: pytest.MonkeyPatch, rule: str, name: str
) -> None:
    """Then calls and changes that are held stay, and the others go."""
    look = _Retention._held_since

    def looking(self: _Retention, *rest: Any) -> Any:  # noqa: ANN401  # what the method takes
        add_hold(data.storage, name, "early", "case")
        return look(self, *rest)

    monkeypatch.setattr(_Retention, "_held_since", looking)
    done = _retain(data, **{rule: 50})
    assert (1, 1) == (done.changes, done.held)
    assert "early" in {row["call_id"] for row in data.read_calls(MONTH)}
    assert [f"changes/month={MONTH}/{RUN}-{shard_name(0, 1)}.parquet"] == [
        key for key in _holding(data.storage, f"{SPOKEN} early") if key.startswith("changes/")
    ]


@pytest.mark.parametrize("name", ["call_id", "customer_id"])
def test_a_hold_on_what_was_being_erased(data: DataSet, name: str) -> None:
    """Is left as it is until the hold is released, and stops nothing else."""
    _cut_off(data, "tasks.dataset.DataSet.purge", calls_days=50)
    assert "broken" in data.erased(MONTH, shard_of("broken", SHARDS), SHARDS)
    hold = add_hold(data.storage, name, "broken", "case")
    _retain(data, calls_days=50)
    assert "broken" in {row["call_id"] for row in data.read_calls(MONTH)}
    release_hold(data.storage, hold.hold_id)
    _retain(data, calls_days=50)
    assert ([], []) == (verify(data).findings, list(data.storage.list("_control/retaining/")))


# ---------- runs that nobody ended


def _abandoned(data: DataSet) -> str:
    """A run that died: a plan, a checkpoint and a mark, of a call that never came to have a row."""
    run_id = new_run_id(datetime(2026, 11, 3, tzinfo=UTC))
    write_job(data.storage, run_id, 1, [planned_call("no-row")])
    record = JobRecord(data.storage, run_id, 1)
    record.begin(3)
    item = _rows("no-row", _began("early"))
    record.save([item])
    for name, table in {
        "calls": table_of([item.call], CALLS),
        "utterances": table_of(item.utterances, UTTERANCES),
    }.items():
        data.storage.put(f"_runs/{run_id}/previous/{name}-{shard_name(0, SHARDS)}.parquet", to_parquet(table))
    return run_id


@pytest.mark.parametrize("state", ["none", "free", "ended", "held"])
@pytest.mark.parametrize("rule", ["utterances_days", "calls_days"])
def test_what_runs_keep_of_calls_without_a_row(data: DataSet, rule: str, state: str) -> None:
    """Grows old by when the run was planned, also where a process died that held the month."""
    run_id = _abandoned(data)
    if state != "none":
        _lease(data.storage, run_id, state)
    assert 0 == _retain(data, **{rule: 30.5}, apply=False).run_objects
    assert _holding(data.storage, f"{SPOKEN} no-row")
    planned = _retain(data, **{rule: 27.9}, apply=False).run_objects
    assert planned == _retain(data, **{rule: 27.9}).run_objects > 0
    assert [] == _holding(data.storage, f"{SPOKEN} no-row")
    left = {info.key.split("/")[2] for info in data.storage.list(f"_runs/{run_id}/")}
    assert {"jobs", "attempts"} == left
    _retain(data, runs_days=27.9)
    assert (state in {"free", "held"}) == bool(list(data.storage.list(f"_runs/{run_id}/")))


def test_a_run_under_way_keeps_everything(data: DataSet, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its lease is renewed while it is looked at."""
    run_id = _abandoned(data)
    _lease(data.storage, run_id, "held")
    monkeypatch.setattr("tasks.retention_runs.time.sleep", lambda _: _lease(data.storage, run_id, "held"))
    before = [info.key for info in data.storage.list(f"_runs/{run_id}/")]
    _retain(data, utterances_days=1, calls_days=1, runs_days=1)
    assert before == [info.key for info in data.storage.list(f"_runs/{run_id}/")]


@pytest.mark.parametrize("name", ["call_id", "customer_id"])
def test_a_held_call_without_a_row(data: DataSet, name: str) -> None:
    """The checkpoint has the only copy of it, and keeps that; others go."""
    run_id = _abandoned(data)
    JobRecord(data.storage, run_id, 2).save([_rows("other", None), _rows("held", None)])
    add_hold(data.storage, name, "held", "case")
    _retain(data, utterances_days=20, runs_days=20)
    assert [f"_runs/{run_id}/checkpoints/job-0002-0-0001.parquet"] == _holding(data.storage, f"{SPOKEN} held")
    assert [] == _holding(data.storage, f"{SPOKEN} other")
    assert 0 == _retain(data, utterances_days=20, runs_days=20).run_objects


@pytest.mark.parametrize(("state", "stays"), [("held", True), ("free", True), ("ended", False)])
def test_a_certified_run_whose_process_died_before_it_let_go(data: DataSet, state: str, *, stays: bool) -> None:
    """The next run over the month adopts it, and wants its jobs."""
    _lease(data.storage, RUN, state)
    _retain(data, runs_days=20)
    assert stays == bool(list(data.storage.list(f"_runs/{RUN}/jobs/")))


# ---------- command line, flow, people


def test_the_flow_names_no_call(data: DataSet, monkeypatch: pytest.MonkeyPatch) -> None:
    """Prefect keeps the message of an error."""

    def held(*_: object, **__: object) -> None:
        message = "call early is under legal hold (of a certain customer)"
        raise CallHeld(message)

    monkeypatch.setattr("tasks.retention.erase_calls", held)
    monkeypatch.setenv("CALLSCRIBE_RETENTION__CALLS_DAYS", "1")
    with pytest.raises(CallHeld) as caught:
        retain_flow.fn(dry_run=False, transcripts=data.storage.uri)
    assert ("start it again" in str(caught.value), False) == (True, "early" in str(caught.value))
    assert caught.value.__suppress_context__


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
