"""Whole processes of ours and of peers over the same recordings with the same Whisper: speed, errors, memory.

Each program is started once for all recordings, from the command line, and loads its models itself (`peers_programs`
says how; `peers_table` what is told of it). Programs take turns, in rounds, forwards and backwards. Recordings are the
WAV files of a folder that have one channel; a reference of `NAME.wav` or `NAME.mono.wav` is a line of an STM file
there that names the call NAME. No program tells speakers apart.

    python -m evaluation.benchmarks.peers install
    python -m evaluation.benchmarks.peers compare FOLDER --no-speech FOLDER --write evaluation/benchmarks/peers.md

`peers_workloads` makes folders of many short calls, and of long ones, out of others.
"""

from __future__ import annotations

import os
import platform
import subprocess
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from shutil import copytree
from tempfile import TemporaryDirectory
from typing import Annotated

import numpy as np
import soundfile
import typer

from evaluation.benchmarks.peers_programs import (
    BATCH_SIZE,
    BEAM_SIZE,
    ENVIRONMENTS,
    MEETEVAL,
    OURS,
    PROGRAMS,
    ROOT,
    Program,
    Work,
    child_environment,
    install,
    read_outputs,
    versions,
)
from evaluation.benchmarks.peers_table import (
    Cost,
    Measured,
    NoSpeech,
    Round,
    count_errors,
    count_words,
    markdown,
    order,
)
from evaluation.hypotheses import HypothesisUtterance
from evaluation.normalise import NORMALISER
from evaluation.rates import ErrorCounts
from evaluation.references import Reference, load_references
from tasks.host import usable_cores
from tasks.settings import load_settings

INSTALLABLE = (*ENVIRONMENTS, MEETEVAL)
SILENCE_S = 1
SILENCE_HZ = 8000

app = typer.Typer(no_args_is_help=True, add_completion=False, help=__doc__, pretty_exceptions_enable=False)


class ProgramFailedError(Exception):
    """A program ended with an error; the message is the last that it said."""


@dataclass(frozen=True, slots=True)
class Corpus:
    """Recordings, the seconds of all of them, and references by the stem of the recording, where there are any."""

    files: tuple[Path, ...]
    audio_s: float
    references: Mapping[str, Reference]


@dataclass(slots=True)
class Turns:
    """What was measured of one program so far."""

    rounds: list[Round] = field(default_factory=list)
    transcripts: list[dict[str, tuple[HypothesisUtterance, ...]]] = field(default_factory=list)


def find_corpus(folder: Path) -> Corpus:
    """The recordings of a folder that have one channel, with their references.

    Raises:
        typer.BadParameter: there are none.
        ReferenceFileError: a reference cannot be read.
    """
    infos = {path.absolute(): soundfile.info(path) for path in sorted(folder.glob("*.wav"))}
    files = tuple(path for path, info in infos.items() if info.channels == 1)
    if not files:
        raise typer.BadParameter(f"{folder} holds no WAV file with one channel")
    known = load_references(folder) if any(folder.glob("*.stm")) else {}
    names = {path.stem: path.stem.removesuffix(".mono") for path in files}
    references = {stem: known[name] for stem, name in names.items() if name in known and known[name].lines is not None}
    return Corpus(files, sum(infos[path].duration for path in files), references)


def run(program: Program, work: Work) -> Cost:
    """Start a program, wait for its end, and say what it took.

    Raises:
        ProgramFailedError: it ended with an error.
    """
    work.out.mkdir(parents=True)
    log = work.out / "log.txt"
    variables = child_environment(program, work.threads)
    with log.open("wb") as said:
        started = time.perf_counter()
        process = subprocess.Popen(
            program.command(work), cwd=ROOT, env=variables, stdin=subprocess.DEVNULL, stdout=said, stderr=said
        )
        # Of this process and those that it waited for itself: no getrusage of all our children tells them apart.
        _, status, usage = os.wait4(process.pid, 0)
        wall_s = time.perf_counter() - started
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        raise ProgramFailedError(f"exit code {process.returncode}: {lines[-1] if lines else 'it said nothing'}")
    return Cost(wall_s, usage.ru_utime + usage.ru_stime, 1024 * usage.ru_maxrss)


