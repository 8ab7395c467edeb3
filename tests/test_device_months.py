"""A month by processes on two devices: the same as by one, whatever becomes of a process; models are stand-ins."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from device_stand_in import Script, heard_by
from small_month import CALLS, MONTH, Content, SmallMonth, assert_certified, bundles, content, fill, recognizer
from stand_ins import StandInRecognizer

from flows.progress import CallDone, Nobody, watched_by
from tasks.active import active_key
from tasks.errors import DeviceError, LeaseLost
from tasks.storage import open_storage

pytestmark = pytest.mark.long

__all__ = ["bundles", "recognizer"]

# Several jobs of a few calls each.
SETTINGS: dict[str, dict[str, Any]] = {"run": {"devices": "cpu:2", "job_hours": 0.0014}}
DIARIZED = 4  # of the calls of a small month: those of one channel in which there is something
PATIENCE_S = 130.0


@pytest.fixture
def month(tmp_path: Path, bundles: Path) -> SmallMonth:
    """A month that nobody has run yet."""
    for name in ("archive", "transcripts", "signs"):
        (tmp_path / name).mkdir()
    month = SmallMonth((tmp_path / "archive").as_uri(), (tmp_path / "transcripts").as_uri(), bundles)
    fill(open_storage(month.archive))
    return month


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, bundles: Path, recognizer: StandInRecognizer) -> Content:
    """What one process makes of such a month."""
    assert isinstance(recognizer, StandInRecognizer)
    folder = tmp_path_factory.mktemp("undisturbed")
    for name in ("archive", "transcripts"):
        (folder / name).mkdir()
    month = SmallMonth((folder / "archive").as_uri(), (folder / "transcripts").as_uri(), bundles)
    fill(open_storage(month.archive))
    assert_certified(month, month.run(run={"job_hours": 0.0014}))
    return content(month.storage)


@pytest.fixture
def script(tmp_path: Path, bundles: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Has the processes do what a script says; none is left after the test."""

    def scripted(**fields: Any) -> Script:  # noqa: ANN401  # those of a script
        script = Script(str(tmp_path / "signs"), str(bundles), **fields)
        monkeypatch.setattr("flows.device_processes.PROGRAM", script.program)
        return script

    yield scripted
    assert [] == workers(tmp_path)


