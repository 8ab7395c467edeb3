"""Who speaks when, in a call that has one channel: pyannote.audio's pipeline."""

from __future__ import annotations

import json
import logging
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tasks.bundles import Bundle
from tasks.devices import Device, is_out_of_memory, own_stream
from tasks.errors import DeviceError
from tasks.heartbeat import HEART
from tasks.records import Diarization, Samples, Turn
from tasks.setting_groups import DiarizationSettings
from tasks.tracks import MODEL_SAMPLING_RATE, Track
from tasks.voices import Voice, VoiceBook, talk_s

if TYPE_CHECKING:
    from pyannote.audio.core.model import Model
    from pyannote.audio.pipelines import SpeakerDiarization

# How the starter models are put together: windows of 5 s step by a quarter.
STARTER_STEP = 0.25
STARTER_BATCH_SIZE = 32
STARTER_PARAMETERS = {
    "segmentation": {"threshold": 0.5, "min_duration_off": 0.3},
    # pyannote.audio wants to be told of its clustering, which `TurnDiarization` does without.
    "clustering": {"method": "average", "threshold": 0.3, "min_cluster_size": 4},
}


# The mean voice of half an hour is steadier than that of a window of 5 s: the distance for those is generous for it.
STARTER_LINK_DISTANCE = 0.3
PUBLISHED_LINK_DISTANCE = 0.5
# Sound that is diarized in one go. Embeddings are compared with each other, all with all.
WINDOW_S = 1800
WINDOW = WINDOW_S * MODEL_SAMPLING_RATE
_LOG = logging.getLogger(__name__)


