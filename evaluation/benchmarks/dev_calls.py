"""WER, cpWER, WDER and speed on a folder of recordings with references.

The folder holds `NAME.mono.wav` and `NAME.stereo.wav` (both optional) beside `NAME.stm`; stereo is agent, caller.

    python -m evaluation.benchmarks.dev_calls FOLDER --write evaluation/benchmarks/dev_calls.md
"""

from __future__ import annotations

import platform
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from evaluation.benchmarks.publish import DeviceOption
from evaluation.hypotheses import HypothesisUtterance
from evaluation.normalise import NORMALISER
from evaluation.references import Reference, load_references
from evaluation.report import percent
from evaluation.score import SetScore, score_set
from tasks.attribute import UNKNOWN_SPEAKER
from tasks.host import usable_cores
from tasks.local import local_calls, transcribe_files
from tasks.models import Models, load_models
from tasks.schemas import Row
from tasks.settings import Settings, load_settings

KINDS = ("mono", "stereo")


@dataclass(frozen=True, slots=True)
class KindResult:
    """What one kind of recording scored, and how fast it went (models loaded, everything else included)."""

    kind: str
    score: SetScore
    audio_s: float
    work_s: float
    speakers_right: int

    @property
    def rtfx(self) -> float:
        """Audio seconds by wall seconds."""
        return self.audio_s / self.work_s


def measure(folder: Path, kind: str, models: Models, settings: Settings) -> KindResult:
    """Transcribe and score the recordings of one kind."""
    references = load_references(folder)
    files = [
        path for path in sorted(folder.glob(f"*.{kind}.wav")) if path.name.removesuffix(f".{kind}.wav") in references
    ]
    rows: list[Row] = []
    hypotheses: dict[str, tuple[HypothesisUtterance, ...]] = {}
    for found in transcribe_files(local_calls(files, None, settings), models, settings):
        name = found.call["call_id"].removesuffix(f".{kind}")
        hypotheses[name] = tuple(HypothesisUtterance.from_row(row) for row in found.utterances)
        rows.append(found.call)
    known = {name: replace(reference, entities=None) for name, reference in references.items() if name in hypotheses}
    stages = ("load_s", "vad_s", "recognize_s", "diarize_s")
    return KindResult(
        kind=kind,
        score=score_set(known, hypotheses),
        audio_s=sum(row["duration_s"] for row in rows),
        work_s=sum(row[stage] for row in rows for stage in stages),
        speakers_right=sum(
            len(set(row["speakers"]) - {UNKNOWN_SPEAKER}) == _speakers(known[row["call_id"].removesuffix(f".{kind}")])
            for row in rows
        ),
    )


def markdown(results: Sequence[KindResult], models: Models) -> str:
    """The result as a small table with date and machine."""
    lines = [
        "| recordings | calls | words | WER % | sub | del | ins | cpWER % | WDER % | speaker count right | RTFx |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for result in results:
        words, speakers = result.score.words, result.score.speakers
        calls = len(result.score.calls)
        lines.append(
            f"| {result.kind} | {calls} | {words.reference_words} | {percent(words.rate)} | {words.substitutions} "
            f"| {words.deletions} | {words.insertions} | {percent(speakers.rate)} "
            f"| {percent(result.score.attribution.rate)} | {result.speakers_right} of {calls} | {result.rtfx:.1f} |"
        )
    machine = f"{models.device.name}, {usable_cores()} cores, Python {platform.python_version()}"
    note = (
        f"{datetime.now(UTC):%Y-%m-%d}; bundle {models.bundle.name} {models.bundle.digest[:16]}, "
        f"{models.device.compute_type}; {machine}. {NORMALISER}. RTFx is audio seconds by the wall seconds of all "
        "stages, models loaded; the machine is shared, so that it is no more than a rough figure."
    )
    return "\n".join([*lines, "", note]) + "\n"


def main(
    folder: Annotated[Path, typer.Argument(help="Recordings and references.")],
    device: DeviceOption = None,
    write: Annotated[Path | None, typer.Option(help="Write the table here too.")] = None,
) -> None:
    """Measure WER, cpWER, WDER and speed on a folder of recordings with references."""
    settings = load_settings(overrides={"models": {"device": device}})
    models = load_models(settings.models, settings.recognizer, settings.diarization)
    results = [measure(folder, kind, models, settings) for kind in KINDS if any(folder.glob(f"*.{kind}.wav"))]
    text = markdown(results, models)
    typer.echo(text)
    if write is not None:
        write.write_text(text, encoding="utf-8")


def _speakers(reference: Reference) -> int:
    return len({line.speaker for line in reference.lines or ()})


if __name__ == "__main__":
    typer.run(main)
