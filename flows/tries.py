"""A try at a job as a flow run: how it is labelled, what it is given, what its states mean. Nothing is asked here."""

from __future__ import annotations

from collections.abc import Sequence

from prefect.client.schemas.objects import FlowRun

from flows.job import WRONG_DEVICE, Overrides
from tasks import errors
from tasks.dispatch import Ending, How, Order, Way
from tasks.errors import UsageError

# Overrides that say how calls are transcribed, and so go to the jobs.
OF_THE_PLAN = ("archive", "audio", "vad", "recognizer", "diarization", "utterances", "decoder")
OF_THE_MODELS = ("bundle", "compute_type")
# How a try ended, by the name of the state that it gave its flow run (`flows.job`).
ENDINGS: dict[str, How] = {
    WRONG_DEVICE: "refused",
    "DeviceFailed": "failed",
    "RunIncomplete": "given_up",
    "BudgetReached": "out_of_budget",
}


def of_the_plan(overrides: Overrides | None) -> Overrides | None:
    """What of some settings goes to jobs that are done elsewhere: how calls are transcribed, and with which bundle.

    Folders, devices, addresses and keys are of the place where a job is done, and Prefect keeps what it is given.

    >>> of_the_plan({"vad": {"pad_ms": 300}, "models": {"bundle": "small", "device": "cpu"}, "run": {"slots": 3}})
    {'vad': {'pad_ms': 300}, 'models': {'bundle': 'small'}}
    """
    if overrides is None:
        return None
    given = {group: values for group, values in overrides.items() if group in OF_THE_PLAN}
    models = {name: value for name, value in overrides.get("models", {}).items() if name in OF_THE_MODELS}
    return {group: values for group, values in {**given, "models": models}.items() if values} or None


def tags_of(order: Order) -> Sequence[str]:
    """The tags by which `order_of` knows a try."""
    return (f"job:{order.job:04d}", f"try:{order.number}", f"way:{order.way}")


def order_of(run: FlowRun) -> Order | None:
    """The order that a flow run was made for; None of a flow run that is no try at a job."""
    said = dict(tag.split(":", 1) for tag in run.tags if ":" in tag)
    try:
        job, number = int(said["job"]), int(said["try"])
    except (KeyError, ValueError):
        return None
    way: Way = "planned"
    if said.get("way") in {"cpu", "fallback"}:
        way = "cpu" if said["way"] == "cpu" else "fallback"
    excluded = tuple((run.job_variables or {}).get("excluded_nodes", ()))
    return Order(job, number, way, run.parameters.get("budget_s"), excluded)


def never_began(run: FlowRun) -> bool:
    """Whether a flow run crashed before there was a process for it."""
    return run.state is not None and run.state.is_crashed() and not run.run_count


def why_of(run: FlowRun) -> str:
    """What the state of a flow run says, as a sentence."""
    state = run.state
    return (
        f"flow run {run.name} is {state.name}: {state.message or 'no message'}" if state else f"{run.name} has no state"
    )


def ending_of(order: Order, run: FlowRun | None) -> Ending:
    """How a try ended whose flow run is in a final state, or was deleted, and whose job is not done."""
    if run is None or run.state is None:
        return Ending(order, "failed", "its flow run was deleted")
    why, name = why_of(run), run.state.name or ""
    if run.state.is_cancelled():
        return Ending(order, "cancelled", why)
    if (how := ENDINGS.get(name)) is not None:
        return Ending(order, how, run.state.message or why)
    kind = getattr(errors, name, None)
    if isinstance(kind, type) and issubclass(kind, UsageError):
        return Ending(order, "stopped", why, kind(run.state.message or why))
    return Ending(order, "failed", why)
