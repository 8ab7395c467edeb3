"""The base job templates of the work pools: `python k8s/work_pools.py` (or `make work-pools`) writes all of them anew.

One source for three pools: `gpu` and `cpu` run jobs, `control` runs what submits them. The templates of `k8s/base` hold
the defaults below; a `pools.yaml` beside an overlay's kustomization says what is other there, by pool and variable,
`all` for every pool, and `like` for an overlay that it goes on from. What is written are JSON files as `prefect work-pool create --base-job-template` takes them.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

HERE = Path(__file__).resolve().parent
POOLS = ("gpu", "cpu", "control")
JOBS = ("gpu", "cpu")
# Nodes that a run can exclude. `NotIn` needs a value, and a placeholder cannot splice a list into another: so there is
# one that names no node, and after it one placeholder for each place of the list; those that are not set vanish.
NO_NODE = "no-node-is-excluded"
MOST_EXCLUDED = 8
USER = 10001


@dataclass(frozen=True, slots=True)
class Variable:
    """A knob of a work pool: its JSON schema without the description, defaults by pool, and which pools have it."""

    description: str
    schema: Mapping[str, Any]
    default: Any = None
    by_pool: Mapping[str, Any] = field(default_factory=dict)
    pools: tuple[str, ...] = POOLS

    def default_of(self, pool: str) -> object:
        """The default in a pool; None: there is none, and what uses the variable is left out."""
        return self.by_pool.get(pool, self.default)


TEXT: Mapping[str, Any] = {"type": "string"}
QUANTITY: Mapping[str, Any] = {"type": "string", "pattern": r"^[0-9]+(\.[0-9]+)?(m|k|Ki|Mi|Gi|Ti|M|G|T)?$"}
TABLE: Mapping[str, Any] = {"type": "object", "additionalProperties": {"type": "string"}}


def seconds(minimum: int) -> dict[str, Any]:
    """The schema of a time in whole seconds."""
    return {"type": "integer", "minimum": minimum}


VARIABLES: Mapping[str, Variable] = {
    "name": Variable("Name of the Kubernetes Job; that of the flow run when unset.", TEXT),
    "namespace": Variable("Namespace of the Job; the worker may write to this one only.", TEXT, "callscribe"),
    "image": Variable("Image of the pod, by digest; prefect.yaml sets it for every deployment (JOB_IMAGE).", TEXT),
    "image_pull_policy": Variable(
        "When the image is pulled.", {"type": "string", "enum": ["IfNotPresent", "Always", "Never"]}, "IfNotPresent"
    ),
    "image_pull_secrets": Variable(
        'Secrets for the registry, such as [{"name": "registry"}].',
        {"type": "array", "items": {"type": "object"}},
        [],
    ),
    "command": Variable("Command of the pod; Prefect's own when unset.", TEXT),
    "env": Variable(
        "Environment variables beside those of the template and of the ConfigMap callscribe-settings; they win over both.",
        {"type": "object", "additionalProperties": {"type": ["string", "null"]}},
        {},
    ),
    "labels": Variable("Labels beside those of the template.", TABLE, {}),
    "annotations": Variable("Annotations of Job and pod.", TABLE, {}),
    "component": Variable(
        "Label app.kubernetes.io/component, by which network policies know the pod: job, control or reconciler.",
        {"type": "string", "enum": ["job", "control", "reconciler"]},
        "job",
        {"control": "control"},
    ),
    "queue_name": Variable("Local queue of Kueue, which then says when the Job starts; none when unset.", TEXT),
    "service_account_name": Variable(
        "Service account; the one by which object storage is reached where that is by workload identity.",
        TEXT,
        "callscribe-job",
        {"control": "callscribe-control"},
    ),
    "automount_service_account_token": Variable(
        "Whether the pod gets a token for the Kubernetes API; the reconciler alone needs one.",
        {"type": "boolean"},
        default=False,
    ),
    "priority_class": Variable(
        "Priority class of the pod.", TEXT, "callscribe-job", {"control": "callscribe-control"}
    ),
    "runtime_class_name": Variable("Runtime class, such as nvidia on k3s; the node's default when unset.", TEXT),
    "node_selector": Variable("Labels that a node must have.", TABLE, {}),
    "tolerations": Variable(
        "Taints that the pod tolerates.",
        {"type": "array", "items": {"type": "object"}},
        [],
        {"gpu": [{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}]},
    ),
    "excluded_nodes": Variable(
        "Nodes (label kubernetes.io/hostname) on which the pod must not run; a run names those that refused it a GPU.",
        {"type": "array", "items": {"type": "string"}, "maxItems": MOST_EXCLUDED},
        [],
    ),
    **{
        f"excluded_nodes[{place}]": Variable(f"Number {place + 1} of excluded_nodes: set that list, not this.", TEXT)
        for place in range(MOST_EXCLUDED)
    },
    "gpus": Variable(
        "GPUs of the pod; a job uses one.", {"type": "integer", "minimum": 1, "maximum": 1}, 1, pools=("gpu",)
    ),
    "cpu_request": Variable("CPU that is set aside for the pod.", QUANTITY, "4", {"control": "500m"}),
    "cpu_limit": Variable(
        "Most CPU of the pod; none when unset, as it would slow the decoders beside an idle machine. On the pool cpu it "
        "equals the request: with the kubelet's static CPU manager the pod then has its cores to itself, and starts as "
        "many threads.",
        QUANTITY,
        by_pool={"cpu": "4"},
    ),
    "memory_request": Variable("Memory that is set aside.", QUANTITY, "16Gi", {"cpu": "8Gi", "control": "2Gi"}),
    "memory_limit": Variable("Memory at which the pod is killed.", QUANTITY, "16Gi", {"cpu": "8Gi", "control": "4Gi"}),
    "scratch_size": Variable(
        "Size of the scratch volume at /scratch, where calls are decoded and the month is listed; also requested as "
        "ephemeral storage.",
        QUANTITY,
        "50Gi",
        {"control": "10Gi"},
    ),
    "models_volume": Variable(
        "Volume that is mounted read-only at /models, under the name models: a claim, or any other source that the "
        "namespace's pod security allows.",
        {"type": "object", "required": ["name"]},
        {"name": "models", "persistentVolumeClaim": {"claimName": "callscribe-models", "readOnly": True}},
    ),
    "settings": Variable("ConfigMap with CALLSCRIBE_* variables.", TEXT, "callscribe-settings"),
    "storage_secret": Variable(
        "Secret with AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY; it need not be there where workload identity is used.",
        TEXT,
        "callscribe-s3",
    ),
    "prefect_secret": Variable(
        "Secret with PREFECT_API_URL, and PREFECT_API_KEY or PREFECT_API_AUTH_STRING.", TEXT, "callscribe-prefect"
    ),
    "ca_config_map": Variable(
        "ConfigMap that is mounted at /etc/callscribe/ca where it exists: authorities of your own, as ca.crt.",
        TEXT,
        "callscribe-ca",
    ),
    "metrics_port": Variable(
        "Port on which a job serves Prometheus metrics.",
        {"type": "integer", "minimum": 1024, "maximum": 65535},
        9464,
        pools=JOBS,
    ),
    "metrics_push_url": Variable("Pushgateway to which a job pushes its metrics; none when unset.", TEXT, pools=JOBS),
    "log_format": Variable("How log lines look.", {"type": "string", "enum": ["json", "text"]}, "json"),
    "sigterm_behavior": Variable(
        "What Prefect does with a run whose pod gets SIGTERM: reschedule (a new Job) or relinquish (the Job makes a new "
        "pod, which goes on with the same run).",
        {"type": "string", "enum": ["reschedule", "relinquish"]},
        "reschedule",
    ),
    "grace_period_s": Variable(
        "Seconds between SIGTERM and SIGKILL: enough for the calls in hand and a checkpoint. Spot instances give 120 s "
        "on AWS and 30 s elsewhere, whatever is set.",
        seconds(10),
        110,
    ),
    "deadline_s": Variable(
        "Seconds after which Kubernetes ends the Job, waiting for a GPU included: a backstop, not a time-out of work.",
        seconds(3600),
        2 * 86400,
        {"control": 30 * 86400},
    ),
    "finished_job_ttl": Variable(
        "Seconds for which a finished Job is kept: longer than the longest outage of the worker, which reads from it how "
        "the run ended.",
        seconds(3600),
        3 * 86400,
    ),
    "startup_tries": Variable(
        "How often, 10 s apart, it is looked whether a job has begun to load its models, before it counts as hung.",
        {"type": "integer", "minimum": 6},
        90,
        pools=JOBS,
    ),
    "hung_after_min": Variable(
        "Minutes without a sign of progress after which a job counts as hung and is ended.",
        {"type": "integer", "minimum": 5},
        20,
        pools=JOBS,
    ),
}


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
                    "rules": [
                        {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]}
                    ]
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
    }
    if pool in JOBS:
        environment |= {
            "CUDA_CACHE_PATH": "/scratch/cache/cuda",
            "CALLSCRIBE_MODELS__DEVICE": "cuda" if pool == "gpu" else "cpu",
            "CALLSCRIBE_RUN__HEARTBEAT_FILE": "/scratch/heartbeat",
            "CALLSCRIBE_METRICS__PORT": "{{ metrics_port }}",
            "CALLSCRIBE_METRICS__PUSH_URL": "{{ metrics_push_url }}",
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
        container["ports"] = [{"name": "metrics", "containerPort": "{{ metrics_port }}"}]
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
