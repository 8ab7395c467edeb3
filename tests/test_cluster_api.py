"""The fake cluster's API answers as Kubernetes' does: lists, watches, patches, refusals, secrets, logs, absences."""

import base64
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from cluster import watching
from cluster.cluster import NAMESPACE, Cluster
from cluster.containers import replace_paths
from cluster.manifests import JOBS, PODS, client, container_state, ended_job, job, shell_pod, start_job
from cluster.nodes import Node
from cluster.objects import Object, merged
from cluster.selectors import matches_fields, matches_labels

SECRETS = f"/api/v1/namespaces/{NAMESPACE}/secrets"
MERGE = {"Content-Type": "application/merge-patch+json"}
LABELS = {"app": "callscribe", "tier": "job"}
WAITS = 'trap "exit 143" TERM; echo ready; while :; do sleep 0.1; done'


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    """A cluster of one machine with a model volume and a GPU that brings a variable."""
    models = tmp_path / "models"
    models.mkdir()
    (models / "weights").write_text("heavy")
    node = Node("gpu-a", gpus=1, gpu_environment={"DEVICE": "real"})
    with Cluster(tmp_path / "cluster", [node], volumes={"models": models, "/srv/models": models}) as cluster:
        yield cluster


@pytest.fixture
def api(cluster: Cluster) -> Iterator[httpx.Client]:
    """A client for the cluster."""
    with client(cluster) as api:
        yield api


@pytest.mark.parametrize(
    ("selector", "matches"),
    [
        (None, True),
        ("", True),
        ("app", True),
        ("!app", False),
        ("app=callscribe", True),
        ("app==other", False),
        ("app!=other,tier=job", True),
        ("missing!=x", True),
        ("tier in (job, worker)", True),
        ("tier notin (job),app", False),
        ("missing notin (x)", True),
    ],
)
def test_label_selectors(selector: str | None, matches: bool) -> None:
    """Every kind of requirement, alone and with others."""
    assert matches == matches_labels(selector, LABELS)


def test_field_selectors() -> None:
    """Fields are compared as text; one that is not there is empty."""
    item: Object = {"metadata": {"name": "a"}, "spec": {"nodeName": "gpu-a"}}
    assert matches_fields("spec.nodeName=gpu-a,status.phase!=Failed", item)
    assert not matches_fields("metadata.name=b", item)


def test_merge_patch() -> None:
    """Objects are merged, null removes, lists are replaced."""
    assert {"a": {"b": 1, "d": [2]}} == merged({"a": {"b": 1, "c": 1, "d": [1]}}, {"a": {"c": None, "d": [2]}})


@pytest.mark.parametrize(
    ("text", "replaced"),
    [
        ("/scratch", "/place"),
        ("--out=/scratch/a:/scratch/b", "--out=/place/a:/place/b"),
        ("file:///scratch/x", "file:///place/x"),
        ("s3://scratch/x", "s3://scratch/x"),
        ("/home/scratch", "/home/scratch"),
        ("/scratch-2 /scratches ./scratch", "/scratch-2 /scratches ./scratch"),
        ("/scratch/cache/x", "/elsewhere/x"),
    ],
)
def test_paths_of_a_container(text: str, replaced: str) -> None:
    """A mount path is replaced where it begins a path, the longest one first."""
    assert replaced == replace_paths(text, {"/scratch": Path("/place"), "/scratch/cache": Path("/elsewhere")})


REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"
EMPTY = {"key": "a", "operator": "NotIn", "values": []}


@pytest.mark.parametrize(
    ("change", "status", "message"),
    [
        ({"containers": []}, 422, "spec.containers"),
        ({"restartPolicy": "Sometimes"}, 501, "restarts"),
        ({"initContainers": [{"name": "a"}]}, 501, "more than one container"),
        ({"volumes": [{"name": "x", "nfs": {}}]}, 501, "nfs"),
        (
            {"affinity": {"nodeAffinity": {REQUIRED: {"nodeSelectorTerms": [{"matchExpressions": [EMPTY]}]}}}},
            422,
            "must be specified when `operator` is NotIn",
        ),
    ],
)  # fmt: skip
def test_refused_pods(api: httpx.Client, change: Object, status: int, message: str) -> None:
    """What Kubernetes refuses, and what the fake does not know, is an error and not a run."""
    response = api.post(JOBS, json=job({**shell_pod("exit 0"), **change}))
    assert (status, True) == (response.status_code, message in response.json()["message"])


