r"""The bounds by which voices become speakers: tuned on some recordings, and how flat they lie on others.

Each bound that decides on voices (`tasks.voice_clusters.Bounds`) is moved to both sides of what we ship, on FOLDER and
on recordings that nobody tuned on (`--check`): where the rates do not change, it lies well. Then all are searched on
FOLDER by Optuna, for the least diarization error rate at ± 0.25 s, and the best is held against what we ship. In the
folder `--single`, every channel of every recording of two channels is one speaker's, and is to be found so. Everything
is heard from several starts, because the windows of the models then lie differently. Models run once: what they say is
kept while other bounds are tried.

    python -m evaluation.benchmarks.voice_bounds FOLDER --check FOLDER --single FOLDER \
        --write evaluation/benchmarks/voice_bounds.md
"""

from __future__ import annotations

import platform
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any, Final

import typer

from evaluation.benchmarks.diarization import COLLAR_S, Call, annotated, find_calls, load
from evaluation.benchmarks.publish import publish
from tasks.bundles import open_bundle
from tasks.devices import open_device
from tasks.diarize import starter_pipeline
from tasks.host import usable_cores
from tasks.settings import Settings, load_settings, prepare_environment
from tasks.tracks import MODEL_SAMPLING_RATE, Track
from tasks.voice_clusters import DEFAULT_BOUNDS

FACTORS: Final = (0.7, 0.9, 1.0, 1.1, 1.3)
TRIALS: Final = 100
SEED: Final = 0
STARTS_S: Final = (0.0, 0.4, 0.8)

Values = Mapping[str, float]
"""The bounds by name."""


@dataclass(frozen=True, slots=True)
class KeptCall:
    """A recording from one start on, as pyannote.audio takes it, what its models said of it, and what is right."""

    folder: str
    speakers: int
    file: dict[str, Any]
    reference: Any
    scored: Any


def keep(calls: Sequence[Call], scratch: Path, settings: Settings) -> list[KeptCall]:
    """Load recordings into memory, each from every start."""
    kept: list[KeptCall] = []
    for number, call in enumerate(calls):
        track = load(call.path, scratch / str(number), settings)[0]
        for start_s in STARTS_S:
            reference, scored = annotated(from_start(call, track.duration_s, start_s), track.duration_s - start_s)
            kept.append(KeptCall(call.folder, call.speakers, _file(track, start_s), reference, scored))
    return kept


def from_start(call: Call, duration_s: float, start_s: float) -> Call:
    """What is right of a recording of which the first seconds are left out."""
    turns = [replace(turn, start=turn.start - start_s, end=turn.end - start_s) for turn in call.turns]
    scored = [(max(0.0, start - start_s), end - start_s) for start, end in call.scored or ((0.0, duration_s),)]
    return replace(call, turns=tuple(turns), scored=tuple(scored))


def keep_single(folder: Path, scratch: Path, settings: Settings) -> list[dict[str, Any]]:
    """Load every channel of the recordings of two channels, each from every start."""
    paths = sorted(folder.glob("*.stereo.wav"))
    tracks = [track for path in paths for track in load(path, scratch / path.stem, settings)]
    return [_file(track, start_s) for track in tracks for start_s in STARTS_S]


def error_rate(pipeline: Any, values: Values, kept: Sequence[KeptCall], bounds: Mapping[str, int]) -> tuple[float, int]:  # noqa: ANN401  # pyannote has no types
    """The diarization error rate at ± 0.25 s under some bounds, and on how many recordings the count is right."""
    from pyannote.metrics.diarization import DiarizationErrorRate

    pipeline.instantiate({"voices": dict(values)})
    metric, right = DiarizationErrorRate(collar=COLLAR_S), 0
    for one in kept:
        found = pipeline.apply(one.file, **bounds).speaker_diarization
        metric(one.reference, found, uem=one.scored)
        right += len(found.labels()) == one.speakers
    return float(abs(metric)), right


def count_single(pipeline: Any, values: Values, files: Sequence[dict[str, Any]], bounds: Mapping[str, int]) -> int:  # noqa: ANN401  # the same
    """In how many recordings of one speaker one is found."""
    pipeline.instantiate({"voices": dict(values)})
    return sum(len(pipeline.apply(file, **bounds).speaker_diarization.labels()) <= 1 for file in files)


