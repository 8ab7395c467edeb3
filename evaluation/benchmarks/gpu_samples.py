"""How busy a GPU is and how much of its memory is held, as `nvidia-smi` tells it while something runs."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from threading import Thread
from types import TracebackType
from typing import Final, Self

EVERY_MS: Final = 100
COMMAND: Final = ("nvidia-smi", "--query-gpu=utilization.gpu,memory.used", "--format=csv,noheader,nounits")


@dataclass(frozen=True, slots=True)
class Sample:
    """One look at a GPU.

    `busy` is the share of the last moments in which any kernel ran, in percent: a kernel that fills a hundredth of the
    card counts as one that fills it. `used_mib` is what all processes hold.
    """

    busy: float
    used_mib: int


@dataclass(frozen=True, slots=True)
class Usage:
    """Many looks at a GPU: how busy it was in the mean, in percent, and the most memory that was held, in MiB."""

    busy: float
    used_mib: int


def parse(line: str) -> Sample | None:
    """One line of `nvidia-smi` as a sample; None where it holds no figures, as a GPU that does not tell."""
    busy, _, used = line.partition(",")
    try:
        return Sample(float(busy), int(used))
    except ValueError:
        return None


def usage_of(samples: Sequence[Sample]) -> Usage | None:
    """Mean and most of samples; None without any."""
    if not samples:
        return None
    return Usage(sum(one.busy for one in samples) / len(samples), max(one.used_mib for one in samples))


class Watch:
    """Looks at a GPU again and again; used as a context, which does nothing for a CPU.

    Args:
        kind: cpu or cuda.
        index: of the GPU.
    """

    def __init__(self, kind: str, index: int) -> None:
        self._command = (*COMMAND, f"--id={index}", f"--loop-ms={EVERY_MS}") if kind == "cuda" else ()
        self._samples: list[Sample] = []

    def __enter__(self) -> Self:
        """Begin to look."""
        if self._command:
            self._smi = subprocess.Popen(self._command, stdout=subprocess.PIPE, text=True)
            self._reader = Thread(target=self._read)
            self._reader.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Look no more."""
        if self._command:
            self._smi.terminate()
            self._reader.join()
            self._smi.wait()

    @property
    def usage(self) -> Usage | None:
        """What was seen; None on a CPU."""
        return usage_of(self._samples)

    def _read(self) -> None:
        for line in self._smi.stdout or ():
            sample = parse(line)
            if sample is not None:
                self._samples.append(sample)