@pytest.mark.parametrize(
    ("container", "status", "message"),
    [
        ({"env": [{"name": "A", "value": 1}]}, 400, "cannot unmarshal"),
        ({"resources": {"limits": {"nvidia.com/gpu": 1}, "requests": {"nvidia.com/gpu": 2}}}, 422, "must be equal"),
        ({"volumeMounts": [{"name": "nothing", "mountPath": "/x"}]}, 422, "Not found"),
        ({"livenessProbe": {"httpGet": {"port": 80}}}, 501, "not exec"),
    ],
)
def test_refused_containers(api: httpx.Client, container: Object, status: int, message: str) -> None:
    """The same for containers."""
    response = api.post(JOBS, json=job(shell_pod("exit 0", container=container)))
    assert (status, True) == (response.status_code, message in response.json()["message"])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"backoffLimit": "3"}, "backoffLimit"),
        ({"podFailurePolicy": {"rules": [{"action": "Retry"}]}}, "action"),
        ({"podFailurePolicy": {"rules": [{"action": "Ignore"}]}}, "OnExitCodes"),
        (
            {"podFailurePolicy": {"rules": [{"action": "Ignore", "onExitCodes": {"operator": "In", "values": [0]}}]}},
            "must not be 0",
        ),
        (
            {
                "podFailurePolicy": {
                    "rules": [{"action": "Count", "onExitCodes": {"containerName": "x", "values": [1]}}]
                }
            },
            "containerName",
        ),
    ],
)
def test_refused_jobs(api: httpx.Client, options: Object, message: str) -> None:
    """The same for Jobs."""
    response = api.post(JOBS, json=job(shell_pod("exit 0"), **options))
    assert (422, True) == (response.status_code, message in response.json()["message"])


def test_names_and_labels(api: httpx.Client) -> None:
    """A label must be a label; a name is taken once; a namespace must be there; null is the same as absent."""
    spec = {**shell_pod("exit 0"), "tolerations": None}
    assert api.post(JOBS, json=job(spec, labels={"run": "with space"})).status_code == 422
    assert api.post(JOBS, json=job(spec)).status_code == 201
    assert api.post(JOBS, json=job(spec)).status_code == 409
    assert api.post(JOBS.replace(NAMESPACE, "nowhere"), json=job(spec)).status_code == 404
    assert api.get(f"{JOBS}/nothing").json()["reason"] == "NotFound"
    assert api.get("/apis/batch/v1/namespaces/callscribe/cronjobs").status_code == 404


def test_environment(cluster: Cluster, api: httpx.Client) -> None:
    """Variables from the manifest, the downward API, config maps, secrets and the GPU; those given by name win."""
    cluster.create("configmaps", {"metadata": {"name": "settings"}, "data": {"A": "map", "B": "map"}})
    assert api.post(SECRETS, json={"metadata": {"name": "keys"}, "stringData": {"KEY": "s3cret"}}).is_success
    container = {
        "envFrom": [
            {"configMapRef": {"name": "settings"}},
            {"secretRef": {"name": "keys"}, "prefix": "S_"},
            {"secretRef": {"name": "none", "optional": True}},
        ],
        "env": [
            {"name": "B", "value": "own"},
            {"name": "C", "value": "$(B)/$(UNKNOWN)/$$(B)"},
            {"name": "NODE", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}},
            {"name": "POD", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
            {"name": "JOB", "valueFrom": {"fieldRef": {"fieldPath": "metadata.labels['job-name']"}}},
            {"name": "PLAIN", "valueFrom": {"secretKeyRef": {"name": "keys", "key": "KEY"}}},
            {"name": "DEVICE", "value": "wanted"},
        ],
    }
    names = ("A", "B", "C", "S_KEY", "NODE", "JOB", "PLAIN", "DEVICE", "POD")
    script = "; ".join(f'echo "{name}=${name}"' for name in names)
    start_job(cluster, shell_pod(script, gpus=1, container=container))
    ended_job(cluster)
    (pod,) = cluster.pods()
    shown = dict(line.split("=", 1) for line in cluster.log(pod).splitlines())
    assert shown.pop("POD") == pod["metadata"]["name"]
    expected = {"A": "map", "B": "own", "C": "own/$(UNKNOWN)/$(B)", "S_KEY": "s3cret", "NODE": "gpu-a", "JOB": "work"}
    assert expected | {"PLAIN": "s3cret", "DEVICE": "real"} == shown


