"""The device gate: a device proves itself or the run stops; nothing falls back."""

import ctypes
import importlib.util
import os
from pathlib import Path
from types import SimpleNamespace

import pytest

from tasks import devices
from tasks.devices import CUDA_LIBRARIES, Device, compute_type_for, open_device, usable_cores
from tasks.errors import DeviceError


def cuda_devices() -> int:
    """How many CUDA devices CTranslate2 sees."""
    import ctranslate2

    try:
        return ctranslate2.get_cuda_device_count()
    except RuntimeError:
        return 0


# --------------------------------------------------------------------------------------------------- the gate


def test_the_cpu_proves_itself() -> None:
    """The CPU has its name, and computes in int8 unless told otherwise."""
    device = open_device("cpu")
    assert ("cpu", 0, "int8", "cpu") == (device.kind, device.index, device.compute_type, device.torch_name)
    assert device.name
    assert device.name == device.name.strip()


def test_another_compute_type() -> None:
    """A type that the device has is used as asked."""
    assert "float32" == open_device("cpu", "float32").compute_type


@pytest.mark.parametrize("compute_type", ["float7", "", "INT8", "bfloat16 "])
def test_an_unknown_compute_type(compute_type: str) -> None:
    """A type that the device cannot compute in names the setting and what there is."""
    with pytest.raises(DeviceError, match=r"cpu cannot compute in .* \(models.compute_type\); it can in .*int8"):
        open_device("cpu", compute_type)


@pytest.mark.parametrize("index", [0, 99])
def test_cuda_without_a_device(index: int) -> None:
    """Asked for a GPU that is not there: one sentence with what was seen and what to check, and no fallback."""
    if index < cuda_devices():
        pytest.skip("this machine has that CUDA device")
    with pytest.raises(DeviceError) as caught:
        open_device(f"cuda:{index}")
    message = caught.value.message
    assert message.startswith(f"cuda:{index} was asked for and cannot be used (torch ")
    for hint in ("ctranslate2", "nvidia-smi", "nvidia.com/gpu", "ask for cpu"):
        assert hint in message
    assert "\n" not in message
    assert 6 == caught.value.exit_code


def test_cuda_means_the_first() -> None:
    """`cuda` is `cuda:0`."""
    if cuda_devices():
        assert 0 == open_device("cuda").index
        return
    with pytest.raises(DeviceError, match=r"^cuda:0 was asked for"):
        open_device("cuda")


@pytest.mark.parametrize(
    ("name", "asked", "expected"),
    [
        ("cpu", "default", "int8"),
        ("cuda", "default", "float16"),
        ("cuda:3", "default", "float16"),
        ("cpu", "float32", "float32"),
        ("cuda:1", "int8_float16", "int8_float16"),
    ],
)
def test_the_compute_type_of_a_device(name: str, asked: str, expected: str) -> None:
    """Known without touching the device, for fingerprints of machines that have none."""
    assert expected == compute_type_for(name, asked)


@pytest.mark.parametrize(
    ("device", "name"), [(Device("cpu", 0, "x", "int8"), "cpu"), (Device("cuda", 2, "x", "float16"), "cuda:2")]
)
def test_the_name_for_torch(device: Device, name: str) -> None:
    """How torch calls a device."""
    assert name == device.torch_name


def test_a_device_that_cannot_compute(monkeypatch: pytest.MonkeyPatch) -> None:
    """A device that is listed and fails in the tiny inference is refused."""
    import torch

    def broken(*_: object, **__: object) -> None:
        message = "no kernel image is available for execution on the device"
        raise RuntimeError(message)

    monkeypatch.setattr(torch, "ones", broken)
    with pytest.raises(DeviceError, match="cpu is there and cannot compute: no kernel image"):
        open_device("cpu")


def test_a_device_that_computes_wrongly(monkeypatch: pytest.MonkeyPatch) -> None:
    """A device whose product is wrong is refused, with what came out."""
    import torch

    monkeypatch.setattr(torch, "ones", lambda shape, device: torch.full(shape, 2.0, device=device))
    with pytest.raises(DeviceError, match=r"cpu computes wrongly: .* 4096 came out as 16384.0"):
        open_device("cpu")


