"""What a month costs beside audio and models: inventory, plan, jobs, commits, certificate, and a run that has no work.

The archive is only a listing, and transcripts are made up in no time (plausible words, of a call of six minutes);
everything else is real: the plan, the checkpoints, the commits of Parquet to a store (an S3 server, or a folder), the
certificate, and `verify`. Each size runs in a process of its own, which says its peak memory. Prefect is not in it:
it sees one run for each job (`docs/runs.md`).

    python -m evaluation.benchmarks.month --calls 1000 --calls 10000 --write evaluation/benchmarks/month.md
"""

from __future__ import annotations

import json
import platform
import random
import resource
import secrets
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from functools import cache, lru_cache, partial
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any, cast

import typer

from evaluation.benchmarks.publish import publish
from tasks.bundles import Bundle, Manifest
from tasks.calibration import Calibration
from tasks.certificates import certify
from tasks.dataset import DataSet
from tasks.devices import Device
from tasks.diarize import Diarizer
from tasks.host import usable_cores
from tasks.models import Models
from tasks.pipeline import Fetch
from tasks.plan_run import plan_run
from tasks.recognize import Recognizer
from tasks.records import (
    CallMetrics,
    CallRef,
    CopiedAudio,
    Outcome,
    PlannedCall,
    Quality,
    SourceFormat,
    Transcript,
    Utterance,
    Word,
)
from tasks.run_job import run_job
from tasks.run_models import Fingerprints
from tasks.same_settings import fingerprint_of
from tasks.settings import Settings, load_settings
from tasks.storage import ObjectInfo, Storage, open_storage
from tasks.storage_file import FileStorage
from tasks.verify import verify

MONTH = "2026-10"
CALL_S = 360.0
WORDS_PER_UTTERANCE = 12
UTTERANCES = 75
TEMPLATES = 512
SIZE_BYTES = 2_880_000
KEYS_OF_A_LISTING = 1000
SAID = (
    "the a to and i you is it of in that your we for on have can this my be was account number please thank yes order"
)
VOCABULARY = SAID.split()


@dataclass(frozen=True, slots=True)
class Cost:
    """What a month of so many calls took: seconds by the clock, CPU seconds, peak memory, requests."""

    calls: int
    jobs: int
    plan_s: float
    jobs_s: float
    certify_s: float
    idle_s: float
    verify_s: float
    cpu_s: float
    peak_mb: float
    requests: int


class ListedArchive(FileStorage):
    """An archive that is only a listing: of calls of one month, spread over its days."""

    calls = 0

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        """The calls."""
        now = datetime.now(UTC)
        for number in range(self.calls):
            key = f"{MONTH.replace('-', '/')}/{number % 31 + 1:02d}/call-{number:07d}.wav"
            if key.startswith(prefix):
                yield ObjectInfo(key, SIZE_BYTES, f"etag-{number}", now)


def count_requests(storage: Storage) -> Counter[str]:
    """Count, from now on, what a store is asked for; a listing is one request for a thousand keys."""
    requests = Counter[str]()
    plain_list = storage.list
    asking = False

    def counted(name: str) -> Callable[..., Any]:
        operation = getattr(storage, name)

        def ask(*arguments: object, **options: object) -> object:
            nonlocal asking
            if asking:  # an operation that makes use of another one
                return operation(*arguments, **options)
            asking = True
            requests[name] += 1
            try:
                return operation(*arguments, **options)
            finally:
                asking = False

        return ask

    def counted_list(prefix: str = "") -> Iterator[ObjectInfo]:
        nonlocal asking
        asking = True
        found = list(plain_list(prefix))
        asking = False
        requests["list"] += 1 + len(found) // KEYS_OF_A_LISTING
        return iter(found)

    for name in ("head", "get", "download", "put", "delete"):
        setattr(storage, name, counted(name))
    storage.list = counted_list  # type: ignore[method-assign]  # this one store is counted
    return requests


def made_up(seed: int) -> tuple[Utterance, ...]:
    """What is said in a call of six minutes: plausible words by two people, the same for the same seed."""
    rng = random.Random(seed)  # noqa: S311  # no secret depends on it
    step = CALL_S / UTTERANCES
    found = []
    for index in range(UTTERANCES):
        start = index * step
        words = tuple(
            Word(
                rng.choice(VOCABULARY),
                round(start + 0.3 * number, 2),
                round(start + 0.3 * number + 0.25, 2),
                round(rng.uniform(0.4, 1.0), 3),
            )
            for number in range(WORDS_PER_UTTERANCE)
        )
        found.append(
            Utterance(
                index=index,
                speaker=("agent", "customer")[index % 2],
                channel=index % 2,
                start=words[0].start,
                end=words[-1].end,
                text=" ".join(word.text for word in words),
                words=words,
                language="en",
                confidence=round(sum(word.probability for word in words) / len(words), 4),
                avg_logprob=-0.2,
                no_speech_prob=0.01,
                compression_ratio=1.3,
                overlap=False,
            )
        )
    return tuple(found)


