"""Asking Prefect's API about flow runs: what is no answer, what is a refusal, and what is asked more than once."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from typing import TypeVar
from uuid import UUID

import httpx
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterTags
from prefect.client.schemas.objects import FlowRun
from prefect.client.schemas.sorting import FlowRunSort
from prefect.exceptions import ObjectNotFound, PrefectHTTPStatusError
from prefect.states import Cancelled, Cancelling

from flows.tries import order_of
from tasks.errors import SettingsError
from tasks.runs import RunHead

T = TypeVar("T")
# Flow runs in one answer of the API, which gives no more.
PAGE = 200
# What the API says in passing: asked too much, or not at its best.
PASSING = {408, 425, 429}
# How often it is asked at the start of a run, before that is given up.
FIRST_TRIES, FIRST_PAUSE_S = 10, 5.0
MOST_SAID = 300


class NotAnswered(Exception):
    """Prefect's API is away, or not at its best: asked again, it may say something else."""


def asked(ask: Callable[[], T]) -> T:
    """What the API says.

    Raises:
        NotAnswered: nothing, or nothing of use.
        SettingsError: it refuses, and always will.
        ObjectNotFound: what is asked about is not there, where the client says so.
    """
    try:
        return ask()
    except httpx.TransportError as error:
        message = f"Prefect's API does not answer ({type(error).__name__})"
        raise NotAnswered(message) from error
    except PrefectHTTPStatusError as error:
        status = error.response.status_code
        if status in PASSING or status >= httpx.codes.INTERNAL_SERVER_ERROR:
            message = f"Prefect's API answers with {status}"
            raise NotAnswered(message) from error
        said = " ".join(error.response.text.split())[:MOST_SAID]
        message = f"Prefect's API refuses ({status}): {said}; look at PREFECT_API_URL, its key, and the deployment"
        raise SettingsError(message) from error


def patiently(ask: Callable[[], T]) -> T:
    """What the API says, which may not answer at once.

    Raises:
        SettingsError: it refuses, or has not answered for the better part of a minute and longer.
    """
    for _ in range(FIRST_TRIES - 1):
        try:
            return asked(ask)
        except NotAnswered:
            time.sleep(FIRST_PAUSE_S)
    try:
        return asked(ask)
    except NotAnswered as error:
        message = f"{error}, {FIRST_TRIES} times; look at PREFECT_API_URL"
        raise SettingsError(message) from error


def tagged(client: SyncPrefectClient, tag: str) -> Iterator[FlowRun]:
    """All flow runs with a tag, of whatever deployment: another one may have been named since they were submitted."""
    offset = 0
    wanted = FlowRunFilter(tags=FlowRunFilterTags(all_=[tag]))
    while page := client.read_flow_runs(flow_run_filter=wanted, sort=FlowRunSort.ID_DESC, limit=PAGE, offset=offset):
        yield from page
        offset += len(page)


def cancel(client: SyncPrefectClient, flow_run_id: UUID) -> bool:
    """Have a flow run cancelled by whoever has it; True, also where it is gone."""
    with suppress(ObjectNotFound):
        client.set_flow_run_state(flow_run_id, Cancelling(message="taken back by its run"))
    return True


def end(client: SyncPrefectClient, flow_run_id: UUID) -> None:
    """Cancel a flow run that nobody has."""
    with suppress(ObjectNotFound):
        client.set_flow_run_state(flow_run_id, Cancelled(message="taken back by its run"), force=True)


def withdraw_all(head: RunHead) -> int:
    """Cancel all flow runs of a run that nobody will go on with; how many those are.

    Flow runs that are at work end in good order, as when somebody cancels them.

    Raises:
        SettingsError: Prefect's API refuses, or does not answer.
    """
    with get_client(sync_client=True) as client:
        found = patiently(lambda: list(tagged(client, f"{head.kind}:{head.run_id}")))
        left = [run for run in found if order_of(run) and (run.state is None or not run.state.is_final())]
        for run in left:
            patiently(partial(cancel, client, run.id))
    return len(left)
