"""Memory and time over many short calls in one process: what stays behind of each?

Calls are cut from the demo's recordings, each from a place of its own, as 8 kHz mu-law on one channel. 1, 10, 100 and
1,000 of them go through the whole pipeline (`tasks.pipeline.process`), one count after the other, with models that are
loaded once; one speaker is taken for granted, as in `peers`. Outcomes are dropped as they come.

    python -m evaluation.benchmarks.many_calls --write evaluation/benchmarks/many_calls.md
"""

from __future__ import annotations

import platform
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from shutil import copyfile
from statistics import linear_regression
from tempfile import TemporaryDirectory
from typing import Annotated, Final

import numpy as np
import soundfile
import typer

from evaluation.benchmarks.calibrate import find_recordings
from evaluation.benchmarks.one_speaker import load
from tasks.host import usable_cores
from tasks.models import Models
from tasks.pipeline import process
from tasks.records import CallRef, Outcome, PlannedCall, Samples
from tasks.settings import Settings, load_settings, prepare_environment, restart_with_huge_pages

DEMO: Final = Path(__file__).resolve().parents[1] / "sets" / "demo"
COUNTS: Final = (1, 10, 100, 1000)
RATE_HZ: Final = 8000
SAMPLE_EVERY: Final = 50
SETTLED_CALLS: Final = 100
"""Growth is measured from this call on."""
MB: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class Cost:
    """What so many calls took; memory is resident bytes, `after` that after so many calls."""

    calls: int
    audio_s: float
    wall_s: float
    before: int
    peak: int
    after: Mapping[int, int] = field(default_factory=dict)
    failed: int = 0
    no_speech: int = 0

    @property
    def growth(self) -> float | None:
        """Bytes per call from the 100th to the last, by least squares; None with less than two samples."""
        settled = {calls: memory for calls, memory in self.after.items() if calls >= SETTLED_CALLS}
        if len(settled) < 2:
            return None
        return linear_regression(list(settled), list(settled.values())).slope


def cut(sounds: Sequence[Samples], number: int, samples: int) -> Samples:
    """A piece of one sound: sounds take turns, and each turn starts elsewhere (in steps of the golden ratio)."""
    turn, index = divmod(number, len(sounds))
    sound = sounds[index]
    start = int((turn + 1) * 0.6180339887498949 % 1 * max(0, len(sound) - samples))
    return sound[start : start + samples]


def make_calls(sounds: Sequence[Samples], count: int, seconds: float, folder: Path) -> list[Path]:
    """Write so many short calls."""
    paths = [folder / f"{number}.wav" for number in range(count)]
    for number, path in enumerate(paths):
        soundfile.write(path, cut(sounds, number, round(seconds * RATE_HZ)), RATE_HZ, "ULAW", format="WAV")
    return paths


def demo_sounds() -> list[Samples]:
    """The demo's recordings that hold speech, their channels mixed.

    Raises:
        ValueError: a recording has another sampling rate.
    """
    sounds: list[Samples] = []
    for recording in find_recordings([DEMO]):
        samples, rate_hz = soundfile.read(recording.path, dtype="float32", always_2d=True)
        if rate_hz != RATE_HZ:
            raise ValueError(f"{recording.path.name} has {rate_hz} Hz instead of {RATE_HZ}")
        sounds.append(samples.mean(axis=1, dtype=np.float32))
    return sounds


def planned(paths: Sequence[Path], settings: Settings) -> Iterator[PlannedCall]:
    """The files as calls, made as they are asked for; no call_id comes twice in a process."""
    for path in paths:
        name, hints = f"{len(paths)}-{path.stem}", settings.archive.hints()
        call = CallRef(name, "", str(path), path.as_uri(), name, path.stat().st_size, hints=hints)
        yield PlannedCall(call, shard=0, attempt=1)


def samples_at(count: int) -> frozenset[int]:
    """After which calls memory is read: powers of ten, every 50th, the last."""
    return frozenset(
        {*(10**power for power in range(len(str(count)))), *range(SAMPLE_EVERY, count, SAMPLE_EVERY), count}
    )


