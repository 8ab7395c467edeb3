"""Who speaks when: diarization error rate, and how often the number of speakers is right.

Three ways on the same models of the starter bundle: ours, which does not know how many speak; ours, told how many; and
pyannote.audio's own clustering of what each window of 5 s holds of a voice. Ours is also tried with all bounds of its
clustering moved by a tenth either way (`voice_bounds` moves each by itself). A folder holds recordings of one channel
with RTTM files, and UEM files where only a part counts.

    python -m evaluation.benchmarks.diarization FOLDER… --single FOLDER --write evaluation/benchmarks/diarization.md

In the folder `--single`, every channel of every recording of two channels is one speaker's.
"""

from __future__ import annotations

import platform
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any

import typer

from evaluation.benchmarks.publish import DeviceOption
from evaluation.benchmarks.recognition import LIMITS
from evaluation.references import RttmTurn, collect_references
from tasks.audio import prepare
from tasks.bundles import open_bundle
from tasks.decoding import decode_to_file
from tasks.devices import Device, open_device
from tasks.diarize import starter_pipeline
from tasks.host import usable_cores
from tasks.settings import Settings, load_settings, prepare_environment
from tasks.tracks import MODEL_SAMPLING_RATE, Recording, Track
from tasks.voice_clusters import DEFAULT_BOUNDS

COLLAR_S = 0.5
"""As pyannote.metrics counts it: half of it on either side of a boundary."""
Diarize = Callable[[Track, int], Any]
"""A track, and how many speak in it (which a way may not look at), to pyannote's annotation."""


@dataclass(frozen=True, slots=True)
class Call:
    """A recording, who speaks when, and what of it counts (seconds; None means all)."""

    path: Path
    folder: str
    turns: tuple[RttmTurn, ...]
    scored: tuple[tuple[float, float], ...] | None = None

    @property
    def speakers(self) -> int:
        """How many people speak."""
        return len({turn.speaker for turn in self.turns})


def find_calls(folders: Sequence[Path]) -> list[Call]:
    """The recordings of one channel that have a reference; a noisy copy `NAME.….wav` has that of NAME."""
    files = [path for folder in folders for path in sorted(folder.glob("*.rttm"))]
    known = collect_references((path.name, path.read_text(encoding="utf-8-sig")) for path in files)
    return [
        Call(path, folder.name, turns, _scored(path.with_suffix(".uem")))
        for folder in folders
        for path in sorted(folder.glob("*.wav"))
        if ".stereo." not in path.name
        and (reference := known.get(path.name.partition(".")[0])) is not None
        and (turns := reference.turns) is not None
    ]


def ways(settings: Settings) -> dict[str, Diarize]:
    """Those that are compared; all take the bounds on the number of speakers from the settings."""
    import torch
    from pyannote.audio.pipelines import SpeakerDiarization

    from tasks.turn_diarization import TurnDiarization

    torch.set_num_threads(usable_cores())
    device = torch.device(_device(settings).torch_name)
    folder = open_bundle(settings.models.folder, settings.models.bundle).folder
    bounds = {"min_speakers": settings.diarization.min_speakers, "max_speakers": settings.diarization.max_speakers}

    def way(kind: type[SpeakerDiarization], factor: float = 1.0, *, told: bool = False) -> Diarize:
        pipeline: Any = starter_pipeline(folder, kind).to(device)
        if isinstance(pipeline, TurnDiarization):
            pipeline.instantiate({"voices": {name: factor * value for name, value in asdict(DEFAULT_BOUNDS).items()}})

        def diarize(track: Track, speakers: int) -> Any:  # noqa: ANN401  # pyannote has no types
            sound = torch.from_numpy(track.read()[None])
            file = {"waveform": sound, "sample_rate": MODEL_SAMPLING_RATE, "uri": "call"}
            return pipeline(file, **({"num_speakers": speakers} if told else bounds)).speaker_diarization

        return diarize

    return {
        "ours": way(TurnDiarization),
        "ours, bounds 10 % lower": way(TurnDiarization, 0.9),
        "ours, bounds 10 % higher": way(TurnDiarization, 1.1),
        "ours, told how many": way(TurnDiarization, told=True),
        "pyannote's clustering": way(SpeakerDiarization),
        "pyannote's clustering, told how many": way(SpeakerDiarization, told=True),
    }


def annotated(call: Call, duration_s: float) -> tuple[Any, Any]:
    """The reference of a call as pyannote's annotation, and the timeline of what counts."""
    from pyannote.core import Annotation, Segment, Timeline

    reference = Annotation()
    for number, turn in enumerate(call.turns):
        reference[Segment(turn.start, turn.end), number] = turn.speaker
    return reference, Timeline([Segment(*part) for part in call.scored or ((0.0, duration_s),)])


