"""Metrics: what is counted, and how it leaves the process; scraped over HTTP and pushed to a Pushgateway for real.

The Pushgateway is a small one of our own: it keeps the last push of every group, and lists and deletes groups.
"""

import json
import logging
import socket
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from types import SimpleNamespace
from typing import Literal
from urllib.request import urlopen
from zoneinfo import ZoneInfo

import pynvml
import pytest
from prometheus_client.parser import text_string_to_metric_families
from small_month import CALLS, MONTH, OUTCOMES, SmallMonth, bundles, fill, recognizer
from stand_ins import StandInRecognizer
from typer.testing import CliRunner

from flows.cli import app
from flows.job import transcribe_job
from flows.progress import CallDone, Nobody, watched_by
from tasks.batches import Batches
from tasks.certificate_metrics import CertificateCollector, end_of, expected_months
from tasks.certificates import certificate_key
from tasks.devices import Device
from tasks.gpu_metrics import GpuCollector, watching_gpu
from tasks.logs import working_on
from tasks.metrics import REGISTRY, forget_all
from tasks.metrics_out import delete_jobs, giving_out
from tasks.setting_groups import MetricSettings
from tasks.storage import open_storage

__all__ = ["bundles", "recognizer"]

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


def _samples(text: str) -> Samples:
    """The samples of an exposition, by name and labels, without those of Python's own process."""
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if not sample.name.startswith("process_")
    }


def _of(samples: Samples, name: str) -> dict[frozenset[tuple[str, str]], float]:
    """The samples of a name by their labels, without those of the run and the job."""
    return {
        frozenset((label, value) for label, value in labels if label not in {"run", "run_job"}): value
        for (found, labels), value in samples.items()
        if found == name
    }


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


