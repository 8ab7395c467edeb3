"""The errors of callscribe.

::

    CallscribeError             every error that we raise on purpose
    ├── CallError               one call cannot be processed now: it becomes a `failed` row
    │   ├── TerminalError       this recording will never work: not tried again until its bytes change
    │   │   ├── EmptyObject         empty_object: the object has no bytes
    │   │   ├── UndecodableAudio    undecodable_audio: no decoder can make sound of the bytes
    │   │   ├── ZeroLengthAudio     zero_length_audio: it decodes, to nothing
    │   │   ├── TooLarge            too_large: more bytes than the limit
    │   │   ├── TooLong             too_long: more seconds than the limit
    │   │   ├── NotMono             not_mono: a file that is named as one channel of a call holds several
    │   │   ├── DecoderCrashed      decoder_crashed: the bytes kill the decoder's process
    │   │   ├── DecoderOutOfMemory  decoder_out_of_memory: the bytes make the decoder ask for more than the limit
    │   │   ├── AmbiguousCallId     ambiguous_call_id: several objects of a month claim one call_id
    │   │   └── CrashedWorker       crashed_worker: the process that works on it alone dies, again and again
    │   └── TransientError      another try may work: the next run tries again, up to a limit
    │       ├── ObjectVanished      object_vanished: listed, and gone when it was read
    │       ├── ObjectChanged       object_changed: replaced between listing and reading
    │       ├── ObjectRefused       object_refused: the store refuses this one object, and no other
    │       ├── StorageUnavailable  storage_unavailable: time-outs, 5xx, slow-downs after all retries
    │       ├── DecoderTimeout      decoder_timeout: decoding took too long: the bytes, or a machine that is too busy
    │       ├── ScratchFull         scratch_full: no room on the scratch disk for the decoded call
    │       ├── FallbackUnavailable fallback_unavailable: the fallback recogniser did not answer, or not well
    │       ├── FallbackRejected    fallback_rejected: the fallback recogniser does not take this call's sound
    │       └── ProcessingError     processing_error: a model or a library raised on this call
    ├── PreconditionFailed      a conditional write met another version: read again and decide
    └── UsageError              something around the calls is wrong: stops the run with one message
        ├── SettingsError           a setting is missing or wrong
        ├── StorageRefused          missing bucket, wrong keys, unreachable endpoint, no conditional writes
        ├── BundleError             a model bundle is missing, incomplete or altered
        ├── DeviceError             the asked-for device cannot run the models
        │   └── DeviceFailed            it could, and cannot any more
        ├── FallbackRefused         the fallback recogniser refuses us, or gives no times of words
        ├── DecoderUnavailable      the decoder's process does not start
        ├── RunIncomplete           a run ended with objects that it cannot account for
        ├── CertificateBroken       a certificate is missing or altered
        ├── CallHeld                a call that is to be erased is under legal hold
        ├── NotAsCertified          what stands is not what was certified
        ├── GateFailed              transcripts of a set are not as right as the gate demands
        ├── GateRequired            a run needs a gate that was passed with its models and settings, and there is none
        ├── BudgetReached           a run has come to the end of its budget, and may be gone on with
        ├── RunUnderWay             another process is working on the month
        ├── LeaseLost               another process has taken over the month
        ├── ClusterUnreachable      Kubernetes does not answer, or refuses
        └── QueryError              a query that DuckDB refuses, or a call that is not there

A `CallError` is caught in exactly one place, `tasks.pipeline`, and becomes a row; a `UsageError` is caught in exactly
one place, `flows.cli`, and becomes one sentence and an exit code. Every error carries what it is about as attributes
and survives pickling.
"""

import errno
import tempfile
import traceback
from typing import ClassVar


class CallscribeError(Exception):
    """Base of every error that callscribe raises on purpose.

    Args:
        message: one sentence for the person who reads it: what is wrong with which input, and what to do.
    """

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class CallError(CallscribeError):
    """One call cannot be processed; it becomes a `failed` row with this `code` and message."""

    code: ClassVar[str] = "failed"
    transient: ClassVar[bool] = False


class TerminalError(CallError):
    """This recording will never work; it is not tried again until its bytes change."""


class EmptyObject(TerminalError):
    """The archived object has no bytes."""

    code = "empty_object"


class UndecodableAudio(TerminalError):
    """No decoder can make sound of the bytes."""

    code = "undecodable_audio"


class ZeroLengthAudio(TerminalError):
    """The recording decodes, to no samples at all."""

    code = "zero_length_audio"


class TooLarge(TerminalError):
    """The object has more bytes than `archive.max_bytes`."""

    code = "too_large"


class TooLong(TerminalError):
    """The recording lasts longer than `archive.max_duration_s`."""

    code = "too_long"


class NotMono(TerminalError):
    """A file that is named as one channel of a call in several files has several channels itself."""

    code = "not_mono"


class DecoderCrashed(TerminalError):
    """The bytes kill the process that decodes them, also a fresh one."""

    code = "decoder_crashed"


class DecoderOutOfMemory(TerminalError):
    """The bytes make the decoder ask for more than `decoder.max_memory_bytes`, also in a fresh process."""

    code = "decoder_out_of_memory"


class AmbiguousCallId(TerminalError):
    """Several objects of one month claim the same call_id; none of them is transcribed."""

    code = "ambiguous_call_id"


