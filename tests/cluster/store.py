"""The memory of the fake API server: objects, their versions, and what has changed (etcd's part)."""

import asyncio
import copy
import itertools
import uuid
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from .objects import KINDS, ApiError, Key, Object, invalid, is_deleting, key_of, not_found, now, owned_by, random_suffix
from .selectors import matches_fields, matches_labels

_REMEMBERED_CHANGES = 20_000


@dataclass(frozen=True, slots=True)
class Change:
    """One change: `before` is None for a new object; `after` is the last state of a deleted one."""

    version: int
    plural: str
    deleted: bool
    before: Object | None
    after: Object

    def seen_by(self, wanted: "Filter") -> str | None:
        """What a watcher of some objects is told: an object that leaves its selection is deleted to it.

        >>> old, new = ({"metadata": {"name": "a", "labels": {"app": app}}} for app in ("this", "other"))
        >>> Change(1, "pods", False, old, new).seen_by(Filter(labels="app=this"))
        'DELETED'
        """
        was = self.before is not None and wanted.takes(self.before)
        is_now = not self.deleted and wanted.takes(self.after)
        return {(False, True): "ADDED", (True, True): "MODIFIED", (True, False): "DELETED"}.get((was, is_now))


@dataclass(frozen=True, slots=True)
class Filter:
    """Which objects of a kind a request means."""

    namespace: str | None = None
    labels: str | None = None
    fields: str | None = None

    def takes(self, item: Object) -> bool:
        """Whether an object is among them."""
        meta = item["metadata"]
        return (
            self.namespace in {None, meta.get("namespace")}
            and matches_labels(self.labels, meta.get("labels", {}))
            and matches_fields(self.fields, item)
        )


class Store:
    """Objects by kind, namespace and name. What it hands out is not changed by anybody: `update` makes a new state.

    `listeners` are called at once with every change. All of it happens in one event loop.
    """

    def __init__(self) -> None:
        self.version = 1
        self.listeners: list[Callable[[Change], None]] = []
        self._items: dict[str, dict[Key, Object]] = {plural: {} for plural in KINDS}
        self._changes: deque[Change] = deque(maxlen=_REMEMBERED_CHANGES)
        self._forgotten = 0
        self._changed = asyncio.Event()

    def select(self, plural: str, wanted: Filter | None = None) -> list[Object]:
        """The objects of a kind, in the order of their names."""
        ordered = sorted(self._items[plural].items(), key=lambda pair: (pair[0][0] or "", pair[0][1]))
        return [item for _, item in ordered if wanted is None or wanted.takes(item)]

    def find(self, plural: str, key: Key) -> Object | None:
        """An object, or None."""
        return self._items[plural].get(key)

    def get(self, plural: str, key: Key) -> Object:
        """An object; ApiError 404 where it is not."""
        found = self.find(plural, key)
        if found is None:
            raise not_found(plural, key[1])
        return found

    def of_owner(self, plural: str, uid: str) -> list[Object]:
        """The objects that belong to another one."""
        return [item for item in self.select(plural) if owned_by(item, uid)]

    def create(self, plural: str, item: Object, namespace: str | None) -> Object:
        """Take a new object; ApiError 409 where its name is taken, 404 where its namespace is not."""
        kind = KINDS[plural]
        if kind.namespaced and (None, namespace or "") not in self._items["namespaces"]:
            raise not_found("namespaces", str(namespace))
        new = copy.deepcopy(item)
        meta = new.setdefault("metadata", {})
        if not meta.get("name") and not meta.get("generateName"):
            raise invalid(f"{kind.name} is invalid: metadata.name: Required value: name or generateName is required")
        name = meta.get("name") or meta["generateName"] + random_suffix()
        key = (namespace if kind.namespaced else None, name)
        if key in self._items[plural]:
            raise ApiError(409, "AlreadyExists", f'{plural} "{name}" already exists')
        new |= {"apiVersion": kind.api_version, "kind": kind.name}
        meta |= {"name": name, "uid": str(uuid.uuid4()), "creationTimestamp": now(), "generation": 1}
        if kind.namespaced:
            meta["namespace"] = namespace
        return self._put(plural, None, new)

    def update(self, plural: str, key: Key, change: Callable[[Object], None]) -> Object:
        """Give an object a new state: `change` gets a copy of the present one."""
        before = self.get(plural, key)
        new = copy.deepcopy(before)
        change(new)
        if new == before:
            return before
        if new.get("spec") != before.get("spec"):
            new["metadata"]["generation"] = before["metadata"].get("generation", 1) + 1
        return self._put(plural, before, new)

    def remove(self, plural: str, key: Key) -> Object:
        """Forget an object at once; what belonged to it is asked to go, too (the garbage collector's part)."""
        before = self._items[plural].pop(key, None)
        if before is None:
            raise not_found(plural, key[1])
        last = copy.deepcopy(before)
        self._record(Change(self._next(last), plural, deleted=True, before=before, after=last))
        for dependent in KINDS:
            for item in self.of_owner(dependent, before["metadata"]["uid"]):
                if dependent == "pods":
                    self.ask_deletion("pods", key_of(item))
                else:
                    self.remove(dependent, key_of(item))
        return last

    def ask_deletion(self, plural: str, key: Key, grace_s: float | None = None, finalizer: str | None = None) -> Object:
        """Mark an object for deletion: whoever looks after it (kubelet, job controller) ends and removes it."""

        def mark(item: Object) -> None:
            meta = item["metadata"]
            wanted = item.get("spec", {}).get("terminationGracePeriodSeconds", 30) if grace_s is None else grace_s
            if is_deleting(item):
                wanted = min(wanted, meta["deletionGracePeriodSeconds"])
            else:
                meta["deletionTimestamp"] = now()
            meta["deletionGracePeriodSeconds"] = wanted
            if finalizer and finalizer not in meta.get("finalizers", []):
                meta["finalizers"] = [*meta.get("finalizers", []), finalizer]

        return self.update(plural, key, mark)

    def changes_since(self, plural: str, version: int) -> list[Change]:
        """The changes of a kind after a version; ApiError 410 where they are not remembered any more."""
        if version < self._forgotten:
            raise ApiError(410, "Expired", f"too old resource version: {version} ({self._forgotten})")
        newer = itertools.takewhile(lambda change: change.version > version, reversed(self._changes))
        return [change for change in newer if change.plural == plural][::-1]

    def forget_changes(self) -> None:
        """Compact, as etcd does every five minutes: whoever watches from an earlier version has to list anew."""
        self._changes.clear()
        self._forgotten = self.version
        self._wake()

    async def changed(self) -> None:
        """Wait for the next change of anything."""
        await self._changed.wait()

    def _next(self, item: Object) -> int:
        self.version += 1
        item["metadata"]["resourceVersion"] = str(self.version)
        return self.version

    def _put(self, plural: str, before: Object | None, new: Object) -> Object:
        version = self._next(new)
        self._items[plural][key_of(new)] = new
        self._record(Change(version, plural, deleted=False, before=before, after=new))
        return new

    def _record(self, change: Change) -> None:
        if len(self._changes) == _REMEMBERED_CHANGES:
            self._forgotten = self._changes[0].version
        self._changes.append(change)
        self._wake()
        for listener in self.listeners:
            listener(change)

    def _wake(self) -> None:
        woken, self._changed = self._changed, asyncio.Event()
        woken.set()
