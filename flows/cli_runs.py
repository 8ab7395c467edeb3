"""The commands about runs: `run`, `plan` and `backfill`."""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape

from flows.cli_common import (
    EXIT_SOME_CALLS_FAILED,
    ArchiveOption,
    BundleOption,
    ConfigOption,
    DeviceOption,
    TranscriptsOption,
    console,
    errors,
    read_lines,
    transcripts_of,
)
from tasks.errors import UsageError
from tasks.settings import configured_by, load_settings

if TYPE_CHECKING:
    from tasks.quote import Quote
    from tasks.reconcile import RunSummary
    from tasks.setting_groups import RunSettings
    from tasks.storage import Storage

# Calls that are named on the terminal, of those that are not found.
MAX_NAMED = 10

DevicesOption = Annotated[
    str | None,
    typer.Option(
        help="Devices that do jobs side by side, a process each: `cuda:0,cuda:1`, or `cpu:2` for two on the CPU.",
        show_default=False,
    ),
]
WorkersOption = Annotated[int, typer.Option(min=1, help="Workers (GPUs) that would share the work, for the quote.")]


def run(
    month: Annotated[str | None, typer.Option(help="Month, YYYY-MM; the month before this one when left out.")] = None,
    archive: ArchiveOption = None,
    transcripts: TranscriptsOption = None,
    bundle: BundleOption = None,
    device: DeviceOption = None,
    devices: DevicesOption = None,
    config: ConfigOption = None,
) -> None:
    """Transcribe what is new or changed in a month of the archive, through Prefect, and account for every object.

    Exit code 3 says that the run is complete and some calls failed; their rows say why.

    Example: `callscribe run --month 2026-10 --archive s3://calls --transcripts s3://transcripts`
    """
    overrides = _given(archive, transcripts, bundle, device, devices)
    summary = run_month(month, config, overrides)
    if summary.failed:
        raise typer.Exit(EXIT_SOME_CALLS_FAILED)


def run_month(month: str | None, config: Path | None, overrides: dict[str, dict[str, Any]]) -> RunSummary:
    """Run the archive flow with progress on the terminal, print what it did, and return it."""
    from flows.console import ConsoleWatcher
    from flows.progress import watched_by
    from tasks.inventory import check_month

    if month is not None:
        check_month(month)
    settings = load_settings(config, overrides)
    # The flow reads settings of its own. It is given no more than was said here: Prefect keeps its parameters.
    with configured_by(config), ConsoleWatcher(console) as watcher, watched_by(watcher):
        watcher.stage("starting Prefect")
        from flows.archive import archive_run

        return archive_run(month, settings.archive.uri, settings.transcripts.uri, overrides)


def plan(
    month: Annotated[str | None, typer.Option(help="Month, YYYY-MM; the month before when left out.")] = None,
    workers: WorkersOption = 1,
    archive: ArchiveOption = None,
    transcripts: TranscriptsOption = None,
    bundle: BundleOption = None,
    device: DeviceOption = None,
    config: ConfigOption = None,
) -> None:
    """Say what `callscribe run` would do, how long it would take and what it would cost; nothing is written.

    The speed is that of earlier runs with the same models, or run.assumed_rtfx where there are none.

    Example: `callscribe plan --month 2026-10 --workers 8 --archive s3://calls --transcripts s3://transcripts`
    """
    from zoneinfo import ZoneInfo

    from flows.console import pairs_table
    from tasks.dataset import DataSet
    from tasks.errors import SettingsError
    from tasks.inventory import check_month, previous_month
    from tasks.quote import quote_rows, quote_run
    from tasks.run_models import fingerprints_of
    from tasks.storage import open_storage

    settings = load_settings(config, _given(archive, transcripts, bundle, device))
    if not settings.archive.uri:
        message = "archive.uri is not set; give --archive, or set it in callscribe.toml or the environment"
        raise SettingsError(message)
    month = check_month(month or previous_month(datetime.now(ZoneInfo(settings.archive.timezone))))
    data = DataSet(transcripts_of(config, transcripts))
    source = open_storage(settings.archive.uri, settings.storage.options())
    source.check()
    with errors.status(f"taking the inventory of {month}"):
        quote = quote_run(data, source, month, settings, fingerprints_of(settings))
    console.print(f"run over {month}, not begun")
    console.print(pairs_table(quote_rows(quote, workers, settings.run)))


