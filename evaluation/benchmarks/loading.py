"""How fast recordings are loaded: beside `ffmpeg` and librosa, part by part, and while the models work.

The recordings are made from two-channel calls, those of the demo (or of a FOLDER, if one is named), laid end to end at
8 kHz.

A. Decoding and resampling to 16 kHz alone: ours (into tracks on scratch disk, decoding in a child process), the
`ffmpeg` program (into a file of float32 samples, one thread, soxr where it is built in), and `librosa.load` (into
memory). One after another, over and over: what is compared was measured within the same seconds. All had a first round
that does not count; ours and librosa stay loaded between recordings, as they are in a run, and `ffmpeg` is a program
that is started for each one.
B. All of loading, through `tasks.pipeline` with models that hear nothing: seconds of a channel for each CPU second of
one core, of this process and its children together; and its parts one by one.
C. A pile of calls with real models, loaded ahead as in every run, and then one call after another.

    python -m evaluation.benchmarks.loading [FOLDER] --write evaluation/benchmarks/loading.md
"""

from __future__ import annotations

import platform
import resource
import shutil
import statistics
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, cast

import numpy as np
import soundfile
import typer

from tasks.audio import at_model_rate, prepare
from tasks.bundles import sha256_of
from tasks.channels import survey
from tasks.crosstalk import find_crosstalk
from tasks.decoder import DecoderPool
from tasks.decoding import DecodeOptions, decode
from tasks.devices import Device, usable_cores
from tasks.errors import CallError
from tasks.local import local_calls, transcribe_files
from tasks.loudness import LoudnessMeter, integrated_loudness, true_peak_dbtp
from tasks.models import Models, load_models
from tasks.pipeline import process
from tasks.records import CallRef, PlannedCall, Region, Samples, Segment
from tasks.schemas import Row
from tasks.settings import Settings, load_settings
from tasks.signals import measure as measure_signals
from tasks.tracks import MODEL_SAMPLING_RATE, Recording, Track
from tasks.vad import speech_regions

DEMO = Path(__file__).resolve().parents[1] / "sets" / "demo" / "archive"
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
# How many calls of each length are loaded in B: the same sound, with more calls or fewer.
LOADED = {SHORT: 40, LONG: 4}
OURS, FFMPEG, LIBROSA = "ours", "ffmpeg", "librosa"
# Linux's number of a process's CPU clock is made of its id.
_PROCESS_CLOCK = 2

Loader = Callable[[Path, Path], object]
"""Decodes a recording and resamples it to 16 kHz; what it writes goes into a folder."""


@dataclass(frozen=True, slots=True)
class Cost:
    """What some work took: CPU seconds of this process and its children, and seconds of the clock."""

    cpu_s: float
    wall_s: float


@dataclass(frozen=True, slots=True)
class Loading:
    """Calls that went through all of loading."""

    name: str
    calls: int
    channel_s: float
    cost: Cost


@dataclass(frozen=True, slots=True)
class PileRun:
    """A run over a pile of calls: seconds of its stages, summed over calls, and of the whole run (models loaded)."""

    name: str
    calls: int
    audio_s: float
    loading_s: float
    models_s: float
    cost: Cost


class DeafRecognizer:
    """Stands in for the recogniser, and hears nothing: what remains of a run is loading."""

    def detect_language(
        self,
        tracks: Sequence[Track],  # noqa: ARG002  # a recogniser's signature
        regions: Sequence[tuple[Region, ...]],  # noqa: ARG002
    ) -> tuple[str | None, float | None]:
        """None."""
        return None, None

    def transcribe(
        self,
        track: Track,  # noqa: ARG002
        regions: tuple[Region, ...],  # noqa: ARG002
        channel: int,  # noqa: ARG002
        language: str | None,  # noqa: ARG002
    ) -> list[Segment]:
        """Nothing."""
        return []


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


# ------------------------------------------------------------------------------------------------------------- sounds


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


# ------------------------------------------------------------------------------------------- A: decoding and resampling


def ours(decoders: DecoderPool, options: DecodeOptions) -> Loader:
    """As a run does it, without what it measures on the way."""

    def load(path: Path, folder: Path) -> None:
        recording = decoders.decode(_linked(path, folder), options)
        _write_tracks(recording, folder)

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


# -------------------------------------------------------------------------------------------------- B: all of loading


def load_all(name: str, path: Path, calls: int, settings: Settings) -> Loading:
    """Load a recording so many times, as the calls of one run; decoders are started in it, as in every run."""
    deaf = cast("Models", _DeafModels(DeafRecognizer(), Device("cpu", 0, "none", "none")))
    (call,) = local_calls([path], None, settings)
    work = [PlannedCall(call, shard=0, attempt=1) for _ in range(calls)]

    def run() -> None:
        for outcome in process(work, _copy, deaf, settings):
            failure = getattr(outcome, "failure", None)
            if failure is not None:
                raise RuntimeError(failure.message)

    cost = cost_of(run)
    return Loading(name, calls, calls * CHANNELS * soundfile.info(path).duration, cost)


