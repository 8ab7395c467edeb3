r"""How long scoring takes: transcripts of made-up calls against references, by hours of audio.

Calls of five minutes and two speakers, 150 words a minute, of which one in ten is changed, lost or added; with word
times and probabilities, and entities. Nothing is recorded or recognised: only the scoring is timed, with all measures
and with all but ORC-WER, then the figures with their intervals and slices. All calls are in memory, some 0.2 MB each.

    python -m evaluation.benchmarks.scoring --hours 10 --hours 100 --hours 1000 --orc-hours 10 \
        --write evaluation/benchmarks/scoring.md
"""

from __future__ import annotations

import platform
import resource
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Final

import numpy as np
import typer

from evaluation.benchmarks.publish import publish
from evaluation.formats import ReferenceEntity, StmLine
from evaluation.hypotheses import HypothesisUtterance
from evaluation.references import Reference
from evaluation.report import Report
from evaluation.score import score_set
from evaluation.slices import CallFacts
from tasks.devices import LIBRARIES
from tasks.host import usable_cores
from tasks.records import Word

CALL_S: Final = 300.0
WORDS_A_MINUTE: Final = 150
UTTERANCE_WORDS: Final = 9
CHANGED: Final = 0.1
WORDS: Final = (
    "i you we they it is was are have can will would could please thank thanks yes no okay right so and but or the a my"
    " your our account card balance payment bill invoice address phone number call help today tomorrow morning week"
    " month name check order ticket service line issue problem open close send receive transfer deposit branch hours"
)
COMMON: Final = tuple(WORDS.split())
DIGITS: Final = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]


@dataclass(frozen=True, slots=True)
class Timing:
    """What the scoring of so many hours took, in seconds, and the memory of the process at its highest, in MB.

    `streams` says whether ORC-WER was among the measures.
    """

    hours: float
    streams: bool
    calls: int
    words: int
    score_s: float
    figures_s: float
    peak_mb: float


def measure(hours: float, *, streams: bool = False) -> Timing:
    """Score so many hours of made-up calls, with ORC-WER or without."""
    rng = np.random.default_rng(1)
    calls = max(1, round(3600 * hours / CALL_S))
    made = [make_call(f"call-{at:06}", rng) for at in range(calls)]
    began = time.perf_counter()
    score = score_set(
        {reference.call_id: reference for reference, _ in made},
        {reference.call_id: spoken for reference, spoken in made},
        facts={reference.call_id: facts_of(at) for at, (reference, _) in enumerate(made)},
        streams=streams,
        processes=usable_cores(),
    )
    scored = time.perf_counter()
    Report("made-up calls", score).with_figures()
    ended = time.perf_counter()
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return Timing(hours, streams, calls, score.words.reference_words, scored - began, ended - scored, peak_mb)


def make_call(call_id: str, rng: np.random.Generator) -> tuple[Reference, tuple[HypothesisUtterance, ...]]:
    """A call, and what might have been recognised of it."""
    utterances = round(CALL_S / 60 * WORDS_A_MINUTE / UTTERANCE_WORDS)
    step = CALL_S / utterances
    lines, spoken, entities = [], [], []
    for at in range(utterances):
        start, speaker = at * step, "agent" if at % 2 else "customer"
        words = [COMMON[index] for index in rng.integers(0, len(COMMON), UTTERANCE_WORDS)]
        if at % 10 == 0:
            digits = [DIGITS[index] for index in rng.integers(0, 10, 4)]
            words[-4:] = digits
            entities.append(ReferenceEntity("account_number", " ".join(digits), speaker, start, start + step))
        lines.append(StmLine(call_id, 1, speaker, start, start + 0.9 * step, " ".join(words)))
        heard = list(_changed(words, rng))
        spoken.append(_utterance(speaker, start, 0.9 * step, heard, rng))
    return Reference(call_id, tuple(lines), entities=tuple(entities)), tuple(spoken)


def facts_of(at: int) -> CallFacts:
    """Facts that differ from call to call, so that there are slices."""
    return CallFacts(
        tags=(("noisy", "clean")[at % 2],),
        codec=("pcm_mulaw", "mp3", "opus")[at % 3],
        snr_db=float(5 + at % 30),
        duration_s=CALL_S,
        work_s=5.0,
    )


def markdown(timings: Sequence[Timing]) -> Iterator[str]:
    """The lines of the table."""
    yield (
        "| hours | ORC-WER | calls | words | scoring s | calls per s | figures, intervals, slices s | times real time "
        "| peak MB |"
    )
    yield "| ---: | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |"
    for one in timings:
        ratio = 3600 * one.hours / (one.score_s + one.figures_s)
        yield (
            f"| {one.hours:,g} | {'yes' if one.streams else 'no'} | {one.calls:,} | {one.words:,} | {one.score_s:.1f} "
            f"| {one.calls / one.score_s:.1f} | {one.figures_s:.1f} | {ratio:,.0f} | {one.peak_mb:,.0f} |"
        )


def main(
    hours: Annotated[
        list[float] | None, typer.Option(help="Hours of audio; may be given several times. 1 and 10 when left out.")
    ] = None,
    orc_hours: Annotated[
        list[float] | None, typer.Option(help="Hours of audio to score with ORC-WER, too. None when left out.")
    ] = None,
    write: Annotated[Path | None, typer.Option(help="Write the table here too.")] = None,
) -> None:
    """Time the scoring of made-up calls."""
    timings = [measure(one) for one in sorted(hours or (1.0, 10.0))]
    timings += [measure(one, streams=True) for one in sorted(orc_hours or ())]
    cores, cpu = usable_cores(), LIBRARIES.name("cpu", 0)
    note = (
        f"{datetime.now(UTC):%Y-%m-%d}; calls of {CALL_S / 60:g} minutes; {cores} processes on as many cores of a "
        f"shared machine ({cpu}), Python {platform.python_version()}. Times real time: seconds of audio by wall "
        "seconds of scoring and figures. The peak is that of the first process, and of all rows before."
    )
    publish(markdown(timings), note, write)


def _changed(words: Sequence[str], rng: np.random.Generator) -> Iterator[str]:
    """Words of which some are lost, changed or said twice."""
    for word, chance in zip(words, rng.random(len(words)), strict=True):
        if chance >= CHANGED / 3:
            yield word if chance >= 2 * CHANGED / 3 else COMMON[int(rng.integers(len(COMMON)))]
        if chance >= 1 - CHANGED / 3:
            yield word


def _utterance(
    speaker: str, start: float, length_s: float, words: Sequence[str], rng: np.random.Generator
) -> HypothesisUtterance:
    each = length_s / max(1, len(words))
    timed = tuple(
        Word(word, start + at * each, start + (at + 0.9) * each, float(probability))
        for at, (word, probability) in enumerate(zip(words, rng.beta(8, 1, len(words)), strict=True))
    )
    return HypothesisUtterance(speaker, start, start + length_s, " ".join(words), timed)


if __name__ == "__main__":
    typer.run(main)