def transcribe_in_no_time(
    work: Iterable[PlannedCall], fetch: Fetch, models: Models, settings: Settings
) -> Generator[Outcome | CopiedAudio]:
    """In the place of the pipeline: each call gets one of some transcripts that were made up beforehand."""
    del fetch, models, settings
    templates = made_up_outcomes()
    for number, planned in enumerate(work):
        yield replace(templates[number % TEMPLATES], call=planned.call, audio_sha256=f"{number:064x}")


@lru_cache(maxsize=1)
def made_up_outcomes() -> list[Outcome]:
    """Some outcomes, made once."""
    return [_template(seed) for seed in range(TEMPLATES)]


def _template(seed: int) -> Outcome:
    utterances = made_up(seed)
    metrics = CallMetrics(
        talk_s={"agent": 150.0, "customer": 150.0},
        overlap_s=2.0,
        interruptions=3,
        interruptions_by={"customer": 3},
        reaction_s={"agent": 0.5, "customer": 0.4},
        longest_silence_s=4.0,
        words=sum(len(one.words) for one in utterances),
        words_per_minute=150.0,
    )
    return Outcome(
        call=CallRef("template", MONTH, "", "", "", 0),
        audio_sha256=None,
        source=SourceFormat("pcm_mulaw", "wav", 8000, 2, CALL_S),
        duration_s=CALL_S,
        layout="separate",
        loudness_lufs=-23.0,
        clipped_ratio=0.0,
        preprocessing=(),
        transcript=Transcript(
            utterances=utterances,
            language="en",
            language_probability=0.98,
            speakers=("agent", "customer"),
            quality=Quality(300.0, 1.0, 0, 0.7, ()),
            metrics=metrics,
            languages={"en": 1.0},
        ),
        failure=None,
    )


class _Silent:
    """A recogniser that nobody asks anything."""

    calibration = Calibration()


def stand_ins(folder: Path) -> Models:
    """Models that nobody asks anything."""
    bundle = Bundle(folder, Manifest("made-up", "starter", ()))
    return Models(
        bundle, Device("cpu", 0, "a stand-in", "int8"), cast("Recognizer", _Silent()), cast("Diarizer", _Silent())
    )


def settings_for(monthly_hours: float, shard_hours: float, job_hours: float) -> Settings:
    """Settings of a month of so many audio hours."""
    return load_settings(
        overrides={
            "transcripts": {"monthly_hours": monthly_hours, "hours_per_shard": shard_hours},
            "run": {"job_hours": job_hours},
        }
    )


def measure(calls: int, uri: str, shard_hours: float, job_hours: float) -> Cost:
    """Run a month, run it again without work, and verify it."""
    settings = settings_for(calls * CALL_S / 3600, shard_hours, job_hours)
    storage = open_storage(uri, settings.storage.options())
    asked = count_requests(storage)
    data = DataSet(storage)
    models = stand_ins(Path())
    fingerprints = Fingerprints(
        models.bundle.name,
        models.bundle.digest,
        models.device.compute_type,
        settings.archive.hints(),
        cache(partial(fingerprint_of, settings, models)),
    )
    archive = ListedArchive(Path.cwd().as_uri())
    archive.calls = calls
    made_up_outcomes()
    marks = [time.monotonic()]
    cpu = time.process_time()
    head = plan_run(data, archive, MONTH, settings, fingerprints)
    marks.append(time.monotonic())
    for number in range(1, head.jobs + 1):
        run_job(data, head, number, models, settings, lambda _: None, transcribe_in_no_time)
        if number % 10 == 0:
            typer.echo(f"  job {number} of {head.jobs}", err=True)
    marks.append(time.monotonic())
    summary, _ = certify(data, head, 1.0)
    marks.append(time.monotonic())
    cpu = time.process_time() - cpu
    requests = asked.total()
    idle = plan_run(data, archive, MONTH, settings, fingerprints)
    certify(data, idle, 1.0)
    marks.append(time.monotonic())
    checked = verify(data, MONTH)
    marks.append(time.monotonic())
    if not summary.accounted or checked.findings or idle.calls or checked.calls != calls:
        message = f"the month does not add up: {summary}, {checked.findings[:3]}"
        raise RuntimeError(message)
    seconds = [after - before for before, after in pairwise(marks)]
    return Cost(
        calls=calls,
        jobs=head.jobs,
        plan_s=seconds[0],
        jobs_s=seconds[1],
        certify_s=seconds[2],
        idle_s=seconds[3],
        verify_s=seconds[4],
        cpu_s=cpu,
        peak_mb=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        requests=requests,
    )