class CrashedWorker(TerminalError):
    """The process that worked on the call, and on no other, died, more than once."""

    code = "crashed_worker"


class TransientError(CallError):
    """Another try may work; the next run tries again, up to `run.max_attempts`."""

    transient = True
    counts: ClassVar[bool] = True
    """Whether a try that ended so is one of `run.max_attempts`: not where it says nothing of the call."""

    @classmethod
    def uncounted(cls) -> frozenset[str]:
        """The codes of the errors that do not count against a call."""
        return frozenset(error.code for error in cls.__subclasses__() if not error.counts)

    @classmethod
    def codes(cls) -> frozenset[str]:
        """The codes of all errors of this kind, as rows hold them."""
        return frozenset(error.code for error in cls.__subclasses__())


class ObjectVanished(TransientError):
    """The object was listed and is gone when it is read."""

    code = "object_vanished"


class ObjectChanged(TransientError):
    """The object was replaced between listing and reading."""

    code = "object_changed"


class ObjectRefused(TransientError):
    """The store refuses to read this one object (rights, key, storage class), and answers for the rest."""

    code = "object_refused"


class StorageUnavailable(TransientError):
    """The object store did not answer well after all retries."""

    code = "storage_unavailable"


class DecoderTimeout(TransientError):
    """Decoding took longer than `decoder.max_cpu_s` or `decoder.max_wall_s`: the bytes, or a machine too busy."""

    code = "decoder_timeout"


class ScratchFull(TransientError):
    """The scratch disk (`TMPDIR`) has no room for the decoded call; the try does not count against the call."""

    code = "scratch_full"
    counts = False

    def __init__(self, message: str | None = None) -> None:
        where = tempfile.gettempdir()
        super().__init__(
            message
            or f"no room for the decoded call in the scratch folder {where}: make room there, or name another folder "
            "in TMPDIR; the next run tries the call again"
        )


def places_of(error: BaseException) -> str:
    """Where an error was raised, and by way of where: what may be told of one that nobody foresaw.

    Libraries quote the value that they choke on, and that may be what was spoken.
    """
    places = [f"{at.filename}:{at.lineno} in {at.name}" for at in traceback.extract_tb(error.__traceback__)]
    return f"at {places[-1]}; from {', '.join(places[:-1])}" if places else "nowhere"


def is_full(error: BaseException) -> bool:
    """Whether a disk, or somebody's share of it, has no more room."""
    return isinstance(error, OSError) and error.errno in {errno.ENOSPC, errno.EDQUOT}


class FallbackUnavailable(TransientError):
    """The fallback recogniser did not answer, or not well, after all tries; it does not count against the call."""

    code = "fallback_unavailable"
    counts = False


class FallbackRejected(TransientError):
    """The fallback recogniser does not take the call's sound; that says nothing of what our own makes of it."""

    code = "fallback_rejected"
    counts = False


class ProcessingError(TransientError):
    """A model or a library raised on this call."""

    code = "processing_error"


class PreconditionFailed(CallscribeError):
    """A conditional write met another version of the object than it was told to expect."""


class UsageError(CallscribeError):
    """Something around the calls is wrong; the run stops with this one message."""

    exit_code: ClassVar[int] = 2


class SettingsError(UsageError):
    """A setting is missing or wrong."""


class StorageRefused(UsageError):
    """The store says no: missing bucket, wrong keys, unreachable endpoint, no conditional writes."""

    exit_code = 4


class BundleError(UsageError):
    """A model bundle is missing, incomplete or altered."""

    exit_code = 5


class DeviceError(UsageError):
    """The asked-for device cannot run the models."""

    exit_code = 6


class FallbackRefused(UsageError):
    """The fallback recogniser refuses us: wrong key, address or model, a redirect, no times of words."""

    exit_code = 12


class DeviceFailed(DeviceError):
    """The device ran the models, and does not any more; a call may be why."""


class DecoderUnavailable(UsageError):
    """The process that decodes recordings does not start."""

    exit_code = 1


class RunIncomplete(UsageError):
    """A run ended with objects that it cannot account for; its certificate says how many."""

    exit_code = 7


class CertificateBroken(UsageError):
    """The chain of certificates does not hold: one is missing or was altered."""

    exit_code = 9


class CallHeld(UsageError):
    """A call that is to be erased is under legal hold: nothing was erased."""

    exit_code = 10


class NotAsCertified(UsageError):
    """What stands in a data set is not what its certificates say."""

    exit_code = 9


class GateFailed(UsageError):
    """The transcripts of a set are not as right as a gate demands, or too few calls say so."""

    exit_code = 13


class GateRequired(UsageError):
    """A run has to show a gate that was passed with its models and settings, and there is none."""

    exit_code = 14


class BudgetReached(UsageError):
    """A run has come to the end of its budget: what it did stands, and it goes on when it is given more."""

    exit_code = 11


class RunUnderWay(UsageError):
    """Another process is working on the month, and lives."""

    exit_code = 8


class LeaseLost(UsageError):
    """Another process has taken over the month: this one stops."""

    exit_code = 8


class ClusterUnreachable(UsageError):
    """Kubernetes does not answer, or refuses."""

    exit_code = 4


class QueryError(UsageError):
    """A query that DuckDB refuses, or a call that the data set does not hold."""
