"""The real prefect-kubernetes worker and observer, between a real Prefect server and the fake cluster."""

import subprocess
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from .cluster import NAMESPACE, PATIENCE_S, Cluster
from .ports import end_process, start_bound
from .prefect_server import FINAL, PrefectServer, program

# The worker polls every 10 s, and looks 10 s ahead, unless told otherwise: that is a test's time, not its matter.
_HASTY = {"PREFECT_WORKER_QUERY_SECONDS": "2", "PREFECT_WORKER_CANCELLATION_POLL_SECONDS": "2"}


class PrefectStack:
    """Workers for one cluster, as a context manager that stops them at its end.

    Args:
        server: the Prefect server.
        cluster: where Jobs go.
        folder: for the workers' homes and logs.
    """

    def __init__(self, server: PrefectServer, cluster: Cluster, folder: Path) -> None:
        self.server, self.cluster, self._folder = server, cluster, folder
        self._workers: dict[str, subprocess.Popen[bytes]] = {}

    def __enter__(self) -> Self:
        """Nothing yet: `start_worker`."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop all workers."""
        for pool in list(self._workers):
            self.stop_worker(pool)

    @property
    def api_url(self) -> str:
        """Where the Prefect server's API is."""
        return self.server.api_url

    def environment(self, name: str) -> dict[str, str]:
        """The variables of a process of one's own that uses the server and the cluster, such as the reconciler."""
        home = self._folder / name
        home.mkdir(parents=True, exist_ok=True)
        return self.server.environment(home) | {"KUBECONFIG": str(self.cluster.kubeconfig)}

    def start_worker(self, pool: str, environment: Mapping[str, str] | None = None, limit: int | None = None) -> None:
        """Start the worker of a pool with its observer, and wait until the observer watches the cluster.

        Args:
            pool: the work pool, which must be there.
            environment: more variables for it, such as PREFECT_WORKER_ENABLE_CANCELLATION.
            limit: how many runs it has at a time.
        """
        if pool in self._workers:
            raise ValueError(f"the worker of {pool} runs already")
        before = self._watches()
        command = [program("prefect"), "worker", "start", "--type", "kubernetes", "--pool", pool]
        command += ["--name", f"worker-{pool}", "--install-policy", "never"]
        if limit is not None:
            command += ["--limit", str(limit)]
        variables = self.environment(f"worker-{pool}") | _HASTY
        variables |= {"PREFECT_INTEGRATIONS_KUBERNETES_OBSERVER_NAMESPACES": NAMESPACE, **(environment or {})}
        log = self.worker_log(pool)
        self._workers[pool] = start_bound(command, variables, self._folder, log)
        process = self._workers[pool]

        def watching() -> bool:
            if process.poll() is not None:
                raise RuntimeError(f"the worker of {pool} ended with {process.returncode}:\n{log.read_text()[-3000:]}")
            return variables.get("PREFECT_INTEGRATIONS_KUBERNETES_OBSERVER_ENABLED") == "false" or (
                self._watches() >= before + 2
            )

        self.cluster.until(watching, f"worker that watches (its log: {log})")

    def stop_worker(self, pool: str, *, kill: bool = False) -> None:
        """Stop a worker as its Deployment would, or by SIGKILL, as when its node dies."""
        end_process(self._workers.pop(pool), kill=kill)

    def worker_log(self, pool: str) -> Path:
        """What the pool's workers have written."""
        return self._folder / f"worker-{pool}.log"

    def await_state(self, run: str, *names: str, patience_s: float = PATIENCE_S) -> str:
        """Wait until a run is in a state of one of these names, and return it; without names, until it is final.

        Raises:
            AssertionError: it came to another final state, or to none in time.
        """

        def look() -> str | None:
            kind, name = self.server.state(run)
            if name in names or (not names and kind in FINAL):
                return name
            assert kind not in FINAL, f"the run is {name}, not {names}: {self.server.logs(run)}\n{self.cluster.logs()}"
            return None

        return self.cluster.until(look, f"state {names or 'that is final'} of run {run}", patience_s)

    def of_run(self, run: str) -> str:
        """The label selector of a run's Jobs and pods."""
        return f"prefect.io/flow-run-id={run}"

    def _watches(self) -> int:
        """How many watches of pods and Jobs have been begun."""
        return sum(call.verb == "watch" for call in self.cluster.calls)
