"""Does the recogniser depend on luck in where speech is cut? WER over settings of the detector and of chunks.

Every setting is moved to both sides of its default, the others staying; a sound chunking gives a flat table.

    python -m evaluation.benchmarks.chunking FOLDER… --write evaluation/benchmarks/chunking.md
"""

from __future__ import annotations

import platform
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from evaluation.benchmarks.calibrate import Recording, find_recordings
from evaluation.benchmarks.one_speaker import load
from evaluation.benchmarks.publish import publish
from evaluation.hypotheses import HypothesisUtterance, in_order
from evaluation.normalise import NORMALISER, normalised_words
from evaluation.rates import ErrorCounts
from evaluation.report import percent
from evaluation.wer import count_errors
from tasks.host import usable_cores
from tasks.local import local_calls, transcribe_files
from tasks.models import Models
from tasks.settings import Settings, load_settings

Change = dict[str, dict[str, Any]]
CHANGES: dict[str, Change] = {
    "defaults": {},
    "pauses of 0.5 s end a region": {"vad": {"min_silence_ms": 500}},
    "pauses of 2 s end a region": {"vad": {"min_silence_ms": 2000}},
    "0.2 s of padding": {"vad": {"pad_ms": 200}},
    "0.8 s of padding": {"vad": {"pad_ms": 800}},
    "threshold 0.35": {"vad": {"threshold": 0.35}},
    "threshold 0.65": {"vad": {"threshold": 0.65}},
    "chunks of at most 20 s": {"recognizer": {"chunk_s": 20.0}},
    "chunks of at most 24 s": {"recognizer": {"chunk_s": 24.0}},
    "chunks of at most 30 s": {"recognizer": {"chunk_s": 30.0}},
}


def score(recordings: Sequence[Recording], models: Models, settings: Settings) -> dict[str, ErrorCounts]:
    """Word errors by folder."""
    errors: dict[str, ErrorCounts] = {}
    calls = local_calls([one.path for one in recordings], None, settings)
    for recording, found in zip(recordings, transcribe_files(calls, models, settings), strict=True):
        language = found.call["language"] or "en"
        said = in_order(HypothesisUtterance.from_row(row) for row in found.utterances)
        counts = count_errors(
            normalised_words(recording.texts, language), normalised_words((one.text for one in said), language)
        )
        errors[recording.folder] = errors.get(recording.folder, ErrorCounts.zero()) + counts
    return errors


def row(name: str, errors: dict[str, ErrorCounts], folders: Iterable[str]) -> str:
    """A line of the table: WER of every folder, and of all."""
    total = sum(errors.values(), ErrorCounts.zero())
    cells = [percent(errors[folder].rate) for folder in folders]
    return f"| {name} | {' | '.join(cells)} | {percent(total.rate)} | {total.deletions} | {total.insertions} |"


def main(
    folders: Annotated[list[Path], typer.Argument(help="Folders of recordings with references.")],
    write: Annotated[Path | None, typer.Option(help="Write the table here too.")] = None,
) -> None:
    """Measure WER over settings of speech detection and chunking."""
    recordings = find_recordings(folders)
    names = list(dict.fromkeys(one.folder for one in recordings))
    models = load(load_settings())
    lines = [
        f"| settings | {' | '.join(f'{name} WER %' for name in names)} | all WER % | del | ins |",
        f"| --- |{' ---: |' * (len(names) + 3)}",
    ]
    words = 0
    for name, change in CHANGES.items():
        settings = load_settings(overrides=change)
        models = Models(models.bundle, models.device, models.whisper.under(settings.recognizer), models.diarizer)
        errors = score(recordings, models, settings)
        words = sum(counts.reference_words for counts in errors.values())
        lines.append(row(name, errors, names))
        typer.echo(lines[-1])
    note = (
        f"{datetime.now(UTC):%Y-%m-%d}; {len(recordings)} recordings, {words} words, one channel each, language "
        f"detected; bundle {models.bundle.name}, {models.device.compute_type}; {models.device.name}, {usable_cores()} "
        f"cores, Python {platform.python_version()}. {NORMALISER}."
    )
    publish(lines, note, write)


if __name__ == "__main__":
    typer.run(main)
