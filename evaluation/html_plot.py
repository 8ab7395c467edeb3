"""What a plot of a report is. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from markupsafe import Markup


@dataclass(frozen=True, slots=True)
class Plot:
    """A plot: its title, what it says and how to read it, the drawing, and its numbers as a table."""

    key: str
    title: str
    says: str
    drawing: Markup
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
