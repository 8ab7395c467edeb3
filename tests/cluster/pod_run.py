"""One pod's process from its start to its end: stops, grace times and probes."""

import asyncio
import time
from collections.abc import Mapping
from typing import Any

from .containers import Container
from .objects import Object
from .processes import end_processes, run_probe, start_process

_CANNOT_RUN = 128


class PodRun:
    """What the kubelet knows of a pod. `process` is None until the container has started.

    `reason` and `message` go into the container's state when it has failed; `node` and `gpus` say what the pod takes.
    """

    def __init__(self) -> None:
        self.node: str | None = None
        self.gpus = 0
        self.reason: str | None = None
        self.message: str | None = None
        self.process: asyncio.subprocess.Process | None = None
        self.wake = asyncio.Event()
        self._kill_at: float | None = None
        self._container: Container | None = None
        self._spec: Object = {}
        self._grace_s = 30.0

    @property
    def stopped(self) -> bool:
        """Whether the pod shall end."""
        return self._kill_at is not None

    def stop(self, grace_s: float) -> None:
        """Let the pod end: SIGTERM to its first process, and SIGKILL to all after the grace time.

        A second call can shorten the grace time, but not lengthen it.
        """
        kill_at = time.monotonic() + grace_s
        self._kill_at = kill_at if self._kill_at is None else min(self._kill_at, kill_at)
        self.wake.set()

    async def start(self, container: Container, pod_spec: Object) -> None:
        """Start the process. A program that is not there is one that ends at once, as the container runtime has it."""
        spec = pod_spec["containers"][0]
        self._container, self._spec = container, spec
        self._grace_s = float(pod_spec.get("terminationGracePeriodSeconds", 30))
        command = list(container.command)
        if not command[0]:
            self.reason, self.message = (
                "StartError",
                f"exec: {spec.get('command') or spec.get('args')}: not found in $PATH",
            )
            command = ["/bin/sh", "-c", f"exit {_CANNOT_RUN}"]
        self.process = await start_process(command, container.environment, container.folder, container.log)

    async def finished(self, uid: str) -> int:
        """Wait for the end of the process, and see to it where it shall end; its exit code as Kubernetes gives it."""
        if self.process is None or self._container is None:
            raise RuntimeError("the pod has not been started")
        ended = asyncio.ensure_future(self.process.wait())
        probes = asyncio.ensure_future(self._watch_probes(self._container, self._spec))
        terminated = False
        try:
            while not ended.done():
                woken = asyncio.ensure_future(self.wake.wait())
                left = None if self._kill_at is None else max(0.0, self._kill_at - time.monotonic())
                await asyncio.wait({ended, woken}, timeout=left, return_when=asyncio.FIRST_COMPLETED)
                woken.cancel()
                self.wake.clear()
                if self._kill_at is None or ended.done():
                    continue
                if not terminated:
                    self.process.terminate()
                    terminated = True
                if time.monotonic() >= self._kill_at:
                    await end_processes(uid)
        finally:
            probes.cancel()
            ended.cancel()
        await end_processes(uid)
        code = await self.process.wait()
        return code if code >= 0 else 128 - code

    async def _watch_probes(self, container: Container, spec: Object) -> None:
        """Stop the pod when its startup probe never succeeds, or its liveness probe fails later."""
        for name in ("startupProbe", "livenessProbe"):
            probe = spec.get(name)
            if probe is None:
                continue
            if not await self._probe(container, probe, until_success=name == "startupProbe"):
                self.message = f"Container {spec['name']} failed {name.removesuffix('Probe')} probe, will be restarted"
                self.stop(float(probe.get("terminationGracePeriodSeconds", self._grace_s)))
                return

    async def _probe(self, container: Container, probe: Mapping[str, Any], *, until_success: bool) -> bool:
        """Probe again and again: True at the first success where that is wanted, False after too many failures."""
        command = container.replaced(probe["exec"]["command"])
        period_s, timeout_s = float(probe.get("periodSeconds", 10)), float(probe.get("timeoutSeconds", 1))
        failures = 0
        await asyncio.sleep(float(probe.get("initialDelaySeconds", 0)))
        while failures < probe.get("failureThreshold", 3):
            if await run_probe(command, container.environment, container.folder, timeout_s):
                failures = 0
                if until_success:
                    return True
            else:
                failures += 1
            if failures < probe.get("failureThreshold", 3):
                await asyncio.sleep(period_s)
        return False
