"""Runs over months that nobody works on: which are submitted again, and with what, and which are left to people."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any
from uuid import UUID, uuid4

import pytest
from prefect.client.schemas.filters import FlowRunFilter
from prefect.client.schemas.objects import FlowRun, StateType
from prefect.states import Cancelled, Completed, Crashed, Failed, Running, Scheduled, State

from flows.reconciler import MOST_RESTARTS, Parents, require_some_jobs
from tasks.errors import ClusterUnreachable
from tasks.settings import Settings
from tasks.stale import Finding

NOW = datetime.now(UTC)
RUN = Finding("restart", "20261102T020000000Z-abcdef", "run over 2026-10", "it has not ended")
BACKFILL = Finding("restart", "20261102T020000000Z-abcdef", "backfill over 2026-03", "it has not ended")


def _flow_run(state: State, days_ago: float = 0.1, **parameters: Any) -> FlowRun:  # noqa: ANN401  # of any flow
    return FlowRun(
        id=uuid4(), flow_id=uuid4(), deployment_id=uuid4(), name=f"a-{state.name}-run", state=state,
        state_type=state.type, state_name=state.name, parameters=parameters, start_time=NOW - timedelta(days=days_ago),
    )  # fmt: skip


@dataclass
class Api:
    """What Prefect's API says of some flow runs, the newest first; and what it was asked to begin."""

    runs: Sequence[FlowRun]
    begun: list[tuple[UUID, dict[str, Any], str]] = field(default_factory=list)

    def read_flow_runs(self, *, flow_run_filter: FlowRunFilter, offset: int = 0, **_: object) -> list[FlowRun]:
        """Those in the states that are asked for, on one page."""
        assert flow_run_filter.state is not None
        assert flow_run_filter.state.type is not None
        states = flow_run_filter.state.type.any_ or []
        found = [run for run in self.runs if run.state_type in states]
        return sorted(found, key=lambda run: run.start_time or NOW, reverse=True) if not offset else []

    def create_flow_run_from_deployment(
        self, deployment: UUID, *, parameters: dict[str, Any], idempotency_key: str
    ) -> SimpleNamespace:
        """Take note."""
        self.begun.append((deployment, parameters, idempotency_key))
        return SimpleNamespace(name="again")


def _parents(api: Api) -> Parents:
    return Parents(api, Settings())  # type: ignore[arg-type]  # as much of a client as is used


def test_a_parent_that_crashed_is_submitted_again() -> None:
    """Once, with its parameters and its month, which may have been that before the one in which it began."""
    crashed = _flow_run(Crashed(), month=None, archive="s3://calls")
    crashed.start_time = datetime(2026, 11, 2, tzinfo=UTC)
    api = Api([crashed])
    assert "submitted again as again" == _parents(api).restart(RUN)
    assert [(crashed.deployment_id, {"month": "2026-10", "archive": "s3://calls"}, f"after-{crashed.id}")] == api.begun


@pytest.mark.parametrize(("months", "expected"), [("2026-01..2026-09", "2026-03..2026-09"), ("2026-03", "2026-03")])
def test_a_backfill_goes_on_from_the_month_that_it_was_at(months: str, expected: str) -> None:
    """What is done of it is not done again."""
    api = Api([_flow_run(Crashed(), months=months, again=True)])
    assert "submitted again as again" == _parents(api).restart(BACKFILL)
    assert [{"months": expected, "again": True}] == [parameters for _, parameters, _ in api.begun]


@pytest.mark.parametrize("state", [Cancelled(), Completed()])
def test_a_parent_that_was_meant_to_stop_stays_so(state: State) -> None:
    """Whatever an earlier one came to."""
    api = Api([_flow_run(state, month="2026-10"), _flow_run(Crashed(), 1.5, month="2026-10")])
    assert f"is {state.name}; start it if you want it" in _parents(api).restart(RUN)
    assert [] == api.begun


def test_a_parent_that_crashes_again_and_again_is_left_to_people() -> None:
    """Within a day; older crashes are forgotten."""
    recent = [_flow_run(Crashed(), 0.1 * number, month="2026-10") for number in range(MOST_RESTARTS)]
    api = Api(recent)
    assert f"it has crashed {MOST_RESTARTS} times within a day" in _parents(api).restart(RUN)
    assert [] == api.begun
    api = Api([*recent[1:], _flow_run(Crashed(), 3, month="2026-10")])
    assert "submitted again as again" == _parents(api).restart(RUN)


@pytest.mark.parametrize(
    "runs", [[], [_flow_run(Crashed(), month="2026-09")], [_flow_run(Failed(), months="next week")]]
)
def test_a_run_that_prefect_knows_nothing_of(runs: list[FlowRun]) -> None:
    """Such as one that was begun on the command line; flow runs for other months, or for nonsense, are none of it."""
    api = Api(runs)
    assert "Prefect knows no flow run that began it" in _parents(api).restart(RUN)
    assert [] == api.begun


@pytest.mark.parametrize(
    ("run", "busy"),
    [
        (_flow_run(Running(), month="2026-10"), {("run", "2026-10"): True}),
        (_flow_run(Scheduled(), month="2026-10"), {("run", "2026-10"): True}),
        (
            _flow_run(Running(), months="2026-03..2026-04"),
            {("backfill", "2026-03"): True, ("backfill", "2026-04"): True},
        ),
        (_flow_run(Scheduled(), months="2026-13"), {}),
        (_flow_run(Crashed(), month="2026-10"), {}),
    ],
)
def test_for_which_months_somebody_is_at_work(run: FlowRun, busy: dict[tuple[str, str], bool]) -> None:
    """Or about to be; what a schedule has planned for later is not."""
    assert busy == _parents(Api([run])).busy()
    if run.state_type == StateType.SCHEDULED:
        run.auto_scheduled = True
        assert {} == _parents(Api([run])).busy()


@pytest.mark.parametrize(("count", "believed"), [(0, True), (2, True), (3, False)])
def test_a_cluster_without_any_job(count: int, believed: bool) -> None:
    """Is taken for the wrong one where several flow runs are under way, for longer than the grace."""
    old: Callable[[], State] = lambda: Running(timestamp=NOW - timedelta(hours=1))  # noqa: E731
    runs = [*(_flow_run(old()) for _ in range(count)), _flow_run(Running())]
    if believed:
        require_some_jobs(runs, Settings())
        return
    with pytest.raises(ClusterUnreachable, match="--all-lost"):
        require_some_jobs(runs, Settings())
