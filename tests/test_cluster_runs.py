"""Runs in a cluster, from work pool to rows, and every fault on the way: in the end the rows are those without it.

Real: Prefect's server on PostgreSQL, worker and observer, the S3 server, `callscribe run` as the parent, the flow of
each job in a process of its own, and the reconciler. Stand-ins: the models and the GPUs. A fake of ours: Kubernetes
(`cluster`).
"""

import json
import os
import re
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
from cluster.cluster import NAMESPACE, Cluster
from cluster.nodes import Node
from cluster.objects import Object
from cluster.prefect_server import PrefectServer
from cluster.stack import PrefectStack
from cluster.templates import small_template, with_defaults
from conftest import BUCKET
from forked import ForkedCommand
from prefect.settings import PREFECT_API_URL, temporary_settings
from small_month import CALLS, MONTH, Content, SmallMonth, content, fill
from stand_ins import BUNDLE, build_bundle
from typer.testing import CliRunner

from flows.cli import app
from flows.docs import ROOT
from flows.s3_server import LocalS3Server
from tasks.certificates import read_chain
from tasks.refusals import refusals
from tasks.storage import open_storage
from tasks.verify import verify

pytestmark = [pytest.mark.long, pytest.mark.timeout(900)]

TESTS = Path(__file__).parent
POOL, PLAIN_POOL = "callscribe-gpu", "callscribe-control"
NODES = ("gpu-a", "gpu-b")
OF_WORKERS = {"PREFECT_WORKER_ENABLE_CANCELLATION": "true"}
# Estimated hours of a job: two calls each, half of them, and all in one.
SMALL_JOBS, TWO_JOBS, ONE_JOB = "0.0012", "0.0024", "1"


@dataclass(frozen=True)
class Place:
    """Prefect, a cluster of two GPUs with its worker, an archive in S3, and what the processes are told."""

    stack: PrefectStack
    s3: LocalS3Server
    archive: str
    bundles: Path
    signs: Path
    environment: dict[str, str]

    def sign(self, name: str) -> Path:
        """A file by which a pod and a test talk."""
        return self.signs / name

    def month(self, name: str) -> "ClusterMonth":
        """A new data set."""
        return ClusterMonth(self, SmallMonth(self.archive, f"s3://{BUCKET}/cluster/{name}", self.bundles))


class ClusterMonth:
    """A month whose jobs are done in the cluster."""

    def __init__(self, place: Place, month: SmallMonth) -> None:
        self.place = place
        self.month = month
        self._log = place.signs.parent / f"{month.transcripts.rpartition('/')[2]}.log"

    def start(self, job_hours: str = ONE_JOB, **settings: str) -> ForkedCommand:
        """Start `callscribe run` over the month. Settings are named as in the environment: `RUN__SLOTS`."""
        given = {f"CALLSCRIBE_{name}": value for name, value in settings.items()}
        environment = self.place.environment | {"CALLSCRIBE_RUN__JOB_HOURS": job_hours} | given
        arguments = ["run", "--month", MONTH, "--transcripts", self.month.transcripts]
        return ForkedCommand(arguments, environment, ROOT, self._log)

    def finish(self, parent: ForkedCommand, code: int = 3) -> None:
        """Wait for the end of a run; 3 says that some calls failed, as two of them must."""
        assert code == parent.wait(600), self.said

    @property
    def said(self) -> str:
        """What the runs have said."""
        return self._log.read_text()

    def tries(self) -> list[Object]:
        """The flow runs of the month's jobs, from the first on."""
        found = [run for run in self.place.stack.server.runs(pool=POOL) if self._is_mine(run)]
        return sorted(found, key=lambda run: run["created"])

    def _is_mine(self, run: Object) -> bool:
        return bool(run["parameters"].get("transcripts") == self.month.transcripts)

    def stopped(self) -> Object:
        """Wait until the pod of a job has stopped at its third call, and return it."""
        stack = self.place.stack
        stack.cluster.until(lambda: self.place.sign("stopped").exists(), "a job in its middle")
        self.place.sign("stops").unlink()
        (pod,) = [pod for run in self.tries() for pod in stack.cluster.pods(stack.of_run(run["id"]))]
        return pod

    def job_object(self) -> Object:
        """The Kubernetes Job of the last try."""
        (job,) = self.place.stack.cluster.jobs(self.place.stack.of_run(self.tries()[-1]["id"]))
        return job

    def reconcile(self, *arguments: str) -> list[str]:
        """What `callscribe reconcile` finds and mends; one line each. In this process: every test asks."""
        command = ["reconcile", "--namespace", NAMESPACE, *arguments]
        kubeconfig = self.place.environment["KUBECONFIG"]
        with pytest.MonkeyPatch.context() as patch, temporary_settings({PREFECT_API_URL: self.place.stack.api_url}):
            for name, value in (self.place.environment | {"CALLSCRIBE_CLUSTER__GRACE_S": "1"}).items():
                if name.startswith(("CALLSCRIBE_", "AWS_")):
                    patch.setenv(name, value)
            patch.setattr("kubernetes_asyncio.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION", kubeconfig)
            done = CliRunner().invoke(app, command)
        assert 0 == done.exit_code, (done.output, done.exception)
        return done.stdout.splitlines()[:-1]

    def check(self, expected: Content, tries: int | None = None) -> None:
        """Rows are those of the undisturbed run, all is certified, and nobody holds a slot or is to be mended."""
        assert expected == content(self.month.storage)
        assert [] == verify(self.month.data).findings
        last = [link.content["result"] for link in read_chain(self.month.storage) if link.kind == "run"][-1]
        assert (len(CALLS), 0) == (last["listed_objects"], last["missing"])
        assert [] == self.place.stack.server.taking_slots(POOL)
        # A Job whose flow run was taken back, and whose pod never found a node, may be left; nothing else.
        left = self.reconcile()
        assert {"delete"} >= {line.split()[0] for line in left}
        assert not left or [] == self.reconcile()
        if tries is not None:
            assert tries == len(self.tries()), [(run["name"], run["state_name"]) for run in self.tries()]


