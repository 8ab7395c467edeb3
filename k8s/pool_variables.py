"""The variables of the work pools: every knob of a pod, with its meaning, schema, and default by pool."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

POOLS = ("gpu", "cpu", "control")
JOBS = ("gpu", "cpu")
MOST_EXCLUDED = 8  # nodes that a run can exclude


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
        "Environment variables beside those of the template and of callscribe-settings; they win over both.",
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
    "priority_class": Variable("Priority class of the pod.", TEXT, "callscribe-job", {"control": "callscribe-control"}),
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
        "Most CPU of the pod; none when unset, as it would slow the decoders beside idle cores. On the pool cpu it "
        "equals the request: with the kubelet's static CPU manager the pod then has its cores to itself, and starts "
        "as many threads.",
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
        "Secret with AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY; with workload identity it need not be there.",
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
        "Port on which a job, or a run, serves Prometheus metrics.",
        {"type": "integer", "minimum": 1024, "maximum": 65535},
        9464,
    ),
    "metrics_push_url": Variable(
        "Pushgateway to which a job, or a run, pushes its metrics; none when unset. A network policy must let it.", TEXT
    ),
    "log_format": Variable("How log lines look.", {"type": "string", "enum": ["json", "text"]}, "json"),
    "sigterm_behavior": Variable(
        "What Prefect does with a run whose pod gets SIGTERM: relinquish (the Job makes a new pod, which goes on with "
        "the same run) or reschedule (a new Job); docs/runs.md says why the first.",
        {"type": "string", "enum": ["relinquish", "reschedule"]},
        "relinquish",
    ),
    "grace_period_s": Variable(
        "Seconds between SIGTERM and SIGKILL. Prefect gives the flow 30 of them for its checkpoint, however many there "
        "are: 60 are enough. Spot instances give 120 s on AWS and 30 s elsewhere, whatever is set.",
        seconds(10),
        60,
    ),
    "deadline_s": Variable(
        "Seconds after which Kubernetes ends the Job, waiting for a GPU included: a backstop, not a time-out of work.",
        seconds(3600),
        2 * 86400,
        {"control": 30 * 86400},
    ),
    "finished_job_ttl": Variable(
        "Seconds for which a finished Job is kept: longer than the longest outage of the observer, which reads from it "
        "how the run ended.",
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
        "Minutes without a sign of progress after which a job counts as hung and is ended: more than the ten after "
        "which a job that is told to end counts this as a death (docs/runs.md).",
        {"type": "integer", "minimum": 15},
        20,
        pools=JOBS,
    ),
}
