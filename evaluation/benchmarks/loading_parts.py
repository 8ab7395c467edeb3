"""B. All of loading, and its parts one by one.

All of loading goes through `tasks.pipeline` with models that hear nothing: seconds of a channel for each CPU second of
one core, of this process and its children together. Then each part does its work by itself, in the order of a run.

`evaluation.benchmarks.loading` runs it.
"""

from __future__ import annotations

import shutil
import statistics
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import cast

import numpy as np
import soundfile

from evaluation.benchmarks.loading_costs import CHANNELS, LONG, SHORT, Cost, cost_of
from tasks.audio import at_model_rate, prepare
from tasks.bundles import sha256_of
from tasks.channels import survey
from tasks.crosstalk import find_crosstalk
from tasks.decoder import DecoderPool
from tasks.decoding import DecodeOptions
from tasks.devices import Device
from tasks.heard import CallSpeech
from tasks.local import local_calls
from tasks.loudness import LoudnessMeter, integrated_loudness, true_peak_dbtp
from tasks.models import Models
from tasks.pipeline import process
from tasks.records import CallRef, PlannedCall, Recognition, Region
from tasks.settings import Settings
from tasks.signals import measure as measure_signals
from tasks.tracks import Recording, Track
from tasks.vad import speech_regions

# How many calls of each length are loaded: the same sound, with more calls or fewer.
LOADED = {SHORT: 40, LONG: 4}


@dataclass(frozen=True, slots=True)
class Loading:
    """Calls that went through all of loading."""

    name: str
    calls: int
    channel_s: float
    cost: Cost


class DeafRecognizer:
    """Stands in for the recogniser, and hears nothing: what remains of a run is loading."""

    def recognize(self, calls: Sequence[CallSpeech]) -> list[Recognition | Exception]:
        """Nothing."""
        return [Recognition((), None, None) for _ in calls]


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
        yield "resample, split into tracks", cost_of(lambda: write_tracks(recording, folder))
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


def decode_options(settings: Settings) -> DecodeOptions:
    """What may be decoded, as in a run."""
    return DecodeOptions(settings.archive.max_duration_s, settings.decoder.max_output_bytes)


def write_tracks(recording: Recording, folder: Path) -> None:
    """All channels of a recording at 16 kHz, each in a file."""
    kept = range(recording.source.channels)
    with ExitStack() as files:
        opened = [files.enter_context((folder / f"alone-{index}.f32").open("wb", buffering=0)) for index in kept]
        for block in at_model_rate(recording, kept, [0.0] * len(kept)):
            for file, channel in zip(opened, block.T, strict=True):
                file.write(np.ascontiguousarray(channel).data)


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


def loading_note() -> str:
    """What all of loading is."""
    return (
        "All of loading: fetch (a copy), decode, split, resample, loudness, true peak, speech detection, crosstalk, "
        "measurements; CPU time of all processes, starts of decoders included."
    )


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


def _copy(call: CallRef, path: Path) -> None:
    shutil.copyfile(call.key, path)