def search(pipeline: Any, kept: Sequence[KeptCall], bounds: Mapping[str, int], trials: int) -> Values:  # noqa: ANN401  # the same
    """The bounds of least error, by Optuna's default search; the same every time."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    ranges = {name: (parameter.low, parameter.high) for name, parameter in pipeline.parameters()["voices"].items()}

    def objective(trial: optuna.Trial) -> float:
        values = {name: trial.suggest_float(name, *ends) for name, ends in ranges.items()}
        return error_rate(pipeline, values, kept, bounds)[0]

    study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=SEED))
    study.enqueue_trial(asdict(DEFAULT_BOUNDS))
    study.optimize(objective, n_trials=trials)
    return dict(study.best_params)


def main(
    folders: Annotated[list[Path], typer.Argument(help="Recordings with RTTM files to tune on.")],
    check: Annotated[list[Path] | None, typer.Option(help="Further ones, on which nothing is tuned.")] = None,
    single: Annotated[Path | None, typer.Option(help="Folder of recordings with a speaker on each channel.")] = None,
    trials: Annotated[int, typer.Option(min=1, help="Bounds that are tried.")] = TRIALS,
    write: Annotated[Path | None, typer.Option(help="Write the table here too.")] = None,
) -> None:
    """Tune the bounds on voices, and show how flat they lie."""
    import torch

    from tasks.turn_diarization import TurnDiarization

    if twice := {one.name for one in folders} & {one.name for one in check or ()}:
        raise typer.BadParameter(f"folders are told apart by name, and there are two called {', '.join(twice)}")
    prepare_environment()
    warnings.filterwarnings("ignore")
    torch.set_num_threads(usable_cores())
    settings = load_settings()
    pipeline: Any = starter_pipeline(
        open_bundle(settings.models.folder, settings.models.bundle).folder, TurnDiarization
    )
    ranges = pipeline.parameters()["voices"]
    pipeline.training = True
    bounds = {"min_speakers": settings.diarization.min_speakers, "max_speakers": settings.diarization.max_speakers}
    shipped = asdict(DEFAULT_BOUNDS)
    with TemporaryDirectory() as scratch:
        kept = keep(find_calls([*folders, *(check or ())]), Path(scratch), settings)
        alone = keep_single(single, Path(scratch), settings) if single else []
    names = list(dict.fromkeys(one.folder for one in kept))
    tuned_on = {folder.name for folder in folders}

    def row(way: str, values: Values) -> str:
        cells = []
        for name in names:
            own = [one for one in kept if one.folder == name]
            rate, right = error_rate(pipeline, values, own, bounds)
            cells.append(f"{100 * rate:.1f}, {right} of {len(own)}")
        if alone:
            cells.append(f"{count_single(pipeline, values, alone, bounds)} of {len(alone)}")
        typer.echo(f"{way}: {'; '.join(cells)}", err=True)
        return f"| {way} | {' | '.join(cells)} |"

    columns = [name + (" (tuned on)" if name in tuned_on else "") for name in names]
    if alone:
        columns.append("one speaker")
    lines = [
        f"| bounds | {' | '.join(columns)} |",
        f"| --- |{' ---: |' * len(columns)}",
        row("as shipped", shipped),
    ]
    for name, value in shipped.items():
        lines += [
            row(f"{name} {factor * value:.3g}", {**shipped, name: factor * value}) for factor in FACTORS if factor != 1
        ]
    for factor in FACTORS:
        if factor != 1:
            lines.append(
                row(f"all by {100 * factor - 100:+.0f} %", {key: factor * held for key, held in shipped.items()})
            )
    best = search(pipeline, [one for one in kept if one.folder in tuned_on], bounds, trials)
    found = ", ".join(f"{name} {value:.3g}" for name, value in best.items())
    held = ", ".join(f"{name} {value:g}" for name, value in shipped.items())
    searched = ", ".join(f"{name} {one.low:g} and {one.high:g}" for name, one in ranges.items())
    lines.append(row(f"best of {trials} trials", best))
    note = (
        f"{datetime.now(UTC):%Y-%m-%d}; DER % at ± 0.25 s (pyannote.metrics, overlap scored), and on how many "
        f"recordings the number of speakers is right, between {bounds['min_speakers']} and {bounds['max_speakers']} "
        f"speakers; each is heard from {len(STARTS_S)} starts. "
        f"Shipped: {held}. Found: {found}. Searched between {searched}. Models of bundle starter, "
        f"{open_device('cpu').name}, {usable_cores()} cores, Python {platform.python_version()}."
    )
    publish(lines, note, write)


def _file(track: Track, start_s: float) -> dict[str, Any]:
    """A track from a start on, as pyannote.audio takes it."""
    import torch

    sound = torch.from_numpy(track.read(round(start_s * MODEL_SAMPLING_RATE))[None])
    return {"waveform": sound, "sample_rate": MODEL_SAMPLING_RATE, "uri": "call"}


if __name__ == "__main__":
    typer.run(main)
