"""The GE2E speaker encoder as a pyannote.audio model, so that pyannote's own pipeline can use it.

Wan, Wang, Papir & Lopez Moreno, "Generalized end-to-end loss for speaker verification", ICASSP 2018; weights of the
package resemblyzer. Imports torch and pyannote.audio: import it only where they are wanted.
"""

from __future__ import annotations

from functools import cached_property

import torch
from pyannote.audio.core.model import Model
from pyannote.audio.core.task import Problem, Resolution, Specifications
from torch import Tensor, nn
from torchaudio.transforms import MelSpectrogram

# What the published weights were trained on: 25 ms windows every 10 ms, 40 bands of power (not its logarithm), in
# pieces of 1.6 s, at about this level. The mel is linear, so that the level matters.
WINDOW = 400
HOP = 160
MEL_BANDS = 40
PIECE_FRAMES = 160
PIECE_STEP = 80
LEVEL_DBFS = -30.0
MIN_SPEECH_S = 0.4


class GE2EEncoder(Model):
    """A three-layer LSTM over mel bands; gives one unit vector of 256 for the speech under a mask.

    Args:
        hidden_size: of the LSTM and of the embedding.
        num_layers: of the LSTM.
    """

    def __init__(self, hidden_size: int = 256, num_layers: int = 3) -> None:
        super().__init__(sample_rate=16_000, num_channels=1)
        self.mel = MelSpectrogram(
            sample_rate=16_000, n_fft=WINDOW, hop_length=HOP, n_mels=MEL_BANDS, norm="slaney", mel_scale="slaney"
        )
        self.lstm = nn.LSTM(MEL_BANDS, hidden_size, num_layers, batch_first=True)
        self.linear = nn.Linear(hidden_size, hidden_size)
        self.specifications = Specifications(
            problem=Problem.REPRESENTATION, resolution=Resolution.CHUNK, duration=PIECE_FRAMES * HOP / 16_000
        )

    @cached_property
    def dimension(self) -> int:
        """Length of an embedding."""
        return self.linear.out_features

    def forward(self, waveforms: Tensor, weights: Tensor | None = None, **_: object) -> Tensor:
        """Embed the speech of each waveform.

        Args:
            waveforms: `[batch, 1, sample]` at 16 kHz.
            weights: `[batch, frame]`, 1 where the speaker speaks, at any frame rate; everything when None.

        Returns:
            `[batch, 256]` unit vectors; NaN where there is too little speech.
        """
        pieces: list[Tensor] = []
        owners: list[int] = []
        for index, waveform in enumerate(waveforms[:, 0]):
            speech = waveform if weights is None else waveform[_sample_mask(weights[index], len(waveform))]
            if len(speech) >= MIN_SPEECH_S * 16_000:
                cut = _pieces(self.mel(_level(speech)).T)
                pieces.append(cut)
                owners += [index] * len(cut)
        embeddings = torch.full((len(waveforms), self.dimension), torch.nan, device=waveforms.device)
        if pieces:
            _, (hidden, _) = self.lstm(torch.cat(pieces))
            partial = nn.functional.normalize(torch.relu(self.linear(hidden[-1])))
            owner = torch.tensor(owners, device=waveforms.device)
            for index in set(owners):
                embeddings[index] = nn.functional.normalize(partial[owner == index].mean(dim=0), dim=0)
        return embeddings


def _sample_mask(weights: Tensor, samples: int) -> Tensor:
    """Stretch a frame mask to samples."""
    return nn.functional.interpolate(weights[None, None].float(), size=samples, mode="nearest")[0, 0] > 0.5


def _level(speech: Tensor) -> Tensor:
    """Bring speech to the level of the training data."""
    rms = speech.pow(2).mean().sqrt().clamp_min(1e-6)
    return speech * (10 ** (LEVEL_DBFS / 20) / rms)


def _pieces(mel: Tensor) -> Tensor:
    """Cut `[frame, band]` into pieces `[piece, 160, band]`; a shorter one is one piece, filled up with zeros."""
    missing = PIECE_FRAMES - len(mel)
    if missing > 0:
        return nn.functional.pad(mel, (0, 0, 0, missing))[None]
    return mel.unfold(0, PIECE_FRAMES, PIECE_STEP).transpose(1, 2)
