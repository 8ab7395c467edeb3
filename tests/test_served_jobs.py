"""A job as a pod does it: `prefect flow-run execute` in a process of its own, against a real Prefect server.

The process is that which a pod begins with: it starts the engine in a session of its own, and a signal to it is all
that an eviction, a deletion or a preemption is.
"""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from cluster.prefect_server import PrefectServer
from small_month import MONTH, OUTCOMES, SmallMonth, content, fill, without_prefect
from stand_ins import StandInRecognizer, build_bundle, stand_in_models

from flows.archive import archive_run
from flows.docs import ROOT
from flows.job import WRONG_DEVICE, transcribe_job
from tasks.errors import DeviceError
from tasks.plan_run import plan_run
from tasks.refusals import refusals
from tasks.run_job import run_job
from tasks.run_models import fingerprints_of
from tasks.runs import RunHead
from tasks.settings import load_settings
from tasks.storage import open_storage

pytestmark = [pytest.mark.long, pytest.mark.timeout(600)]

TESTS = Path(__file__).parent
# One job, of one shard, which keeps nothing before it is told to end.
PLAIN: dict[str, dict[str, Any]] = {
    "transcripts": {"monthly_hours": 1.0, "hours_per_shard": 1.0},
    "run": {"checkpoint_every_s": 300.0},
}
NODE = {"CALLSCRIBE_NODE": "gpu-node-7", "CALLSCRIBE_POD": "callscribe-x7"}


@pytest.fixture(scope="module")
def api_url(prefect_here: PrefectServer) -> str:
    """Where Prefect's server answers, to this process too."""
    return prefect_here.api_url


class Served:
    """A job of a small month, as a flow run of a deployment."""

    def __init__(self, folder: Path, api_url: str) -> None:
        for name in ("archive", "transcripts", "signs"):
            (folder / name).mkdir()
        build_bundle(folder / "models")
        self.folder = folder
        self.api_url = api_url
        self.month = SmallMonth((folder / "archive").as_uri(), (folder / "transcripts").as_uri(), folder / "models")
        self.overrides = self.month.overrides(**PLAIN)
        self.settings = load_settings(overrides=self.overrides)
        archive = open_storage(self.month.archive)
        fill(archive)
        self.head: RunHead = plan_run(self.month.data, archive, MONTH, self.settings, fingerprints_of(self.settings))
        self.flow_run: UUID = asyncio.run(self._create())

    async def _create(self) -> UUID:
        from prefect.client.orchestration import get_client
        from prefect.states import Pending

        parameters = {
            "transcripts": self.month.transcripts, "run_id": self.head.run_id, "job": 1, "overrides": self.overrides
        }  # fmt: skip
        async with get_client() as client:
            flow = await client.create_flow(transcribe_job)
            # Prefect copies this folder for each process: not the whole checkout, which may hold 8 GB.
            path, entrypoint = str(TESTS), "served_job.py:transcribe_job"
            deployment = await client.create_deployment(flow, self.folder.name, path=path, entrypoint=entrypoint)
            run = await client.create_flow_run_from_deployment(deployment, parameters=parameters)
            await client.set_flow_run_state(run.id, Pending(), force=True)  # as the worker does
            return run.id

    def cancel(self) -> None:
        """As a user does in Prefect's UI."""

        async def ask() -> None:
            from prefect.client.orchestration import get_client
            from prefect.states import Cancelling

            async with get_client() as client:
                await client.set_flow_run_state(self.flow_run, Cancelling())

        asyncio.run(ask())

    def states(self) -> list[tuple[str, str]]:
        """Names and messages of the states that the flow run has had."""

        async def read() -> list[tuple[str, str]]:
            from prefect.client.orchestration import get_client

            async with get_client() as client:
                states = await client.read_flow_run_states(self.flow_run)
            return [(str(state.name), state.message or "") for state in states]

        return asyncio.run(read())

    @contextmanager
    def executed(self, stops_at: int = 0, broken: str = "") -> Iterator[subprocess.Popen[bytes]]:
        """The process that a pod begins with; killed with its engine at the end of the block."""
        order = {
            "bundles": str(self.month.bundles), "signs": str(self.folder / "signs"), "stops_at": stops_at,
            "broken": broken,
        }  # fmt: skip
        environment = os.environ | NODE | {
            "PREFECT_API_URL": self.api_url,
            "PREFECT_FLOW_RUN_EXECUTE_SIGTERM_BEHAVIOR": "relinquish",
            "PYTHONPATH": f"{ROOT}{os.pathsep}{TESTS}",
            "SERVED_JOB": json.dumps(order),
        }  # fmt: skip
        command = [sys.executable, "-m", "prefect", "flow-run", "execute", str(self.flow_run)]
        with (self.folder / "log").open("ab") as log:
            process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=log, stderr=log)
            try:
                yield process
            finally:
                (self.folder / "signs" / "go").touch()
                process.kill()
                process.wait()

    def until(self, true: Callable[[], object], process: subprocess.Popen[bytes]) -> None:
        """Wait for something that the process does."""
        while not true():
            assert process.poll() is None, (self.folder / "log").read_text()
            time.sleep(0.05)

    def stopped(self) -> bool:
        """Whether the models are at the call at which they stop."""
        return (self.folder / "signs" / "stopped").exists()

    def record(self, pattern: str) -> list[Path]:
        """Objects of the run."""
        return sorted((self.folder / "transcripts" / "_runs" / self.head.run_id).glob(pattern))

    def finish(self) -> int:
        """Do what is left of the job, in this process; how many calls had to be heard for it."""
        recognizer = StandInRecognizer()
        models = stand_in_models(self.month.bundles, recognizer)
        assert OUTCOMES == run_job(self.month.data, self.head, 1, models, self.settings, lambda _: None)
        return recognizer.heard


