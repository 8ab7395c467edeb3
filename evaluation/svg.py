"""Small drawings as SVG that stands in a page: colours by class, so that the page's themes decide them. Pure.

All are `WIDTH` units wide: about the width of a phone, so that text keeps its size there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Final

from markupsafe import Markup, escape

WIDTH: Final = 360

Scale = Callable[[float], float]
"""From a value to a place in the drawing."""


@dataclass(frozen=True, slots=True)
class Box:
    """Where the data is drawn: the sides of the plot's area."""

    left: float
    top: float
    right: float
    bottom: float

    def across(self, low: float, high: float) -> Scale:
        """The scale of the x axis."""
        return lambda value: self.left + (self.right - self.left) * (value - low) / ((high - low) or 1.0)

    def up(self, low: float, high: float) -> Scale:
        """The scale of the y axis."""
        return lambda value: self.bottom - (self.bottom - self.top) * (value - low) / ((high - low) or 1.0)


def tag(name: str, content: str | Markup = "", /, **attributes: object) -> Markup:
    """An element; text and values are escaped, `_` in names of attributes is `-`, and `class_` is `class`.

    >>> tag("text", "a < b", x=1.25, class_="label", text_anchor="end")
    Markup('<text x="1.2" class="label" text-anchor="end">a &lt; b</text>')
    """
    told = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{escape(_short(value))}"' for key, value in attributes.items()
    )
    return Markup(f"<{name}{told}>{escape(content)}</{name}>")  # noqa: S704  # both are escaped


def joined(parts: Iterable[Markup]) -> Markup:
    """Elements one after the other."""
    return Markup("").join(parts)


def drawing(key: str, title: str, description: str, height: float, parts: Iterable[Markup]) -> Markup:
    """An image with a name and a description for those who do not see it.

    Args:
        key: names it in the page.
        title: what it shows.
        description: what there is to see in it.
        height: in units.
        parts: what is drawn.
    """
    named = [tag("title", title, id=f"{key}-title"), tag("desc", description, id=f"{key}-text")]
    return tag(
        "svg",
        joined([*named, *parts]),
        viewBox=f"0 0 {WIDTH} {height:g}",
        role="img",
        aria_labelledby=f"{key}-title {key}-text",
        class_="plot",
    )


def line(x1: float, y1: float, x2: float, y2: float, kind: str) -> Markup:
    """A line of a class."""
    return tag("line", x1=x1, y1=y1, x2=x2, y2=y2, class_=kind)


def text(x: float, y: float, words: str, kind: str = "label", anchor: str = "middle") -> Markup:
    """Words at a place."""
    return tag("text", words, x=x, y=y, class_=kind, text_anchor=anchor)


def path(points: Sequence[tuple[float, float]], kind: str) -> Markup:
    """A line through points."""
    return tag("polyline", points=" ".join(f"{x:.1f},{y:.1f}" for x, y in points), class_=kind)


def axes(
    box: Box,
    x: tuple[Scale, Sequence[tuple[float, str]], str],
    y: tuple[Scale, Sequence[tuple[float, str]], str],
) -> Markup:
    """Both axes with their grid: each a scale, the marks on it with what is written there, and its title."""
    (across, columns, below), (up, rows, beside) = x, y
    parts = [line(across(at), box.top, across(at), box.bottom, "grid") for at, _ in columns]
    parts += [line(box.left, up(at), box.right, up(at), "grid") for at, _ in rows]
    parts += [text(across(at), box.bottom + 14, words, "tick") for at, words in columns]
    parts += [text(box.left - 5, up(at) + 3.5, words, "tick", "end") for at, words in rows]
    parts.append(text((box.left + box.right) / 2, box.bottom + 30, below, "axis"))
    parts.append(text(4, box.top - 9, beside, "axis", "start"))
    return joined(parts)


def steps(high: float, most: int = 6) -> list[float]:
    """Round marks from 0 to a value, or a little over it.

    >>> steps(0.23), steps(17)
    ([0.0, 0.05, 0.1, 0.15, 0.2, 0.25], [0.0, 5.0, 10.0, 15.0, 20.0])
    """
    size = 1e-6
    for power in count(-4):
        for factor in (1, 2, 5):
            size = factor * 10.0**power
            if high / size <= most - 1:
                number = max(1, -int(-high / size // 1))
                return [round(size * at, 10) for at in range(number + 1)]
    raise AssertionError(size)  # pragma: no cover  # `count` does not end


def _short(value: object) -> str:
    """Numbers with one decimal: the page is read by people, and a tenth of a unit is not seen."""
    return f"{value:.1f}".removesuffix(".0") if isinstance(value, float) else str(value)
