"""A real Prefect server as a process, and what tests ask of it by HTTP."""

import os
import subprocess
import sys
import time
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx

from .objects import Object
from .ports import LOOPBACK, end_process, free_port, start_bound

FINAL = frozenset({"COMPLETED", "FAILED", "CANCELLED", "CRASHED"})
_PATIENCE_S = 240.0
_TAKES_A_SLOT = ["PENDING", "RUNNING", "CANCELLING"]


class PrefectServer:
    """A server as a context manager. All of Prefect's settings are its own: nothing comes from the caller's.

    Args:
        folder: for its home and log.
        database_url: SQLAlchemy's URL; None: SQLite in the folder.
        environment: more variables for the server, `PREFECT_SERVER_…`.

    `home` is its own folder, with the database where that is SQLite; `api_url` is where it answers.
    """

    def __init__(
        self, folder: Path, database_url: str | None = None, environment: Mapping[str, str] | None = None
    ) -> None:
        self._folder, self._port = folder, free_port()
        self.home = folder / "home"
        self._environment = dict(environment or {})
        if database_url is not None:
            self._environment["PREFECT_API_DATABASE_CONNECTION_URL"] = database_url
        self._process: subprocess.Popen[bytes] | None = None
        self.api_url = f"http://{LOOPBACK}:{self._port}/api"
        self.client = httpx.Client(base_url=f"{self.api_url}/", timeout=_PATIENCE_S, trust_env=False)

    def __enter__(self) -> Self:
        """Start it and wait until it answers."""
        self._folder.mkdir(parents=True, exist_ok=True)
        self._process = start_bound(
            [program("prefect"), "server", "start", "--host", LOOPBACK, "--port", str(self._port)],
            self.environment(self.home) | {"PREFECT_SERVER_UI_ENABLED": "false"} | self._environment,
            self._folder,
            self.log_path,
        )
        ends_at = time.monotonic() + _PATIENCE_S
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > ends_at:
                raise RuntimeError(f"the Prefect server did not come up:\n{self.log_path.read_text()[-3000:]}")
            time.sleep(0.1)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop it."""
        self.client.close()
        if self._process is not None:
            end_process(self._process, kill=False)

    @property
    def log_path(self) -> Path:
        """What the server writes."""
        return self._folder / "server.log"

    def environment(self, home: Path) -> dict[str, str]:
        """The variables for a process that shall use this server: nothing else of Prefect's, and no telemetry."""
        return {
            "PATH": f"{Path(sys.executable).parent}:{os.environ.get('PATH', os.defpath)}",
            "LANG": "C.UTF-8",
            "HOME": str(home),
            "PREFECT_HOME": str(home),
            "PREFECT_API_URL": self.api_url,
            "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
            "PREFECT_CLOUD_ENABLE_ORCHESTRATION_TELEMETRY": "false",
            "PREFECT_CLI_PROMPT": "false",
            "DO_NOT_TRACK": "1",
        }

    def call(self, method: str, path: str, body: object = None) -> Any:  # noqa: ANN401 - JSON
        """Ask the API: `call("POST", "flow_runs/filter", {…})`. An answer that is no success is an AssertionError.

        A 503 is asked again, as Prefect's own client does: SQLite says it when another writer holds the database.
        """
        ends_at = time.monotonic() + _PATIENCE_S
        while True:
            response = self.client.request(method, path, json=body)
            if response.status_code != httpx.codes.SERVICE_UNAVAILABLE or time.monotonic() > ends_at:
                break
            time.sleep(0.2)
        assert response.is_success, f"{method} {path}: {response.status_code} {response.text[:2000]}"
        return response.json() if response.content else None

    def create_pool(self, name: str, template: Object, concurrency_limit: int | None = None) -> None:
        """Make a work pool for Kubernetes from a base job template, or give it this one."""
        body = {"base_job_template": template, "concurrency_limit": concurrency_limit}
        known = self.client.get(f"work_pools/{name}").status_code == httpx.codes.OK
        if known:
            self.call("PATCH", f"work_pools/{name}", body)
        else:
            self.call("POST", "work_pools/", {"name": name, "type": "kubernetes", **body})

    def deploy(self, flow: str, name: str, entrypoint: str, path: Path, pool: str, **more: object) -> str:
        """Make a deployment; its id.

        Args:
            flow: the flow's name.
            name: the deployment's name.
            entrypoint: `flows/job.py:transcribe_job`, relative to the path.
            path: the folder that Prefect copies into each pod, on this machine: not a checkout, with its environment.
            pool: the work pool.
            more: as in the API: `job_variables`, `parameters`, `tags`, `concurrency_limit`, `concurrency_options`.
        """
        flow_id = self.call("POST", "flows/", {"name": flow})["id"]
        body = {"name": name, "flow_id": flow_id, "entrypoint": entrypoint, "path": str(path), "work_pool_name": pool}
        return str(self.call("POST", "deployments/", {"enforce_parameter_schema": False, **body, **more})["id"])

    def start_run(self, deployment: str, **more: object) -> str:
        """Make a flow run of a deployment (by id); its id. `more` is as in the API: `parameters`, `job_variables`."""
        body = {"idempotency_key": str(uuid.uuid4()), **more}
        return str(self.call("POST", f"deployments/{deployment}/create_flow_run", body)["id"])

    def cancel(self, run: str) -> None:
        """Cancel a run as the UI does."""
        state = {"type": "CANCELLING", "name": "Cancelling"}
        self.call("POST", f"flow_runs/{run}/set_state", {"state": state})

    def run(self, run: str) -> Object:
        """A flow run as the API shows it."""
        found: Object = self.call("GET", f"flow_runs/{run}")
        return found

    def state(self, run: str) -> tuple[str, str]:
        """Type and name of a run's state: `("SCHEDULED", "AwaitingRetry")`."""
        state = self.run(run)["state"]
        return state["type"], state["name"]

    def states(self, run: str) -> list[str]:
        """The names of all states that a run has had."""
        found = self.call("GET", f"flow_run_states/?flow_run_id={run}")
        return [state["name"] for state in sorted(found, key=lambda state: state["timestamp"])]

    def runs(self, tags: Sequence[str] = (), pool: str | None = None) -> list[Object]:
        """The newest 200 flow runs, of a work pool, with all of these tags."""
        body: Object = {"sort": "EXPECTED_START_TIME_DESC", "limit": 200}
        if tags:
            body["flow_runs"] = {"tags": {"all_": list(tags)}}
        if pool:
            body["work_pools"] = {"name": {"any_": [pool]}}
        found: list[Object] = self.call("POST", "flow_runs/filter", body)
        return found

    def taking_slots(self, pool: str) -> list[Object]:
        """The runs that take a slot of a work pool."""
        return [run for run in self.runs(pool=pool) if run["state_type"] in _TAKES_A_SLOT]

    def deployment_slots(self, deployment: str) -> int:
        """How many slots of a deployment's concurrency limit are taken."""
        limit = self.call("GET", f"deployments/{deployment}")["global_concurrency_limit"]
        return int(limit["active_slots"]) if limit else 0

    def logs(self, run: str) -> list[str]:
        """The lines of a run's log."""
        body = {"logs": {"flow_run_id": {"any_": [run]}}, "sort": "TIMESTAMP_ASC", "limit": 200}
        return [line["message"] for line in self.call("POST", "logs/filter", body)]

    def _answers(self) -> bool:
        try:
            return self.client.get("health", timeout=5.0).is_success
        except httpx.TransportError:
            return False


def program(name: str) -> str:
    """A program of this Python's environment."""
    return str(Path(sys.executable).with_name(name))
