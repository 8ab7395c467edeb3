"""Decoding in processes of their own: a recording that kills, hangs or bloats its decoder costs one call.

Bytes from an archive are untrusted, and decoders of twenty codecs are large programs in C. They run in child processes
that limit their own memory, CPU time and output, and that are killed when they take too long. A child serves many
calls, one at a time, and is replaced after a number of them and after every failure. Children are fresh interpreters,
never forks of a process with threads, without the parent's environment (and so its credentials).
"""

from __future__ import annotations

import json
import os
import selectors
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from threading import Lock
from types import TracebackType
from typing import IO, Any, Self, cast

from tasks.decoding import DecodeOptions, decode_to_file
from tasks.errors import (
    CallError,
    DecoderCrashed,
    DecoderOutOfMemory,
    DecoderTimeout,
    DecoderUnavailable,
    ProcessingError,
    ScratchFull,
    TerminalError,
)
from tasks.records import SourceFormat
from tasks.tracks import Recording

START_S = 60.0
ANSWER_BYTES = 65_536
_ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}

Decode = Callable[[Path, Path, DecodeOptions], tuple[SourceFormat, int]]
"""Decodes a recording into a file of interleaved float32 samples; gives its format and its samples per channel."""


@dataclass(frozen=True)
class DecoderLimits:
    """What one call may cost; memory comes on top of what an idle child has."""

    max_memory_bytes: int = 1_000_000_000
    max_cpu_s: float = 600.0
    max_wall_s: float = 900.0
    max_output_bytes: int = 18_000_000_000  # 12 hours of two channels at 48 kHz
    calls_per_process: int = 100


class DecoderPool:
    """Child processes that decode, started when they are needed, as many as threads ask at once.

    Args:
        limits: what one call may cost.
        decode: what the children run; a function of a module that they can import.
    """

    def __init__(self, limits: DecoderLimits, decode: Decode = decode_to_file) -> None:
        self.limits = limits
        self._function = f"{decode.__module__}:{decode.__qualname__}"
        self._idle: list[_Child] = []
        self._lock = Lock()

    def __enter__(self) -> Self:
        """Nothing is started yet."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End all children."""
        self.close()

    def close(self) -> None:
        """End the children that are idle; others end with their call."""
        with self._lock:
            idle, self._idle = self._idle, []
        for child in idle:
            child.kill()

    def decode(self, path: Path, options: DecodeOptions) -> Recording:
        """Decode a recording into a file beside it, which is the caller's.

        A call is only blamed for a crash that it causes in a fresh process: calls before it may have left a used one
        damaged.

        Args:
            path: the recording.
            options: bounds, and how headerless sound is read.

        Raises:
            DecoderCrashed: the decoder died.
            DecoderOutOfMemory: the decoder asked for too much memory.
            DecoderTimeout: the decoder took too long.
            CallError: what `tasks.decoding.stream` raises.
            DecoderUnavailable: no decoder can be started.
        """
        output = path.with_name(f"{path.name}.samples")
        try:
            with self._lock:
                child = self._idle.pop() if self._idle else None
            if child is not None:
                try:
                    return self._decode(child, path, output, options)
                except (DecoderCrashed, DecoderOutOfMemory):
                    pass
            return self._decode(_Child(self._function, self.limits), path, output, options)
        except BaseException:
            output.unlink(missing_ok=True)
            raise

    def _decode(self, child: _Child, path: Path, output: Path, options: DecodeOptions) -> Recording:
        try:
            answer = child.ask({"path": str(path), "output": str(output), "options": asdict(options)})
            decoded = _decoded(answer, output)
        except BaseException as error:
            # A file that is refused in good order is no failure of the decoder.
            if isinstance(error, TerminalError) and not isinstance(error, DecoderCrashed | DecoderOutOfMemory):
                self._keep(child)
            else:
                child.kill()
            raise
        self._keep(child)
        return decoded

    def _keep(self, child: _Child) -> None:
        if child.calls >= self.limits.calls_per_process:
            child.kill()
            return
        with self._lock:
            self._idle.append(child)


