"""What the tests can let go wrong in the cluster, by their own hand."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass
class Faults:
    """Faults that stand until they are used up or cleared. Used in the cluster's thread; tests use `Cluster.faults`.

    Args:
        create_failures: HTTP statuses with which the next creations of Jobs are answered.
        hold_creations: creations of Jobs wait without an answer, "before" the Job is stored or "after" it; None: they
            do not. Those whose client goes away meanwhile go no further.
        broken_gpus: nodes whose GPUs are dead: containers come without the node's `gpu_environment`.
        unpullable: images cannot be pulled: new pods wait with `ErrImagePull`.
        held: how many creations wait.
    """

    create_failures: list[int] = field(default_factory=list)
    hold_creations: str | None = None
    broken_gpus: set[str] = field(default_factory=set)
    unpullable: bool = False
    held: int = 0
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    def tell(self) -> None:
        """Wake whoever waits for a change of the faults."""
        woken, self.changed = self.changed, asyncio.Event()
        woken.set()

    async def held_creation(self) -> None:
        """Wait for as long as creations are held."""
        self.held += 1
        self.tell()
        try:
            while self.hold_creations is not None:
                await self.changed.wait()
        finally:
            self.held -= 1
            self.tell()


class ClusterFaults:
    """The faults of a cluster as the tests set them. All stand until they are used up, or until `clear`."""

    def __init__(self, faults: Faults, do: Callable[[Callable[[], None]], None]) -> None:
        self._faults, self._do = faults, do

    def fail_creations(self, times: int, status: int = 500) -> None:
        """Answer the next creations of Jobs with an error."""
        self._set(lambda: self._faults.create_failures.extend([status] * times))

    def hold_creations(self, when: str = "before") -> None:
        """Let the creations of Jobs wait without an answer: "before" the Job exists, or "after" it."""
        self._set(lambda: setattr(self._faults, "hold_creations", when))

    def held_creations(self) -> int:
        """How many creations wait."""
        return self._faults.held

    def break_gpu(self, node: str) -> None:
        """Take a node's `gpu_environment` from the containers that start there from now on."""
        self._set(lambda: self._faults.broken_gpus.add(node))

    def mend_gpu(self, node: str) -> None:
        """End `break_gpu`."""
        self._set(lambda: self._faults.broken_gpus.discard(node))

    def unpullable_images(self, *, unpullable: bool = True) -> None:
        """Let new pods wait with ErrImagePull."""
        self._set(lambda: setattr(self._faults, "unpullable", unpullable))

    def clear(self) -> None:
        """End all faults; what is held goes on."""

        def clear() -> None:
            self._faults.create_failures.clear()
            self._faults.broken_gpus.clear()
            self._faults.hold_creations, self._faults.unpullable = None, False

        self._set(clear)

    def _set(self, change: Callable[[], None]) -> None:
        def act() -> None:
            change()
            self._faults.tell()

        self._do(act)
