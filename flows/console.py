"""What people see on the terminal: progress, tables, transcripts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, Self

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from flows.progress import CallDone
from tasks.erase import Erasure
from tasks.storage import OlderVersions
from tasks.verify import Finding

OUTCOME_STYLE = {"transcribed": "green", "no_speech": "yellow", "failed": "red", "copied": "cyan"}
MAX_ROWS = 200
MAX_RECORDS = 10
LEAST_COLUMN_WIDTH = 8


class ConsoleWatcher:
    """Shows a run as it goes: a line per stage, a bar over the calls, a line per failed call.

    Args:
        console: where to.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._progress = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=console,
        )
        self._task = self._progress.add_task("starting", total=None)

    def __enter__(self) -> Self:
        """Begin to draw."""
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop drawing and leave nothing of the bar."""
        self._progress.update(self._task, visible=False)
        self._progress.stop()

    def stage(self, text: str) -> None:
        """Say what is being done now."""
        self._progress.update(self._task, description=escape(text))
        if not self._console.is_terminal:
            self._console.print(escape(text))

    def note(self, text: str) -> None:
        """Say something that stays to be read."""
        self._console.print(f"[yellow]note:[/] {escape(text)}")

    def planned(self, calls: int, size_bytes: int) -> None:
        """Say how much there is to do."""
        text = f"{calls:,} calls to transcribe ({size_bytes / 1e6:,.1f} MB)" if calls else "nothing to transcribe"
        self._console.print(text)
        self._progress.update(self._task, total=calls, completed=0)

    def done(self, call: CallDone) -> None:
        """Say what became of one call."""
        if call.kind == "copied":
            rest = "same audio as before"
        elif call.kind == "failed":
            rest = call.error
        else:
            rest = f"{call.audio_s or 0.0:.0f} s of audio, RTFx {(call.audio_s or 0.0) / max(call.worked_s, 1e-6):.1f}"
        self._console.print(_call_line(call.call_id, call.kind, rest))
        self._progress.update(self._task, description="transcribing", advance=1)

    def certified(self, kind: str, run_id: str, month: str, rows: Sequence[tuple[str, str]]) -> None:
        """Say what the run did."""
        self._console.print(f"\n{kind} {run_id} over {month}")
        self._console.print(pairs_table(rows))


def _call_line(call_id: str, kind: str, rest: str) -> str:
    return f"  [{OUTCOME_STYLE[kind]}]{kind:<11}[/] {escape(call_id)}  [dim]{escape(rest)}[/]"


def pairs_table(rows: Iterable[tuple[str, str]]) -> Table:
    """A table of names and numbers."""
    table = Table(show_header=False)
    table.add_column()
    table.add_column(justify="right")
    for name, value in rows:
        table.add_row(escape(name), escape(value))
    return table


def finding_line(finding: Finding) -> str:
    """What `callscribe verify` found."""
    return f"  [red]{finding.kind:<10}[/] {escape(finding.where)}  [dim]{escape(finding.text)}[/]"


def erasure_lines(erasure: Erasure) -> Iterator[str]:
    """Where something of an erased call may remain."""
    for uri, why in erasure.kept.items():
        yield f"  [yellow]not removed[/] {escape(uri)}  [dim]{escape(why)}[/]"
    for uri, found in erasure.older_versions.items():
        yield f"  [yellow]may remain[/]  {escape(uri)}  [dim]{_versions_said(found)}[/]"


def _versions_said(found: OlderVersions | None) -> str:
    """What a bucket keeps of an object, and what of that nobody can remove."""
    if found is None:
        return "older versions could not be asked for"
    said = f"{found.count} older versions"
    if found.locked is None:
        return f"{said}; whether they are locked is not told"
    if not found.locked:
        return said
    until = f" until {found.locked_until:%Y-%m-%d %H:%M} UTC" if found.locked_until else ", by a legal hold"
    return f"{said}, {found.locked} of them locked{until}"


def result_table(names: Sequence[str], rows: Sequence[Sequence[Any]], width: int | None = None) -> Table:
    """The answer of a query; at most `MAX_ROWS` rows are drawn.

    Args:
        names: of the columns.
        rows: their values.
        width: where more columns than this has room for are to be drawn as a list under one another, row by row.
    """
    if width is not None and len(names) * LEAST_COLUMN_WIDTH > width:
        return _records_table(names, rows)
    table = Table()
    for name in names:
        table.add_column(escape(name), overflow="fold")
    for row in rows[:MAX_ROWS]:
        table.add_row(*(escape(shown(value)) for value in row))
    table.caption = _more(rows, MAX_ROWS)
    return table


def _records_table(names: Sequence[str], rows: Sequence[Sequence[Any]]) -> Table:
    """Rows as lists of names and values."""
    table = Table("column", "value")
    for row in rows[:MAX_RECORDS]:
        for name, value in zip(names, row, strict=True):
            table.add_row(escape(name), escape(shown(value)))
        table.add_section()
    table.caption = _more(rows, MAX_RECORDS)
    return table


def _more(rows: Sequence[object], drawn: int) -> str | None:
    if len(rows) <= drawn:
        return None
    return f"the first {drawn} rows; add LIMIT, aggregate, or COPY (SELECT …) TO 'file.csv'"


def shown(value: object) -> str:
    """A value of a table as people read it."""
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.3f}".rstrip("0").rstrip(".")
    if isinstance(value, datetime):
        return value.isoformat(sep=" ", timespec="seconds")
    return str(value)


def call_table(call: Mapping[str, Any]) -> Table:
    """The row of one call, without what is empty."""
    skipped = {"transcript_id", "bundle_digest", "month"}
    rows = [(name, shown(value)) for name, value in call.items() if value not in (None, [], "") and name not in skipped]
    return pairs_table(rows)
