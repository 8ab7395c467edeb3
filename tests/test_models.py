"""Models on a device: how many chunks are decoded at once."""

from dataclasses import dataclass, field

import pytest

from tasks.batches import Batches
from tasks.devices import CPU_BATCH, Device, Memory
from tasks.models import Models, fit_batches
from tasks.setting_groups import RecognizerSettings

GIB = 2**30


@dataclass
class Card:
    """What the libraries say of a GPU's memory; of the layer, nothing else is asked for."""

    free: int

    def memory(self, kind: str, index: int) -> Memory:
        """So much is free."""
        assert ("cuda", 1) == (kind, index)
        return Memory(self.free, 80 * GIB)


@dataclass
class Loaded:
    """What of a recogniser is needed: its dimension, and its batches."""

    size: int
    batches: Batches = field(default_factory=lambda: Batches(CPU_BATCH))

    def dimension(self) -> int:
        """That of the model."""
        return self.size


def fitted(kind: str, free: int, dimension: int = 1280, **settings: object) -> int:
    """The size of a batch after all models are loaded."""
    recognizer = Loaded(dimension)
    models = Models(None, Device(kind, 1, "a card", "float16"), recognizer, None)
    fit_batches(models, RecognizerSettings(**settings), Card(free))
    return recognizer.batches.size


@pytest.mark.parametrize(
    ("free", "dimension", "expected"),
    [(75 * GIB, 1280, 32), (20 * GIB, 1280, 8), (3 * GIB, 1280, 1), (75 * GIB, 512, 64), (75 * GIB, 999, 48)],
)
def test_a_gpu_decodes_as_many_as_fit(free: int, dimension: int, expected: int) -> None:
    """By the memory that is left, and by the model; of an unknown one the most layers are taken to be there."""
    assert expected == fitted("cuda", free, dimension)


def test_a_set_size_stands() -> None:
    """The memory is not even looked at."""
    assert CPU_BATCH == fitted("cuda", 0, batch_size=5)


def test_a_cpu_has_its_own_size() -> None:
    """Whatever memory it has."""
    assert CPU_BATCH == fitted("cpu", 75 * GIB)
