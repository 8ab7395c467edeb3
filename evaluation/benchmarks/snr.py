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

import math
import platform
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import numpy as np
import soundfile
import typer

from evaluation.sets.telephone import RATE_HZ, Signal, db, rms, shape
from tasks.audio import prepare
from tasks.devices import usable_cores
from tasks.records import Audio, SourceFormat
from tasks.settings import Settings, load_settings
from tasks.signals import measure
from tasks.vad import speech_regions

DEMO = Path(__file__).resolve().parents[1] / "sets" / "demo" / "archive"
# demo-0005 is noisy, demo-0006 holds no speech, demo-0007 does not decode.
CLEAN = ("demo-0001.wav", "demo-0002.wav", "demo-0003.mp3", "demo-0004.opus", "demo-0008.flac")
KINDS = ("white", "pink", "hum", "babble")
SNRS_DB = tuple(range(0, 31, 5))
TALKERS = 6
# Mixtures are made quieter, so that none clips.
HEADROOM = 0.5
P56_MARGIN_DB = 15.9


@dataclass(frozen=True, slots=True)
class Clip:
    """One clean channel at 8 kHz and its active speech level in dBFS."""

    name: str
    samples: Signal
    level_dbfs: float


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


def active_level_dbfs(signal: Signal, rate_hz: int) -> float:
    """The active speech level of ITU-T P.56, method B, in dB of full scale.

    The envelope is the magnitude, smoothed twice with 30 ms; speech is active while it is over a threshold, and 200 ms
    longer. The threshold is the one that lies 15.9 dB under the level that comes of it, between powers of two.
    """
    from scipy.ndimage import maximum_filter1d
    from scipy.signal import lfilter

    keep = math.exp(-1 / (0.03 * rate_hz))
    envelope = lfilter([(1 - keep) ** 2], [1, -2 * keep, keep**2], np.abs(signal))
    hangover = round(0.2 * rate_hz)
    held = maximum_filter1d(envelope, hangover, origin=(hangover - 1) // 2)
    energy = float(np.sum(signal**2))
    before: tuple[float, float] | None = None
    # From the lowest threshold up: at the top, where next to nothing is active, the margin grows again.
    for power in range(15, -1, -1):
        active = np.count_nonzero(held >= 2.0**-power)
        if not active:
            break
        level = 10 * math.log10(energy / active)
        margin = level - 20 * math.log10(2.0**-power)
        if margin <= P56_MARGIN_DB:
            if before is None:
                return level
            share = (P56_MARGIN_DB - before[1]) / (margin - before[1])
            return before[0] + share * (level - before[0])
        before = (level, margin)
    message = "the signal holds no speech"
    raise ValueError(message)


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
    samples = len(clips[index].samples)
    time_s = np.arange(samples) / RATE_HZ
    mains_hz = 50 + 10 * (index % 2)
    partials = ((1, 1.0), (2, 0.5), (3, 0.4), (5, 0.2))
    for kind, noise in (
        ("white", rng.standard_normal(samples)),
        ("pink", shape(rng.standard_normal(samples), lambda hz: 1 / np.sqrt(np.maximum(hz, 50)))),
        ("hum", sum(size * np.sin(2 * np.pi * mains_hz * nth * time_s + rng.uniform(0, 6)) for nth, size in partials)),
        ("babble", _babble(clips, index, samples, rng)),
    ):
        even = np.asarray(noise) - np.mean(noise)
        yield kind, even / rms(even)


def estimates(clips: Sequence[Clip], settings: Settings, seed: int = 1) -> Iterator[Estimate]:
    """Mix every clip with every noise at every SNR, and measure."""
    rng = np.random.default_rng(seed)
    for index, clip in enumerate(clips):
        for kind, noise in noises(clips, index, rng):
            for snr_db in SNRS_DB:
                mixture = HEADROOM * (clip.samples + db(clip.level_dbfs - snr_db) * noise)
                audio = Audio(mixture.astype(np.float32)[np.newaxis], RATE_HZ)
                prepared = prepare(audio, SourceFormat("pcm_s16le", "wav", RATE_HZ, 1), settings.audio)
                regions = [speech_regions(prepared.audio.samples[0], settings.vad)]
                started = time.perf_counter()
                found = measure(prepared, regions).snr_db
                yield Estimate(kind, snr_db, found, audio.duration_s, time.perf_counter() - started)


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


def _babble(clips: Sequence[Clip], index: int, samples: int, rng: np.random.Generator) -> Signal:
    """Six voices of other clips at one level, backwards, their pauses cut out."""
    mixed = np.zeros(samples)
    for talker in range(TALKERS):
        other = clips[(index + 1 + talker) % len(clips)]
        frames = other.samples[: len(other.samples) // 160 * 160].reshape(-1, 160)
        active = np.mean(frames**2, axis=1) > db(other.level_dbfs - P56_MARGIN_DB) ** 2
        voice = frames[active].ravel()[::-1] / db(other.level_dbfs)
        mixed += np.roll(np.resize(voice, samples), rng.integers(samples))
    return mixed


if __name__ == "__main__":
    typer.run(main)
