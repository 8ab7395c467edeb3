"""A run over many calls on a GPU: how fast, what the card does meanwhile, and whether speed changes words.

Calls are those of a folder, of one channel and of two, each again and again from another place of it on (what was cut
off follows at the end), as 8 kHz mu-law. All go through the whole pipeline (`tasks.pipeline.process`) in several ways,
with models that are loaded once; the first way is the one that settings say, and words are compared with its words.

    python -m evaluation.benchmarks.gpu FOLDER --device cuda --write table.md

`evaluation/benchmarks/gpu.md` holds such a table beside what other benchmarks found on the same GPU.
"""

from __future__ import annotations

import platform
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Final

import numpy as np
import soundfile
import typer

from evaluation.benchmarks.gpu_samples import Usage, Watch
from evaluation.benchmarks.many_calls import RATE_HZ
from evaluation.benchmarks.publish import DeviceOption, publish
from evaluation.rates import ErrorCounts
from evaluation.wer import count_errors
from tasks.devices import automatic_loaders
from tasks.host import usable_cores
from tasks.local import local_calls, transcribe_files
from tasks.models import Models, load_models
from tasks.settings import Settings, load_settings, prepare_environment, restart_with_huge_pages

GOLDEN: Final = 0.6180339887498949
STAGES: Final = {"load_s": "load", "vad_s": "speech", "recognize_s": "recognition", "diarize_s": "diarization"}
"""Columns of `calls`, and what they are called."""


@dataclass(frozen=True, slots=True)
class Way:
    """One way to run; what is None is as settings say.

    Attributes:
        name: what it is called.
        batch: chunks that are decoded at once.
        loaders: calls that are loaded ahead.
        features: threads that compute spectra.
        beside: whether calls are diarized while others are recognised, where the device is one that does.
    """

    name: str
    batch: int | None = None
    loaders: int | None = None
    features: int | None = None
    beside: bool = True


WAYS: Final = (
    Way("as settings say"),
    Way("the same again"),
    *(Way(f"batches of {size}", batch=size) for size in (1, 8, 16, 32, 128)),
    *(Way(f"{count} loaders", loaders=count) for count in (1, 2, 8)),
    Way("8 feature threads", features=8),
    Way("diarization after recognition", beside=False),
)


@dataclass(frozen=True, slots=True)
class Took:
    """What one way took, and the words of each call that it gave."""

    way: Way
    wall_s: float
    audio_s: float
    stages: Mapping[str, float]
    usage: Usage | None
    failed: int
    words: Mapping[str, tuple[str, ...]] = field(repr=False)


def archive(folder: Path, count: int, target: Path) -> list[Path]:
    """Write so many calls, made of the recordings of a folder in turn; each begins elsewhere in its recording.

    Raises:
        ValueError: a recording has another sampling rate than 8 kHz, or the folder has none.
    """
    sounds = []
    for path in sorted(folder.glob("*.wav")):
        samples, rate_hz = soundfile.read(path, dtype="float32", always_2d=True)
        if rate_hz != RATE_HZ:
            raise ValueError(f"{path.name} has {rate_hz} Hz instead of {RATE_HZ}")
        sounds.append(samples)
    if not sounds:
        raise ValueError(f"no recordings in {folder}")
    paths = []
    for number in range(count):
        turn, index = divmod(number, len(sounds))
        sound = np.roll(sounds[index], -round(turn * GOLDEN % 1 * len(sounds[index])), axis=0)
        paths.append(target / f"call-{number:05d}.wav")
        soundfile.write(paths[-1], sound, RATE_HZ, "ULAW", format="WAV")
    return paths


