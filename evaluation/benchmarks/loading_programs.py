"""A. Decoding and resampling to 16 kHz alone, beside `ffmpeg` and librosa.

Compared are ours (into tracks on scratch disk, decoding in a child process), the `ffmpeg` program (into a file of
float32 samples, one thread, soxr where it is built in), and `librosa.load` (into memory). One after another, over and
over: what is compared was measured within the same seconds. All had a first round that does not count; ours and librosa
stay loaded between recordings, as they are in a run, and `ffmpeg` is a program that is started for each one.

`evaluation.benchmarks.loading` runs it.
"""

from __future__ import annotations

import shutil
import statistics
import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from evaluation.benchmarks.loading_costs import Cost, cost_of
from evaluation.benchmarks.loading_parts import write_tracks
from tasks.decoder import DecoderPool
from tasks.decoding import DecodeOptions
from tasks.tracks import MODEL_SAMPLING_RATE

OURS, FFMPEG, LIBROSA = "ours", "ffmpeg", "librosa"

Loader = Callable[[Path, Path], object]
"""Decodes a recording and resamples it to 16 kHz; what it writes goes into a folder."""


def ours(decoders: DecoderPool, options: DecodeOptions) -> Loader:
    """As a run does it, without what it measures on the way."""

    def load(path: Path, folder: Path) -> None:
        recording = decoders.decode(_linked(path, folder), options)
        write_tracks(recording, folder)

    return load


def ffmpeg_program() -> Loader | None:
    """The `ffmpeg` program, with soxr where it has it; None where there is none."""
    program = shutil.which("ffmpeg")
    if program is None:
        return None
    resampler = "soxr" if has_soxr(program) else "swr"

    def load(path: Path, folder: Path) -> None:
        one_thread = ["-threads", "1", "-filter_threads", "1"]
        to_16_khz = ["-af", f"aresample={MODEL_SAMPLING_RATE}:resampler={resampler}"]
        command = [program, "-nostdin", "-v", "error", "-y", *one_thread, "-i", str(path), *one_thread, *to_16_khz]
        subprocess.run([*command, "-c:a", "pcm_f32le", "-f", "f32le", str(folder / "ffmpeg.f32")], check=True)

    return load


def has_soxr(program: str) -> bool:
    """Whether an `ffmpeg` program is built with the resampler that we use."""
    built = subprocess.run([program, "-hide_banner", "-buildconf"], capture_output=True, text=True, check=True)
    return "--enable-libsoxr" in built.stdout


def librosa_load(path: Path, folder: Path) -> None:  # noqa: ARG001  # it leaves its samples in memory
    """As librosa's own documentation does it."""
    import librosa

    librosa.load(path, sr=MODEL_SAMPLING_RATE, mono=False)


def compare(
    sounds: Mapping[str, Path], loaders: Mapping[str, Loader | None], repeats: int, folder: Path
) -> dict[str, dict[str, list[Cost]]]:
    """Load each sound with each loader, in turn, many times.

    Returns:
        sound → loader → what each time took.
    """
    there = {who: load for who, load in loaders.items() if load is not None}
    found: dict[str, dict[str, list[Cost]]] = {}
    for name, path in sounds.items():
        costs = found[name] = {who: [] for who in there}
        for round_ in range(repeats + 1):
            for who, load in there.items():
                with TemporaryDirectory(dir=folder) as scratch:
                    cost = cost_of(lambda load=load, path=path, scratch=scratch: load(path, Path(scratch)))  # type: ignore[misc]
                if round_ > 0:
                    costs[who].append(cost)
    return found


def comparison_table(found: Mapping[str, Mapping[str, Sequence[Cost]]]) -> list[str]:
    """CPU and wall times of A, and their ratios, round by round: median and range."""
    lines = [
        "| recording, 8 kHz, stereo | time | ours, ms | ffmpeg, ms | librosa, ms | ours / ffmpeg | ours / librosa |",
        "| --- | --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    for name, costs in found.items():
        for clock, field in (("CPU", "cpu_s"), ("wall", "wall_s")):
            taken = {who: [float(getattr(cost, field)) for cost in held] for who, held in costs.items()}
            cells = [_spread([1000 * one for one in taken.get(who, ())], 0) for who in (OURS, FFMPEG, LIBROSA)]
            ratios = [
                _spread([mine / other for mine, other in zip(taken[OURS], taken.get(who, ()), strict=False)], 2)
                for who in (FFMPEG, LIBROSA)
            ]
            lines.append(f"| {name} | {clock} | {' | '.join([*cells, *ratios])} |")
    return lines


def comparison_note(repeats: int) -> str:
    """How A was measured, and with which `ffmpeg`."""
    program = shutil.which("ffmpeg")
    note = (
        f"Decoding and resampling to 16 kHz float32 alone; median (range) of {repeats} interleaved rounds, ratios "
        "round by round. CPU time is that of all processes. Ours and ffmpeg write files, librosa keeps its samples in "
        "memory; ffmpeg is started for every recording. Of Opus, ours and ffmpeg decode 48 kHz, librosa (libsndfile) "
        "the 8 kHz that its header names. "
    )
    if program is None:
        return note + "There is no ffmpeg program on this machine."
    said = subprocess.run([program, "-version"], capture_output=True, text=True, check=True).stdout
    resampler = "soxr" if has_soxr(program) else "its own resampler, as soxr is not built in"
    return note + f"{' '.join(said.split()[:3])}, one thread, {resampler}."


def _linked(path: Path, folder: Path) -> Path:
    """A recording under a name in a folder: what is decoded is put beside it."""
    link = folder / "recording"
    link.hardlink_to(path)
    return link


def _spread(found: Sequence[float], digits: int) -> str:
    if not found:
        return "n/a"
    return f"{statistics.median(found):.{digits}f} ({min(found):.{digits}f} to {max(found):.{digits}f})"
