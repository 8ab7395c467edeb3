"""The command about Kubernetes: `reconcile`."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.markup import escape

from flows.cli_common import ConfigOption, TranscriptsOption, console, errors
from tasks.settings import load_settings


def reconcile(
    *,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what is wrong, and mend nothing.")] = False,
    all_lost: Annotated[
        bool, typer.Option("--all-lost", help="The cluster has lost all its Jobs; it is not the wrong one.")
    ] = False,
    namespace: Annotated[
        str | None, typer.Option(help="Namespace of the Kubernetes Jobs.", show_default="cluster.namespace")
    ] = None,
    transcripts: TranscriptsOption = None,
    config: ConfigOption = None,
) -> None:
    """Mend what does not fit between Prefect, Kubernetes and the data set. It may be done at any time, and again.

    A flow run that is pending or running without a Kubernetes Job is given the state Crashed (its parent submits the
    job again), or is scheduled again where it never began. A Job whose flow run is over is deleted. A run over a month
    that has lost its process is submitted again, and goes on.

    It asks Prefect (PREFECT_API_URL) and Kubernetes (as the pod's service account, or as kubectl would).

    Example: `callscribe reconcile --dry-run --transcripts s3://transcripts`
    """
    settings = load_settings(config, {"cluster": {"namespace": namespace}, "transcripts": {"uri": transcripts}})
    from flows.reconciler import mended

    found = 0
    with errors.status("looking at Prefect and Kubernetes, and watching leases"):
        for row in mended(settings, settings.transcripts.uri, dry_run=dry_run, all_lost=all_lost):
            found += 1
            line = f"[yellow]{row['repair']:<11}[/] {escape(row['name'])}  [dim]{escape(row['why'])}[/]"
            console.print(f"{line}  {escape(row['done'])}", soft_wrap=not console.is_terminal)
    console.print(f"{found:,} things did not fit" if found else "everything fits")
