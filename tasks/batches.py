"""Batches of like items, of a size that shrinks when memory runs out; an item that fails fails alone."""

from __future__ import annotations

import logging
from collections.abc import Callable, Hashable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from heapq import heapreplace
from itertools import pairwise
from threading import Lock
from typing import TypeVar

from tasks.devices import is_out_of_memory
from tasks.errors import DeviceError
from tasks.heartbeat import HEART

T = TypeVar("T")
Step = Callable[[Sequence[T]], None]
# Beside its items, a batch takes about as long as so many more of them: its steps are those of its longest text.
BATCH_COST = 1
_LOG = logging.getLogger(__name__)


class Batches:
    """How many items go through a model at once; one for each loaded model, as what it learns holds for all batches.

    Attributes:
        size: items in a full batch.
        halvings: how often it was halved because memory ran out.

    Args:
        size: to begin with.
        workers: batches that are worked on at a time, each in a thread of its own.
    """

    def __init__(self, size: int, workers: int = 1) -> None:
        self.size = size
        self.halvings = 0
        self.workers = workers
        self._lock = Lock()

    def run(
        self,
        items: Iterable[T],
        step: Step[T],
        failed: Callable[[T, Exception], None],
        key: Callable[[T], Hashable] = lambda _: None,
        length: Callable[[T], float] = lambda _: 0.0,
        most: int | None = None,
    ) -> None:
        """Hand every item to `step` exactly once, in batches, longest first.

        A batch that runs out of memory is tried again as two halves, and all that follow are no larger. A batch that
        fails otherwise is tried again item by item, and what fails alone goes to `failed`.

        Args:
            items: in any order.
            step: works on a batch; what it did to a batch that it failed on does not count.
            failed: told of an item that fails alone.
            key: items of one batch have the same.
            length: of an item; items of like length share a batch, so that they are done at the same time. What has the
                same key comes together, the key of the longest item first.
            most: items in a batch, where that is less than `size`.

        Raises:
            DeviceError: memory does not suffice for one item.
        """
        alike: dict[Hashable, list[T]] = {}
        for item in sorted(items, key=lambda item: -length(item)):
            alike.setdefault(key(item), []).append(item)
        size = min(self.size, most or self.size)
        batches = _full(alike.values(), size) if self.workers == 1 else _shared(alike.values(), size, self.workers)
        if self.workers == 1 or len(batches) < 2:  # nothing to do side by side
            for batch in batches:
                self._work(batch, step, failed)
            return
        with ThreadPoolExecutor(self.workers, thread_name_prefix="batch") as pool:
            working = [pool.submit(self._work, batch, step, failed) for batch in batches]
            try:
                for done in working:
                    done.result()
            except BaseException:  # the device has no memory, or the process is to end
                pool.shutdown(cancel_futures=True)
                raise

    def _work(self, batch: Sequence[T], step: Step[T], failed: Callable[[T, Exception], None]) -> None:
        """One batch; in pieces, where it has become too large or holds something that fails."""
        size = self.size  # once: it may shrink between two pieces
        if len(batch) > size:
            for start in range(0, len(batch), size):
                self._work(batch[start : start + size], step, failed)
            return
        try:
            step(batch)
        except Exception as error:  # noqa: BLE001  # whatever a library raises
            if is_out_of_memory(error):
                self._halve(len(batch), error)
                again = [batch]
            elif len(batch) == 1:
                failed(batch[0], error)
                return
            else:
                again = [[item] for item in batch]
        else:
            HEART.beat()
            return
        # Not before the error is gone: it holds on to what the failed step had.
        for part in again:
            self._work(part, step, failed)

    def _halve(self, tried: int, error: Exception) -> None:
        if tried == 1:
            message = f"the device has no memory for a batch of one chunk: {error}"
            raise DeviceError(message) from error
        with self._lock:
            # Another worker may have halved it meanwhile.
            if self.size >= tried:
                self.size = tried // 2
                self.halvings += 1
                _LOG.warning("out of memory with a batch of %d; going on with %d", tried, self.size)


def _full(groups: Iterable[Sequence[T]], size: int) -> list[Sequence[T]]:
    """Batches of so many of each group; the last one of a group holds what is left."""
    return [group[start : start + size] for group in groups for start in range(0, len(group), size)]


def _shared(groups: Iterable[Sequence[T]], most: int, workers: int) -> list[Sequence[T]]:
    """Batches of at most so many, largest first, that keep all workers at it: eleven items are six and five for two.

    Groups are parted further as long as the last worker is done sooner for it.
    """
    held = list(groups)
    parts = [-(-len(group) // most) for group in held]
    best = _parts(held, parts)
    for _ in range(workers):
        sizes = [-(-len(group) // count) for group, count in zip(held, parts, strict=True)]
        largest = max(range(len(held)), key=sizes.__getitem__, default=None)
        if largest is None or sizes[largest] == 1:
            break
        parts[largest] += 1
        other = _parts(held, parts)
        if _last_done(other, workers) < _last_done(best, workers):
            best = other
    return best


def _last_done(batches: Iterable[Sequence[T]], workers: int) -> int:
    """When the last of the workers is done, each taking the next batch when it is free; a batch costs its overhead."""
    busy = [0] * workers
    for batch in batches:
        heapreplace(busy, busy[0] + len(batch) + BATCH_COST)
    return max(busy)


def _parts(groups: Sequence[Sequence[T]], counts: Sequence[int]) -> list[Sequence[T]]:
    """Each group in so many parts; the largest parts of all first."""
    parts = [part for group, count in zip(groups, counts, strict=True) for part in _parted(group, count)]
    return sorted(parts, key=lambda part: -len(part))


def _parted(group: Sequence[T], count: int) -> list[Sequence[T]]:
    """A group in so many parts, in order, of which none has two more than another."""
    size, over = divmod(len(group), count)
    bounds = [index * size + min(index, over) for index in range(count + 1)]
    return [group[start:end] for start, end in pairwise(bounds)]
