"""What a run of many jobs asks Prefect's API, when their tries are flow runs of a deployment.

    python -m evaluation.benchmarks.dispatching --jobs 2000 --write evaluation/benchmarks/dispatching.md

The parent is real (`flows.foreman`, `flows.deployed_jobs`), and so is a Prefect server. Instead of workers, one thread
takes up flow runs, `slots` at a time, and ends each after some seconds, so that hours pass in minutes; what it asks the
server is not counted.
"""

from __future__ import annotations

import json
import logging
import platform
import threading
import time
from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any
from unittest import mock

import typer
import urllib3

from evaluation.benchmarks.month_flow import counted
from evaluation.benchmarks.publish import publish
from tasks.host import usable_cores
from tasks.runs import RunHead
from tasks.setting_groups import RunSettings
from tasks.settings import prepare_environment
from tasks.storage import Storage, open_storage

RUN = "20261102T020000000Z-abcdef"
# As long as a job is of a GPU, and as often as a run looks by default: the time that is measured here is that much
# shorter (`--hurry`).
JOB_S, POLL_S = 1500.0, 20.0
COLUMNS = ("jobs", "slots", "requests", "of them looks", "per job", "hours of the run", "requests per second")


@dataclass
class Fleet:
    """Takes up flow runs and ends them, as a pool of workers would."""

    api_url: str
    storage: Storage
    slots: int
    job_s: float
    ended: threading.Event = field(default_factory=threading.Event)
    _http: urllib3.PoolManager = field(default_factory=urllib3.PoolManager)

    def work(self) -> None:
        """Until `ended` is set."""
        busy: dict[str, tuple[float, int]] = {}
        while not self.ended.wait(0.05):
            now = time.monotonic()
            for run_id, (until, job) in list(busy.items()):
                if until <= now:
                    key = f"_runs/{RUN}/done/job-{job:04d}.json"
                    self.storage.put(key, json.dumps({"outcomes": {"transcribed": 1}}).encode())
                    self._set(run_id, "COMPLETED")
                    del busy[run_id]
            for run in self._scheduled(self.slots - len(busy)):
                self._set(run["id"], "RUNNING")
                busy[run["id"]] = (time.monotonic() + self.job_s, run["parameters"]["job"])

    def _scheduled(self, most: int) -> list[dict[str, Any]]:
        if most <= 0:
            return []
        wanted = {"flow_runs": {"state": {"type": {"any_": ["SCHEDULED"]}}}, "limit": most}
        found: list[dict[str, Any]] = self._ask("flow_runs/filter", wanted)
        return found

    def _set(self, run_id: str, state: str) -> None:
        self._ask(f"flow_runs/{run_id}/set_state", {"state": {"type": state}, "force": True})

    def _ask(self, path: str, body: object) -> Any:  # noqa: ANN401  # JSON
        return self._http.request("POST", f"{self.api_url}/{path}", json=body, timeout=60.0).json()


def head_of(jobs: int) -> RunHead:
    """The plan of a run over nothing in so many jobs."""
    return RunHead(
        run_id=RUN, month="2026-10", archive="", transcripts="", created_at="", shards=1, jobs=jobs, calls=jobs,
        estimated_hours=jobs * 10.0, bundle="starter", bundle_digest="", compute_type="float16", fingerprint="",
        settings_fingerprint="", listed_objects=jobs, inventory_digest="", standing=0, standing_failed=0, erased=0,
        ambiguous=0, unmatched=0,
    )  # fmt: skip


def measure(jobs: int, slots: int, hurry: float, folder: Path) -> tuple[Counter[str], float]:
    """The requests of a parent, and how long its run took, in seconds."""
    from prefect import flow
    from prefect.client.orchestration import get_client
    from prefect.settings import get_current_settings

    from flows.artifacts import RunProgress
    from flows.deployed_jobs import DeployedJobs
    from flows.foreman import Foreman

    @flow(name="transcribe-job")
    def transcribe_job(transcripts: str, run_id: str, job: int, overrides: dict[str, Any], budget_s: float) -> None:
        """Is never run."""

    with get_client(sync_client=True) as client:
        client.create_deployment(client.create_flow(transcribe_job), "gpu")
    storage, requests = open_storage(folder.as_uri()), Counter[str]()
    settings = RunSettings(deployment="transcribe-job/gpu", slots=slots, poll_s=POLL_S / hurry)
    fleet = Fleet(str(get_current_settings().api.url), storage, slots, JOB_S / hurry)
    thread = threading.Thread(target=fleet.work, daemon=True)
    thread.start()
    started = time.monotonic()
    head = head_of(jobs)
    with ExitStack() as stack:
        for patch in (*counted(requests), mock.patch("flows.foreman.get_run_logger", logging.getLogger)):
            stack.enter_context(patch)
        crew = DeployedJobs(storage, head, settings, None)
        Foreman(storage, head, settings, crew, RunProgress(head, 30.0 / hurry)).work(lambda: None)
    wall_s = time.monotonic() - started
    fleet.ended.set()
    thread.join()
    return requests, wall_s


def main(
    jobs: Annotated[int, typer.Option(help="Jobs of the run.")] = 2000,
    *,
    slots: Annotated[int, typer.Option(help="Jobs at a time.")] = 100,
    hurry: Annotated[float, typer.Option(help="How many seconds of a run pass in one.")] = 75.0,
    write: Annotated[Path | None, typer.Option(help="Write the table here too.")] = None,
) -> None:
    """Count the requests of a run's parent to Prefect's API."""
    prepare_environment()  # before Prefect is imported: its server would else send telemetry
    from prefect.testing.utilities import prefect_test_harness

    with TemporaryDirectory() as folder, prefect_test_harness(240):
        requests, wall_s = measure(jobs, slots, hurry, Path(folder))
    total, looks = sum(requests.values()), requests["POST /flow_runs/filter"]
    run_s = wall_s * hurry
    cells = (
        f"{jobs:,}", str(slots), f"{total:,}", f"{looks:,}", f"{total / jobs:.2f}", f"{run_s / 3600:.1f}",
        f"{total / run_s:.2f}",
    )  # fmt: skip
    typer.echo("; ".join(f"{name} {number}" for name, number in requests.most_common(8)), err=True)
    note = (
        f"{datetime.now(UTC):%Y-%m-%d}; jobs of {JOB_S / 60:.0f} min, looked at every {POLL_S:.0f} s, in a "
        f"time that is {hurry:g} times shorter; a Prefect server on SQLite beside it; {usable_cores()} cores, Python "
        f"{platform.python_version()}."
    )
    publish([f"| {' | '.join(COLUMNS)} |", f"|{' ---: |' * len(COLUMNS)}", f"| {' | '.join(cells)} |"], note, write)


if __name__ == "__main__":
    typer.run(main)
