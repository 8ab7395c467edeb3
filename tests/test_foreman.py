"""The loop over a run's jobs: devices that refuse, waiting without end, budgets, and what stops a run."""

import json
import logging
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from flows.artifacts import RunProgress
from flows.foreman import Foreman
from flows.progress import Nobody, watched_by
from tasks.dispatch import Earlier, Ending, How, Order, Way
from tasks.errors import BudgetReached, DeviceError, SettingsError
from tasks.refusals import note_refusal
from tasks.runs import RunHead
from tasks.setting_groups import RunSettings
from tasks.storage import Storage, open_storage

RUN = "20261105T020000000Z-abcdef"


def _head(jobs: int) -> RunHead:
    return RunHead(
        run_id=RUN, month="2026-10", archive="file:///a", transcripts="file:///t", created_at="", shards=1, jobs=jobs,
        calls=0, estimated_hours=1.0, bundle="starter", bundle_digest="", compute_type="int8", fingerprint="",
        settings_fingerprint="", listed_objects=0, inventory_digest="", standing=0, standing_failed=0, erased=0,
        ambiguous=0, unmatched=0,
    )  # fmt: skip


@dataclass
class ScriptedCrew:
    """Ends each try as `script` says, at the next `wait`, except those that nobody takes up."""

    storage: Storage
    script: Callable[[Order], Ending]
    room: dict[Way, int] = field(default_factory=lambda: {"planned": 2})
    only_device: bool = False
    reports_calls: bool = False
    nobody_takes: bool = False
    begun: list[Order] = field(default_factory=list)
    under_way: list[Order] = field(default_factory=list)
    withdrawn: set[int] = field(default_factory=set)
    left: bool = False

    def slots(self, way: Way) -> int:
        """As `room` says."""
        return self.room.get(way, 0)

    def resume(self) -> Earlier:
        """Nothing."""
        return Earlier()

    def start(self, order: Order) -> None:
        """Take note."""
        self.begun.append(order)
        self.under_way.append(order)

    def wait(self) -> list[Ending]:
        """What has ended."""
        endings = [Ending(order, "withdrawn") for order in self.under_way if order.job in self.withdrawn]
        self.withdrawn.clear()
        withdrawn = {ending.order for ending in endings}
        worked_on = [] if self.nobody_takes else [order for order in self.under_way if order not in withdrawn]
        worked_on += [order for order in self.under_way if self.nobody_takes and order.way != "planned"]
        endings += [self.script(order) for order in worked_on]
        for ending in endings:
            self.under_way.remove(ending.order)
            if ending.how == "done":
                key = f"_runs/{RUN}/done/job-{ending.order.job:04d}.json"
                self.storage.put(key, json.dumps({"outcomes": {}}).encode())
        return endings

    def idle(self) -> Collection[int]:
        """All, or none."""
        return {order.job for order in self.under_way} if self.nobody_takes else ()

    def withdraw(self, jobs: Collection[int]) -> None:
        """Told of at the next `wait`."""
        self.withdrawn |= set(jobs)

    def leave(self) -> None:
        """Take note."""
        self.left = True


class Notes(Nobody):
    """Keeps what is said."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def note(self, text: str) -> None:
        """Keep it."""
        self.said.append(text)


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    return open_storage(tmp_path.as_uri())


@pytest.fixture
def events(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the events that Prefect would be sent."""
    names: list[str] = []
    monkeypatch.setattr("flows.foreman.get_run_logger", logging.getLogger)
    for kind in ("create_progress", "update_progress"):
        monkeypatch.setattr(f"flows.artifacts.{kind}_artifact", lambda **_: None)
    monkeypatch.setattr("flows.foreman.emit_event", lambda name, **_: names.append(name))
    return names


@pytest.fixture
def notes(events: list[str]) -> Iterator[Notes]:  # noqa: ARG001  # Prefect is left out
    notes = Notes()
    with watched_by(notes):
        yield notes


def _always(how: How) -> Callable[[Order], Ending]:
    return lambda order: Ending(order, how, f"job {order.job}: {how}")


def _work(crew: ScriptedCrew, jobs: int, **settings: object) -> None:
    _foreman(crew, jobs, **settings).work(lambda: None)


