"""The device gate: everything that is particular to a kind of device is here.

The device is always asked for by name. A device that is not there, or cannot compute, stops the run before it takes
work; `tasks.models` then proves it with the loaded models themselves. Nothing ever falls back to another device.

What the libraries say of devices comes through a `DeviceLayer`. Nothing else here touches a library, so that all
decisions are tested without a GPU.
"""

from __future__ import annotations

import ctypes
import importlib.util
from collections.abc import Callable, Collection
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from tasks.errors import DeviceError
from tasks.host import Memory, cpu_name, host_memory
from tasks.nvidia import driver_version

DEFAULT_COMPUTE_TYPE = {"cpu": "int8", "cuda": "float16"}
# What is opened by name at the first product, in the order in which they need each other. Found by `readelf -d` and
# `strings`: the library in ctranslate2's wheel (4.8.5) is linked to no CUDA library and holds the runtime; it opens
# libcublas.so.12, and libcuda.so.1, which is the driver's. libcublas needs libcublasLt, which opens libnvrtc.so.12.
# cuDNN is not among them: this wheel is built without it, and convolves by cuBLAS. torch finds its own cuDNN.
CUDA_LIBRARIES = (
    "cuda_nvrtc/lib/libnvrtc.so.12",
    "cublas/lib/libcublasLt.so.12",
    "cublas/lib/libcublas.so.12",
)
CPU_BATCH = 8
# Calls that are loaded at a time. Beside the models of a GPU cores are free, and two loaders let a small one wait
# (evaluation/benchmarks/gpu.md).
LOADERS = {"cpu": 2, "cuda": 4}
CUDA_BATCH_MOST = 64
CUDA_BATCH_STEP = 8
CUDA_MEMORY_SHARE = 0.6
# How the libraries say that memory is short, in errors that have no class of their own.
OUT_OF_MEMORY = (
    "CUDA failed with error out of memory",  # CTranslate2
    "CUDA out of memory",  # torch's allocator
    "CUDA error: out of memory",  # torch, beside its allocator, by the runtime and by the driver
    "CUDA driver error: out of memory",
    "cudaErrorMemoryAllocation",  # thrust, in either
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_ALLOC_FAILED",  # cuDNN 8, and the next two cuDNN 9
    "CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED",
    "CUDNN_STATUS_INTERNAL_ERROR_HOST_ALLOCATION_FAILED",
    "DefaultCPUAllocator: can't allocate memory",  # torch on the CPU
    "mkl_malloc: failed to allocate memory",  # CTranslate2 on the CPU
    "std::bad_alloc",
)


@dataclass(frozen=True, slots=True)
class Device:
    """A device that has proved itself.

    `kind` is cpu or cuda, `name` what the driver calls it, `driver` the driver's version; a CPU has none.
    """

    kind: str
    index: int
    name: str
    compute_type: str
    driver: str | None = None

    @property
    def torch_name(self) -> str:
        """How torch calls it."""
        return _torch_name(self.kind, self.index)

    @property
    def float_bytes(self) -> int:
        """The bytes of one float between the layers of a model; `int8` alone keeps the model's, 2 in our bundles."""
        return 4 if self.kind == "cpu" or self.compute_type.endswith("float32") else 2


class DeviceLayer(Protocol):
    """What the libraries say of devices. `kind` is cpu or cuda; a CPU has the index 0."""

    def torch_version(self) -> str:
        """Torch's version, with what it was built for."""

    def torch_cuda_devices(self) -> int:
        """How many CUDA devices torch can use."""

    def ctranslate2_cuda_devices(self) -> int:
        """How many CUDA devices CTranslate2 can use; a RuntimeError where the driver does not do."""

    def compute_types(self, kind: str, index: int) -> Collection[str]:
        """The types that CTranslate2 computes in on a device; a RuntimeError where the device does not answer."""

    def find_library(self, library: str) -> Path | None:
        """Where a wheel has put one of `CUDA_LIBRARIES`; None where no wheel has it."""

    def load_library(self, path: Path) -> None:
        """Load a library for all that are loaded after it; an OSError where it does not load."""

    def product_sum(self, kind: str, index: int) -> float:
        """The sum over the product of two matrices of 16 by 16 ones; a RuntimeError where a device cannot compute."""

    def name(self, kind: str, index: int) -> str:
        """What the driver calls a device."""

    def driver(self, kind: str) -> str | None:
        """The version of the driver of such devices; None where there is none."""

    def memory(self, kind: str, index: int) -> Memory:
        """The memory of a device, as it is now."""

    def stream(self, kind: str, index: int) -> Callable[[], AbstractContextManager[object]]:
        """Make a stream of work: within the contexts, what torch computes on a device waits for nothing but itself."""


