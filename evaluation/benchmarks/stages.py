"""Where the time of a mixed run goes: calls of one channel, which are diarized, and of a channel for each speaker.

Diarization is looked at by itself, too: what of its time goes into segmentation and into embeddings.

python -m evaluation.benchmarks.stages FOLDER --write evaluation/benchmarks/stages.md
"""

from __future__ import annotations

import platform
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from evaluation.benchmarks.publish import DeviceOption, publish
from tasks.host import usable_cores
from tasks.local import local_calls, transcribe_files
from tasks.models import load_models
from tasks.schemas import Row
from tasks.settings import load_settings, restart_with_huge_pages

STAGES: Final = {"load_s": "load", "vad_s": "speech", "recognize_s": "recognition", "diarize_s": "diarization"}
"""Columns of `calls`, and what they are called."""


def timed(name: str, function: Callable[..., Any], spent: Counter[str]) -> Callable[..., Any]:
    """The same function, whose wall seconds are added up under a name."""

    def measured(*arguments: Any, **options: Any) -> Any:  # noqa: ANN401  # whatever the function takes and gives
        started = time.monotonic()
        try:
            return function(*arguments, **options)
        finally:
            spent[name] += time.monotonic() - started  # type: ignore[assignment]  # a Counter of seconds, not of items

    return measured


def line(name: str, rows: Iterable[Row]) -> str:
    """A line of the table: seconds of sound, and of each stage, with its share."""
    calls = list(rows)
    spent = {stage: sum(row[stage] for row in calls) for stage in STAGES}
    total = sum(spent.values())
    audio_s = sum(row["duration_s"] for row in calls)
    cells = [f"{seconds:.1f} ({100 * seconds / total:.0f} %)" for seconds in spent.values()]
    return f"| {name} | {len(calls)} | {audio_s:.0f} | {' | '.join(cells)} | {audio_s / total:.1f} |"


def main(
    folder: Annotated[Path, typer.Argument(help="Recordings of one channel and of two.")],
    device: DeviceOption = None,
    write: Annotated[Path | None, typer.Option(help="Write the table here too.")] = None,
) -> None:
    """Measure the time of each stage of a run over recordings of both kinds."""
    settings = load_settings(overrides={"models": {"device": device}})
    models = load_models(settings.models, settings.recognizer, settings.diarization)
    inside: Counter[str] = Counter()
    pipeline: Any = models.diarizer._pipeline  # noqa: SLF001  # its parts are measured
    if models.bundle.manifest.diarization != "starter":
        raise typer.BadParameter("the parts of diarization are known of bundle starter alone")
    pipeline.get_segmentations = timed("segmentation", pipeline.get_segmentations, inside)
    pipeline._voices = timed("embeddings", pipeline._voices, inside)  # noqa: SLF001
    files: Sequence[Path] = sorted(folder.glob("*.wav"))
    started = time.monotonic()
    every = [found.call for found in transcribe_files(local_calls(files, None, settings), models, settings)]
    rows = [row for row in every if row["outcome"] != "failed"]
    wall_s = time.monotonic() - started
    by_layout = {layout: [row for row in rows if row["channel_layout"] == layout] for layout in ("mono", "separate")}
    lines = [
        f"| calls | number | sound, s | {' | '.join(f'{name}, s' for name in STAGES.values())} | RTFx |",
        f"| --- |{' ---: |' * (len(STAGES) + 3)}",
        *(line(layout, own) for layout, own in by_layout.items() if own),
        line("all", rows),
    ]
    audio_s = sum(row["duration_s"] for row in rows)
    diarize_s = sum(row["diarize_s"] for row in rows)
    parts = ", ".join(f"{100 * seconds / diarize_s:.0f} % is {name}" for name, seconds in inside.items()) or "nothing"
    note = (
        f"{datetime.now(UTC):%Y-%m-%d}; bundle {models.bundle.name}, {models.device.compute_type}, models loaded; "
        f"{models.device.name}, {usable_cores()} cores, Python {platform.python_version()}. Stages are added up over "
        f"calls; loading (with speech detection) runs beside the models, so that the run took {wall_s:.1f} s "
        f"({audio_s / wall_s:.1f} times real time). Of diarization, {parts}. The machine is shared: read the shares."
    )
    publish(lines, note, write)


if __name__ == "__main__":
    restart_with_huge_pages()
    typer.run(main)
