"""What every benchmark does with its result."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import typer


def publish(lines: Iterable[str], note: str, write: Path | None) -> None:
    """Print a table and, below it, how it was made; and write both to a file, where one is given."""
    text = "\n".join([*lines, "", note]) + "\n"
    typer.echo(text)
    if write is not None:
        write.write_text(text, encoding="utf-8")