class Gateway(ThreadingHTTPServer):
    """A Pushgateway: groups by their labels, and what was asked of it."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _GatewayHandler)
        self.groups: dict[frozenset[tuple[str, str]], str] = {}
        self.pushed: list[dict[str, str]] = []
        self.deleted: list[dict[str, str]] = []

    @property
    def url(self) -> str:
        """Where it is."""
        return f"http://127.0.0.1:{self.server_port}"

    def group(self, **labels: str) -> Samples:
        """What was last pushed to a group."""
        return _samples(self.groups[frozenset({"job": "callscribe", **labels}.items())])


class _GatewayHandler(BaseHTTPRequestHandler):
    server: Gateway

    def _labels(self) -> dict[str, str]:
        names = self.path.removeprefix("/metrics/").split("/")
        return dict(zip(names[::2], names[1::2], strict=True))

    def _answer(self, status: int, content: bytes = b"") -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def do_PUT(self) -> None:  # http.server's name
        labels = self._labels()
        self.server.groups[frozenset(labels.items())] = self.rfile.read(int(self.headers["Content-Length"])).decode()
        self.server.pushed.append(labels)
        self._answer(202)

    def do_DELETE(self) -> None:
        labels = self._labels()
        self.server.deleted.append(labels)
        self._answer(202 if self.server.groups.pop(frozenset(labels.items()), None) is not None else 404)

    def do_GET(self) -> None:
        assert "/api/v1/metrics" == self.path
        groups = [{"labels": dict(labels)} for labels in self.server.groups]
        self._answer(200, json.dumps({"status": "success", "data": groups}).encode())

    def log_message(self, format: str, *_: object) -> None:  # noqa: A002  # http.server's name
        """Nobody reads it."""


@pytest.fixture
def gateway() -> Iterator[Gateway]:
    """A Pushgateway on loopback."""
    with Gateway() as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def month(tmp_path: Path, recognizer: StandInRecognizer, bundles: Path) -> SmallMonth:
    """An archive of calls and an empty data set."""
    recognizer.heard = 0
    for name in ("archive", "transcripts"):
        (tmp_path / name).mkdir()
    found = SmallMonth((tmp_path / "archive").as_uri(), (tmp_path / "transcripts").as_uri(), bundles)
    fill(open_storage(found.archive))
    forget_all()
    return found


class Scraper(Nobody):
    """Scrapes a port whenever a call is done, after it was counted."""

    def __init__(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}/metrics"
        self.found: list[Samples] = []

    def done(self, call: CallDone) -> None:
        """Scrape."""
        assert call.month == MONTH
        with urlopen(self.url, timeout=60) as answer:  # noqa: S310  # on loopback
            self.found.append(_samples(answer.read().decode()))


def test_a_run_is_scraped(month: SmallMonth) -> None:
    """While a run works, its port tells how far it is and what its job does; labels name no call."""
    port = _free_port()
    scraper = Scraper(port)
    with watched_by(scraper):
        summary = month.run(metrics={"port": port, "address": "127.0.0.1"})
    assert len(CALLS) == len(scraper.found)
    first, last = scraper.found[0], scraper.found[-1]
    done = _of(last, "callscribe_calls_total")
    assert OUTCOMES == {
        kind: sum(value for labels, value in done.items() if ("outcome", kind) in labels) for kind in OUTCOMES
    }
    assert {"empty_object", "undecodable_audio", ""} == {dict(labels)["error_code"] for labels in done}
    assert summary.audio_s == pytest.approx(_of(last, "callscribe_audio_seconds_total")[frozenset()])
    spent = [_of(found, "callscribe_worker_seconds_total")[frozenset()] for found in scraper.found]
    assert spent == sorted(spent)
    assert spent[0] > 0
    assert {"load", "vad", "recognize", "diarize"} == {
        dict(labels)["stage"] for labels in _of(last, "callscribe_stage_seconds_total")
    }
    (about,) = _of(first, "callscribe_job_info")
    assert {"month": MONTH, "kind": "run", "bundle": "stand-in", "device": "a stand-in", "compute_type": "int8"} == {
        name: value for name, value in about if name != "node"
    }
    assert {frozenset({("state", "planned")}): 1.0, frozenset({("state", "done")}): 0.0} == {
        labels: value
        for labels, value in _of(first, "callscribe_run_jobs").items()
        if ("state", "failed") not in labels
    }
    assert [1.0] == list(_of(last, "callscribe_run_active").values())
    assert [1.0] == list(_of(last, "callscribe_job_active").values())
    progress = [_of(found, "callscribe_job_progress_timestamp_seconds")[frozenset()] for found in scraper.found]
    assert progress == sorted(progress)
    assert progress[-1] >= _of(last, "callscribe_job_checkpoint_timestamp_seconds")[frozenset()] > 0
    values = {value for _, labels in last for _, value in labels}
    assert summary.run_id in values
    assert set() == values & CALLS.keys()
    with pytest.raises(OSError, match="refused"):
        urlopen(scraper.url, timeout=60)  # noqa: S310


def test_a_run_is_pushed(month: SmallMonth, gateway: Gateway) -> None:
    """A run has one group, whatever its id; its end is there, and so is which months are certified."""
    summary = month.run(metrics={"push_url": gateway.url, "push_every_s": 3600.0})
    assert [{"part": "run"}, {"part": "run"}, {"part": "certificates"}] == [
        {name: value for name, value in labels.items() if name != "job"} for labels in gateway.pushed
    ]
    run = gateway.group(part="run")
    assert {"planned": 1.0, "done": 1.0, "failed": 0.0} == {
        dict(labels)["state"]: value for labels, value in _of(run, "callscribe_run_jobs").items()
    }
    assert [0.0] == list(_of(run, "callscribe_run_active").values())
    assert len(CALLS) == sum(_of(run, "callscribe_calls_total").values())
    hours = {dict(labels)["state"]: value for labels, value in _of(run, "callscribe_run_audio_seconds").items()}
    assert hours["done"] == hours["planned"] > 0
    written = _of(gateway.group(part="certificates"), "callscribe_certificate_timestamp_seconds")
    assert [frozenset({("month", MONTH), ("kind", "run")})] == list(written)
    again = month.run(metrics={"push_url": gateway.url})
    assert 2 == len(gateway.groups)
    assert (
        {again.run_id}
        == {dict(labels)["run"] for _, labels in gateway.group(part="run") if "run" in dict(labels)}
        != {summary.run_id}
    )


def test_a_job_of_its_own_is_pushed_and_deleted_by_its_run(month: SmallMonth, gateway: Gateway) -> None:
    """A job's group outlives it; its run deletes the groups of its jobs, and no others."""
    summary = month.run()
    given = month.overrides(metrics={"push_url": gateway.url})
    transcribe_job.fn(month.transcripts, summary.run_id, 1, given)
    others = {"run": "another", "run_job": "0001"}
    settings = MetricSettings(push_url=gateway.url)
    with giving_out(settings, others):
        pass
    job = gateway.group(run=summary.run_id, run_job="0001")
    assert [0.0] == list(_of(job, "callscribe_job_active").values())
    assert {(summary.run_id, "0001")} == {
        (dict(labels)["run"], dict(labels)["run_job"]) for name, labels in job if name.startswith("callscribe_")
    }
    delete_jobs(settings, summary.run_id)
    assert [{"job": "callscribe", "run": summary.run_id, "run_job": "0001"}] == gateway.deleted
    assert [{"job": "callscribe", **others}] == [dict(labels) for labels in gateway.groups]


