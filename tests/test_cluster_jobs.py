"""The fake cluster's Jobs and pods behave as Kubernetes' do, as far as we rely on it."""

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from cluster.cluster import Cluster
from cluster.job_controller import failure_action
from cluster.manifests import JOBS, client, container_state, ended_job, shell_pod, start_job
from cluster.nodes import Node
from cluster.objects import Object

# A child in a session of its own, as Prefect's engine is: a signal to the process group does not reach it.
WITH_A_CHILD = "setsid sleep 600 & wait"
STUBBORN = 'trap "" TERM; echo ready; while :; do sleep 0.1; done'
POLITE = 'trap "echo goodbye; exit 143" TERM; echo ready; while :; do sleep 0.1; done'
DISRUPTION = {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]}
FATAL_42 = {"action": "FailJob", "onExitCodes": {"operator": "In", "values": [42]}}

ELSEWHERE = {"action": "Ignore", "onExitCodes": {"containerName": "other", "operator": "In", "values": [1]}}


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    """A cluster of two machines with a GPU each."""
    with Cluster(tmp_path, [Node("gpu-a", gpus=1), Node("gpu-b", gpus=1)], backoff_s=0.01) as cluster:
        yield cluster


def ready(cluster: Cluster, job_name: str = "work") -> Object:
    """The running pod of a Job, after it has said `ready`."""
    pod = cluster.pod(f"job-name={job_name}")
    cluster.until(lambda: "ready" in cluster.log(pod), "word from the pod")
    return pod


@pytest.mark.parametrize(
    ("script", "options", "ended", "counts"),
    [
        ("exit 0", {}, "Complete CompletionsReached", (1, 0)),
        ("exit 42", {}, "Failed BackoffLimitExceeded", (0, 1)),
        ("exit 1", {"backoffLimit": 2}, "Failed BackoffLimitExceeded", (0, 3)),
        ("sleep 600", {"activeDeadlineSeconds": 1}, "Failed DeadlineExceeded", (0, 1)),
        ("exit 42", {"backoffLimit": 9, "podFailurePolicy": {"rules": [FATAL_42]}}, "Failed PodFailurePolicy", (0, 1)),
        ("exit 7", {"podFailurePolicy": {"rules": [FATAL_42]}}, "Failed BackoffLimitExceeded", (0, 1)),
    ],
)
def test_a_job_ends(
    cluster: Cluster, script: str, options: dict[str, object], ended: str, counts: tuple[int, int]
) -> None:
    """A Job completes with its pod, or fails with as many pods as its limits allow."""
    start_job(cluster, shell_pod(script), **options)
    status = ended_job(cluster)
    assert ended == status["ended"]
    assert counts == (status.get("succeeded", 0), status.get("failed", 0))
    assert sum(counts) == len(cluster.pods("job-name=work")) + (ended == "Failed DeadlineExceeded")


@pytest.mark.parametrize(
    ("rules", "code", "disrupted", "action"),
    [
        ([], 1, False, "Count"),
        ([DISRUPTION], 1, False, "Count"),
        ([DISRUPTION], 143, True, "Ignore"),
        ([FATAL_42, DISRUPTION], 42, True, "FailJob"),
        ([{"action": "Ignore", "onExitCodes": {"operator": "NotIn", "values": [1]}}], 2, False, "Ignore"),
        ([{"action": "Ignore", "onExitCodes": {"operator": "NotIn", "values": [1]}}], 1, False, "Count"),
        ([ELSEWHERE], 1, False, "Count"),
    ],
)
def test_failure_policy(rules: list[Object], code: int, disrupted: bool, action: str) -> None:
    """The first rule that fits decides."""
    status: Object = {"containerStatuses": [{"name": "main", "state": {"terminated": {"exitCode": code}}}]}
    if disrupted:
        status["conditions"] = [{"type": "DisruptionTarget", "status": "True"}]
    given = {"spec": {"podFailurePolicy": {"rules": rules}}}
    assert action == failure_action(given, {"status": status})


@pytest.mark.parametrize("reason", ["Error", "OOMKilled"])
def test_a_killed_pod(cluster: Cluster, reason: str) -> None:
    """All processes of a killed pod are gone, also those in other sessions; the code is 137."""
    start_job(cluster, shell_pod(WITH_A_CHILD))
    pod = cluster.pod()
    cluster.until(lambda: len(cluster.processes(pod)) == 2, "child of the pod")
    cluster.kill_pod(pod, reason)
    assert ended_job(cluster)["ended"] == "Failed BackoffLimitExceeded"
    (dead,) = cluster.pods()
    assert {} == cluster.processes(pod)
    assert (137, reason) == tuple(container_state(dead)["terminated"][name] for name in ("exitCode", "reason"))


def test_the_end_of_the_first_process_ends_all(cluster: Cluster) -> None:
    """What a pod's first process leaves behind does not outlive it."""
    start_job(cluster, shell_pod("setsid sleep 600 & exit 0"))
    ended_job(cluster)
    assert {} == cluster.processes(cluster.pods()[0])


