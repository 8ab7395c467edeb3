"""A pod is a local process (the scheduler's loop, the kubelet and the container runtime in one)."""

import asyncio
import contextlib
import functools
from collections.abc import Callable, Coroutine, Mapping
from typing import Any

from .containers import CannotStart, Machine, make_container
from .faults import Faults
from .nodes import gpus_wanted, obstacle, unschedulable_message
from .objects import Key, Object, is_deleting, key_of, now, set_condition, uid_of
from .pod_run import PodRun
from .processes import end_processes, kill_processes
from .store import Change, Store

TERMINAL = ("Succeeded", "Failed")


class Kubelet:
    """Runs every pod that appears in the store, and ends those that shall go.

    `errors` holds what went wrong in here, and not in a pod.

    Args:
        store: where pods come from, and where their states are written.
        machine: what the pods find.
        faults: what shall go wrong.
        gpu_environment: what working GPUs bring into a container, by node.
        api_up: set while the API server answers: no state can be written while it does not.
    """

    def __init__(
        self,
        store: Store,
        machine: Machine,
        faults: Faults,
        gpu_environment: Mapping[str, Mapping[str, str]],
        api_up: asyncio.Event,
    ) -> None:
        self._store, self._machine, self._faults = store, machine, faults
        self._gpu_environment, self._api_up = gpu_environment, api_up
        self._runs: dict[str, PodRun] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self.errors: list[BaseException] = []
        store.listeners.append(self._on_change)

    async def close(self) -> None:
        """End all pods at once."""
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for uid in list(self._runs):
            await end_processes(uid)

    def log(self, pod: Object) -> str:
        """What the pod's container has written."""
        path = self._machine.folder / pod["metadata"]["name"] / "log.txt"
        return path.read_text(errors="replace") if path.is_file() else ""

    def kill(self, pod: Object, reason: str) -> None:
        """SIGKILL to all processes of a pod at once; `reason` is shown in the container's state."""
        if run := self._runs.get(uid_of(pod)):
            run.reason = reason
        kill_processes(uid_of(pod))

    def evict(self, pod: Object, grace_s: float | None, *, pressure: bool) -> None:
        """Drive a pod from its node: by the API (it is deleted), or because the node has too little of something."""

        def mark(item: Object) -> None:
            if pressure:
                message = "The node was low on resource: ephemeral-storage."
                item["status"] |= {"reason": "Evicted", "message": message}
                set_condition(item, "DisruptionTarget", reason="TerminationByKubelet", message=message)
            else:
                message = "Eviction API: evicting"
                set_condition(item, "DisruptionTarget", reason="EvictionByEvictionAPI", message=message)

        self._store.update("pods", key_of(pod), mark)
        if not pressure:
            self._store.ask_deletion("pods", key_of(pod), grace_s)
        elif run := self._runs.get(uid_of(pod)):
            run.stop(0.0 if grace_s is None else grace_s)

    def _on_change(self, change: Change) -> None:
        if change.plural == "nodes":
            self._faults.tell()  # waiting pods look again
        if change.plural != "pods" or change.deleted:
            return
        pod = change.after
        if change.before is None:
            run = self._runs[uid_of(pod)] = PodRun()
            self._spawn(self._live(pod, run))
        if is_deleting(pod):
            if pod["status"]["phase"] in TERMINAL:
                self._retire(pod)
            elif run_found := self._runs.get(uid_of(pod)):
                run_found.stop(float(pod["metadata"]["deletionGracePeriodSeconds"]))

    def _retire(self, pod: Object) -> None:
        """Remove an ended pod whose deletion is asked for; that of a living Job waits until the Job has counted it."""
        owners = {owner["uid"] for owner in pod["metadata"].get("ownerReferences", [])}
        jobs = {uid_of(job) for job in self._store.select("jobs")}
        if not owners & jobs and self._store.find("pods", key_of(pod)) is not None:
            asyncio.get_running_loop().call_soon(self._remove, key_of(pod), uid_of(pod))

    def _remove(self, key: Key, uid: str) -> None:
        found = self._store.find("pods", key)
        if found is not None and uid_of(found) == uid:
            self._store.remove("pods", key)

    async def _live(self, pod: Object, run: PodRun) -> None:
        key, uid = key_of(pod), uid_of(pod)
        wanted = gpus_wanted(pod["spec"])
        try:
            node = await self._bind(key, run, pod["spec"])
            if node is not None:
                run.node, run.gpus = node["metadata"]["name"], wanted
                await self._start(key, uid, node, run)
            if run.process is None:
                await self._write(key, uid, lambda item: item["status"].update(phase="Failed"))
            else:
                await self._write(key, uid, self._running)
                code = await run.finished(uid)
                await self._write(key, uid, lambda item: self._ended(item, code, run))
        finally:
            run.gpus = 0
            self._runs.pop(uid, None)
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.shield(end_processes(uid))
            self._faults.tell()

    async def _bind(self, key: Key, run: PodRun, spec: Object) -> Object | None:
        """Wait for a node that the pod can go to; None where the pod shall go before that."""
        while not run.stopped:
            nodes = self._store.select("nodes")
            obstacles = {node["metadata"]["name"]: obstacle(spec, node, self._taken(node)) for node in nodes}
            free = next((node for node in nodes if obstacles[node["metadata"]["name"]] is None), None)
            if free is not None:
                name = free["metadata"]["name"]

                def bind(item: Object, name: str = name) -> None:
                    item["spec"]["nodeName"] = name
                    set_condition(item, "PodScheduled")

                self._store.update("pods", key, bind)
                return free
            message = unschedulable_message(reason for reason in obstacles.values() if reason)
            self._store.update("pods", key, functools.partial(_unschedulable, message))
            await self._another_look(run)
        return None

    def _taken(self, node: Object) -> int:
        return sum(run.gpus for run in self._runs.values() if run.node == node["metadata"]["name"])

    async def _start(self, key: Key, uid: str, node: Object, run: PodRun) -> None:
        """Start the pod's process, as soon as all that it needs is there, unless it shall go before that."""
        while not run.stopped:
            pod = self._store.get("pods", key)
            try:
                self._pull()
                container = make_container(pod, node, self._gpus_of(node, run), self._machine, self._store)
            except CannotStart as obstacle_now:
                waiting = {"waiting": {"reason": obstacle_now.reason, "message": obstacle_now.message}}
                await self._write(key, uid, functools.partial(_show, waiting))
                await self._another_look(run)
            else:
                await run.start(container, pod["spec"])
                return

    def _pull(self) -> None:
        if self._faults.unpullable:
            raise CannotStart("ErrImagePull", "failed to resolve reference: not found")

    def _gpus_of(self, node: Object, run: PodRun) -> Mapping[str, str]:
        name = node["metadata"]["name"]
        return self._gpu_environment.get(name, {}) if run.gpus and name not in self._faults.broken_gpus else {}

    async def _another_look(self, run: PodRun) -> None:
        """Wait until something has changed that may let a pod go on."""
        waits = [
            asyncio.ensure_future(one) for one in (self._store.changed(), self._faults.changed.wait(), run.wake.wait())
        ]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()

    async def _write(self, key: Key, uid: str, change: Callable[[Object], None]) -> None:
        """Change a pod as soon as the API server answers, if it is still there."""
        await self._api_up.wait()
        found = self._store.find("pods", key)
        if found is not None and uid_of(found) == uid:
            self._store.update("pods", key, change)

    def _running(self, item: Object) -> None:
        item["status"] |= {"phase": "Running", "startTime": now(), "podIP": "127.0.0.1", "hostIP": "127.0.0.1"}
        for kind in ("Initialized", "ContainersReady", "Ready"):
            set_condition(item, kind)
        _show({"running": {"startedAt": now()}}, item, ready=True)

    def _ended(self, item: Object, code: int, run: PodRun) -> None:
        status = item["status"]
        started = status["startTime"]
        driven_out = status.get("reason") == "Evicted"
        status["phase"] = "Succeeded" if code == 0 and not driven_out else "Failed"
        reason = run.reason if code and run.reason else "Completed" if code == 0 else "Error"
        for kind in ("ContainersReady", "Ready"):
            set_condition(item, kind, status="False", reason="PodFailed" if code else "PodCompleted")
        terminated = {"exitCode": code, "reason": reason, "startedAt": started, "finishedAt": now()}
        _show({"terminated": terminated | ({"message": run.message} if run.message else {})}, item)

    def _ended_task(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self.errors.append(error)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended_task)


def _unschedulable(message: str, item: Object) -> None:
    known = [one for one in item["status"].get("conditions", []) if one["type"] == "PodScheduled"]
    if not known or known[0].get("message") != message:
        set_condition(item, "PodScheduled", "False", "Unschedulable", message)


def _show(state: Object, item: Object, *, ready: bool = False) -> None:
    """Put the container's state into the pod's status."""
    spec = item["spec"]["containers"][0]
    image = spec.get("image", "")
    plain = {"name": spec["name"], "image": image, "imageID": image, "restartCount": 0, "ready": ready, "state": state}
    item["status"]["containerStatuses"] = [plain | {"started": ready}]
