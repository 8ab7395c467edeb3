"""Once with the real models and the whole command: killed in the middle, and finished by the next run."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from small_month import MONTH, SmallMonth, assert_certified, content, without_prefect

from flows.docs import ROOT
from tasks.models import Models
from tasks.settings import load_settings

pytestmark = pytest.mark.long

DEMO = ROOT / "evaluation" / "sets" / "demo" / "archive"
CALLS = {"demo-0001": b"", "demo-0003": b"", "demo-0006": b""}
# Jobs of one call each; the process is killed when one of them is done.
SETTINGS: dict[str, dict[str, Any]] = {
    "run": {"job_hours": 0.001, "lease_s": 3.0, "checkpoint_every_s": 1e-3},
    "models": {"bundle": "starter", "device": "cpu", "compute_type": "default"},
    "storage": {"read_timeout_s": 60.0},
}
KILLED_AFTER_JOBS = 1


def _rounded(value: object) -> object:
    """Numbers to four digits: sums of floats depend on how calls share the model's batches."""
    if isinstance(value, float):
        return round(value, 4)
    if isinstance(value, dict):
        return {name: _rounded(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(one) for one in value]
    return value


def _run_and_kill(month: SmallMonth, folder: Path) -> None:
    """Start `callscribe run`, and kill it with all its processes, as a machine does that goes down."""
    environment = os.environ | {"PREFECT_HOME": str(folder / "prefect"), "PYTHONPATH": str(ROOT)}
    for group, settings in month.overrides(**SETTINGS).items():
        for name, value in settings.items():
            if value is not None:
                environment[f"CALLSCRIBE_{group}__{name}".upper()] = str(value)
    command = [str(Path(sys.executable).with_name("callscribe")), "run", "--month", MONTH, "--archive", month.archive]
    with (folder / "run.log").open("wb") as log:
        process = subprocess.Popen(
            [*command, "--transcripts", month.transcripts],
            cwd=folder, env=environment, stdout=log, stderr=log, start_new_session=True,
        )  # fmt: skip
        try:
            while len(list((folder / "killed").glob("_runs/*/done/*.json"))) < KILLED_AFTER_JOBS:
                assert process.poll() is None, (folder / "run.log").read_text()
                time.sleep(0.02)
            time.sleep(0.5)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


@pytest.mark.timeout(280)
def test_a_real_run_that_is_killed(tmp_path: Path, models: Models) -> None:
    """The rows are those of a run that nobody disturbed, and what was done before was not done again."""
    for name in ("archive", "undisturbed", "killed"):
        (tmp_path / name).mkdir()
    for path in DEMO.rglob("demo-000[136].*"):
        target = tmp_path / "archive" / path.relative_to(DEMO)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, target)
    archive = (tmp_path / "archive").as_uri()
    bundles = load_settings().models.folder
    undisturbed, month = (
        SmallMonth(archive, (tmp_path / name).as_uri(), bundles) for name in ("undisturbed", "killed")
    )
    with without_prefect(models):
        assert_certified(undisturbed, undisturbed.run(**SETTINGS), CALLS)
        _run_and_kill(month, tmp_path)
        done = [row["call_id"] for row in month.data.read_calls(MONTH)]
        assert KILLED_AFTER_JOBS <= len(done) < len(CALLS)
        summary = month.run(**SETTINGS)
    assert_certified(month, summary, CALLS)
    assert len(CALLS) == sum(summary.outcomes.values())
    assert _rounded(content(undisturbed.storage)) == _rounded(content(month.storage))