def test_nobody_to_give_metrics_to(month: SmallMonth, caplog: pytest.LogCaptureFixture) -> None:
    """A port that is taken and a Pushgateway that is away are warnings, and the run does its work."""
    with socket.socket() as taken, caplog.at_level(logging.WARNING, "tasks.metrics_out"):
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        away = f"http://127.0.0.1:{_free_port()}"
        summary = month.run(
            metrics={
                "port": taken.getsockname()[1],
                "address": "127.0.0.1",
                "push_url": away,
                "push_every_s": 3600.0,
            }
        )
    assert summary.accounted
    said = [record.getMessage() for record in caplog.records if record.name == "tasks.metrics_out"]
    assert 1 == sum("metrics.port" in line for line in said)
    # The pushes of the run, the deletion of its jobs, the certificates: each complains once.
    assert 3 == sum("metrics.push_url" in line for line in said)


def test_batches_are_counted() -> None:
    """Each batch that was done, and each halving, for the job that is worked on; from any thread."""
    forget_all()

    def step(batch: Sequence[int]) -> None:
        if len(batch) > 2:
            raise MemoryError

    with working_on("run-1", 3):
        Batches(4, workers=2).run(range(8), step, lambda *_: None)
    assert 4.0 == REGISTRY.get_sample_value("callscribe_batches_total", {"run": "run-1", "run_job": "0003"})
    assert 1.0 == REGISTRY.get_sample_value("callscribe_batch_halvings_total", {"run": "run-1", "run_job": "0003"})


class _NvmlError(Exception):
    """What the driver refuses."""


class Driver:
    """A driver that knows one GPU, as pynvml tells it; `use` None: it does not tell how much it computes."""

    NVMLError = _NvmlError
    nvmlMemory_v2 = pynvml.nvmlMemory_v2  # noqa: N815  # pynvml's names

    def __init__(self, use: int | None = 87) -> None:
        self.use = use
        self.there = True

    def nvmlInit(self) -> None:  # noqa: N802  # pynvml's names
        if not self.there:
            raise _NvmlError

    def nvmlDeviceGetHandleByUUID(self, uuid: str) -> str:  # noqa: N802
        return uuid

    def nvmlDeviceGetName(self, handle: str) -> str:  # noqa: N802
        assert "GPU-1" == handle
        return "NVIDIA H100"

    def nvmlDeviceGetMemoryInfo(self, _handle: str, version: int | None = None) -> SimpleNamespace:  # noqa: N802
        reserved = 5
        return SimpleNamespace(used=30 if version == self.nvmlMemory_v2 else 30 + reserved, total=80)

    def nvmlDeviceGetUtilizationRates(self, _handle: str) -> SimpleNamespace:  # noqa: N802
        if self.use is None:
            raise _NvmlError
        return SimpleNamespace(gpu=self.use)


def _gpu(driver: Driver) -> dict[str, float]:
    return {
        sample.name.removeprefix("callscribe_gpu_"): sample.value
        for family in GpuCollector("GPU-1", driver).collect()
        for sample in family.samples
    }


def test_a_gpu_is_shown() -> None:
    """Its use and memory, as far as the driver tells them; nothing where there is no driver.

    On an H200 the memory in use was told as 615 MiB more than by nvidia-smi: what the driver keeps for itself.
    """
    assert {"utilisation_ratio": 0.87, "memory_used_bytes": 30, "memory_bytes": 80} == _gpu(Driver())
    assert {"memory_used_bytes": 30, "memory_bytes": 80} == _gpu(Driver(use=None))
    gone = Driver()
    gone.there = False
    assert {} == _gpu(gone)


@pytest.mark.parametrize("kind", ["cpu", "cuda"])
def test_a_gpu_that_is_not_there_is_absent(kind: Literal["cpu", "cuda"]) -> None:
    """Whatever the device is called, and whether or not a driver can be asked, there is no error."""
    import torch

    if kind == "cuda" and torch.cuda.is_available():
        pytest.skip("there is a GPU")
    with watching_gpu(Device(kind, 0, "a device", "int8")):
        assert [] == [one for one in REGISTRY.collect() if one.name.startswith("callscribe_gpu") and one.samples]


