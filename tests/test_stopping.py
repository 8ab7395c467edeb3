"""A process that is told to end while a library computes: what is finished is kept at once, and it is no death."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from stand_ins import BUNDLE, StandInRecognizer, build_bundle, stand_in_models, tone, wav

from tasks.batches import Batches
from tasks.dataset import DataSet
from tasks.pipeline import _loaders
from tasks.plan_run import plan_run
from tasks.run_job import run_job
from tasks.run_models import fingerprints_of
from tasks.runs import RunHead
from tasks.settings import Settings, load_settings
from tasks.stopping import at_once
from tasks.storage import open_storage

MONTH = "2026-10"
CALLS = 5
WORKER = Path(__file__).with_name("stopping.py")


def _until(true: Callable[[], object], process: subprocess.Popen[bytes]) -> None:
    """Wait for something that a process does."""
    while not true():
        assert process.poll() is None, process.communicate()[1].decode()
        time.sleep(0.02)


def _planned(folder: Path) -> tuple[RunHead, Settings]:
    """One job of some calls of one shard."""
    for name in ("archive", "transcripts", "signs"):
        (folder / name).mkdir()
    build_bundle(folder / "models")
    archive, transcripts = (open_storage((folder / name).as_uri()) for name in ("archive", "transcripts"))
    for number in range(CALLS):
        archive.put(f"2026/10/05/call-{number}.wav", wav(tone(300 + 10 * number)))
    settings = load_settings(
        overrides={
            "models": {"bundle": BUNDLE, "folder": str(folder / "models")},
            "transcripts": {"monthly_hours": 3.0, "hours_per_shard": 1.0},
        }
    )
    DataSet(transcripts).fix_shards(MONTH, 1)
    return plan_run(DataSet(transcripts), archive, MONTH, settings, fingerprints_of(settings)), settings


@pytest.mark.long
@pytest.mark.parametrize(("hung_s", "orderly"), [(600.0, True), (-1.0, False)])
def test_what_is_finished_is_kept_while_a_library_computes(tmp_path: Path, hung_s: float, orderly: bool) -> None:
    """Within moments, by a thread, though the main one never comes back; where models hang, it counts as a death."""
    head, settings = _planned(tmp_path)
    data = DataSet(open_storage((tmp_path / "transcripts").as_uri()))
    command = [sys.executable, str(WORKER), str(tmp_path), head.run_id, str(hung_s)]
    process = subprocess.Popen(command, stderr=subprocess.PIPE)
    run = tmp_path / "transcripts" / "_runs" / head.run_id
    attempt = run / "attempts" / "job-0001-1.json"
    try:
        _until((tmp_path / "signs" / "stopped").exists, process)
        process.send_signal(signal.SIGTERM)
        _until(lambda: list(run.glob("checkpoints/*.parquet")), process)
        if orderly:
            _until(lambda: json.loads(attempt.read_bytes())["orderly"], process)
    finally:
        process.kill()  # the grace time is over
        process.wait()
    assert -signal.SIGKILL == process.returncode
    assert orderly == json.loads(attempt.read_bytes())["orderly"]
    in_flight = json.loads((run / "in_flight" / "job-0001.json").read_bytes())
    assert (0 if orderly else CALLS) == len(in_flight["call_ids"])
    recognizer = StandInRecognizer()
    models = stand_in_models(tmp_path / "models", recognizer)
    assert {"transcribed": CALLS} == run_job(data, head, 1, models, settings, lambda _: None)
    assert CALLS - 2 == recognizer.heard


def test_a_signal_that_python_does_not_handle_is_none_of_ours() -> None:
    """Only those that end a process; the handler does what it did, and the descriptor is as it was."""
    heard: list[int] = []
    acted: list[str] = []
    before = signal.signal(signal.SIGUSR1, lambda number, _: heard.append(number))
    try:
        with at_once(lambda: acted.append("acted")):
            os.kill(os.getpid(), signal.SIGUSR1)
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert ([signal.SIGUSR1], []) == (heard, acted)
    assert -1 == signal.set_wakeup_fd(-1)


def test_the_block_ends_when_what_it_began_is_done() -> None:
    """The handler's exception waits for the thread."""
    acted: list[str] = []

    def act() -> None:
        acted.append("begun")
        time.sleep(0.1)
        acted.append("done")

    with pytest.raises(KeyboardInterrupt), at_once(act):
        os.kill(os.getpid(), signal.SIGINT)
    assert ["begun", "done"] == acted


def test_somebody_else_reads_the_signals() -> None:
    """An event loop keeps its descriptor, and another thread has none: then nothing is done at once."""
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    signal.set_wakeup_fd(writing)
    acted: list[str] = []
    try:
        with at_once(lambda: acted.append("acted")):
            assert writing == signal.set_wakeup_fd(writing)
    finally:
        signal.set_wakeup_fd(-1)
        os.close(reading)
        os.close(writing)

    def elsewhere() -> None:
        with at_once(lambda: acted.append("acted")):
            acted.append("went on")

    thread = threading.Thread(target=elsewhere)
    thread.start()
    thread.join()
    assert ["went on"] == acted


def test_batches_that_were_not_begun_are_given_up() -> None:
    """Whoever waits for the batches of several workers is interrupted: only those that are worked on come to an end."""
    begun: list[int] = []
    working = threading.Event()
    go = threading.Event()

    def step(_batch: object) -> None:
        begun.append(1)
        if len(begun) == 1:
            os.kill(os.getpid(), signal.SIGINT)
        working.set()
        assert go.wait(60)

    threading.Timer(0.5, go.set).start()  # the interrupted one waits for what is worked on
    with pytest.raises(KeyboardInterrupt):
        Batches(1, 2).run(range(40), step, lambda *_: None)
    assert working.is_set()
    assert len(begun) <= 4


def test_calls_that_were_not_begun_to_load_are_given_up() -> None:
    """Only those that threads are at come to an end."""
    begun: list[int] = []
    at_it, go = threading.Event(), threading.Event()

    def load(number: int) -> None:
        begun.append(number)
        at_it.set()
        assert go.wait(60)

    def interrupted() -> None:
        with _loaders(1) as pool:
            for number in range(10):
                pool.submit(load, number)
            assert at_it.wait(60)
            threading.Timer(0.2, go.set).start()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert [0] == begun
