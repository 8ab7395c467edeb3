"""What a codec and its container cost: the WER of one call in many of them, beside that of its original.

The folder is laid out as the shared speech data: `manifest.csv` names the variants, `formats/NAME.mono.*` and
`formats/NAME.stereo.*`, and says what each is; `calls/NAME.mono.wav` and `calls/NAME.stereo.wav` are the originals of
the two channel layouts, and `calls/NAME.stm` is the reference of all of them. Stereo is agent, caller.

A variant keeps its bound when it is transcribed and its WER lies within so many points of its original's, on either
side: 8 points for AMR and GSM, which take most of the wave away, 3 for all others.

A variant that the manifest says is shorter than its original is a recording that was cut. It, its original and the
reference are all scored up to the cut that the manifest states (not up to where our decoder got, or what a decoder
loses would go unscored). Of what crosses the cut, the words whose middle lies before it count. An STM line has no word
times: its words are taken to be spread evenly over it. Headerless variants are read with the settings of
`archive.raw_*` that the manifest calls for.

`9.30 a.m.` and `9.30 am` are the same sound, and the same words here, of originals as of variants: the normaliser would
make two words of the one and one of the other.

    python -m evaluation.benchmarks.codecs FOLDER --write evaluation/benchmarks/codecs.md
"""

from __future__ import annotations

import csv
import math
import platform
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from evaluation.hypotheses import HypothesisUtterance
from evaluation.normalise import NORMALISER
from evaluation.rates import ErrorCounts
from evaluation.references import StmLine, load_references
from evaluation.report import percent
from evaluation.wer import word_errors
from tasks.host import usable_cores
from tasks.local import local_calls, transcribe_files
from tasks.models import Models, load_models
from tasks.rows import CallRows
from tasks.schemas import Row
from tasks.setting_groups import ArchiveSettings
from tasks.settings import Settings, load_settings

VARIANTS = "formats/"
LAYOUTS = frozenset({"mono", "stereo"})
BOUND_POINTS = 3.0
LOSSY_BOUND_POINTS = 8.0
LOSSY = ("amr", "gsm")
# Blocks that are filled up and encoder delays move the end of a call by some hundredths of a second; a cut is more.
CUT_S = 0.5
# What the manifest calls the codecs of headerless files, and what `archive.raw_encoding` does.
RAW_ENCODINGS = {"pcm_mulaw": "mulaw", "pcm_alaw": "alaw", "pcm_s16le": "s16le", "pcm_s16be": "s16be"}


@dataclass(frozen=True, slots=True)
class Variant:
    """A call in one codec and container, as the manifest has it; `raw` are settings, None where there is a header."""

    path: Path
    call_id: str
    layout: str
    original: Path
    bound_points: float
    cut_s: float | None = None
    raw: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class CodecResult:
    """What came of one variant: its row, its word errors, and those of its original up to the same cut."""

    variant: Variant
    call: Row
    words: ErrorCounts
    original_words: ErrorCounts

    @property
    def difference_points(self) -> float | None:
        """WER less that of the original, in points; None where the reference holds no word."""
        if self.words.rate is None or self.original_words.rate is None:
            return None
        return 100 * (self.words.rate - self.original_words.rate)

    @property
    def kept(self) -> bool:
        """Whether there is a transcript, and its WER lies within the bound."""
        difference = self.difference_points
        transcribed = self.call["outcome"] == "transcribed"
        return transcribed and difference is not None and abs(difference) <= self.variant.bound_points


def load_variants(folder: Path) -> list[Variant]:
    """The variants that the manifest of a folder names, in its order."""
    with (folder / "manifest.csv").open(encoding="utf-8", newline="") as file:
        rows = {row["file"]: row for row in csv.DictReader(file)}
    variants = []
    for name, row in rows.items():
        call_id, layout, *_ = [*Path(name).name.split("."), ""]
        original = f"calls/{call_id}.{layout}.wav"
        if not name.startswith(VARIANTS) or layout not in LAYOUTS or original not in rows:
            continue
        seconds = float(row["duration_s"])
        cut = float(rows[original]["duration_s"]) - seconds > CUT_S
        codec = row["codec"]
        variants.append(
            Variant(
                path=folder / name,
                call_id=call_id,
                layout=layout,
                original=folder / original,
                bound_points=LOSSY_BOUND_POINTS if codec.startswith(LOSSY) else BOUND_POINTS,
                cut_s=seconds if cut else None,
                raw=_raw(row) if codec.endswith(" raw") else None,
            )
        )
    return variants


def until(lines: Sequence[StmLine], cut_s: float) -> tuple[StmLine, ...]:
    """What was said before a time: words whose middle lies before it, each line's words being spread evenly over it."""
    kept = []
    for line in lines:
        words = line.text.split()
        step_s = (line.end - line.start) / max(len(words), 1)
        before = [word for index, word in enumerate(words) if line.start + (index + 0.5) * step_s < cut_s]
        if before:
            kept.append(replace(line, end=min(line.end, cut_s), text=" ".join(before)))
    return tuple(kept)


def heard_until(utterances: Sequence[HypothesisUtterance], cut_s: float) -> tuple[HypothesisUtterance, ...]:
    """What was recognised before a time: words whose middle, by their own times, lies before it."""
    kept = []
    for utterance in utterances:
        words = tuple(word for word in utterance.words if (word.start + word.end) / 2 < cut_s)
        if words:
            kept.append(replace(utterance, text=" ".join(word.text for word in words), words=words))
    return tuple(kept)


