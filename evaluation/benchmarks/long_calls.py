"""Memory, scratch disk and time that long calls take: 10 minutes, 1 hour, 8 hours, on one and on two channels.

Calls are made of the demo's: 8 kHz mu-law, one call over and over. Each is processed in a fresh process by the whole
pipeline (`tasks.pipeline.process`). Memory is what the process holds at most beyond what it holds with the models
loaded and used once, and what the decoder's process holds at most. Over an hour, a stand-in takes the recogniser's
place: it reads the same windows of speech and finds one word in each region.

    python -m evaluation.benchmarks.long_calls --write evaluation/benchmarks/long_calls.md
"""

from __future__ import annotations

import json
import platform
import subprocess
import sys
import tempfile
import threading
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from shutil import copyfile
from tempfile import TemporaryDirectory
from typing import Annotated

import soundfile
import typer

from tasks.heard import CallSpeech, chunks_of
from tasks.host import usable_cores
from tasks.models import Models, load_models
from tasks.pipeline import process
from tasks.recognize import Recognizer
from tasks.records import CallHints, CallRef, Outcome, PlannedCall, Recognition, Region, Segment, Word
from tasks.settings import Settings, load_settings

DEMO = Path(__file__).resolve().parents[1] / "sets" / "demo" / "archive" / "2026" / "10"
SOURCES = {1: DEMO / "05" / "demo-0001.wav", 2: DEMO / "06" / "demo-0002.wav"}
MINUTES = (10, 60, 480)
STAND_IN_OVER_MINUTES = 60
RATE_HZ = 8000
MB = 1_000_000
POLL_S = 0.2


@dataclass(frozen=True, slots=True)
class Cost:
    """What one long call took; memory and disk in bytes, times in seconds."""

    minutes: int
    channels: int
    stand_in: bool
    memory: int
    decoder_memory: int
    scratch: int
    load_s: float
    vad_s: float
    recognize_s: float
    diarize_s: float
    speakers: int


class StandIn(Recognizer):
    """In the recogniser's place where it would take hours: reads what it would read, and finds a word a region."""

    def recognize(self, calls: Sequence[CallSpeech]) -> list[Recognition | Exception]:
        """One word in each region."""
        return [self._recognition(call) for call in calls]

    def _recognition(self, call: CallSpeech) -> Recognition:
        chunks = chunks_of(0, call, self._settings.chunk_s)
        for heard in chunks:
            self._whisper.spectrum(heard.chunk.read(heard.source.track))
        found = [_segment(region, heard.channel) for heard in chunks for region in heard.chunk.regions]
        found.sort(key=lambda item: item.start)
        return Recognition(tuple(found), "en", None, {"en": 1.0})


def make_call(minutes: int, channels: int, path: Path) -> None:
    """Write a call of that length, block by block."""
    samples, rate_hz = soundfile.read(SOURCES[channels], dtype="float32", always_2d=True)
    left = minutes * 60 * rate_hz
    with soundfile.SoundFile(path, "w", rate_hz, channels, "ULAW", format="WAV") as file:
        while left > 0:
            file.write(samples[:left])
            left -= len(samples)


def measure(minutes: int, channels: int, settings: Settings) -> Cost:
    """Process one long call in this process."""
    models = load_models(settings.models, settings.recognizer, settings.diarization)
    with TemporaryDirectory() as name:
        folder = Path(name)
        _run(SOURCES[channels], models, settings, folder)  # everything has been used once
        call = folder / "call.wav"
        make_call(minutes, channels, call)
        stand_in = minutes > STAND_IN_OVER_MINUTES
        if stand_in:
            models = replace(models, recognizer=StandIn(models.whisper._whisper, settings.recognizer))  # noqa: SLF001
        before = _memory("VmRSS")
        outcome, scratch, decoder, memory = _run(call, models, settings, folder)
        if outcome.transcript is None:
            message = f"the call failed: {outcome.failure}"
            raise RuntimeError(message)
        return Cost(
            minutes=minutes,
            channels=channels,
            stand_in=stand_in,
            memory=memory - before,
            decoder_memory=decoder,
            scratch=scratch,
            **asdict(outcome.timings),
            speakers=len(outcome.transcript.speakers),
        )


