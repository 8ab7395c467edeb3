"""What the real API refuses in a Job, as far as it matters here, and what this fake cannot do and so refuses, too.

A fake that runs what a cluster would refuse hides faults of our templates.
"""

import re
from collections.abc import Iterable, Mapping

from .objects import ApiError, Object, invalid

_LABEL_VALUE = re.compile(r"^([A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?)?$")
_LABEL_KEY = re.compile(r"^([a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?/)?[A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?$")
_NAME = re.compile(r"^[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?$")
_VOLUMES = {"name", "emptyDir", "configMap", "secret", "projected", "persistentVolumeClaim", "hostPath", "ephemeral"}
_PROBES = ("livenessProbe", "startupProbe")


def check_job(job: Object) -> None:
    """Raise ApiError 422 for a Job that would not be taken, 501 for one that this fake cannot run."""
    meta, spec = job.get("metadata", {}), job.get("spec", {})
    name = meta.get("name") or meta.get("generateName", "").rstrip("-")
    if not _NAME.match(name):
        raise invalid(f'Job "{name}" is invalid: metadata.name: a lowercase RFC 1123 subdomain is wanted')
    template = spec.get("template", {})
    for labels in (meta.get("labels"), template.get("metadata", {}).get("labels")):
        _check_labels(labels or {})
    check_pod(template)
    if template["spec"].get("restartPolicy") not in {"Never", "OnFailure"}:
        raise invalid('spec.template.spec.restartPolicy: Unsupported value: supported values: "OnFailure", "Never"')
    for option in ("backoffLimit", "activeDeadlineSeconds", "ttlSecondsAfterFinished", "parallelism", "completions"):
        value = spec.get(option)
        if value is not None and (not isinstance(value, int) or isinstance(value, bool) or value < 0):
            raise invalid(f"spec.{option}: Invalid value: {value!r}: must be an integer of 0 or more")
    if spec.get("parallelism", 1) != 1 or spec.get("completions", 1) != 1:
        raise _not_here("Jobs of more than one pod")
    if "podFailurePolicy" in spec:
        _check_failure_policy(spec["podFailurePolicy"], template["spec"])


def check_pod(pod: Object) -> None:
    """The same for a pod, or a pod template."""
    spec = pod.get("spec", {})
    containers = spec.get("containers") or []
    if not containers:
        raise invalid("spec.containers: Required value")
    if len(containers) > 1 or spec.get("initContainers"):
        raise _not_here("pods of more than one container")
    if spec.get("restartPolicy", "Always") != "Never":
        raise _not_here("restarts of containers (restartPolicy is not Never)")
    container = containers[0]
    if not container.get("command") and not container.get("args"):
        raise _not_here("an image's own command")
    _check_container(container)
    volumes = {volume["name"] for volume in spec.get("volumes", [])}
    for volume in spec.get("volumes", []):
        if unknown := set(volume) - _VOLUMES:
            raise _not_here(f"volumes of the kind {', '.join(sorted(unknown))}")
    for mount in container.get("volumeMounts", []):
        if mount["name"] not in volumes:
            raise invalid(f'spec.containers[0].volumeMounts: Not found: "{mount["name"]}"')
    _check_affinity(spec.get("affinity") or {})


def _check_container(container: Object) -> None:
    for entry in container.get("env", []):
        if not entry.get("name"):
            raise invalid("spec.containers[0].env: name: Required value")
        value = entry.get("value", "")
        if value is not None and not isinstance(value, str):
            raise ApiError(400, "BadRequest", f"env {entry['name']}: cannot unmarshal {value!r} into a string")
        if "resourceFieldRef" in entry.get("valueFrom", {}):
            raise _not_here("resourceFieldRef")
    resources = container.get("resources", {})
    limits, requests = resources.get("limits", {}), resources.get("requests", {})
    for name in {**limits, **requests}:
        if "/" in name and limits.get(name) != requests.get(name, limits.get(name)):
            raise invalid(f"spec.containers[0].resources.requests: must be equal to {name} limit")
    for probe in _PROBES:
        if container.get(probe) and "exec" not in container[probe]:
            raise _not_here(f"a {probe} that is not exec")


def _check_labels(labels: Mapping[str, object]) -> None:
    for name, value in labels.items():
        if not _LABEL_KEY.match(name):
            raise invalid(f"metadata.labels: Invalid value: {name!r}: a qualified name is wanted")
        if not isinstance(value, str) or not _LABEL_VALUE.match(value):
            raise invalid(f"metadata.labels: Invalid value: {value!r}: a valid label is wanted")


def _check_affinity(affinity: Object) -> None:
    required = (affinity.get("nodeAffinity") or {}).get("requiredDuringSchedulingIgnoredDuringExecution")
    if required is None:
        return
    terms = required.get("nodeSelectorTerms") or []
    if not terms:
        raise invalid("nodeAffinity: nodeSelectorTerms: Required value: must have at least one node selector term")
    for expression in _expressions(terms):
        operator, values = expression.get("operator"), expression.get("values") or []
        if operator in {"In", "NotIn"} and not values:
            raise invalid(f"nodeAffinity: values: Required value: must be specified when `operator` is {operator}")
        if operator in {"Exists", "DoesNotExist"} and values:
            raise invalid(f"nodeAffinity: values: Forbidden: may not be specified when `operator` is {operator}")
        if operator not in {"In", "NotIn", "Exists", "DoesNotExist", "Gt", "Lt"}:
            raise invalid(f"nodeAffinity: operator: Invalid value: {operator!r}: not a valid selector operator")


def _expressions(terms: Iterable[Object]) -> Iterable[Object]:
    return (expression for term in terms for expression in term.get("matchExpressions") or [])


def _check_failure_policy(policy: Object, pod_spec: Object) -> None:
    if pod_spec.get("restartPolicy") != "Never":
        raise invalid('spec.podFailurePolicy: only "Never" is supported as restartPolicy')
    names = {container["name"] for container in pod_spec["containers"]}
    for rule in policy.get("rules", []):
        if rule.get("action") not in {"FailJob", "Ignore", "Count"}:
            raise invalid(f"spec.podFailurePolicy.rules.action: Unsupported value: {rule.get('action')!r}")
        codes = rule.get("onExitCodes")
        if (codes is None) == ("onPodConditions" not in rule):
            raise invalid("spec.podFailurePolicy.rules: specifying one of OnExitCodes and OnPodConditions is required")
        if codes is None:
            continue
        if codes.get("containerName", next(iter(names))) not in names:
            raise invalid(
                f"spec.podFailurePolicy.rules.onExitCodes.containerName: {codes['containerName']!r} is unknown"
            )
        if codes.get("operator") == "In" and 0 in codes.get("values", []):
            raise invalid("spec.podFailurePolicy.rules.onExitCodes.values: must not be 0 for the In operator")


def _not_here(what: str) -> ApiError:
    return ApiError(501, "NotImplemented", f"the fake cluster of the tests does not know {what}")
