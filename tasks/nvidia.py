"""The version of NVIDIA's driver, asked for without any library that computes."""

from __future__ import annotations

import ctypes
import re
from pathlib import Path


def driver_version(root: Path = Path("/"), library: str = "libnvidia-ml.so.1") -> str | None:
    """The version of NVIDIA's driver, as `580.159.04`; None where there is none.

    Args:
        root: where `proc` is.
        library: NVML, which comes with the driver.
    """
    return _by_nvml(library) or _by_kernel(root)


def _by_nvml(library: str) -> str | None:
    try:
        nvml = ctypes.CDLL(library)
        if nvml.nvmlInit_v2() != 0:
            return None
        answer = ctypes.create_string_buffer(96)
        failed = nvml.nvmlSystemGetDriverVersion(answer, len(answer))
        nvml.nvmlShutdown()
    except (OSError, AttributeError):  # no driver; or something else under its name
        return None
    return None if failed else answer.value.decode(errors="replace") or None


def _by_kernel(root: Path) -> str | None:
    """As the kernel's module says, which a container may see without the library."""
    try:
        text = (root / "proc/driver/nvidia/version").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    found = re.search(r"NVRM version:.*?\s(\d+(?:\.\d+)+)\s", text)
    return found.group(1) if found else None
