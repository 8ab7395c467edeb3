"""Lists of devices, as `cuda:0,cuda:1` or `cpu:2`: which processes do the jobs of a run side by side on one machine."""

from __future__ import annotations

import re
from collections.abc import Sequence

from tasks.devices import compute_type_for
from tasks.errors import SettingsError

# Of one machine. A mistyped number is not to start a thousand processes.
MOST_DEVICES = 64
_ITEM = re.compile(r"cpu(:(?P<workers>\d+))?|cuda(:(?P<index>\d+))?")


def parse_devices(text: str) -> tuple[str, ...]:
    """The device of each process, in order.

    >>> parse_devices("cuda:0, cuda:1")
    ('cuda:0', 'cuda:1')
    >>> parse_devices("cpu:2")
    ('cpu', 'cpu')
    >>> parse_devices("")
    ()

    Args:
        text: items with commas between them: `cuda:N` is a GPU by its number (`cuda`: the first), `cpu:N` are N
            processes on the CPU, `cpu` is one.

    Raises:
        ValueError: an item is none, is there twice, or there are too many.
    """
    devices: list[str] = []
    for item in text.split(",") if text.strip() else ():
        match = _ITEM.fullmatch(item.strip())
        if match is None:
            message = f"{item.strip()!r} is no device: name GPUs as cuda:0,cuda:1, or CPU workers as cpu:2"
            raise ValueError(message)
        is_cpu = item.strip().startswith("cpu")
        name = "cpu" if is_cpu else f"cuda:{int(match['index'] or 0)}"
        if name in devices:
            what = "cpu is there twice: write cpu:N for N workers" if is_cpu else f"{name} is there twice"
            raise ValueError(what)
        workers = int(match["workers"] or 1) if is_cpu else 1
        if not 0 < workers <= MOST_DEVICES - len(devices):
            message = f"{item.strip()!r}: there are 1 to {MOST_DEVICES} workers on one machine"
            raise ValueError(message)
        devices += [name] * workers
    return tuple(devices)


def require_one_compute_type(devices: Sequence[str], compute_type: str) -> None:
    """Whatever device does a call of a run, it computes in the same numbers.

    Args:
        devices: of one run.
        compute_type: the setting `models.compute_type`.

    Raises:
        SettingsError: by default they would not, as CPUs and GPUs have other ones.
    """
    types = {device.partition(":")[0]: compute_type_for(device, compute_type) for device in devices}
    if len(set(types.values())) > 1:
        said = " and ".join(f"{kind} computes in {found}" for kind, found in sorted(types.items()))
        message = (
            f"run.devices has {', '.join(dict.fromkeys(devices))}, and {said}: transcripts of one run are made in one "
            "way; leave one kind out, or set models.compute_type to what both can, as float32"
        )
        raise SettingsError(message)


def share_of_cores(cores: int, devices: Sequence[str]) -> int:
    """How many threads each process may keep busy, so that together they are no more than there are cores."""
    return max(1, cores // max(1, len(devices)))
