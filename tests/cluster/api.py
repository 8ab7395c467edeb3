"""The HTTP side of the fake API server: what prefect-kubernetes, kopf and the reconciler call, and kubectl's basics."""

import base64
import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

import jsonpatch
from aiohttp import web

from .faults import Faults
from .job_controller import delete_job
from .kubelet import Kubelet
from .objects import KINDS, ApiError, Key, Kind, Object, invalid, merged, uid_of, without_nulls
from .store import Filter, Store
from .validation import check_job, check_pod
from .watching import is_watch, list_page, watch

_VERBS = ["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"]
_METHODS = {"POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}
_PODS_LOG = "log"
_FIRST_LINES = 10**9


@dataclass(frozen=True, slots=True)
class Call:
    """One request, in the words of RBAC: `Call("create", "jobs", "", "callscribe", None)`."""

    verb: str
    resource: str
    subresource: str
    namespace: str | None
    name: str | None


class Api:
    """The routes of the API over a store. `calls` holds every request for an object, from the first."""

    def __init__(self, store: Store, kubelet: Kubelet, faults: Faults) -> None:
        self._store, self._kubelet, self._faults = store, kubelet, faults
        self.calls: list[Call] = []

    def application(self) -> web.Application:
        """The application for aiohttp."""
        app = web.Application(middlewares=[_errors_as_status], client_max_size=2**22)
        for path, answer in _discovery().items():
            app.router.add_get(path, _constant(answer))
        for group in {_group(kind) for kind in KINDS.values()}:
            for place in (f"{group}/namespaces/{{namespace}}", group):
                app.router.add_route("*", f"{place}/{{plural}}", self._collection)
                app.router.add_route("*", f"{place}/{{plural}}/{{name}}", self._object)
                app.router.add_route("*", f"{place}/{{plural}}/{{name}}/{{subresource}}", self._object)
        return app

    async def _collection(self, request: web.Request) -> web.StreamResponse:
        """All objects of a kind, or those of a namespace."""
        kind, namespace = _kind_of(request), request.match_info.get("namespace")
        query = request.query
        wanted = Filter(namespace, query.get("labelSelector"), query.get("fieldSelector"))
        verb = (
            "watch" if is_watch(query) else {"GET": "list", "DELETE": "deletecollection"}.get(request.method, "create")
        )
        self._note(request, verb)
        if verb == "watch":
            return await watch(request, self._store, kind.plural, wanted)
        if verb == "list":
            return web.json_response(list_page(self._store, kind.plural, wanted, query))
        if verb == "deletecollection":
            options = await _delete_options(request)
            for item in self._store.select(kind.plural, wanted):
                self._delete(kind, (item["metadata"].get("namespace"), item["metadata"]["name"]), options)
            return web.json_response(_success())
        return await self._create(request, kind, namespace)

    async def _object(self, request: web.Request) -> web.StreamResponse:
        """One object, or a part of it."""
        kind, name = _kind_of(request), request.match_info["name"]
        key = (request.match_info.get("namespace"), name)
        part = request.match_info.get("subresource", "")
        self._note(request, _METHODS.get(request.method, "get"))
        found = self._store.get(kind.plural, key)
        if part == _PODS_LOG:
            return self._log(request, found)
        if part == "eviction":
            options = (await request.json()).get("deleteOptions") or {}
            self._kubelet.evict(found, options.get("gracePeriodSeconds"), pressure=False)
            return web.json_response(_success(), status=201)
        if part not in {"", "status"}:
            raise ApiError(404, "NotFound", f"the server could not find the requested resource {kind.plural}/{part}")
        if request.method in {"PATCH", "PUT"}:
            return web.json_response(self._change(kind, key, await _change_of(request), part))
        if request.method == "DELETE":
            return web.json_response(self._delete(kind, key, await _delete_options(request)))
        return web.json_response(found)

    async def _create(self, request: web.Request, kind: Kind, namespace: str | None) -> web.StreamResponse:
        item = without_nulls(await request.json())
        if kind.plural == "jobs":
            if self._faults.create_failures:
                status = self._faults.create_failures.pop(0)
                raise ApiError(status, "InternalError", "etcdserver: request timed out")
            check_job(item)
            if self._faults.hold_creations == "before":
                await self._faults.held_creation()
        elif kind.plural == "pods":
            check_pod(item)
        item = _with_defaults(kind, item)
        if request.query.get("dryRun"):
            return web.json_response(item, status=201)
        created = self._store.create(kind.plural, item, namespace)
        if kind.plural == "jobs" and self._faults.hold_creations == "after":
            await self._faults.held_creation()
        return web.json_response(created, status=201)

    def _change(self, kind: Kind, key: Key, changed: Callable[[Object], Object], part: str) -> Object:
        before = self._store.get(kind.plural, key)
        after = changed(before)
        version = after["metadata"].get("resourceVersion")
        if version not in {None, before["metadata"]["resourceVersion"]}:
            raise ApiError(409, "Conflict", f'{kind.plural} "{key[1]}": the object has been modified')
        if kind.plural == "jobs" and after["spec"]["template"] != before["spec"]["template"]:
            raise invalid(f'Job "{key[1]}" is invalid: spec.template: field is immutable')

        def change(item: Object) -> None:
            names = ("status",) if part == "status" else tuple(name for name in {**item, **after} if name != "status")
            for name in names:
                if name in after:
                    item[name] = after[name]
                else:
                    item.pop(name, None)
            _fold_string_data(item)

        return self._store.update(kind.plural, key, change)

    def _delete(self, kind: Kind, key: Key, options: Mapping[str, Any]) -> Object:
        found = self._store.get(kind.plural, key)
        wanted = (options.get("preconditions") or {}).get("uid")
        if wanted not in {None, uid_of(found)}:
            raise ApiError(409, "Conflict", f"the UID in the precondition ({wanted}) does not match")
        if kind.plural == "pods":
            grace = options.get("gracePeriodSeconds")
            return self._store.ask_deletion("pods", key, None if grace is None else float(grace))
        if kind.plural == "jobs":
            return delete_job(self._store, key, options.get("propagationPolicy"))
        self._store.remove(kind.plural, key)
        return _success()

    def _log(self, request: web.Request, pod: Object) -> web.Response:
        if request.query.get("previous") in {"true", "True"}:
            raise ApiError(400, "BadRequest", "previous terminated container not found")
        if not pod["status"].get("containerStatuses"):
            raise ApiError(400, "BadRequest", f"container in pod {pod['metadata']['name']} is waiting to start")
        lines = self._kubelet.log(pod).splitlines(keepends=True)
        last = int(request.query.get("tailLines") or _FIRST_LINES)
        return web.Response(text="".join(lines[-last:] if last else []))

    def _note(self, request: web.Request, verb: str) -> None:
        found = request.match_info
        part = found.get("subresource", "")
        self.calls.append(Call(verb, found["plural"], part, found.get("namespace"), found.get("name")))


async def _change_of(request: web.Request) -> Callable[[Object], Object]:
    """What a PUT or PATCH makes of an object."""
    body = await request.json()
    if request.method == "PUT":
        return lambda _: body
    match request.content_type:
        case "application/json-patch+json":
            return lambda item: jsonpatch.apply_patch(item, body)
        case "application/merge-patch+json" | "application/strategic-merge-patch+json":
            return lambda item: merged(item, body)
        case other:
            raise ApiError(415, "UnsupportedMediaType", f"the body of the request was in an unknown format: {other}")


async def _delete_options(request: web.Request) -> dict[str, Any]:
    body = await request.text()
    return dict(request.query) | (json.loads(body) if body else {})


def _with_defaults(kind: Kind, item: Object) -> Object:
    if kind.plural == "jobs":
        plain = {"backoffLimit": 6, "parallelism": 1, "completions": 1, "suspend": False}
        return {**item, "spec": {**plain, **item["spec"]}, "status": {}}
    if kind.plural == "pods":
        return {**item, "status": {"phase": "Pending"}}
    new = dict(item)
    _fold_string_data(new)
    return new


def _fold_string_data(item: Object) -> None:
    """A secret's `stringData` is written only; it is read as `data`, in base64."""
    if (plain := item.pop("stringData", None)) is not None:
        coded = {name: base64.b64encode(value.encode()).decode() for name, value in plain.items()}
        item["data"] = {**item.get("data", {}), **coded}


def _group(kind: Kind) -> str:
    return "/api/v1" if kind.api_version == "v1" else f"/apis/{kind.api_version}"


def _kind_of(request: web.Request) -> Kind:
    kind = KINDS.get(request.match_info["plural"])
    if kind is None or not request.path.startswith(f"{_group(kind)}/"):
        raise ApiError(404, "NotFound", "the server could not find the requested resource")
    return kind


def _success() -> Object:
    return {"apiVersion": "v1", "kind": "Status", "metadata": {}, "status": "Success"}


def _discovery() -> dict[str, Object]:
    """What a client asks first: which groups, versions and kinds there are."""

    def resources(version: str) -> Object:
        shown = [
            {
                "name": kind.plural,
                "singularName": kind.name.lower(),
                "kind": kind.name,
                "namespaced": kind.namespaced,
                "verbs": _VERBS,
            }
            for kind in KINDS.values()
            if kind.api_version == version
        ]
        return {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": version, "resources": shown}

    batch = {"groupVersion": "batch/v1", "version": "v1"}
    groups = [{"name": "batch", "versions": [batch], "preferredVersion": batch}]
    return {
        "/version": {"major": "1", "minor": "36", "gitVersion": "v1.36.0-fake"},
        "/api": {"kind": "APIVersions", "versions": ["v1"]},
        "/apis": {"kind": "APIGroupList", "apiVersion": "v1", "groups": groups},
        "/api/v1": resources("v1"),
        "/apis/batch/v1": resources("batch/v1"),
    }


def _constant(answer: Object) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    async def handler(_: web.Request) -> web.StreamResponse:
        return web.json_response(answer)

    return handler


@web.middleware
async def _errors_as_status(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    try:
        return await handler(request)
    except ApiError as error:
        return web.json_response(error.body(), status=error.status)
    except web.HTTPNotFound:
        unknown = ApiError(404, "NotFound", f"the server could not find the requested resource: {request.path}")
        return web.json_response(unknown.body(), status=404)
