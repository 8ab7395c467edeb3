"""How true word times are: ours and faster-whisper on the same model, over calls whose word times are known.

The calls are `evaluation.sets.word_times`. What was recognised is aligned to what was said by its text, as in reports
(`evaluation.word_times`): words that are equal, one to one. A number that is said in several words and written in one
("four four seven one", "4471") is compared as a stretch: where its first word starts and its last one ends. Whatever
else differs is not compared. faster-whisper runs window after window with its detection of speech, both in English with
a beam of 5; ours is the whole pipeline, with a stand-in for the diarizer.

With `--stm FOLDER`, `NAME.mono.wav` beside `NAME.stm` are transcribed too. They have no word times: what is counted is
the share of recognised words whose middle lies in a line of the reference.

    python -m evaluation.benchmarks.word_times --stm FOLDER --write evaluation/benchmarks/word_times.md
"""

from __future__ import annotations

import platform
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import numpy as np
import typer

from evaluation.benchmarks.nonspeech import BEAM_SIZE, OURS, load_peer
from evaluation.benchmarks.one_speaker import load
from evaluation.hypotheses import HypothesisUtterance
from evaluation.references import StmLine, load_references
from evaluation.sets.word_times import TimedCall, load_calls
from evaluation.word_times import match_words
from tasks.host import usable_cores
from tasks.local import local_calls, transcribe_files
from tasks.models import Models
from tasks.records import Word
from tasks.settings import Settings, load_settings

if TYPE_CHECKING:
    from faster_whisper import WhisperModel

PEER: Final = "faster-whisper, VAD"
LANGUAGE: Final = "en"
MONO: Final = ".mono.wav"

Transcripts = Mapping[Path, Sequence[Word]]
"""The words of each recording, in order."""


@dataclass(frozen=True, slots=True)
class Inside:
    """Recognised words of recordings with a reference, and those of them whose middle lies in one of its lines."""

    words: int = 0
    inside: int = 0

    def __add__(self, other: Inside) -> Inside:
        """The sum of both."""
        return Inside(self.words + other.words, self.inside + other.inside)

    @property
    def share(self) -> float | None:
        """The share of words, 0 to 1; None without words."""
        return self.inside / self.words if self.words else None


def count_inside(words: Iterable[Word], lines: Sequence[StmLine]) -> Inside:
    """How many words lie in a line of the reference with their middle."""
    middles = [(word.start + word.end) / 2 for word in words]
    return Inside(len(middles), sum(any(line.start <= middle <= line.end for line in lines) for middle in middles))


def errors_ms(errors_s: Sequence[float]) -> tuple[float, float, float] | None:
    """In milliseconds: the median of absolute errors, their 95th percentile, and the median error with its sign.

    None where there are none.
    """
    if not errors_s:
        return None
    found_ms = 1000 * np.asarray(errors_s)
    median, high = np.percentile(np.abs(found_ms), [50, 95])
    return float(median), float(high), float(np.median(found_ms))


def hear_ours(files: Sequence[Path], models: Models, settings: Settings) -> dict[Path, list[Word]]:
    """The words of recordings by our pipeline; none of one that fails."""
    rows = transcribe_files(local_calls(files, None, settings), models, settings)
    found = {}
    for file, one in zip(files, rows, strict=True):
        words = [word for row in one.utterances for word in HypothesisUtterance.from_row(row).words]
        found[file] = sorted(words, key=lambda word: (word.start, word.end))
    return found


def hear_peer(files: Sequence[Path], model: WhisperModel) -> dict[Path, list[Word]]:
    """The words of recordings by faster-whisper."""
    found = {}
    for file in files:
        segments, _ = model.transcribe(
            str(file), language=LANGUAGE, beam_size=BEAM_SIZE, vad_filter=True, word_timestamps=True
        )
        words: list[Word] = []
        try:
            for segment in segments:
                words += [
                    Word(word.word.strip(), float(word.start), float(word.end), float(word.probability))
                    for word in segment.words or ()
                ]
        except IndexError as error:  # its aligner trips over a window in which nothing aligns
            typer.echo(f"faster-whisper stops in {file.name} after {len(words)} words: {error}", err=True)
        found[file] = words
    return found


