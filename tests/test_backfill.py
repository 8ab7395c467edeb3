"""Calls that are transcribed anew: which are, what becomes of them, and what is kept of how they were."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from builders import FINGERPRINT, call_ref, failure, outcome, provenance, transcript
from job_worker import settings_of
from stand_ins import BUNDLE, StandInRecognizer, build_bundle, stand_in_models, tone, wav
from typer.testing import CliRunner

from evaluation.backfills import write_changes
from evaluation.changes import ChangeCounts
from flows.cli import app
from tasks.certificates import certify
from tasks.dataset import DataSet
from tasks.erase import erase_calls
from tasks.errors import BudgetReached, QueryError, SettingsError
from tasks.heard import CallSpeech
from tasks.inventory import months_between
from tasks.plan_run import plan_run
from tasks.planning import plan_backfill
from tasks.previous import forget_previous, kept_shards
from tasks.query import run_query
from tasks.quote import quote_run, together
from tasks.reconcile import RunSummary
from tasks.records import CallHints, Recognition
from tasks.rows import CallRows, rows_of
from tasks.run_job import run_job
from tasks.run_models import fingerprints_of
from tasks.runs import RunHead
from tasks.schemas import CALLS, Row
from tasks.selection import Selection
from tasks.settings import Settings, load_settings
from tasks.storage import Storage, open_storage
from tasks.tables import table_of
from tasks.verify import verify

MONTH = "2026-10"
OLD_WORDS, NEW_WORDS = "the balance is ninety dollars", "the balance is nineteen dollars"
CALLS_OF_THE_MONTH = 6


@dataclass
class World:
    """An archive of six calls that were transcribed, and other settings than they were transcribed under."""

    folder: Path

    def open(self, name: str) -> Storage:
        """The archive, or the transcripts."""
        return open_storage((self.folder / name).as_uri())

    @property
    def data(self) -> DataSet:
        """The data set."""
        return DataSet(self.open("transcripts"))

    def settings(self, **groups: dict[str, Any]) -> Settings:
        """Today's settings: another beam than that of the first run."""
        plain = settings_of(self.folder).model_dump(mode="json", exclude_unset=True)
        return load_settings(overrides=plain | {"recognizer": {"beam_size": 1}} | groups)

    def plan(self, settings: Settings, selection: Selection | None) -> RunHead:
        """Plan a run or a backfill."""
        models = fingerprints_of(settings)
        return plan_run(self.data, self.open("archive"), MONTH, settings, models, selection=selection)

    def do(self, head: RunHead, settings: Settings, says: str | None, **options: float) -> None:
        """Do its jobs; with a recogniser that hears these words in every call, or breaks on every one."""
        recognizer = StandInRecognizer(says) if says else _Broken()
        models = stand_in_models(self.folder / "models", recognizer)
        for number in range(1, head.jobs + 1):
            run_job(self.data, head, number, models, settings, lambda _: None, **options)

    def end(self, head: RunHead) -> tuple[RunSummary, ChangeCounts]:
        """Compare and certify, as the flow does."""
        changes = write_changes(self.data, head)
        summary, _ = certify(self.data, head, 1.0)
        forget_previous(self.data.storage, head.run_id)
        return summary, changes

    def backfill(self, selection: Selection, says: str = NEW_WORDS) -> tuple[RunSummary, ChangeCounts]:
        """A backfill from beginning to end."""
        settings = self.settings()
        head = self.plan(settings, selection)
        self.do(head, settings, says)
        return self.end(head)

    def rows(self) -> dict[str, Row]:
        """What stands."""
        return {row["call_id"]: row for row in self.data.read_calls(MONTH)}

    def texts(self) -> dict[str, str]:
        """What was said in each call."""
        _, rows = run_query(self.data.storage, "SELECT call_id, text FROM utterances ORDER BY call_id")
        return dict(rows)


class _Broken(StandInRecognizer):
    """Breaks on every call."""

    def hear(self, call: CallSpeech) -> Recognition | Exception:
        """Break."""
        return RuntimeError(f"the model broke on {len(call.channels)} channels")


@pytest.fixture
def world(tmp_path: Path) -> World:
    """Six calls of different lengths, transcribed once."""
    for name in ("archive", "transcripts"):
        (tmp_path / name).mkdir()
    build_bundle(tmp_path / "models")
    world = World(tmp_path)
    for number in range(CALLS_OF_THE_MONTH):
        world.open("archive").put(f"2026/10/05/call-{number}.wav", wav(tone(300 + number, 1.0 + number)))
    settings = settings_of(tmp_path)
    head = world.plan(settings, None)
    world.do(head, settings, OLD_WORDS)
    certify(world.data, head, 1.0)
    return world