class Libraries:
    """The libraries themselves. On a CPU torch is not imported: that alone takes seconds."""

    def torch_version(self) -> str:
        """As `2.9.1+cu128`."""
        import torch

        return str(torch.__version__)

    def torch_cuda_devices(self) -> int:
        """0 as well where there are some and torch cannot use them."""
        import torch

        return torch.cuda.device_count() if torch.cuda.is_available() else 0

    def ctranslate2_cuda_devices(self) -> int:
        """Raises the RuntimeError of CTranslate2."""
        import ctranslate2

        return int(ctranslate2.get_cuda_device_count())

    def compute_types(self, kind: str, index: int) -> Collection[str]:
        """On cuda by compute capability: float16 from 7.0, bfloat16 from 8.0 on."""
        import ctranslate2

        return set(ctranslate2.get_supported_compute_types(kind, index))

    def find_library(self, library: str) -> Path | None:
        """NVIDIA's wheels share the folder `nvidia`, of which there may be several."""
        spec = importlib.util.find_spec("nvidia")
        roots = [Path(path) for path in spec.submodule_search_locations or ()] if spec else []
        return next((root / library for root in roots if (root / library).is_file()), None)

    def load_library(self, path: Path) -> None:
        """A library that is loaded is found by its bare name from then on."""
        ctypes.CDLL(str(path), mode=ctypes.RTLD_GLOBAL)

    def product_sum(self, kind: str, index: int) -> float:
        """By NumPy on cpu, by torch on cuda."""
        if kind == "cpu":
            import numpy as np

            square = np.ones((16, 16), dtype=np.float32)
            return float((square @ square).sum())
        import torch

        ones = torch.ones((16, 16), device=_torch_name(kind, index))
        return float((ones @ ones).sum().item())

    def name(self, kind: str, index: int) -> str:
        """As `NVIDIA L4`."""
        if kind == "cpu":
            return cpu_name()
        import torch

        return torch.cuda.get_device_name(index)

    def driver(self, kind: str) -> str | None:
        """As `580.159.04`."""
        return None if kind == "cpu" else driver_version()

    def memory(self, kind: str, index: int) -> Memory:
        """By Linux on cpu, by the driver on cuda."""
        if kind == "cpu":
            return host_memory()
        import torch

        return Memory(*torch.cuda.mem_get_info(index))

    def stream(self, kind: str, index: int) -> Callable[[], AbstractContextManager[object]]:
        """A CPU has none. torch's own streams do not wait for the default one, nor that for them."""
        if kind == "cpu":
            return nullcontext
        import torch

        stream = torch.cuda.Stream(index)  # type: ignore[no-untyped-call]  # torch types most of its functions
        return lambda: torch.cuda.stream(stream)


LIBRARIES = Libraries()


# --------------------------------------------------------------------------------------------------- the gate


def open_device(name: str, compute_type: str = "default", layer: DeviceLayer = LIBRARIES) -> Device:
    """Find a device and compute something on it.

    Args:
        name: `cpu`, `cuda` or `cuda:N`.
        compute_type: CTranslate2's; `default` is int8 on cpu and float16 on cuda.
        layer: what the libraries say of devices.

    Raises:
        DeviceError: the device is not there, its libraries do not load, or it cannot compute in this type.
    """
    kind, _, number = name.partition(":")
    index = int(number or 0)
    wanted = compute_type_for(name, compute_type)
    if kind == "cuda":
        _preload_cuda_libraries(layer)
        _require_cuda(index, layer)
    try:
        _require_compute_type(kind, index, wanted, layer)
        _require_product(kind, index, layer)
        return Device(kind, index, layer.name(kind, index), wanted, layer.driver(kind))
    except (RuntimeError, ValueError) as error:
        message = f"{_torch_name(kind, index)} is there and cannot compute: {error}"
        raise DeviceError(message) from error


def compute_type_for(name: str, compute_type: str) -> str:
    """The compute type that a device is used with, without touching the device."""
    return DEFAULT_COMPUTE_TYPE[name.partition(":")[0]] if compute_type == "default" else compute_type


def _preload_cuda_libraries(layer: DeviceLayer) -> None:
    """Make ctranslate2 find the CUDA 12 libraries that torch's wheels brought, which are on no search path."""
    for library in CUDA_LIBRARIES:
        found = layer.find_library(library)
        if found is None:
            continue  # then the system must have it; the proof with the loaded models shows whether it does
        try:
            layer.load_library(found)
        except OSError as error:
            message = f"cannot load {found.name} for cuda: {error}"
            raise DeviceError(message) from error


def _require_cuda(index: int, layer: DeviceLayer) -> None:
    by_torch = layer.torch_cuda_devices()
    seen = f"torch {layer.torch_version()} sees {by_torch} CUDA devices"
    try:
        count = layer.ctranslate2_cuda_devices()
    except RuntimeError as error:
        count, seen = 0, f"{seen}; ctranslate2 says: {error}"
    if index >= min(by_torch, count):
        message = (
            f"cuda:{index} was asked for and cannot be used ({seen}, ctranslate2 {count}): check `nvidia-smi`, the "
            "driver (525 or newer) and, on Kubernetes, the device plugin and the nvidia.com/gpu limit; or ask for cpu"
        )
        raise DeviceError(message)


def _require_compute_type(kind: str, index: int, compute_type: str, layer: DeviceLayer) -> None:
    supported = layer.compute_types(kind, index)
    if compute_type not in supported:
        message = (
            f"{kind} cannot compute in {compute_type} (models.compute_type); it can in {', '.join(sorted(supported))}"
        )
        raise DeviceError(message)


