"""What the tests let a decoder's process do instead of decoding. Importable by that process; it has no other use."""

import ctypes
import os
import signal
import socket
import sys
import time
from pathlib import Path

import numpy as np

from tasks.decoding import DecodeOptions, decode_to_file
from tasks.errors import UndecodableAudio
from tasks.records import SourceFormat

FORMAT = SourceFormat("double", "double", 8000, 1)


def by_content(path: Path, output: Path, options: DecodeOptions) -> tuple[SourceFormat, int]:
    """Do what the recording says, in words; decode it where it says nothing."""
    word = path.read_bytes()[:20].split(b" ")[0].decode("latin-1")
    deed = DEEDS.get(word)
    return deed(path, output, options) if deed else decode_to_file(path, output, options)


def hang(*_: object) -> tuple[SourceFormat, int]:
    """Sleep, and use no CPU."""
    time.sleep(3600)
    return FORMAT, 0


def spin(*_: object) -> tuple[SourceFormat, int]:
    """Use CPU without end."""
    while True:
        pass


def segfault(*_: object) -> tuple[SourceFormat, int]:
    """Read where nothing is."""
    ctypes.string_at(0)
    return FORMAT, 0


def bloat(*_: object) -> tuple[SourceFormat, int]:
    """Ask for memory without end."""
    held = []
    while True:
        held.append(np.ones(10_000_000, dtype=np.uint8))


def abort(*_: object) -> tuple[SourceFormat, int]:
    """Die as C++ does of an exception."""
    os.abort()


def lie(*_: object) -> tuple[SourceFormat, int]:
    """Claim samples that are not there."""
    return FORMAT, 1_000_000


def babble(*_: object) -> tuple[SourceFormat, int]:
    """Print, as libraries do, to both streams, then refuse."""
    for stream in (1, 2):
        os.write(stream, b'{"source": 1}\n' * 100)
    raise UndecodableAudio("refused after much talk")


def stop(*_: object) -> tuple[SourceFormat, int]:
    """Raise what nobody thought of."""
    raise LookupError("an odd one")


def tell(_: Path, output: Path, __: DecodeOptions) -> tuple[SourceFormat, int]:
    """Say what kind of process this is, in the name of the codec."""
    credentials = [name for name in os.environ if "AWS" in name or "SECRET" in name]
    heavy = [name for name in ("torch", "prefect", "pydantic", "librosa", "boto3") if name in sys.modules]
    output.write_bytes(bytes(4))
    return SourceFormat(f"{os.getpid()} {credentials} {heavy}", socket.__name__, 8000, 1), 1


def weaken(path: Path, output: Path, options: DecodeOptions) -> tuple[SourceFormat, int]:
    """Leave this process in a state in which its next call dies, as a damaged heap does."""
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    DEEDS["RIFF"] = segfault
    return tell(path, output, options)


DEEDS = {
    "hang": hang, "spin": spin, "segfault": segfault, "bloat": bloat, "abort": abort, "lie": lie, "babble": babble,
    "stop": stop, "tell": tell, "weaken": weaken,
}  # fmt: skip