@pytest.mark.parametrize(
    ("now", "first", "months"),
    [
        ("2026-11-02", None, ["2026-10"]),
        ("2026-11-02", "2026-11", []),
        ("2026-11-30", "2026-09", ["2026-10", "2026-09"]),
        ("2026-01-01", "2020-01", ["2025-12", "2025-11", "2025-10"]),
    ],
)
def test_which_months_should_be_certified(now: str, first: str | None, months: list[str]) -> None:
    """The last that have ended, since the first that ever was."""
    assert months == expected_months(datetime.fromisoformat(now), first)


def test_when_a_month_has_ended() -> None:
    """In the archive's time zone."""
    assert "2026-01-01T00:00:00+01:00" == end_of("2025-12", ZoneInfo("Europe/Berlin")).isoformat()


def _certified(collector: CertificateCollector) -> dict[str, dict[str, float]]:
    """The values of each metric by month."""
    return {
        family.name.removeprefix("callscribe_"): {
            sample.labels.get("month", ""): sample.value for sample in family.samples
        }
        for family in collector.collect()
    }


def _at(text: str) -> Callable[[ZoneInfo], datetime]:
    return lambda zone: datetime.fromisoformat(text).replace(tzinfo=zone)


def test_a_month_without_a_certificate_is_told(month: SmallMonth) -> None:
    """From the chain alone: not before a run has ended, and not of months before the first."""
    december = _at("2026-12-06")
    nothing = _certified(CertificateCollector(month.storage, "UTC", now=december))
    assert ({"2026-11": 0.0}, {"": 1.0}) == (nothing["month_certified"], nothing["certificates_readable"])
    summary = month.run()
    found = _certified(CertificateCollector(month.storage, "UTC", now=december))
    assert {"2026-11": 0.0, "2026-10": 1.0} == found["month_certified"]
    assert {"2026-11": 1796083200.0, "2026-10": 1793491200.0} == found["month_ended_timestamp_seconds"]
    assert ({"": 1.0}, {MONTH: float(summary.missing)}) == (
        found["certificates"],
        found["certificate_missing_calls"],
    )


def test_certificates_are_read_once_and_what_is_known_stays(month: SmallMonth, monkeypatch: pytest.MonkeyPatch) -> None:
    """A later certificate is seen; a damaged one is told, and what was read before it holds."""
    storage = month.storage
    asked: list[str] = []
    get = type(storage).get
    monkeypatch.setattr(type(storage), "get", lambda self, key: (asked.append(key), get(self, key))[1])
    month.run()
    collector = CertificateCollector(storage, "UTC", refresh_s=0.0, now=_at("2026-11-06"))
    assert {"2026-10": 1.0} == _certified(collector)["month_certified"]
    month.run()
    del asked[:]
    assert {"": 2.0} == _certified(collector)["certificates"]
    assert [certificate_key(2)] == [key for key in asked if key.startswith("_certificates/")]
    month.run()
    storage.put(certificate_key(3), b"{")
    told = _certified(collector)
    assert ({"": 0.0}, {"2026-10": 1.0}) == (told["certificates_readable"], told["month_certified"])


def test_the_command(month: SmallMonth, gateway: Gateway, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It prints, writes a file and pushes; without a place to push to it says so."""
    month.run()
    runner = CliRunner()
    arguments = ["metrics", "--transcripts", month.transcripts]
    printed = runner.invoke(app, arguments)
    assert "callscribe_certificates 1.0" in printed.output
    file = tmp_path / "callscribe.prom"
    monkeypatch.setenv("CALLSCRIBE_METRICS__PUSH_URL", gateway.url)
    assert 0 == runner.invoke(app, [*arguments, "--out", str(file), "--push"]).exit_code
    names = {name for name, _ in _samples(file.read_text())}
    assert {"callscribe_certificates", "callscribe_certificate_timestamp_seconds"} <= names
    assert _samples(file.read_text()).keys() == gateway.group(part="certificates").keys()
    monkeypatch.delenv("CALLSCRIBE_METRICS__PUSH_URL")
    refused = runner.invoke(app, [*arguments, "--push"])
    assert "metrics.push_url is not set" in str(refused.exception)
