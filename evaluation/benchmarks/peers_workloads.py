"""Makes folders of calls for `peers`: many short ones, some of middle length, a long one, each with its reference.

Recordings with references are cut where nobody speaks, and the pieces joined in order, round and round, to as many
calls of about one length as are wanted. With silence between the pieces, calls are quiet ones.

    python -m evaluation.benchmarks.peers_workloads FOLDER SHORT --calls 200 --seconds 9
    python -m evaluation.benchmarks.peers_workloads FOLDER QUIET --calls 1 --seconds 3600 --pause-s 10
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import cycle, pairwise
from pathlib import Path
from typing import Annotated

import numpy as np
import soundfile
import typer

from evaluation.benchmarks.peers import find_corpus
from evaluation.references import StmLine, serialise_stm
from tasks.records import Samples

LEAST_PAUSE_S = 0.3
"""Where nobody speaks for so long, a recording may be cut, in the middle of it."""


@dataclass(frozen=True, slots=True)
class Piece:
    """A piece of a recording: `samples` at `rate_hz`, and the lines that are spoken in it; times from its start."""

    samples: Samples
    rate_hz: int
    lines: tuple[StmLine, ...]


def cut(samples: Samples, rate_hz: int, lines: Sequence[StmLine]) -> list[Piece]:
    """Cut a recording wherever nobody speaks for `LEAST_PAUSE_S`; every sample and every line is in one piece."""
    cuts, spoken_until = [0.0], 0.0
    for line in sorted(lines, key=lambda one: one.start):
        if line.start - spoken_until >= LEAST_PAUSE_S and spoken_until:
            cuts.append((line.start + spoken_until) / 2)
        spoken_until = max(spoken_until, line.end)
    bounds = [*cuts, max(len(samples) / rate_hz, spoken_until)]
    return [
        Piece(
            samples[round(start * rate_hz) : round(end * rate_hz)],
            rate_hz,
            tuple(
                replace(one, start=one.start - start, end=one.end - start) for one in lines if start <= one.start < end
            ),
        )
        for start, end in pairwise(bounds)
    ]


def join(pieces: Iterator[Piece], name: str, seconds: float, pause_s: float) -> tuple[Samples, list[StmLine]]:
    """Take pieces, with silence after each, until the call is at least so long; lines are those of call `name`."""
    sounds: list[Samples] = []
    lines: list[StmLine] = []
    length = 0
    while True:
        piece = next(pieces)
        start = length / piece.rate_hz
        lines += [replace(one, call_id=name, start=one.start + start, end=one.end + start) for one in piece.lines]
        sounds += [piece.samples, np.zeros(round(pause_s * piece.rate_hz), dtype=np.float32)]
        length += len(sounds[-2]) + len(sounds[-1])
        if length >= seconds * piece.rate_hz:
            return np.concatenate(sounds), lines


def main(
    folder: Annotated[Path, typer.Argument(help="WAV files of one channel and one sampling rate, with STM files.")],
    out: Annotated[Path, typer.Argument(help="New folder for the calls and their references.")],
    calls: Annotated[int, typer.Option(help="How many calls.", min=1)] = 200,
    seconds: Annotated[float, typer.Option(help="Length of a call, at least, in seconds.", min=1)] = 9.0,
    pause_s: Annotated[float, typer.Option(help="Silence after each piece, in seconds.", min=0)] = 0.0,
) -> None:
    """Make a folder of calls out of pieces of others."""
    corpus = find_corpus(folder)
    pieces: list[Piece] = []
    for file in corpus.files:
        reference = corpus.references.get(file.stem)
        if reference is None or not reference.lines:
            continue
        samples, rate_hz = soundfile.read(file, dtype="float32")
        if pieces and rate_hz != pieces[0].rate_hz:
            raise typer.BadParameter(f"{file.name} has {rate_hz} Hz, others {pieces[0].rate_hz}")
        pieces += cut(samples, rate_hz, reference.lines)
    if not pieces:
        raise typer.BadParameter(f"{folder} holds no recording with a reference")
    out.mkdir(parents=True)
    endless, spoken, audio_s = cycle(pieces), list[StmLine](), 0.0
    for number in range(calls):
        name = f"call-{number:04d}"
        samples, lines = join(endless, name, seconds, pause_s)
        soundfile.write(out / f"{name}.wav", samples, pieces[0].rate_hz, subtype="PCM_16")
        spoken += lines
        audio_s += len(samples) / pieces[0].rate_hz
    (out / "references.stm").write_text(serialise_stm(spoken), encoding="utf-8")
    words = sum(len(line.text.split()) for line in spoken)
    typer.echo(f"{calls} calls, {audio_s:.0f} s, {words} words, of {len(pieces)} pieces, in {out}")


if __name__ == "__main__":
    typer.run(main)
