"""What the benchmarks of loading share: the recordings that are loaded, and what a piece of work costs.

The recordings are two-channel calls laid end to end at 8 kHz. A cost is CPU time, that of this process and its
children together, and time of the clock.
"""

from __future__ import annotations

import resource
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
import typer

from tasks.decoding import decode
from tasks.errors import CallError
from tasks.records import Samples

RECORDINGS = frozenset({".wav", ".mp3", ".flac", ".opus", ".ogg"})
RATE_HZ = 8_000
CHANNELS = 2
LONGEST_S = 4 * 3600
# What is compared in A, and how libsndfile calls it: name, minutes, format, subtype.
SOUNDS = (
    ("mu-law WAV, 1 min", 1, "WAV", "ULAW"),
    ("mu-law WAV, 10 min", 10, "WAV", "ULAW"),
    ("MP3, 10 min", 10, "MP3", "MPEG_LAYER_III"),
    ("Opus, 10 min", 10, "OGG", "OPUS"),
)
SHORT, LONG = SOUNDS[0][0], SOUNDS[1][0]
# Linux's number of a process's CPU clock is made of its id.
_PROCESS_CLOCK = 2


@dataclass(frozen=True, slots=True)
class Cost:
    """What some work took: CPU seconds of this process and its children, and seconds of the clock."""

    cpu_s: float
    wall_s: float


def cpu_s() -> float:
    """CPU seconds so far of this process and all its children, those that run and those that have ended."""
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    found = time.process_time() + ended.ru_utime + ended.ru_stime
    for listed in Path("/proc/self/task").glob("*/children"):
        for pid in listed.read_text(encoding="ascii").split():
            with suppress(OSError):  # it has just ended
                found += time.clock_gettime((~int(pid) << 3) | _PROCESS_CLOCK)
    return found


def cost_of(work: Callable[[], object]) -> Cost:
    """Do some work, and say what it took."""
    cpu, wall = cpu_s(), time.perf_counter()
    work()
    return Cost(cpu_s() - cpu, time.perf_counter() - wall)


def find_recordings(folder: Path) -> list[Path]:
    """All recordings under a folder."""
    return sorted(path for path in folder.rglob("*") if path.suffix in RECORDINGS)


def make_sounds(files: Sequence[Path], folder: Path) -> dict[str, Path]:
    """The recordings of A and B, by name, made from the two-channel calls among some files."""
    sound = _laid_end_to_end(files)
    made = {}
    for index, (name, minutes, container, subtype) in enumerate(SOUNDS):
        path = made[name] = folder / f"sound-{index}.{container.lower()}"
        with soundfile.SoundFile(path, "w", RATE_HZ, CHANNELS, subtype, format=container) as file:
            # By the minute: libsndfile's encoder for Ogg takes its scratch memory from the stack.
            for minute in range(minutes):
                at = np.arange(minute * 60 * RATE_HZ, (minute + 1) * 60 * RATE_HZ)
                file.write(sound.take(at, axis=0, mode="wrap"))
    return made


def _laid_end_to_end(files: Sequence[Path]) -> Samples:
    """The two-channel recordings among some files, one after another, `[sample, channel]`."""
    from scipy.signal import resample_poly

    sounds = []
    for path in files:
        try:
            audio, _ = decode(path, LONGEST_S)
        except CallError:  # the demo holds a damaged call
            continue
        if audio.channels == CHANNELS:
            sounds.append(resample_poly(audio.samples.T, RATE_HZ, audio.sampling_rate))
    if not sounds:
        raise typer.BadParameter("there is no recording with two channels")
    return np.concatenate(sounds)
