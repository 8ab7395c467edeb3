"""A run's jobs as flow runs of a deployment: one for each try, taken up by the workers of a work pool.

What became of a job is read from storage; the state of its flow run only says whether a try is still under way. All
tries are asked for together, once in an interval, so that Prefect's API is asked the less the longer that is, and
never once for each. Where the API does not answer, the tries go on, and it is asked again.
"""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from functools import partial
from typing import Any, TypeVar
from uuid import UUID

from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId
from prefect.client.schemas.objects import FlowRun, StateType
from prefect.exceptions import ObjectNotFound
from prefect.runtime import flow_run as own_run

from flows.flow_runs import PAGE, NotAnswered, asked, cancel, end, patiently, tagged
from flows.job import Overrides
from flows.progress import watcher
from flows.tries import ending_of, never_began, of_the_plan, order_of, tags_of, why_of
from tasks.dispatch import Earlier, Ending, Order, Way
from tasks.errors import ClusterUnreachable, SettingsError, StorageUnavailable
from tasks.job_record import done_jobs
from tasks.runs import RunHead
from tasks.setting_groups import RunSettings
from tasks.storage import Storage

T = TypeVar("T")
# So many more tries are submitted than there are slots, so that no slot waits for the next look.
AHEAD = 0.1
NOT_BEGUN = {StateType.SCHEDULED, StateType.PENDING}
CANCELLED = {StateType.CANCELLING, StateType.CANCELLED}
# Tries in a row whose process was never made: after each there is a longer pause, and after so many the run stops.
MOST_FALSE_STARTS, LONGEST_PAUSE_S = 10, 600.0
# A flow run that was taken back and is still being cancelled is cancelled for good after so many looks.
LOOKS_AT_CANCELLING = 3
# The most nodes that the work pools' templates can leave out (k8s/pool_variables.py).
MOST_EXCLUDED = 8


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
        self._overrides = of_the_plan(overrides)
        self._client: SyncPrefectClient = get_client(sync_client=True)
        self._deployments = patiently(self._find_deployments)
        self._tag = f"{head.kind}:{head.run_id}"
        self._unsent: list[Order] = []
        self._flow_runs: dict[Order, UUID] = {}
        self._idle: set[int] = set()
        self._withdrawn: dict[Order, int] = {}
        self._next_look = 0.0
        self._silent = False
        self._false_starts = 0
        self._starts_again_at = 0.0
        self._endings: list[Ending] = []

    def slots(self, way: Way) -> int:
        """Those of the settings, and of the workers as planned a tenth more."""
        if time.monotonic() < self._starts_again_at:
            return 0
        if way == "planned":
            return math.ceil(self._settings.slots * (1 + AHEAD))
        return self._settings.without_gpu_slots if way == self._settings.without_gpu else 0

    def resume(self) -> Earlier:
        """What flow runs an earlier process has left: those under way are waited for, those that failed count."""
        under_way: dict[int, Order] = {}
        tries: Counter[int] = Counter()
        failures: Counter[int] = Counter()
        for run in patiently(lambda: list(tagged(self._client, self._tag))):
            order = order_of(run)
            if order is None:
                continue
            tries[order.job] = max(tries[order.job], order.number)
            if run.state is None or not run.state.is_final():
                if order.number < under_way.get(order.job, order).number:
                    continue  # somebody has started an old one anew: the newest is waited for
                under_way[order.job] = order
                self._flow_runs = {one: of for one, of in self._flow_runs.items() if one.job != order.job}
                self._flow_runs[order] = run.id
                if run.state is None or run.state.type in NOT_BEGUN:
                    self._idle.add(order.job)
            elif not never_began(run) and ending_of(order, run).how == "failed":
                failures[order.job] += 1
        return Earlier(tuple(under_way.values()), tries, failures)

    def start(self, order: Order) -> None:
        """Submit a flow run, now or when the API answers again."""
        self._unsent.append(order)
        self._idle.add(order.job)

    def wait(self) -> list[Ending]:
        """Submit what is to be submitted, sleep until the next look, and look.

        Raises:
            ClusterUnreachable: again and again, no process was made for a try.
        """
        self._answered(self._submit)
        time.sleep(max(0.0, self._next_look - time.monotonic()))
        self._next_look = time.monotonic() + self._settings.poll_s
        endings, self._endings = self._endings, []
        runs = self._answered(self._under_way)
        try:
            done = done_jobs(self._storage, self._head.run_id)
        except StorageUnavailable as error:  # for how long that may be so, the lease decides
            watcher().note(f"{error.message}; jobs go on, and it is asked again")
            done = set()
        endings += [Ending(order, "done") for order in self._flow_runs if order.job in done]
        if runs is not None:
            endings += [self._ending(order, runs.get(flow_run_id)) for order, flow_run_id in self._ended(runs, done)]
            self._idle = {
                order.job
                for order, flow_run_id in self._flow_runs.items()
                if (run := runs.get(flow_run_id)) and run.state and run.state.type in NOT_BEGUN
            } | {order.job for order in self._unsent}
            if any(run.run_count for run in runs.values()):
                self._false_starts = 0
            self._end_withdrawn(runs)
        for ending in endings:
            self._flow_runs.pop(ending.order, None)
            self._withdrawn.pop(ending.order, None)
            self._idle.discard(ending.order.job)
        return endings

    def idle(self) -> Collection[int]:
        """Those whose flow run has not begun."""
        return frozenset(self._idle)

    def withdraw(self, jobs: Collection[int]) -> None:
        """Cancel flow runs that have not begun, and submit none that was not."""
        # The first may have been submitted, and only its answer lost.
        for order in [order for order in self._unsent[1:] if order.job in jobs]:
            self._unsent.remove(order)
            self._endings.append(Ending(order, "withdrawn"))
        wanted = [order for order in self._flow_runs if order.job in jobs and order not in self._withdrawn]
        now = (self._answered(self._under_way) if wanted else None) or {}
        for order in wanted:
            run = now.get(self._flow_runs[order])
            if run is not None and run.state is not None and run.state.type in NOT_BEGUN:
                if not self._cancel(run.id):
                    return  # the API does not answer: whoever wants them back asks again
                self._withdrawn[order] = 0

    def _end_withdrawn(self, runs: dict[UUID, FlowRun]) -> None:
        """Cancel for good what nobody else does: a worker should, and one that does not hear of it never will.

        A pod that is made nevertheless ends at once, and a Job that stays is removed by the reconciler.
        """
        for order in self._withdrawn:
            run = runs.get(self._flow_runs.get(order, UUID(int=0)))
            if run is None or run.state is None or run.state.type != StateType.CANCELLING or run.run_count:
                continue
            self._withdrawn[order] += 1
            if self._withdrawn[order] >= LOOKS_AT_CANCELLING:
                self._answered(partial(end, self._client, run.id))

    def leave(self) -> None:
        """Flow runs go on, and the next process waits for them; unless somebody cancels this one, and so all."""
        if self._own_run_is_cancelled():
            for flow_run_id in self._flow_runs.values():
                if not self._cancel(flow_run_id):
                    return

    # ------------------------------------------------------------------------------------------------ asking

    def _submit(self) -> None:
        while self._unsent:
            order = self._unsent[0]
            try:
                self._flow_runs[order] = asked(partial(self._created, order))
            except SettingsError as error:
                # No answer to this will ever be another one: the deployment is gone, or takes no such parameters.
                why = f"job {order.job} cannot be begun: {error.message}"
                self._endings.append(Ending(order, "stopped", why, SettingsError(why)))
            del self._unsent[0]

    def _created(self, order: Order) -> UUID:
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
        nodes = list(order.excluded_nodes)[-MOST_EXCLUDED:]
        return self._client.create_flow_run_from_deployment(
            self._deployments[order.way],
            parameters=parameters,
            name=name,
            tags=[self._tag, f"month:{self._head.month}", *tags_of(order)],
            # A second request for the same try, after an answer that was lost, makes no second flow run.
            idempotency_key=name,
            job_variables={"excluded_nodes": nodes} if nodes else None,
        ).id

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
        if run is not None and never_began(run):
            return self._false_start(order, why_of(run))
        return ending_of(order, run)

    def _false_start(self, order: Order, why: str) -> Ending:
        """No process was ever made for a try: that says nothing of its job, and is tried again after a pause."""
        self._false_starts += 1
        if self._false_starts >= MOST_FALSE_STARTS:
            message = f"{self._false_starts} tries in a row came to no process: {why}"
            return Ending(order, "stopped", message, ClusterUnreachable(message))
        pause_s = min(LONGEST_PAUSE_S, self._settings.poll_s * 2 ** (self._false_starts - 1))
        self._starts_again_at = time.monotonic() + pause_s
        watcher().note(f"job {order.job} came to no process, and is begun again after {pause_s:,.0f} s: {why}")
        return Ending(order, "withdrawn", why)

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

    def _cancel(self, flow_run_id: UUID) -> bool:
        """Cancel a flow run; False where the API does not answer."""
        return self._answered(partial(cancel, self._client, flow_run_id)) is not None

    def _own_run_is_cancelled(self) -> bool:
        run_id = own_run.get_id()
        if not run_id:
            return False
        try:
            run = self._answered(lambda: self._client.read_flow_run(UUID(run_id)))
        except ObjectNotFound:
            return False
        return run is not None and run.state is not None and run.state.type in CANCELLED

    def _answered(self, ask: Callable[[], T]) -> T | None:
        """What the API says; None where it does not answer, which is said once."""
        try:
            answer = asked(ask)
        except NotAnswered as error:
            if not self._silent:
                watcher().note(f"{error}; jobs go on, and it is asked again")
            self._silent = True
            return None
        self._silent = False
        return answer
