"""Batches: nothing lost or mixed, whatever fails and wherever memory runs out."""

from collections.abc import Collection, Hashable, Sequence
from dataclasses import dataclass, field
from itertools import groupby, pairwise
from threading import Barrier, Lock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.batches import Batches
from tasks.errors import DeviceError

NO_MEMORY = "CUDA failed with error out of memory"


@dataclass(frozen=True)
class Item:
    """What goes into a batch with others of its kind."""

    number: int
    kind: Hashable = None
    length: float = 1.0
    broken: bool = False


@dataclass
class Model:
    """A device with room for so many items at a time, on which broken ones fail, with a memory of what it was given.

    `tried` are all batches, `done` those that it got through, `failed` the items that failed alone.
    """

    room: int = 1000
    out_of_memory: Exception = field(default_factory=lambda: RuntimeError(NO_MEMORY))
    tried: list[Sequence[Item]] = field(default_factory=list)
    done: list[Sequence[Item]] = field(default_factory=list)
    failed: dict[Item, str] = field(default_factory=dict)
    lock: Lock = field(default_factory=Lock)

    def step(self, batch: Sequence[Item]) -> None:
        """Work on a batch."""
        with self.lock:
            self.tried.append(batch)
        if len(batch) > self.room:
            raise self.out_of_memory
        for item in batch:
            if item.broken:
                message = f"{item.number} is broken"
                raise ValueError(message)
        with self.lock:
            self.done.append(batch)

    def note(self, item: Item, error: Exception) -> None:
        """Keep what failed."""
        with self.lock:
            assert item not in self.failed
            self.failed[item] = str(error)

    def work(self, batches: Batches, items: Collection[Item], most: int | None = None) -> None:
        """All items, by kind and length."""
        batches.run(items, self.step, self.note, key=lambda item: item.kind, length=lambda item: item.length, most=most)

    @property
    def sizes(self) -> list[int]:
        """Of the batches that it was given, in order."""
        return [len(batch) for batch in self.tried]


def ordered(items: Collection[Item]) -> list[Item]:
    """Items in the order in which they come: the kind of the longest first."""
    by_length = sorted(items, key=lambda item: -item.length)
    kinds = list(dict.fromkeys(item.kind for item in by_length))
    return sorted(by_length, key=lambda item: kinds.index(item.kind))


def numbered(found: list[tuple[Hashable, float, bool]]) -> list[Item]:
    """Items, each with a number of its own."""
    return [Item(number, *rest) for number, rest in enumerate(found)]


ITEM = st.tuples(st.sampled_from(["en", None, ("a", 1)]), st.sampled_from([0.5, 2.0, 9.0, 28.0]), st.booleans())
ITEMS = (st.lists(ITEM, max_size=20) | st.lists(ITEM, min_size=8, max_size=40)).map(numbered)
SIZES = st.integers(1, 12)


# ------------------------------------------------------------------------------------------------- nothing is lost


@pytest.mark.parametrize("workers", [1, 2])
@given(items=ITEMS, size=SIZES, room=SIZES, most=st.none() | SIZES)
@settings(deadline=None)
def test_every_item_is_worked_on_once(workers: int, items: list[Item], size: int, room: int, most: int | None) -> None:
    """Whatever fails, and wherever memory runs out: once in a batch that succeeds, or failed for its own fault."""
    batches, model = Batches(size, workers), Model(room)
    model.work(batches, items, most)
    done = [item.number for batch in model.done for item in batch]
    assert sorted(done + [item.number for item in model.failed]) == list(range(len(items)))
    assert {item: f"{item.number} is broken" for item in items if item.broken} == model.failed


@pytest.mark.parametrize("workers", [1, 2])
@given(items=ITEMS, size=SIZES, room=SIZES, most=st.none() | SIZES)
@settings(max_examples=60, deadline=None)
def test_batches_are_of_like_items(workers: int, items: list[Item], size: int, room: int, most: int | None) -> None:
    """One kind, the longest first, and no more of them than there may be; none is empty."""
    batches, model = Batches(size, workers), Model(room)
    model.work(batches, items, most)
    for batch in model.tried:
        assert 1 <= len(batch) <= min(size, most or size)
        assert 1 == len({item.kind for item in batch})
        assert all(before.length >= after.length for before, after in pairwise(batch))
    assert all(len(batch) <= room for batch in model.done)