@pytest.fixture
def served(tmp_path: Path, api_url: str) -> Served:
    """A planned job."""
    return Served(tmp_path, api_url)


def _is_orderly(attempt: Path) -> bool:
    return bool(json.loads(attempt.read_bytes())["orderly"])


def test_a_pod_that_is_evicted(served: Served) -> None:
    """SIGTERM in the middle: work is kept, no attempt is counted, and the same flow run goes on in the next pod."""
    with served.executed(stops_at=3) as process:
        served.until(served.stopped, process)
        process.send_signal(signal.SIGTERM)
        assert 1 == process.wait()  # so that Kubernetes makes another pod
    assert "Running" == served.states()[-1][0]
    assert [True] == [_is_orderly(attempt) for attempt in served.record("attempts/*.json")]
    assert served.record("checkpoints/*.parquet")
    with served.executed() as process:
        assert 0 == process.wait()
    assert "Completed" == served.states()[-1][0]
    assert OUTCOMES == json.loads(served.record("done/*.json")[0].read_bytes())["outcomes"]
    assert [True, True] == [_is_orderly(attempt) for attempt in served.record("attempts/*.json")]
    assert sum(OUTCOMES.values()) == len(content(served.month.storage))


def test_a_run_that_its_user_cancels(served: Served) -> None:
    """It ends as cancelled; what was finished is kept for whoever runs the month again."""
    with served.executed(stops_at=3) as process:
        served.until(served.stopped, process)
        served.cancel()
        process.wait()
    assert ["Cancelling", "Cancelled"] == [name for name, _ in served.states()[-2:]]
    assert [True] == [_is_orderly(attempt) for attempt in served.record("attempts/*.json")]
    assert 6 - 2 == served.finish()


def test_a_pod_on_the_wrong_device(served: Served) -> None:
    """The flow run ends in a state of its own, nobody has tried the job, and no call is failed."""
    with served.executed(broken="cuda:0 was asked for and cannot be used (made up)") as process:
        process.wait()
    name, message = served.states()[-1]
    assert WRONG_DEVICE == name
    for part in ("cuda:0 was asked for and cannot be used (made up)", "gpu-node-7", "callscribe-x7"):
        assert part in message
    (refusal,) = refusals(served.month.storage, served.head.run_id)
    assert (1, "gpu-node-7", "cpu", message, False) == (
        refusal.job, refusal.node, refusal.device, refusal.seen, refusal.at_work
    )  # fmt: skip
    assert [] == served.record("attempts/*.json")
    assert [] == served.month.data.read_calls(MONTH)