def measure(
    programs: Sequence[Program], rounds: int, corpus: Corpus, silence: Path, work: Work
) -> tuple[dict[str, Turns], dict[str, str]]:
    """Let the programs take turns.

    Args:
        programs: those that are installed.
        rounds: how many turns each has.
        corpus: the recordings.
        silence: the recording of silence.
        work: with the model and the threads; folders are made below `out`.

    Returns:
        name → what was measured, and name → why it failed, of those that did: they are left out of later rounds.
    """
    turns = {program.name: Turns() for program in programs}
    failed: dict[str, str] = {}
    by_name = {program.name: program for program in programs}
    for round_ in range(rounds):
        for name in order(list(by_name), round_):
            if name in failed:
                continue
            folder = work.out / f"round-{round_ + 1}" / slug(name)
            whole = replace(work, files=corpus.files, out=folder / "all")
            try:
                load = run(by_name[name], replace(work, files=(silence,), out=folder / "silence", silent=True))
                cost = run(by_name[name], whole)
            except ProgramFailedError as error:
                failed[name] = str(error)
                typer.echo(f"{name} failed: {error}", err=True)
                continue
            turns[name].rounds.append(Round(load, cost))
            turns[name].transcripts.append(read_outputs(whole))
            typer.echo(f"round {round_ + 1}, {name}: {cost.wall_s:.1f} s, load {load.wall_s:.1f} s", err=True)
    return {name: found for name, found in turns.items() if name not in failed}, failed


def listen_to_no_speech(program: Program, corpus: Corpus | None, work: Work) -> NoSpeech | None:
    """The words that a program hears where nobody speaks; None where there are no such recordings, or it fails."""
    if corpus is None:
        return None
    asked = replace(work, files=corpus.files, out=work.out / "no-speech" / slug(program.name))
    try:
        run(program, asked)
    except ProgramFailedError as error:
        typer.echo(f"{program.name} failed on recordings without speech: {error}", err=True)
        return None
    return NoSpeech(count_words(read_outputs(asked)), corpus.audio_s)


def summary(name: str, turns: Turns, corpus: Corpus, no_speech: NoSpeech | None) -> Measured:
    """All rounds of a program in one record: its word errors are added up over the rounds."""
    counts = [count_errors(corpus.references, found) for found in turns.transcripts]
    written: set[str] = set.intersection(*(set(found) for found in turns.transcripts))
    return Measured(
        name=name,
        files=len(corpus.files),
        written=len(written),
        audio_s=corpus.audio_s,
        rounds=tuple(turns.rounds),
        counts=sum(counts, ErrorCounts.zero()) if corpus.references else None,
        no_speech=no_speech,
    )


def slug(name: str) -> str:
    """A program's name as that of a folder."""
    return name.replace(",", "").replace(" ", "-")


def note(programs: Iterable[Program], rounds: int, threads: int, remarks: Sequence[str]) -> str:
    """How it was measured, when, where, with which versions, and what is missing."""
    alike: dict[str, list[str]] = {}
    for program in programs:
        held = ", ".join(f"{package} {version}" for package, version in versions(program).items())
        alike.setdefault(held, []).append(program.name)
    told = [f"{' / '.join(names)}: {held}" for held, names in alike.items()]
    how = (
        f"Whole processes, model load included; median (range) of {rounds} rounds in alternating order, ratios round "
        f"by round. All: the same CTranslate2 folder of Whisper, int8, {threads} threads, beam {BEAM_SIZE}, English, "
        f"no diarization, batches of {BATCH_SIZE} where there are any, and else their own defaults; word times but for "
        "whisperX, which takes them from a further model. Model load is a process over a second of silence, in "
        "which programs that do not look for speech do. CPU time is that of all processes of a program, memory "
        "that of its largest one. Word errors are added up over the rounds, each program's segments normalised one by "
        "one; a recording without a transcript counts as all deleted. Words in no speech: one pass over recordings "
        "where nobody speaks."
    )
    missing = (
        "openai-whisper is not compared, as its weights cannot be had here. The CTranslate2 folder holds all of them "
        "(float16, query, key and value in one matrix): converting them back looks feasible and was not tried."
    )
    machine = (
        f"{datetime.now(UTC):%Y-%m-%d}; {usable_cores()} cores, {platform.machine()}, Python "
        f"{platform.python_version()}; {NORMALISER}. The machine is shared: ratios say more than times."
    )
    return "\n\n".join([how, " ".join([missing, *remarks]), f"{'; '.join(told)}.", machine])