def test_a_broken_gpu(cluster: Cluster) -> None:
    """A node whose GPU is broken gives nothing to its containers; pods without a GPU never get any of it."""
    show = 'echo "DEVICE=$DEVICE"'
    cluster.faults.break_gpu("gpu-a")
    start_job(cluster, shell_pod(show, gpus=1), "broken")
    ended_job(cluster, "broken")
    cluster.faults.mend_gpu("gpu-a")
    start_job(cluster, shell_pod(show, gpus=1), "mended")
    start_job(cluster, shell_pod(show), "without")
    for name, said in (("broken", ""), ("mended", "real"), ("without", "")):
        ended_job(cluster, name)
        assert f"DEVICE={said}\n" == cluster.log(cluster.pods(f"job-name={name}")[0])


def test_what_is_missing_is_waited_for(cluster: Cluster) -> None:
    """A pod without its config map, or its image, waits and says why; it starts when that is there."""
    container = {"envFrom": [{"configMapRef": {"name": "late"}}]}
    cluster.faults.unpullable_images()
    start_job(cluster, shell_pod("echo $WORD", container=container))

    def reason() -> str:
        statuses = cluster.pods()[0]["status"].get("containerStatuses", []) if cluster.pods() else []
        return str(statuses[0]["state"]["waiting"]["reason"]) if statuses else ""

    cluster.until(lambda: reason() == "ErrImagePull", "waiting for the image")
    cluster.faults.clear()
    cluster.until(lambda: reason() == "CreateContainerConfigError", "waiting for the config map")
    cluster.create("configmaps", {"metadata": {"name": "late"}, "data": {"WORD": "hello"}})
    ended_job(cluster)
    assert cluster.log(cluster.pods()[0]) == "hello\n"


@pytest.mark.parametrize(
    "source", [{"persistentVolumeClaim": {"claimName": "models"}}, {"hostPath": {"path": "/srv/models"}}]
)
def test_volumes(cluster: Cluster, source: Object) -> None:
    """Models are a folder of the test's, scratch is the pod's own, config maps are files; paths are the container's."""
    cluster.create("configmaps", {"metadata": {"name": "ca"}, "data": {"ca.crt": "trust"}})
    mounts = [("models", "/models"), ("scratch", "/scratch"), ("ca", "/etc/ca"), ("scratch", "/tmp")]
    container = {
        "volumeMounts": [{"name": name, "mountPath": path} for name, path in mounts],
        "workingDir": "/scratch",
        "env": [{"name": "MODELS", "value": "/models"}],
    }
    volumes = [
        {"name": "models", **source},
        {"name": "scratch", "emptyDir": {}},
        {"name": "ca", "configMap": {"name": "ca"}},
    ]
    script = 'cat $MODELS/weights /etc/ca/ca.crt; echo " note" >/scratch/note; cat note; test "$TMPDIR" -ef "$PWD"'
    start_job(cluster, shell_pod(script, container=container, volumes=volumes))
    assert "Complete" in ended_job(cluster)["ended"], cluster.logs()
    assert cluster.log(cluster.pods()[0]) == "heavytrust note\n"


def test_logs(cluster: Cluster, api: httpx.Client) -> None:
    """The end of a log; there is no earlier container."""
    start_job(cluster, shell_pod("echo one; echo two >&2; echo three"))
    ended_job(cluster)
    name = cluster.pods()[0]["metadata"]["name"]
    assert api.get(f"{PODS}/{name}/log", params={"tailLines": 2}).text == "two\nthree\n"
    assert api.get(f"{PODS}/{name}/log", params={"previous": "true"}).status_code == 400