def _require_product(kind: str, index: int, layer: DeviceLayer) -> None:
    total = layer.product_sum(kind, index)
    if total != 16.0**3:
        message = f"{_torch_name(kind, index)} computes wrongly: a product that sums to 4096 came out as {total}"
        raise DeviceError(message)


def _torch_name(kind: str, index: int) -> str:
    return "cpu" if kind == "cpu" else f"{kind}:{index}"


# ------------------------------------------------------------------------------------------ memory and batches


def free_memory_bytes(device: Device, layer: DeviceLayer = LIBRARIES) -> int:
    """How much more memory a device has to give now.

    On cuda what no process holds: what CTranslate2 and torch keep for themselves to use again is not counted. On cpu
    what the machine, and the control group of this process, can give without swapping.
    """
    return layer.memory(device.kind, device.index).free_bytes


def automatic_batch_size(device: Device, chunk_bytes: int, layer: DeviceLayer = LIBRARIES) -> int:
    """How many chunks of 30 s to decode at once: chosen for speed, it is not meant to change any text.

    On cpu a constant. On cuda as many as fit into a share of the memory that is free once
    the models are loaded; the rest is for the diarizer, and for what `chunk_bytes` does not foresee.

    Args:
        device: the device that the models are loaded onto.
        chunk_bytes: what one chunk needs while it is decoded; the function of this name estimates it.
        layer: what the libraries say of devices.

    Returns:
        On cuda 1 to 64, a multiple of 8 from 8 on.
    """
    if device.kind == "cpu":
        return CPU_BATCH
    fitting = int(CUDA_MEMORY_SHARE * free_memory_bytes(device, layer)) // chunk_bytes
    if fitting >= CUDA_BATCH_STEP:
        fitting -= fitting % CUDA_BATCH_STEP
    return max(1, min(fitting, CUDA_BATCH_MOST))


def chunk_bytes(
    dimension: int, layers: int, *, beam_size: int = 5, vocabulary: int = 51_865, float_bytes: int = 2
) -> int:
    """Estimate what one chunk of 30 s needs on the device while Whisper reads it, beside the weights.

    An estimate from the shapes that CTranslate2 allocates, on the safe side: the encoder's part is free again when the
    decoder begins, and is counted all the same, because the allocator may keep it.

    - The encoder works on 1500 positions, one layer at a time: about ten vectors each (the residual, queries, keys,
      values and context, the four of the inner layer, and one spare), and in every head (of 64 dimensions in each
      Whisper) a score for each two positions, once before and once after softmax.
    - Every layer of the decoder keeps keys and values of these positions. CTranslate2 keeps them once for all beams.
    - Every layer of the decoder keeps keys and values of up to 448 tokens, for each beam.
    - The logits of one step are of 4 bytes, for each beam and each token of the vocabulary.
    - Half of all this again for workspaces, for copies while a cache grows or its beams change places, and for gaps.

    Args:
        dimension: of the model: 512 in base, 1280 in large-v3.
        layers: of the decoder: 6 in base, 32 in large-v3, 4 in its turbo.
        beam_size: how many hypotheses are followed.
        vocabulary: how many tokens there are.
        float_bytes: of one float between the layers, `Device.float_bytes`.
    """
    positions, tokens = 1500, 448
    heads = dimension // 64
    encoder = positions * (10 * dimension + 2 * heads * positions) * float_bytes
    cross_attention = positions * dimension * 2 * layers * float_bytes
    self_attention = tokens * dimension * 2 * layers * beam_size * float_bytes
    logits = beam_size * vocabulary * 4
    return (encoder + cross_attention + self_attention + logits) * 3 // 2


def automatic_loaders(device: Device) -> int:
    """How many calls to load at a time, beside the models: what a core can load, few GPUs wait for."""
    return LOADERS[device.kind]


def own_stream(device: Device, layer: DeviceLayer = LIBRARIES) -> Callable[[], AbstractContextManager[object]]:
    """Contexts in which torch's work on a GPU runs beside that of CTranslate2, which has streams of its own.

    By default torch works in the device's default stream, for which CTranslate2's wait, and which waits for those. All
    contexts are of one stream: torch keeps memory for each that it has used, and gives it to no other.
    """
    return layer.stream(device.kind, device.index)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory did not suffice, so that a smaller batch may do.

    Only what is known to mean this, in any library that computes here: any other error of theirs is not.
    """
    if isinstance(error, MemoryError):  # also std::bad_alloc, as pybind11 translates it
        return True
    if not isinstance(error, RuntimeError):
        return False
    classes = {f"{each.__module__}.{each.__name__}" for each in type(error).__mro__}
    return "torch.OutOfMemoryError" in classes or any(sign in str(error) for sign in OUT_OF_MEMORY)


def is_of_cuda(error: BaseException) -> bool:
    """Whether an error of a library speaks of CUDA, so that the device is to blame, or what belongs to it."""
    return any(sign in str(error).lower() for sign in ("cuda", "cublas", "cudnn", "nvrtc"))
