"""A job that is slower than its device should be says so, once; others say nothing."""

import time
from dataclasses import replace
from pathlib import Path

import pytest
from builders import failure, outcome, transcript
from small_month import CALLS, SmallMonth, bundles, fill, without_prefect
from stand_ins import BUNDLE, stand_in_models

from flows.progress import Nobody, watched_by
from tasks.pace import LEAST_AUDIO_S, LEAST_WALL_S, RECORDED_RTFX, Pace, expected_rtfx, note_slow, slow_jobs
from tasks.reconcile import summary_rows
from tasks.records import CopiedAudio, Outcome
from tasks.runs import read_head
from tasks.storage import open_storage

__all__ = ["bundles"]

HEARD = outcome(transcript=transcript([]))


def _said(calls: list[Outcome | CopiedAudio], ago_s: float, expected: float | None = 100.0, share: float = 0.5) -> int:
    """How often it is said after calls that have taken so long together."""
    said: list[tuple[float, float]] = []
    pace = Pace(expected, share, lambda *rtfx: said.append(rtfx), time.monotonic() - ago_s)
    for call in calls:
        pace.count(call)
    assert all(rtfx < share * (expected or 0.0) and expected == of for rtfx, of in said)
    return len(said)


def _lasting(audio_s: float) -> Outcome:
    return replace(HEARD, duration_s=audio_s)


def test_a_slow_job() -> None:
    """A tenth of what is expected; it is said once."""
    assert 1 == _said([_lasting(5_000.0)] * 20, 10_000.0)


@pytest.mark.parametrize(
    ("audio_s", "wall_s", "expected", "share"),
    [
        (60_000.0, 1_000.0, 100.0, 0.5),  # fast enough
        (10_000.0, 1_000.0, None, 0.5),  # nothing is known of the device
        (10_000.0, 1_000.0, 100.0, 0.0),  # nobody wants to know
        (LEAST_AUDIO_S - 1, 10_000.0, 100.0, 0.5),  # too little audio to say
        (LEAST_AUDIO_S + 1, LEAST_WALL_S / 2, 1e6, 0.5),  # too little time
    ],
)
def test_nothing_is_said(audio_s: float, wall_s: float, expected: float | None, share: float) -> None:
    """Where it is fast, where there is nothing to hold it against, and before there is enough to go by."""
    assert 0 == _said([_lasting(audio_s)], wall_s, expected, share)


def test_only_what_was_heard_counts() -> None:
    """Neither failed calls nor copies: they take no time of the device."""
    failed = replace(outcome(failure=failure("too_long", "it is too long")), duration_s=1e6)
    copied = CopiedAudio(HEARD.call, "a" * 64)
    assert 0 == _said([failed, copied], 1_000.0)
    assert 1 == _said([failed, copied, _lasting(LEAST_AUDIO_S)], 1_000.0)


def test_what_is_expected() -> None:
    """What a benchmark has recorded, else what earlier runs have measured on such a device, else nothing."""
    (bundle, device), rtfx = next(iter(RECORDED_RTFX.items()))
    assert rtfx == expected_rtfx(bundle, device, {device: 1.0})
    assert 7.0 == expected_rtfx(bundle, "another", {"another": 7.0})
    assert expected_rtfx("another", device, {}) is None


def test_what_was_noted_is_read(tmp_path: Path) -> None:
    """Of each job the last time; the sentence says where, how slow, and what to look for."""
    storage = open_storage(tmp_path.as_uri())
    for rtfx in (3.0, 4.0):
        noted = note_slow(storage, "run", 2, "gpu-node-7", "NVIDIA L4", rtfx, 60.0)
    note_slow(storage, "run", 1, "gpu-node-8", "NVIDIA L4", 5.0, 60.0)
    assert [1, 2] == [slow.job for slow in slow_jobs(storage, "run")]
    assert noted == slow_jobs(storage, "run")[1]
    for part in ("job 2", "RTFx 4.0", "NVIDIA L4", "gpu-node-7", "60.0 was expected", "run.slow_share"):
        assert part in noted.sentence


def test_a_slow_run(tmp_path: Path, bundles: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each slow job says so to whoever watches; the certificate counts them, and says what each device heard."""
    for name in ("archive", "transcripts"):
        (tmp_path / name).mkdir()
    month = SmallMonth((tmp_path / "archive").as_uri(), (tmp_path / "transcripts").as_uri(), bundles)
    archive = open_storage(month.archive)
    fill(archive)
    for name in ("LEAST_AUDIO_S", "LEAST_WALL_S"):
        monkeypatch.setattr(f"tasks.pace.{name}", 0.1)
    monkeypatch.setattr("tasks.pace.RECORDED_RTFX", {(BUNDLE, "a stand-in"): 1e9})
    notes = Notes()
    with without_prefect(stand_in_models(bundles)), watched_by(notes):
        summary = month.run()
        assert (1, 1, {"a stand-in": summary.audio_s}) == (summary.jobs, summary.slow_jobs, summary.devices)
        (slow,) = slow_jobs(month.storage, summary.run_id)
        assert slow.sentence in notes.texts
        assert ("jobs slower than their device should be", "1") in summary_rows(summary)
        archive.put("2026/10/05/another.wav", CALLS["mono-0"])
        after = read_head(month.storage, month.run().run_id)
    assert {"a stand-in": round(summary.audio_s / summary.worker_s, 2)} == after.device_rtfx


class Notes(Nobody):
    """Keeps what the person who started a run should know."""

    def __init__(self) -> None:
        self.texts: list[str] = []

    def note(self, text: str) -> None:
        """Keep it."""
        self.texts.append(text)