def measure(name: str, diarize: Diarize, calls: Sequence[Call], tracks: Sequence[Track]) -> str:
    """A line of the table: one way over one folder."""
    from pyannote.metrics.diarization import DiarizationErrorRate

    strict, lenient = DiarizationErrorRate(), DiarizationErrorRate(collar=COLLAR_S)
    right, spent = 0, 0.0
    parts = dict.fromkeys(("missed detection", "false alarm", "confusion", "total"), 0.0)
    for call, track in zip(calls, tracks, strict=True):
        started = time.monotonic()
        found = diarize(track, call.speakers)
        spent += time.monotonic() - started
        right += len(found.labels()) == call.speakers
        reference, scored = annotated(call, track.duration_s)
        strict(reference, found, uem=scored)
        details = lenient(reference, found, uem=scored, detailed=True)
        parts = {part: parts[part] + details[part] for part in parts}
    audio_s = sum(track.duration_s for track in tracks)
    shares = [100 * parts[part] / parts["total"] for part in ("missed detection", "false alarm", "confusion")]
    cells = [100 * abs(strict), 100 * abs(lenient), *shares]
    return (
        f"| {calls[0].folder} | {name} | {right} of {len(calls)} | {' | '.join(f'{cell:.1f}' for cell in cells)} "
        f"| {audio_s / spent:.0f} |"
    )


def count_single(diarize: Diarize, tracks: Sequence[Track]) -> int:
    """On how many tracks of one speaker one is found."""
    return sum(len(diarize(track, 1).labels()) == 1 for track in tracks)


def load(path: Path, folder: Path, settings: Settings) -> list[Track]:
    """The channels of a recording, as models hear them."""
    folder.mkdir()
    source, samples = decode_to_file(path, folder / "samples", LIMITS)
    return list(prepare(Recording(folder / "samples", source, samples), settings.audio, folder).tracks)


def main(
    folders: Annotated[list[Path], typer.Argument(help="Folders of recordings with RTTM files.")],
    single: Annotated[Path | None, typer.Option(help="Folder of recordings with a speaker on each channel.")] = None,
    device: DeviceOption = None,
    write: Annotated[Path | None, typer.Option(help="Write the table here too.")] = None,
) -> None:
    """Measure diarization."""
    prepare_environment()
    warnings.filterwarnings("ignore")
    settings = load_settings(overrides={"models": {"device": device}})
    calls = find_calls(folders)
    columns = ["speakers right", "DER %", "DER % at ± 0.25 s", "missed %", "false alarm %", "confused %", "RTFx"]
    lines = [f"| recordings | way | {' | '.join(columns)} |", f"| --- | --- |{' ---: |' * len(columns)}"]
    with TemporaryDirectory() as name:
        scratch = Path(name)
        tracks = [load(call.path, scratch / str(number), settings)[0] for number, call in enumerate(calls)]
        pairs = sorted(single.glob("*.stereo.wav")) if single else []
        alone = [track for path in pairs for track in load(path, scratch / path.stem, settings)]
        known = ways(settings)
        known["ours"](tracks[0], 1)  # everything has been used once
        for folder in dict.fromkeys(call.folder for call in calls):
            own = [(call, track) for call, track in zip(calls, tracks, strict=True) if call.folder == folder]
            for way, diarize in known.items():
                lines.append(measure(way, diarize, [call for call, _ in own], [track for _, track in own]))
                typer.echo(lines[-1])
        told = "; ".join(f"{way} {count_single(known[way], alone)}" for way in known if alone and "told" not in way)
    note = (
        f"{datetime.now(UTC):%Y-%m-%d}; models of bundle starter, {_device(settings).name}, "
        f"{usable_cores()} cores, Python {platform.python_version()}. Between {settings.diarization.min_speakers} and "
        f"{settings.diarization.max_speakers} speakers, unless told. DER by pyannote.metrics, overlap scored; missed, "
        "false alarm and confused make up the one at ± 0.25 s. RTFx is that of diarization alone."
    )
    alike = f" One speaker found on single channels, of {len(alone)}: {told}." if alone else ""
    text = "\n".join([*lines, "", note + alike]) + "\n"
    typer.echo(text)
    if write is not None:
        write.write_text(text, encoding="utf-8")


def _device(settings: Settings) -> Device:
    return open_device(settings.models.device, settings.models.compute_type)


def _scored(uem: Path) -> tuple[tuple[float, float], ...] | None:
    if not uem.is_file():
        return None
    rows = [line.split() for line in uem.read_text(encoding="utf-8").splitlines() if line.strip()]
    return tuple((float(row[2]), float(row[3])) for row in rows)


if __name__ == "__main__":
    typer.run(main)
