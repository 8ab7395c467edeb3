"""How often a month asks Prefect's API: the `archive-run` flow itself, on Prefect's own temporary server.

As in `evaluation.benchmarks.month`, the archive is only a listing and transcripts are made up; the flow, its jobs as
flow runs, and the data set are real. Every request to the API is counted on its way out, by what it is about; those
that wait for the temporary server to start are not.

    python -m evaluation.benchmarks.month_flow --calls 1000 --calls 5000 --write evaluation/benchmarks/month_flow.md
"""

from __future__ import annotations

import json
import platform
import re
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import cache, partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any
from unittest import mock

import typer

from evaluation.benchmarks.month import (
    MONTH,
    ListedArchive,
    made_up_outcomes,
    settings_for,
    stand_ins,
    transcribe_in_no_time,
)
from evaluation.benchmarks.publish import publish
from tasks.host import usable_cores
from tasks.run_job import run_job
from tasks.run_models import Fingerprints
from tasks.same_settings import fingerprint_of
from tasks.settings import Settings
from tasks.storage import Storage, StorageOptions, open_storage

_ID = re.compile(r"/[0-9a-f-]{32,36}(?=/|$)")


@dataclass(frozen=True, slots=True)
class Asked:
    """What a month of so many calls asked Prefect's API for, by method and path, and how long it took."""

    calls: int
    jobs: int
    wall_s: float
    requests: dict[str, int]

    @property
    def total(self) -> int:
        """All requests."""
        return sum(self.requests.values())


def counted(requests: Counter[str]) -> list[Any]:
    """Patches by which httpx, Prefect's client and nobody else's here, counts what it sends."""
    import httpx

    def note(request: httpx.Request) -> None:
        path = _ID.sub("/ID", request.url.path.removeprefix("/api"))
        if path != "/health":
            requests[f"{request.method} {path}"] += 1

    plain, plain_async = httpx.Client.send, httpx.AsyncClient.send

    def send(client: httpx.Client, request: httpx.Request, **options: Any) -> httpx.Response:  # noqa: ANN401  # httpx's own
        note(request)
        return plain(client, request, **options)

    async def send_async(client: httpx.AsyncClient, request: httpx.Request, **options: Any) -> httpx.Response:  # noqa: ANN401  # the same
        note(request)
        return await plain_async(client, request, **options)

    return [mock.patch.object(httpx.Client, "send", send), mock.patch.object(httpx.AsyncClient, "send", send_async)]


def measure(calls: int, folder: Path, job_hours: float) -> Asked:
    """Run the flow once over a month of made-up calls in a folder."""
    from flows.archive import archive_run

    settings = settings_for(calls * 0.1, 250.0, job_hours)
    models = stand_ins(Path())
    archive = ListedArchive(folder.as_uri())
    archive.calls = calls
    transcripts = (folder / "transcripts").as_uri()
    (folder / "transcripts").mkdir()
    made_up_outcomes()
    requests = Counter[str]()

    def fingerprints(given: Settings) -> Fingerprints:
        return Fingerprints(
            models.bundle.name,
            models.bundle.digest,
            models.device.compute_type,
            given.archive.hints(),
            cache(partial(fingerprint_of, given, models)),
        )

    def opened(uri: str, options: StorageOptions) -> Storage:
        return archive if uri == archive.uri else open_storage(uri, options)

    instead: dict[str, Callable[..., Any]] = {
        "flows.month.open_storage": opened,
        "flows.month.fingerprints_of": fingerprints,
        "flows.job.loaded_models": lambda _settings: models,
        "flows.job.run_job": partial(run_job, transcribe=transcribe_in_no_time),
    }
    started = time.monotonic()
    with ExitStack() as stack:
        for patch in (*counted(requests), *(mock.patch(name, other) for name, other in instead.items())):
            stack.enter_context(patch)
        summary = archive_run(MONTH, archive.uri, transcripts, settings.model_dump(mode="json", exclude_unset=True))
    if not summary.accounted:
        message = f"the month does not add up: {summary}"
        raise RuntimeError(message)
    return Asked(calls, summary.jobs, time.monotonic() - started, dict(requests))


def row(asked: Asked) -> str:
    """A line of the table."""
    logs = sum(count for name, count in asked.requests.items() if name.startswith("POST /logs"))
    return (
        f"| {asked.calls:,} | {asked.jobs:,} | {asked.total:,} | {logs:,} | {1000 * asked.total / asked.calls:.1f} "
        f"| {asked.total / max(asked.jobs, 1):.1f} | {asked.wall_s:.0f} |"
    )


COLUMNS = ("calls", "jobs", "requests", "of them logs", "per 1,000 calls", "per job", "run s")


def main(
    calls: Annotated[list[int], typer.Option(help="How many calls the month has; may be given more than once.")],
    *,
    job_hours: Annotated[float, typer.Option(help="Audio hours of a job.")] = 50.0,
    write: Annotated[Path | None, typer.Option(help="Write the table here too.")] = None,
    alone: Annotated[bool, typer.Option("--alone", hidden=True)] = False,
) -> None:
    """Count the requests of a month to Prefect's API."""
    if alone:  # the process of one size
        with TemporaryDirectory() as folder:
            found = json.dumps(asdict(measure(calls[0], Path(folder), job_hours)))
        Path(str(write)).write_text(found, encoding="utf-8")
        return
    lines = [f"| {' | '.join(COLUMNS)} |", f"|{' ---: |' * len(COLUMNS)}"]
    with TemporaryDirectory() as scratch:
        for count in calls:
            answer = Path(scratch, f"{count}.json")
            command = [sys.executable, "-m", "evaluation.benchmarks.month_flow", "--alone", "--calls", str(count)]
            command += ["--job-hours", str(job_hours), "--write", str(answer)]
            subprocess.run(command, check=True, stdout=sys.stderr)
            asked = Asked(**json.loads(answer.read_text(encoding="utf-8")))
            lines.append(row(asked))
            most = sorted(asked.requests.items(), key=lambda item: -item[1])[:8]
            typer.echo(f"{lines[-1]}\n  {'; '.join(f'{name} {number}' for name, number in most)}", err=True)
    note = (
        f"{datetime.now(UTC):%Y-%m-%d}; made-up calls of 6 min in a folder, 250 h a shard, {job_hours:g} h a job; "
        f"{usable_cores()} cores, Python {platform.python_version()}. Prefect's temporary server runs beside, and its "
        "start (some 10 s) is in the time of the run; events go over one WebSocket and are not counted."
    )
    publish(lines, note, write)


if __name__ == "__main__":
    typer.run(main)
