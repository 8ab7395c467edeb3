"""Lists in pages, and watches that stream changes."""

import asyncio
import base64
import json
import time
from collections.abc import Mapping

from aiohttp import web

from .objects import KINDS, ApiError, Object, key_of
from .store import Filter, Store

_BOOKMARK_EVERY_S = 20.0
_LONGEST_S = 3600.0
_TRUE = {"true", "True", "1"}


def is_watch(query: Mapping[str, str]) -> bool:
    """Whether a request for a list wants to hear of changes."""
    return query.get("watch") in _TRUE


def list_page(store: Store, plural: str, wanted: Filter, query: Mapping[str, str]) -> Object:
    """A list of objects, or a page of it where the request has a `limit`.

    Pages after the first show the objects as they are now, not as they were at the first.
    """
    kind = KINDS[plural]
    items = store.select(plural, wanted)
    if token := query.get("continue"):
        last = tuple(json.loads(base64.urlsafe_b64decode(token)))
        items = [item for item in items if ((key_of(item)[0] or ""), key_of(item)[1]) > last]
    meta: Object = {"resourceVersion": str(store.version)}
    limit = int(query.get("limit") or 0)
    if limit and len(items) > limit:
        meta["remainingItemCount"] = len(items) - limit
        items = items[:limit]
        namespace, name = key_of(items[-1])
        meta["continue"] = base64.urlsafe_b64encode(json.dumps([namespace or "", name]).encode()).decode()
    return {"kind": f"{kind.name}List", "apiVersion": kind.api_version, "metadata": meta, "items": items}


async def watch(request: web.Request, store: Store, plural: str, wanted: Filter) -> web.StreamResponse:
    """Stream what happens to objects after a version; without one, first those that are there.

    Where the version is too old, the stream begins and ends with an event ERROR that holds a 410.
    """
    query = request.query
    response = web.StreamResponse(headers={"Content-Type": "application/json"})
    await response.prepare(request)
    ends_at = time.monotonic() + float(query.get("timeoutSeconds") or _LONGEST_S)
    bookmark_at = time.monotonic() + _BOOKMARK_EVERY_S
    version = int(query.get("resourceVersion") or 0)
    if version == 0:
        version = store.version
        for item in store.select(plural, wanted):
            await _send(response, "ADDED", item)
    while time.monotonic() < ends_at:
        upto = store.version
        try:
            changes = store.changes_since(plural, version)
        except ApiError as error:
            await _send(response, "ERROR", error.body())
            break
        version = upto
        for change in changes:
            if (event := change.seen_by(wanted)) is not None:
                await _send(response, event, change.after)
        if time.monotonic() >= bookmark_at and query.get("allowWatchBookmarks") in _TRUE:
            kind = KINDS[plural]
            meta = {"resourceVersion": str(version)}
            await _send(response, "BOOKMARK", {"kind": kind.name, "apiVersion": kind.api_version, "metadata": meta})
            bookmark_at = time.monotonic() + _BOOKMARK_EVERY_S
        if version == store.version:
            try:
                await asyncio.wait_for(store.changed(), max(0.0, min(ends_at, bookmark_at) - time.monotonic()))
            except TimeoutError:
                continue
    await response.write_eof()
    return response


async def _send(response: web.StreamResponse, event: str, item: Object) -> None:
    await response.write(json.dumps({"type": event, "object": item}).encode() + b"\n")
