"""Load a bundle onto a device: what a job needs to turn sound into words with speakers."""

from __future__ import annotations

from dataclasses import dataclass

from tasks.bundles import Bundle, open_bundle
from tasks.devices import Device, open_device, usable_cores
from tasks.diarize import Diarizer, load_diarizer
from tasks.errors import BundleError, DeviceError
from tasks.recognize import Recognizer
from tasks.setting_groups import DiarizationSettings, ModelSettings, RecognizerSettings


@dataclass(frozen=True, slots=True)
class Models:
    """Everything loaded, once per process, and what it was loaded from."""

    bundle: Bundle
    device: Device
    recognizer: Recognizer
    diarizer: Diarizer


def load_models(settings: ModelSettings, recognizer: RecognizerSettings, diarization: DiarizationSettings) -> Models:
    """Check the bundle, prove the device, and load the models, in this order.

    Raises:
        BundleError: the bundle is missing, altered, or does not load.
        DeviceError: the device cannot run it.
    """
    bundle = open_bundle(settings.folder, settings.bundle)
    device = open_device(settings.device, settings.compute_type)
    try:
        models = Models(
            bundle, device, load_recognizer(bundle, device, recognizer), load_diarizer(bundle, device, diarization)
        )
    except (RuntimeError, ValueError, OSError) as error:
        message = f"model bundle {bundle.name!r} in {bundle.folder} does not load on {device.name}: {error}"
        raise BundleError(message) from error
    prove(models)
    return models


def prove(models: Models) -> None:
    """Run every loaded model once on its device, in its compute type.

    Libraries are opened and kernels chosen at the first inference: what is missing shows here, before a call is failed
    for it. Called again after a call has failed in a model, so that a device that died stops the job instead.

    Raises:
        DeviceError: a model does not run; the message tells what the library said.
    """
    try:
        models.recognizer.prove()
        models.diarizer.prove()
    except (RuntimeError, ValueError) as error:
        device = models.device
        message = f"{device.name} ({device.torch_name}, {device.compute_type}) cannot run the models: {error}"
        raise DeviceError(message) from error


def load_recognizer(bundle: Bundle, device: Device, settings: RecognizerSettings) -> Recognizer:
    """Load a bundle's recogniser onto a device."""
    from faster_whisper import WhisperModel

    model = WhisperModel(
        str(bundle.folder / "recognizer"),
        device=device.kind,
        device_index=device.index,
        compute_type=device.compute_type,
        cpu_threads=settings.cpu_threads or usable_cores(),
        local_files_only=True,
    )
    return Recognizer(model, settings)