def test_an_evicted_pod_is_replaced(cluster: Cluster) -> None:
    """An eviction is a SIGTERM to the first process; a failure policy that ignores disruptions brings a new pod."""
    start_job(cluster, shell_pod(POLITE), podFailurePolicy={"rules": [DISRUPTION]})
    pod = ready(cluster)
    cluster.evict(pod)
    new = cluster.until(lambda: [one for one in cluster.pods() if one["metadata"]["uid"] != pod["metadata"]["uid"]])[0]
    assert "goodbye" in cluster.log(pod)
    assert pod["metadata"]["name"] not in {one["metadata"]["name"] for one in cluster.pods()}
    cluster.pod(f"job-name={new['metadata']['labels']['job-name']}")
    assert cluster.jobs()[0]["status"].get("failed", 0) == 0


def test_a_pod_that_does_not_go_is_killed_after_its_grace_time(cluster: Cluster) -> None:
    """Without a failure policy, an eviction counts as a failure; SIGKILL follows SIGTERM."""
    start_job(cluster, shell_pod(STUBBORN, terminationGracePeriodSeconds=1))
    cluster.evict(ready(cluster))
    assert ended_job(cluster)["failed"] == 1


def test_eviction_under_pressure_leaves_a_failed_pod(cluster: Cluster) -> None:
    """A node that is short of something kills the pod and says so in its status."""
    start_job(cluster, shell_pod(STUBBORN))
    cluster.evict(ready(cluster), pressure=True)
    ended_job(cluster)
    (pod,) = cluster.pods()
    assert ("Failed", "Evicted") == (pod["status"]["phase"], pod["status"]["reason"])
    assert container_state(pod)["terminated"]["exitCode"] == 128 + signal.SIGKILL


@pytest.mark.parametrize(
    ("probes", "script"),
    [
        ({"livenessProbe": {"exec": {"command": ["test", "-e", "/scratch/beat"]}}}, "touch beat; sleep 1; rm beat; "),
        ({"startupProbe": {"exec": {"command": ["test", "-e", "/scratch/never"]}}}, ""),
        (
            {
                "startupProbe": {"exec": {"command": ["test", "-e", "/scratch/beat"]}, "failureThreshold": 1000},
                "livenessProbe": {"exec": {"command": ["sh", "-c", "sleep 600"]}},
            },
            "touch beat; ",
        ),
    ],
)
def test_a_failing_probe_ends_the_pod(cluster: Cluster, probes: dict[str, Object], script: str) -> None:
    """Liveness that fails, a start that never comes, and a probe that hangs: the container is stopped."""
    hasty = {
        name: {"periodSeconds": 1, "timeoutSeconds": 1, "failureThreshold": 2} | probe for name, probe in probes.items()
    }
    container = {**hasty, "volumeMounts": [{"name": "scratch", "mountPath": "/scratch"}], "workingDir": "/scratch"}
    spec = shell_pod(script + POLITE, container=container, volumes=[{"name": "scratch", "emptyDir": {}}])
    start_job(cluster, spec)
    assert ended_job(cluster)["failed"] == 1
    (pod,) = cluster.pods()
    assert 143 == container_state(pod)["terminated"]["exitCode"]
    assert "probe" in container_state(pod)["terminated"]["message"]


def test_time_to_live(cluster: Cluster) -> None:
    """An ended Job and its pods go after their time to live."""
    start_job(cluster, shell_pod("exit 0"), ttlSecondsAfterFinished=0)
    cluster.until(lambda: not cluster.jobs() and not cluster.pods(), "deletion of Job and pods")


def test_suspended_jobs(cluster: Cluster) -> None:
    """A suspended Job has no pod; suspending a running one ends its pod without counting it as living."""
    start_job(cluster, shell_pod(POLITE), suspend=True)
    cluster.until(lambda: cluster.jobs()[0]["status"].get("conditions"))
    assert [] == cluster.pods()
    patch = {"headers": {"Content-Type": "application/merge-patch+json"}}
    with client(cluster) as api:
        assert api.patch(f"{JOBS}/work", json={"spec": {"suspend": False}}, **patch).is_success
        ready(cluster)
        assert api.patch(f"{JOBS}/work", json={"spec": {"suspend": True}}, **patch).is_success
        cluster.until(lambda: not cluster.pods(), "end of the pod")


