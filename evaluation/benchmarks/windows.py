"""What windows shorter than Whisper's 30 s cost in words, and gain in time.

A change of settings turns words here and there by luck alone, so that each window is tried with speech cut in several
slightly different ways (padding), and errors are added up over these. Short calls show more than long ones: make a
folder of them with `peers_workloads`.

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
from evaluation.benchmarks.one_speaker import load
from evaluation.benchmarks.publish import publish
from evaluation.normalise import NORMALISER
from evaluation.rates import ErrorCounts
from evaluation.report import percent
from tasks.host import usable_cores
from tasks.models import Models
from tasks.settings import load_settings, restart_with_huge_pages
from tasks.whisper import WHOLE_WINDOW_S

PADDINGS_MS = (470, 530)
WINDOWS_S: Final = (WHOLE_WINDOW_S, 16.0, 6.0)


def main(
    folders: Annotated[list[Path], typer.Argument(help="Folders of recordings with references.")],
    write: Annotated[Path | None, typer.Option(help="Write the table here too.")] = None,
) -> None:
    """Measure WER and time with whole windows, and with windows as long as their chunks but for a least length."""
    recordings = find_recordings(folders)
    names = list(dict.fromkeys(one.folder for one in recordings))
    models = load(load_settings())
    errors: dict[float, dict[str, ErrorCounts]] = {window_s: {} for window_s in WINDOWS_S}
    spent = dict.fromkeys(WINDOWS_S, 0.0)
    for number, padding in enumerate(PADDINGS_MS):
        for window_s in WINDOWS_S if number % 2 == 0 else reversed(WINDOWS_S):
            settings = load_settings(overrides={"recognizer": {"least_window_s": window_s}, "vad": {"pad_ms": padding}})
            recognizer = models.whisper.under(settings.recognizer)
            started = time.monotonic()
            found = score(recordings, Models(models.bundle, models.device, recognizer, models.diarizer), settings)
            spent[window_s] += time.monotonic() - started
            errors[window_s] = {name: errors[window_s].get(name, ErrorCounts.zero()) + found[name] for name in names}
            total = sum(found.values(), ErrorCounts.zero())
            typer.echo(
                f"padding {padding} ms, {window_s:g} s: WER {percent(total.rate)} %, {spent[window_s]:.0f} s so far",
                err=True,
            )
    columns = [*(f"{name} WER %" for name in names), "all WER %", "del", "ins", "time by whole windows"]
    lines = [f"| least window, s | {' | '.join(columns)} |", f"| --- |{' ---: |' * len(columns)}"]
    for window_s, by_folder in errors.items():
        total = sum(by_folder.values(), ErrorCounts.zero())
        cells = [
            *(percent(by_folder[name].rate) for name in names),
            percent(total.rate),
            str(total.deletions),
            str(total.insertions),
            f"{spent[window_s] / spent[WHOLE_WINDOW_S]:.2f}",
        ]
        lines.append(f"| {window_s:g} | {' | '.join(cells)} |")
    words = sum(counts.reference_words for counts in errors[WHOLE_WINDOW_S].values())
    note = (
        f"{datetime.now(UTC):%Y-%m-%d}; {len(recordings)} recordings, one channel each, language detected; speech "
        f"padded by {', '.join(map(str, PADDINGS_MS))} ms in turn, {words} words together; {WHOLE_WINDOW_S:g} s: "
        f"all windows are whole; bundle {models.bundle.name}, {models.device.compute_type}; {models.device.name}, "
        f"{usable_cores()} cores, Python {platform.python_version()}. {NORMALISER}. Time is that of whole runs, models "
        "loaded; the machine is shared."
    )
    publish(lines, note, write)


if __name__ == "__main__":
    restart_with_huge_pages()
    typer.run(main)