def half_days_apart(text: str) -> str:
    """A text with `am`, `a.m.`, `pm` and `p.m.` after a figure as two letters, as references spell them."""
    return re.sub(r"(?<=\d)\s*([ap])\.?m\b\.?", r" \1 m", text, flags=re.IGNORECASE)


def measure(folder: Path, models: Models, settings: Settings) -> list[CodecResult]:
    """Transcribe and score all variants and their originals; settings for headerless files are put to them here."""
    variants = load_variants(folder)
    references = load_references(folder / "calls")
    originals = list(dict.fromkeys(variant.original for variant in variants))
    found = dict(_transcribe([*originals, *(one.path for one in variants if one.raw is None)], models, settings))
    for variant in variants:
        if variant.raw is not None:
            archive = ArchiveSettings.model_validate({**settings.archive.model_dump(), **variant.raw})
            found |= _transcribe([variant.path], models, settings.model_copy(update={"archive": archive}))
    return [
        CodecResult(
            variant=variant,
            call=found[variant.path].call,
            words=_words(references[variant.call_id].lines or (), found[variant.path], variant.cut_s),
            original_words=_words(references[variant.call_id].lines or (), found[variant.original], variant.cut_s),
        )
        for variant in variants
    ]


def markdown(results: Sequence[CodecResult], models: Models) -> str:
    """One line for each variant, with date and machine."""
    lines = [
        "| variant | codec | container | outcome | length, s | WER % | original's WER % | difference | bound | kept |",
        "| --- | --- | --- | --- | ---: | ---: | ---: | ---: | ---: | --- |",
    ]
    for one in results:
        call, difference = one.call, one.difference_points
        lines.append(
            f"| {one.variant.path.name} | {_code(call['codec'])} | {_code(call['container'])} | {call['outcome']} "
            f"| {_seconds(call['duration_s'])} | {percent(one.words.rate)} | {percent(one.original_words.rate)} "
            f"| {'-' if difference is None else f'{difference:+.1f}'} | {one.variant.bound_points:g} "
            f"| {'yes' if one.kept else 'no'} |"
        )
    machine = f"{models.device.name}, {usable_cores()} cores, Python {platform.python_version()}"
    note = (
        f"{datetime.now(UTC):%Y-%m-%d}; bundle {models.bundle.name} {models.bundle.digest[:16]}, "
        f"{models.device.compute_type}; {machine}. {NORMALISER}. Each variant is compared with the original of its "
        f"channel layout; difference and bound are in points. {_word_note(results)}{_cut_note(results)}"
    )
    return "\n".join([*lines, "", note]) + "\n"


def main(
    folder: Annotated[Path, typer.Argument(help="The shared speech data: manifest.csv, calls/ and formats/.")],
    write: Annotated[Path | None, typer.Option(help="Write the table here too.")] = None,
) -> None:
    """Measure the WER of one call in many codecs and containers."""
    settings = load_settings()
    models = load_models(settings.models, settings.recognizer, settings.diarization)
    text = markdown(measure(folder, models, settings), models)
    typer.echo(text)
    if write is not None:
        write.write_text(text, encoding="utf-8")


def _raw(row: Mapping[str, str]) -> dict[str, Any]:
    """The settings with which a headerless file is read."""
    return {
        "raw_encoding": RAW_ENCODINGS[row["codec"].removesuffix(" raw")],
        "raw_sampling_rate": int(row["sampling_rate"]),
        "raw_channels": int(row["channels"]),
        "raw_extensions": (Path(row["file"]).suffix,),
    }


def _transcribe(files: Sequence[Path], models: Models, settings: Settings) -> Iterator[tuple[Path, CallRows]]:
    """Each file with its rows; by path, as files of one call in several containers share their call_id."""
    return zip(files, transcribe_files(local_calls(files, None, settings), models, settings), strict=True)


def _words(lines: Sequence[StmLine], found: CallRows, cut_s: float | None) -> ErrorCounts:
    heard: Sequence[HypothesisUtterance] = [HypothesisUtterance.from_row(row) for row in found.utterances]
    if cut_s is not None:
        lines, heard = until(lines, cut_s), heard_until(heard, cut_s)
    return word_errors(lines, [replace(one, text=half_days_apart(one.text)) for one in heard])


def _word_note(results: Sequence[CodecResult]) -> str:
    counts = sorted({one.words.reference_words for one in results if one.variant.cut_s is None})
    return " ".join(f"One word of {count} is {100 / count:.1f} points." for count in counts if count)


def _cut_note(results: Sequence[CodecResult]) -> str:
    return "".join(
        f" {one.variant.path.name} is scored on its first {one.variant.cut_s:.1f} s, and so is its original: "
        f"{one.words.reference_words} words."
        for one in results
        if one.variant.cut_s is not None
    )


def _code(name: str | None) -> str:
    return "-" if name is None else f"`{name}`"


def _seconds(duration_s: float | None) -> str:
    return "-" if duration_s is None or not math.isfinite(duration_s) else f"{duration_s:.2f}"


if __name__ == "__main__":
    typer.run(main)