def parts(path: Path, decoders: DecoderPool, options: DecodeOptions, settings: Settings) -> Iterator[tuple[str, Cost]]:
    """The parts of loading one recording, in their order, each by itself, and what each took."""
    with TemporaryDirectory() as scratch:
        folder, copied = Path(scratch), Path(scratch) / "recording"

        def fetch() -> None:
            shutil.copyfile(path, copied)
            sha256_of(copied)

        yield "fetch, digest", cost_of(fetch)
        recordings: list[Recording] = []
        yield "decode", cost_of(lambda: recordings.append(decoders.decode(copied, options)))
        (recording,) = recordings
        yield "find distinct channels", cost_of(lambda: survey(recording))
        yield "resample, split into tracks", cost_of(lambda: _write_tracks(recording, folder))
        prepared = prepare(recording, settings.audio, folder)
        recorded = [track.recorded for track in prepared.tracks]
        yield "loudness", cost_of(lambda: [_loudness(track) for track in recorded])
        yield "true peak", cost_of(lambda: [true_peak_dbtp(track) for track in recorded])
        regions: list[tuple[Region, ...]] = []
        yield (
            "speech detection",
            cost_of(lambda: regions.extend(speech_regions(track, settings.vad) for track in prepared.tracks)),
        )
        yield "crosstalk", cost_of(lambda: find_crosstalk(prepared.tracks, regions))
        yield "measurements", cost_of(lambda: measure_signals(prepared, regions))


def profile(path: Path, repeats: int, settings: Settings) -> dict[str, float]:
    """Part → CPU milliseconds for each second of a channel; the median of some rounds, the first of which is not in."""
    with DecoderPool(settings.decoder.limits()) as decoders:
        rounds = [dict(parts(path, decoders, decode_options(settings), settings)) for _ in range(repeats + 1)]
    channel_s = CHANNELS * soundfile.info(path).duration
    return {name: 1000 * statistics.median(found[name].cpu_s for found in rounds[1:]) / channel_s for name in rounds[0]}


@dataclass(frozen=True, slots=True)
class _DeafModels:
    """Models of which only what loading a two-channel call needs is there."""

    recognizer: DeafRecognizer
    device: Device


def _loudness(track: Track) -> float | None:
    meter = LoudnessMeter()
    for block in track.blocks():
        meter.add(block)
    return integrated_loudness([meter.block_powers()])


# ------------------------------------------------------------------------------------------------- C: a pile of calls


def make_pile(files: Sequence[Path], rounds: int, folder: Path) -> list[Path]:
    """Copies of recordings, each so many times."""
    folder.mkdir()
    return [
        Path(shutil.copyfile(path, folder / f"{round_}-{index}-{path.name}"))
        for round_ in range(rounds)
        for index, path in enumerate(files)
    ]


def run_pile(files: Sequence[Path], models: Models, settings: Settings, *, ahead: bool) -> PileRun:
    """Transcribe a pile of calls, loading ahead or one call after another."""
    calls = local_calls(files, None, settings)
    batches = [calls] if ahead else [[call] for call in calls]
    rows: list[Row] = []

    def run() -> None:
        rows.extend(found.call for batch in batches for found in transcribe_files(batch, models, settings))

    cost = cost_of(run)
    return PileRun(
        name="loaded ahead, as in every run" if ahead else "one call after another",
        calls=len(rows),
        audio_s=sum(row["duration_s"] or 0.0 for row in rows),
        loading_s=sum(row[stage] or 0.0 for row in rows for stage in ("load_s", "vad_s")),
        models_s=sum(row[stage] or 0.0 for row in rows for stage in ("recognize_s", "diarize_s")),
        cost=cost,
    )


# ---------------------------------------------------------------------------------------------------------- Markdown


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


def loading_table(found: Sequence[Loading]) -> list[str]:
    """How much sound one core loads in B."""
    return [
        "| loaded, 8 kHz mu-law stereo | channel-seconds | CPU s | wall s | channel-seconds per CPU second |",
        "| --- | ---: | ---: | ---: | ---: |",
        *(
            f"| {one.calls} times {one.name} | {one.channel_s:.0f} | {one.cost.cpu_s:.1f} | {one.cost.wall_s:.1f} "
            f"| {one.channel_s / one.cost.cpu_s:.0f} |"
            for one in found
        ),
    ]


def profile_table(found: Mapping[str, float]) -> list[str]:
    """The parts of B."""
    whole = sum(found.values())
    return [
        f"| part ({LONG}) | CPU ms per channel-second | % |",
        "| --- | ---: | ---: |",
        *(f"| {name} | {cost:.2f} | {100 * cost / whole:.0f} |" for name, cost in found.items()),
        f"| sum | {whole:.2f} | 100 |",
    ]