def test_secrets(api: httpx.Client) -> None:
    """Written as text, read in base64; replaced only in the version that was read; deleted."""
    api.post(SECRETS, json={"metadata": {"name": "keys"}, "stringData": {"a": "1"}})
    secret = api.get(f"{SECRETS}/keys").json()
    assert {"a": base64.b64encode(b"1").decode()} == secret["data"]
    assert api.patch(f"{SECRETS}/keys", json={"metadata": {"labels": {"x": "y"}}}, headers=MERGE).is_success
    assert api.put(f"{SECRETS}/keys", json=secret).status_code == 409
    change = [{"op": "add", "path": "/data/b", "value": "Mg=="}]
    changed = api.patch(f"{SECRETS}/keys", json=change, headers={"Content-Type": "application/json-patch+json"})
    assert {"a": "MQ==", "b": "Mg=="} == changed.json()["data"]
    assert api.patch(f"{SECRETS}/keys", json={}, headers={"Content-Type": "text/plain"}).status_code == 415
    assert api.delete(f"{SECRETS}/keys").is_success
    assert api.get(f"{SECRETS}/keys").status_code == 404


def test_what_belongs_to_a_job_goes_with_it(cluster: Cluster, api: httpx.Client) -> None:
    """A secret that a Job owns is deleted with it; a Job of another identity is not deleted by mistake."""
    uid = start_job(cluster, shell_pod("exit 0"))["metadata"]["uid"]
    owner = {"apiVersion": "batch/v1", "kind": "Job", "name": "work", "uid": uid}
    api.post(SECRETS, json={"metadata": {"name": "env", "ownerReferences": [owner]}})
    wrong: dict[str, Any] = {"propagationPolicy": "Background", "preconditions": {"uid": "another"}}
    assert api.request("DELETE", f"{JOBS}/work", json=wrong).status_code == 409
    assert api.request("DELETE", f"{JOBS}/work", json=wrong | {"preconditions": {"uid": uid}}).is_success
    assert api.get(f"{SECRETS}/env").status_code == 404


def test_a_job_keeps_its_template(cluster: Cluster, api: httpx.Client) -> None:
    """The pod template of a Job is immutable; other things of it are not."""
    start_job(cluster, shell_pod("exit 0"))
    change: Object = {"spec": {"template": {"spec": {"nodeName": "x"}}}}
    assert api.patch(f"{JOBS}/work", json=change, headers=MERGE).status_code == 422
    assert api.patch(f"{JOBS}/work", json={"metadata": {"labels": {"a": "b"}}}, headers=MERGE).is_success


def test_dry_run(api: httpx.Client) -> None:
    """A dry run is checked and not kept."""
    assert api.post(JOBS, params={"dryRun": "All"}, json=job(shell_pod("exit 0"))).status_code == 201
    assert [] == api.get(JOBS).json()["items"]


def test_pages(api: httpx.Client) -> None:
    """A list comes in pages of the wanted length, each object once."""
    for number in range(5):
        api.post(SECRETS, json={"metadata": {"name": f"s{number}", "labels": {"odd": str(number % 2)}}})
    names, token = [], ""
    while True:
        page = api.get(SECRETS, params={"limit": 2, "continue": token, "labelSelector": "odd=0"}).json()
        names += [item["metadata"]["name"] for item in page["items"]]
        token = page["metadata"].get("continue", "")
        if not token:
            break
    assert ["s0", "s2", "s4"] == names


def _watched(api: httpx.Client, **params: object) -> list[tuple[str, str]]:
    """All events of a watch of one second: their types, and the objects' names."""
    with api.stream("GET", SECRETS, params={"watch": "true", "timeoutSeconds": "1", **params}) as response:
        events = [json.loads(line) for line in response.iter_lines()]
    return [(event["type"], event["object"]["metadata"].get("name", "")) for event in events]


