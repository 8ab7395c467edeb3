"""Processes that do jobs, one for each device: how they end, and what becomes of their jobs; with scripted ones."""

import json
import logging
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from flows.device_processes import MOST_FALSE_STARTS, DeviceProcesses
from flows.device_worker import EXIT_STOPPED, STOP_S
from flows.progress import CallDone, Nobody, watched_by
from flows.worker_process import WorkerProcess
from tasks.dispatch import Ending, Order
from tasks.errors import SettingsError
from tasks.settings import load_settings

WORKER = Path(__file__).with_name("scripted_worker.py")
Start = Callable[..., DeviceProcesses]


class Watcher(Nobody):
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.calls: list[CallDone] = []
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        """Keep it."""
        self.notes.append(text)

    def done(self, call: CallDone) -> None:
        """Keep it."""
        self.calls.append(call)


@pytest.fixture
def watcher() -> Iterator[Watcher]:
    """Whoever watches the run."""
    watcher = Watcher()
    with watched_by(watcher):
        yield watcher


@pytest.fixture
def crew_of(tmp_path: Path, watcher: Watcher, monkeypatch: pytest.MonkeyPatch) -> Iterator[Start]:  # noqa: ARG001
    """Processes that act as a script says, by the number of the job; all are gone after the test."""
    monkeypatch.setattr("flows.device_processes.PROGRAM", (str(WORKER), str(tmp_path)))
    monkeypatch.setattr("flows.device_processes.get_run_logger", logging.getLogger)
    monkeypatch.setattr("flows.device_processes.FIRST_REST_S", 0.01)
    crews: list[DeviceProcesses] = []

    def start(devices: str, **script: list[str]) -> DeviceProcesses:
        named = {name.removeprefix("job"): tries for name, tries in script.items()}
        (tmp_path / "script.json").write_text(json.dumps(named))
        settings = load_settings(overrides={"run": {"devices": devices}})
        crews.append(DeviceProcesses("file:///transcripts", "run", {"storage": {"region": "here"}}, settings))
        return crews[-1]

    yield start
    for crew in crews:
        crew.leave()
    assert [] == children()


