"""A small month and its runs, as the flow `archive-run` does them, for tests of what goes wrong around them.

Everything is real but the two models (`stand_ins`) and Prefect, which is left out: `without_prefect` lets the flow and
its job run as plain functions, which is fast, also in a process of its own.
"""

import contextlib
import logging
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from stand_ins import BUNDLE, StandInRecognizer, build_bundle, stand_in_models, tone, wav

from flows.archive import archive_run
from flows.job import transcribe_job
from tasks.certificates import read_chain
from tasks.dataset import DataSet
from tasks.models import Models
from tasks.query import connect
from tasks.reconcile import RunSummary
from tasks.schemas import Row
from tasks.storage import Storage, StorageOptions, open_storage
from tasks.verify import verify

MONTH = "2026-10"
CALLS: Mapping[str, bytes] = {
    "mono-0": wav(tone(300)),
    "mono-1": wav(tone(330)),
    "mono-2": wav(tone(360)),
    "mono-3": wav(tone(390)),
    "stereo": wav(tone(420, channels=2)),
    "silent": wav(0 * tone()),
    "damaged": b"RIFF\x24\x00\x00\x00WAVE" + bytes(range(256)) * 20,
    "empty": b"",
}
OUTCOMES = {"failed": 2, "no_speech": 1, "transcribed": 5}
SHARDS = 3
# What says when, by which run and how fast a call was done, and not what came of it.
OF_THE_MOMENT = (
    "transcript_id",
    "transcript_sha256",
    "transcribed_at",
    "run_id",
    "job",
    "attempt",
    "load_s",
    "vad_s",
    "recognize_s",
    "diarize_s",
)
Content = dict[str, tuple[Row, list[Row]]]


@dataclass(frozen=True)
class SmallMonth:
    """An archive of `CALLS`, a place for a data set, and bundles; `endpoint_url` where not that of boto3's chain."""

    archive: str
    transcripts: str
    bundles: Path
    endpoint_url: str | None = None

    def overrides(self, **more: dict[str, Any]) -> dict[str, dict[str, Any]]:
        """Settings under which a month is small, and the store soon given up."""
        plain: dict[str, dict[str, Any]] = {
            "transcripts": {"monthly_hours": float(SHARDS), "hours_per_shard": 1.0},
            "models": {"bundle": BUNDLE, "folder": str(self.bundles)},
            "run": {"job_hours": 1.0, "checkpoint_every_s": 1e-9, "lease_s": 1.5, "loader_threads": 1},
            "storage": {"endpoint_url": self.endpoint_url, "read_timeout_s": 1.0, "connect_timeout_s": 1.0},
        }
        return {group: plain.get(group, {}) | more.get(group, {}) for group in plain | more}

    def run(self, **more: dict[str, Any]) -> RunSummary:
        """Run the month; `without_prefect` must hold."""
        return archive_run.fn(MONTH, self.archive, self.transcripts, self.overrides(**more))

    @property
    def storage(self) -> Storage:
        """The data set."""
        return open_storage(self.transcripts, StorageOptions(endpoint_url=self.endpoint_url))

    @property
    def data(self) -> DataSet:
        """The data set."""
        return DataSet(self.storage)


def fill(archive: Storage, calls: Mapping[str, bytes] = CALLS) -> None:
    """Put calls into an archive."""
    for call_id, content in calls.items():
        archive.put(f"2026/10/05/{call_id}.wav", content)


@contextlib.contextmanager
def without_prefect(models: Models) -> Iterator[None]:
    """Let the flow and its job run as plain functions, with these models."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("flows.crew.transcribe_job", transcribe_job.fn)
        for kind in ("create_link", "create_progress", "create_table", "update_progress"):
            patch.setattr(f"flows.artifacts.{kind}_artifact", lambda **_: None)
        patch.setattr("flows.month.tags", lambda *_: contextlib.nullcontext())
        for module in ("flows.month", "flows.foreman", "flows.device_processes", "flows.job"):
            patch.setattr(f"{module}.get_run_logger", logging.getLogger)
        patch.setattr("flows.job.loaded_models", lambda _settings: models)
        yield


@contextlib.contextmanager
def hasty_retries() -> Iterator[None]:
    """Let boto3 wait 10 ms, and not seconds, before it tries a request again: how often and what stays as it is."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("botocore.retries.standard.ExponentialBackoff.delay_amount", lambda *_: 0.01)
        patch.setattr("tasks.storage_s3._pause_s", lambda _attempt: 0.01)
        yield


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of bundles with the stand-in's."""
    folder = tmp_path_factory.mktemp("bundles")
    build_bundle(folder)
    return folder


@pytest.fixture(scope="module")
def recognizer(bundles: Path) -> Iterator[StandInRecognizer]:
    """The stand-in that hears the calls of all runs in this process; `without_prefect` holds."""
    stand_in = StandInRecognizer()
    with without_prefect(stand_in_models(bundles, stand_in)):
        yield stand_in


def content(storage: Storage) -> Content:
    """What a data set holds of the month, as strict readers see it, without what is of the moment; by call_id.

    It holds, too, that no call and no utterance is there twice.
    """
    with connect(storage) as connection:
        calls = connection.execute("SELECT * FROM calls ORDER BY call_id").to_arrow_table().to_pylist()
        spoken = connection.execute('SELECT * FROM utterances ORDER BY call_id, "index"').to_arrow_table().to_pylist()
    found: Content = {row["call_id"]: (_lasting(row), []) for row in calls}
    assert len(found) == len(calls)
    for row in spoken:
        found[row["call_id"]][1].append(_lasting(row))
    for call_id, (_, said) in found.items():
        assert list(range(len(said))) == [row["index"] for row in said], call_id
    return found


def _lasting(row: Row) -> Row:
    return {name: value for name, value in row.items() if name not in OF_THE_MOMENT}


def assert_certified(month: SmallMonth, summary: RunSummary, calls: Mapping[str, bytes] = CALLS) -> None:
    """Hold that the certificates say of the month what is so, and that it stands as they say."""
    data = month.data
    rows = data.read_calls(MONTH)
    assert sorted(calls) == sorted(row["call_id"] for row in rows)
    assert (len(calls), True, 0) == (summary.listed_objects, summary.accounted, summary.missing)
    chain = [link for link in read_chain(data.storage) if link.kind == "run"]
    assert (summary.run_id, summary.to_json(), True) == (
        chain[-1].subject, chain[-1].content["result"], chain[-1].content["final"]
    )  # fmt: skip
    of_this_run = [row for row in rows if summary.run_id in {row["run_id"], row["last_attempt_run_id"]}]
    assert sum(summary.outcomes.values()) == len(of_this_run)
    checked = verify(data)
    assert ([], len(calls), 0) == (checked.findings, checked.calls, checked.not_certified)
    left = [
        info.key for info in data.storage.list("_runs/") if "/checkpoints/" in info.key or "/in_flight/" in info.key
    ]
    assert [] == [key for key in left if f"/{summary.run_id}/" in key]


def run_until_done(month: SmallMonth, runs: int, between: Callable[[int, Exception], None]) -> RunSummary:
    """Start the month again and again until a run comes to its end and accounts for everything.

    Args:
        month: the month.
        runs: the most that there may be.
        between: told of each run that stopped, with why.
    """
    for number in range(1, runs):
        try:
            return month.run()
        except Exception as error:  # noqa: BLE001  # whatever it is, `between` judges
            between(number, error)
    return month.run()
