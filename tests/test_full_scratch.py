"""A scratch disk without room: said by name, no call's fault, and over with the next run."""

import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from month_worker import Order, end, start_under
from small_month import CALLS, MONTH, Content, SmallMonth, assert_certified, bundles, content, fill, recognizer
from stand_ins import StandInRecognizer

from tasks.errors import TransientError
from tasks.storage import open_storage

pytestmark = pytest.mark.long

__all__ = ["bundles", "recognizer"]

# As much as three decoded calls take; and as little as holds a folder and nothing in it.
FEW_CALLS, NOTHING = "size=240k", "size=4k"
MOST_RUNS = 8


def _with_disk(folder: Path, options: str) -> list[str]:
    """The command that runs another with a small scratch disk of its own."""
    script = 'mount -t tmpfs -o "$1" none "$2" && export TMPDIR="$2" && shift 2 && exec "$@"'
    mounting = ["sh", "-c", script, "sh", options, str(folder)]
    for mapped in ([], ["--user", "--map-root-user"]):
        command = ["unshare", *mapped, "--mount", *mounting]
        if shutil.which("unshare") is None:
            break
        if subprocess.run([*command, "true"], check=False, capture_output=True).returncode == 0:
            return command
    pytest.skip("this system permits no disk of one's own (unshare --mount)")


@pytest.fixture
def month(tmp_path: Path, recognizer: StandInRecognizer, bundles: Path) -> SmallMonth:
    """An archive of calls, and an empty data set."""
    recognizer.heard = 0
    for name in ("archive", "transcripts", "undisturbed", "scratch"):
        (tmp_path / name).mkdir()
    month = SmallMonth((tmp_path / "archive").as_uri(), (tmp_path / "transcripts").as_uri(), bundles)
    fill(open_storage(month.archive))
    return month


def _undisturbed(month: SmallMonth, folder: Path) -> Content:
    undisturbed = replace(month, transcripts=folder.as_uri())
    undisturbed.run()
    return content(undisturbed.storage)


def _order(month: SmallMonth) -> Order:
    return Order(month.archive, month.transcripts, str(month.bundles))


def test_calls_for_which_there_is_no_room(month: SmallMonth, tmp_path: Path) -> None:
    """They say which folder is full; more runs than a call has tries use up none, and with room all is done."""
    disk = _with_disk(tmp_path / "scratch", FEW_CALLS)
    assert ["ready", "done"] == end(start_under(disk, _order(month)))
    full = [row for row in month.data.read_calls(MONTH) if row["error_code"] == "scratch_full"]
    assert full
    assert {1} == {row["attempt"] for row in full}
    assert all(f"scratch folder {tmp_path / 'scratch'}: make room there" in row["error"] for row in full)
    assert_certified(month, month.run())
    assert _undisturbed(month, tmp_path / "undisturbed") == content(month.storage)


@pytest.mark.long
def test_a_disk_that_stays_small(month: SmallMonth, tmp_path: Path) -> None:
    """Every run does some calls, and none is given up."""
    disk = _with_disk(tmp_path / "scratch", FEW_CALLS)
    left, runs = len(CALLS), 0
    while left and runs < MOST_RUNS:
        runs += 1
        assert ["ready", "done"] == end(start_under(disk, _order(month)))
        before, rows = left, month.data.read_calls(MONTH)
        left = sum(row["error_code"] in TransientError.codes() for row in rows)
        assert left < before
    assert 0 == left
    assert _undisturbed(month, tmp_path / "undisturbed") == content(month.storage)


def test_no_room_for_the_list_of_the_month(month: SmallMonth, tmp_path: Path) -> None:
    """The run stops with a sentence that names the folder, and has planned nothing; the next one is a plain run."""
    said = " ".join(end(start_under(_with_disk(tmp_path / "scratch", NOTHING), _order(month))))
    assert f"StorageRefused the scratch folder {tmp_path / 'scratch'} is full: make room there" in said
    assert [] == [info.key for info in month.storage.list("_runs/")]
    assert_certified(month, month.run())
