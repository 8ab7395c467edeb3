"""The process that decodes recordings for `tasks.decoder`: one request a line on stdin, one answer a line on stdout.

Both are JSON: what comes out of a process that has read untrusted bytes is as little trusted as they are. It limits
itself before it reads the first of them, and dies with its parent.
"""

from __future__ import annotations

import ctypes
import json
import os
import resource
import signal
import sys
from dataclasses import asdict
from importlib import import_module
from pathlib import Path
from typing import IO, Any, cast

from tasks.decoder import Decode, DecoderLimits
from tasks.decoding import DecodeOptions, RawFormat
from tasks.errors import CallError, DecoderOutOfMemory, ProcessingError, ScratchFull, is_full

PR_SET_PDEATHSIG = 1


def main(function: str, limits: str) -> None:
    """Answer requests until stdin ends.

    Args:
        function: `module:name` of what decodes.
        limits: `DecoderLimits` as JSON.
    """
    _die_with_parent()
    decode = _imported(function)
    answers = _own_stdout()
    bounds = DecoderLimits(**json.loads(limits))
    _limit(bounds)
    print("ready", file=answers, flush=True)
    for line in sys.stdin:
        _limit_cpu(bounds.max_cpu_s)
        print(json.dumps(_answer(decode, json.loads(line))), file=answers, flush=True)


def _answer(decode: Decode, request: dict[str, Any]) -> dict[str, Any]:
    options = request["options"]
    raw = RawFormat(**options.pop("raw")) if options["raw"] else options.pop("raw")
    try:
        source, samples = decode(Path(request["path"]), Path(request["output"]), DecodeOptions(**options, raw=raw))
    except CallError as error:
        return {"code": error.code, "message": error.message}
    except MemoryError:
        message = "the decoder asked for more memory than it may have (decoder.max_memory_bytes)"
        return {"code": DecoderOutOfMemory.code, "message": message}
    except Exception as error:  # noqa: BLE001  # whatever a decoder raises is about this call
        if is_full(error):
            return {"code": ScratchFull.code, "message": ""}  # the parent knows the folder
        return {"code": ProcessingError.code, "message": f"{type(error).__name__}: {error}"}
    return {"source": asdict(source), "samples": samples}


def _imported(function: str) -> Decode:
    """What decodes, with everything that it imports: after this, memory is counted."""
    import av
    import soundfile  # noqa: F401  # loaded before memory is counted, used by what decodes

    av.logging.set_level(None)
    module, _, name = function.partition(":")
    return cast("Decode", getattr(import_module(module), name))


def _own_stdout() -> IO[str]:
    """Keep the answers apart from what a library prints, which goes nowhere."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)
    return answers


def _limit(limits: DecoderLimits) -> None:
    # On top of what the idle process has, which is mostly libraries.
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
    _lower(resource.RLIMIT_AS, pages * resource.getpagesize() + limits.max_memory_bytes)
    _lower(resource.RLIMIT_FSIZE, limits.max_output_bytes + (1 << 20))
    _lower(resource.RLIMIT_CORE, 0)


def _limit_cpu(seconds: float) -> None:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    # Past the soft limit comes SIGXCPU, which ends the process. The kernel counts whole seconds.
    bound = int(usage.ru_utime + usage.ru_stime + seconds) + 1
    resource.setrlimit(resource.RLIMIT_CPU, (bound if hard == resource.RLIM_INFINITY else min(bound, hard), hard))


def _lower(kind: int, value: int) -> None:
    _, hard = resource.getrlimit(kind)
    bound = value if hard == resource.RLIM_INFINITY else min(value, hard)
    resource.setrlimit(kind, (bound, bound))


def _die_with_parent() -> None:
    """End with the thread that started this process, even in the middle of a decoder that never returns."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's business


if __name__ == "__main__":
    main(*sys.argv[1:])