# ---------------------------------------------------------------------------------------------------- which are meant


def _failed(call_id: str) -> CallRows:
    return rows_of(outcome(call_ref(call_id), transcript=None, failure=failure("scratch_full")), provenance())


def _good(call_id: str, **changes: object) -> CallRows:
    call = call_ref(call_id, attributes={"queue": "billing"})
    return rows_of(outcome(call, transcript=transcript()), provenance(**changes))


ROWS = {"good": _good("good"), "old": _good("old", fingerprint="old"), "failed": _failed("failed")}


@pytest.mark.parametrize(
    ("selection", "expected"),
    [
        (Selection(), ["old"]),
        (Selection(again=True), ["failed", "good", "new", "old"]),
        (Selection(where="outcome = 'failed'"), ["failed"]),
        (Selection(where="attributes['queue'] = 'billing'"), ["old"]),
        (Selection(where="attributes['queue'] = 'billing'", again=True), ["good", "old"]),
        (Selection(where="month = '2026-09'"), []),
        (Selection(where="true -- all of them"), ["failed", "old"]),
        (Selection(call_ids=frozenset({"new", "good", "nowhere"})), ["new"]),
        (Selection(call_ids=frozenset({"new", "good"}), again=True), ["good", "new"]),
        (Selection(where="true", call_ids=frozenset({"new", "old"})), ["old"]),
    ],
)
def test_which_calls_are_work(selection: Selection, expected: list[str]) -> None:
    """What is asked for, less what would come out as it is; `new` lies in the archive and has no row."""
    rows = [item.call for item in ROWS.values()]
    selected = selection.of(table_of(rows, CALLS), MONTH)
    calls = [call_ref(call_id) for call_id in sorted([*ROWS, "new"])]
    plan = plan_backfill(calls, rows, 3, _wanted, selected, again=selection.again)
    assert expected == [planned.call.call_id for planned in plan.work]
    assert {None} >= {planned.known_sha256 for planned in plan.work}
    assert len(calls) == len(plan.work) + plan.standing


def _wanted(_hints: CallHints) -> str:
    return FINGERPRINT


@pytest.mark.parametrize("where", ["no_such_column = 1", "outcome =", "true); DROP VIEW calls; SELECT (true"])
def test_what_is_no_condition(where: str) -> None:
    """Said before anything is listed."""
    with pytest.raises(QueryError, match="--where is"):
        Selection(where).check()


def test_requests_are_told_apart() -> None:
    """By a digest from which nothing can be read."""
    ids = frozenset({"a", "b"})
    requests = [Selection(), Selection("true"), Selection(call_ids=ids), Selection(again=True)]
    assert len(requests) == len({request.digest for request in requests})
    assert Selection(call_ids=frozenset({"b", "a"})).digest == Selection(call_ids=ids).digest


@pytest.mark.parametrize(
    ("months", "expected"),
    [
        ("2026-10", ["2026-10"]),
        ("2025-11..2026-02", ["2025-11", "2025-12", "2026-01", "2026-02"]),
        ("2026-02..2026-02", ["2026-02"]),
    ],
)
def test_months(months: str, expected: list[str]) -> None:
    """One, or from one to another."""
    assert expected == months_between(months)


@pytest.mark.parametrize("months", ["", "2026", "2026-13", "2026-10..", "..2026-10", "2026-10..2026-09"])
def test_what_are_no_months(months: str) -> None:
    """A sentence that names what was given."""
    with pytest.raises(SettingsError, match="month"):
        months_between(months)


# ------------------------------------------------------------------------------------------------ what becomes of them


