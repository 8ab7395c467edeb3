"""Load a bundle onto a device: what a job needs to turn sound into words with speakers."""

from __future__ import annotations

from dataclasses import dataclass

from tasks.bundles import Bundle, open_bundle
from tasks.devices import Device, open_device, usable_cores
from tasks.diarize import Diarizer, load_diarizer
from tasks.errors import BundleError
from tasks.recognize import Recognizer
from tasks.settings import Settings


@dataclass(frozen=True, slots=True)
class Models:
    """Everything loaded, once per process, and what it was loaded from."""

    bundle: Bundle
    device: Device
    recognizer: Recognizer
    diarizer: Diarizer


def load_models(settings: Settings) -> Models:
    """Check the bundle, prove the device, and load the models, in this order.

    Raises:
        BundleError: the bundle is missing, altered, or does not load.
        DeviceError: the device cannot run it.
    """
    bundle = open_bundle(settings.models.folder, settings.models.bundle)
    device = open_device(settings.models.device, settings.models.compute_type)
    try:
        recognizer = _load_recognizer(bundle, device, settings)
        diarizer = load_diarizer(bundle, device, settings.diarization)
    except (RuntimeError, ValueError, OSError) as error:
        message = f"model bundle {bundle.name!r} in {bundle.folder} does not load on {device.name}: {error}"
        raise BundleError(message) from error
    return Models(bundle, device, recognizer, diarizer)


def _load_recognizer(bundle: Bundle, device: Device, settings: Settings) -> Recognizer:
    from faster_whisper import WhisperModel

    model = WhisperModel(
        str(bundle.folder / "recognizer"),
        device=device.kind,
        device_index=device.index,
        compute_type=device.compute_type,
        cpu_threads=settings.recognizer.cpu_threads or usable_cores(),
        local_files_only=True,
    )
    return Recognizer(model, settings.recognizer)
