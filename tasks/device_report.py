"""What a machine shows of its GPUs, in the sentence that says why one cannot be used."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from tasks.devices import LIBRARIES, DeviceLayer
from tasks.settings import Whereabouts

WHAT_TO_DO = (
    "what to look at: `nvidia-smi` on the node (driver 525 or newer, no XID errors), the image's libraries "
    "(`callscribe check`), and on Kubernetes the device plugin, its RuntimeClass, and nvidia.com/gpu in the limits"
)


def device_report(
    where: Whereabouts,
    layer: DeviceLayer = LIBRARIES,
    root: Path = Path("/"),
) -> str:
    """What this machine shows of NVIDIA GPUs, for whoever has to find out why one cannot be used.

    Args:
        where: the process runs.
        layer: what the libraries say.
        root: where `dev` is.
    """
    files = sorted(path.name for path in (root / "dev").glob("nvidia*"))
    seen = [
        f"driver {layer.driver('cuda') or 'not found'}",
        f"/dev has {', '.join(files) or 'no nvidia*'}",
        f"torch {_asked(layer.torch_version)} sees {_asked(layer.torch_cuda_devices)} CUDA devices",
        f"ctranslate2 {_asked(layer.ctranslate2_cuda_devices)}",
        *(f"{name} {'is not set' if value is None else f'is {value!r}'}" for name, value in where.variables.items()),
    ]
    return f"seen: {'; '.join(seen)}; {WHAT_TO_DO}"


def _asked(question: Callable[[], object]) -> str:
    """The answer of a library, or how it failed."""
    try:
        return str(question())
    except Exception as error:  # noqa: BLE001  # whatever a broken library raises belongs into the report
        return f"({type(error).__name__}: {error})"
