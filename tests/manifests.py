"""What tests of the manifests share: kustomize's output, and Jobs as Prefect's own worker makes them."""

import asyncio
import copy
import json
import os
import shutil
import subprocess
import uuid
from collections.abc import Iterator, Mapping
from functools import cache
from operator import itemgetter
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parent.parent
K8S = ROOT / "k8s"
OVERLAYS = sorted(path.parent.name for path in (K8S / "overlays").glob("*/kustomization.yaml"))
POOLS = ("gpu", "cpu", "control")
# A worker's pool, the deployment that runs in it, and the flow.
FLOWS = {"gpu": "transcribe-job", "cpu": "transcribe-job", "control": "archive-run"}
IMAGE = f"registry.example.com/callscribe@sha256:{'0' * 64}"

Object = dict[str, Any]


def need_kubectl() -> None:
    """Skip the test where there is no kubectl; in CI there must be."""
    if shutil.which("kubectl") is None:
        if os.environ.get("CI") == "true":
            pytest.fail("kubectl is not installed; CI needs it (.ci/run)")
        pytest.skip("kubectl is not installed: kubectl kustomize builds the manifests")


@cache
def _kustomized(folder: str) -> list[Object]:
    done = subprocess.run(
        ["kubectl", "kustomize", str(K8S / folder)], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    return list(yaml.load_all(done.stdout, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader)))


def kustomized(folder: str) -> list[Object]:
    """The objects of a kustomization under k8s/, such as `base` or `overlays/air-gapped`."""
    need_kubectl()
    return copy.deepcopy(_kustomized(folder))


def overlay(name: str) -> list[Object]:
    """The objects of an overlay, and the Jobs that its work pools make."""
    return copy.deepcopy(_overlay(name))


@cache
def _overlay(name: str) -> list[Object]:
    objects = kustomized(f"overlays/{name}")
    templates = named(objects, "ConfigMap", "callscribe-work-pools")["data"]
    jobs = [job_of(json.loads(templates[f"{pool}.json"]), pool) for pool in POOLS]
    extra = {"component": "reconciler", "service_account_name": "callscribe-reconciler"}
    token = {"automount_service_account_token": True}
    return [*objects, *jobs, job_of(json.loads(templates["control.json"]), "control", {**extra, **token})]


def named(objects: list[Object], kind: str, name: str) -> Object:
    """The object of this kind and name."""
    return next(each for each in objects if (each["kind"], each["metadata"]["name"]) == (kind, name))


def base_template(pool: str) -> Object:
    """The base job template of a pool, as k8s/base has it."""
    return dict(json.loads((K8S / "base" / "work-pools" / f"{pool}.json").read_text(encoding="utf-8")))


def job_of(template: Object, pool: str, values: Mapping[str, Any] | None = None) -> Object:
    """The Kubernetes Job that prefect-kubernetes makes of a flow run, by its own code; no server is asked.

    Args:
        template: base job template.
        pool: which one it is of.
        values: job variables of the run.
    """
    from prefect.client.orchestration import PrefectClient
    from prefect.client.schemas.objects import Flow, FlowRun, WorkPool
    from prefect.settings import PREFECT_API_URL, temporary_settings
    from prefect_kubernetes.worker import KubernetesWorkerJobConfiguration

    flow = Flow(id=uuid.UUID(int=2), name=FLOWS[pool])
    run = FlowRun(id=uuid.UUID(int=1), flow_id=flow.id, name=f"20261102T030000123Z-{pool}-0001")
    work_pool = WorkPool(
        id=uuid.UUID(int=3), name=f"callscribe-{pool}", type="kubernetes", default_queue_id=uuid.UUID(int=4)
    )

    async def made() -> KubernetesWorkerJobConfiguration:
        configuration = await KubernetesWorkerJobConfiguration.from_template_and_values(
            template, {"image": IMAGE, **(values or {})}, client=PrefectClient("http://127.0.0.1:1/api")
        )
        configuration.prepare_for_flow_run(run, flow=flow, work_pool=work_pool, worker_name="worker")
        return configuration

    with temporary_settings({PREFECT_API_URL: "http://callscribe-prefect:4200/api"}):
        manifest = asyncio.run(made()).job_manifest
    # The worker's own settings go with every Job; those of whoever runs the tests are not the template's.
    environment = manifest["spec"]["template"]["spec"]["containers"][0]["env"]
    mine = base_names(template)
    kept = [each for each in environment if not each["name"].startswith("PREFECT") or each["name"] in mine]
    manifest["spec"]["template"]["spec"]["containers"][0]["env"] = sorted(kept, key=itemgetter("name"))
    return dict(manifest)


def base_names(template: Object) -> set[str]:
    """The environment variables that a template itself sets."""
    container = template["job_configuration"]["job_manifest"]["spec"]["template"]["spec"]["containers"][0]
    return {"PREFECT_API_URL", *template["job_configuration"]["env"], *(each["name"] for each in container["env"])}


def pods(objects: list[Object]) -> Iterator[tuple[str, Object, Object]]:
    """Every pod template as (name of what it is in, labels, pod spec)."""
    for each in objects:
        if each["kind"] in {"Deployment", "Job"}:
            inner = each["spec"]["template"]
            metadata = each["metadata"]
            name = f"{each['kind']} {metadata.get('name') or metadata['generateName']}"
            yield name, inner.get("metadata", {}).get("labels", {}), inner["spec"]


def containers(pod: Object) -> list[Object]:
    """All containers of a pod."""
    return [*pod.get("initContainers", ()), *pod["containers"]]


def meets(selector: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    """Whether labels fulfil a label selector (matchLabels, and In of matchExpressions)."""
    exact = all(labels.get(key) == value for key, value in selector.get("matchLabels", {}).items())
    expressions = selector.get("matchExpressions", ())
    assert all(each["operator"] == "In" for each in expressions), expressions
    return exact and all(labels.get(each["key"]) in each["values"] for each in expressions)
