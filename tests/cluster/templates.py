"""Base job templates: a small one of our own for the tests of this harness, and any other with its own values."""

import copy
import json
from collections.abc import Mapping
from pathlib import Path

from .cluster import NAMESPACE
from .objects import Object

_VARIABLES: Mapping[str, tuple[str, object]] = {
    "name": ("string", None),
    "namespace": ("string", NAMESPACE),
    "image": ("string", "callscribe:test"),
    "command": ("string", None),
    "env": ("object", {}),
    "labels": ("object", {}),
    "annotations": ("object", {}),
    "finished_job_ttl": ("integer", 3600),
    "deadline_s": ("integer", 3600),
    "grace_period_s": ("integer", 60),
    "gpus": ("integer", 1),
    "excluded_nodes": ("array", ["no-node-is-excluded"]),
}


def small_template() -> Object:
    """A template with the variables of the shipped one that matter to the cluster, and nothing of callscribe's."""
    excluded = {"key": "kubernetes.io/hostname", "operator": "NotIn", "values": "{{ excluded_nodes }}"}
    terms = {"nodeSelectorTerms": [{"matchExpressions": [excluded]}]}
    disruption = {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]}
    container = {
        "name": "prefect-job",
        "image": "{{ image }}",
        "args": "{{ command }}",
        "env": [{"name": "CALLSCRIBE_NODE", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}}],
        "resources": {"limits": {"nvidia.com/gpu": "{{ gpus }}"}, "requests": {"nvidia.com/gpu": "{{ gpus }}"}},
        "volumeMounts": [{"name": "scratch", "mountPath": "/scratch"}],
    }
    pod = {
        "parallelism": 1,
        "completions": 1,
        "restartPolicy": "Never",
        "terminationGracePeriodSeconds": "{{ grace_period_s }}",
        "affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": terms}},
        "containers": [container],
        "volumes": [{"name": "scratch", "emptyDir": {}}],
    }
    named = {name: f"{{{{ {name} }}}}" for name in ("namespace", "labels", "annotations")}
    manifest = {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {**named, "generateName": "{{ name }}-"},
        "spec": {
            "backoffLimit": 0,
            "ttlSecondsAfterFinished": "{{ finished_job_ttl }}",
            "activeDeadlineSeconds": "{{ deadline_s }}",
            "podFailurePolicy": {"rules": [disruption]},
            "template": {"spec": pod},
        },
    }
    schema = {
        name: {"title": name, "type": kind} | ({} if default is None else {"default": default})
        for name, (kind, default) in _VARIABLES.items()
    }
    plain = {name: f"{{{{ {name} }}}}" for name in ("name", "namespace", "command", "env", "labels", "annotations")}
    plain["env"] = {"PREFECT_HOME": "/scratch/prefect", "DO_NOT_TRACK": "1"}  # type: ignore[assignment]
    variables = {"type": "object", "properties": schema}
    return {"job_configuration": {**plain, "job_manifest": manifest}, "variables": variables}


def with_defaults(template: Object | Path, **defaults: object) -> Object:
    """A template, or that of a JSON file, with other defaults for some of its variables.

    Raises:
        KeyError: it has no such variable.
    """
    given = json.loads(template.read_text()) if isinstance(template, Path) else copy.deepcopy(template)
    properties = given["variables"]["properties"]
    for name, value in defaults.items():
        if name not in properties:
            raise KeyError(f"the template has no variable {name}; it has {', '.join(sorted(properties))}")
        properties[name]["default"] = value
    return dict(given)
