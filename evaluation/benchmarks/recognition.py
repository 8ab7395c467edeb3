"""Cross-call batches against faster-whisper, in one process: same model files, threads, beam, word times and sound.

Two workloads: a pile of short calls, and one long call. Each program hears the same speech, decoded and resampled
beforehand; ours is given its speech regions by its own detector, whose time counts, as faster-whisper's does.

    python -m evaluation.benchmarks.recognition FOLDER --write evaluation/benchmarks/recognition.md
"""

from __future__ import annotations

import platform
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Annotated

import numpy as np
import typer

from evaluation.benchmarks.calibrate import find_recordings
from evaluation.benchmarks.one_speaker import load
from evaluation.benchmarks.publish import DeviceOption, publish
from evaluation.normalise import normalised_words
from evaluation.rates import ErrorCounts
from evaluation.report import percent
from evaluation.wer import count_errors
from tasks.audio import prepare
from tasks.decoding import DecodeOptions, decode_to_file
from tasks.heard import CallSpeech, ChannelSpeech
from tasks.host import usable_cores
from tasks.models import Models
from tasks.records import CallHints, Recognition, Samples
from tasks.settings import Settings, load_settings, prepare_environment
from tasks.tracks import MODEL_SAMPLING_RATE, Recording, Track
from tasks.vad import find_speech

LIMITS = DecodeOptions(max_duration_s=7200, max_output_bytes=10**10)
LANGUAGE = "en"
COLUMNS = (
    "RTFx median (range)",
    "ours is faster by, median (range)",
    "CPU time by that of ours, median",
    "WER %",
    "del %",
)
Texts = list[str]
Program = Callable[[Sequence[Track]], list[Texts]]
"""Hears tracks; gives the texts found in each."""


def programs(models: Models, settings: Settings) -> dict[str, Program]:
    """Ours, and faster-whisper's two ways, on the same files, device and threads."""
    from faster_whisper import BatchedInferencePipeline, WhisperModel

    bundle, device, recognizer = models.bundle, models.device, models.whisper
    model = WhisperModel(
        str(bundle.folder / "recognizer"),
        device=device.kind,
        device_index=device.index,
        compute_type=device.compute_type,
        cpu_threads=settings.recognizer.cpu_threads or usable_cores(),
        local_files_only=True,
    )
    batched = BatchedInferencePipeline(model)
    options = {"language": LANGUAGE, "beam_size": settings.recognizer.beam_size, "word_timestamps": True}

    def ours(tracks: Sequence[Track]) -> list[Texts]:
        calls = []
        for track in tracks:
            speech = find_speech(track, settings.vad)
            calls.append(
                CallSpeech((ChannelSpeech(track, speech.regions, speech.voices),), CallHints(language=LANGUAGE))
            )
        return [
            [segment.text for segment in found.segments] if isinstance(found, Recognition) else []
            for found in recognizer.recognize(calls)
        ]

    def sequential(tracks: Sequence[Track]) -> list[Texts]:
        return [[one.text for one in model.transcribe(track.read(), vad_filter=True, **options)[0]] for track in tracks]

    def per_file(tracks: Sequence[Track]) -> list[Texts]:
        return [
            [one.text for one in batched.transcribe(track.read(), batch_size=recognizer.batches.size, **options)[0]]
            for track in tracks
        ]

    return {"ours": ours, "faster-whisper, sequential": sequential, "faster-whisper, batched per file": per_file}


def load_tracks(files: Sequence[Path], folder: Path, settings: Settings) -> list[Track]:
    """The first channel of recordings, decoded, at 16 kHz, at the loudness that models get."""
    tracks = []
    for number, file in enumerate(files):
        scratch = folder / str(number)
        scratch.mkdir()
        source, samples = decode_to_file(file, scratch / "samples", LIMITS)
        tracks.append(prepare(Recording(scratch / "samples", source, samples), settings.audio, scratch).tracks[0])
    return tracks


def as_one(tracks: Sequence[Track], path: Path, seconds: float) -> Track:
    """The tracks one after another, again and again, as one call of that length."""
    sound: Samples = np.concatenate([track.read() for track in tracks])
    samples = round(seconds * MODEL_SAMPLING_RATE)
    np.resize(sound, samples).astype(np.float32).tofile(path)
    return Track(path, samples)


