"""The real prefect-kubernetes worker and observer on the fake cluster: what the tests of callscribe's jobs build on."""

import time
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
AWAY_S = 65.0


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
def place(prefect_server: PrefectServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """One worker for the module, on a cluster of two GPUs."""
    folder = tmp_path_factory.mktemp("place")
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


def test_a_killed_pod_crashes_its_run(place: Place) -> None:
    """The observer sees a pod that was killed, and says that the run has crashed."""
    run, pod = place.waiting_run("killed")
    place.stack.cluster.kill_pod(pod, "OOMKilled")
    assert "Crashed" == place.stack.await_state(run)
    assert any("out-of-memory" in line for line in place.stack.server.logs(run))


def test_an_evicted_run_goes_on(place: Place) -> None:
    """SIGTERM to the pod's first process reschedules the run, which completes in another Job."""
    run, pod = place.waiting_run("evicted")
    place.stack.cluster.evict(pod)
    place.stack.cluster.until(lambda: place.begun("evicted") == 2, "second begin of the flow")
    (place.folder / "evicted").touch()
    assert "Completed" == place.stack.await_state(run)


def test_creations_that_fail(place: Place) -> None:
    """The worker tries three times; then the run has crashed, with the reason."""
    server = place.stack.server
    place.stack.cluster.faults.fail_creations(3)
    run = server.start_run(place.greet, parameters={"folder": str(place.folder), "name": "none"})
    assert "Crashed" == place.stack.await_state(run)
    assert "etcdserver: request timed out" in server.run(run)["state"]["message"]
    assert [] == place.stack.cluster.jobs(place.stack.of_run(run))


def test_api_server_away_for_a_minute(place: Place) -> None:
    """The observer comes back to a cluster in which a pod was killed meanwhile."""
    run, pod = place.waiting_run("away")
    with place.stack.cluster.away():
        place.stack.cluster.kill_pod(pod)
        time.sleep(AWAY_S)  # its length is the point
    assert "Crashed" == place.stack.await_state(run)


def test_a_worker_killed_while_it_creates(place: Place) -> None:
    """A run whose worker died in the middle stays PENDING, and takes a slot, until somebody looks after it."""
    stack = place.stack
    stack.cluster.faults.hold_creations()
    run = stack.server.start_run(place.greet, parameters={"folder": str(place.folder), "name": "never"})
    stack.cluster.until(lambda: stack.cluster.faults.held_creations() == 1, "a held creation")
    stack.stop_worker(POOL, kill=True)
    stack.cluster.until(lambda: stack.cluster.faults.held_creations() == 0, "the end of the request")
    stack.cluster.faults.clear()
    stack.start_worker(POOL)
    assert [] == stack.cluster.jobs(stack.of_run(run))
    assert [run] == [one["id"] for one in stack.server.taking_slots(POOL)]
    stack.server.call("POST", f"flow_runs/{run}/set_state", {"state": {"type": "CRASHED"}, "force": True})


def test_a_vanished_job_while_the_worker_is_dead(place: Place) -> None:
    """A run whose pod and Job are gone before the worker is back stays RUNNING, and takes a slot."""
    stack = place.stack
    run, _ = place.waiting_run("vanished")
    stack.stop_worker(POOL, kill=True)
    (job,) = stack.cluster.jobs(stack.of_run(run))
    stack.cluster.vanish(job)
    stack.start_worker(POOL)
    assert [run] == [one["id"] for one in stack.server.taking_slots(POOL)]
    stack.server.call("POST", f"flow_runs/{run}/set_state", {"state": {"type": "CRASHED"}, "force": True})
