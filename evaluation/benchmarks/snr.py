"""How well the SNR that is measured without a reference agrees with that of known mixtures.

The clean recordings of the demo (and of a FOLDER, if one is named: at most `--seconds` of each, best of all clean
telephone calls with a channel for each speaker), every channel by itself, at 8 kHz. Into each, noise is mixed at known
SNRs, and the mixture goes the way of every recording: 16 kHz, loudness, speech detection, measurement.

The true SNR is the active speech level of the clean channel (ITU-T P.56, method B) over the mean power of the added
noise. What noise the clean recording brings along is not in it: the demo's calls carry line noise about 35 to 40 dB
under their speech, so that at 30 dB a right estimate lies some tenths of a dB, up to 2 dB, under the true one.

    python -m evaluation.benchmarks.snr [FOLDER] --write evaluation/benchmarks/snr.md
"""

from __future__ import annotations

import platform
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import numpy as np
import soundfile
import typer

from evaluation.benchmarks.mixtures import CLEAN, DEMO, Clip
from evaluation.benchmarks.noises import active_level_dbfs, noise
from evaluation.sets.telephone import RATE_HZ, Signal, db
from tasks.audio import prepare
from tasks.host import usable_cores
from tasks.records import SourceFormat
from tasks.settings import Settings, load_settings
from tasks.signals import measure
from tasks.tracks import Recording
from tasks.vad import speech_regions

KINDS = ("white", "pink", "hum", "babble")
SNRS_DB = tuple(range(0, 31, 5))
# Mixtures are made quieter, so that none clips.
HEADROOM = 0.5


@dataclass(frozen=True, slots=True)
class Estimate:
    """What was measured in one mixture; `found_db` is None where no speech was heard."""

    kind: str
    snr_db: int
    found_db: float | None
    audio_s: float
    measuring_s: float

    @property
    def error_db(self) -> float | None:
        """Found less true."""
        return None if self.found_db is None else self.found_db - self.snr_db


def load_clips(files: Sequence[Path], longest_s: float) -> list[Clip]:
    """Every channel of some recordings, at 8 kHz."""
    from scipy.signal import resample_poly

    clips = []
    for path in files:
        samples, rate_hz = soundfile.read(path, always_2d=True)
        for index, channel in enumerate(samples[: round(longest_s * rate_hz)].T):
            signal = channel if rate_hz == RATE_HZ else resample_poly(channel, RATE_HZ, rate_hz)
            clips.append(Clip(f"{path.name}:{index}", signal, active_level_dbfs(signal, RATE_HZ)))
    return clips


def noises(clips: Sequence[Clip], index: int, rng: np.random.Generator) -> Iterator[tuple[str, Signal]]:
    """Noise of each kind for one clip, of its length, without offset, with a mean power of 1."""
    for kind in KINDS:
        yield kind, noise(kind, clips, index, rng)


def estimates(clips: Sequence[Clip], settings: Settings, seed: int = 1) -> Iterator[Estimate]:
    """Mix every clip with every noise at every SNR, and measure."""
    rng = np.random.default_rng(seed)
    for index, clip in enumerate(clips):
        for kind, added in noises(clips, index, rng):
            for snr_db in SNRS_DB:
                mixture = HEADROOM * (clip.samples + db(clip.level_dbfs - snr_db) * added)
                found_db, measuring_s = _measured(mixture, settings)
                yield Estimate(kind, snr_db, found_db, len(clip.samples) / RATE_HZ, measuring_s)


def markdown(found: Sequence[Estimate], clips: Sequence[Clip]) -> str:
    """Mean error and mean absolute error by noise and SNR, with date and machine."""
    errors: dict[tuple[str, int], list[float | None]] = defaultdict(list)
    for one in found:
        errors[one.kind, one.snr_db].append(one.error_db)
    lines = [
        f"| noise | error, dB | {' | '.join(f'{snr_db} dB' for snr_db in SNRS_DB)} |",
        f"| --- | --- | {' | '.join('---:' for _ in SNRS_DB)} |",
    ]
    for kind in KINDS:
        lines.extend(_rows(kind, errors))
    missed = sum(one.found_db is None for one in found)
    cost_ms = 1000 * sum(one.measuring_s for one in found) / sum(one.audio_s for one in found)
    note = (
        f"{datetime.now(UTC):%Y-%m-%d}; {len(clips)} channels, "
        f"{sum(len(clip.samples) for clip in clips) / RATE_HZ:.0f} s, {len(found)} mixtures, in {missed} of which no "
        f"speech was heard; {usable_cores()} cores, Python {platform.python_version()}. True SNR: active speech level "
        "of the clean channel (ITU-T P.56) over the mean power of the added noise. Measuring (SNR, band, noise floor, "
        f"offset, silence) takes {cost_ms:.2f} ms for each second of a channel, on a shared machine."
    )
    return "\n".join([*lines, "", note]) + "\n"


def main(
    folder: Annotated[Path | None, typer.Argument(help="More clean recordings.")] = None,
    seconds: Annotated[float, typer.Option(help="Take at most this much of each recording.")] = 60.0,
    write: Annotated[Path | None, typer.Option(help="Write the table here too.")] = None,
) -> None:
    """Compare the measured SNR with that of known mixtures."""
    files = [path for path in sorted(DEMO.rglob("*.*")) if path.name in CLEAN]
    if folder is not None:
        files += sorted(path for path in folder.rglob("*") if path.suffix in {".wav", ".flac", ".mp3", ".opus"})
    clips = load_clips(files, seconds)
    text = markdown(list(estimates(clips, load_settings())), clips)
    typer.echo(text)
    if write is not None:
        write.write_text(text, encoding="utf-8")


def _rows(kind: str, errors: Mapping[tuple[str, int], Sequence[float | None]]) -> Iterator[str]:
    known = [[error for error in errors[kind, snr_db] if error is not None] for snr_db in SNRS_DB]
    yield f"| {kind} | mean | {' | '.join(f'{np.mean(held):+.1f}' if held else 'n/a' for held in known)} |"
    yield f"| | mean absolute | {' | '.join(f'{np.mean(np.abs(held)):.1f}' if held else 'n/a' for held in known)} |"
    yield f"| | largest | {' | '.join(f'{np.max(np.abs(held)):.1f}' if held else 'n/a' for held in known)} |"


def _measured(mixture: Signal, settings: Settings) -> tuple[float | None, float]:
    """The SNR that is found in a mixture at 8 kHz, and the seconds that measuring took."""
    with TemporaryDirectory() as name:
        folder = Path(name)
        samples = folder / "samples"
        mixture.astype(np.float32).tofile(samples)
        recording = Recording(samples, SourceFormat("pcm_f32le", "raw", RATE_HZ, 1), len(mixture))
        prepared = prepare(recording, settings.audio, folder)
        regions = [speech_regions(track, settings.vad) for track in prepared.tracks]
        started = time.perf_counter()
        found = measure(prepared, regions).snr_db
        return found, time.perf_counter() - started


if __name__ == "__main__":
    typer.run(main)
