"""Use and memory of the GPU that a job works on, as NVML (NVIDIA's driver) tells them; absent where it does not."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any, Protocol

from prometheus_client import Metric
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from tasks.devices import Device
from tasks.metrics import REGISTRY

LABELS = ("gpu", "name")


class Nvml(Protocol):
    """What is asked of pynvml; every function raises NVMLError where there is no answer."""

    NVMLError: type[Exception]
    nvmlMemory_v2: int  # noqa: N815  # its names

    def nvmlInit(self) -> None:  # noqa: N802  # its name
        """Load the driver's library."""

    def nvmlDeviceGetHandleByUUID(self, uuid: str) -> Any:  # noqa: ANN401, N802  # its types
        """The device of that name."""

    def nvmlDeviceGetName(self, handle: Any) -> str:  # noqa: ANN401, N802
        """What it is called."""

    def nvmlDeviceGetMemoryInfo(self, handle: Any, version: int) -> Any:  # noqa: ANN401, N802
        """Its memory: `used` and `total`, bytes."""

    def nvmlDeviceGetUtilizationRates(self, handle: Any) -> Any:  # noqa: ANN401, N802
        """Its use: `gpu`, per cent."""


class GpuCollector(Collector):
    """One GPU; what the driver does not tell is left out.

    Args:
        uuid: its name for the driver, such as `GPU-5c7e…`.
        nvml: pynvml.
    """

    def __init__(self, uuid: str, nvml: Nvml | ModuleType) -> None:
        self._uuid = uuid
        self._nvml: Any = nvml
        self._handle: Any = None

    def describe(self) -> Iterable[Metric]:
        """The families, empty."""
        return families()

    def collect(self) -> Iterable[Metric]:
        """What the driver says now."""
        use, used, total = found = families()
        nvml = self._nvml
        try:
            if self._handle is None:
                nvml.nvmlInit()
                self._handle = nvml.nvmlDeviceGetHandleByUUID(self._uuid)
            labels = [self._uuid, str(nvml.nvmlDeviceGetName(self._handle))]
            # The older answer counts what the driver keeps for itself (0.6 GB of an H200) as used; nvidia-smi does not.
            memory = nvml.nvmlDeviceGetMemoryInfo(self._handle, nvml.nvmlMemory_v2)
            used.add_metric(labels, memory.used)
            total.add_metric(labels, memory.total)
            use.add_metric(labels, nvml.nvmlDeviceGetUtilizationRates(self._handle).gpu / 100)  # not of a MIG slice
        except nvml.NVMLError:
            self._handle = None  # a driver that was restarted gives other handles
        return found


def families() -> tuple[GaugeMetricFamily, GaugeMetricFamily, GaugeMetricFamily]:
    """Use, memory in use and memory of a GPU, without a value."""
    return (
        GaugeMetricFamily(
            "callscribe_gpu_utilisation_ratio", "Share of the last moment in which the GPU computed.", labels=LABELS
        ),
        GaugeMetricFamily("callscribe_gpu_memory_used_bytes", "Memory of the GPU in use, bytes.", labels=LABELS),
        GaugeMetricFamily("callscribe_gpu_memory_bytes", "Memory of the GPU, bytes.", labels=LABELS),
    )


@contextmanager
def watching_gpu(device: Device) -> Iterator[None]:
    """Show the GPU among the metrics while the block runs, where the device is one and its driver can be asked."""
    uuid = _uuid(device) if device.kind == "cuda" else None
    if uuid is None:
        yield
        return
    import pynvml

    collector = GpuCollector(uuid, pynvml)
    REGISTRY.register(collector)
    try:
        yield
    finally:
        REGISTRY.unregister(collector)


def _uuid(device: Device) -> str | None:
    """What the driver calls a device of torch: their numbers differ where CUDA_VISIBLE_DEVICES is set."""
    import torch

    try:
        uuid = str(torch.cuda.get_device_properties(device.index).uuid)
    except (RuntimeError, AssertionError, AttributeError):  # no driver, or a torch without uuids
        return None
    return uuid if uuid.startswith(("GPU-", "MIG-")) else f"GPU-{uuid}"
