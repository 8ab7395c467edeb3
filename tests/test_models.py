"""Models on a device: how many chunks are decoded at once, and what is said where memory does not suffice."""

from dataclasses import dataclass, field

import pytest

from tasks import models as models_module
from tasks.batches import Batches
from tasks.devices import CPU_BATCH, Device
from tasks.errors import BundleError, DeviceError
from tasks.host import Memory
from tasks.models import Models, fit_batches, load_models, prove
from tasks.setting_groups import DiarizationSettings, ModelSettings, RecognizerSettings

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


# --------------------------------------------------------------------------------------------------- out of memory


@dataclass
class Failing:
    """A model that does not run."""

    error: Exception

    def prove(self) -> None:
        """Say why."""
        raise self.error


@dataclass
class Running:
    """A model that runs."""

    def prove(self) -> None:
        """All is well."""


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (RuntimeError("CUDA failed with error out of memory"), "has no memory to run the models"),
        (MemoryError("batch_size ( 32) is probably too large."), "has no memory to run the models"),
        (RuntimeError("no kernel image is available"), "cannot run the models"),
    ],
)
def test_why_models_do_not_run(error: Exception, expected: str) -> None:
    """Either model; pyannote.audio's MemoryError, too, is the device's."""
    for pair in ((Failing(error), Running()), (Running(), Failing(error))):
        with pytest.raises(DeviceError) as caught:
            prove(Models(None, Device("cuda", 1, "a card", "float16"), *pair))
        assert f"a card (cuda:1, float16) {expected}: {error}" == caught.value.message


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (RuntimeError("CUDA failed with error out of memory"), DeviceError),
        (MemoryError("std::bad_alloc"), DeviceError),
        (RuntimeError("Unsupported model binary version"), BundleError),
    ],
)
def test_a_device_too_small_for_the_models(
    models: Models, monkeypatch: pytest.MonkeyPatch, error: Exception, kind: type[Exception]
) -> None:
    """What does not fit is no fault of the bundle."""

    def load(*_: object) -> None:
        raise error

    monkeypatch.setattr(models_module, "load_diarizer", load)
    settings = ModelSettings(folder=models.bundle.folder.parent, bundle=models.bundle.name, device="cpu")
    with pytest.raises(kind, match=str(error)):
        load_models(settings, RecognizerSettings(), DiarizationSettings())


def test_a_bundle_that_cuda_does_not_load(models: Models, monkeypatch: pytest.MonkeyPatch) -> None:
    """What CUDA says while models load is the device's fault: the files' digests were right."""

    def load(*_: object) -> None:
        message = "CUDA failed with error no kernel image is available for execution on the device"
        raise RuntimeError(message)

    monkeypatch.setattr(models_module, "load_recognizer", load)
    monkeypatch.setattr(models_module, "open_device", lambda *_: Device("cuda", 0, "a card", "float16"))
    settings = ModelSettings(folder=models.bundle.folder.parent, bundle=models.bundle.name, device="cuda")
    with pytest.raises(DeviceError, match=r"^a card \(cuda:0\) cannot load bundle .*no kernel image"):
        load_models(settings, RecognizerSettings(), DiarizationSettings())