def backfill(  # noqa: PLR0913  # its options
    months: Annotated[str, typer.Option(help="Months: 2026-09, or 2025-01..2026-09.")],
    *,
    where: Annotated[
        str | None,
        typer.Option(help="SQL condition on the columns of `calls`; Prefect keeps it.", show_default=False),
    ] = None,
    calls: Annotated[
        Path | None, typer.Option(help="File with a call_id on each line: only these.", show_default=False)
    ] = None,
    again: Annotated[
        bool, typer.Option("--again", help="Also calls whose transcript would come out as it is.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what it would do and cost, and stop.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    workers: WorkersOption = 1,
    archive: ArchiveOption = None,
    transcripts: TranscriptsOption = None,
    bundle: BundleOption = None,
    device: DeviceOption = None,
    devices: DevicesOption = None,
    config: ConfigOption = None,
) -> None:
    """Transcribe calls anew that were done before: those that a condition, a file or both name.

    Without either, all whose transcripts were made under other settings or models than today's. What that changes
    (words, speakers, numbers, confidence) is written to the view `changes`. A failed try leaves the old transcript.

    Example: `callscribe backfill --months 2025-01..2026-09 --where "language = 'es' AND confidence < 0.7" --dry-run`
    """
    from flows.console import ConsoleWatcher, pairs_table
    from flows.progress import watched_by
    from tasks.inventory import months_between
    from tasks.selection import Selection

    wanted = months_between(months)
    named = frozenset(read_lines(calls)) if calls else None
    selection = Selection(where, named, again)
    selection.check()
    overrides = _given(archive, transcripts, bundle, device, devices)
    settings = load_settings(config, overrides)
    with configured_by(config), ConsoleWatcher(console) as watcher, watched_by(watcher):
        watcher.stage("starting Prefect")
        from evaluation.changes import change_rows
        from flows import backfill as flow
        from flows.month import Workplace

        place = Workplace.opened(settings.archive.uri, settings.transcripts.uri, overrides)
        quotes = flow.quotes(place, wanted, selection)
        begun = flow.unfinished(place, wanted)
    if not quotes:
        console.print(f"nothing of {escape(months)} was ever transcribed; `callscribe run` does that")
        return
    _say_quotes(quotes, workers, named, place.settings.run)
    if begun:
        text = f"a backfill of {', '.join(begun)} has not ended; if it was this request, it is gone on with"
        console.print(f"[yellow]note:[/] {escape(text)}")
    if dry_run or not (begun or any(quote.calls for quote in quotes)):
        return
    if not yes:
        typer.confirm("Transcribe them anew?", abort=True)
    with (
        configured_by(config),
        _kept_list(place.data.storage, named) as key,
        ConsoleWatcher(console) as watcher,
        watched_by(watcher),
    ):
        done = flow.backfill(
            months,
            where,
            key,
            again,
            archive=settings.archive.uri,
            transcripts=settings.transcripts.uri,
            overrides=overrides,
        )
    if len(done.runs) > 1:
        console.print("\nin all months")
        console.print(pairs_table(change_rows(done.changes)))
    if any(one.failed for one in done.runs):
        raise typer.Exit(EXIT_SOME_CALLS_FAILED)


def _given(
    archive: str | None, transcripts: str | None, bundle: str | None, device: str | None, devices: str | None = None
) -> dict[str, dict[str, Any]]:
    """What the options that these commands share say, as settings; one device that is named wins over set devices."""
    if device is not None and devices is not None:
        message = "--device is of one process and --devices of several: give one of them"
        raise UsageError(message)
    return {
        "archive": {"uri": archive},
        "transcripts": {"uri": transcripts},
        "models": {"bundle": bundle, "device": device},
        "run": {"devices": "" if device is not None else devices},
    }


def _say_quotes(quotes: Sequence[Quote], workers: int, named: frozenset[str] | None, settings: RunSettings) -> None:
    """What a backfill would do, month by month and in all; and which of the named calls are nowhere."""
    from flows.console import pairs_table, result_table
    from tasks.errors import SettingsError
    from tasks.quote import quote_rows, together

    if named is not None:
        missing = sorted(named.difference(*(quote.named for quote in quotes)))
        if len(missing) == len(named):
            message = f"none of the {len(named):,} calls that are named is in these months"
            raise SettingsError(message)
        if missing:
            more = f" and {len(missing) - MAX_NAMED:,} more" if len(missing) > MAX_NAMED else ""
            text = f"{len(missing):,} calls are in none of these months: {', '.join(missing[:MAX_NAMED])}{more}"
            console.print(f"[yellow]note:[/] {escape(text)}")
    console.print("backfill, not begun")
    if len(quotes) > 1:
        rows = [(one.month, f"{one.calls:,}", f"{one.hours:,.2f}", f"{one.worker_hours:,.2f}") for one in quotes]
        console.print(result_table(["month", "calls", "audio h", "worker h"], rows))
    console.print(pairs_table(quote_rows(together(quotes), workers, settings)))


@contextmanager
def _kept_list(storage: Storage, call_ids: frozenset[str] | None) -> Iterator[str | None]:
    """The key of an object that lists some calls, for as long as the flow needs it: Prefect keeps parameters."""
    if call_ids is None:
        yield None
        return
    key = f"_control/backfills/{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{secrets.token_hex(3)}.txt"
    storage.put(key, "".join(f"{call_id}\n" for call_id in sorted(call_ids)).encode())
    try:
        yield key
    finally:
        storage.delete(key)