@given(items=ITEMS, size=SIZES, room=SIZES, most=st.none() | SIZES)
@settings(max_examples=60, deadline=None)
def test_one_worker_keeps_the_order(items: list[Item], size: int, room: int, most: int | None) -> None:
    """Kind by kind, from the longest to the shortest; also what is tried again stays in its place."""
    model = Model(room)
    model.work(Batches(size), items, most)
    assert [item for item in ordered(items) if not item.broken] == [item for batch in model.done for item in batch]
    assert [item for item in ordered(items) if item.broken] == list(model.failed)


@given(items=ITEMS, size=SIZES, most=st.none() | SIZES)
@settings(max_examples=60, deadline=None)
def test_batches_are_full(items: list[Item], size: int, most: int | None) -> None:
    """Of each kind only the last one may have fewer, and no batch holds anything longer than the one before."""
    model = Model()
    model.work(Batches(size), [item for item in items if not item.broken], most)
    for _, group in groupby(model.done, lambda batch: batch[0].kind):
        found = list(group)
        assert all(min(size, most or size) == len(batch) for batch in found[:-1])
        assert all(before[-1].length >= after[0].length for before, after in pairwise(found))


@pytest.mark.parametrize("workers", [1, 2])
def test_nothing_to_do(workers: int) -> None:
    """No items, no batch; items may also come one by one."""
    model = Model()
    model.work(Batches(8, workers), [])
    assert [] == model.tried
    Batches(8, workers).run((Item(number) for number in range(3)), model.step, model.note)
    assert 3 == sum(model.sizes)


@pytest.mark.parametrize(("size", "most", "expected"), [(16, 4, [4, 4, 2]), (3, 4, [3, 3, 3, 1]), (16, None, [10])])
def test_a_batch_of_most(size: int, most: int | None, expected: list[int]) -> None:
    """Where a step takes fewer at once; what others take does not change."""
    batches, model = Batches(size), Model()
    model.work(batches, numbered([(None, 1.0, False)] * 10), most)
    assert (expected, size) == (model.sizes, batches.size)


# ---------------------------------------------------------------------------------------------------------- memory


@pytest.mark.parametrize("error", [RuntimeError(NO_MEMORY), MemoryError("std::bad_alloc")], ids=repr)
def test_batches_shrink_when_memory_runs_out(error: Exception) -> None:
    """By halves, as often as it takes; all that follow are no larger, also of the next step."""
    batches, model = Batches(8), Model(3, error)
    model.work(batches, numbered([(None, 1.0, False)] * 12))
    assert [8, 4, 2, 2, 2, 2, 2, 2] == model.sizes
    assert (2, 2) == (batches.size, batches.halvings)
    another = Model(3)
    another.work(batches, numbered([(None, 1.0, False)] * 5))
    assert [2, 2, 1] == another.sizes
    assert (2, 2) == (batches.size, batches.halvings)


@given(items=ITEMS, size=SIZES, room=SIZES, workers=st.integers(1, 2))
@settings(max_examples=60, deadline=None)
def test_halvings_are_counted(items: list[Item], size: int, room: int, workers: int) -> None:
    """Where memory suffices nothing changes; else the size that is left fits, and each halving was one."""
    batches, model = Batches(size, workers), Model(room)
    model.work(batches, items)
    short = sum(len(batch) > room for batch in model.tried)
    assert (batches.halvings > 0) == (short > 0)
    assert batches.halvings <= short
    assert 1 <= batches.size <= size >> batches.halvings
    assert (batches.size == size) == (short == 0)


def test_a_batch_too_few_shrinks_from_its_own_size() -> None:
    """Memory that runs out with 5 of at most 64 has none for 32 either."""
    batches, model = Batches(64), Model(4)
    model.work(batches, numbered([(None, 1.0, False)] * 5))
    assert ([5, 2, 2, 1], 2, 1) == (model.sizes, batches.size, batches.halvings)


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("size", [1, 8])
def test_no_memory_even_for_one(size: int, workers: int) -> None:
    """No smaller batch can help: the run stops, and says what the library said."""
    batches, model = Batches(size, workers), Model(room=0)
    with pytest.raises(DeviceError, match=f"no memory for a batch of one chunk: {NO_MEMORY}") as caught:
        model.work(batches, numbered([(None, 1.0, False)] * 9))
    assert isinstance(caught.value.__cause__, RuntimeError)
    assert ([], {}) == (model.done, model.failed)


