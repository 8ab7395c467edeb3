"""The real prefect-kubernetes worker and observer on the fake cluster: what the tests of callscribe's jobs build on.

What they do when something goes wrong, `test_cluster_runs` shows.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from cluster.cluster import Cluster
from cluster.nodes import Node
from cluster.objects import Object
from cluster.prefect_server import PrefectServer
from cluster.stack import PrefectStack
from cluster.templates import small_template

pytestmark = [pytest.mark.long, pytest.mark.timeout(1200)]

POOL = "gpu"
# Prefect copies this folder into each pod.
TESTS = Path(__file__).parent


@dataclass(frozen=True)
class Place:
    """A stack with a worker, deployments of two small flows (by id), and a folder for what they write."""

    stack: PrefectStack
    greet: str
    wait_for: str
    folder: Path

    def waiting_run(self, name: str) -> tuple[str, Object]:
        """Start a run that waits for a file; it and its pod, as soon as the flow has begun."""
        run = self.stack.server.start_run(self.wait_for, parameters={"file": str(self.folder / name)})
        pod = self.stack.cluster.pod(self.stack.of_run(run))
        self.stack.cluster.until(lambda: self.begun(name) == 1, "begin of the flow")
        return run, pod

    def begun(self, name: str) -> int:
        """How often the flow has begun."""
        path = self.folder / f"{name}.begun"
        return len(path.read_text().splitlines()) if path.exists() else 0


@pytest.fixture(scope="module")
def place(prefect_server_on_postgres: PrefectServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """One worker for the module, on a cluster of two GPUs."""
    prefect_server, folder = prefect_server_on_postgres, tmp_path_factory.mktemp("place")
    nodes = [Node("gpu-a", gpus=1), Node("gpu-b", gpus=1)]
    with (
        Cluster(folder / "cluster", nodes) as cluster,
        PrefectStack(prefect_server, cluster, folder / "stack") as stack,
    ):
        prefect_server.create_pool(POOL, small_template())
        greet, wait_for = (
            prefect_server.deploy(name, "test", f"pod_flows.py:{function}", TESTS, POOL)
            for name, function in (("greet", "greet"), ("wait-for", "wait_for"))
        )
        stack.start_worker(POOL)
        yield Place(stack, greet, wait_for, folder)


@pytest.fixture(autouse=True)
def _no_zombies(place: Place) -> Iterator[None]:
    """No test leaves a fault, or a run that holds a slot."""
    yield
    place.stack.cluster.faults.clear()
    assert [] == place.stack.server.taking_slots(POOL)


def test_a_run_completes(place: Place) -> None:
    """Deployment, work pool, Job, pod on a node that is not excluded, Completed."""
    server = place.stack.server
    excluded: Object = {"excluded_nodes": ["gpu-a"]}
    run = server.start_run(place.greet, parameters={"folder": str(place.folder), "name": "ann"}, job_variables=excluded)
    assert "Completed" == place.stack.await_state(run)
    assert "ann on gpu-b" == (place.folder / "ann.txt").read_text()
    assert ["Running", "Completed"] == server.states(run)[-2:]
    (job,) = place.stack.cluster.jobs(place.stack.of_run(run))
    assert 3600 == job["spec"]["ttlSecondsAfterFinished"]


def test_a_cancelled_run(place: Place) -> None:
    """The user's cancellation ends the pod."""
    run, pod = place.waiting_run("cancelled")
    place.stack.server.cancel(run)
    assert "Cancelled" == place.stack.await_state(run)
    place.stack.cluster.until(lambda: not place.stack.cluster.processes(pod), "end of the pod")
