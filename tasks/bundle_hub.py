"""The bundle `production`: pinned files at pinned revisions of the Hugging Face hub."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path

from tasks.bundles import Manifest, describe_file, require_digest
from tasks.errors import BundleError


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
