"""Small Jobs and pods for the tests of the fake cluster itself, and a plain client for its API."""

from collections.abc import Sequence

import httpx

from .cluster import NAMESPACE, Cluster
from .objects import Object

JOBS = f"/apis/batch/v1/namespaces/{NAMESPACE}/jobs"
PODS = f"/api/v1/namespaces/{NAMESPACE}/pods"


def shell_pod(script: str, *, gpus: int = 0, container: Object | None = None, **spec: object) -> Object:
    """The spec of a pod that runs a shell script."""
    limits: Object = {"resources": {"limits": {"nvidia.com/gpu": gpus}}} if gpus else {}
    plain = {"name": "main", "image": "test", "command": ["/bin/sh", "-c"], "args": [script]}
    return {"restartPolicy": "Never", "containers": [{**plain, **limits, **(container or {})}], **spec}


def job(pod_spec: Object, name: str = "work", labels: Object | None = None, **spec: object) -> Object:
    """A Job of one pod."""
    template = {"metadata": {"labels": labels or {}}, "spec": pod_spec}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": name, "labels": labels or {}},
        "spec": {"backoffLimit": 0, "template": template, **spec},
    }


def client(cluster: Cluster) -> httpx.Client:
    """A client for the cluster's API."""
    return httpx.Client(base_url=cluster.url, timeout=60.0, trust_env=False)


def start_job(cluster: Cluster, pod_spec: Object, name: str = "work", **spec: object) -> Object:
    """Create a Job through the API."""
    with client(cluster) as api:
        response = api.post(JOBS, json=job(pod_spec, name, **spec))
        assert response.status_code == httpx.codes.CREATED, response.text
        created: Object = response.json()
        return created


def ended_job(cluster: Cluster, name: str = "work", kinds: Sequence[str] = ("Complete", "Failed")) -> Object:
    """Wait for a Job's end; its status, with `ended` for the last condition: `Failed BackoffLimitExceeded`."""

    def look() -> Object | None:
        for found in cluster.jobs():
            for shown in found["status"].get("conditions", []):
                if found["metadata"]["name"] == name and shown["type"] in kinds:
                    return {**found["status"], "ended": f"{shown['type']} {shown['reason']}"}
        return None

    return cluster.until(look, f"end of the Job {name}")


def container_state(pod: Object) -> Object:
    """The state of the pod's container: `{"terminated": {"exitCode": 0, …}}`."""
    state: Object = pod["status"]["containerStatuses"][0]["state"]
    return state
