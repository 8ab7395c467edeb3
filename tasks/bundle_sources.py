"""The known bundles, and how each is built."""

from __future__ import annotations

from tasks.bundle_hub import PRODUCTION_SOURCES, build_from_hub
from tasks.bundle_starter import build_starter
from tasks.bundles import Builder
from tasks.errors import BundleError

KNOWN = {
    "starter": "Whisper base, pyannote segmentation, GE2E speaker encoder; 170 MB; laptops, demos, tests",
    "production": "Whisper large-v3, pyannote speaker-diarization-community-1; 3.1 GB; needs HF_TOKEN once, a GPU",
}


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