@app.command("install")
def install_peers(
    names: Annotated[
        list[str] | None,
        typer.Argument(help=f"Of {', '.join(one.name for one in INSTALLABLE)}; all peers if none is named."),
    ] = None,
) -> None:
    """Install the peers, each in a virtual environment of its own in the user's cache; or the scorer meeteval."""
    known = {one.name: one for one in INSTALLABLE}
    if unknown := sorted(set(names or ()) - known.keys()):
        raise typer.BadParameter(f"there is no {', '.join(unknown)}; there are {', '.join(known)}")
    for environment in (known[name] for name in names or [one.name for one in ENVIRONMENTS]):
        install(environment)
        typer.echo(f"{environment.name}: {environment.folder}")


@app.command()
def compare(
    folders: Annotated[list[Path], typer.Argument(help="Recordings, and maybe references; a workload each.")],
    no_speech: Annotated[Path | None, typer.Option(help="Recordings where nobody speaks.")] = None,
    rounds: Annotated[int, typer.Option(help="How often each program runs.", min=1)] = 3,
    threads: Annotated[int, typer.Option(help="Threads of each program.", min=1)] = 2,
    only: Annotated[list[str] | None, typer.Option(help="Programs to compare; all that are installed if none.")] = None,
    keep: Annotated[Path | None, typer.Option(help="Copy what the programs wrote into this new folder.")] = None,
    write: Annotated[Path | None, typer.Option(help="Write the tables here too.")] = None,
) -> None:
    """Run every program over all recordings of each folder, and compare."""
    names = [program.name for program in PROGRAMS]
    if unknown := sorted(set(only or ()) - set(names)):
        raise typer.BadParameter(f"there is no {'; '.join(unknown)}: there are {'; '.join(names)}")
    wanted = [program for program in PROGRAMS if not only or program.name in only]
    remarks = [f"{program.missing}." for program in wanted if program.missing]
    for line in remarks:
        typer.echo(line, err=True)
    programs = [program for program in wanted if not program.missing]
    if not programs:
        raise typer.BadParameter("none of these programs is installed")
    settings = load_settings().models
    corpora = {folder.name: find_corpus(folder) for folder in folders}
    if len(corpora) < len(folders):
        raise typer.BadParameter("two folders have one name, by which the table tells them apart")
    quiet = find_corpus(no_speech) if no_speech else None
    tables: list[str] = []
    with TemporaryDirectory(prefix="callscribe-") as name:
        silence = Path(name, "silence.wav")
        soundfile.write(silence, np.zeros(SILENCE_S * SILENCE_HZ, dtype=np.float32), SILENCE_HZ, subtype="PCM_16")
        work = Work((), settings.folder / settings.bundle / "recognizer", Path(name, "runs"), threads)
        heard = {program.name: listen_to_no_speech(program, quiet, work) for program in programs}
        for workload, corpus in corpora.items():
            own = replace(work, out=work.out / workload)
            turns, failed = measure(programs, rounds, corpus, silence, own)
            measured = [summary(name, held, corpus, heard[name]) for name, held in turns.items()]
            tables.append(f"**{workload}**\n\n{markdown(measured, OURS)}")
            typer.echo(f"{tables[-1]}\n")
            remarks += [f"{name} failed on {workload}: {why}." for name, why in failed.items()]
        if keep is not None:
            copytree(work.out, keep)
    told = note(programs, rounds, threads, remarks)
    typer.echo(told)
    if write is not None:
        write.write_text("\n\n".join([*tables, told]) + "\n", encoding="utf-8")


if __name__ == "__main__":
    app()
