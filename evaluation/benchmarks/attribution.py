"""Who said which word: what a change of speaker within a sentence has to be worth, and what that does to words.

Calls of one channel are transcribed once; then their words are given to speakers again and again, with another price on
changes (`tasks.attribute.CHANGE_COST_S`), and by the turns of the reference instead of the diarizer's, which shows what
is left to the words themselves. cpWER and tcpWER (which also asks words to be where they were said, within 5 s) are
counted by meeteval, from an environment of its own; cpWER by ours too.

    python -m evaluation.benchmarks.peers install meeteval
    python -m evaluation.benchmarks.attribution FOLDER… --write evaluation/benchmarks/attribution.md
"""

from __future__ import annotations

import json
import platform
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import groupby
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Final

import typer

from evaluation.benchmarks.diarization import find_calls
from evaluation.benchmarks.peers_programs import MEETEVAL
from evaluation.benchmarks.publish import publish
from evaluation.hypotheses import HypothesisUtterance, Spoken
from evaluation.normalise import NORMALISER, normalise
from evaluation.references import Reference, StmLine, collect_references, serialise_stm
from evaluation.report import percent
from evaluation.score import SetScore, score_set
from tasks.attribute import CHANGE_COST_S, attribute_by_turns
from tasks.diarize import Diarizer
from tasks.host import usable_cores
from tasks.local import local_calls, transcribe_files
from tasks.models import Models, load_models
from tasks.records import Diarization, Segment, Turn, Word
from tasks.settings import Settings, load_settings, restart_with_huge_pages
from tasks.tracks import Track

COSTS_S: Final = (0.0, 0.1, CHANGE_COST_S, 0.3, 0.5)
COLLAR_S: Final = 5
"""Of tcpWER, as meeteval proposes it."""


@dataclass(frozen=True, slots=True)
class HeardCall:
    """The words of a call in order of time, who speaks when by the diarizer, and what was said."""

    words: tuple[Word, ...]
    turns: tuple[Turn, ...]
    reference: Reference


class Listening(Diarizer):
    """A diarizer that keeps what it found."""

    def __init__(self, diarizer: Diarizer) -> None:
        """Take the place of a diarizer."""
        self._diarizer = diarizer
        self.found: list[Diarization] = []

    def diarize(self, track: Track, speakers: int | None = None, fewest: int | None = None) -> Diarization:
        """As that finds it."""
        self.found.append(self._diarizer.diarize(track, speakers, fewest))
        return self.found[-1]


def hear(folders: Sequence[Path], models: Models, settings: Settings) -> dict[str, dict[str, HeardCall]]:
    """Transcribe the calls of folders: folder → recording → what was heard."""
    files = [path for folder in folders for path in sorted(folder.glob("*.stm"))]
    lines = collect_references((path.name, path.read_text(encoding="utf-8-sig")) for path in files)
    heard: dict[str, dict[str, HeardCall]] = {}
    calls = [call for call in find_calls(folders) if call.path.name.partition(".")[0] in lines]
    for call in calls:
        listening = Listening(models.diarizer)
        own = Models(models.bundle, models.device, models.recognizer, listening)
        (rows,) = transcribe_files(local_calls([call.path], None, settings), own, settings)
        words = tuple(Word(**word) for row in rows.utterances for word in row["words"])
        reference = lines[call.path.name.partition(".")[0]]
        turns = tuple(Turn(one.start, one.end, one.speaker) for one in call.turns)
        heard.setdefault(call.folder, {})[call.path.stem] = HeardCall(
            tuple(sorted(words, key=lambda word: (word.start, word.end))),
            listening.found[0].exclusive if listening.found else (),
            replace(reference, call_id=call.path.stem, turns=call.turns, entities=None),
        )
        typer.echo(f"{call.folder} {call.path.stem}: {len(words)} words, {len(turns)} turns", err=True)
    return heard


def attributed(call: HeardCall, turns: Sequence[Turn], cost_s: float) -> tuple[HypothesisUtterance, ...]:
    """Words of a call given to the speakers of turns, in runs of one speaker."""
    segment = Segment(0, 0.0, 0.0, "", call.words, 0.0, 0.0, 0.0)
    spoken = attribute_by_turns([segment], turns, change_cost_s=cost_s)
    runs = [list(run) for _, run in groupby(spoken, key=lambda item: item.speaker)]
    return tuple(
        HypothesisUtterance(
            run[0].speaker,
            run[0].word.start,
            max(item.word.end for item in run),
            " ".join(item.word.text for item in run),
        )
        for run in runs
    )


