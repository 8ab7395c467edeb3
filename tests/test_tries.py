"""A try at a job as a flow run: labels, what it is given, what its states mean."""

from uuid import uuid4

import pytest
from prefect.client.schemas.objects import FlowRun
from prefect.states import Cancelled, Completed, Crashed, Failed, Running, State

from flows.tries import ending_of, never_began, of_the_plan, order_of, tags_of
from tasks.dispatch import How, Order
from tasks.errors import BundleError, SettingsError

ORDER = Order(7, 3, "cpu", 60.0, ("gpu-7",))


def _flow_run(state: State | None, run_count: int = 1, order: Order = ORDER) -> FlowRun:
    return FlowRun(
        id=uuid4(), flow_id=uuid4(), name="a-run", state=state, run_count=run_count, tags=["run:x", *tags_of(order)],
        parameters={"budget_s": order.budget_s}, job_variables={"excluded_nodes": list(order.excluded_nodes)},
    )  # fmt: skip


@pytest.mark.parametrize("order", [ORDER, Order(1), Order(12, 1, "fallback")])
def test_an_order_is_read_from_its_flow_run(order: Order) -> None:
    """All of it."""
    assert order == order_of(_flow_run(None, order=order))


@pytest.mark.parametrize("tags", [[], ["job:1"], ["job:x", "try:1"]])
def test_other_flow_runs_are_no_tries(tags: list[str]) -> None:
    """Such as a job in the process of its parent."""
    assert None is order_of(FlowRun(id=uuid4(), flow_id=uuid4(), name="other", tags=tags))


@pytest.mark.parametrize(
    ("state", "how"),
    [
        (Completed(), "failed"),  # without its record in storage
        (Crashed(), "failed"),
        (Failed(), "failed"),
        (Failed(name="DeviceFailed"), "failed"),
        (Failed(name="WrongDevice"), "refused"),
        (Failed(name="RunIncomplete"), "given_up"),
        (Failed(name="BudgetReached"), "out_of_budget"),
        (Failed(name="BundleError"), "stopped"),
        (Failed(name="ObjectVanished"), "failed"),  # an error of a call, which none ends in
        (Failed(name="errno"), "failed"),
        (Cancelled(), "cancelled"),
    ],
)
def test_what_a_state_means(state: State, how: How) -> None:
    """By its type, or by the name that the job has given it."""
    assert how == ending_of(ORDER, _flow_run(state)).how


def test_what_stops_a_run_is_an_error_of_ours() -> None:
    """With the message that the job has left."""
    error = ending_of(ORDER, _flow_run(Failed(name="BundleError", message="not whole"))).error
    assert isinstance(error, BundleError)
    assert "not whole" == error.message
    assert not isinstance(error, SettingsError)


def test_a_flow_run_that_was_deleted() -> None:
    """Has failed."""
    assert ("failed", "its flow run was deleted") == (ending_of(ORDER, None).how, ending_of(ORDER, None).why)


@pytest.mark.parametrize(
    ("state", "run_count", "expected"), [(Crashed(), 0, True), (Crashed(), 1, False), (Running(), 0, False)]
)
def test_a_flow_run_that_never_began(state: State, run_count: int, expected: bool) -> None:
    """Crashed before there was a process."""
    assert expected == never_began(_flow_run(state, run_count))


def test_jobs_are_given_what_is_of_the_plan() -> None:
    """No folder, device, address or key."""
    given = {
        "archive": {"language": "en"}, "models": {"bundle": "small", "device": "cpu", "folder": "/home"},
        "fallback": {"key_file": "/key"}, "metrics": {"push_url": "http://user:word@gateway"}, "run": {"slots": 3},
        "storage": {"endpoint_url": "http://127.0.0.1:1"}, "vad": {},
    }  # fmt: skip
    assert {"archive": {"language": "en"}, "models": {"bundle": "small"}} == of_the_plan(given)
    assert None is of_the_plan({"run": {"slots": 3}})
    assert None is of_the_plan(None)