def main(
    folder: Annotated[Path, typer.Argument(help="Recordings in English with references, one channel each.")],
    rounds: Annotated[int, typer.Option(help="How often each program hears each workload.", min=1)] = 3,
    short_s: Annotated[float, typer.Option(help="Length of a short call, in seconds.")] = 30.0,
    long_s: Annotated[float, typer.Option(help="Length of the long call, in seconds.")] = 600.0,
    device: DeviceOption = None,
    write: Annotated[Path | None, typer.Option(help="Write the table here too.")] = None,
) -> None:
    """Measure cross-call batches against faster-whisper, round by round in alternating order."""
    prepare_environment()
    settings = load_settings(overrides={"models": {"device": device}})
    models = load(settings)
    recordings = find_recordings([folder])
    with TemporaryDirectory() as name:
        scratch = Path(name)
        whole = load_tracks([one.path for one in recordings], scratch, settings)
        pile = [
            Track(path, min(round(short_s * MODEL_SAMPLING_RATE), samples))
            for path, samples in _pieces(whole, scratch, round(short_s * MODEL_SAMPLING_RATE))
        ]
        workloads = {
            f"{len(pile)} calls of {short_s:.0f} s": pile,
            f"{len(whole)} calls, {sum(one.duration_s for one in whole) / len(whole):.0f} s in the mean": whole,
            f"one call of {long_s / 60:.0f} min": [as_one(whole, scratch / "long", long_s)],
        }
        known = programs(models, settings)
        for program in known.values():
            program(pile[:1])  # everything has been used once
        lines = [
            f"| workload | program | {' | '.join(COLUMNS)} |",
            f"| --- | --- |{' ---: |' * len(COLUMNS)}",
        ]
        for workload, tracks in workloads.items():
            references = [one.texts for one in recordings] if tracks is whole else None
            lines += measure(workload, tracks, known, rounds, references)
            typer.echo("\n".join(lines[-len(known) :]))
    machine = f"{models.device.name}, {usable_cores()} cores, Python {platform.python_version()}"
    note = (
        f"{datetime.now(UTC):%Y-%m-%d}; {rounds} rounds; Whisper of bundle {models.bundle.name}, "
        f"{models.device.compute_type}, beam {settings.recognizer.beam_size}, batches of "
        f"{models.whisper.batches.size}, word times, language given; {machine}. Detection of speech, features, "
        "encoding, decoding and alignment are timed; loading is not. The machine is shared: read the ratios, taken "
        "round by round; that of CPU time depends least on who else is on it."
    )
    publish(lines, note, write)


def measure(
    workload: str,
    tracks: Sequence[Track],
    known: dict[str, Program],
    rounds: int,
    references: Sequence[Sequence[str]] | None,
) -> list[str]:
    """Lines of the table for one workload; WER where there are references."""
    audio_s = sum(track.duration_s for track in tracks)
    times: dict[str, list[float]] = {name: [] for name in known}
    computing: dict[str, list[float]] = {name: [] for name in known}
    texts: dict[str, list[Texts]] = {}
    for number in range(rounds):
        names = list(known) if number % 2 == 0 else list(reversed(known))
        for name in names:
            started, computed = time.monotonic(), time.process_time()
            texts[name] = known[name](tracks)
            times[name].append(time.monotonic() - started)
            computing[name].append(time.process_time() - computed)
    lines = []
    for name, spent in times.items():
        ratios = [other / mine for other, mine in zip(spent, times["ours"], strict=True)]
        errors = ErrorCounts.zero()
        for said, found in zip(references or (), texts[name], strict=False):
            errors += count_errors(normalised_words(said, LANGUAGE), normalised_words(found, LANGUAGE))
        wer = percent(errors.rate) if references else ""
        deleted = f"{100 * errors.deletions / errors.reference_words:.1f}" if references else ""
        speed = f"{audio_s / median(spent):.1f} ({audio_s / max(spent):.1f} to {audio_s / min(spent):.1f})"
        faster = f"{median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})" if name != "ours" else ""
        work = median(other / mine for other, mine in zip(computing[name], computing["ours"], strict=True))
        cpu = f"{work:.2f}" if name != "ours" else ""
        lines.append(f"| {workload} | {name} | {speed} | {faster} | {cpu} | {wer} | {deleted} |")
    return lines


def _pieces(tracks: Sequence[Track], scratch: Path, samples: int) -> list[tuple[Path, int]]:
    """Tracks in pieces of so many samples, as files; a rest of less than half of that is left out."""
    found = []
    for number, track in enumerate(tracks):
        for start in range(0, track.samples - samples // 2, samples):
            path = scratch / f"piece-{number}-{start}"
            piece = track.read(start, start + samples)
            piece.tofile(path)
            found.append((path, len(piece)))
    return found


if __name__ == "__main__":
    typer.run(main)