def children() -> list[int]:
    """Scripted workers of this process, also those that nobody has waited for."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
            command = stat.with_name("cmdline").read_bytes()
        except (FileNotFoundError, ProcessLookupError):
            continue
        if int(fields[1]) == os.getpid() and (fields[0] == "Z" or WORKER.name.encode() in command):
            found.append(int(stat.parent.name))
    return found


def ended(crew: DeviceProcesses, number: int = 1) -> list[Ending]:
    """The endings of so many tries."""
    endings: list[Ending] = []
    while len(endings) < number:
        endings += crew.wait()
    return endings


def tries_at(folder: Path, job: int) -> list[int]:
    """The processes that tried a job."""
    files = sorted(folder.glob(f"job-{job}-*"))
    return [json.loads(file.read_text())["pid"] for file in files]


def test_a_process_for_each_device(crew_of: Start, tmp_path: Path, watcher: Watcher) -> None:
    """They begin side by side, stay for the jobs to come, and every call is told."""
    crew = crew_of("cpu:2", job1=["done"], job2=["done"], job3=["done"])
    assert (2, 0, 0, True) == (crew.slots("planned"), crew.slots("cpu"), crew.slots("fallback"), crew.reports_calls)
    for job in (1, 2):
        crew.start(Order(job))
    assert {"done"} == {ending.how for ending in ended(crew, 2)}
    crew.start(Order(3, budget_s=7.5))
    (ending,) = ended(crew)
    assert Ending(Order(3, budget_s=7.5), "done") == ending
    (one,), (other,), (third,) = (tries_at(tmp_path, job) for job in (1, 2, 3))
    assert one != other
    assert third in {one, other}
    assert [CallDone("c-1", "2026-10", "transcribed", 60.0, 2.0)] * 3 == watcher.calls
    order = json.loads((tmp_path / "job-3-0").read_text())["order"]
    assert ("file:///transcripts", "run", 3, 7.5) == tuple(
        order[x] for x in ("transcripts", "run_id", "job", "budget_s")
    )
    assert {"region": "here"} == order["overrides"]["storage"]
    assert "cpu" == order["overrides"]["models"]["device"]


def test_a_process_that_dies_at_work(crew_of: Start, tmp_path: Path, watcher: Watcher) -> None:
    """Its try has failed, another process takes its place, and the other device is left alone."""
    crew = crew_of("cpu:2", job1=["dies", "done"], job2=["waits"])
    crew.start(Order(2))
    crew.start(Order(1))
    (ending,) = ended(crew)
    assert (Order(1), "failed") == (ending.order, ending.how)
    assert ending.why == "the process on cpu was killed by SIGKILL"
    assert [f"{ending.why}, while it did job 1; another one goes on with it"] == watcher.notes
    assert 2 == crew.slots("planned")
    crew.start(Order(1, 2))
    assert [Ending(Order(1, 2), "done")] == ended(crew)
    assert 2 == len(set(tries_at(tmp_path, 1)))
    assert tries_at(tmp_path, 2)[0] in crew.pids


def test_a_process_that_waits_and_is_killed(crew_of: Start, tmp_path: Path) -> None:
    """Costs nothing: the next job is done by another one."""
    crew = crew_of("cpu", job1=["done"], job2=["done"])
    crew.start(Order(1))
    ended(crew)
    (pid,) = crew.pids
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    while crew.pids == [pid]:
        assert [] == crew.wait()
    crew.start(Order(2))
    assert [Ending(Order(2), "done")] == ended(crew)
    assert tries_at(tmp_path, 1) != tries_at(tmp_path, 2)


def test_deaths_in_a_row_are_spaced_out(crew_of: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    """After the second there is a rest, in which the device has no slot; a call that is done ends the row."""
    monkeypatch.setattr("flows.device_processes.FIRST_REST_S", 3600.0)
    crew = crew_of("cpu", job1=["dies", "OSError:after a call", "dies"])
    for number in range(1, 4):
        assert 1 == crew.slots("planned")
        crew.start(Order(1, number))
        assert ["failed"] == [ending.how for ending in ended(crew)]
    assert 0 == crew.slots("planned")
    assert [] == crew.wait()


@pytest.mark.parametrize(
    ("said", "how", "why"),
    [
        ("RunIncomplete:has died 5 times", "given_up", "has died 5 times"),
        ("BudgetReached:no more", "out_of_budget", "no more"),
        ("SettingsError:planned with others", "stopped", "planned with others"),
        ("StorageUnavailable:slow down", "failed", "the process on cpu raised StorageUnavailable: slow down"),
        ("ZeroDivisionError:by zero", "failed", "the process on cpu raised ZeroDivisionError: by zero"),
    ],
)
def test_how_a_try_ends(crew_of: Start, said: str, how: str, why: str) -> None:
    """By the class of what was raised."""
    crew = crew_of("cpu:2", job1=[said])
    crew.start(Order(1))
    (ending,) = ended(crew)
    assert (how, why) == (ending.how, ending.why)
    assert (SettingsError if how == "stopped" else type(None)) is type(ending.error)
    assert 2 == crew.slots("planned")


def test_a_process_that_raised_what_nobody_foresaw_is_replaced(crew_of: Start, tmp_path: Path) -> None:
    """Nobody knows what state it is in."""
    crew = crew_of("cpu", job1=["ZeroDivisionError:by zero", "done"])
    crew.start(Order(1))
    ended(crew)
    crew.start(Order(1, 2))
    ended(crew)
    assert 2 == len(set(tries_at(tmp_path, 1)))


def test_a_device_that_refuses(crew_of: Start) -> None:
    """Gets no more jobs; when the last one has, there is no device left."""
    crew = crew_of("cuda:0,cuda:1", job1=["DeviceError:no driver"], job2=["done"])
    crew.start(Order(1))
    (ending,) = ended(crew)
    assert ("refused", 1, False) == (ending.how, crew.slots("planned"), crew.only_device)
    assert "cuda:0: no driver" == ending.why
    crew.start(Order(2))
    assert ["done"] == [one.how for one in ended(crew)]
    crew.start(Order(1, 2))
    assert ["refused"] == [one.how for one in ended(crew)]
    assert (0, True) == (crew.slots("planned"), crew.only_device)


@pytest.mark.parametrize(
    ("way", "said"), [("falls", "was killed by SIGKILL"), ("breaks:no torch", "ImportError: no torch")]
)
def test_processes_that_do_not_come_up(crew_of: Start, way: str, said: str) -> None:
    """Count against no job, and after some of them the device gets no more."""
    crew = crew_of("cpu", job1=[way])
    for number in range(1, MOST_FALSE_STARTS):
        while not crew.slots("planned"):
            assert [] == crew.wait()
        crew.start(Order(1, number))
        assert ["withdrawn"] == [ending.how for ending in ended(crew)]
    while not crew.slots("planned"):
        assert [] == crew.wait()
    crew.start(Order(1, MOST_FALSE_STARTS))
    (ending,) = ended(crew)
    assert ("refused", True) == (ending.how, crew.only_device)
    assert "3 processes on cpu" in ending.why
    assert said in ending.why


def test_a_program_that_cannot_run(crew_of: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    """Python itself says why, on stderr."""
    crew = crew_of("cpu")
    monkeypatch.setattr("flows.device_processes.PROGRAM", ("-m", "there_is_no_such_module"))
    crew.start(Order(1))
    (ending,) = ended(crew)
    assert ("withdrawn", "the process on cpu ended with exit status 1") == (ending.how, ending.why)


def test_what_is_at_work_ends_with_the_crew(crew_of: Start) -> None:
    """Both what works and what waits; nothing is left of them, as `crew_of` looks."""
    crew = crew_of("cpu:3", job1=["waits"], job2=["done"])
    with crew:
        crew.start(Order(1))
        crew.start(Order(2))
        ended(crew)
        assert 2 == len(children())
    assert [] == children()
    assert [None] * 3 == crew.pids


DEAF = """
import signal, socket, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
other = socket.socket(fileno=int(sys.argv[1]))
other.sendall(b'{"say": "note", "text": "deaf"}\\n')
while True:
    time.sleep(60)