@pytest.fixture(scope="module")
def place(
    prefect_server_on_postgres: PrefectServer, s3_server: LocalS3Server, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Place]:
    """One worker for the module, on a cluster of two nodes with a GPU each."""
    server, folder = prefect_server_on_postgres, tmp_path_factory.mktemp("place")
    signs, bundles = folder / "signs", folder / "bundles"
    signs.mkdir()
    build_bundle(bundles)
    nodes = [Node(name, gpus=1, gpu_environment={"STAND_IN_GPU": "1"}) for name in NODES]
    with (
        Cluster(folder / "cluster", nodes) as cluster,
        PrefectStack(server, cluster, folder / "stack") as stack,
    ):
        archive = f"s3://{BUCKET}/cluster-archive"
        # As the config map of k8s/base: of pods and of parents that run elsewhere.
        given = {
            "ARCHIVE__URI": archive,
            "TRANSCRIPTS__MONTHLY_HOURS": "3",
            "TRANSCRIPTS__HOURS_PER_SHARD": "1",
            "MODELS__BUNDLE": BUNDLE,
            "MODELS__FOLDER": str(bundles),
            "MODELS__DEVICE": "cuda",
            "RUN__DEPLOYMENT": "transcribe-job/gpu",
            "RUN__SLOTS": "2",
            "RUN__POLL_S": "1",
            "RUN__LEASE_S": "6",
            "RUN__CHECKPOINT_EVERY_S": "1e-9",
            "RUN__LOADER_THREADS": "1",
        }
        settings = {f"CALLSCRIBE_{name}": value for name, value in given.items()}
        of_pods = s3_server.environment() | settings | {
            "PYTHONPATH": f"{ROOT}{os.pathsep}{TESTS}",
            "PREFECT_HOME": "/scratch/prefect",
            "PREFECT_FLOW_RUN_EXECUTE_SIGTERM_BEHAVIOR": "relinquish",
            "CLUSTER_JOB": json.dumps({"bundles": str(bundles), "signs": str(signs)}),
        }  # fmt: skip
        server.create_pool(POOL, with_defaults(small_template(), env=of_pods))
        # Prefect copies this folder into each pod: not the whole checkout, which may hold an environment of 8 GB.
        server.deploy("transcribe-job", "gpu", "cluster_job.py:transcribe_job", TESTS, POOL, tags=["transcribe-job"])
        stack.start_worker(POOL, OF_WORKERS)
        environment = stack.environment("parent") | s3_server.environment() | settings | {"PYTHONPATH": str(ROOT)}
        # Pods without a GPU: those of jobs that may be done on the CPU, and of parents.
        plain = with_defaults(small_template(), env=of_pods, gpus=0)
        server.create_pool(PLAIN_POOL, plain)
        server.deploy(
            "transcribe-job", "cpu", "cluster_job.py:transcribe_job", TESTS, PLAIN_POOL, tags=["transcribe-job"]
        )
        server.deploy("archive-run", "monthly", "cluster_flows.py:archive_run", TESTS, PLAIN_POOL, tags=["archive-run"])
        # One observer for both workers, as in k8s/base.
        stack.start_worker(PLAIN_POOL, OF_WORKERS | {"PREFECT_INTEGRATIONS_KUBERNETES_OBSERVER_ENABLED": "false"})
        with pytest.MonkeyPatch.context() as patch:
            for name, value in s3_server.environment().items():
                patch.setenv(name, value)
            fill(open_storage(archive))
            yield Place(stack, s3_server, archive, bundles, signs, environment)


