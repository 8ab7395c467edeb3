"""A run's jobs as flow runs of a deployment: one for each try, taken up by the workers of a work pool.

What became of a job is read from storage; the state of its flow run only says whether a try is still under way. All
tries are asked for together, once in an interval, so that Prefect's API is asked the less the longer that is, and
never once for each. Where the API does not answer, the tries go on, and it is asked again.
"""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from typing import Any
from uuid import UUID

import httpx
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import (
    DeploymentFilter,
    DeploymentFilterId,
    FlowRunFilter,
    FlowRunFilterId,
    FlowRunFilterTags,
)
from prefect.client.schemas.objects import FlowRun, StateType
from prefect.exceptions import ObjectNotFound, PrefectHTTPStatusError
from prefect.runtime import flow_run as own_run
from prefect.states import Cancelling

from flows.job import WRONG_DEVICE, Overrides
from flows.progress import watcher
from tasks import errors
from tasks.dispatch import Earlier, Ending, How, Order, Way
from tasks.errors import SettingsError, UsageError
from tasks.job_record import done_jobs
from tasks.runs import RunHead
from tasks.setting_groups import RunSettings
from tasks.storage import Storage

# Flow runs in one answer of the API, which gives no more.
PAGE = 200
# So many more tries are submitted than there are slots, so that no slot waits for the next look.
AHEAD = 0.1
NOT_BEGUN = {StateType.SCHEDULED, StateType.PENDING}
NOT_ANSWERED = (httpx.TransportError, PrefectHTTPStatusError)
# How a try ended, by the name of the state that it gave its flow run (`flows.job`).
ENDINGS: dict[str, How] = {WRONG_DEVICE: "refused", "RunIncomplete": "given_up", "BudgetReached": "out_of_budget"}


