"""The base job templates of the work pools: `python k8s/work_pools.py` (or `make work-pools`) writes all of them anew.

One source for three pools: `gpu` and `cpu` run jobs, `control` runs what submits them. The templates of `k8s/base` hold
the defaults of `pool_variables.py`. A `pools.yaml` beside an overlay's kustomization says what is other there, by pool
and variable, `all` for every pool, and `like` for an overlay that it goes on from. What is written are JSON files as
`prefect work-pool create --base-job-template` takes them.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml
from pool_variables import JOBS, MOST_EXCLUDED, POOLS, VARIABLES

HERE = Path(__file__).resolve().parent
# `NotIn` needs a value, and a placeholder cannot splice a list into another: so there is one that names no node, and
# after it one placeholder for each place of the list; those that are not set vanish.
NO_NODE = "no-node-is-excluded"
USER = 10001


def template(pool: str, defaults: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The base job template of a pool.

    Args:
        pool: one of `POOLS`.
        defaults: other defaults of variables, by name; None takes a default away.

    Raises:
        ValueError: a default is of no variable of the pool.
    """
    known = {name: variable for name, variable in VARIABLES.items() if pool in variable.pools}
    given = dict(defaults or {})
    if unknown := sorted(set(given) - set(known)):
        message = f"pool {pool} has no variable {', '.join(unknown)}"
        raise ValueError(message)
    properties = {}
    for name, variable in known.items():
        properties[name] = {
            "title": name.replace("_", " ").capitalize(),
            "description": variable.description,
            **variable.schema,
        }
        default = given.get(name, variable.default_of(pool))
        if default is not None:
            properties[name]["default"] = default
    return {
        "job_configuration": _configuration(pool),
        "variables": {"type": "object", "required": ["image"], "properties": properties},
    }


def _configuration(pool: str) -> dict[str, Any]:
    """What Prefect's Kubernetes worker makes a Job of; placeholders are filled in with the variables."""
    return {
        "name": "{{ name }}",
        "namespace": "{{ namespace }}",
        "command": "{{ command }}",
        "annotations": "{{ annotations }}",
        # Prefect would call the pods after the deployment; network policies know them by these.
        "labels": {
            "app.kubernetes.io/name": "callscribe",
            "app.kubernetes.io/component": "{{ component }}",
            "app.kubernetes.io/part-of": "callscribe",
            "kueue.x-k8s.io/queue-name": "{{ queue_name }}",
        },
        "env": _environment(pool),
        "job_manifest": {
            "apiVersion": "batch/v1",
            "kind": "Job",
            "metadata": {
                "generateName": "{{ name }}-",
                "namespace": "{{ namespace }}",
                "labels": "{{ labels }}",
                "annotations": "{{ annotations }}",
            },
            "spec": {
                "backoffLimit": 0,  # Prefect tries again, and knows why
                "activeDeadlineSeconds": "{{ deadline_s }}",
                "ttlSecondsAfterFinished": "{{ finished_job_ttl }}",
                "podFailurePolicy": {
                    # A pod that the cluster takes away is no failure of the Job.
                    "rules": [{"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]}]
                },
                "template": {"metadata": {"labels": "{{ labels }}"}, "spec": _pod(pool)},
            },
        },
    }


def _environment(pool: str) -> dict[str, Any]:
    environment = {
        # Whatever a library caches lies on the one place that can be written to.
        "HOME": "/scratch",
        "TMPDIR": "/scratch",
        "XDG_CACHE_HOME": "/scratch/cache",
        "NUMBA_CACHE_DIR": "/scratch/cache/numba",
        "PREFECT_HOME": "/scratch/prefect",
        "PREFECT_FLOW_RUN_EXECUTE_SIGTERM_BEHAVIOR": "{{ sigterm_behavior }}",
        # Recorded calls are nobody else's business. callscribe sets these too, but Prefect starts first.
        "DO_NOT_TRACK": "1",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "HF_HUB_OFFLINE": "1",
        "CALLSCRIBE_MODELS__FOLDER": "/models",
        "CALLSCRIBE_LOGS__FORMAT": "{{ log_format }}",
        # Of jobs, and of the runs that submit them.
        "CALLSCRIBE_METRICS__PORT": "{{ metrics_port }}",
        "CALLSCRIBE_METRICS__PUSH_URL": "{{ metrics_push_url }}",
    }
    if pool in JOBS:
        environment |= {
            "CUDA_CACHE_PATH": "/scratch/cache/cuda",
            "CALLSCRIBE_MODELS__DEVICE": "cuda" if pool == "gpu" else "cpu",
            "CALLSCRIBE_RUN__HEARTBEAT_FILE": "/scratch/heartbeat",
        }
    return environment


def _pod(pool: str) -> dict[str, Any]:
    return {
        # The worker insists on these two here; the API server passes over them.
        "parallelism": 1,
        "completions": 1,
        "restartPolicy": "Never",
        "serviceAccountName": "{{ service_account_name }}",
        "automountServiceAccountToken": "{{ automount_service_account_token }}",
        "enableServiceLinks": False,
        "imagePullSecrets": "{{ image_pull_secrets }}",
        "priorityClassName": "{{ priority_class }}",
        "runtimeClassName": "{{ runtime_class_name }}",
        "terminationGracePeriodSeconds": "{{ grace_period_s }}",
        "nodeSelector": "{{ node_selector }}",
        "tolerations": "{{ tolerations }}",
        "affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": _not_excluded()}},
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": USER,
            "runAsGroup": USER,
            "fsGroup": USER,
            "fsGroupChangePolicy": "OnRootMismatch",
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [_container(pool)],
        "volumes": [
            "{{ models_volume }}",
            {"name": "scratch", "emptyDir": {"sizeLimit": "{{ scratch_size }}"}},
            {"name": "ca", "configMap": {"name": "{{ ca_config_map }}", "optional": True}},
        ],
    }