def test_a_run_in_one_process_on_the_wrong_device(
    tmp_path: Path, api_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The calling flow gets the error itself, whose exit code the command ends with; the job's run says the same."""
    assert api_url
    for name in ("archive", "transcripts"):
        (tmp_path / name).mkdir()
    build_bundle(tmp_path / "models")
    month = SmallMonth((tmp_path / "archive").as_uri(), (tmp_path / "transcripts").as_uri(), tmp_path / "models")
    fill(open_storage(month.archive))

    def load(*_: object) -> None:
        message = "made up"
        raise DeviceError(message)

    monkeypatch.setattr("flows.job._load_once", load)
    with pytest.raises(DeviceError, match=r"^made up \(on ") as caught:
        archive_run(MONTH, month.archive, month.transcripts, month.overrides(**PLAIN))
    assert 6 == caught.value.exit_code
    run_id = next(month.storage.list("_runs/")).key.split("/")[1]
    assert 1 == len(refusals(month.storage, run_id))

    async def last_state() -> tuple[str | None, str | None]:
        from prefect.client.orchestration import get_client
        from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterName

        wanted = FlowRunFilter(name=FlowRunFilterName(any_=[f"{run_id}-job-0001"]))
        async with get_client() as client:
            (run,) = await client.read_flow_runs(flow_run_filter=wanted)
        assert run.state is not None
        return run.state.name, run.state.message

    assert (WRONG_DEVICE, caught.value.message) == asyncio.run(last_state())


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, -signal.SIGTERM), (signal.SIGINT, 130)])
def test_a_run_in_one_process_that_is_told_to_end(
    tmp_path: Path, api_url: str, number: signal.Signals, status: int
) -> None:
    """`callscribe run` alone: what is finished is kept, it is no death, and the next run goes on at once."""
    for name in ("archive", "transcripts", "signs"):
        (tmp_path / name).mkdir()
    build_bundle(tmp_path / "models")
    month = SmallMonth((tmp_path / "archive").as_uri(), (tmp_path / "transcripts").as_uri(), tmp_path / "models")
    fill(open_storage(month.archive))
    order = {"bundles": str(month.bundles), "signs": str(tmp_path / "signs"), "stops_at": 3, "broken": ""}
    environment = os.environ | {
        "PREFECT_API_URL": api_url,
        "PYTHONPATH": f"{ROOT}{os.pathsep}{TESTS}",
        "SERVED_JOB": json.dumps(order),
    }
    for group, settings in month.overrides(**PLAIN | {"run": {"checkpoint_every_s": 300.0, "lease_s": 3600.0}}).items():
        for name, value in settings.items():
            if value is not None:
                environment[f"CALLSCRIBE_{group}__{name}".upper()] = str(value)
    program = [sys.executable, str(TESTS / "served_job.py"), "run", "--month", MONTH]
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(
            [*program, "--archive", month.archive, "--transcripts", month.transcripts],
            cwd=tmp_path, env=environment, stdout=log, stderr=log,
        )  # fmt: skip
        try:
            while not (tmp_path / "signs" / "stopped").exists():
                assert process.poll() is None, (tmp_path / "log").read_text()
                time.sleep(0.05)
            process.send_signal(number)
            assert status == process.wait()
        finally:
            process.kill()
            process.wait()
    (attempt,) = (tmp_path / "transcripts").glob("_runs/*/attempts/*.json")
    assert _is_orderly(attempt)
    recognizer = StandInRecognizer()
    with without_prefect(stand_in_models(month.bundles, recognizer)):
        summary = month.run(transcripts=PLAIN["transcripts"])  # the month is free: nobody waits an hour for it
    assert (OUTCOMES, attempt.parent.parent.name) == (summary.outcomes, summary.run_id)
    assert 6 - 2 == recognizer.heard
