"""What the other side's voice in a channel costs, and what setting it aside wins back: WER and cpWER.

Two-channel calls (the demo's, and those of a FOLDER laid out as for `evaluation.benchmarks.dev_calls`) as they are, and
with each side mixed into the other one: attenuated, 10 to 130 ms late, its highs dulled, through mu-law. Each is
transcribed with `audio.set_crosstalk_aside` on and off.

    python -m evaluation.benchmarks.crosstalk [FOLDER] --write evaluation/benchmarks/crosstalk.md
"""

from __future__ import annotations

import platform
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from shutil import copyfile
from tempfile import TemporaryDirectory
from typing import Annotated

import numpy as np
import soundfile
import typer
from scipy.signal import lfilter

from evaluation.benchmarks.dev_calls import KindResult, measure
from evaluation.normalise import NORMALISER
from evaluation.report import percent
from evaluation.sets.telephone import Signal, db
from tasks.host import usable_cores
from tasks.models import load_models
from tasks.settings import Settings, load_settings

DEMO = Path(__file__).resolve().parents[1] / "sets" / "demo"
TWO_CHANNELS = ("demo-0002.wav", "demo-0004.opus", "demo-0008.flac")
LEVELS_DB = (None, -12, -18, -24)
DELAYS_MS = (10, 40, 80, 130)
DULLING = (0.6, 0.3, 0.1)  # a short low pass


@dataclass(frozen=True, slots=True)
class Row:
    """One level of crosstalk (None: the calls as they are), with and without setting it aside."""

    level_db: int | None
    aside: KindResult
    kept: KindResult


def with_crosstalk(samples: Signal, level_db: float, delay_s: float, rate_hz: int) -> Signal:
    """Mix each of two channels, `[sample, channel]`, into the other one."""
    late = np.zeros_like(samples)
    delay = round(delay_s * rate_hz)
    late[delay:] = lfilter(DULLING, [1.0], samples, axis=0)[: len(samples) - delay]
    mixed = samples + db(level_db) * late[:, ::-1]
    return np.asarray(mixed / max(1.0, float(np.max(np.abs(mixed)))))


def write_calls(folder: Path | None, level_db: int | None, into: Path) -> None:
    """Write every two-channel call that has a reference, with crosstalk of that level."""
    for index, (name, audio, stm) in enumerate(_calls(folder)):
        samples, rate_hz = soundfile.read(audio, always_2d=True)
        if level_db is not None:
            samples = with_crosstalk(samples, level_db, DELAYS_MS[index % len(DELAYS_MS)] / 1000, rate_hz)
        soundfile.write(into / f"{name}.stereo.wav", samples, rate_hz, subtype="ULAW", format="WAV")
        copyfile(stm, into / f"{name}.stm")


def markdown(rows: Sequence[Row]) -> str:
    """The result as a table, with date and machine."""
    columns = ["WER %", "cpWER %", "insertions"]
    head = " | ".join(f"{column} {way}" for column in columns for way in ("heard", "set aside"))
    lines = [f"| crosstalk | {head} |", "| --- |" + " ---: |" * 6]
    for row in rows:
        level = "as recorded" if row.level_db is None else f"{row.level_db} dB"
        kept, aside = row.kept.score, row.aside.score
        lines.append(
            f"| {level} | {percent(kept.words.rate)} | {percent(aside.words.rate)} | {percent(kept.speakers.rate)} "
            f"| {percent(aside.speakers.rate)} | {kept.words.insertions} | {aside.words.insertions} |"
        )
    words = rows[0].aside.score.words.reference_words
    note = (
        f"{datetime.now(UTC):%Y-%m-%d}; {len(rows[0].aside.score.calls)} calls, {words} words; {usable_cores()} cores, "
        f"Python {platform.python_version()}. {NORMALISER}. Each side of a call is in the other one at that level, 10 "
        "to 130 ms late."
    )
    return "\n".join([*lines, "", note]) + "\n"


def main(
    folder: Annotated[Path | None, typer.Argument(help="More two-channel calls with references.")] = None,
    write: Annotated[Path | None, typer.Option(help="Write the table here too.")] = None,
) -> None:
    """Measure WER and cpWER of two-channel calls with crosstalk, heard and set aside."""
    settings = load_settings()
    models = load_models(settings.models, settings.recognizer, settings.diarization)
    rows = []
    for level_db in LEVELS_DB:
        with TemporaryDirectory() as name:
            write_calls(folder, level_db, Path(name))
            aside, kept = (measure(Path(name), "stereo", models, _with(settings, aside=on)) for on in (True, False))
        rows.append(Row(level_db, aside, kept))
        typer.echo(f"{level_db} dB done", err=True)
    text = markdown(rows)
    typer.echo(text)
    if write is not None:
        write.write_text(text, encoding="utf-8")


def _calls(folder: Path | None) -> Iterator[tuple[str, Path, Path]]:
    """Name, recording and reference of every two-channel call."""
    for audio in sorted(DEMO.rglob("archive/**/*.*")):
        if audio.name in TWO_CHANNELS:
            yield audio.stem, audio, DEMO / "references" / f"{audio.stem}.stm"
    if folder is not None:
        for audio in sorted(folder.glob("*.stereo.wav")):
            name = audio.name.removesuffix(".stereo.wav")
            if (folder / f"{name}.stm").exists():
                yield name, audio, folder / f"{name}.stm"


def _with(settings: Settings, *, aside: bool) -> Settings:
    return settings.model_copy(update={"audio": settings.audio.model_copy(update={"set_crosstalk_aside": aside})})


if __name__ == "__main__":
    typer.run(main)