@pytest.fixture(autouse=True)
def _nothing_left(place: Place) -> Iterator[None]:
    """No test leaves a sign or a fault."""
    for sign in place.signs.iterdir():
        sign.unlink()
    yield
    place.sign("go").touch()
    place.stack.cluster.faults.clear()
    for node in NODES:
        place.stack.cluster.set_gpus(node, 1)


@pytest.fixture(scope="module")
def expected(place: Place) -> Content:
    """The rows of an undisturbed run, some jobs on two nodes."""
    month = place.month("undisturbed")
    month.finish(month.start(SMALL_JOBS))
    rows = content(month.month.storage)
    assert sorted(CALLS) == sorted(rows)
    month.check(rows)
    runs = month.tries()
    assert 3 <= len(runs) <= len(CALLS)
    assert len({run["parameters"]["job"] for run in runs}) == len(runs)
    assert {"Completed"} == {run["state_name"] for run in runs}
    assert set(NODES) == {
        pod["spec"]["nodeName"] for run in runs for pod in place.stack.cluster.pods(place.stack.of_run(run["id"]))
    }
    assert {("a stand-in of a GPU", "float16")} == {(call["device"], call["compute_type"]) for call, _ in rows.values()}
    return rows


@pytest.fixture
def month(place: Place, request: pytest.FixtureRequest) -> ClusterMonth:
    """A month of its own for each test."""
    return place.month(re.sub(r"\W+", "-", request.node.name))


def _disturbed(month: ClusterMonth, disturb: Callable[[Object], None], **settings: str) -> None:
    """Run the month in one job, which stops at its third call; do something to its pod, and let the run end."""
    month.place.sign("stops").touch()
    parent = month.start(**settings)
    disturb(month.stopped())
    month.place.sign("go").touch()
    month.finish(parent)


def test_creations_that_fail(place: Place, month: ClusterMonth, expected: Content) -> None:
    """The worker tries three times, the run of the job crashes, and the next try makes its Job."""
    place.stack.cluster.faults.fail_creations(3)
    month.finish(month.start())
    month.check(expected, tries=2)


@pytest.mark.parametrize("reason", ["OOMKilled", "Error"])
def test_a_pod_that_is_killed(place: Place, month: ClusterMonth, expected: Content, reason: str) -> None:
    """The next try goes on from the checkpoint."""
    _disturbed(month, lambda pod: place.stack.cluster.kill_pod(pod, reason))
    month.check(expected, tries=2)
    assert "Crashed" == month.tries()[0]["state_name"]


def test_an_eviction(place: Place, month: ClusterMonth, expected: Content) -> None:
    """The Job makes another pod, in which the same flow run goes on; nothing is counted."""

    def evict(pod: Object) -> None:
        place.stack.cluster.evict(pod)
        uid = pod["metadata"]["uid"]
        selector = place.stack.of_run(month.tries()[0]["id"])
        place.stack.cluster.until(
            lambda: [one for one in place.stack.cluster.pods(selector) if one["metadata"]["uid"] != uid], "another pod"
        )

    _disturbed(month, evict)
    month.check(expected, tries=1)
    attempts = [info.key for info in month.month.storage.list("_runs/") if "/attempts/" in info.key]
    assert 2 == len(attempts)
    assert json.loads(month.month.storage.get(min(attempts)).data)["orderly"]


def test_a_node_without_its_gpu(place: Place, month: ClusterMonth, expected: Content) -> None:
    """The gate refuses there, with a state of its own; after two times the node is left out, and no call fails."""
    place.stack.cluster.faults.break_gpu("gpu-a")
    place.stack.cluster.set_gpus("gpu-b", 0)  # so that the first tries go there
    parent = month.start(RUN__SLOTS="1")
    place.stack.cluster.until(lambda: len(_refused(month)) >= 2, "two refusals")
    place.stack.cluster.set_gpus("gpu-b", 1)
    month.finish(parent)
    month.check(expected)
    assert ["WrongDevice", "WrongDevice", "Completed"] == [run["state_name"] for run in month.tries()]
    assert [{"excluded_nodes": ["gpu-a"]}] == [run["job_variables"] for run in month.tries()[2:]]
    assert "node gpu-a has refused twice" in month.said