def measure(paths: Sequence[Path], models: Models, settings: Settings) -> Cost:
    """Process calls, and read the process's memory on the way."""
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # forget the peak so far
    before, after, audio_s, kinds = resident("VmRSS"), dict[int, int](), 0.0, Counter[str]()
    at = samples_at(len(paths))
    started = time.monotonic()
    for number, outcome in enumerate(process(planned(paths, settings), _fetch, models, settings), start=1):
        if isinstance(outcome, Outcome):
            audio_s += outcome.duration_s or 0.0
            kinds[outcome.kind] += 1
        if number in at:
            after[number] = resident("VmRSS")
            typer.echo(f"{number} of {len(paths)} calls: {after[number] / MB:.0f} MB", err=True)
    wall_s = time.monotonic() - started
    return Cost(len(paths), audio_s, wall_s, before, resident("VmHWM"), after, kinds["failed"], kinds["no_speech"])


def resident(kind: str) -> int:
    """Resident memory of this process in bytes: `VmRSS` is today's, `VmHWM` the most."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return 1024 * int(status.partition(f"{kind}:")[2].split()[0])


def table(costs: Sequence[Cost]) -> list[str]:
    """One line for each count; memory in MB."""
    most = max(cost.calls for cost in costs)
    powers = [10**power for power in range(len(str(most))) if 10**power < most]
    columns = ["before", *(f"after {power:,}" for power in powers), "at the end", "peak", "growth per 1,000 calls"]
    lines = [
        f"| calls | audio s | wall s | s per audio hour | RTFx | {' | '.join(f'{name}, MB' for name in columns)} |",
        f"|{' ---: |' * (5 + len(columns))}",
    ]
    for cost in costs:
        after = [cost.after.get(power) for power in powers]
        memory = [cost.before, *after, cost.after[cost.calls], cost.peak]
        growth = "-" if cost.growth is None else f"{1000 * cost.growth / MB:+.1f}"
        speed = (
            f"{3600 * cost.wall_s / cost.audio_s:.0f} | {cost.audio_s / cost.wall_s:.1f}" if cost.audio_s else "- | -"
        )
        cells = ["-" if one is None else f"{one / MB:.0f}" for one in memory]
        lines.append(
            f"| {cost.calls:,} | {cost.audio_s:.0f} | {cost.wall_s:.1f} | {speed} | {' | '.join(cells)} | {growth} |"
        )
    return lines


def main(
    count: Annotated[list[int] | None, typer.Option(help="How many calls; may be repeated.", min=1)] = None,
    seconds: Annotated[float, typer.Option(help="Length of a call, in seconds.", min=0.5)] = 4.0,
    write: Annotated[Path | None, typer.Option(help="Write the table here too.")] = None,
) -> None:
    """Measure memory and time over many short calls."""
    prepare_environment()
    settings = load_settings()
    counts = sorted(set(count or COUNTS))
    with TemporaryDirectory() as name:
        paths = make_calls(demo_sounds(), max(counts), seconds, Path(name))
        models = load(settings)
        costs = [measure(paths[:calls], models, settings) for calls in counts]
    failed, no_speech = sum(cost.failed for cost in costs), sum(cost.no_speech for cost in costs)
    note = (
        f"{datetime.now(UTC):%Y-%m-%d}; calls of {seconds:g} s, {failed} failed, {no_speech} without speech; bundle "
        f"{models.bundle.name}, {models.device.compute_type}, models loaded, no diarization; {models.device.name}, "
        f"{usable_cores()} cores, Python {platform.python_version()}. Memory is what this process holds resident, "
        "without the decoders' processes; all counts are of one process, so that the first holds what the first use "
        "takes. Calls are recognised in piles: the first of a pile shows the memory of all. Growth: least squares over "
        f"the samples from the {SETTLED_CALLS}th call to the last, one every {SAMPLE_EVERY} calls. The machine is "
        "shared: times are rough."
    )
    text = "\n".join([*table(costs), "", note]) + "\n"
    typer.echo(text)
    if write is not None:
        write.write_text(text, encoding="utf-8")


def _fetch(call: CallRef, path: Path) -> None:
    copyfile(call.key, path)


if __name__ == "__main__":
    restart_with_huge_pages()  # as `callscribe` does
    typer.run(main)