def _foreman(crew: ScriptedCrew, jobs: int, **settings: object) -> Foreman:
    head = _head(jobs)
    return Foreman(crew.storage, head, RunSettings(**settings), crew, RunProgress(head))  # type: ignore[arg-type]


@pytest.mark.usefixtures("notes")
def test_what_is_done_is_not_begun(storage: Storage) -> None:
    """Neither what storage says nor what ends while others work; and the checkpoints of the former go."""
    storage.put(f"_runs/{RUN}/done/job-0002.json", b'{"outcomes": {}}')
    for number in (2, 3):
        storage.put(f"_runs/{RUN}/checkpoints/job-{number:04d}-1-0001.parquet", b"")
    crew = ScriptedCrew(storage, _always("done"))
    _work(crew, 3)
    assert [Order(1), Order(3)] == crew.begun
    assert [f"_runs/{RUN}/checkpoints/job-0003-1-0001.parquet"] == [
        info.key for info in storage.list(f"_runs/{RUN}/checkpoints/")
    ]
    assert not crew.left


def test_a_job_that_is_given_up_is_noted(storage: Storage, notes: Notes) -> None:
    """And the others are done."""
    crew = ScriptedCrew(storage, lambda order: _always("given_up" if order.job == 1 else "done")(order))
    _work(crew, 3)
    assert [1, 2, 3] == [order.job for order in crew.begun]
    assert ["job 1 is left for the next start: job 1: given_up"] == notes.said


def _refusing(storage: Storage, nodes: dict[int, str]) -> Callable[[Order], Ending]:
    """Each try of a job in `nodes` is refused by its node, until that is excluded."""

    def script(order: Order) -> Ending:
        node = nodes.get(order.job)
        if node is None or node in order.excluded_nodes:
            return Ending(order, "done")
        note_refusal(storage, RUN, order.job, node, "cuda", "no GPU")
        return Ending(order, "refused", f"{node} has no GPU")

    return script


def test_a_node_that_refuses_twice_is_left_out(storage: Storage, notes: Notes) -> None:
    """And the job is done elsewhere."""
    crew = ScriptedCrew(storage, _refusing(storage, {1: "gpu-7"}))
    _work(crew, 2)
    assert [(1, ()), (2, ()), (1, ()), (1, ("gpu-7",))] == [(one.job, one.excluded_nodes) for one in crew.begun]
    assert "node gpu-7 has refused twice, and gets no more jobs of this run" in notes.said


def test_nodes_that_are_left_out_are_tried_again_where_there_is_no_other(storage: Storage, notes: Notes) -> None:
    """Else a run whose only node has refused would wait for ever: so it comes to the refusals that stop it."""
    crew = ScriptedCrew(storage, _always("done"), {"planned": 1})

    def script(order: Order) -> Ending:
        note_refusal(storage, RUN, order.job, "only", "cuda", "no GPU")
        return Ending(order, "refused", "no GPU")

    crew.script = script
    foreman = _foreman(crew, 1, gpu_patience_s=1e-6)

    def node_is_left_out() -> None:
        crew.nobody_takes = bool(crew.under_way and crew.under_way[0].excluded_nodes) or (
            not crew.under_way and ("only",) == foreman._excluded
        )

    with pytest.raises(DeviceError, match="no GPU"):
        foreman.work(node_is_left_out)
    assert "nobody else takes up jobs: only may have them again" in notes.said
    assert [(), (), ("only",), (), (), ()] == [order.excluded_nodes for order in crew.begun]


@pytest.mark.usefixtures("notes")
def test_five_refusals_stop_a_run(storage: Storage) -> None:
    """Whatever nodes they are on."""
    crew = ScriptedCrew(
        storage, _refusing(storage, {number: f"gpu-{number}" for number in range(1, 10)}), {"planned": 5}
    )
    with pytest.raises(DeviceError, match="has no GPU"):
        _work(crew, 9)
    assert 5 == len(crew.begun)