def pile_table(found: Sequence[PileRun]) -> list[str]:
    """The runs of C: where stages overlap, they take less time together than one after another."""
    return [
        "| run | calls | audio, s | load + vad, s | recognize + diarize, s | sum, s | wall, s | hidden, s | CPU, s |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
        *(
            f"| {run.name} | {run.calls} | {run.audio_s:.0f} | {run.loading_s:.1f} | {run.models_s:.1f} "
            f"| {run.loading_s + run.models_s:.1f} | {run.cost.wall_s:.1f} "
            f"| {run.loading_s + run.models_s - run.cost.wall_s:.1f} | {run.cost.cpu_s:.1f} |"
            for run in found
        ),
    ]


def main(
    folder: Annotated[Path | None, typer.Argument(help="Recordings to use instead of the demo's.")] = None,
    repeats: Annotated[int, typer.Option(help="Rounds of A and of the parts of B.", min=1)] = 7,
    rounds: Annotated[int, typer.Option(help="How often each recording is in the pile of C.", min=1)] = 2,
    write: Annotated[Path | None, typer.Option(help="Write the tables here too.")] = None,
) -> None:
    """Measure how fast recordings are loaded."""
    settings = load_settings()
    files = find_recordings(folder or DEMO)
    with TemporaryDirectory(prefix="callscribe-") as scratch, ExitStack() as stack:
        sounds = make_sounds(files, Path(scratch))
        decoders = stack.enter_context(DecoderPool(settings.decoder.limits()))
        loaders = {
            OURS: ours(decoders, decode_options(settings)),
            FFMPEG: ffmpeg_program(),
            LIBROSA: librosa_load,
        }
        compared = compare(sounds, loaders, repeats, Path(scratch))
        decoders.close()
        load_all(SHORT, sounds[SHORT], 2, settings)  # imports what loading needs, once
        loaded = [load_all(name, sounds[name], calls, settings) for name, calls in LOADED.items()]
        parted = profile(sounds[LONG], repeats, settings)
        models = load_models(settings.models, settings.recognizer, settings.diarization)
        pile = make_pile(files, rounds, Path(scratch) / "pile")
        piled = [run_pile(pile, models, settings, ahead=ahead) for ahead in (True, False)]
    tables = [comparison_table(compared), loading_table(loaded), profile_table(parted), pile_table(piled)]
    notes = [_comparison_note(repeats), _loading_note(), "", _pile_note(models, settings)]
    sections = ["\n".join([*table, *(["", note] if note else [])]) for table, note in zip(tables, notes, strict=True)]
    text = "\n\n".join([*sections, _machine_note(folder)]) + "\n"
    typer.echo(text)
    if write is not None:
        write.write_text(text, encoding="utf-8")


def decode_options(settings: Settings) -> DecodeOptions:
    """What may be decoded, as in a run."""
    return DecodeOptions(settings.archive.max_duration_s, settings.decoder.max_output_bytes)


def _linked(path: Path, folder: Path) -> Path:
    """A recording under a name in a folder: what is decoded is put beside it."""
    link = folder / "recording"
    link.hardlink_to(path)
    return link


def _write_tracks(recording: Recording, folder: Path) -> None:
    """All channels of a recording at 16 kHz, each in a file."""
    kept = range(recording.source.channels)
    with ExitStack() as files:
        opened = [files.enter_context((folder / f"alone-{index}.f32").open("wb", buffering=0)) for index in kept]
        for block in at_model_rate(recording, kept, [0.0] * len(kept)):
            for file, channel in zip(opened, block.T, strict=True):
                file.write(np.ascontiguousarray(channel).data)


def _copy(call: CallRef, path: Path) -> None:
    shutil.copyfile(call.key, path)


def _spread(found: Sequence[float], digits: int) -> str:
    if not found:
        return "n/a"
    return f"{statistics.median(found):.{digits}f} ({min(found):.{digits}f} to {max(found):.{digits}f})"


def _comparison_note(repeats: int) -> str:
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


def _loading_note() -> str:
    return (
        "All of loading: fetch (a copy), decode, split, resample, loudness, true peak, speech detection, crosstalk, "
        "measurements; CPU time of all processes, starts of decoders included."
    )


def _pile_note(models: Models, settings: Settings) -> str:
    return (
        f"Stages are seconds of the clock, summed over calls; their sum is what they would take one after another, and "
        "`hidden` by how much the run was shorter, because calls are loaded while the models work on others "
        f"({settings.run.loader_threads} loader threads). In the second run every call waits for the one before, and "
        "starts a decoder of its own. Where recogniser and loaders share the cores of a machine, stages that overlap "
        f"each take longer than alone. Bundle {models.bundle.name}, {models.device.name}, "
        f"{models.device.compute_type}."
    )


def _machine_note(folder: Path | None) -> str:
    source = "the demo's recordings" if folder is None else f"recordings of {folder.name}"
    return (
        f"{datetime.now(UTC):%Y-%m-%d}; {source}; {usable_cores()} cores, {platform.machine()}, Python "
        f"{platform.python_version()}; the machine is shared, so that ratios say more than times."
    )


if __name__ == "__main__":
    typer.run(main)
