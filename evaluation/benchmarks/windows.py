"""What windows shorter than Whisper's 30 s cost in words, and gain in time; and chunks shorter than they might be.

A change of settings turns words here and there by luck alone, so that each way is tried with speech cut in several
slightly different ways (padding), and errors are added up over these.

    python -m evaluation.benchmarks.windows FOLDER… --write evaluation/benchmarks/windows.md
"""

from __future__ import annotations

import platform
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Final

import typer

from evaluation.benchmarks.calibrate import find_recordings
from evaluation.benchmarks.chunking import score
from evaluation.benchmarks.peers_ours import load
from evaluation.normalise import NORMALISER
from evaluation.rates import ErrorCounts
from evaluation.report import percent
from tasks.devices import usable_cores
from tasks.models import Models
from tasks.settings import load_settings, restart_with_huge_pages

PADDINGS_MS = (470, 500, 530)
WHOLE: Final = "whole windows"
WAYS: Final[dict[str, dict[str, float]]] = {
    WHOLE: {"window_margin_s": 30.0, "chunk_s": 28.0},
    "2 s after a chunk": {"window_margin_s": 2.0, "chunk_s": 28.0},
    "2 s after a chunk, of at most 24 s": {"window_margin_s": 2.0, "chunk_s": 24.0},
    "2 s after a chunk, of at most 20 s": {"window_margin_s": 2.0, "chunk_s": 20.0},
}


def main(
    folders: Annotated[list[Path], typer.Argument(help="Folders of recordings with references.")],
    write: Annotated[Path | None, typer.Option(help="Write the table here too.")] = None,
) -> None:
    """Measure WER and time with whole windows, and with windows that end soon after the chunk."""
    recordings = find_recordings(folders)
    names = list(dict.fromkeys(one.folder for one in recordings))
    models = load(load_settings())
    errors: dict[str, dict[str, ErrorCounts]] = {way: {} for way in WAYS}
    spent = dict.fromkeys(WAYS, 0.0)
    for number, padding in enumerate(PADDINGS_MS):
        for way in WAYS if number % 2 == 0 else reversed(WAYS):
            settings = load_settings(overrides={"recognizer": WAYS[way], "vad": {"pad_ms": padding}})
            recognizer = models.recognizer.under(settings.recognizer)
            started = time.monotonic()
            found = score(recordings, Models(models.bundle, models.device, recognizer, models.diarizer), settings)
            spent[way] += time.monotonic() - started
            errors[way] = {name: errors[way].get(name, ErrorCounts.zero()) + found[name] for name in names}
            total = sum(found.values(), ErrorCounts.zero())
            typer.echo(f"padding {padding} ms, {way}: WER {percent(total.rate)} %, {spent[way]:.0f} s so far", err=True)
    columns = [*(f"{name} WER %" for name in names), "all WER %", "del", "ins", "time by whole windows"]
    lines = [f"| windows | {' | '.join(columns)} |", f"| --- |{' ---: |' * len(columns)}"]
    for way, by_folder in errors.items():
        total = sum(by_folder.values(), ErrorCounts.zero())
        cells = [
            *(percent(by_folder[name].rate) for name in names),
            percent(total.rate),
            str(total.deletions),
            str(total.insertions),
            f"{spent[way] / spent[WHOLE]:.2f}",
        ]
        lines.append(f"| {way} | {' | '.join(cells)} |")
    words = sum(counts.reference_words for counts in errors[WHOLE].values())
    note = (
        f"{datetime.now(UTC):%Y-%m-%d}; {len(recordings)} recordings, one channel each, language detected; speech "
        f"padded by {', '.join(map(str, PADDINGS_MS))} ms in turn, {words} words together; chunks of at most 28 s "
        f"where nothing else is said; bundle {models.bundle.name}, {models.device.compute_type}; {models.device.name}, "
        f"{usable_cores()} cores, Python {platform.python_version()}. {NORMALISER}. Time is that of whole runs, models "
        "loaded; the machine is shared."
    )
    text = "\n".join([*lines, "", note]) + "\n"
    typer.echo(text)
    if write is not None:
        write.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    restart_with_huge_pages()
    typer.run(main)
