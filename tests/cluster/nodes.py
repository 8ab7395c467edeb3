"""Nodes, and which of them a pod may go to (the scheduler's part)."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from .objects import Object

GPU = "nvidia.com/gpu"
HOSTNAME = "kubernetes.io/hostname"
_PREFERRED = "PreferNoSchedule"


@dataclass(frozen=True)
class Node:
    """A machine of the cluster.

    Args:
        name: its name, which is also its label `kubernetes.io/hostname`.
        gpus: how many pods with `nvidia.com/gpu: 1` it takes at a time. CPUs and memory are not counted.
        labels: more labels.
        taints: as in a node's spec: `{"key": …, "value": …, "effect": "NoSchedule"}`.
        gpu_environment: what a working GPU brings into a container that asks for one; it wins over the pod's own
            variables. On a machine without GPUs, `CALLSCRIBE_MODELS__DEVICE=cpu` lets the device gate pass there, and
            `faults.break_gpu(name)`, which takes these away, lets it fail for real.
    """

    name: str
    gpus: int = 0
    labels: Mapping[str, str] = field(default_factory=dict)
    taints: tuple[Mapping[str, str], ...] = ()
    gpu_environment: Mapping[str, str] = field(default_factory=dict)

    def as_object(self) -> Object:
        """The node as the API shows it."""
        capacity = {"cpu": "16", "memory": "64Gi", "pods": "110"} | ({GPU: str(self.gpus)} if self.gpus else {})
        return {
            "metadata": {"name": self.name, "labels": {HOSTNAME: self.name, **self.labels}},
            "spec": {"taints": [dict(taint) for taint in self.taints]},
            "status": {
                "capacity": capacity,
                "allocatable": capacity,
                "conditions": [{"type": "Ready", "status": "True"}],
            },
        }


def gpus_wanted(pod_spec: Object) -> int:
    """How many GPUs a pod asks for."""
    limits = (container.get("resources", {}).get("limits", {}) for container in pod_spec["containers"])
    return sum(int(limit.get(GPU, 0)) for limit in limits)


def obstacle(pod_spec: Object, node: Object, gpus_taken: int) -> str | None:
    """Why a pod cannot go to a node, in the scheduler's words; None where it can."""
    if node["spec"].get("unschedulable"):
        return "node(s) were unschedulable"
    if (taint := _untolerated(pod_spec, node)) is not None:
        return f"node(s) had untolerated taint {{{taint['key']}: {taint.get('value', '')}}}"
    if not _attracts(pod_spec, node["metadata"]["labels"]):
        return "node(s) didn't match Pod's node affinity/selector"
    if (wanted := gpus_wanted(pod_spec)) and wanted + gpus_taken > int(node["status"]["allocatable"].get(GPU, 0)):
        return f"Insufficient {GPU}"
    return None


def unschedulable_message(obstacles: Iterable[str]) -> str:
    """The condition's message where every node has an obstacle.

    >>> unschedulable_message(["Insufficient nvidia.com/gpu"])[:65]
    '0/1 nodes are available: 1 Insufficient nvidia.com/gpu. preemptio'
    """
    counts = Counter(obstacles)
    count = counts.total()
    reasons = ", ".join(f"{times} {reason}" for reason, times in sorted(counts.items()))
    none = f"0/{count} nodes are available:"
    return f"{none} {reasons}. preemption: {none} {count} Preemption is not helpful for scheduling."


def _untolerated(pod_spec: Object, node: Object) -> Object | None:
    for taint in node["spec"].get("taints", []):
        if taint["effect"] != _PREFERRED and not any(_tolerates(one, taint) for one in pod_spec.get("tolerations", [])):
            return dict(taint)
    return None


def _tolerates(toleration: Mapping[str, str], taint: Mapping[str, str]) -> bool:
    if toleration.get("effect") not in {None, "", taint["effect"]}:
        return False
    if toleration.get("operator") == "Exists":
        return toleration.get("key") in {None, "", taint["key"]}
    return toleration.get("key") == taint["key"] and toleration.get("value", "") == taint.get("value", "")


def _attracts(pod_spec: Object, labels: Mapping[str, str]) -> bool:
    selector = pod_spec.get("nodeSelector") or {}
    if any(labels.get(name) != value for name, value in selector.items()):
        return False
    affinity = (pod_spec.get("affinity") or {}).get("nodeAffinity") or {}
    required = affinity.get("requiredDuringSchedulingIgnoredDuringExecution")
    if required is None:
        return True
    return any(
        all(_meets(expression, labels) for expression in term.get("matchExpressions", []))
        for term in required["nodeSelectorTerms"]
    )


def _meets(expression: Object, labels: Mapping[str, str]) -> bool:
    value = labels.get(expression["key"])
    values = expression.get("values", [])
    match expression["operator"]:
        case "In":
            return value in values
        case "NotIn":
            return value not in values
        case "Exists":
            return value is not None
        case "DoesNotExist":
            return value is None
        case "Gt":
            return value is not None and int(value) > int(values[0])
        case _:
            return value is not None and int(value) < int(values[0])
