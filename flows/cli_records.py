"""The commands about what is kept of calls: `verify`, `mend`, `erase`, `retain` and `hold`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from flows.cli_common import ConfigOption, TranscriptsOption, console, errors, read_lines, transcripts_of
from tasks.settings import load_settings

MAX_FINDINGS = 100

DaysOption = Annotated[float | None, typer.Option(help="Days; see the setting of this name.", show_default=False)]

hold_app = typer.Typer(
    help="Legal holds: what is held is not erased.", no_args_is_help=True, rich_markup_mode="markdown"
)


def verify(
    month: Annotated[str | None, typer.Option(help="Month, YYYY-MM; all when left out.")] = None,
    transcripts: TranscriptsOption = None,
    config: ConfigOption = None,
) -> None:
    """Hold the data set against its certificates: every transcript that was certified must stand as it was written.

    Exit code 9 says that something is missing, altered or unreadable, and names it, or that no run over the month that
    is named is certified as done. `callscribe run` over the month
    does what is missing again; `callscribe mend` takes out what is altered or unreadable, so that it is missing.

    Example: `callscribe verify --month 2026-10 --transcripts s3://transcripts`
    """
    from flows.console import finding_line, pairs_table
    from tasks.dataset import DataSet
    from tasks.errors import NotAsCertified
    from tasks.inventory import check_month
    from tasks.verify import verification_rows
    from tasks.verify import verify as verify_data_set

    if month is not None:
        check_month(month)
    data = DataSet(transcripts_of(config, transcripts))
    with errors.status("reading the certificates") as status:
        result = verify_data_set(data, month, lambda text: status.update(escape(text)))
    console.print(pairs_table(verification_rows(result)))
    for finding in result.findings[:MAX_FINDINGS]:
        console.print(finding_line(finding))
    if month is not None and not result.runs:
        message = f"no run over {month} is certified as done in {data.storage.uri}: there is nothing to hold it against"
        raise NotAsCertified(message)
    if result.findings:
        message = f"the data set is not as it was certified: {len(result.findings):,} findings"
        raise NotAsCertified(message)


def mend(
    month: Annotated[str, typer.Option(help="Month, YYYY-MM.")],
    *,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    archive: Annotated[str | None, typer.Option(help="URI of the archive.", show_default=False)] = None,
    transcripts: TranscriptsOption = None,
    config: ConfigOption = None,
) -> None:
    """Take out of a month what `callscribe verify` finds wrong in it, so that `callscribe run` does it again.

    Objects that cannot be read are emptied: where the bucket keeps versions, restore the good one instead. A row whose
    recording is no longer in the archive is kept as it is. A certificate says what was taken out.

    Example: `callscribe mend --month 2026-10 --archive s3://calls --transcripts s3://transcripts`
    """
    from flows.console import finding_line, pairs_table
    from tasks.dataset import DataSet
    from tasks.errors import NotAsCertified, SettingsError
    from tasks.inventory import check_month
    from tasks.mend import mend as mend_month
    from tasks.mend import mending_rows
    from tasks.storage import open_storage

    check_month(month)
    settings = load_settings(config, {"archive": {"uri": archive}})
    if not settings.archive.uri:
        message = "archive.uri is not set; give --archive, or set it in callscribe.toml or the environment"
        raise SettingsError(message)
    storage = transcripts_of(config, transcripts)
    if not yes:
        typer.confirm(f"Take what is wrong with {month} out of {storage.uri}?", abort=True)
    source = open_storage(settings.archive.uri, settings.storage.options())
    source.check()
    with errors.status("reading the certificates") as status:
        result = mend_month(DataSet(storage), month, source, settings.archive, lambda text: status.update(escape(text)))
    console.print(pairs_table(mending_rows(result)))
    for finding in result.left[:MAX_FINDINGS]:
        console.print(finding_line(finding))
    if result.left or result.kept:
        message = (
            f"{len(result.left) + result.kept:,} findings cannot be mended by doing calls again; restore what they "
            "name, and then run the month"
        )
        raise NotAsCertified(message)
    console.print(f"now run the month again: callscribe run --month {month}", soft_wrap=True)


def retain(
    *,
    apply: Annotated[bool, typer.Option("--apply", help="Do it; without, it is only said.")] = False,
    calls_days: DaysOption = None,
    utterances_days: DaysOption = None,
    changes_days: DaysOption = None,
    runs_days: DaysOption = None,
    transcripts: TranscriptsOption = None,
    config: ConfigOption = None,
) -> None:
    """Remove what is older than the rules allow: calls, or what was spoken in them, changes, records of runs.

    The rules are the settings `retention.*`, or these options. Without --apply it only says what there is. What is
    under legal hold is left alone. Recordings in the archive are not touched: rules of the bucket do that.

    Example: `callscribe retain --utterances-days 180 --calls-days 3650 --transcripts s3://transcripts`
    """
    from flows.console import pairs_table, result_table
    from tasks.dataset import DataSet
    from tasks.errors import SettingsError
    from tasks.retention import retain as remove_old
    from tasks.retention import retention_rows

    days = {
        "calls_days": calls_days,
        "utterances_days": utterances_days,
        "changes_days": changes_days,
        "runs_days": runs_days,
    }
    settings = load_settings(config, {"retention": days})
    if not any(settings.retention.model_dump().values()):
        message = "there is no rule: set retention.*_days, or give an option such as --utterances-days"
        raise SettingsError(message)
    data = DataSet(transcripts_of(config, transcripts))
    with errors.status("looking for what is too old") as status:
        result = remove_old(
            data, settings.retention, settings.archive, apply=apply, say=lambda text: status.update(escape(text))
        )
    console.print("removed" if apply else "to be removed; nothing was done (--apply does it)")
    if result.months:
        names = ["month", "calls", "text of calls", "changes", "held"]
        keys = ("calls", "utterances", "changes", "held")
        rows = [(month, *(f"{counts[key]:,}" for key in keys)) for month, counts in result.months.items()]
        console.print(result_table(names, rows))
    console.print(pairs_table(retention_rows(result)))


def erase(
    call_ids: Annotated[
        list[str] | None, typer.Argument(help="The calls.", metavar="CALL_ID...", show_default=False)
    ] = None,
    *,
    reason: Annotated[str, typer.Option(help="Why; the certificate keeps it. Name no person in it.")],
    calls: Annotated[Path | None, typer.Option(help="File with a call_id on each line.", show_default=False)] = None,
    month: Annotated[str | None, typer.Option(help="Month, YYYY-MM; every month they are in when left out.")] = None,
    audio: Annotated[bool, typer.Option("--audio", help="Remove their recordings from the archive too.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    transcripts: TranscriptsOption = None,
    archive: Annotated[str | None, typer.Option(help="URI of the archive, for --audio.", show_default=False)] = None,
    config: ConfigOption = None,
) -> None:
    """Erase calls: from the tables, from what runs keep, and with --audio from the archive. There is no way back.

    They are not transcribed again. A certificate lists what was removed, and where older versions may remain. A call
    under legal hold is not erased, nor is any other one then (exit code 10).

    Example: `callscribe erase demo-0002 --reason "request 4711" --transcripts s3://transcripts`
    """
    from flows.console import erasure_lines, pairs_table
    from tasks.dataset import DataSet
    from tasks.erase import erase_calls, erasure_rows
    from tasks.errors import SettingsError
    from tasks.inventory import check_month
    from tasks.storage import open_storage

    wanted = [*(call_ids or ()), *(read_lines(calls) if calls else ())]
    if not wanted:
        message = "no call was named; give their call_ids, or --calls FILE"
        raise SettingsError(message)
    if month is not None:
        check_month(month)
    settings = load_settings(config, {"archive": {"uri": archive}})
    if audio and not settings.archive.uri:
        message = "archive.uri is not set, which --audio needs; give --archive, or set it"
        raise SettingsError(message)
    storage = transcripts_of(config, transcripts)
    what = f"{len(wanted):,} calls{' and their recordings' if audio else ''} from {storage.uri}"
    if not yes:
        typer.confirm(f"Erase {what}, for good?", abort=True)
    source = open_storage(str(settings.archive.uri), settings.storage.options()) if audio else None
    with errors.status("erasing") as status:
        result = erase_calls(
            DataSet(storage), wanted, reason, settings.archive, month, source, lambda text: status.update(escape(text))
        )
    console.print(pairs_table(erasure_rows(result)))
    for line in erasure_lines(result):
        console.print(line)


@hold_app.command("add")
def hold_add(
    call_id: Annotated[str | None, typer.Option("--call", help="Hold this call.", show_default=False)] = None,
    attribute: Annotated[
        str | None, typer.Option(help="Hold every call with this attribute: NAME=VALUE.", show_default=False)
    ] = None,
    *,
    reason: Annotated[str, typer.Option(help="Why; whoever wants to erase reads it.")],
    transcripts: TranscriptsOption = None,
    config: ConfigOption = None,
) -> None:
    """Put a legal hold on a call, or on all calls of a customer: they cannot be erased.

    Example: `callscribe hold add --attribute customer_id=4711 --reason "case 12" --transcripts s3://transcripts`
    """
    from tasks.errors import SettingsError
    from tasks.holds import CALL, add_hold

    name, parted, value = (attribute or "").partition("=")
    if (call_id is None) == (attribute is None) or (attribute is not None and not (name and parted and value)):
        message = "a hold is on one call (--call ID) or on one attribute (--attribute NAME=VALUE)"
        raise SettingsError(message)
    storage = transcripts_of(config, transcripts)
    hold = add_hold(storage, CALL, call_id, reason) if call_id else add_hold(storage, name, value, reason)
    console.print(f"hold {hold.hold_id}: {escape(hold.name)} = {escape(hold.value)}")


@hold_app.command("list")
def hold_list(transcripts: TranscriptsOption = None, config: ConfigOption = None) -> None:
    """List the legal holds of a data set.

    Example: `callscribe hold list --transcripts s3://transcripts`
    """
    from flows.console import result_table
    from tasks.holds import read_holds

    rows = [
        (one.hold_id, one.name, one.value, one.since, one.reason)
        for one in read_holds(transcripts_of(config, transcripts))
    ]
    console.print(result_table(["hold", "on", "value", "since", "reason"], rows))


@hold_app.command("release")
def hold_release(
    hold_id: Annotated[str, typer.Argument(help="The hold, as `callscribe hold list` names it.")],
    transcripts: TranscriptsOption = None,
    config: ConfigOption = None,
) -> None:
    """Take a legal hold away.

    Example: `callscribe hold release 1f2e3d4c --transcripts s3://transcripts`
    """
    from tasks.holds import release_hold

    hold = release_hold(transcripts_of(config, transcripts), hold_id)
    console.print(f"released: {escape(hold.name)} = {escape(hold.value)}")
