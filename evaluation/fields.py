"""What the file formats of references have in common: their error, lines, and the fields of a line. Pure."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from typing import Any, TypeVar

from tasks.errors import UsageError

RecordT = TypeVar("RecordT")


class ReferenceFileError(UsageError):
    """A reference file does not say what its format asks for.

    Args:
        source: the name of the file.
        line: 1-based, None when it is about the whole file.
        problem: what is wrong.
    """

    def __init__(self, source: str, line: int | None, problem: str) -> None:
        super().__init__(f"{source}: {problem}" if line is None else f"{source}, line {line}: {problem}")
        self.source, self.line, self.problem = source, line, problem

    def __reduce__(self) -> tuple[type[ReferenceFileError], tuple[str, int | None, str]]:
        """Survive pickling with all attributes."""
        return type(self), (self.source, self.line, self.problem)


def parse_lines(text: str, source: str, parse: Callable[[str], RecordT | None]) -> tuple[RecordT, ...]:
    """Parse each line that is neither empty nor a comment.

    Args:
        text: the file.
        source: names it in errors.
        parse: from a line to its record; None where the line says nothing, and ValueError where it is malformed.

    Raises:
        ReferenceFileError: a line is malformed.
    """
    records = []
    for number, line in enumerate(text.removeprefix("\ufeff").split("\n"), start=1):
        if not line.strip() or line.lstrip().startswith(";"):
            continue
        try:
            record = parse(line.strip())
        except ValueError as error:
            raise ReferenceFileError(source, number, str(error)) from error
        if record is not None:
            records.append(record)
    return tuple(records)


def parse_json(text: str, source: str) -> Any:  # noqa: ANN401  # what JSON may hold
    """Parse JSON; `source` names it in errors.

    Raises:
        ReferenceFileError: it is none.
    """
    try:
        return json.loads(text.removeprefix("\ufeff"))
    except json.JSONDecodeError as error:
        raise ReferenceFileError(source, error.lineno, f"no JSON: {error.msg}") from error


def read_seconds(value: str | float) -> float:
    """Read a time in seconds; the only place where one is checked.

    Raises:
        ValueError: it is no number, or negative.
    """
    seconds = float(value)
    if not math.isfinite(seconds) or seconds < 0:
        raise ValueError(f"{value} is no time in seconds")
    return seconds


def read_channel(value: str) -> int:
    """Read a channel number, 1-based; NIST also writes A and B.

    Raises:
        ValueError: it is neither.
    """
    if value.isascii() and value.isdecimal():
        return int(value)
    if len(value) == 1 and "A" <= value.upper() <= "Z":
        return ord(value.upper()) - ord("A") + 1
    raise ValueError(f"{value} is no channel")


def checked_name(value: str) -> str:
    """Check that a name can stand in a file of fields between spaces.

    Raises:
        ValueError: it is empty or holds white space.
    """
    if not value or value.split() != [value]:
        raise ValueError(f"{value!r} cannot stand in STM, RTTM or CTM: it is empty or holds white space")
    return value
