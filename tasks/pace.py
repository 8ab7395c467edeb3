"""How fast a job goes, beside how fast its device is known to go: a GPU that is throttled, shared or another one shows.

What is known of a device is what a benchmark has recorded for the bundle, else what earlier runs over the data set have
measured on devices of that name. Where neither is there, nothing is said.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime

from tasks.errors import ObjectVanished
from tasks.records import CopiedAudio, Outcome
from tasks.storage import Storage

# RTFx of the whole pipeline, models loaded, by bundle and by the device's name: evaluation/benchmarks/gpu.md, with the
# loaders that a GPU has by default.
RECORDED_RTFX: Mapping[tuple[str, str], float] = {("starter", "NVIDIA H200"): 481.0}
# Before so much audio and time, a speed says little: the first batches of a process take longer.
LEAST_AUDIO_S = 1800.0
LEAST_WALL_S = 60.0


@dataclass(frozen=True, slots=True)
class Slow:
    """A job that went slower than its device is known to.

    Attributes:
        job: its number.
        node: the machine.
        device: what the driver calls it.
        rtfx: audio seconds a second, loading of models not included.
        expected_rtfx: what is known of such devices.
        at: when that was found, UTC, ISO 8601.
    """

    job: int
    node: str
    device: str
    rtfx: float
    expected_rtfx: float
    at: str

    @property
    def sentence(self) -> str:
        """For people."""
        return (
            f"job {self.job} goes at RTFx {self.rtfx:.1f} on {self.device} ({self.node}), where "
            f"{self.expected_rtfx:.1f} was expected: is the device throttled (heat, power), shared with others, or "
            "waiting for cores or for the archive? (run.slow_share)"
        )


def expected_rtfx(bundle: str, device: str, measured: Mapping[str, float]) -> float | None:
    """What a device is known to do with a bundle; None where nothing is known.

    Args:
        bundle: its name.
        device: what the driver calls it.
        measured: by earlier runs with the same models, by the name of the device.
    """
    return RECORDED_RTFX.get((bundle, device), measured.get(device))


@dataclass
class Pace:
    """How fast a process goes; begins when it has its models.

    Attributes:
        expected_rtfx: what is expected; None: nothing.
        share: of that, which must be reached; 0: nothing need be.
        say: told once where it is not: the RTFx so far, and what was expected.
        began: when, on the monotonic clock.
    """

    expected_rtfx: float | None
    share: float
    say: Callable[[float, float], None]
    began: float = field(default_factory=time.monotonic)
    _audio_s: float = 0.0
    _said: bool = False

    def count(self, outcome: Outcome | CopiedAudio) -> None:
        """Count a finished call. What was not heard, or not to its end, is no audio."""
        if isinstance(outcome, Outcome) and outcome.failure is None:
            self._audio_s += outcome.duration_s or 0.0
        wall_s = time.monotonic() - self.began
        if self._said or self.expected_rtfx is None or self._audio_s < LEAST_AUDIO_S or wall_s < LEAST_WALL_S:
            return
        if self._audio_s < self.share * self.expected_rtfx * wall_s:
            self._said = True
            self.say(self._audio_s / wall_s, self.expected_rtfx)


def note_slow(storage: Storage, run_id: str, job: int, node: str, device: str, rtfx: float, expected: float) -> Slow:
    """Write down that a job is slow; once for each job, the last of its attempts that was."""
    at = datetime.now(UTC).isoformat(timespec="seconds")
    slow = Slow(job, node, device, round(rtfx, 2), round(expected, 2), at)
    storage.put(f"{_folder(run_id)}job-{job:04d}.json", json.dumps(asdict(slow)).encode())
    return slow


def slow_jobs(storage: Storage, run_id: str) -> list[Slow]:
    """The jobs of a run that were slow, in order."""
    found = []
    for info in list(storage.list(_folder(run_id))):
        try:
            found.append(Slow(**json.loads(storage.get(info.key).data)))
        except ObjectVanished:
            continue
    return sorted(found, key=lambda one: one.job)


def _folder(run_id: str) -> str:
    return f"_runs/{run_id}/slow/"