def workers(folder: Path) -> list[int]:
    """The processes whose script has to do with a folder, and those that have ended and nobody has waited for."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, parent = stat.read_text().rpartition(")")[2].split()[:2]
            command = stat.with_name("cmdline").read_bytes()
        except (FileNotFoundError, ProcessLookupError):
            continue
        zombie = state == "Z" and int(parent) == os.getpid()
        if zombie or (b"device_stand_in" in command and str(folder).encode() in command and state != "Z"):
            found.append(int(stat.parent.name))
    return found


class Calls(Nobody):
    """Counts calls that are done, and keeps notes."""

    def __init__(self) -> None:
        self.done_calls: list[CallDone] = []
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        """Keep it."""
        self.notes.append(text)

    def done(self, call: CallDone) -> None:
        """Keep it."""
        self.done_calls.append(call)


def _of_no_place(held: Content) -> Content:
    """Without where the recordings lie, and what a folder tells its versions apart by."""
    return {
        call_id: ({name: value for name, value in row.items() if name not in {"audio_uri", "audio_etag"}}, said)
        for call_id, (row, said) in held.items()
    }


@pytest.mark.usefixtures("recognizer")
def test_two_processes_do_what_one_does(month: SmallMonth, script: Any, undisturbed: Content, tmp_path: Path) -> None:  # noqa: ANN401
    """Both at a time, each with its share of the cores; every call is told, and the rows are the same."""
    script(together=2)
    with watched_by(calls := Calls()):
        assert_certified(month, month.run(**SETTINGS))
    assert _of_no_place(undisturbed) == _of_no_place(content(month.storage))
    assert sorted(CALLS) == sorted(call.call_id for call in calls.done_calls)
    assert {"failed": 2, "no_speech": 1, "transcribed": 5} == {
        kind: sum(call.kind == kind for call in calls.done_calls) for kind in ("failed", "no_speech", "transcribed")
    }
    heard = heard_by(tmp_path / "signs")
    assert (DIARIZED, 2) == (len(heard), len(set(heard)))
    threads = json.loads((tmp_path / "signs" / "threads.json").read_text())
    assert max(1, threads["cores"] // 2) == int(threads["OMP_NUM_THREADS"])


@pytest.mark.usefixtures("recognizer")
def test_one_process_is_killed_in_mid_job(month: SmallMonth, script: Any, undisturbed: Content, tmp_path: Path) -> None:  # noqa: ANN401
    """A third one takes its place, the other goes on, and the month is that of a run that nobody disturbed."""
    script(together=2, dies_at=2)
    with watched_by(calls := Calls()):
        assert_certified(month, month.run(**SETTINGS))
    assert _of_no_place(undisturbed) == _of_no_place(content(month.storage))
    (note,) = calls.notes
    assert "the process on cpu was killed by SIGKILL, while it did job" in note
    came = {int(file.name.partition("-")[2]) for file in (tmp_path / "signs").glob("came-*")}
    died = int((tmp_path / "signs" / "died").read_text())
    assert len(came) <= 3, "only for the one that died is another one started"
    assert died in came
    assert died not in heard_by(tmp_path / "signs")[-1:]
    assert sorted(CALLS) == sorted({call.call_id for call in calls.done_calls})


@pytest.mark.usefixtures("recognizer")
def test_devices_that_cannot_be_used(month: SmallMonth, script: Any, undisturbed: Content) -> None:  # noqa: ANN401
    """No call is failed for it, and the run goes on when they can."""
    script(refuses="no driver")
    with pytest.raises(DeviceError, match=r"^cpu: no driver \(on "):
        month.run(**SETTINGS)
    assert [] == list(month.data.read_calls(MONTH))
    script()
    assert_certified(month, month.run(**SETTINGS))
    assert _of_no_place(undisturbed) == _of_no_place(content(month.storage))


@pytest.mark.usefixtures("recognizer")
def test_the_month_is_taken_away(month: SmallMonth, script: Any) -> None:  # noqa: ANN401
    """Then the processes stop, though they are in the middle of a job."""
    script(stays_at=2)

    class Thief(Nobody):
        def done(self, call: CallDone) -> None:
            key = active_key(call.month)
            lease = json.loads(month.storage.get(key).data)
            month.storage.put(key, json.dumps(lease | {"holder": "somebody else"}).encode())

    with watched_by(Thief()), pytest.raises(LeaseLost):
        month.run(run={**SETTINGS["run"], "job_hours": 1.0})


@pytest.mark.usefixtures("recognizer")
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_the_run_itself_is_ended(
    month: SmallMonth, script: Any, undisturbed: Content, tmp_path: Path, number: signal.Signals  # noqa: ANN401
) -> None:  # fmt: skip
    """However that comes about, its processes end, too, keep what they have finished, and the next run goes on."""
    staying = script(stays_at=2)
    order = {
        "archive": month.archive, "transcripts": month.transcripts, "bundles": str(month.bundles),
        "settings": {"run": {**SETTINGS["run"], "job_hours": 1.0}}, "program": staying.program,
    }  # fmt: skip
    command = [sys.executable, str(Path(__file__).with_name("device_month.py")), json.dumps(order)]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(entry for entry in sys.path if entry)}
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
        until = time.monotonic() + PATIENCE_S
        while not list((tmp_path / "signs").glob("stays-*")):
            assert process.poll() is None, (tmp_path / "log").read_text()
            assert time.monotonic() < until
            time.sleep(0.02)
        process.send_signal(number)
        assert process.wait(PATIENCE_S) != 0
    until = time.monotonic() + PATIENCE_S
    while workers(tmp_path):
        assert time.monotonic() < until
        time.sleep(0.02)
    before = len(heard_by(tmp_path / "signs"))
    assert 1 == before
    saved = [info.key for info in month.storage.list("_runs/") if "/checkpoints/" in info.key]
    assert saved
    script()
    assert_certified(month, month.run(run={**SETTINGS["run"], "job_hours": 1.0}))
    assert _of_no_place(undisturbed) == _of_no_place(content(month.storage))
    assert DIARIZED == len(heard_by(tmp_path / "signs"))
