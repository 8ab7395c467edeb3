"""What is said of a machine on which a GPU cannot be used."""

from pathlib import Path

import pytest
from test_devices import Machine

from tasks.device_report import device_report
from tasks.nvidia import driver_version
from tasks.settings import Whereabouts, load_settings, whereabouts

OPEN = "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.95.05  Release Build  (root@x)\n"
CLOSED = "NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.161.08  Mon Feb 19 2024\n"


@pytest.mark.parametrize(
    ("text", "expected"), [(OPEN, "580.95.05"), (CLOSED, "535.161.08"), ("something else\n", None), (None, None)]
)
def test_the_drivers_version(tmp_path: Path, text: str | None, expected: str | None) -> None:
    """From the kernel's module, where the library that comes with the driver is not there, or is no such library."""
    if text is not None:
        (tmp_path / "proc/driver/nvidia").mkdir(parents=True)
        (tmp_path / "proc/driver/nvidia/version").write_text(text)
    for library in ("no-such-library.so", "libc.so.6"):
        assert expected == driver_version(tmp_path, library)


def test_what_a_machine_shows(tmp_path: Path) -> None:
    """Driver, devices, libraries and the variables that decide what is seen; and what to look at."""
    (tmp_path / "dev").mkdir()
    for name in ("nvidiactl", "nvidia0", "null"):
        (tmp_path / "dev" / name).touch()
    where = Whereabouts("a", variables={"CUDA_VISIBLE_DEVICES": "", "NVIDIA_VISIBLE_DEVICES": None})
    machine = Machine(torch_devices=1, ctranslate2_devices=RuntimeError("the driver is too old"))
    report = device_report(where, machine, tmp_path)
    for part in (
        "driver 580.159.04",
        "/dev has nvidia0, nvidiactl;",
        "sees 1 CUDA devices",
        "ctranslate2 (RuntimeError: the driver is too old)",
        "CUDA_VISIBLE_DEVICES is ''",
        "NVIDIA_VISIBLE_DEVICES is not set",
        "nvidia-smi",
        "device plugin",
        "nvidia.com/gpu",
    ):
        assert part in report
    assert "/dev has no nvidia*" in device_report(where, machine, tmp_path / "elsewhere")


def test_where_a_process_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    """As Kubernetes tells it; these are no settings, and no mistyped ones either."""
    monkeypatch.setenv("CALLSCRIBE_NODE", "gpu-node-7")
    monkeypatch.setenv("CALLSCRIBE_POD", "job-x7")
    monkeypatch.setenv("NVIDIA_VISIBLE_DEVICES", "void")
    assert ("gpu-node-7", "job-x7") == (whereabouts().node, whereabouts().pod)
    assert "void" == whereabouts().variables["NVIDIA_VISIBLE_DEVICES"]
    load_settings()
    monkeypatch.delenv("CALLSCRIBE_NODE")
    assert whereabouts().node