def _refused(month: ClusterMonth) -> list[str]:
    return [run["state_name"] for run in month.tries() if run["state_name"] == "WrongDevice"]


def test_no_node_with_a_gpu(place: Place, month: ClusterMonth, expected: Content) -> None:
    """Five refusals stop the run with exit code 6 and a sentence; mended and started again, it goes on."""
    for node in NODES:
        place.stack.cluster.faults.break_gpu(node)
    month.finish(month.start(TWO_JOBS, RUN__GPU_PATIENCE_S="5"), 6)
    (run_id,) = {link.subject for link in read_chain(month.month.storage)}
    assert 5 <= len(refusals(month.month.storage, run_id))
    assert "torch" in month.said
    assert 0 == len(month.month.data.read_calls(MONTH))
    for node in NODES:
        place.stack.cluster.faults.mend_gpu(node)
    month.finish(month.start(TWO_JOBS))
    month.check(expected)


def test_a_try_that_somebody_cancels(place: Place, month: ClusterMonth, expected: Content) -> None:
    """It is not tried again behind their back: the run says that calls are missing, and the next start does them."""
    place.sign("stops").touch()
    parent = month.start()
    month.stopped()
    place.stack.server.cancel(month.tries()[0]["id"])
    place.sign("go").touch()
    month.finish(parent, 7)
    assert "left for the next start" in month.said
    month.finish(month.start())
    month.check(expected)


def test_a_run_that_somebody_cancels_by_ctrl_c(place: Place, month: ClusterMonth, expected: Content) -> None:
    """Its jobs go on, and the next start waits for them."""
    place.sign("stops").touch()
    parent = month.start()
    month.stopped()
    parent.send_signal(signal.SIGINT)
    month.finish(parent, 130)
    again = month.start()
    place.sign("go").touch()
    month.finish(again)
    month.check(expected, tries=1)


def test_a_run_that_is_killed(place: Place, month: ClusterMonth, expected: Content) -> None:
    """The same, when nobody has said good-bye."""
    place.sign("stops").touch()
    parent = month.start()
    month.stopped()
    parent.kill()
    month.finish(parent, -9)
    again = month.start()
    place.sign("go").touch()
    month.finish(again)
    month.check(expected, tries=1)


def test_a_worker_that_dies_while_it_creates(place: Place, month: ClusterMonth, expected: Content) -> None:
    """The flow run would be pending for ever: the reconciler sees it, says so, and mends it."""
    stack = place.stack
    stack.cluster.faults.hold_creations()
    parent = month.start()
    stack.cluster.until(lambda: stack.cluster.faults.held_creations() == 1, "a held creation")
    stack.stop_worker(POOL, kill=True)
    stack.cluster.until(lambda: stack.cluster.faults.held_creations() == 0, "the end of the request")
    stack.cluster.faults.clear()
    stack.start_worker(POOL, OF_WORKERS)
    assert ["dry run"] == [line.rpartition(": ")[2] for line in _until_found(month, "--dry-run")]
    assert ["is Crashed now"] == [line[-len("is Crashed now") :] for line in _until_found(month)]
    month.finish(parent)
    month.check(expected, tries=2)


def _until_found(month: ClusterMonth, *arguments: str) -> Sequence[str]:
    """Reconcile until something is old enough to be found."""
    while not (found := month.reconcile(*arguments)):
        time.sleep(0.5)
    return found


def test_a_job_that_vanishes_while_the_worker_is_dead(place: Place, month: ClusterMonth, expected: Content) -> None:
    """The flow run would be running for ever."""
    stack = place.stack

    def vanish(_: Object) -> None:
        stack.stop_worker(POOL, kill=True)
        stack.cluster.vanish(month.job_object())
        stack.start_worker(POOL, OF_WORKERS)
        assert 1 == len(_until_found(month))

    _disturbed(month, vanish)
    month.check(expected, tries=2)


