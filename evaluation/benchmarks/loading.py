"""How fast recordings are loaded: beside `ffmpeg` and librosa, part by part, and while the models work.

The recordings are made from two-channel calls, those of the demo (or of a FOLDER, if one is named), laid end to end at
8 kHz.

A. Decoding and resampling to 16 kHz alone, beside `ffmpeg` and librosa (`loading_programs`).
B. All of loading, with models that hear nothing, and its parts one by one (`loading_parts`).
C. A pile of calls with real models, loaded ahead as in every run, and then one call after another.

    python -m evaluation.benchmarks.loading [FOLDER] --write evaluation/benchmarks/loading.md
"""

from __future__ import annotations

import platform
import shutil
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import typer

from evaluation.benchmarks.loading_costs import LONG, SHORT, Cost, cost_of, find_recordings, make_sounds
from evaluation.benchmarks.loading_parts import (
    LOADED,
    decode_options,
    load_all,
    loading_note,
    loading_table,
    profile,
    profile_table,
)
from evaluation.benchmarks.loading_programs import (
    FFMPEG,
    LIBROSA,
    OURS,
    compare,
    comparison_note,
    comparison_table,
    ffmpeg_program,
    librosa_load,
    ours,
)
from tasks.decoder import DecoderPool
from tasks.devices import automatic_loaders
from tasks.host import usable_cores
from tasks.local import local_calls, transcribe_files
from tasks.models import Models, load_models
from tasks.schemas import Row
from tasks.settings import Settings, load_settings

DEMO = Path(__file__).resolve().parents[1] / "sets" / "demo" / "archive"


@dataclass(frozen=True, slots=True)
class PileRun:
    """A run over a pile of calls: seconds of its stages, summed over calls, and of the whole run (models loaded)."""

    name: str
    calls: int
    audio_s: float
    loading_s: float
    models_s: float
    cost: Cost


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
    notes = [comparison_note(repeats), loading_note(), "", _pile_note(models, settings)]
    sections = ["\n".join([*table, *(["", note] if note else [])]) for table, note in zip(tables, notes, strict=True)]
    text = "\n\n".join([*sections, _machine_note(folder)]) + "\n"
    typer.echo(text)
    if write is not None:
        write.write_text(text, encoding="utf-8")


def _pile_note(models: Models, settings: Settings) -> str:
    loaders = settings.run.loader_threads or automatic_loaders(models.device)
    return (
        f"Stages are seconds of the clock, summed over calls; their sum is what they would take one after another, and "
        "`hidden` by how much the run was shorter, because calls are loaded while the models work on others "
        f"({loaders} loader threads). In the second run every call waits for the one before, and "
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
