"""The cluster as the tests hold it: it lives in a thread of its own, and everything here may be called from others."""

import asyncio
import contextlib
import json
import threading
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

from aiohttp import web

from .api import Api, Call
from .containers import Machine
from .faults import ClusterFaults, Faults
from .job_controller import FOREGROUND, JobController
from .kubelet import Kubelet
from .nodes import Node
from .objects import Object, key_of, uid_of
from .ports import LOOPBACK, free_port
from .processes import processes_of
from .store import Filter, Store

NAMESPACE = "callscribe"
PATIENCE_S = 240.0
"""How long a wait lasts before it fails: a test waits for what happens, on however slow a machine."""
_LOOK_AGAIN_S = 0.2

T = TypeVar("T")


class Cluster:
    """A Kubernetes API server, scheduler, job controller and kubelet in one, as a context manager.

    Args:
        folder: where pods have their folders, logs and volumes; `kubeconfig` is made there.
        nodes: the machines.
        namespaces: those that exist beside `default`.
        volumes: folders for persistent volume claims (by claim name) and host paths (by path).
        image_environment: variables that the image of every pod would bring, such as PYTHONPATH.
        backoff_s: the pause before a Job's next pod when one has failed (Kubernetes: 10 s).
    """

    def __init__(
        self,
        folder: Path,
        nodes: Sequence[Node] = (Node("gpu-node-1", gpus=1), Node("control-node")),
        *,
        namespaces: Sequence[str] = (NAMESPACE,),
        volumes: Mapping[str, Path] | None = None,
        image_environment: Mapping[str, str] | None = None,
        backoff_s: float = 0.1,
    ) -> None:
        self.nodes = tuple(nodes)
        self.kubeconfig = folder / "kubeconfig.json"
        self._folder, self._namespaces, self._backoff_s = folder, ("default", *namespaces), backoff_s
        self._machine = Machine(folder / "pods", dict(volumes or {}), dict(image_environment or {}))
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="fake cluster", daemon=True)
        self._port = free_port()
        self._faults = Faults()
        self.faults = ClusterFaults(self._faults, self.do)

    def __enter__(self) -> Self:
        """Start it; `kubeconfig` leads to it from then on."""
        self._machine.folder.mkdir(parents=True, exist_ok=True)
        self._thread.start()
        self._wait(self._start())
        self.kubeconfig.write_text(json.dumps(self._kubeconfig()))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End it with all its pods."""
        self._wait(self._stop())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    @property
    def url(self) -> str:
        """Where the API answers."""
        return f"http://{LOOPBACK}:{self._port}"

    @property
    def calls(self) -> list[Call]:
        """All requests for objects so far, in the words of RBAC."""
        return self.do(lambda: list(self._api.calls))

    def jobs(self, labels: str | None = None) -> list[Object]:
        """The Jobs, by label selector."""
        return self.objects("jobs", labels)

    def pods(self, labels: str | None = None) -> list[Object]:
        """The pods, by label selector: `job-name=…`, `prefect.io/flow-run-id=…`."""
        return self.objects("pods", labels)

    def objects(self, plural: str, labels: str | None = None) -> list[Object]:
        """The objects of a kind in all namespaces, by label selector. They are not to be changed."""
        return self.do(lambda: self._store.select(plural, Filter(labels=labels)))

    def forget_changes(self) -> None:
        """Compact the history: whoever watches from an earlier version gets 410 and has to list anew."""
        self.do(self._store.forget_changes)

    def create(self, plural: str, item: Object, namespace: str = NAMESPACE) -> Object:
        """Put an object into the cluster, such as a secret (`data` in base64) or a config map."""
        return self.do(lambda: self._store.create(plural, item, namespace))

    def log(self, pod: Object) -> str:
        """What a pod has written; also when it is gone."""
        return self._kubelet.log(pod)

    def logs(self) -> str:
        """What all pods have written so far, also those that are gone, to be shown when a test fails."""
        paths = sorted(self._machine.folder.glob("*/log.txt"))
        return "\n".join(f"--- {path.parent.name}\n{path.read_text(errors='replace')}" for path in paths)

    def processes(self, pod: Object) -> dict[int, str]:
        """The living processes of a pod and their command lines: the first one, and those that it has started."""
        return processes_of(uid_of(pod))

    def kill_pod(self, pod: Object, reason: str = "Error") -> None:
        """SIGKILL to all of a pod; `reason` is `OOMKilled` where memory has run out. The exit code is 137."""
        self.do(lambda: self._kubelet.kill(pod, reason))

    def evict(self, pod: Object, grace_s: float | None = None, *, pressure: bool = False) -> None:
        """Drive a pod from its node: SIGTERM to its first process, and SIGKILL to all after the grace time.

        The pod gets the condition DisruptionTarget and is deleted; under the node's own `pressure` it stays, Failed,
        and without a grace time is killed at once. None: the pod's own grace time.
        """
        self.do(lambda: self._kubelet.evict(pod, grace_s, pressure=pressure))

    def delete_pod(self, pod: Object, grace_s: float | None = None) -> None:
        """What `kubectl delete pod` does."""
        self.do(lambda: self._store.ask_deletion("pods", key_of(pod), grace_s))

    def expire(self, job: Object) -> None:
        """Delete a Job with its pods, as its time to live does, whatever it is."""
        self.do(lambda: self._store.ask_deletion("jobs", key_of(job), 0, FOREGROUND))

    def vanish(self, job: Object) -> None:
        """Take a Job and its pods away at once: SIGKILL, and no object is left, as if all of it had expired unseen."""

        def take() -> None:
            for pod in self._store.of_owner("pods", uid_of(job)):
                self._kubelet.kill(pod, "Error")
                self._store.remove("pods", key_of(pod))
            self._store.remove("jobs", key_of(job))

        self.do(take)

    def cordon(self, node: str, *, unschedulable: bool = True) -> None:
        """Let no more pods come to a node, or let them come again."""
        self.do(
            lambda: self._store.update(
                "nodes", (None, node), lambda item: item["spec"].update(unschedulable=unschedulable)
            )
        )

    def set_gpus(self, node: str, gpus: int) -> None:
        """Let a node have more or fewer GPUs from now on."""

        def change(item: Object) -> None:
            item["status"]["allocatable"] = item["status"]["capacity"] = {"nvidia.com/gpu": str(gpus)}

        self.do(lambda: self._store.update("nodes", (None, node), change))

    @contextlib.contextmanager
    def away(self) -> Iterator[None]:
        """No API server inside the block: connections break and are refused. Pods go on; the state is kept."""
        self._wait(self._close_door())
        try:
            yield
        finally:
            self._wait(self._open_door())

    def until(self, look: Callable[[], T | None], what: str = "", patience_s: float = PATIENCE_S) -> T:
        """Look again after every change in the cluster (and five times a second) until there is something; return it.

        Raises:
            AssertionError: nothing came in time; the message ends with what the pods wrote.
        """
        return self._wait(self._until(look, what, patience_s))

    def pod(self, labels: str | None = None, phase: str | None = "Running") -> Object:
        """Wait for a pod in a phase (None: in any) and return it."""

        def look() -> Object | None:
            found = self._store.select("pods", Filter(labels=labels))
            return next((pod for pod in found if phase in {None, pod["status"]["phase"]}), None)

        return self.until(look, f"a pod {labels or ''} {phase or ''}")

    def do(self, action: Callable[[], T]) -> T:
        """Call something in the cluster's thread."""

        async def act() -> T:
            return action()

        return self._wait(act())

    def _wait(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    async def _until(self, look: Callable[[], T | None], what: str, patience_s: float) -> T:
        ends_at = self._loop.time() + patience_s
        while True:
            changed = asyncio.ensure_future(self._store.changed())
            # Not in this thread: it may call the cluster, or wait for another server.
            found = await asyncio.to_thread(look)
            if found:
                changed.cancel()
                return found
            self._raise_own_errors()
            if self._loop.time() > ends_at:
                changed.cancel()
                raise AssertionError(f"no {what or 'such thing'} within {patience_s:.0f} s\n{self.logs()[-5000:]}")
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(changed, _LOOK_AGAIN_S)

    async def _start(self) -> None:
        self._store, self._up = Store(), asyncio.Event()
        environments = {node.name: node.gpu_environment for node in self.nodes}
        self._kubelet = Kubelet(self._store, self._machine, self._faults, environments, self._up)
        self._api = Api(self._store, self._kubelet, self._faults)
        # A request ends with its client: held creations are dropped, watches are not kept.
        self._runner = web.AppRunner(self._api.application(), handler_cancellation=True, shutdown_timeout=0.1)
        await self._runner.setup()
        for namespace in self._namespaces:
            self._store.create("namespaces", {"metadata": {"name": namespace}}, None)
        for node in self.nodes:
            self._store.create("nodes", node.as_object(), None)
        self._controller = asyncio.ensure_future(JobController(self._store, self._up, self._backoff_s).run())
        await self._open_door()

    async def _stop(self) -> None:
        self._controller.cancel()
        await self._close_door()
        await self._kubelet.close()
        await self._runner.cleanup()
        self._raise_own_errors()

    def _raise_own_errors(self) -> None:
        """A fault of this cluster's own must not look like one of what is tested."""
        if self._controller.done() and not self._controller.cancelled():
            self._controller.result()
        for error in self._kubelet.errors:
            raise error

    async def _open_door(self) -> None:
        self._door = web.TCPSite(self._runner, LOOPBACK, self._port, reuse_address=True)
        await self._door.start()
        self._up.set()

    async def _close_door(self) -> None:
        self._up.clear()
        if self._door.name in {site.name for site in self._runner.sites}:
            await self._door.stop()
        for connection in list(self._runner.server.connections if self._runner.server else []):
            if connection.transport is not None:
                connection.transport.abort()

    def _kubeconfig(self) -> Object:
        named = {"name": "fake"}
        context = {"cluster": "fake", "user": "fake", "namespace": NAMESPACE}
        return {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{**named, "cluster": {"server": self.url}}],
            "users": [{**named, "user": {"token": "fake"}}],
            "contexts": [{**named, "context": context}],
            "current-context": "fake",
        }
