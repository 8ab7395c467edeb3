"""Several people on one side of a two-channel call: what it wins to tell them apart, and costs where there is one.

The two-channel calls of a folder laid out as for `evaluation.benchmarks.dev_calls` as they are, with one person on each
side; and every one followed, in the same file, by the one half the folder further on (neighbours in a corpus are often
the same people), so that both sides are handed over to somebody else. Each is transcribed with and without
`diarization.shared_channels`.

    python -m evaluation.benchmarks.hand_over FOLDER --write evaluation/benchmarks/hand_over.md
"""

from __future__ import annotations

import platform
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from shutil import copyfile
from tempfile import TemporaryDirectory
from typing import Annotated

import numpy as np
import soundfile
import typer

from evaluation.benchmarks.dev_calls import KindResult, measure
from evaluation.benchmarks.publish import publish
from evaluation.formats import parse_stm, serialise_stm
from evaluation.normalise import NORMALISER
from evaluation.report import percent
from tasks.host import usable_cores
from tasks.models import load_models
from tasks.settings import Settings, load_settings

KIND = "stereo"
AS_RECORDED = "as recorded"
HANDED_OVER = "handed over"


def write_calls(folder: Path, into: Path, *, handed_over: bool) -> None:
    """Write the two-channel calls that have a reference, alone or each followed by another one.

    Args:
        folder: of `NAME.stereo.wav` and `NAME.stm`.
        into: an empty folder.
        handed_over: whether another call follows each; its speakers get names of their own in the reference.
    """
    names = [path.stem for path in sorted(folder.glob("*.stm")) if (folder / f"{path.stem}.{KIND}.wav").exists()]
    for number, name in enumerate(names):
        if not handed_over:
            for ending in (f"{KIND}.wav", "stm"):
                copyfile(folder / f"{name}.{ending}", into / f"{name}.{ending}")
            continue
        both = (name, names[(number + len(names) // 2) % len(names)])
        sounds = [soundfile.read(folder / f"{one}.{KIND}.wav", always_2d=True) for one in both]
        rate_hz = sounds[0][1]
        soundfile.write(into / f"{name}.{KIND}.wav", np.concatenate([sound for sound, _ in sounds]), rate_hz)
        first, second = (parse_stm((folder / f"{one}.stm").read_text(encoding="utf-8")) for one in both)
        later_s = len(sounds[0][0]) / rate_hz
        later = [
            replace(line, call_id=name, speaker=f"{line.speaker}-2", start=line.start + later_s, end=line.end + later_s)
            for line in second
        ]
        (into / f"{name}.stm").write_text(serialise_stm([*first, *later]), encoding="utf-8")


def row(recordings: str, way: str, result: KindResult) -> str:
    """A line of the table."""
    score = result.score
    return (
        f"| {recordings} | {way} | {result.speakers_right} of {len(score.calls)} | {percent(score.words.rate)} "
        f"| {percent(score.speakers.rate)} | {percent(score.attribution.rate)} |"
    )


def main(
    folder: Annotated[Path, typer.Argument(help="Two-channel calls with references.")],
    write: Annotated[Path | None, typer.Option(help="Write the table here too.")] = None,
) -> None:
    """Measure WER, cpWER and WDER of two-channel calls with one person on a side and with two."""
    settings = load_settings()
    models = load_models(settings.models, settings.recognizer, settings.diarization)
    lines = [
        "| calls | sides | speakers right | WER % | cpWER % | WDER % |",
        "| --- | --- | ---: | ---: | ---: | ---: |",
    ]
    for recordings in (AS_RECORDED, HANDED_OVER):
        with TemporaryDirectory() as name:
            write_calls(folder, Path(name), handed_over=recordings == HANDED_OVER)
            for way, shared in (("one person each", ()), ("told apart", ("*",))):
                lines.append(row(recordings, way, measure(Path(name), KIND, models, _with(settings, shared))))
                typer.echo(lines[-1], err=True)
    note = (
        f"{datetime.now(UTC):%Y-%m-%d}; models of bundle {models.bundle.name}, {usable_cores()} cores, "
        f"Python {platform.python_version()}. {NORMALISER}. A call as recorded has two people, one handed over has "
        "four; words outside all turns keep the name of their side, which counts as one more."
    )
    publish(lines, note, write)


def _with(settings: Settings, shared: tuple[str, ...]) -> Settings:
    return settings.model_copy(
        update={"diarization": settings.diarization.model_copy(update={"shared_channels": shared})}
    )


if __name__ == "__main__":
    typer.run(main)
