"""`callscribe demo`, whole: what a newcomer sees first, and what a second one does."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.long


def run_demo(folder: Path) -> str:
    """Run the demo in a folder of its own, and return what it says."""
    command = [sys.executable, "-m", "flows", "demo", "--folder", str(folder)]
    environment = {**os.environ, "AWS_ACCESS_KEY_ID": "nobody", "AWS_SECRET_ACCESS_KEY": "nothing"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=280, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Warning" not in done.stderr
    assert "Traceback" not in done.stderr
    return done.stdout


def servers(folder: Path) -> list[str]:
    """The command lines of processes that still work in a folder."""
    found = []
    for process in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = process.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if str(folder) in line:
            found.append(line)
    return found


@pytest.mark.timeout(600)
def test_the_demo_and_the_demo_again(tmp_path: Path) -> None:
    """The first demo transcribes everything and scores it; the second finds it done; no server is left."""
    first = run_demo(tmp_path / "demo")
    assert "9 calls to transcribe" in first
    assert "undecodable_audio" in first
    assert "every object accounted for" in first
    report = json.loads((tmp_path / "demo" / "report.json").read_text(encoding="utf-8"))
    assert 7 == report["total"]["calls"]
    assert [] == report["untranscribed"]

    second = run_demo(tmp_path / "demo")
    assert "nothing to transcribe" in second
    assert "loading bundle" not in second
    assert report == json.loads((tmp_path / "demo" / "report.json").read_text(encoding="utf-8"))
    assert [] == servers(tmp_path)
