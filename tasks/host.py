"""The machine that a process is on: its cores, its memory, and what a process asks of its libraries for their sake."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

_TUNABLE = "glibc.malloc.hugetlb"
FIRST_GLIBC_WITH_HUGE_PAGES = (2, 35)


@dataclass(frozen=True, slots=True)
class Memory:
    """The memory that a device computes in: this machine's, or a GPU's."""

    free_bytes: int
    total_bytes: int


def with_huge_pages(environment: Mapping[str, str], glibc: str | None) -> dict[str, str] | None:
    """The environment in which glibc's malloc asks the kernel for huge pages; None where it does, or cannot.

    The encoder's attention takes and gives back some hundred megabytes for every chunk; in pages of 4 KiB, a fifth of
    its time goes into faults. glibc reads its tunables at the start of a process and never again.

    Args:
        environment: of this process.
        glibc: its version as `os.confstr` tells it (`glibc 2.36`); None where there is none.
    """
    if glibc is None or _TUNABLE in environment.get("GLIBC_TUNABLES", ""):
        return None
    version = tuple(int(part) for part in glibc.split()[-1].split(".") if part.isdigit())
    if version < FIRST_GLIBC_WITH_HUGE_PAGES:
        return None
    others = [environment["GLIBC_TUNABLES"]] if environment.get("GLIBC_TUNABLES") else []
    return {**environment, "GLIBC_TUNABLES": ":".join([*others, f"{_TUNABLE}=1"])}


def one_blas_thread() -> None:
    """Have NumPy and SciPy multiply matrices in the thread that asks for it, from now on, in the whole process.

    Theirs are small, and asked for by many threads at once (spectra of chunks, channels while they are loaded). The
    threads that OpenBLAS keeps beside, one for each core, wait for each other there, and wait by spinning: they kept 8
    of the 16 cores of a GPU machine busy with nothing (evaluation/benchmarks/gpu.md). CTranslate2 and torch have
    threads of their own. To be called once NumPy and SciPy are imported.

    And with another number of threads products are rounded otherwise, in their last bits, on which a word here and
    there hangs: rows must not depend on how many cores a machine has.
    """
    from threadpoolctl import threadpool_limits

    threadpool_limits(limits=1, user_api="blas")


def usable_cores() -> int:
    """How many cores this process may use; CTranslate2 would take four of any machine."""
    return len(os.sched_getaffinity(0))


def host_memory(root: Path = Path("/")) -> Memory:
    """What Linux can give this process: of the machine, and of each control group that it is in, the least.

    Args:
        root: where `proc` and `sys` are.
    """
    figures = dict(line.split(":", 1) for line in (root / "proc/meminfo").read_text(encoding="ascii").splitlines())
    free, total = (int(figures[key].split()[0]) * 1024 for key in ("MemAvailable", "MemTotal"))
    for group in _memory_groups(root):
        free, total = min(free, group.free_bytes), min(total, group.total_bytes)
    return Memory(free, total)


def _memory_groups(root: Path) -> list[Memory]:
    """The limits of the control groups (version 1 or 2) of this process and of all above them.

    A container may see its own group as the topmost, under a path that is not there: then the topmost counts.
    """
    listed = root / "proc/self/cgroup"
    found: list[Memory | None] = []
    for line in listed.read_text(encoding="utf-8").splitlines() if listed.is_file() else ():
        hierarchy, controllers, path = line.split(":", 2)
        first = "memory" in controllers.split(",")
        if not first and hierarchy != "0":
            continue
        top = root / "sys/fs/cgroup" / ("memory" if first else "")
        group = top / path.strip("/")
        folders = [each for each in (group, *group.parents) if each.is_relative_to(top)]
        names = (
            ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
            if first
            else ("memory.max", "memory.current", "inactive_file")
        )
        found += [_group_memory(folder, *names) for folder in folders]
    return [memory for memory in found if memory]


def _group_memory(folder: Path, limit_name: str, used_name: str, reclaimable_name: str) -> Memory | None:
    """The memory of one control group; None where it has no limit or is not there.

    Files that nobody reads any more fill a group up to its limit and are dropped for whoever asks: they are free.
    """
    try:
        limit = (folder / limit_name).read_text(encoding="ascii").strip()
        if limit == "max":
            return None
        used = int((folder / used_name).read_text(encoding="ascii"))
        stat = dict(line.split() for line in (folder / "memory.stat").read_text(encoding="ascii").splitlines())
    except OSError:
        return None
    return Memory(max(0, int(limit) - used + int(stat.get(reclaimable_name, 0))), int(limit))


def cpu_name() -> str:
    """The CPU as Linux names it; `cpu` where it does not."""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        for line in cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return "cpu"
