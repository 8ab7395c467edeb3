"""The commands about samples for human transcription: `sample`, and `sample status`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from flows.cli_common import ArchiveOption, ConfigOption, TranscriptsOption, console, errors, folder_of, transcripts_of
from tasks.settings import load_settings

if TYPE_CHECKING:
    from evaluation.sample_export import Sample, SampleRequest
    from evaluation.sample_status import SampleStatus
    from tasks.storage import Storage

MOST_NAMED = 100

sample_app = typer.Typer(invoke_without_command=True, rich_markup_mode="markdown")


@sample_app.callback()
def sample(  # noqa: PLR0913  # typer makes options of arguments
    context: typer.Context,
    *,
    month: Annotated[str | None, typer.Option(help="Month, YYYY-MM.", show_default=False)] = None,
    n: Annotated[int, typer.Option("--n", help="Calls to draw.", min=2)] = 200,
    by: Annotated[
        str,
        typer.Option(help="Strata: language, snr, duration, confidence, or attributes of calls, such as queue."),
    ] = "language,confidence",
    seed: Annotated[str, typer.Option(help="Another one draws other calls; the same one the same.")] = "1",
    name: Annotated[str, typer.Option(help="The sample becomes samples/MONTH-NAME/ in the data set.")] = "quality",
    out: Annotated[
        Path | None,
        typer.Option(
            help="Write it to this local folder, where `callscribe erase` does not reach.", show_default=False
        ),
    ] = None,
    no_drafts: Annotated[
        bool,
        typer.Option(
            "--no-drafts",
            help="Blind: no drafts. Who corrects a draft lets some of its mistakes pass, so that the machine looks "
            "better than it is; to write without one takes longer.",
        ),
    ] = False,
    archive: ArchiveOption = None,
    transcripts: TranscriptsOption = None,
    config: ConfigOption = None,
) -> None:
    """Draw calls of a month by chance, for people to transcribe: the way to say how good a month is.

    The calls of each stratum (same language, same band of confidence) are drawn in proportion, two at least, and each
    stands for as many calls as its weight says. Their recordings, drafts to correct and a README.md for whoever
    transcribes are written to the data set, where `callscribe erase` finds them. Corrected drafts are saved under
    `references/`; `callscribe sample status` says how far that has come, and what is wrong with a file.

    Calls that failed have no transcript, and are counted and left out.

    Example: `callscribe sample --month 2026-10 --n 200 --archive s3://calls --transcripts s3://transcripts`

    Then: `callscribe sample status s3://transcripts/samples/2026-10-quality`
    """
    if context.invoked_subcommand is not None:
        return
    from evaluation.sample_export import SampleRequest
    from evaluation.strata import parse_by
    from tasks.errors import SettingsError
    from tasks.inventory import check_month
    from tasks.storage import open_storage

    if month is None:
        message = "which month? give --month, such as --month 2026-10"
        raise SettingsError(message)
    request = SampleRequest(month=check_month(month), n=n, by=parse_by(by), seed=seed, drafts=not no_drafts)
    settings = load_settings(config, {"archive": {"uri": archive}})
    if not settings.archive.uri:
        message = "archive.uri is not set; give --archive, or set it in callscribe.toml or the environment"
        raise SettingsError(message)
    source = open_storage(settings.archive.uri, settings.storage.options())
    source.check()
    storage = transcripts_of(config, transcripts)
    storage.check()
    with errors.status("reading the calls") as status:
        drawn, place = _drawn(storage, source, request, name, out, lambda text: status.update(escape(text)))
    _show(drawn)
    if out is not None:
        errors.print(
            f"[yellow]note:[/] `callscribe erase` does not reach {escape(str(out))}: remove the folder when it is done "
            "with, and the files of a call that is erased meanwhile",
            soft_wrap=True,
        )
    console.print(f"sample: {place}", markup=False, highlight=False, soft_wrap=True)
    console.print(f"next: see README.md there; then callscribe sample status {place}", markup=False, soft_wrap=True)


def _drawn(
    storage: Storage, source: Storage, request: SampleRequest, name: str, out: Path | None, say: Callable[[str], None]
) -> tuple[Sample, str]:
    """Draw the sample; what it is, and where it lies."""
    from evaluation.sample_places import draw_to_folder, draw_to_storage
    from tasks.dataset import DataSet

    data = DataSet(storage)
    if out is None:
        return draw_to_storage(data, source, request, name, say)
    return draw_to_folder(data, source, request, out, say), str(out)


def _show(drawn: Sample) -> None:
    from flows.console import result_table

    counts = {stratum.name: 0 for stratum in drawn.strata}
    for case in drawn.cases:
        counts[case.stratum or ""] += 1
    rows = [
        (
            one.name,
            f"{one.calls:,}",
            counts[one.name],
            f"{one.calls / counts[one.name]:,.1f}" if counts[one.name] else "",
        )
        for one in drawn.strata
    ]
    console.print(result_table(["stratum", "calls", "drawn", "each stands for"], rows))
    population = drawn.population
    console.print(f"{len(drawn.cases):,} of {population.calls:,} calls of {drawn.request.month} were drawn")
    left_out = {
        "failed, and have no transcript": population.failed,
        "have lost their text by their age": population.text_removed,
        "have a call_id with white space in it": population.unnamable,
        "are in strata of which no recording can be had": drawn.not_covered,
    }
    for why, calls in left_out.items():
        if calls:
            console.print(f"outside of the estimate: {calls:,} calls that {why}")
    for call_id, why in list(drawn.replaced.items())[:MOST_NAMED]:
        console.print(f"  [yellow]not to be had[/] {escape(call_id)}  [dim]{escape(why)}[/]", soft_wrap=True)
    if drawn.replaced:
        console.print(f"{len(drawn.replaced):,} calls could not be had; others of their strata took their places")


@sample_app.command("status")
def sample_status(
    place: Annotated[str, typer.Argument(help="The sample: a folder, or the URI of one.")],
    config: ConfigOption = None,
) -> None:
    """Say how many references of a sample are in, what is missing, and which file is wrong in which line.

    A sample can be evaluated before it is complete: the calls that have a reference then stand for all calls of their
    stratum, and a stratum without any is not covered. Exit code 2 says that a file is malformed.

    Example: `callscribe sample status s3://transcripts/samples/2026-10-quality`
    """
    from evaluation.sample_status import load_status
    from tasks.errors import UsageError
    from tasks.storage import open_storage

    found = folder_of(config, place)
    storage = open_storage(found.absolute().as_uri()) if isinstance(found, Path) else found
    with errors.status("reading the sample") as status:
        state = load_status(storage, lambda text: status.update(escape(text)))
    _show_status(state)
    if state.malformed:
        message = f"{len(state.malformed):,} references are malformed, and count as missing until they are corrected"
        raise UsageError(message)


def _show_status(state: SampleStatus) -> None:
    from flows.console import pairs_table, result_table

    strata = [
        (name, f"{calls:,.0f}", cases, there, f"{calls / there:,.1f}" if there else "not covered")
        for name, calls, cases, there in state.strata()
    ]
    console.print(result_table(["stratum", "calls", "drawn", "references", "each stands for"], strata))
    rows = [
        ("references", f"{len(state.present):,} of {len(state.cases):,}"),
        ("missing", f"{len(state.missing):,}"),
        ("malformed", f"{len(state.malformed):,}"),
        ("as the draft was, unchanged", f"{len(state.unchanged):,}"),
        ("calls in strata without any reference", f"{sum(state.uncovered.values()):,.0f}"),
    ]
    console.print(pairs_table(rows))
    lines = [
        *(("malformed", "red", error.message) for error in state.malformed),
        *(("unchanged", "yellow", f"{one}: says what its draft says; was it listened to?") for one in state.unchanged),
        *(("silent", "yellow", f"{one}: empty, as if nobody spoke; its draft has words") for one in state.silent),
        *(("stray", "yellow", f"{one}: belongs to no call of the sample") for one in state.strays),
        *(("missing", "dim", one) for one in state.missing),
    ]
    for what, style, text in lines[:MOST_NAMED]:
        console.print(f"  [{style}]{what:<9}[/] {escape(text)}", soft_wrap=True)
    if len(lines) > MOST_NAMED:
        console.print(f"  and {len(lines) - MOST_NAMED:,} more")
