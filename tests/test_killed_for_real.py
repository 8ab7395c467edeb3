"""With the real models and the whole command: killed in the middle; on devices of which one is killed, or none is."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cluster.prefect_server import PrefectServer
from small_month import MONTH, SmallMonth, assert_certified, content, without_prefect

from flows.docs import ROOT
from tasks.certificates import read_chain
from tasks.models import Models
from tasks.settings import load_settings

pytestmark = pytest.mark.long

DEMO = ROOT / "evaluation" / "sets" / "demo" / "archive"
CALLS = {"demo-0001": b"", "demo-0003": b"", "demo-0006": b""}
# Jobs of one call each; the process is killed when one of them is done.
SETTINGS: dict[str, dict[str, Any]] = {
    "run": {"job_hours": 0.001, "lease_s": 3.0, "checkpoint_every_s": 1e-3},
    "models": {"bundle": "starter", "device": "cpu", "compute_type": "default"},
    "storage": {"read_timeout_s": 60.0},
}
KILLED_AFTER_JOBS = 1
DEVICES = ("cpu", "cpu")


def _rounded(value: object) -> object:
    """Numbers to four digits: sums of floats depend on how calls share the model's batches."""
    if isinstance(value, float):
        return round(value, 4)
    if isinstance(value, dict):
        return {name: _rounded(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(one) for one in value]
    return value


@contextlib.contextmanager
def _running(month: SmallMonth, folder: Path, api_url: str, *options: str) -> Iterator[subprocess.Popen[bytes]]:
    """`callscribe run` over a month; after the block it is killed, with all processes of its session."""
    environment = os.environ | {
        "PREFECT_HOME": str(folder / "prefect"),
        "PREFECT_API_URL": api_url,
        "PYTHONPATH": str(ROOT),
    }
    for group, settings in month.overrides(**SETTINGS).items():
        for name, value in settings.items():
            if value is not None:
                environment[f"CALLSCRIBE_{group}__{name}".upper()] = str(value)
    command = [str(Path(sys.executable).with_name("callscribe")), "run", "--month", MONTH, "--archive", month.archive]
    with (folder / "run.log").open("wb") as log:
        process = subprocess.Popen(
            [*command, "--transcripts", month.transcripts, *options],
            cwd=folder, env=environment, stdout=log, stderr=log, start_new_session=True,
        )  # fmt: skip
        try:
            yield process
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _run_and_kill(month: SmallMonth, folder: Path, api_url: str) -> None:
    """Start `callscribe run`, and kill it with all its processes, as a machine does that goes down."""
    with _running(month, folder, api_url) as process:
        while (
            len(list(Path(month.transcripts.removeprefix("file://")).glob("_runs/*/done/*.json"))) < KILLED_AFTER_JOBS
        ):
            assert process.poll() is None, (folder / "run.log").read_text()
            time.sleep(0.02)
        time.sleep(0.5)


def _workers(parent: int) -> list[int]:
    """The processes that do jobs for another one, also those that have ended and nobody has waited for."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            state, of = stat.read_text().rpartition(")")[2].split()[:2]
            if int(of) == parent and (state == "Z" or b"flows.device_worker" in stat.with_name("cmdline").read_bytes()):
                found.append(int(stat.parent.name))
    return found


def _jobs_at_work(month: SmallMonth) -> int:
    """How many jobs have calls in hand."""
    marks = Path(month.transcripts.removeprefix("file://")).glob("_runs/*/in_flight/*.json")
    found = 0
    for mark in marks:
        with contextlib.suppress(FileNotFoundError):
            found += bool(json.loads(mark.read_text())["call_ids"])
    return found


def _month(folder: Path, archive: Path) -> SmallMonth:
    folder.mkdir()
    return SmallMonth(archive.as_uri(), folder.as_uri(), load_settings().models.folder)


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An archive with some of the demo calls."""
    folder = tmp_path_factory.mktemp("archive")
    for path in DEMO.rglob("demo-000[136].*"):
        target = folder / path.relative_to(DEMO)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, target)
    return folder


@pytest.fixture(scope="module")
def undisturbed(archive: Path, models: Models, tmp_path_factory: pytest.TempPathFactory) -> object:
    """What a run leaves that nobody disturbs."""
    month = _month(tmp_path_factory.mktemp("undisturbed") / "transcripts", archive)
    with without_prefect(models):
        assert_certified(month, month.run(**SETTINGS), CALLS)
    return _rounded(content(month.storage))


@pytest.mark.timeout(280)
def test_a_real_run_that_is_killed(
    tmp_path: Path, archive: Path, models: Models, undisturbed: object, prefect_server: PrefectServer
) -> None:
    """The rows are those of a run that nobody disturbed, and what was done before was not done again."""
    month = _month(tmp_path / "killed", archive)
    with without_prefect(models):
        _run_and_kill(month, tmp_path, prefect_server.api_url)
        done = [row["call_id"] for row in month.data.read_calls(MONTH)]
        assert KILLED_AFTER_JOBS <= len(done) < len(CALLS)
        summary = month.run(**SETTINGS)
    assert_certified(month, summary, CALLS)
    assert len(CALLS) == sum(summary.outcomes.values())
    assert undisturbed == _rounded(content(month.storage))


@pytest.mark.timeout(280)
def test_a_real_run_on_two_devices_of_which_one_process_is_killed(
    tmp_path: Path, archive: Path, undisturbed: object, prefect_server: PrefectServer
) -> None:
    """While it does a job; another one goes on with it, and the rows are those of one process."""
    month = _month(tmp_path / "devices", archive)
    with _running(month, tmp_path, prefect_server.api_url, "--devices", "cpu:2") as process:
        log = tmp_path / "run.log"
        while _jobs_at_work(month) < len(DEVICES):
            assert process.poll() is None, log.read_text()
            time.sleep(0.02)
        killed, *others = _workers(process.pid)
        os.kill(killed, signal.SIGKILL)
        while process.poll() is None:
            left = _workers(process.pid)
            time.sleep(0.02)
        assert 0 == process.returncode, log.read_text()
    assert len(DEVICES) - 1 == len(others)
    assert killed not in left
    assert 1 == log.read_text().count("was killed by SIGKILL")
    (certificate,) = read_chain(month.storage)
    assert (3, 0) == (certificate.content["result"]["listed_objects"], certificate.content["result"]["missing"])
    assert undisturbed == _rounded(content(month.storage))


@pytest.mark.skipif(Path("/dev/nvidia0").exists(), reason="this machine has a GPU")
def test_devices_that_are_not_there(tmp_path: Path, archive: Path, prefect_server: PrefectServer) -> None:
    """The command says so, ends with the exit code of devices, and no call is failed."""
    month = _month(tmp_path / "devices", archive)
    with _running(month, tmp_path, prefect_server.api_url, "--devices", "cuda:0,cuda:1") as process:
        process.wait()
        assert 6 == process.returncode, (tmp_path / "run.log").read_text()
    assert "cuda:1 was asked for and cannot be used" in (tmp_path / "run.log").read_text()
    assert [] == list(month.data.read_calls(MONTH))
    assert [] == _workers(process.pid)
