"""What the commands of `callscribe` share: the consoles, the options that many have, and where the data set lies."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from tasks.errors import SettingsError, UsageError
from tasks.settings import load_settings

if TYPE_CHECKING:
    from tasks.storage import Storage

EXIT_SOME_CALLS_FAILED = 3

# Without a terminal, lines are not cut to 80 columns: logs and files have no such width.
console = Console(width=None if sys.stdout.isatty() else 140)
errors = Console(stderr=True)

ConfigOption = Annotated[Path | None, typer.Option("--config", help="Settings file (TOML).", show_default=False)]
BundleOption = Annotated[str | None, typer.Option(help="Model bundle.", show_default=False)]
DeviceOption = Annotated[str | None, typer.Option(help="`cpu`, `cuda` or `cuda:N`.", show_default=False)]
LanguageOption = Annotated[
    str | None, typer.Option(help="Language of the calls (ISO 639-1); detected when left out.", show_default=False)
]
ArchiveOption = Annotated[
    str | None, typer.Option(help="URI of the archive: s3://bucket/prefix or file:///folder.", show_default=False)
]
TranscriptsOption = Annotated[
    str | None, typer.Option(help="URI of the data set: s3://bucket/prefix or file:///folder.", show_default=False)
]


def transcripts_of(config: Path | None, uri: str | None) -> Storage:
    """The store of the data set that the command line or the settings name.

    Raises:
        SettingsError: neither names one.
    """
    from tasks.storage import open_storage

    settings = load_settings(config, {"transcripts": {"uri": uri}})
    if not settings.transcripts.uri:
        message = "transcripts.uri is not set; give --transcripts, or set it in callscribe.toml or the environment"
        raise SettingsError(message)
    return open_storage(settings.transcripts.uri, settings.storage.options())


def folder_of(config: Path | None, place: str) -> Path | Storage:
    """A local folder, or one in storage where the command line gives a URI."""
    from tasks.storage import open_storage

    return open_storage(place, load_settings(config).storage.options()) if "://" in place else Path(place)


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn a disk that refuses into one sentence.

    Raises:
        UsageError: the file cannot be written.
    """
    try:
        yield
    except OSError as error:
        message = f"{path} cannot be written: {error.strerror}"
        raise UsageError(message) from error


def read_text(path: Path) -> str:
    """A file of text, without the mark that editors put before its first line.

    Raises:
        UsageError: it cannot be read.
    """
    try:
        return path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        message = f"{path} cannot be read: {error}"
        raise UsageError(message) from error


def read_lines(path: Path) -> list[str]:
    """The lines of a file that are not empty.

    Raises:
        UsageError: it cannot be read.
    """
    return [stripped for line in read_text(path).splitlines() if (stripped := line.strip())]
