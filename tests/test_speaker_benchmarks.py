"""Benchmarks of who spoke: the calls that they make, and what counts in them."""

from pathlib import Path

import numpy as np
import pytest
import soundfile

from evaluation.benchmarks.diarization import Call
from evaluation.benchmarks.hand_over import write_calls
from evaluation.benchmarks.voice_bounds import from_start
from evaluation.formats import RttmTurn, StmLine, parse_stm, serialise_stm

RATE_HZ = 8000


@pytest.fixture
def calls(tmp_path: Path) -> Path:
    """Four calls of one to four seconds, with a line of each side."""
    folder = tmp_path / "calls"
    folder.mkdir()
    for number in range(1, 5):
        name = f"call-{number}"
        soundfile.write(folder / f"{name}.stereo.wav", np.full((number * RATE_HZ, 2), number / 10), RATE_HZ)
        lines = [StmLine(name, 1, "agent", 0.1, 0.5, "hello"), StmLine(name, 2, "caller", 0.5, 0.9, "hi")]
        (folder / f"{name}.stm").write_text(serialise_stm(lines), encoding="utf-8")
    (folder / "alone.stm").write_text("alone 1 agent 0 1 hello\n", encoding="utf-8")
    return folder


def test_calls_as_recorded_are_copies(calls: Path, tmp_path: Path) -> None:
    """A reference without a recording of two channels is left out."""
    into = tmp_path / "into"
    into.mkdir()
    write_calls(calls, into, handed_over=False)
    assert sorted(path.name for path in into.iterdir()) == [
        f"call-{number}.{ending}" for number in range(1, 5) for ending in ("stereo.wav", "stm")
    ]


def test_calls_are_followed_by_the_one_half_the_folder_on(calls: Path, tmp_path: Path) -> None:
    """Its people are others, and its times are later by the length of the first."""
    into = tmp_path / "into"
    into.mkdir()
    write_calls(calls, into, handed_over=True)
    sound, rate_hz = soundfile.read(into / "call-4.stereo.wav", always_2d=True)
    assert (len(sound), rate_hz) == ((4 + 2) * RATE_HZ, RATE_HZ)
    assert sound[[0, -1], 0].tolist() == pytest.approx([0.4, 0.2], abs=1e-3)
    lines = parse_stm((into / "call-4.stm").read_text(encoding="utf-8"))
    assert sorted((line.speaker, line.start) for line in lines) == [
        ("agent", 0.1),
        ("agent-2", 4.1),
        ("caller", 0.5),
        ("caller-2", 4.5),
    ]
    assert {line.call_id for line in lines} == {"call-4"}


def test_a_recording_heard_from_later_on_has_earlier_turns() -> None:
    """What counts begins with the sound, and ends as much earlier as the sound does."""
    call = Call(Path("a.wav"), "folder", (RttmTurn("a", 1, 0.2, 1.0, "one"), RttmTurn("a", 1, 2.0, 3.0, "two")))
    moved = from_start(call, 4.0, 0.5)
    assert [(turn.start, turn.end) for turn in moved.turns] == [(pytest.approx(-0.3), 0.5), (1.5, 2.5)]
    assert moved.scored == ((0.0, 3.5),)