def _not_excluded() -> dict[str, Any]:
    places = [f"{{{{ excluded_nodes[{place}] }}}}" for place in range(MOST_EXCLUDED)]
    expression = {"key": "kubernetes.io/hostname", "operator": "NotIn", "values": [NO_NODE, *places]}
    return {"nodeSelectorTerms": [{"matchExpressions": [expression]}]}


def _container(pool: str) -> dict[str, Any]:
    gpus = {"nvidia.com/gpu": "{{ gpus }}"} if pool == "gpu" else {}
    container: dict[str, Any] = {
        "name": "prefect-job",  # the worker's name for it
        "image": "{{ image }}",
        "imagePullPolicy": "{{ image_pull_policy }}",
        "args": "{{ command }}",
        "ports": [{"name": "metrics", "containerPort": "{{ metrics_port }}"}],
        "env": [
            {"name": "CALLSCRIBE_NODE", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}},
            {"name": "CALLSCRIBE_POD", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
        ],
        "envFrom": [
            {"configMapRef": {"name": "{{ settings }}"}},
            {"secretRef": {"name": "{{ storage_secret }}", "optional": True}},
            {"secretRef": {"name": "{{ prefect_secret }}"}},
        ],
        "resources": {
            "requests": {
                "cpu": "{{ cpu_request }}",
                "memory": "{{ memory_request }}",
                "ephemeral-storage": "{{ scratch_size }}",
                **gpus,
            },
            "limits": {"cpu": "{{ cpu_limit }}", "memory": "{{ memory_limit }}", **gpus},
        },
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "volumeMounts": [
            {"name": "models", "mountPath": "/models", "readOnly": True},
            {"name": "scratch", "mountPath": "/scratch"},
            {"name": "ca", "mountPath": "/etc/callscribe/ca", "readOnly": True},
        ],
    }
    if pool in JOBS:
        container["startupProbe"] = {
            "exec": {"command": ["test", "-e", "/scratch/heartbeat"]},
            "periodSeconds": 10,
            "failureThreshold": "{{ startup_tries }}",
        }
        # A GPU that hangs must not hold its slot for ever. `find` says nothing of a file that is too old.
        container["livenessProbe"] = {
            "exec": {"command": ["sh", "-c", 'test -n "$(find /scratch/heartbeat -mmin -{{ hung_after_min }})"']},
            "periodSeconds": 60,
            "timeoutSeconds": 10,
            "failureThreshold": 2,
        }
    return container


def files() -> Iterator[tuple[Path, str]]:
    """Every file that is written, with its text: of the base, and of each folder that has a `pools.yaml`."""
    yield from _files(HERE / "base", {})
    for path in sorted(HERE.glob("*/*/pools.yaml")):
        yield from _files(path.parent, others(path.parent))


def others(folder: Path) -> dict[str, dict[str, Any]]:
    """The defaults that are other in an overlay, by pool; `like` names an overlay that it goes on from."""
    said = yaml.safe_load((folder / "pools.yaml").read_text(encoding="utf-8"))
    like = said.pop("like", None)
    before = others(folder / like) if like else {}
    return {pool: {**before.get(pool, {}), **said.get(pool, {})} for pool in ("all", *POOLS)}


def _files(folder: Path, other: Mapping[str, Mapping[str, Any]]) -> Iterator[tuple[Path, str]]:
    for pool in POOLS:
        made = template(pool, {**other.get("all", {}), **other.get(pool, {})})
        yield folder / "work-pools" / f"{pool}.json", json.dumps(made, indent=2) + "\n"


def main() -> None:
    """Write the templates."""
    for path, text in files():
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
