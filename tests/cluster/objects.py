"""What Kubernetes objects look like here: plain JSON, the kinds that are known, and the errors of the API."""

import copy
import secrets
import string
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

Object = dict[str, Any]
Key = tuple[str | None, str]
"""Namespace (None: the kind has none) and name."""

_ALPHABET = string.ascii_lowercase + string.digits


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of object: `pods`, `Pod`, `v1`."""

    plural: str
    name: str
    api_version: str
    namespaced: bool = True


KINDS = {
    kind.plural: kind
    for kind in (
        Kind("configmaps", "ConfigMap", "v1"),
        Kind("events", "Event", "v1"),
        Kind("jobs", "Job", "batch/v1"),
        Kind("namespaces", "Namespace", "v1", namespaced=False),
        Kind("nodes", "Node", "v1", namespaced=False),
        Kind("persistentvolumeclaims", "PersistentVolumeClaim", "v1"),
        Kind("pods", "Pod", "v1"),
        Kind("secrets", "Secret", "v1"),
    )
}


class ApiError(Exception):
    """An answer of the API that is not a success: `status` is HTTP's, `reason` is Kubernetes' word for it."""

    def __init__(self, status: int, reason: str, message: str) -> None:
        super().__init__(message)
        self.status, self.reason, self.message = status, reason, message

    def body(self) -> Object:
        """As Kubernetes writes it."""
        plain: Object = {"apiVersion": "v1", "kind": "Status", "metadata": {}, "status": "Failure"}
        return plain | {"code": self.status, "reason": self.reason, "message": self.message}


def not_found(plural: str, name: str) -> ApiError:
    """The error for an object that is not there."""
    return ApiError(404, "NotFound", f'{plural} "{name}" not found')


def invalid(what: str) -> ApiError:
    """The error for an object that Kubernetes would not take."""
    return ApiError(422, "Invalid", what)


def now() -> str:
    """The time as Kubernetes writes it, to the microsecond, so that what follows from it is not a second late."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def seconds_since(stamp: str) -> float:
    """How long ago a time of `now` was."""
    return (datetime.now(UTC) - datetime.fromisoformat(stamp)).total_seconds()


def random_suffix(length: int = 5) -> str:
    """What `generateName` ends in."""
    return "".join(secrets.choice(_ALPHABET) for _ in range(length))


def key_of(item: Object) -> Key:
    """Where an object is."""
    return item["metadata"].get("namespace"), item["metadata"]["name"]


def uid_of(item: Object) -> str:
    """The identity of an object, which no later object of the same name has."""
    return str(item["metadata"]["uid"])


def owned_by(item: Object, uid: str) -> bool:
    """Whether an object belongs to another."""
    return any(uid == owner.get("uid") for owner in item["metadata"].get("ownerReferences", []))


def is_deleting(item: Object) -> bool:
    """Whether somebody has asked for the object's deletion."""
    return "deletionTimestamp" in item["metadata"]


def condition(item: Object, kind: str) -> Object | None:
    """One of an object's conditions, by its type."""
    found = (one for one in item.get("status", {}).get("conditions", []) if one["type"] == kind)
    return next(found, None)


def set_condition(item: Object, kind: str, status: str = "True", reason: str = "", message: str = "") -> None:
    """Add a condition to an object, or replace the one of this type."""
    plain = {"type": kind, "status": status, "lastTransitionTime": now()}
    more = {name: value for name, value in (("reason", reason), ("message", message)) if value}
    conditions = item.setdefault("status", {}).setdefault("conditions", [])
    conditions[:] = [*(one for one in conditions if one["type"] != kind), plain | more]


def without_nulls(item: Any) -> Any:  # noqa: ANN401 - JSON
    """An object without the fields that are null, as the API reads them: null is the same as absent.

    >>> without_nulls({"a": None, "b": [{"c": None}]})
    {'b': [{}]}
    """
    if isinstance(item, dict):
        return {name: without_nulls(value) for name, value in item.items() if value is not None}
    return [without_nulls(value) for value in item] if isinstance(item, list) else item


def merged(target: object, patch: object) -> Any:  # noqa: ANN401 - JSON
    """A JSON merge patch (RFC 7386): null removes, objects are merged, everything else replaces.

    Kubernetes' strategic merge also merges some lists by name; no client of ours sends such a list.
    """
    if not isinstance(patch, Mapping):
        return copy.deepcopy(patch)
    result = dict(target) if isinstance(target, Mapping) else {}
    for name, value in patch.items():
        if value is None:
            result.pop(name, None)
        else:
            result[name] = merged(result.get(name), value)
    return result