def times_table(calls: Sequence[TimedCall], transcripts: Mapping[str, Transcripts]) -> str:
    """Errors of word times by program: of single words, and of stretches."""
    total = sum(len(call.words) for call in calls)
    columns = [f"{edge}, {what} ms" for edge in ("start", "end") for what in ("median", "95 %", "bias")]
    lines = [
        f"| program | compared | matches | said words in them % | {' | '.join(columns)} |",
        f"| --- | --- | ---: | ---: |{' ---: |' * len(columns)}",
    ]
    for program, found in transcripts.items():
        matches = [match for call in calls for match in match_words(call.words, found[call.path])]
        for name, wanted in (("words", True), ("stretches", False)):
            own = [match for match in matches if match.one_to_one is wanted]
            share = f"{100 * sum(len(match.known) for match in own) / total:.1f}"
            starts = _cells(errors_ms([match.start_error_s for match in own]))
            ends = _cells(errors_ms([match.end_error_s for match in own]))
            lines.append(f"| {program} | {name} | {len(own)} | {share} | {starts} | {ends} |")
    return "\n".join(lines)


def inside_table(found: Mapping[str, Inside]) -> str:
    """The share of words inside of reference lines, by program."""
    lines = ["| program | words | in a line of the reference % |", "| --- | ---: | ---: |"]
    for program, one in found.items():
        share = "n/a" if one.share is None else f"{100 * one.share:.1f}"
        lines.append(f"| {program} | {one.words} | {share} |")
    return "\n".join(lines)


def note(calls: Sequence[TimedCall], models: Models) -> str:
    """How it was measured, when and where."""
    return (
        f"{datetime.now(UTC):%Y-%m-%d}; {len(calls)} synthetic calls, {sum(len(call.words) for call in calls)} words, "
        "8 kHz mu-law. Median and 95th percentile are of absolute errors, bias is the median of errors with their sign "
        "(below zero: too early). Words: recognised as said, one to one; stretches: said in several words and "
        f"written in others, most of them numbers. Bundle {models.bundle.name} {models.bundle.digest[:16]}, "
        f"{models.device.compute_type}; {models.device.name}, {usable_cores()} cores, Python "
        f"{platform.python_version()}; faster-whisper {version('faster-whisper')}, beam {BEAM_SIZE}, English."
    )


def main(
    stm: Annotated[Path | None, typer.Option(help="Recordings NAME.mono.wav with references NAME.stm.")] = None,
    calls: Annotated[int | None, typer.Option(help="Take the first so many calls; all if not said.", min=1)] = None,
    write: Annotated[Path | None, typer.Option(help="Write the tables here too.")] = None,
) -> None:
    """Measure the errors of word times."""
    settings = load_settings(overrides={"recognizer": {"beam_size": BEAM_SIZE}, "archive": {"language": LANGUAGE}})
    known = load_calls()[:calls]
    references = load_references(stm) if stm else {}
    named = {path: path.name.removesuffix(MONO) for path in sorted(stm.glob(f"*{MONO}"))} if stm else {}
    recordings = {path: references[name].lines or () for path, name in named.items() if name in references}
    files = [*(call.path for call in known), *recordings]
    models = load(settings)
    transcripts = {
        OURS: hear_ours(files, models, settings),
        PEER: hear_peer(files, load_peer(models, settings)),
    }
    parts = [times_table(known, transcripts)]
    if recordings:
        parts.append(
            inside_table(
                {
                    program: sum((count_inside(found[path], lines) for path, lines in recordings.items()), Inside())
                    for program, found in transcripts.items()
                }
            )
        )
    text = "\n\n".join([*parts, note(known, models)]) + "\n"
    typer.echo(text)
    if write is not None:
        write.write_text(text, encoding="utf-8")


def _cells(found: tuple[float, float, float] | None) -> str:
    return "n/a | n/a | n/a" if found is None else f"{found[0]:.0f} | {found[1]:.0f} | {found[2]:+.0f}"


if __name__ == "__main__":
    typer.run(main)