def test_all_that_stands_under_other_settings(world: World) -> None:
    """Is done anew; what that changed is there to be read; and a second time there is nothing to do."""
    before = world.rows()
    summary, changes = world.backfill(Selection())
    assert summary.accounted
    assert ({"transcribed": 6}, 0, 0) == (summary.outcomes, summary.other_fingerprints, summary.missing)
    assert (6, 6, 6, 6) == (changes.calls, changes.changed, changes.replaced, changes.values_lost)
    assert {NEW_WORDS} == set(world.texts().values())
    sql = "SELECT call_id, transcript_id_before, transcript_id_after, values_lost, values_added FROM changes"
    _, rows = run_query(world.data.storage, f"{sql} WHERE month = '{MONTH}'")
    after = world.rows()
    expected = {(call_id, before[call_id]["transcript_id"], after[call_id]["transcript_id"]) for call_id in before}
    assert expected == {row[:3] for row in rows}
    assert {("amount: 90",)} == {tuple(row[3]) for row in rows}
    assert {("amount: 19",)} == {tuple(row[4]) for row in rows}
    assert [] == kept_shards(world.data.storage, summary.run_id)
    assert [] == verify(world.data).findings
    again, _ = world.backfill(Selection())
    assert ({}, 6) == (again.outcomes, again.standing)


def test_only_what_was_asked_for(world: World) -> None:
    """The others stand as they are, under their old settings, and are counted so."""
    summary, changes = world.backfill(Selection("duration_s > 3.5", frozenset({"call-5", "call-4", "call-0"})))
    assert (summary.outcomes, summary.standing, summary.other_fingerprints) == ({"transcribed": 2}, 4, 4)
    assert 2 == changes.calls
    assert {"call-4", "call-5"} == {call_id for call_id, text in world.texts().items() if text == NEW_WORDS}


def test_recordings_that_are_gone(world: World) -> None:
    """Their transcripts are kept, and they are counted and named, as far as they were asked for."""
    for number in (0, 1):
        world.open("archive").delete(f"2026/10/05/call-{number}.wav")
    summary, _ = world.backfill(Selection(call_ids=frozenset({"call-0", "call-2"})))
    assert ({"transcribed": 1}, 1) == (summary.outcomes, summary.removed)
    named = world.data.storage.get(f"_runs/{summary.run_id}/unplanned.jsonl").data.decode()
    assert '{"call_id": "call-0", "reason": "removed_from_archive"}\n' == named
    assert OLD_WORDS == world.texts()["call-0"]


def test_a_try_that_fails_leaves_the_old_transcript(world: World) -> None:
    """The next run tries again, for real: the bytes have a transcript, and another one is wanted."""
    settings = world.settings()
    head = world.plan(settings, Selection(call_ids=frozenset({"call-3"})))
    world.do(head, settings, None)
    summary, changes = world.end(head)
    assert ({"failed": 1}, {"processing_error": 1}) == (summary.outcomes, summary.errors)
    assert (1, 1, 0) == (changes.calls, changes.failed, changes.changed)
    assert OLD_WORDS == world.texts()["call-3"]
    head = world.plan(settings, None)
    world.do(head, settings, NEW_WORDS)
    assert NEW_WORDS == world.texts()["call-3"]


def test_a_call_that_is_erased_meanwhile(world: World) -> None:
    """Is in nothing that the backfill keeps or writes."""
    settings = world.settings()
    head = world.plan(settings, Selection())
    erase_calls(world.data, ["call-2"], "request 1", settings.archive)
    assert not _mentions(world.data.storage, "call-2", without=("_control/", "_certificates/"))
    world.do(head, settings, NEW_WORDS)
    erase_calls(world.data, ["call-4"], "request 2", settings.archive)
    summary, changes = world.end(head)
    erase_calls(world.data, ["call-5"], "request 3", settings.archive)
    assert (4, 2) == (changes.calls, summary.erased)
    assert summary.accounted
    for call_id in ("call-2", "call-4", "call-5"):
        assert not _mentions(world.data.storage, call_id, without=("_control/", "_certificates/"))
    _, rows = run_query(world.data.storage, "SELECT call_id FROM changes ORDER BY call_id")
    assert [("call-0",), ("call-1",), ("call-3",)] == rows


def _mentions(storage: Storage, text: str, without: tuple[str, ...]) -> list[str]:
    """Objects that hold a text, in Parquet or not."""
    import io

    import pyarrow.parquet as pq

    found = []
    for info in storage.list():
        if info.key.startswith(without):
            continue
        content = storage.get(info.key).data
        if info.key.endswith(".parquet"):
            content = str(pq.read_table(io.BytesIO(content)).to_pylist()).encode()
        if text.encode() in content:
            found.append(info.key)
    return found


def test_a_backfill_that_is_gone_on_with_compares_the_same(world: World) -> None:
    """What was kept stays until the certificate is written, so that comparing may be done twice."""
    settings = world.settings()
    head = world.plan(settings, Selection())
    world.do(head, settings, NEW_WORDS)
    first = write_changes(world.data, head)
    assert first == write_changes(world.data, head) == world.end(head)[1]