class DeployedJobs:
    """Tries as flow runs of a deployment.

    Args:
        storage: of the data set.
        head: the run's plan.
        settings: which deployments, how many at a time, and how often to ask.
        overrides: settings that the flow runs are given.

    Raises:
        SettingsError: there is no such deployment.
    """

    only_device = False
    reports_calls = False

    def __init__(self, storage: Storage, head: RunHead, settings: RunSettings, overrides: Overrides | None) -> None:
        self._storage = storage
        self._head = head
        self._settings = settings
        self._overrides = overrides
        self._client: SyncPrefectClient = get_client(sync_client=True)
        self._deployments = self._find_deployments()
        self._tag = f"{head.kind}:{head.run_id}"
        self._unsent: list[Order] = []
        self._flow_runs: dict[Order, UUID] = {}
        self._idle: set[int] = set()
        self._withdrawn: set[Order] = set()
        self._next_look = 0.0
        self._unanswered_since: float | None = None

    def slots(self, way: Way) -> int:
        """Those of the settings, and of the workers as planned a tenth more."""
        if way == "planned":
            return math.ceil(self._settings.slots * (1 + AHEAD))
        return self._settings.without_gpu_slots if way == self._settings.without_gpu else 0

    def resume(self) -> Earlier:
        """What flow runs an earlier process has left: those under way are waited for, those that failed count."""
        under_way: dict[int, Order] = {}
        tries: Counter[int] = Counter()
        failures: Counter[int] = Counter()
        for run in self._all_flow_runs():
            order = _order_of(run)
            tries[order.job] = max(tries[order.job], order.number)
            if run.state is None or not run.state.is_final():
                under_way[order.job] = order
                self._flow_runs[order] = run.id
                if run.state is None or run.state.type in NOT_BEGUN:
                    self._idle.add(order.job)
            elif self._ending(order, run).how == "failed":
                failures[order.job] += 1
        return Earlier(tuple(under_way.values()), tries, failures)

    def start(self, order: Order) -> None:
        """Submit a flow run, now or when the API answers again."""
        self._unsent.append(order)
        self._idle.add(order.job)

    def wait(self) -> list[Ending]:
        """Submit what is to be submitted, sleep until the next look, and look."""
        try:
            self._submit()
            time.sleep(max(0.0, self._next_look - time.monotonic()))
            self._next_look = time.monotonic() + self._settings.poll_s
            runs = self._under_way()
            self._unanswered_since = None
        except NOT_ANSWERED as error:
            self._note_silence(error)
            runs = None
        done = done_jobs(self._storage, self._head.run_id)
        endings = [Ending(order, "done") for order in self._flow_runs if order.job in done]
        if runs is not None:
            endings += [self._ending(order, runs.get(flow_run_id)) for order, flow_run_id in self._ended(runs, done)]
            self._idle = {
                order.job
                for order, flow_run_id in self._flow_runs.items()
                if (run := runs.get(flow_run_id)) and run.state and run.state.type in NOT_BEGUN
            } | {order.job for order in self._unsent}
        for ending in endings:
            self._flow_runs.pop(ending.order)
            self._withdrawn.discard(ending.order)
            self._idle.discard(ending.order.job)
        return endings

    def idle(self) -> Collection[int]:
        """Those whose flow run has not begun."""
        return frozenset(self._idle)

    def withdraw(self, jobs: Collection[int]) -> None:
        """Cancel flow runs that have not begun; one that begins meanwhile does its work."""
        for order, flow_run_id in list(self._flow_runs.items()):
            if order.job in jobs and order.job in self._idle:
                self._withdrawn.add(order)
                self._cancel(flow_run_id)
        # What was never submitted is submitted all the same: `wait` then finds it cancelled or done, as any other.

    def leave(self) -> None:
        """Flow runs go on, and the next process waits for them; unless somebody cancels this one, and so all."""
        with_us = self._own_run_is_cancelled()
        for flow_run_id in self._flow_runs.values() if with_us else ():
            self._cancel(flow_run_id)

    # ------------------------------------------------------------------------------------------------ asking

    def _submit(self) -> None:
        while self._unsent:
            order = self._unsent[0]
            name = f"{self._head.run_id}-job-{order.job:04d}-try-{order.number}"
            parameters: dict[str, Any] = {
                "transcripts": self._storage.uri,
                "run_id": self._head.run_id,
                "job": order.job,
                "overrides": self._overrides,
                "budget_s": order.budget_s,
            }
            if order.way != "planned":
                parameters["instead"] = order.way
            run = self._client.create_flow_run_from_deployment(
                self._deployments[order.way],
                parameters=parameters,
                name=name,
                tags=[self._tag, f"month:{self._head.month}", *_tags_of(order)],
                # A second request for the same try, after an answer that was lost, makes no second flow run.
                idempotency_key=name,
                job_variables={"excluded_nodes": list(order.excluded_nodes)} if order.excluded_nodes else None,
            )
            self._flow_runs[order] = run.id
            del self._unsent[0]

    def _under_way(self) -> dict[UUID, FlowRun]:
        """The flow runs that are waited for, as they are now; one that was deleted is missing."""
        wanted = list(self._flow_runs.values())
        found: dict[UUID, FlowRun] = {}
        for start in range(0, len(wanted), PAGE):
            some = FlowRunFilter(id=FlowRunFilterId(any_=wanted[start : start + PAGE]))
            found |= {run.id: run for run in self._client.read_flow_runs(flow_run_filter=some, limit=PAGE)}
        return found

    def _ended(self, runs: dict[UUID, FlowRun], done: Collection[int]) -> Iterator[tuple[Order, UUID]]:
        for order, flow_run_id in self._flow_runs.items():
            run = runs.get(flow_run_id)
            if order.job not in done and (run is None or (run.state is not None and run.state.is_final())):
                yield order, flow_run_id

    def _ending(self, order: Order, run: FlowRun | None) -> Ending:
        """How a try ended whose flow run has, and whose job is not done."""
        if order in self._withdrawn and (run is None or run.state is None or run.state.is_cancelled()):
            return Ending(order, "withdrawn")
        if run is None or run.state is None:
            return Ending(order, "failed", "its flow run was deleted")
        state = run.state
        why = f"flow run {run.name} is {state.name}: {state.message or 'no message'}"
        if state.is_cancelled():
            return Ending(order, "cancelled", why)
        name = state.name or ""
        if (how := ENDINGS.get(name)) is not None:
            return Ending(order, how, state.message or why)
        kind = getattr(errors, name, None)
        if isinstance(kind, type) and issubclass(kind, UsageError):
            return Ending(order, "stopped", why, kind(state.message or why))
        return Ending(order, "failed", why)

    def _all_flow_runs(self) -> Iterator[FlowRun]:
        deployments = DeploymentFilter(id=DeploymentFilterId(any_=sorted(set(self._deployments.values()))))
        tagged = FlowRunFilter(tags=FlowRunFilterTags(all_=[self._tag]))
        offset = 0
        while page := self._client.read_flow_runs(
            flow_run_filter=tagged, deployment_filter=deployments, limit=PAGE, offset=offset
        ):
            yield from page
            offset += len(page)

    def _find_deployments(self) -> dict[Way, UUID]:
        names: dict[Way, str] = {"planned": self._settings.deployment or ""}
        if self._settings.without_gpu != "wait":
            names[self._settings.without_gpu] = self._settings.without_gpu_deployment
        found: dict[Way, UUID] = {}
        for way, name in names.items():
            try:
                found[way] = self._client.read_deployment_by_name(name).id
            except (ObjectNotFound, ValueError) as error:
                message = (
                    f"Prefect knows no deployment {name!r}: `prefect deploy --all` registers those of prefect.yaml"
                )
                raise SettingsError(message) from error
        return found

    def _cancel(self, flow_run_id: UUID) -> None:
        try:
            self._client.set_flow_run_state(flow_run_id, Cancelling(message="taken back by its run"))
        except (ObjectNotFound, *NOT_ANSWERED):
            return  # the next look shows what became of it

    def _own_run_is_cancelled(self) -> bool:
        run_id = own_run.get_id()
        if not run_id:
            return False
        try:
            state = self._client.read_flow_run(UUID(run_id)).state
        except (ObjectNotFound, *NOT_ANSWERED):
            return False
        return state is not None and state.type in {StateType.CANCELLING, StateType.CANCELLED}

    def _note_silence(self, error: Exception) -> None:
        now = time.monotonic()
        if self._unanswered_since is None:
            self._unanswered_since = now
            watcher().note(f"Prefect's API does not answer ({type(error).__name__}); jobs go on, and it is asked again")
        self._next_look = now + self._settings.poll_s
        time.sleep(self._settings.poll_s)


def _tags_of(order: Order) -> Sequence[str]:
    return (f"job:{order.job:04d}", f"try:{order.number}", f"way:{order.way}")


def _order_of(run: FlowRun) -> Order:
    """The order that a flow run was made for."""
    said = dict(tag.split(":", 1) for tag in run.tags if ":" in tag)
    way: Way = "planned"
    if said.get("way") in {"cpu", "fallback"}:
        way = "cpu" if said["way"] == "cpu" else "fallback"
    excluded = tuple((run.job_variables or {}).get("excluded_nodes", ()))
    return Order(int(said["job"]), int(said["try"]), way, run.parameters.get("budget_s"), excluded)