def test_a_job_that_is_removed(place: Place, month: ClusterMonth, expected: Content) -> None:
    """By its time to live, or by somebody: its pod is told to end, and the job goes on in another one."""

    def expire(_: Object) -> None:
        place.stack.cluster.expire(month.job_object())
        place.stack.cluster.until(
            lambda: not place.stack.cluster.jobs(place.stack.of_run(month.tries()[0]["id"])), "the end of the Job"
        )
        month.reconcile()

    _disturbed(month, expire)
    month.check(expected)


def test_an_api_server_that_is_away(place: Place, month: ClusterMonth, expected: Content) -> None:
    """For a minute, in which the pod is killed."""

    def away(pod: Object) -> None:
        with place.stack.cluster.away():
            place.stack.cluster.kill_pod(pod)
            time.sleep(60)  # its length is the point

    _disturbed(month, away)
    month.check(expected, tries=2)


def test_no_gpu_for_a_while(place: Place, month: ClusterMonth, expected: Content) -> None:
    """The run says so, waits, and goes on."""
    for node in NODES:
        place.stack.cluster.set_gpus(node, 0)
    parent = month.start(RUN__GPU_PATIENCE_S="3")
    place.stack.cluster.until(lambda: "nothing has come from workers" in month.said, "a note")
    for node in NODES:
        place.stack.cluster.set_gpus(node, 1)
    month.finish(parent)
    month.check(expected, tries=1)


def test_no_gpu_and_leave_for_the_cpu(place: Place, month: ClusterMonth, expected: Content) -> None:
    """What nobody takes up is done on the CPU, its rows say so, and the certificate how many those are."""
    for node in NODES:
        place.stack.cluster.set_gpus(node, 0)
    month.finish(month.start(RUN__GPU_PATIENCE_S="3", RUN__WITHOUT_GPU="cpu"))
    rows = month.month.data.read_calls(MONTH)
    assert sorted(expected) == sorted(row["call_id"] for row in rows)
    done = [row for row in rows if row["outcome"] != "failed"]
    assert {("cpu", "int8", "a stand-in")} == {(row["instead"], row["compute_type"], row["device"]) for row in done}
    (link,) = read_chain(month.month.storage)
    assert {"cpu": len(done)} == link.content["result"]["instead"]
    assert [] == place.stack.server.taking_slots(POOL)
    assert ["Cancelled"] == [run["state_name"] for run in month.tries()]
    month.reconcile()  # a Job whose pod never found a node may still be there
    assert [] == month.reconcile()


def test_a_parent_that_is_killed_in_its_pod(place: Place, month: ClusterMonth, expected: Content) -> None:
    """The observer says that it has crashed, the reconciler submits it again, and it waits for the job under way."""
    server, stack = place.stack.server, place.stack
    place.sign("stops").touch()
    deployment = server.call("GET", "deployments/name/archive-run/monthly")["id"]
    run = server.start_run(deployment, parameters={"month": MONTH, "transcripts": month.month.transcripts})
    month.stopped()
    stack.cluster.kill_pod(stack.cluster.pod(stack.of_run(run)))
    stack.await_state(run, "Crashed")
    arguments = ("--transcripts", month.month.transcripts)
    (found,) = month.reconcile(*arguments)
    assert re.search(rf"restart .* over {MONTH} .*submitted again as", found), found
    assert [] == [line for line in month.reconcile(*arguments) if "submitted again" in line]
    place.sign("go").touch()
    (again,) = [one["id"] for one in server.runs(pool=PLAIN_POOL) if one["idempotency_key"] == f"after-{run}"]
    assert "Completed" == stack.await_state(again)
    month.check(expected, tries=1)


def test_what_is_of_others_is_left_alone(place: Place, month: ClusterMonth) -> None:
    """A flow run without a Job in another work pool of the same server; and in ours, where the cluster is empty."""
    server = place.stack.server
    server.create_pool("somebody-elses", small_template())
    theirs = server.start_run(server.deploy("greet", "theirs", "pod_flows.py:greet", TESTS, "somebody-elses"))
    for state in ("PENDING", "RUNNING"):
        server.call("POST", f"flow_runs/{theirs}/set_state", {"state": {"type": state}, "force": True})
    time.sleep(2)  # older than the grace
    assert [] == month.reconcile()
    assert ("RUNNING", "Running") == server.state(theirs)
    server.call("POST", f"flow_runs/{theirs}/set_state", {"state": {"type": "CANCELLED"}, "force": True})


def test_a_pod_that_is_deleted(place: Place, month: ClusterMonth, expected: Content) -> None:
    """By an operator: the next try goes on."""
    _disturbed(month, place.stack.cluster.delete_pod)
    month.check(expected)