def test_a_later_run_over_the_same_calls_wins(world: World) -> None:
    """A backfill that was planned before a run, and ends after it, replaces nothing of that."""
    settings = world.settings()
    early = world.plan(settings, Selection())
    recording = wav(tone(500, 2.0))
    world.open("archive").put("2026/10/05/call-0.wav", recording)
    late = world.plan(settings, None)
    world.do(late, settings, "a new recording")
    world.do(early, settings, NEW_WORDS)
    summary, changes = world.end(early)
    assert ({"transcribed": 5}, 1, 5) == (summary.outcomes, summary.superseded, changes.calls)
    assert "a new recording" == world.texts()["call-0"]


# -------------------------------------------------------------------------------------------------- quotes and budget


def test_quotes(world: World) -> None:
    """A quote is what the backfill then does; quotes of months add up."""
    settings = world.settings()
    models = fingerprints_of(settings)
    selection = Selection(call_ids=frozenset({"call-1", "call-2", "no-such-call"}))
    quote = quote_run(world.data, world.open("archive"), MONTH, settings, models, selection)
    assert (2, {"selected": 2}, frozenset({"call-1", "call-2"})) == (quote.calls, quote.reasons, quote.named)
    head = world.plan(settings, selection)
    assert (head.calls, head.quoted_worker_hours) == (quote.calls, pytest.approx(quote.worker_hours, abs=1e-4))
    both = together([quote, quote])
    assert (4, {"selected": 4}, 2 * quote.hours) == (both.calls, both.reasons, both.hours)


def test_a_budget_stops_a_job_and_it_goes_on(world: World) -> None:
    """What was finished before is committed, and nothing of it is done again."""
    settings = world.settings(run={"job_hours": 100.0, "assumed_rtfx": 50.0, "bytes_per_second": 16000})
    head = world.plan(settings, Selection())
    assert 1 == head.jobs
    # The longest of the calls sounds 6 s: all together 21, of which so much is quoted.
    quoted_s = 21.0 / head.quoted_rtfx
    with pytest.raises(BudgetReached, match="end of the run's budget"):
        world.do(head, settings, NEW_WORDS, budget_s=quoted_s / 2)
    done = [call_id for call_id, text in world.texts().items() if text == NEW_WORDS]
    assert 0 < len(done) < CALLS_OF_THE_MONTH
    world.do(head, settings, "not again", budget_s=100 * quoted_s)
    assert set(done) == {call_id for call_id, text in world.texts().items() if text == NEW_WORDS}
    assert world.end(head)[0].accounted


# ------------------------------------------------------------------------------------------------- on the command line


@pytest.fixture
def command(world: World, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """Runs `callscribe backfill … --dry-run`; what it printed."""
    monkeypatch.setenv("CALLSCRIBE_MODELS__FOLDER", str(world.folder / "models"))
    monkeypatch.setenv("CALLSCRIBE_RECOGNIZER__BEAM_SIZE", "1")
    places = [option for name in ("archive", "transcripts") for option in (f"--{name}", world.open(name).uri)]

    def run(*options: str, months: str = MONTH) -> str:
        arguments = ["backfill", "--months", months, "--bundle", BUNDLE, "--dry-run", *places, *options]
        result = CliRunner().invoke(app, arguments)
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result.output

    return run


def test_a_dry_run(world: World, command: Callable[..., str]) -> None:
    """Says what there is to do, and writes nothing."""
    keys = [info.key for info in world.data.storage.list()]
    printed = command("--where", "duration_s > 3.5")
    assert "backfill, not begun" in printed
    assert "selected" in printed
    assert keys == [info.key for info in world.data.storage.list()]


def test_calls_that_are_nowhere(world: World, command: Callable[..., str]) -> None:
    """Are named; if all are, that is an error."""
    names = world.folder / "calls.txt"
    names.write_text("call-1\n\nno-such-call\n")
    assert "1 calls are in none of these months: no-such-call" in command("--calls", str(names))
    names.write_text("no-such-call\n")
    with pytest.raises(SettingsError, match="none of the 1 calls"):
        command("--calls", str(names))


def test_several_months(command: Callable[..., str]) -> None:
    """Are listed one by one; those of which nothing was ever transcribed are left out."""
    printed = command(months="2026-08..2026-10")
    assert "2026-08" not in printed
    assert "calls to transcribe" in printed
