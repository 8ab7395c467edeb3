"""Load a bundle onto a device: what a job needs to turn sound into words with speakers."""

from __future__ import annotations

from dataclasses import dataclass, replace
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
    open_device,
)
from tasks.diarize import Diarizer, load_diarizer
from tasks.errors import BundleError, DeviceError, SettingsError
from tasks.fallback_settings import FallbackSettings
from tasks.host import one_blas_thread, usable_cores
from tasks.recognize import Recognizer
from tasks.remote_recognizer import RemoteRecognizer
from tasks.setting_groups import DiarizationSettings, ModelSettings, RecognizerSettings
from tasks.settings import Settings
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
    recognizer: Recognizer | RemoteRecognizer
    diarizer: Diarizer

    @property
    def whisper(self) -> Recognizer:
        """The recogniser, where it is a model on this machine.

        Raises:
            SettingsError: it is the fallback.
        """
        if isinstance(self.recognizer, RemoteRecognizer):
            message = "this needs a recogniser on this machine, and recognizer.kind is fallback"
            raise SettingsError(message)
        return self.recognizer


def load_models(
    settings: ModelSettings,
    recognizer: RecognizerSettings,
    diarization: DiarizationSettings,
    fallback: FallbackSettings | None = None,
) -> Models:
    """Check the bundle, prove the device, and load the models, in this order.

    Args:
        settings: of the bundle and the device.
        recognizer: of the recogniser, and of which kind it is.
        diarization: of the diarizer.
        fallback: where the fallback recogniser is; then that model alone is not loaded.

    Raises:
        BundleError: the bundle is missing, altered, or does not load.
        DeviceError: the device cannot run it.
        FallbackRefused: the fallback recogniser was asked for, and does not answer as it must.
        SettingsError: … or sound may not be sent there.
    """
    remote = RemoteRecognizer(fallback or FallbackSettings(), recognizer) if recognizer.kind == "fallback" else None
    bundle = open_bundle(settings.folder, settings.bundle)
    device = open_device(settings.device, settings.compute_type)
    if remote:
        device = replace(device, compute_type="")  # in which type it computes, nobody knows
    try:
        found = remote or load_recognizer(bundle, device, recognizer)
        models = Models(bundle, device, found, load_diarizer(bundle, device, diarization))
    except (RuntimeError, ValueError, OSError, MemoryError) as error:
        if is_out_of_memory(error):
            message = f"{device.name} ({device.torch_name}) has no memory for bundle {bundle.name!r}: {error}"
            raise DeviceError(message) from error
        if device.kind == "cuda" and is_of_cuda(error):
            message = f"{device.name} ({device.torch_name}) cannot load bundle {bundle.name!r}: {error}"
            raise DeviceError(message) from error
        message = f"model bundle {bundle.name!r} in {bundle.folder} does not load on {device.name}: {error}"
        raise BundleError(message) from error
    one_blas_thread()
    prove(models)
    fit_batches(models, recognizer)
    return models


def models_under(models: Models, before: Settings, settings: Settings) -> Models | None:
    """Models that are loaded, under other settings, where these ask for no others; None where they do.

    The weights are shared: what decodes with a wide beam and what does with a narrow one are one model in memory.

    Args:
        models: that were loaded.
        before: the settings that they were loaded under.
        settings: those that are wanted.
    """
    loading = {"kind", "cpu_threads", "batch_size"}
    one, other = (each.recognizer.model_dump(include=loading) for each in (before, settings))
    if before.models != settings.models or one != other or settings.recognizer.kind != "whisper":
        return None
    diarizer = models.diarizer
    if before.diarization != settings.diarization:
        diarizer = load_diarizer(models.bundle, models.device, settings.diarization)
    changed = replace(models, recognizer=models.whisper.under(settings.recognizer), diarizer=diarizer)
    fit_batches(changed, settings.recognizer)
    return changed


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
    if models.device.kind == "cpu" or settings.batch_size or settings.kind == "fallback":
        return
    dimension = models.whisper.dimension()
    layers = DECODER_LAYERS.get(dimension, max(DECODER_LAYERS.values()))
    each = chunk_bytes(dimension, layers, beam_size=settings.beam_size, float_bytes=models.device.float_bytes)
    models.whisper.batches.size = automatic_batch_size(models.device, each, layer)