def _decoded(answer: dict[str, Any], output: Path) -> Recording:
    """What an answer says, after a look at whether it can be."""
    if "code" in answer:
        kinds: list[type[CallError]] = [*TerminalError.__subclasses__(), ScratchFull]
        known = {kind.code: kind for kind in kinds}
        raise known.get(str(answer["code"]), ProcessingError)(str(answer.get("message")))
    try:
        given = answer["source"]
        source = SourceFormat(**given | {"channel_s": tuple(map(float, given["channel_s"]))})  # JSON has no tuples
        recording = Recording(output, source, int(answer["samples"]))
        written, promised = output.stat().st_size, 4 * recording.samples * recording.source.channels
        if written != promised or not promised:
            message = f"{written} bytes are not {promised}"
            raise ValueError(message)  # noqa: TRY301  # caught below, as what else makes no sense
    except (KeyError, TypeError, ValueError, OSError) as error:
        message = f"the decoder gave an answer that makes no sense ({type(error).__name__})"
        raise DecoderCrashed(message) from error
    return recording


@dataclass(slots=True)
class _Child:
    """One decoder process."""

    function: str
    limits: DecoderLimits
    calls: int = 0
    process: subprocess.Popen[bytes] = field(init=False)

    def __post_init__(self) -> None:
        """Start the process and wait until it has imported everything."""
        with tempfile.TemporaryFile() as errors:
            self.process = self._start(errors)
            try:
                ready = self._line(time.monotonic() + START_S)
            except (DecoderCrashed, DecoderTimeout):
                ready = b""
            if ready != b"ready\n":
                self.kill()
                errors.seek(0)
                reason = errors.read().decode(errors="replace").strip().rpartition("\n")[2]
                message = f"the decoder's process does not start: {reason or f'no answer within {START_S:g} s'}"
                raise DecoderUnavailable(message)

    def _start(self, errors: IO[bytes]) -> subprocess.Popen[bytes]:
        # -P: a folder `tasks` where the user stands is not ours. The same places as here are searched for modules.
        environment = _ONE_THREAD | {"PYTHONPATH": os.pathsep.join(entry for entry in sys.path if entry)}
        command = [sys.executable, "-P", "-m", "tasks.decoder_child", self.function, json.dumps(asdict(self.limits))]
        try:
            return subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, env=environment
            )
        except OSError as error:
            message = f"the decoder's process does not start: {error}"
            raise DecoderUnavailable(message) from error

    def ask(self, request: dict[str, Any]) -> dict[str, Any]:
        """The answer to one request.

        Raises:
            DecoderCrashed, DecoderTimeout: there is none.
        """
        self.calls += 1
        assert self.process.stdin is not None  # noqa: S101  # asked for above
        try:
            self.process.stdin.write(json.dumps(request).encode() + b"\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            self._died()
        line = self._line(time.monotonic() + self.limits.max_wall_s)
        try:
            return cast("dict[str, Any]", dict(json.loads(line)))
        except (ValueError, TypeError) as error:
            message = "the decoder gave an answer that makes no sense"
            raise DecoderCrashed(message) from error

    def kill(self) -> None:
        """End the process, whatever it does."""
        self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                pipe.close()

    def _line(self, deadline: float) -> bytes:
        """The next line that the process writes."""
        assert self.process.stdout is not None  # noqa: S101  # asked for above
        line = b""
        with selectors.DefaultSelector() as selector:
            selector.register(self.process.stdout, selectors.EVENT_READ)
            while not line.endswith(b"\n"):
                if not selector.select(max(0.0, deadline - time.monotonic())):
                    message = f"decoding took more than {self.limits.max_wall_s:g} s (decoder.max_wall_s)"
                    raise DecoderTimeout(message)
                part = os.read(self.process.stdout.fileno(), ANSWER_BYTES)
                line += part
                if not part or len(line) > ANSWER_BYTES:
                    self._died()
        return line

    def _died(self) -> None:
        """Say of what.

        Raises:
            DecoderCrashed, DecoderTimeout: always.
        """
        try:
            status = self.process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            message = "the decoder stopped to answer"
            raise DecoderCrashed(message) from None
        if status == -signal.SIGXCPU:
            message = f"decoding took more than {self.limits.max_cpu_s:g} CPU seconds (decoder.max_cpu_s)"
            raise DecoderTimeout(message)
        how = signal.Signals(-status).name if status < 0 else f"exit status {status}"
        message = f"the decoder died of the recording ({how})"
        raise DecoderCrashed(message)
