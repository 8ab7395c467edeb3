"""What benchmarks share: the device that they are asked for, and what they do with their result."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import typer

DeviceOption = Annotated[
    str | None, typer.Option(help="`cpu`, `cuda` or `cuda:N`; as settings say when left out.", show_default=False)
]


def publish(lines: Iterable[str], note: str, write: Path | None) -> None:
    """Print a table and, below it, how it was made; and write both to a file, where one is given."""
    text = "\n".join([*lines, "", note]) + "\n"
    typer.echo(text)
    if write is not None:
        write.write_text(text, encoding="utf-8")
