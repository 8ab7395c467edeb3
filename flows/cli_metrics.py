"""The command `metrics`: which months of a data set are certified, for Prometheus, also while no run is alive."""

from __future__ import annotations

from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from flows.cli_common import ConfigOption, TranscriptsOption, errors, transcripts_of
from tasks.errors import SettingsError, UsageError
from tasks.settings import load_settings

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry


def metrics(
    *,
    out: Annotated[
        Path | None,
        typer.Option(help="Write them to this file, at once, as node_exporter's textfile collector reads them."),
    ] = None,
    serve: Annotated[bool, typer.Option("--serve", help="Serve them at metrics.port until stopped.")] = False,
    push: Annotated[bool, typer.Option("--push", help="Push them to metrics.push_url.")] = False,
    transcripts: TranscriptsOption = None,
    config: ConfigOption = None,
) -> None:
    """Say for Prometheus which months are certified, also while no run is alive; printed, unless told otherwise.

    Example: `callscribe metrics --transcripts s3://transcripts --out /var/lib/node_exporter/callscribe.prom`
    """
    from prometheus_client import generate_latest, write_to_textfile

    from tasks.certificate_metrics import certificate_registry
    from tasks.metrics_out import push_registry

    settings = load_settings(config)
    for wanted, value, name in (
        (serve, settings.metrics.port, "metrics.port"),
        (push, settings.metrics.push_url, "metrics.push_url"),
    ):
        if wanted and value is None:
            message = f"{name} is not set; set it in callscribe.toml or the environment"
            raise SettingsError(message)
    storage = transcripts_of(config, transcripts)
    registry = certificate_registry(storage, settings.archive.timezone)
    if out is not None:
        try:
            write_to_textfile(str(out), registry)
        except OSError as error:
            message = f"{out} cannot be written: {error.strerror}"
            raise UsageError(message) from error
    if push and settings.metrics.push_url is not None:
        try:
            push_registry(settings.metrics.push_url, registry, {"part": "certificates"})
        except OSError as error:
            message = f"the Pushgateway {settings.metrics.push_url} (metrics.push_url) does not take them: {error}"
            raise UsageError(message) from error
    if serve and settings.metrics.port is not None:
        _serve(settings.metrics.port, settings.metrics.address, registry)
    if not (out or serve or push):
        typer.echo(generate_latest(registry).decode(), nl=False)


def _serve(port: int, address: str, registry: CollectorRegistry) -> None:
    """Serve until this process is told to end."""
    import signal

    from prometheus_client import start_http_server

    try:
        server, thread = start_http_server(port, address, registry)
    except OSError as error:
        message = f"port {port} (metrics.port) cannot be listened on: {error.strerror}"
        raise UsageError(message) from error
    stopped = Event()
    signal.signal(signal.SIGTERM, lambda *_: stopped.set())
    errors.print(f"serving which months are certified on {escape(address)}:{port}")
    try:
        stopped.wait()
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
