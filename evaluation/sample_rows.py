"""What a sample needs of the data set: the calls of a month by their cells, and the rows of those that are drawn."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from evaluation.strata import COLUMNS, Cell, attributes_of, cell_of
from tasks.query import explained
from tasks.storage import Storage
from tasks.views import Database

_AT_ONCE: Final = 10_000
_OF_A_CALL: Final = "call_id, outcome, audio_uri, audio_sha256, audio_legs, language, channel_roles, text_removed_at"


@dataclass
class Population:
    """The calls of a month.

    Attributes:
        cells: call_ids of those that can be drawn, by cell.
        failed: calls that have no transcript.
        text_removed: calls whose text is gone because of its age.
        unnamable: call_ids with white space in them, which no reference file can carry.
        languages: calls by language, of those that can be drawn and have one.
        seen: the attributes that were asked for and that any call has.
    """

    cells: dict[Cell, list[str]] = field(default_factory=dict)
    failed: int = 0
    text_removed: int = 0
    unnamable: int = 0
    languages: Counter[str] = field(default_factory=Counter)
    seen: set[str] = field(default_factory=set)

    @property
    def calls(self) -> int:
        """How many can be drawn."""
        return sum(map(len, self.cells.values()))


def read_population(storage: Storage, month: str, by: Sequence[str]) -> Population:
    """Which calls of a month can be drawn, by their cells: those that were transcribed, or found without speech.

    Args:
        storage: the data set.
        month: `YYYY-MM`.
        by: what the parts of a cell are.

    Raises:
        QueryError: the data set cannot be read.
    """
    found = Population()
    cells: defaultdict[Cell, list[str]] = defaultdict(list)
    attributes = attributes_of(by)
    names = (*COLUMNS, *attributes)
    asked = "".join(f", {column}" for column in COLUMNS.values()) + ", attributes[?]" * len(attributes)
    sql = f"SELECT call_id, outcome, text_removed_at IS NOT NULL{asked} FROM calls WHERE month = ?"  # noqa: S608  # ours
    with Database(storage) as database, explained():
        answer = database.execute(sql, [*attributes, month])
        while rows := answer.fetchmany(_AT_ONCE):
            for call_id, outcome, text_removed, *values in rows:
                call = dict(zip(names, values, strict=True))
                if outcome == "failed":
                    found.failed += 1
                elif text_removed:
                    found.text_removed += 1
                elif call_id.split() != [call_id]:
                    found.unnamable += 1
                else:
                    columns = {column: call[name] for name, column in COLUMNS.items()}
                    cells[cell_of(call | columns, by)].append(call_id)
                    found.languages.update([call["language"]] if call["language"] else [])
                    found.seen.update(name for name in attributes if call[name] is not None)
    found.cells = dict(cells)
    return found


def read_drawn(storage: Storage, month: str, call_ids: Collection[str]) -> dict[str, dict[str, Any]]:
    """The rows of some calls of a month that are still there, and still have their text, by call_id.

    Raises:
        QueryError: the data set cannot be read.
    """
    sql = f"SELECT {_OF_A_CALL} FROM calls WHERE month = $month AND list_contains($ids, call_id)"  # noqa: S608  # ours
    with Database(storage) as database, explained():
        rows = database.execute(sql, {"month": month, "ids": list(call_ids)}).to_arrow_table().to_pylist()
    return {row["call_id"]: row for row in rows if row["outcome"] != "failed" and row["text_removed_at"] is None}


def read_spoken(storage: Storage, month: str, call_ids: Collection[str]) -> dict[str, list[dict[str, Any]]]:
    """What was said in some calls of a month as they stand now, in order, by call_id.

    Raises:
        QueryError: the data set cannot be read.
    """
    sql = (
        'SELECT call_id, channel, speaker, start, "end", text FROM utterances'
        ' WHERE month = $month AND list_contains($ids, call_id) ORDER BY call_id, "index"'
    )
    spoken: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)
    with Database(storage) as database, explained():
        for row in database.execute(sql, {"month": month, "ids": list(call_ids)}).to_arrow_table().to_pylist():
            spoken[row["call_id"]].append(row)
    return spoken