# -------------------------------------------------------------------------------------------- CUDA's libraries


@pytest.fixture
def nvidia(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    """Two folders where the package `nvidia` is found, the first of them empty."""
    roots = tmp_path / "user" / "nvidia", tmp_path / "site" / "nvidia"
    for root in roots:
        root.mkdir(parents=True)
    spec = SimpleNamespace(submodule_search_locations=[str(root) for root in roots])
    monkeypatch.setattr(importlib.util, "find_spec", {"nvidia": spec}.get)
    return roots


@pytest.fixture
def loaded(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
    """What was loaded, in order, with its mode; nothing is loaded really."""
    calls: list[tuple[str, int]] = []
    monkeypatch.setattr(ctypes, "CDLL", lambda path, mode: calls.append((path, mode)))
    return calls


def put(root: Path, *libraries: str) -> list[str]:
    """Empty files with the names of libraries."""
    for library in libraries:
        (root / library).parent.mkdir(parents=True, exist_ok=True)
        (root / library).touch()
    return [str(root / library) for library in libraries]


def test_libraries_load_in_order(nvidia: tuple[Path, Path], loaded: list[tuple[str, int]]) -> None:
    """Each needs symbols of those before it, which only a global load gives; found by full path."""
    expected = put(nvidia[1], *CUDA_LIBRARIES)
    put(nvidia[1], "cufft/lib/libcufft.so.11")
    devices._preload_cuda_libraries()
    assert [(path, ctypes.RTLD_GLOBAL) for path in expected] == loaded
    names = [Path(path).name.partition(".")[0] for path, _ in loaded]
    assert names.index("libcudart") < names.index("libcublasLt") < names.index("libcublas")


def test_the_first_folder_wins(nvidia: tuple[Path, Path], loaded: list[tuple[str, int]]) -> None:
    """A library that is in both folders is loaded once, from the first."""
    put(nvidia[1], *CUDA_LIBRARIES)
    (first,) = put(nvidia[0], CUDA_LIBRARIES[1])
    devices._preload_cuda_libraries()
    assert len(CUDA_LIBRARIES) == len(loaded)
    assert first == loaded[1][0]


@pytest.mark.parametrize("missing", CUDA_LIBRARIES)
def test_what_is_missing_is_the_systems(nvidia: tuple[Path, Path], loaded: list[tuple[str, int]], missing: str) -> None:
    """A library that no wheel brought is left to the system's search path; the others are loaded."""
    put(nvidia[1], *(library for library in CUDA_LIBRARIES if library != missing))
    devices._preload_cuda_libraries()
    assert [Path(library).name for library in CUDA_LIBRARIES if library != missing] == [
        Path(path).name for path, _ in loaded
    ]


@pytest.mark.parametrize("spec", [None, SimpleNamespace(submodule_search_locations=None)])
def test_without_wheels_nothing_is_loaded(
    monkeypatch: pytest.MonkeyPatch, loaded: list[tuple[str, int]], spec: SimpleNamespace | None
) -> None:
    """No package `nvidia`, or an odd one: the system must have the libraries."""
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: spec)
    devices._preload_cuda_libraries()
    assert [] == loaded


def test_a_library_that_does_not_load(nvidia: tuple[Path, Path]) -> None:
    """A broken library is named before anything uses it."""
    put(nvidia[1], *CUDA_LIBRARIES)
    with pytest.raises(DeviceError, match=r"^cannot load libcudart.so.12 for cuda: "):
        devices._preload_cuda_libraries()


# -------------------------------------------------------------------------------------------------------- cores


@pytest.mark.parametrize("cores", [1, 3, 16])
def test_usable_cores(monkeypatch: pytest.MonkeyPatch, cores: int) -> None:
    """As many as this process may use, not as many as the machine has."""
    monkeypatch.setattr(os, "cpu_count", lambda: 128)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(cores)))
    assert cores == usable_cores()
