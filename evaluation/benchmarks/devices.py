"""What processes on devices do against one process with all the cores: whole runs of `callscribe run`, taken in turns.

    python -m evaluation.benchmarks.devices FOLDER --devices cpu:2 --write evaluation/benchmarks/devices.md

FOLDER is an archive, as `evaluation/sets/demo/archive`; its calls are copied so often that start-up does not count.
"""

from __future__ import annotations

import json
import os
import platform
import resource
import shutil
import statistics
import subprocess
import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import typer

from evaluation.benchmarks.publish import publish
from tasks.device_list import parse_devices
from tasks.host import usable_cores

MONTH = "2026-10"
JOBS_PER_PROCESS = 4
FAILED_CALLS = 3  # exit code of a run in which a call failed: one of the demo's is damaged


@dataclass(frozen=True, slots=True)
class Took:
    """What a run took: seconds of audio, of time from its plan to its certificate, and of processors for all of it."""

    audio_s: float
    wall_s: float
    cpu_s: float


def copied(source: Path, target: Path, copies: int) -> int:
    """Fill an archive with copies of another one's month; the bytes of all its objects."""
    size = 0
    for file in sorted((source / MONTH.replace("-", "/")).rglob("*")):
        for number in range(copies if file.is_file() else 0):
            place = target / file.relative_to(source).with_name(f"{file.stem}-{number}{file.suffix}")
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(file, place)
            size += file.stat().st_size
    return size


def run(archive: Path, folder: Path, job_hours: float, devices: str | None) -> Took:
    """One run over an archive into a new data set; `devices` as the command takes them, None: one process."""
    folder.mkdir()
    before_s = _cpu_s()
    command = [sys.executable, "-m", "flows", "run", "--month", MONTH, "--archive", archive.as_uri()]
    command += ["--transcripts", folder.as_uri(), *(["--devices", devices] if devices else [])]
    done = subprocess.run(
        command,
        env={
            **os.environ,
            "PREFECT_HOME": str(archive.parent / "prefect"),
            "CALLSCRIBE_RUN__JOB_HOURS": str(job_hours),
        },
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode not in {0, FAILED_CALLS}:
        raise RuntimeError(done.stdout + done.stderr)
    (certificate,) = folder.glob("_runs/*/certificate.json")
    result = json.loads(certificate.read_text())["result"]
    return Took(result["audio_s"], result["wall_s"], _cpu_s() - before_s)


def _cpu_s() -> float:
    """Of all processes that this one has waited for, and that they have."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def against(ours: list[float], others: list[float]) -> str:
    """The ratios of two series, run by run."""
    ratios = [one / other for one, other in zip(ours, others, strict=True)]
    return f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"


def main(
    folder: Annotated[Path, typer.Argument(help="An archive.")],
    devices: Annotated[str, typer.Option(help="As `callscribe run` takes them.")] = "cpu:2",
    copies: Annotated[int, typer.Option(help="Of each of its calls.")] = 4,
    rounds: Annotated[int, typer.Option(help="Runs of each kind.")] = 3,
    write: Annotated[Path | None, typer.Option(help="Write the table here too.")] = None,
) -> None:
    """Run a month in one process and on devices, in turns, and compare."""
    count = len(parse_devices(devices))
    took: dict[str | None, list[Took]] = {None: [], devices: []}
    with TemporaryDirectory() as temporary:
        archive = Path(temporary, "archive")
        size = copied(folder, archive, copies)
        job_hours = size / 8000 / 3600 / (JOBS_PER_PROCESS * count)
        for number in range(rounds):
            for way, found in took.items():
                found.append(run(archive, Path(temporary, f"{number}-{way or 'one'}"), job_hours, way))
    one, several = took.values()
    speed = against([run.audio_s / run.wall_s for run in several], [run.audio_s / run.wall_s for run in one])
    cpu = against([run.cpu_s for run in several], [run.cpu_s for run in one])
    lines = [
        "| processes | audio s | wall s | audio s a second | against one | CPU s | against one |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for name, found, *ratios in (
        (f"one, {usable_cores()} threads", one, "1", "1"),
        (f"`--devices {devices}`", several, speed, cpu),
    ):
        audio_s = found[0].audio_s
        wall_s = statistics.median(run.wall_s for run in found)
        cpu_s = statistics.median(run.cpu_s for run in found)
        cells = (
            name,
            f"{audio_s:.0f}",
            f"{wall_s:.0f}",
            f"{audio_s / wall_s:.1f}",
            ratios[0],
            f"{cpu_s:.0f}",
            ratios[1],
        )
        lines.append(f"| {' | '.join(cells)} |")
    note = (
        f"{datetime.now(UTC):%Y-%m-%d}; bundle starter, {copies} copies of each call, {JOBS_PER_PROCESS} jobs for each "
        f"process; {usable_cores()} cores, {platform.machine()}, Python {platform.python_version()}. Medians of "
        f"{rounds} runs of each kind, taken in turns; ratios run by run, with the least and the most. Wall seconds are "
        "from plan to certificate, start of the processes and loading of models included; CPU seconds are of all "
        "processes, Prefect's temporary server included. The machine is shared: read the ratios, and first that of CPU "
        "seconds."
    )
    publish(lines, note, write)


if __name__ == "__main__":
    typer.run(main)
