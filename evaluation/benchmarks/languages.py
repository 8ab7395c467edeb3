"""How often the detected language is the one that is spoken, over wide band and through an 8 kHz line.

The language is part of a recording's name (`fleurs-de-000.ogg`, `de-DE_testing_audio.wav`); `NAME.phone.wav` is the
line. Each is heard without restriction, and where only some languages may occur. `--switch` names a recording in which
the language changes; of that the language of every utterance is told.

    python -m evaluation.benchmarks.languages FOLDER --switch FILE --write evaluation/benchmarks/languages.md
"""

from __future__ import annotations

import platform
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Final

import typer

from evaluation.benchmarks.calibrate import AUDIO
from evaluation.benchmarks.one_speaker import load
from evaluation.benchmarks.publish import publish
from evaluation.report import percent
from tasks.host import usable_cores
from tasks.local import local_calls, transcribe_files
from tasks.models import Models
from tasks.rows import CallRows
from tasks.schemas import Row
from tasks.settings import Settings, load_settings

LANGUAGES: Final = ("de", "en", "es", "fr", "pt")
WIDE, PHONE = BANDS = ("wide band", "phone line")
NAMED: Final = re.compile(r"(?:^|-)([a-z]{2})-(?:\d+|[A-Z]{2}(?![A-Za-z]))")


@dataclass(frozen=True, slots=True)
class Detected:
    """A recording, the language of its name, and the one detected; None where no speech was found."""

    name: str
    spoken: str
    detected: str | None

    @property
    def band(self) -> str:
        """Which sound it is."""
        return PHONE if ".phone." in self.name else WIDE

    @property
    def right(self) -> bool:
        """Whether the language was found."""
        return self.spoken == self.detected


def named_language(name: str) -> str | None:
    """The language (ISO 639-1) that a file's name says; None where it says none."""
    found = NAMED.search(name)
    return found[1] if found else None


def find_named(folder: Path) -> list[tuple[Path, str]]:
    """The recordings of a folder and of folders in it whose name says their language."""
    paths = (path for path in sorted(folder.rglob("*")) if path.suffix.lower() in AUDIO)
    return [(path, language) for path in paths if (language := named_language(path.name)) is not None]


def hear(files: Sequence[Path], languages: Sequence[str], models: Models, settings: Settings) -> Iterator[CallRows]:
    """Transcribe recordings of which only the languages that may occur are known (none: any may)."""
    calls = [
        replace(call, hints=replace(call.hints, language=None, languages=tuple(languages)))
        for call in local_calls(files, None, settings)
    ]
    return transcribe_files(calls, models, settings)


def rows(may_be: str, detected: Sequence[Detected]) -> list[str]:
    """Lines of the table: each band, and all."""
    lines = []
    for band, own in ((band, [one for one in detected if one.band == band]) for band in BANDS):
        right = sum(one.right for one in own)
        lines.append(f"| {band} | {may_be} | {len(own)} | {right} | {percent(right / len(own) if own else None)} |")
    return lines


def wrong_ones(may_be: str, detected: Iterable[Detected]) -> str:
    """A sentence that names the recordings whose language was not found, and what was."""
    wrong = [f"{one.name} ({one.detected or 'no speech'})" for one in detected if not one.right]
    return f"Wrong of {may_be}: {', '.join(wrong) or 'none'}."


def in_time(utterances: Iterable[Row]) -> str:
    """The languages of utterances in order of time, with their seconds: `en 0.5 to 9.1, de 9.8 to 14.0`."""
    ordered = sorted(utterances, key=lambda row: row["start"])
    return (
        ", ".join(f"{row['language'] or '-'} {row['start']:.1f} to {row['end']:.1f}" for row in ordered) or "no speech"
    )


def main(
    folder: Annotated[Path, typer.Argument(help="Recordings whose names say the language.", exists=True)],
    switch: Annotated[Path | None, typer.Option(help="A recording that changes its language.", exists=True)] = None,
    language: Annotated[list[str] | None, typer.Option(help="A language that may occur (ISO 639-1).")] = None,
    write: Annotated[Path | None, typer.Option(help="Write the table here too.")] = None,
) -> None:
    """Measure the detection of languages."""
    named = find_named(folder)
    if not named:
        raise typer.BadParameter("no name of a recording says its language")
    settings = load_settings()
    models = load(settings)
    languages = language or list(LANGUAGES)
    lines = ["| sound | language may be | recordings | right | % |", "| --- | --- | ---: | ---: | ---: |"]
    notes = []
    for may_be, restriction in (("any", ()), (", ".join(languages), languages)):
        heard = hear([path for path, _ in named], restriction, models, settings)
        detected = [
            Detected(path.name, spoken, found.call["language"])
            for (path, spoken), found in zip(named, heard, strict=True)
        ]
        lines += rows(may_be, detected)
        notes.append(wrong_ones(may_be, detected))
        if switch is not None:
            (found,) = hear([switch], restriction, models, settings)
            notes.append(f"Utterances of {switch.name} ({may_be}), seconds: {in_time(found.utterances)}.")
    note = (
        f"{datetime.now(UTC):%Y-%m-%d}; bundle {models.bundle.name}, {models.device.compute_type}; "
        f"{models.device.name}, {usable_cores()} cores, Python {platform.python_version()}. {' '.join(notes)}"
    )
    publish(lines, note, write)


if __name__ == "__main__":
    typer.run(main)