def markdown(costs: list[Cost]) -> str:
    """The costs as a table, with date and machine."""
    head = "call | channels | memory beyond the models, MB | decoder's process, MB | scratch disk, MB | load s | VAD s"
    lines = [
        f"| {head} | recognise s | diarize s | speakers |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for cost in costs:
        recognized = "stand-in" if cost.stand_in else f"{cost.recognize_s:.0f}"
        lines.append(
            f"| {cost.minutes} min | {cost.channels} | {cost.memory / MB:.0f} | {cost.decoder_memory / MB:.0f} "
            f"| {cost.scratch / MB:.0f} | {cost.load_s:.1f} | {cost.vad_s:.1f} | {recognized} | {cost.diarize_s:.0f} "
            f"| {cost.speakers} |"
        )
    note = (
        f"{datetime.now(UTC):%Y-%m-%d}; 8 kHz mu-law; {usable_cores()} cores, Python {platform.python_version()}. "
        "Memory: most resident bytes of the process while it works, less those with all models loaded and used; the "
        "decoder's process is another one, with its libraries. The machine is shared: times are rough."
    )
    return "\n".join([*lines, "", note]) + "\n"


def main(
    minutes: Annotated[list[int] | None, typer.Option(help="Lengths of calls.")] = None,
    channels: Annotated[int, typer.Option(help="Channels; 0 means one and then two.")] = 0,
    *,
    here: Annotated[bool, typer.Option(hidden=True)] = False,
    write: Annotated[Path | None, typer.Option(help="Write the table here too.")] = None,
) -> None:
    """Measure what long calls take."""
    lengths = minutes or list(MINUTES)
    if here:
        typer.echo(json.dumps(asdict(measure(lengths[0], channels, load_settings()))))
        return
    costs = []
    for length in lengths:
        for count in (channels,) if channels else (1, 2):
            costs.append(_in_fresh_process(length, count))
            typer.echo(f"{length} min, {count} channels: {costs[-1].memory / MB:.0f} MB", err=True)
    text = markdown(costs)
    typer.echo(text)
    if write is not None:
        write.write_text(text, encoding="utf-8")


def _in_fresh_process(minutes: int, channels: int) -> Cost:
    command = [sys.executable, "-m", __spec__.name, "--here", "--minutes", str(minutes), "--channels", str(channels)]
    answer = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True).stdout
    return Cost(**json.loads(answer.strip().rpartition("\n")[2]))


def _run(file: Path, models: Models, settings: Settings, folder: Path) -> tuple[Outcome, int, int, int]:
    """The outcome of one call; the most scratch disk, decoder's memory and memory of this process that it took."""
    scratch = folder / "scratch"
    scratch.mkdir(exist_ok=True)
    tempfile.tempdir = str(scratch)
    size = file.stat().st_size
    call = CallRef(file.stem, "2026-10", file.name, file.as_uri(), "etag", size, hints=CallHints(language="en"))
    done = threading.Event()
    most = {"scratch": 0, "decoder": 0}
    watcher = threading.Thread(target=partial(_watch, scratch, most, done))
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # forget the peak so far
    watcher.start()
    try:
        found = list(process([PlannedCall(call, 0, 1)], lambda _, path: _copy(file, path), models, settings))
    finally:
        done.set()
        watcher.join()
    outcome = found[0]
    if not isinstance(outcome, Outcome):
        raise TypeError(type(outcome))
    return outcome, most["scratch"], most["decoder"], _memory("VmHWM")


def _copy(file: Path, path: Path) -> None:
    copyfile(file, path)


def _watch(scratch: Path, most: dict[str, int], done: threading.Event) -> None:
    while not done.wait(POLL_S):
        most["scratch"] = max(most["scratch"], sum(_size(path) for path in scratch.rglob("*")))
        children = {child for task in Path("/proc/self/task").iterdir() for child in _children(task)}
        most["decoder"] = max(most["decoder"], *(_memory("VmHWM", child) for child in children), 0)


def _children(task: Path) -> list[str]:
    try:
        return (task / "children").read_text(encoding="ascii").split()
    except OSError:
        return []  # the thread ended since it was listed


def _size(path: Path) -> int:
    try:
        return path.stat().st_size if path.is_file() else 0
    except OSError:
        return 0  # gone since it was listed


def _memory(kind: str, process: str = "self") -> int:
    """Resident memory of a process in bytes: `VmRSS` is today's, `VmHWM` the most; 0 where it is gone."""
    try:
        status = Path(f"/proc/{process}/status").read_text(encoding="ascii")
    except OSError:
        return 0
    found = status.partition(f"{kind}:")[2].split()
    return 1024 * int(found[0]) if found else 0


def _segment(region: Region, channel: int) -> Segment:
    word = Word("word", region.start, min(region.end, region.start + 0.5), 0.9)
    return Segment(channel, region.start, region.end, "word", (word,), -0.2, 0.0, 1.0)


if __name__ == "__main__":
    typer.run(main)
