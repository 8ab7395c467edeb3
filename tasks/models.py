"""Load a bundle onto a device: what a job needs to turn sound into words with speakers."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from threading import Thread

from tasks.batches import Batches
from tasks.bundles import Bundle, open_bundle
from tasks.calibration import load_calibration, recognizer_digest
from tasks.devices import (
    CPU_BATCH,
    LIBRARIES,
    Device,
    DeviceLayer,
    automatic_batch_size,
    chunk_bytes,
    is_of_cuda,
    is_out_of_memory,
    one_blas_thread,
    open_device,
    usable_cores,
)
from tasks.diarize import Diarizer, load_diarizer
from tasks.errors import BundleError, DeviceError
from tasks.recognize import Recognizer
from tasks.setting_groups import DiarizationSettings, ModelSettings, RecognizerSettings
from tasks.whisper import WHOLE_WINDOW_S, Whisper

# Batches that are worked on side by side on a CPU.
MOST_WORKERS = 4
# Whisper's decoder layers by the dimension of the model (tiny, base, small, medium, large); turbo has fewer than large.
DECODER_LAYERS = {384: 4, 512: 6, 768: 12, 1024: 24, 1280: 32}
# Bundles whose recogniser was measured in windows shorter than the 30 s it was trained on to lose no more words than
# with other settings, and the shortest at which that holds, in seconds (evaluation/benchmarks/windows.md).
LEAST_WINDOWS_S = {"starter": 6.0}


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
    except (RuntimeError, ValueError, OSError, MemoryError) as error:
        if is_out_of_memory(error):
            message = f"{device.name} ({device.torch_name}) has no memory for bundle {bundle.name!r}: {error}"
            raise DeviceError(message) from error
        if device.kind == "cuda" and is_of_cuda(error):
            message = f"{device.name} ({device.torch_name}) cannot load bundle {bundle.name!r}: {error}"
            raise DeviceError(message) from error
        message = f"model bundle {bundle.name!r} in {bundle.folder} does not load on {device.name}: {error}"
        raise BundleError(message) from error
    prove(models)
    fit_batches(models, recognizer)
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
    except (RuntimeError, ValueError, MemoryError) as error:
        device = models.device
        # Said outright: of a batch of one, pyannote.audio says that it is too large.
        wrong = "has no memory to run" if is_out_of_memory(error) else "cannot run"
        message = f"{device.name} ({device.torch_name}, {device.compute_type}) {wrong} the models: {error}"
        raise DeviceError(message) from error


def load_recognizer(bundle: Bundle, device: Device, settings: RecognizerSettings) -> Recognizer:
    """Load a bundle's recogniser onto a device, with its calibration.

    On a CPU several workers with few threads each have done more than one with all of them, and the encoder no more
    with several chunks at once than with one. On a GPU one worker has the card.
    """
    # The first recording needs it, and it takes a second to import: time that the model takes to load, too.
    importing = Thread(target=import_module, args=("scipy.signal",))
    importing.start()
    from faster_whisper import WhisperModel

    threads = settings.cpu_threads or usable_cores()
    workers = min(threads, MOST_WORKERS) if device.kind == "cpu" else 1
    model = WhisperModel(
        str(bundle.folder / "recognizer"),
        device=device.kind,
        device_index=device.index,
        compute_type=device.compute_type,
        cpu_threads=round(threads / workers),
        num_workers=workers,
        local_files_only=True,
    )
    importing.join()  # two threads that import parts of one package may meet in the middle
    if device.kind == "cuda":
        one_blas_thread()
    return Recognizer(
        Whisper(model),
        settings,
        Batches(settings.batch_size or CPU_BATCH, workers),
        encoded_at_once=1 if device.kind == "cpu" else None,
        calibration=load_calibration(bundle.name, recognizer_digest(bundle.manifest)),
        least_window_s=LEAST_WINDOWS_S.get(bundle.name, WHOLE_WINDOW_S),
    )


def fit_batches(models: Models, settings: RecognizerSettings, layer: DeviceLayer = LIBRARIES) -> None:
    """On a GPU, have as many chunks decoded at once as the memory holds that is free now, or as settings say.

    To be called once all models are loaded and have run.
    """
    if models.device.kind == "cpu" or settings.batch_size:
        return
    dimension = models.recognizer.dimension()
    layers = DECODER_LAYERS.get(dimension, max(DECODER_LAYERS.values()))
    each = chunk_bytes(dimension, layers, beam_size=settings.beam_size, float_bytes=models.device.float_bytes)
    models.recognizer.batches.size = automatic_batch_size(models.device, each, layer)
