"""Which calls a backfill does anew: by a condition on their rows, by their call_ids, or by both."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass

from tasks.errors import QueryError
from tasks.schemas import CALLS
from tasks.tables import ArrowTable, table_of


@dataclass(frozen=True, slots=True)
class Selection:
    """What a backfill was asked for.

    Without a condition and without call_ids it means every call whose transcript was made under other settings or
    models than today's.

    Attributes:
        where: an SQL condition on the columns of `calls`, `month` included, such as `outcome = 'failed'`.
        call_ids: only these; also those of them that have no row yet.
        again: also calls whose transcript would come out as it is.
    """

    where: str | None = None
    call_ids: frozenset[str] | None = None
    again: bool = False

    @property
    def digest(self) -> str:
        """What tells one request from another; nothing can be read from it."""
        parts = [self.where, sorted(self.call_ids) if self.call_ids is not None else None, self.again]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()

    def check(self) -> None:
        """Make sure that the condition is one.

        Raises:
            QueryError: DuckDB refuses it.
        """
        self.of(table_of([], CALLS), "2026-01")

    def of(self, calls: ArrowTable, month: str) -> Selected:
        """What of a shard is meant.

        Args:
            calls: all rows of its table `calls`.
            month: `YYYY-MM`.

        Raises:
            QueryError: DuckDB refuses the condition.
        """
        return Selected(self, _matching(calls, month, self.where) if self.where is not None else None)


@dataclass(frozen=True, slots=True)
class Selected:
    """What of a shard is meant; `matching` are the call_ids that fulfil the condition, where there is one."""

    selection: Selection
    matching: frozenset[str] | None

    def __call__(self, call_id: str, failed: bool) -> bool:  # noqa: FBT001  # as `planning.plan_backfill` asks
        """Whether a call is meant; one that failed is only where it was asked for."""
        if self.matching is None and self.selection.call_ids is None:
            return not failed or self.selection.again
        by_condition = self.matching is None or call_id in self.matching
        return by_condition and (self.selection.call_ids is None or call_id in self.selection.call_ids)


def _matching(calls: ArrowTable, month: str, where: str) -> frozenset[str]:
    import duckdb

    with duckdb.connect(
        config={"autoinstall_known_extensions": "false", "autoload_known_extensions": "false"}
    ) as connection:
        connection.execute("SET TimeZone = 'UTC'")
        connection.register("rows", calls)
        try:
            connection.execute("CREATE VIEW calls AS SELECT *, getvariable('month') AS month FROM rows")
            connection.execute("SET VARIABLE month = ?", [month])
            # On a line of its own, a comment at its end ends there.
            (statement,) = connection.extract_statements(f"SELECT call_id FROM calls WHERE (\n{where}\n)")  # noqa: S608
            found = connection.execute(statement).fetchall()
        except ValueError as error:
            message = f"--where is one condition on the columns of `calls`, and no statement: {where}"
            raise QueryError(message) from error
        except duckdb.Error as error:
            if len(calls):
                # Its message may hold values of rows, and this one may be kept by Prefect.
                message = (
                    f"DuckDB refuses the condition on a row of {month} ({type(error).__name__}); `callscribe query` "
                    "with the same condition says why"
                )
                raise QueryError(message) from None
            message = f"--where is a condition on the columns of `calls`, and DuckDB refuses it: {error}"
            raise QueryError(message) from error
    return frozenset(call_id for (call_id,) in found)