def run(way: Way, paths: Sequence[Path], models: Models, settings: Settings) -> Took:
    """Transcribe all calls in one way."""
    loaders = way.loaders or settings.run.loader_threads or automatic_loaders(models.device)
    features = way.features or settings.recognizer.feature_threads
    asked = settings.model_copy(
        update={
            "run": settings.run.model_copy(update={"loader_threads": loaders}),
            "recognizer": settings.recognizer.model_copy(update={"feature_threads": features}),
        }
    )
    recognising = models.whisper.under(asked.recognizer)
    # The queue runs beside recognition on a GPU alone. Of a loaded pipeline, only loaders, told above,
    # and the proof of a device after a failure ask for the kind, too.
    device = models.device if way.beside else replace(models.device, kind="cpu")
    own = Models(models.bundle, device, recognising, models.diarizer)
    usual, recognising.batches.size = recognising.batches.size, way.batch or recognising.batches.size
    try:
        with Watch(models.device.kind, models.device.index) as watch:
            started = time.monotonic()
            found = list(transcribe_files(local_calls(paths, None, asked), own, asked))
            wall_s = time.monotonic() - started
    finally:
        recognising.batches.size = usual
    rows = [one.call for one in found]
    return Took(
        way=way,
        wall_s=wall_s,
        audio_s=sum(row["duration_s"] or 0.0 for row in rows),
        stages={stage: sum(row[stage] for row in rows) for stage in STAGES},
        usage=watch.usage,
        failed=sum(row["outcome"] == "failed" for row in rows),
        words={
            one.call["call_id"]: tuple(word for row in one.utterances for word in str(row["text"]).split())
            for one in found
        },
    )


def differing(words: Mapping[str, tuple[str, ...]], others: Mapping[str, tuple[str, ...]]) -> tuple[int, int]:
    """How many words of calls are others, and how many calls hold such words."""
    errors = [count_errors(others.get(call, ()), said) for call, said in words.items()]
    total = sum(errors, ErrorCounts.zero())
    return total.errors, sum(one.errors > 0 for one in errors)


def table(outcomes: Sequence[Took]) -> list[str]:
    """A line for each way; stages are added up over calls, and some of them run side by side."""
    columns = [
        "wall, s", "RTFx", "GPU busy, %", "GPU memory, MiB", *(f"{name}, s" for name in STAGES.values()),
        "failed", "other words", "calls with such",
    ]  # fmt: skip
    lines = [f"| way | {' | '.join(columns)} |", f"| --- |{' ---: |' * len(columns)}"]
    for one in outcomes:
        usage = [f"{one.usage.busy:.0f}", f"{one.usage.used_mib}"] if one.usage else ["-", "-"]
        other = differing(one.words, outcomes[0].words)
        cells = [
            f"{one.wall_s:.1f}",
            f"{one.audio_s / one.wall_s:.0f}",
            *usage,
            *(f"{seconds:.1f}" for seconds in one.stages.values()),
            str(one.failed),
            *(map(str, other) if one is not outcomes[0] else ("", "")),
        ]
        lines.append(f"| {one.way.name} | {' | '.join(cells)} |")
    return lines


def main(
    folder: Annotated[Path, typer.Argument(help="Recordings of 8 kHz, of one channel and of two.")],
    calls: Annotated[int, typer.Option(help="How many calls are made of them.", min=1)] = 260,
    only: Annotated[
        list[str] | None, typer.Option(help="A way by its name; may be repeated. All when left out.")
    ] = None,
    device: DeviceOption = None,
    write: Annotated[Path | None, typer.Option(help="Write the table here too.")] = None,
) -> None:
    """Measure runs over many calls in several ways."""
    prepare_environment()
    settings = load_settings(overrides={"models": {"device": device}})
    models = load_models(settings.models, settings.recognizer, settings.diarization)
    with TemporaryDirectory() as name:
        paths = archive(folder, calls, Path(name))
        run(WAYS[0], paths[: min(calls, 8)], models, settings)  # everything has been used once
        outcomes: list[Took] = []
        for way in [way for way in WAYS if not only or way.name in only]:
            outcomes.append(run(way, paths, models, settings))
            typer.echo(table([outcomes[0], outcomes[-1]])[-1], err=True)
    first = outcomes[0]
    loaders = settings.run.loader_threads or automatic_loaders(models.device)
    machine = f"{models.device.name}, {usable_cores()} cores, Python {platform.python_version()}"
    note = (
        f"{datetime.now(UTC):%Y-%m-%d}; {calls} calls, {first.audio_s:.0f} s, "
        f"{sum(map(len, first.words.values()))} words; bundle {models.bundle.name} {models.bundle.digest[:16]}, "
        f"{models.device.compute_type}, models loaded, batches of {models.whisper.batches.size}, "
        f"{loaders} loaders and {settings.recognizer.feature_threads} feature threads unless told otherwise; "
        f"{machine}. Stages are added up over calls; loading and the detection of speech run in threads beside the "
        "models, and diarization beside recognition. Busy is the share of time in which any kernel ran. Other words: "
        "by edit distance to those of the first way."
    )
    publish(table(outcomes), note, write)


if __name__ == "__main__":
    restart_with_huge_pages()
    typer.run(main)