def test_watches(cluster: Cluster, api: httpx.Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """A watch goes on from a version; what leaves its selection is deleted to it; history can be forgotten."""
    begin = api.get(SECRETS).json()["metadata"]["resourceVersion"]
    for name, labels in (("a", {"app": "this"}), ("b", {"app": "other"})):
        api.post(SECRETS, json={"metadata": {"name": name, "labels": labels}})
    api.patch(f"{SECRETS}/a", json={"metadata": {"labels": {"app": "other"}}}, headers=MERGE)
    api.delete(f"{SECRETS}/b")
    everything = [("ADDED", "a"), ("ADDED", "b"), ("MODIFIED", "a"), ("DELETED", "b")]
    assert everything == _watched(api, resourceVersion=begin)
    assert [("ADDED", "a"), ("DELETED", "a")] == _watched(api, resourceVersion=begin, labelSelector="app=this")
    assert [("ADDED", "a")] == _watched(api)
    cluster.forget_changes()
    assert [("ERROR", "")] == _watched(api, resourceVersion=begin)
    monkeypatch.setattr(watching, "_BOOKMARK_EVERY_S", 0.1)
    now = api.get(SECRETS).json()["metadata"]["resourceVersion"]
    assert ("BOOKMARK", "") in _watched(api, resourceVersion=now, allowWatchBookmarks="true")


def test_failing_creations(cluster: Cluster, api: httpx.Client) -> None:
    """So many creations fail, and the next one does not."""
    cluster.faults.fail_creations(2, status=503)
    statuses = [api.post(JOBS, json=job(shell_pod("exit 0"))).status_code for _ in range(3)]
    assert [503, 503, 201] == statuses


@pytest.mark.parametrize(("when", "jobs"), [("before", 0), ("after", 1)])
def test_held_creations(cluster: Cluster, when: str, jobs: int) -> None:
    """A client that goes away while it waits has made a Job, or has not."""
    cluster.faults.hold_creations(when)

    def give_up() -> None:
        with client(cluster) as api, pytest.raises(httpx.ReadTimeout):
            api.post(JOBS, json=job(shell_pod("exit 0")), timeout=httpx.Timeout(60.0, read=1.0))

    thread = threading.Thread(target=give_up)
    thread.start()
    cluster.until(lambda: cluster.faults.held_creations() == 1, "a held creation")
    thread.join()
    cluster.until(lambda: cluster.faults.held_creations() == 0, "the end of the request")
    cluster.faults.clear()
    assert jobs == len(cluster.jobs())


def test_api_server_away(cluster: Cluster) -> None:
    """Connections break and are refused; pods end meanwhile, which is seen when it is back."""
    start_job(cluster, shell_pod(WAITS))
    pod = cluster.until(lambda: next((pod for pod in cluster.pods() if "ready" in cluster.log(pod)), None))
    with client(cluster) as api:
        with api.stream("GET", JOBS, params={"watch": "true"}) as response, cluster.away():
            with pytest.raises(httpx.TransportError):
                list(response.iter_lines())
            with pytest.raises(httpx.ConnectError):
                api.get(JOBS)
            cluster.kill_pod(pod)
            cluster.until(lambda: not cluster.processes(pod))
            assert "Running" == cluster.pods()[0]["status"]["phase"]
        assert ended_job(cluster)["failed"] == 1
        assert [pod["metadata"]["name"]] == [item["metadata"]["name"] for item in api.get(PODS).json()["items"]]


def test_eviction_by_the_api(cluster: Cluster, api: httpx.Client) -> None:
    """`kubectl drain` asks for an eviction; a deleted pod goes, and its Job counts it."""
    start_job(cluster, shell_pod(WAITS))
    pod = cluster.until(lambda: next((pod for pod in cluster.pods() if "ready" in cluster.log(pod)), None))
    assert api.post(f"{PODS}/{pod['metadata']['name']}/eviction", json={"kind": "Eviction"}).status_code == 201
    assert ended_job(cluster)["failed"] == 1
    cluster.until(lambda: not cluster.pods(), "end of the pod")


def test_a_pod_without_a_job(cluster: Cluster, api: httpx.Client) -> None:
    """A plain pod runs, stays when it has ended, and is deleted at once then."""
    assert api.post(PODS, json={"metadata": {"name": "plain"}, "spec": shell_pod("exit 3")}).status_code == 201
    pod = cluster.pod(phase="Failed")
    assert container_state(pod)["terminated"]["exitCode"] == 3
    assert api.delete(f"{PODS}/plain").is_success
    cluster.until(lambda: not cluster.pods(), "end of the pod")


def test_calls_are_noted_in_the_words_of_rbac(cluster: Cluster, api: httpx.Client) -> None:
    """So that a test can hold them against a Role."""
    api.get("/apis/batch/v1/jobs")
    api.get(f"{PODS}/x/log")
    noted = [(call.verb, call.resource, call.subresource, call.namespace, call.name) for call in cluster.calls]
    assert [("list", "jobs", "", None, None), ("get", "pods", "log", NAMESPACE, "x")] == noted