def row(cost: Cost) -> str:
    """A line of the table."""
    run_s = cost.plan_s + cost.jobs_s + cost.certify_s
    hours = cost.calls * CALL_S / 3600
    return (
        f"| {cost.calls:,} | {hours:,.0f} | {cost.jobs:,} | {cost.plan_s:.1f} | {cost.jobs_s:.1f} "
        f"| {cost.certify_s:.1f} | {1000 * run_s / cost.calls:.1f} | {1000 * cost.cpu_s / cost.calls:.1f} "
        f"| {cost.peak_mb:.0f} | {1000 * cost.requests / cost.calls:.0f} | {cost.idle_s:.1f} | {cost.verify_s:.1f} |"
    )


def draw(costs: Sequence[Cost], path: Path) -> None:
    """Draw time and memory over the number of calls, both axes in powers of ten: linear is a straight line.

    Args:
        costs: of several sizes.
        path: the picture, PNG or SVG by its ending.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    sizes = [cost.calls for cost in costs]
    seconds = [cost.plan_s + cost.jobs_s + cost.certify_s for cost in costs]
    figure = Figure(figsize=(7, 4), layout="constrained")
    FigureCanvasAgg(figure)
    time_axis = figure.add_subplot()
    (line,) = time_axis.loglog(sizes, seconds, "o-", label="a run, s")
    (idle,) = time_axis.loglog(sizes, [cost.idle_s for cost in costs], "s-", label="a run without work, s")
    per_call = seconds[0] / sizes[0]
    (linear,) = time_axis.loglog(sizes, [per_call * size for size in sizes], ":", color="grey", label="linear")
    time_axis.set_xlabel("calls of the month")
    time_axis.set_ylabel("seconds")
    memory_axis = time_axis.twinx()
    peaks = [cost.peak_mb for cost in costs]
    (memory,) = memory_axis.plot(sizes, peaks, "^-", color="tab:red", label="peak memory, MB")
    memory_axis.set_ylim(0, 2 * max(peaks))
    memory_axis.set_ylabel("MB")
    time_axis.legend(handles=[line, linear, idle, memory], loc="upper left")
    time_axis.grid(alpha=0.3, which="both")
    figure.savefig(path, dpi=120)


COLUMNS = (
    "calls",
    "audio h",
    "jobs",
    "plan s",
    "jobs s",
    "certify s",
    "ms a call",
    "CPU ms a call",
    "peak MB",
    "requests per 1,000 calls",
    "run without work s",
    "verify s",
)


def main(
    calls: Annotated[list[int], typer.Option(help="How many calls the month has; may be given more than once.")],
    *,
    place: Annotated[str | None, typer.Option(help="URI to store below; a temporary folder when left out.")] = None,
    shard_hours: Annotated[float, typer.Option(help="Audio hours of a shard.")] = 250.0,
    job_hours: Annotated[float, typer.Option(help="Audio hours of a job.")] = 50.0,
    write: Annotated[Path | None, typer.Option(help="Write the table here too.")] = None,
    plot: Annotated[Path | None, typer.Option(help="Draw a picture of it here (.png, .svg).")] = None,
    alone: Annotated[bool, typer.Option("--alone", hidden=True)] = False,
) -> None:
    """Measure what a month costs beside audio and models."""
    if alone:  # the process of one size
        typer.echo(json.dumps(asdict(measure(calls[0], str(place), shard_hours, job_hours))))
        return
    lines = [f"| {' | '.join(COLUMNS)} |", f"|{' ---: |' * len(COLUMNS)}"]
    costs: list[Cost] = []
    with TemporaryDirectory() as scratch:
        for count in calls:
            below = f"{place or Path(scratch).as_uri()}/{count}-{secrets.token_hex(4)}"
            if below.startswith("file:"):
                Path(below.removeprefix("file://")).mkdir(parents=True)
            command = [sys.executable, "-m", "evaluation.benchmarks.month", "--alone", "--calls", str(count)]
            command += ["--place", below, "--shard-hours", str(shard_hours), "--job-hours", str(job_hours)]
            done = subprocess.run(command, check=True, stdout=subprocess.PIPE)
            costs.append(Cost(**json.loads(done.stdout)))
            lines.append(row(costs[-1]))
            typer.echo(lines[-1], err=True)
    kind = "on S3" if (place or "").startswith("s3:") else "in a folder"
    note = (
        f"{datetime.now(UTC):%Y-%m-%d}; calls of {CALL_S / 60:.0f} min and {UTTERANCES * WORDS_PER_UTTERANCE} words, "
        f"{shard_hours:g} h a shard, {job_hours:g} h a job; stored {kind} of the same machine; {usable_cores()} cores, "
        f"Python {platform.python_version()}. Peak memory is of the whole process, `verify` included."
    )
    publish(lines, note, write)
    if plot is not None:
        draw(costs, plot)


if __name__ == "__main__":
    typer.run(main)