@pytest.mark.usefixtures("notes")
def test_five_refusals_let_the_cpu_do_the_rest(storage: Storage) -> None:
    """Where that is allowed."""

    def script(order: Order) -> Ending:
        return (
            Ending(order, "done")
            if order.way == "cpu"
            else _refusing(storage, {order.job: f"gpu-{order.number}"})(order)
        )

    crew = ScriptedCrew(storage, script, {"planned": 1, "cpu": 2})
    _work(crew, 3, without_gpu="cpu")
    assert ["planned"] * 5 + ["cpu"] * 3 == [order.way for order in crew.begun]
    assert {1, 2, 3} == {order.job for order in crew.begun if order.way == "cpu"}


@pytest.mark.usefixtures("notes")
def test_one_refusal_stops_a_crew_of_one_device(storage: Storage) -> None:
    """It would meet the same device again."""
    crew = ScriptedCrew(storage, _always("refused"), only_device=True)
    with pytest.raises(DeviceError):
        _work(crew, 3)
    assert 2 == len(crew.begun)


def test_waiting_without_end_is_told_again_and_again(storage: Storage, notes: Notes, events: list[str]) -> None:
    """By a note, a log and an event; nothing else is done about it by default."""
    crew = ScriptedCrew(storage, _always("done"), nobody_takes=True)

    def somebody_comes() -> None:
        crew.nobody_takes = len(events) < 3

    _foreman(crew, 3, gpu_patience_s=1e-6).work(somebody_comes)
    assert ["callscribe.run.waiting-for-device"] * 3 == events
    assert "nothing has come from workers for run" in notes.said[0]
    assert {"planned"} == {order.way for order in crew.begun}


def test_who_waits_too_long_is_done_in_another_way(storage: Storage, notes: Notes) -> None:
    """As many at a time as there are slots for."""
    crew = ScriptedCrew(storage, _always("done"), {"planned": 2, "fallback": 1}, nobody_takes=True)
    _work(crew, 4, gpu_patience_s=1e-6, without_gpu="fallback")
    assert {1, 2, 3, 4} == {order.job for order in crew.begun if order.way == "fallback"}
    assert "1 job is done by fallback instead (run.without_gpu)" in notes.said


@pytest.mark.usefixtures("notes")
def test_an_error_that_stops_every_job(storage: Storage) -> None:
    """Is raised when those that were under way have ended."""

    def script(order: Order) -> Ending:
        return Ending(order, "stopped", "", SettingsError("other models")) if order.job == 1 else Ending(order, "done")

    crew = ScriptedCrew(storage, script)
    with pytest.raises(SettingsError, match="other models"):
        _work(crew, 5)
    assert [1, 2] == [order.job for order in crew.begun]
    assert not crew.left


@pytest.mark.usefixtures("notes")
def test_a_budget_that_does_not_last(storage: Storage) -> None:
    """Is shared, and what one did not take is given to others before the run stops."""

    def script(order: Order) -> Ending:
        spent_s = 10.0 if order.job == 1 else 30.0
        key = f"_runs/{RUN}/attempts/job-{order.job:04d}-{order.number}.json"
        storage.put(key, json.dumps({"orderly": True, "spent_s": spent_s}).encode())
        return Ending(order, "done" if order.job == 1 else "out_of_budget")

    crew = ScriptedCrew(storage, script)
    with pytest.raises(BudgetReached, match=r"budget of 0\.02 worker hours with 2 of 3 jobs to do"):
        _work(crew, 3, budget_worker_hours=72 / 3600)
    assert [(1, 36.0), (2, 36.0)] == [(one.job, one.budget_s) for one in crew.begun[:2]]
    assert [(2, 16.0), (3, 16.0)] == [(one.job, one.budget_s) for one in crew.begun[2:4]]
    assert 4 == len(crew.begun)


@pytest.mark.usefixtures("notes")
def test_a_run_that_loses_its_month_leaves_its_crew(storage: Storage) -> None:
    """Which sees to what lives on."""
    crew = ScriptedCrew(storage, _always("failed"))

    def check() -> None:
        if len(crew.begun) > 3:
            raise SettingsError("lost")

    with pytest.raises(SettingsError):
        _foreman(crew, 3, job_attempts=100).work(check)
    assert crew.left