class Diarizer:
    """One loaded diarization pipeline, used for every call of the process.

    Args:
        pipeline: the instantiated pipeline, on its device.
        device: that device.
        settings: how many speakers a call may have.
        link_distance: cosine distance up to which voices of two windows are one speaker's.
    """

    def __init__(
        self, pipeline: SpeakerDiarization, device: Device, settings: DiarizationSettings, link_distance: float
    ) -> None:
        self._pipeline = pipeline
        self._stream = own_stream(device)
        self._settings = settings
        self._link_distance = link_distance

    def prove(self) -> None:
        """Run the segmentation and the embedding model on two seconds of noise.

        Raises:
            RuntimeError, ValueError: a model cannot run on its device.
        """
        import torch

        noise = torch.rand(1, 1, 2 * MODEL_SAMPLING_RATE, generator=torch.Generator().manual_seed(0)) - 0.5
        with torch.inference_mode(), self._stream():
            self._pipeline._segmentation.infer(noise)  # noqa: SLF001  # the pipeline has no public name for its models
            self._pipeline._embedding(noise)  # noqa: SLF001

    def diarize(self, track: Track, speakers: int | None = None, fewest: int | None = None) -> Diarization:
        """Find who speaks when in one channel.

        Long calls are heard in windows of at most `WINDOW_S`, to bound memory (which grows with the square of the
        time), and the speakers of each window are matched with those before by their voices.

        Args:
            track: the channel.
            speakers: how many people speak, when that is known.
            fewest: how many at least, when it is not; by default as the settings say.

        Returns:
            turns of speakers `SPEAKER_00`, `SPEAKER_01`, …

        Raises:
            DeviceError: the device has no memory even for batches of one.
        """
        least = speakers or fewest or self._settings.min_speakers
        most = speakers or self._settings.max_speakers
        windows = max(1, -(-track.samples // WINDOW))
        size = max(1, -(-track.samples // windows))  # of equal length: a rest of a second has no voices to know
        voices = VoiceBook(most, self._link_distance)
        turns: list[Turn] = []
        exclusive: list[Turn] = []
        for start in range(0, max(track.samples, 1), size):
            found, embeddings = self._window(track.read(start, start + size), least if windows == 1 else 1, most)
            HEART.beat()
            labels = voices.match(talk_s(found.exclusive) | talk_s(found.turns), embeddings)
            offset_s = start / MODEL_SAMPLING_RATE
            turns += [_placed(turn, offset_s, labels) for turn in found.turns]
            exclusive += [_placed(turn, offset_s, labels) for turn in found.exclusive]
        return Diarization(tuple(sorted(turns)), tuple(sorted(exclusive)))

    def _window(self, channel: Samples, fewest: int, most: int) -> tuple[Diarization, dict[str, Voice]]:
        """Who speaks when in a stretch of sound, with times in it, and the voice of each speaker."""
        import torch

        file = {"waveform": torch.from_numpy(channel[None]), "sample_rate": MODEL_SAMPLING_RATE, "uri": "call"}
        with self._stream():
            try:
                output = self._apply(file, fewest, most)
            except ValueError:
                if fewest == 1:
                    raise
                # A short call holds too few stretches of speech to make that many clusters of.
                output = self._apply(file, 1, most)
        duration_s = len(channel) / MODEL_SAMPLING_RATE
        found = Diarization(
            *(
                tuple(
                    Turn(segment.start, min(segment.end, duration_s), str(label))
                    for segment, _, label in annotation.itertracks(yield_label=True)
                    if segment.start < duration_s  # the last window of the models reaches past the end
                )
                for annotation in (output.speaker_diarization, output.exclusive_speaker_diarization)
            )
        )
        labels = [str(label) for label in output.speaker_diarization.labels()]
        return found, dict(zip(labels, np.asarray(output.speaker_embeddings), strict=False))

    def _apply(self, file: Mapping[str, Any], fewest: int, most: int) -> Any:  # noqa: ANN401  # pyannote.audio's own
        """Run the pipeline; in smaller batches, from then on, where memory runs out.

        Raises:
            DeviceError: memory does not suffice for batches of one.
        """
        while True:
            try:
                return self._pipeline(file, min_speakers=fewest, max_speakers=most)
            except (RuntimeError, MemoryError) as error:  # pyannote.audio makes a MemoryError of torch's own
                if not is_out_of_memory(error):
                    raise
                self._halve(error)
            # Again when the error is gone: it holds on to what the failed batch had.

    def _halve(self, error: Exception) -> None:
        sizes = (self._pipeline.segmentation_batch_size, self._pipeline.embedding_batch_size)
        if max(sizes) == 1:
            message = f"the device has no memory to diarize a stretch of speech alone: {error}"
            raise DeviceError(message) from error
        smaller = [max(1, size // 2) for size in sizes]
        self._pipeline.segmentation_batch_size, self._pipeline.embedding_batch_size = smaller
        _LOG.warning("out of memory while diarizing; going on with batches of %d and %d", *smaller)


def _placed(turn: Turn, offset_s: float, labels: Mapping[str, str]) -> Turn:
    """A turn of a stretch, in the call."""
    return Turn(round(turn.start + offset_s, 3), round(turn.end + offset_s, 3), labels[turn.speaker])


def load_diarizer(bundle: Bundle, device: Device, settings: DiarizationSettings) -> Diarizer:
    """Load a bundle's diarization pipeline onto a device."""
    import torch

    # pyannote.audio warns at length that it cannot decode files; it never has to: it gets waveforms.
    warnings.filterwarnings("ignore", message=r"\s*torchcodec is not installed correctly")
    # And that it computes in full float32 on a GPU, which is what is wanted.
    warnings.filterwarnings("ignore", message=r"TensorFloat-32 \(TF32\) has been disabled")
    from pyannote.audio.telemetry import set_telemetry_metrics

    set_telemetry_metrics(False)
    if bundle.manifest.diarization == "starter":
        from tasks.turn_diarization import TurnDiarization

        pipeline, link_distance = starter_pipeline(bundle.folder, TurnDiarization), STARTER_LINK_DISTANCE
    else:
        pipeline, link_distance = _published_pipeline(bundle.folder / "diarization"), PUBLISHED_LINK_DISTANCE
    pipeline.to(torch.device(device.torch_name))
    return Diarizer(pipeline, device, settings, link_distance)


def _published_pipeline(folder: Path) -> SpeakerDiarization:
    """A pipeline as pyannote publishes it: a folder with its configuration and models."""
    from pyannote.audio import Pipeline
    from pyannote.audio.pipelines import SpeakerDiarization

    pipeline = Pipeline.from_pretrained(folder)
    if not isinstance(pipeline, SpeakerDiarization):
        message = f"{folder} does not hold a speaker diarization pipeline"
        raise ValueError(message)  # noqa: TRY004  # what is wrong is the content of the folder
    return pipeline


def starter_pipeline(folder: Path, kind: type[SpeakerDiarization]) -> SpeakerDiarization:
    """A pipeline of the models of the starter bundle: `TurnDiarization`, or pyannote.audio's own."""
    from pyannote.audio.core.plda import PLDA

    pipeline = kind(
        segmentation=_segmentation_model(folder / "segmentation"),
        segmentation_step=STARTER_STEP,
        segmentation_batch_size=STARTER_BATCH_SIZE,
        embedding=_embedding_model(folder / "embedding"),
        embedding_batch_size=STARTER_BATCH_SIZE,
        clustering="AgglomerativeClustering",
        # The constructor insists on a PLDA, which this clustering never asks: an empty one keeps it from the hub.
        plda=PLDA.__new__(PLDA),
    )
    pipeline.instantiate(STARTER_PARAMETERS | getattr(kind, "OWN_PARAMETERS", {}))
    return pipeline


def _segmentation_model(folder: Path) -> Model:
    from pyannote.audio.core.task import Problem, Resolution, Specifications
    from pyannote.audio.models.segmentation import PyanNet

    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    model = PyanNet(sincnet=config["sincnet"], lstm=config["lstm"], linear=config["linear"])
    model.specifications = Specifications(
        problem=Problem.MULTI_LABEL_CLASSIFICATION,
        resolution=Resolution.FRAME,
        duration=config["duration_s"],
        classes=config["classes"],
        permutation_invariant=True,
    )
    model.build()  # type: ignore[no-untyped-call]  # pyannote.audio types some of its functions
    return _with_weights(model, folder)


def _embedding_model(folder: Path) -> Model:
    from tasks.ge2e import GE2EEncoder

    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    return _with_weights(GE2EEncoder(config["hidden_size"], config["num_layers"]), folder)


def _with_weights(model: Model, folder: Path) -> Model:
    from safetensors.torch import load_file

    weights: dict[str, Any] = load_file(folder / "model.safetensors")
    missing, unexpected = model.load_state_dict(weights, strict=False)
    # The mel filters are computed, not learnt, and are the only thing that the files need not hold.
    if unexpected or any(not name.startswith("mel.") for name in missing):
        message = f"weights in {folder} do not fit the model: missing {missing}, unexpected {unexpected}"
        raise ValueError(message)
    return model.eval()
