"""The file that shows that a process lives: it grows old where the models hang, whatever goes on beside them."""

import os
import threading
from pathlib import Path
from typing import cast

import pytest
from small_month import SmallMonth, bundles, fill, without_prefect
from stand_ins import StandInRecognizer, stand_in_models

from tasks.batches import Batches
from tasks.heard import CallSpeech
from tasks.heartbeat import HEART, Heartbeat
from tasks.records import Recognition
from tasks.storage import open_storage

__all__ = ["bundles"]
LONG_AGO = 1_000_000_000


@pytest.fixture(autouse=True)
def _nobody_looks_afterwards() -> object:
    """The process's own is as it was."""
    yield
    HEART.shown_in(None)


def _age(file: Path) -> None:
    os.utime(file, (LONG_AGO, LONG_AGO))


def _is_old(file: Path) -> bool:
    return file.stat().st_mtime == LONG_AGO


def test_a_sign_of_life(tmp_path: Path) -> None:
    """The file is there at once, is touched, though not more often than anybody looks, and need not be writable."""
    heart, file = Heartbeat(), tmp_path / "heartbeat"
    heart.shown_in(file)
    assert file.exists()
    _age(file)
    heart.beat()
    assert _is_old(file)  # a moment ago it was touched
    heart._touched = None
    heart.beat()
    assert not _is_old(file)
    heart.shown_in(tmp_path / "nowhere" / "heartbeat")
    heart.shown_in(None)
    assert heart.silent_s < 60


def test_every_batch_is_a_sign_of_life() -> None:
    """Also where several workers share the work; one that fails is none."""
    for workers in (1, 2):
        HEART._last = 0.0
        Batches(2, workers).run(range(4), lambda _: None, lambda *_: None)
        assert HEART._last > 0

    def fail(_: object) -> None:
        message = "the model broke"
        raise RuntimeError(message)

    HEART._last = 0.0
    Batches(2).run(range(4), fail, lambda *_: None)
    assert 0.0 == HEART._last


class HangingRecognizer(StandInRecognizer):
    """Hangs at its first call until somebody lets it go on; counts what is loaded meanwhile."""

    def __init__(self) -> None:
        super().__init__()
        self.hangs = threading.Event()
        self.go = threading.Event()

    def hear(self, call: CallSpeech) -> Recognition | Exception:
        """Hear one call, at last."""
        self.hangs.set()
        assert self.go.wait(120)
        return super().hear(call)


def test_a_run_whose_recogniser_hangs(tmp_path: Path, bundles: Path) -> None:
    """The file is touched when the job begins, not while the recogniser hangs, and again when it goes on."""
    for name in ("archive", "transcripts"):
        (tmp_path / name).mkdir()
    month = SmallMonth((tmp_path / "archive").as_uri(), (tmp_path / "transcripts").as_uri(), bundles)
    fill(open_storage(month.archive))
    file, recognizer = tmp_path / "heartbeat", HangingRecognizer()
    thread = threading.Thread(target=lambda: month.run(run={"heartbeat_file": str(file)}))
    with without_prefect(stand_in_models(bundles, cast("StandInRecognizer", recognizer))):
        thread.start()
        try:
            assert recognizer.hangs.wait(120)
            assert file.exists()
            _age(file)
            HEART._touched = None  # so that anything would touch it
            thread.join(1.0)  # the threads beside it come to their end; a sign of life in this time fails the test
            assert (True, True) == (thread.is_alive(), _is_old(file))
        finally:
            recognizer.go.set()
            thread.join()
    assert not _is_old(file)