def by_meeteval(score: str, folder: Path, *options: str) -> float | None:
    """The rate that meeteval counts over `reference.stm` and `hypothesis.stm` of a folder; None if not installed."""
    if not MEETEVAL.installed:
        return None
    program = [str(MEETEVAL.bin / "meeteval-wer"), score, *options]
    files = ["-r", str(folder / "reference.stm"), "-h", str(folder / "hypothesis.stm")]
    outputs = ["--average-out", str(folder / "average.json"), "--per-reco-out", str(folder / "calls.json")]
    subprocess.run([*program, *files, *outputs], check=True, capture_output=True)
    found = json.loads((folder / "average.json").read_text(encoding="utf-8"))
    return float(found["error_rate"])


def write_stm(path: Path, calls: Mapping[str, Iterable[Spoken]]) -> None:
    """Write normalised texts, as meeteval normalises none."""
    lines = [
        StmLine(name, 1, one.speaker, one.start, getattr(one, "end", one.start), normalise(one.text))
        for name, spoken in calls.items()
        for one in spoken
    ]
    path.write_text(serialise_stm([line for line in lines if line.text]), encoding="utf-8")


def measure(
    name: str, way: str, calls: Mapping[str, HeardCall], found: Mapping[str, Sequence[HypothesisUtterance]]
) -> str:
    """A line of the table."""
    score: SetScore = score_set({key: call.reference for key, call in calls.items()}, found)
    with TemporaryDirectory() as scratch:
        folder = Path(scratch)
        write_stm(folder / "reference.stm", {key: call.reference.lines or () for key, call in calls.items()})
        write_stm(folder / "hypothesis.stm", found)
        cpwer = by_meeteval("cpwer", folder)
        tcpwer = by_meeteval("tcpwer", folder, "--collar", str(COLLAR_S))
    cells = [
        percent(score.words.rate),
        percent(score.speakers.rate),
        percent(cpwer),
        percent(tcpwer),
        percent(score.attribution.rate),
        str(score.attribution.wrong),
    ]
    return f"| {name} | {way} | {' | '.join(cells)} |"


def main(
    folders: Annotated[list[Path], typer.Argument(help="Folders of recordings with STM and RTTM files.")],
    write: Annotated[Path | None, typer.Option(help="Write the table here too.")] = None,
) -> None:
    """Measure who is given which word, over the price of changes and with the reference's turns."""
    settings = load_settings()
    models = load_models(settings.models, settings.recognizer, settings.diarization)
    columns = ["WER %", "cpWER %", "cpWER % (meeteval)", "tcpWER % (meeteval)", "WDER %", "wrong words"]
    lines = [f"| recordings | changes cost | {' | '.join(columns)} |", f"| --- | --- |{' ---: |' * len(columns)}"]
    for name, calls in hear(folders, models, settings).items():
        for cost_s in COSTS_S:
            found = {key: attributed(call, call.turns, cost_s) for key, call in calls.items()}
            lines.append(measure(name, f"{cost_s:g} s", calls, found))
        known = {
            key: [Turn(one.start, one.end, one.speaker) for one in call.reference.turns or ()]
            for key, call in calls.items()
        }
        found = {key: attributed(call, known[key], CHANGE_COST_S) for key, call in calls.items()}
        lines.append(measure(name, f"{CHANGE_COST_S:g} s, turns of the reference", calls, found))
    note = (
        f"{datetime.now(UTC):%Y-%m-%d}; calls of one channel, speaker count unknown; bundle {models.bundle.name} "
        f"{models.bundle.digest[:16]}, {models.device.compute_type}; {models.device.name}, {usable_cores()} cores, "
        f"Python {platform.python_version()}. {NORMALISER}. {', '.join(MEETEVAL.requirements)}; tcpWER within "
        f"{COLLAR_S} s. Words of one speaker in a row are scored as one utterance."
    )
    publish(lines, note, write)


if __name__ == "__main__":
    restart_with_huge_pages()
    typer.run(main)