def test_two_that_run_out_together_halve_once() -> None:
    """Both workers hold a batch when memory is short: that they are too large is found out twice, and counted once."""
    both = Barrier(2, timeout=60)
    batches, model = Batches(4, workers=2), Model()

    def step(batch: Sequence[Item]) -> None:
        if len(batch) == 4:
            both.wait()
            raise RuntimeError(NO_MEMORY)
        model.step(batch)

    batches.run(numbered([(None, 1.0, False)] * 8), step, model.note)
    assert ([2, 2, 2, 2], 2, 1) == (model.sizes, batches.size, batches.halvings)


# -------------------------------------------------------------------------------------------------------- failures


@pytest.mark.parametrize("workers", [1, 2])
def test_what_fails_fails_alone(workers: int) -> None:
    """The others of its batch are worked on, each by itself; batches without a fault stay whole."""
    items = [Item(number, broken=number == 2) for number in range(8)]
    model = Model()
    model.work(Batches(4, workers), items)
    assert {items[2]: "2 is broken"} == model.failed
    assert [[0], [1], [3], [4, 5, 6, 7]] == sorted([item.number for item in batch] for batch in model.done)


def test_a_batch_may_break_that_nothing_in_it_breaks() -> None:
    """A fault that is nobody's own: alone, everything succeeds."""
    model = Model()

    def step(batch: Sequence[Item]) -> None:
        if len(batch) > 1:
            message = "these do not go together"
            raise ValueError(message)
        model.step(batch)

    Batches(4).run(numbered([(None, 1.0, False)] * 4), step, model.note)
    assert ([1, 1, 1, 1], {}) == (model.sizes, model.failed)


@pytest.mark.parametrize("workers", [1, 2])
def test_what_is_none_of_its_business_goes_on(workers: int) -> None:
    """Who stops the program is not taken for a broken item."""

    def step(batch: Sequence[Item]) -> None:
        raise KeyboardInterrupt(len(batch))

    model = Model()
    with pytest.raises(KeyboardInterrupt):
        Batches(2, workers).run(numbered([(None, 1.0, False)] * 6), step, model.note)
    assert {} == model.failed


@pytest.mark.parametrize(
    ("items", "most", "workers", "expected"),
    [(11, 8, 2, [6, 5]), (8, 8, 2, [4, 4]), (17, 8, 2, [5, 4, 4, 4]), (3, 8, 4, [1, 1, 1]), (11, 8, 1, [8, 3]),
     (1, 8, 2, [1]), (16, 8, 1, [8, 8]), (0, 8, 2, [])],
)  # fmt: skip
def test_workers_share_evenly(items: int, most: int, workers: int, expected: list[int]) -> None:
    """No worker is left with a rest while another has a full batch."""
    found: list[int] = []
    Batches(most, workers).run(range(items), lambda batch: found.append(len(batch)), lambda *_: None)
    assert expected == sorted(found, reverse=True)


@pytest.mark.parametrize(
    ("groups", "expected"),
    [((7, 1), [4, 3, 1]), ((8, 8), [8, 8]), ((9, 3), [3, 3, 3, 3]), ((1, 1, 1), [1, 1, 1]), ((2,), [1, 1])],
)
def test_workers_share_several_kinds(groups: tuple[int, ...], expected: list[int]) -> None:
    """The largest batches come first, and none is so large that the other worker has to wait for it."""
    model = Model()
    items = [Item(number, kind) for kind, count in enumerate(groups) for number in range(count)]
    model.work(Batches(8, 2), items)
    assert expected == sorted(model.sizes, reverse=True)


@given(items=ITEMS, size=SIZES, workers=st.integers(2, 4))
@settings(max_examples=100, deadline=None)
def test_batches_of_a_kind_are_even(items: list[Item], size: int, workers: int) -> None:
    """They differ by one item at most, and are no more than are needed, and one for each worker."""
    sound = [item for item in items if not item.broken]
    model = Model()
    model.work(Batches(size, workers), sound)
    needed = 0
    for kind in {item.kind for item in sound}:
        sizes = [len(batch) for batch in model.done if batch[0].kind == kind]
        assert max(sizes) - min(sizes) <= 1
        needed += -(-sum(sizes) // size)
    assert needed <= len(model.done) <= needed + workers