@pytest.mark.parametrize(
    ("propagation", "job_waits", "pod_goes"),
    [("Foreground", True, True), ("Background", False, True), (None, False, False)],
)
def test_deleting_a_job(cluster: Cluster, propagation: str | None, job_waits: bool, pod_goes: bool) -> None:
    """In the foreground the Job waits for its pods; without a word its pods stay, as batch/v1 has it."""
    start_job(cluster, shell_pod(STUBBORN, terminationGracePeriodSeconds=600))
    pod = ready(cluster)
    with client(cluster) as api:
        assert api.delete(f"{JOBS}/work", params={"propagationPolicy": propagation} if propagation else None).is_success
    assert job_waits == bool(cluster.jobs())
    if pod_goes:
        assert cluster.pods()
        cluster.kill_pod(pod)
        cluster.until(lambda: not cluster.pods(), "end of the pod")
        cluster.until(lambda: not cluster.jobs(), "end of the Job")
        assert {} == cluster.processes(pod)
    else:
        assert cluster.processes(pod)
        assert "ownerReferences" not in cluster.pods()[0]["metadata"]


def test_vanished_without_a_trace(cluster: Cluster) -> None:
    """A Job can be gone with its pods from one moment to the next."""
    start_job(cluster, shell_pod(STUBBORN))
    pod = ready(cluster)
    cluster.vanish(cluster.jobs()[0])
    assert ([], []) == (cluster.jobs(), cluster.pods())
    cluster.until(lambda: not cluster.processes(pod), "end of the processes")


def test_a_program_that_is_not_there(cluster: Cluster) -> None:
    """The container cannot run: code 128, StartError."""
    start_job(cluster, shell_pod("", container={"command": ["no-such-program"], "args": []}))
    ended_job(cluster)
    state = container_state(cluster.pods()[0])["terminated"]
    assert (128, "StartError") == (state["exitCode"], state["reason"])


def test_gpus_are_waited_for(cluster: Cluster) -> None:
    """A third pod waits for a GPU, says why, and gets that of the first one that ends."""
    for number in (1, 2, 3):
        start_job(cluster, shell_pod(POLITE, gpus=1), f"work-{number}")
        if number < 3:
            ready(cluster, f"work-{number}")
    waiting = cluster.until(
        lambda: [pod for pod in cluster.pods("job-name=work-3") if pod["status"].get("conditions")], "a waiting pod"
    )[0]
    shown = waiting["status"]["conditions"][0]
    assert ("PodScheduled", "False", "Unschedulable") == (shown["type"], shown["status"], shown["reason"])
    assert shown["message"].startswith("0/2 nodes are available: 2 Insufficient nvidia.com/gpu. preemption: 0/2")
    first = cluster.pods("job-name=work-1")[0]
    cluster.kill_pod(first)
    assert first["spec"]["nodeName"] == ready(cluster, "work-3")["spec"]["nodeName"]


def _excluded(*names: str) -> Object:
    expression = {"key": "kubernetes.io/hostname", "operator": "NotIn", "values": ["none", *names]}
    terms = {"nodeSelectorTerms": [{"matchExpressions": [expression]}]}
    return {"affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": terms}}}


@pytest.mark.parametrize(
    ("spec", "node"),
    [
        ({}, "gpu-a"),
        (_excluded("gpu-a"), "gpu-b"),
        ({"nodeSelector": {"kubernetes.io/hostname": "gpu-b"}}, "gpu-b"),
        (_excluded("gpu-a", "gpu-b"), None),
        ({"nodeSelector": {"pool": "other"}}, None),
    ],
)
def test_where_a_pod_goes(cluster: Cluster, spec: Object, node: str | None) -> None:
    """Node affinity and node selectors are honoured."""
    start_job(cluster, shell_pod("exit 0", **spec))
    if node is not None:
        ended_job(cluster)
        assert node == cluster.pods()[0]["spec"]["nodeName"]
    else:
        pod = cluster.until(lambda: [one for one in cluster.pods() if one["status"].get("conditions")])[0]
        assert "2 node(s) didn't match Pod's node affinity/selector" in pod["status"]["conditions"][0]["message"]


def test_taints_and_cordons(tmp_path: Path) -> None:
    """A taint keeps pods away that do not tolerate it, a cordon all."""
    taint = {"key": "nvidia.com/gpu", "value": "present", "effect": "NoSchedule"}
    tolerant = {"tolerations": [{"key": "nvidia.com/gpu", "operator": "Exists"}]}
    with Cluster(tmp_path, [Node("tainted", taints=(taint,)), Node("zone-b")]) as cluster:
        start_job(cluster, shell_pod("exit 0", **tolerant), "tolerant")
        start_job(cluster, shell_pod("exit 0"), "plain")
        assert "Complete" in ended_job(cluster, "tolerant")["ended"]
        assert "Complete" in ended_job(cluster, "plain")["ended"]
        places = {pod["metadata"]["labels"]["job-name"]: pod["spec"]["nodeName"] for pod in cluster.pods()}
        assert {"tolerant": "tainted", "plain": "zone-b"} == places
        cluster.cordon("zone-b")
        start_job(cluster, shell_pod("exit 0"), "late")
        cluster.pod("job-name=late", "Pending")
        cluster.cordon("zone-b", unschedulable=False)
        assert "Complete" in ended_job(cluster, "late")["ended"]