"""


def test_one_that_does_not_end_is_killed(
    crew_of: Start, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, watcher: Watcher
) -> None:
    """After a while."""
    program = tmp_path / "deaf.py"
    program.write_text(DEAF)
    crew = crew_of("cpu")
    monkeypatch.setattr("flows.device_processes.PROGRAM", (str(program),))
    monkeypatch.setattr("flows.device_processes.STOP_S", 0.2)
    crew.start(Order(1))
    while not watcher.notes:
        assert [] == crew.wait()
    (pid,) = crew.pids
    crew.leave()
    assert not Path(f"/proc/{pid}").exists()


LINGERING = """
import atexit, sys, time
import flows.device_worker
flows.device_worker._done = lambda order, tell: {"say": "ended", "counts": {}}
atexit.register(time.sleep, 3600)
flows.device_worker.main(int(sys.argv[1]))
"""


def test_one_with_nothing_in_hand_ends_at_once(tmp_path: Path) -> None:
    """Also where a library does not come to its end: on a GPU, a run waited half a minute for such a process."""
    program = tmp_path / "lingering.py"
    program.write_text(LINGERING)
    worker = WorkerProcess((str(program),), {})
    worker.order({"job": 1})
    assert [{"say": "ended", "counts": {}}] == worker.said()
    worker.dismiss()
    assert f"ended with exit status {EXIT_STOPPED}" == worker.end(time.monotonic() + STOP_S)
