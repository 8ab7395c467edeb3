"""The device gate: everything that is particular to a kind of device is here.

The device is always asked for by name. A device that is not there, or cannot compute, stops the run before it takes
work; `tasks.models` then proves it with the loaded models themselves. Nothing ever falls back to another device.
"""

from __future__ import annotations

import ctypes
import importlib.util
import os
from dataclasses import dataclass
from pathlib import Path

from tasks.errors import DeviceError

DEFAULT_COMPUTE_TYPE = {"cpu": "int8", "cuda": "float16"}
# What ctranslate2 opens by name at its first product, in the order in which they need each other.
CUDA_LIBRARIES = (
    "cuda_runtime/lib/libcudart.so.12",
    "cublas/lib/libcublasLt.so.12",
    "cublas/lib/libcublas.so.12",
)


@dataclass(frozen=True, slots=True)
class Device:
    """A device that has proved itself: `kind` is cpu or cuda, `name` what the driver calls it."""

    kind: str
    index: int
    name: str
    compute_type: str

    @property
    def torch_name(self) -> str:
        """How torch calls it."""
        return "cpu" if self.kind == "cpu" else f"cuda:{self.index}"


def open_device(name: str, compute_type: str = "default") -> Device:
    """Find a device and have torch compute something on it.

    Args:
        name: `cpu`, `cuda` or `cuda:N`.
        compute_type: CTranslate2's; `default` is int8 on cpu and float16 on cuda.

    Raises:
        DeviceError: the device is not there, its libraries do not load, or it cannot compute in this type.
    """
    kind, _, number = name.partition(":")
    index = int(number or 0)
    wanted = compute_type_for(name, compute_type)
    if kind == "cuda":
        _preload_cuda_libraries()
        _require_cuda(index)
    _require_compute_type(kind, index, wanted)
    return Device(kind, index, _prove(kind, index), wanted)


def compute_type_for(name: str, compute_type: str) -> str:
    """The compute type that a device is used with, without touching the device."""
    return DEFAULT_COMPUTE_TYPE[name.partition(":")[0]] if compute_type == "default" else compute_type


def _require_compute_type(kind: str, index: int, compute_type: str) -> None:
    import ctranslate2

    supported = ctranslate2.get_supported_compute_types(kind, index)
    if compute_type not in supported:
        message = (
            f"{kind} cannot compute in {compute_type} (models.compute_type); it can in {', '.join(sorted(supported))}"
        )
        raise DeviceError(message)


def _require_cuda(index: int) -> None:
    import ctranslate2
    import torch

    seen = f"torch {torch.__version__} sees {torch.cuda.device_count()} CUDA devices"
    try:
        count = ctranslate2.get_cuda_device_count()
    except RuntimeError as error:
        count, seen = 0, f"{seen}; ctranslate2 says: {error}"
    if not torch.cuda.is_available() or index >= count:
        message = (
            f"cuda:{index} was asked for and cannot be used ({seen}, ctranslate2 {count}): check `nvidia-smi`, the "
            "driver (525 or newer) and, on Kubernetes, the device plugin and the nvidia.com/gpu limit; or ask for cpu"
        )
        raise DeviceError(message)


def _prove(kind: str, index: int) -> str:
    """Compute something small on the device, and tell the device's name."""
    import torch

    device = torch.device("cpu" if kind == "cpu" else f"cuda:{index}")
    try:
        ones = torch.ones((16, 16), device=device)
        total = float((ones @ ones).sum().item())
    except RuntimeError as error:
        message = f"{device} is there and cannot compute: {error}"
        raise DeviceError(message) from error
    if total != 16.0**3:
        message = f"{device} computes wrongly: a product that sums to 4096 came out as {total}"
        raise DeviceError(message)
    return torch.cuda.get_device_name(device) if kind == "cuda" else _cpu_name()


def _preload_cuda_libraries() -> None:
    """Make ctranslate2 find the CUDA 12 libraries that torch's wheels brought, which are on no search path."""
    spec = importlib.util.find_spec("nvidia")
    roots = [Path(path) for path in spec.submodule_search_locations or ()] if spec else []
    for library in CUDA_LIBRARIES:
        found = next((root / library for root in roots if (root / library).is_file()), None)
        if found is None:
            continue  # then the system must have it; the proof with the loaded models shows whether it does
        try:
            ctypes.CDLL(str(found), mode=ctypes.RTLD_GLOBAL)
        except OSError as error:
            message = f"cannot load {found.name} for cuda: {error}"
            raise DeviceError(message) from error


def usable_cores() -> int:
    """How many cores this process may use; CTranslate2 would take four of any machine."""
    return len(os.sched_getaffinity(0))


def _cpu_name() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        for line in cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return "cpu"
