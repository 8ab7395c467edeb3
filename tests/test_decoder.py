"""Decoding in a process of its own: what a recording does to its decoder costs that call, and no other."""

import io
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import decoder_doubles
import numpy as np
import pytest
import soundfile
from sounds import noise, recorded, wav

from tasks.decoder import DecoderLimits, DecoderPool
from tasks.decoding import DecodeOptions, decode
from tasks.errors import (
    CallError,
    DecoderCrashed,
    DecoderOutOfMemory,
    DecoderTimeout,
    DecoderUnavailable,
    ProcessingError,
    TooLarge,
    TooLong,
    UndecodableAudio,
)

LIMITS = DecoderLimits(max_memory_bytes=100_000_000, max_cpu_s=1, max_wall_s=5, max_output_bytes=50_000_000)
OPTIONS = DecodeOptions(max_duration_s=3600, max_output_bytes=LIMITS.max_output_bytes)
ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def doubles() -> Iterator[DecoderPool]:
    """Decoders that do what recordings say."""
    with DecoderPool(LIMITS, decoder_doubles.by_content) as pool:
        yield pool


@pytest.fixture(scope="module")
def decoders() -> Iterator[DecoderPool]:
    """Real decoders with small limits."""
    with DecoderPool(LIMITS) as pool:
        yield pool


def process_of(pool: DecoderPool, folder: Path) -> str:
    """The number of the process that is used next."""
    return pool.decode(recorded(folder / "tell", b"tell "), OPTIONS).source.codec.split()[0]


def flac(samples: np.ndarray, rate: int = 8000) -> bytearray:
    """A FLAC file."""
    file = io.BytesIO()
    soundfile.write(file, samples, rate, format="FLAC", subtype="PCM_16")
    return bytearray(file.getvalue())


@pytest.mark.parametrize(
    "data", [wav(2.0), bytes(flac(np.stack([noise(1), noise(2)], axis=1)))], ids=["mono", "stereo"]
)
def test_the_same_sound_as_in_this_process(tmp_path: Path, decoders: DecoderPool, data: bytes) -> None:
    """The child changes nothing: its samples lie interleaved in a file beside the recording, which is the caller's."""
    path = recorded(tmp_path / "call", data)
    found, (expected, same) = decoders.decode(path, OPTIONS), decode(path, 3600)
    assert same == found.source
    assert (expected.samples.shape[1], expected.duration_s) == (found.samples, found.duration_s)
    assert np.array_equal(expected.samples.T, np.concatenate(list(found.blocks())))
    assert [path, found.path] == sorted(tmp_path.iterdir())
    assert 4 * expected.samples.size == found.path.stat().st_size


@pytest.mark.parametrize(
    ("word", "error", "message"),
    [
        ("hang", DecoderTimeout, r"more than 5 s \(decoder.max_wall_s\)"),
        ("spin", DecoderTimeout, r"more than 1 CPU seconds \(decoder.max_cpu_s\)"),
        ("segfault", DecoderCrashed, "SIGSEGV"),
        ("abort", DecoderCrashed, "SIGABRT"),
        ("bloat", DecoderOutOfMemory, "decoder.max_memory_bytes"),
        ("lie", DecoderCrashed, "makes no sense"),
        ("babble", UndecodableAudio, "refused after much talk"),
        ("stop", ProcessingError, "LookupError: an odd one"),
    ],
)
def test_what_a_decoder_may_do(
    tmp_path: Path, doubles: DecoderPool, word: str, error: type[CallError], message: str
) -> None:
    """Each has its error and leaves nothing behind; the next call is decoded as if nothing had been."""
    path = recorded(tmp_path / "call", word.encode() + b" ")
    with pytest.raises(error, match=message):
        doubles.decode(path, OPTIONS)
    assert [path] == list(tmp_path.iterdir())
    assert 1.0 == doubles.decode(recorded(tmp_path / "next", wav(1.0)), OPTIONS).duration_s


def test_a_process_is_used_again_and_replaced(tmp_path: Path) -> None:
    """A number of calls, or one failure, and a fresh one comes; a refused file is no failure."""
    with DecoderPool(replace(LIMITS, calls_per_process=4), decoder_doubles.by_content) as pool:
        first = process_of(pool, tmp_path)
        with pytest.raises(UndecodableAudio):
            pool.decode(recorded(tmp_path / "garbage", b"babble "), OPTIONS)
        assert [first, first] == [process_of(pool, tmp_path), process_of(pool, tmp_path)]
        second = process_of(pool, tmp_path)
        assert first != second
        with pytest.raises(ProcessingError):
            pool.decode(recorded(tmp_path / "odd", b"stop "), OPTIONS)
        assert second != process_of(pool, tmp_path)


def test_a_call_pays_for_no_other(tmp_path: Path) -> None:
    """A process that the call before has damaged dies of a good recording: it is decoded in a fresh one."""
    with DecoderPool(LIMITS, decoder_doubles.by_content) as pool:
        pool.decode(recorded(tmp_path / "bad", b"weaken "), OPTIONS)
        data = b"RIFF " + bytes(20)
        with pytest.raises(UndecodableAudio):  # as a fresh process says of it
            pool.decode(recorded(tmp_path / "good", data), OPTIONS)


def test_what_the_process_knows(tmp_path: Path, doubles: DecoderPool, monkeypatch: pytest.MonkeyPatch) -> None:
    """No credentials of the parent, and no heavy library: it starts at once."""
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    doubles.close()
    found = doubles.decode(recorded(tmp_path / "call", b"tell "), OPTIONS)
    assert "[] []" == found.source.codec.partition(" ")[2]


def test_threads_have_a_process_each(tmp_path: Path) -> None:
    """Calls that are decoded at the same time do not wait for each other, nor mix."""
    paths = [recorded(tmp_path / f"call-{seconds}", wav(float(seconds))) for seconds in range(1, 9)]
    with DecoderPool(LIMITS) as pool, ThreadPoolExecutor(4) as threads:
        found = list(threads.map(lambda path: pool.decode(path, OPTIONS).duration_s, paths))
        assert 1 <= len(pool._idle) <= 4
    assert [float(seconds) for seconds in range(1, 9)] == found
    assert [] == pool._idle


def test_a_length_that_is_only_declared(tmp_path: Path, decoders: DecoderPool) -> None:
    """10 kB that declare 100 hours give their half second, and take no memory for the rest."""
    data = bytearray(wav(0.6)[:10_000])
    size = 100 * 3600 * 16_000 % (1 << 31)
    data[40:44] = size.to_bytes(4, "little")
    found = decoders.decode(recorded(tmp_path / "call", bytes(data)), OPTIONS)
    assert 0.6 == found.duration_s
    assert found.source.declared_s is not None
    assert found.source.declared_s > 3600
    lying = flac(noise(1, 0.5, 0.1)[:4000])
    total = 100 * 3600 * 8000
    lying[21] = lying[21] & 0xF0 | total >> 32
    lying[22:26] = (total & 0xFFFF_FFFF).to_bytes(4, "big")
    found = decoders.decode(recorded(tmp_path / "call", bytes(lying)), OPTIONS)
    assert (0.5, 360_000.0) == (found.duration_s, found.source.declared_s)


@pytest.mark.long
def test_hours_of_silence_in_a_small_file(tmp_path: Path, decoders: DecoderPool) -> None:
    """Silence packs a thousandfold: what a file may become is bounded in time and in bytes, not by its size."""
    path = tmp_path / "call"
    with soundfile.SoundFile(path, "w", 8000, 1, "PCM_16", format="FLAC") as file:
        for _ in range(5):
            file.write(np.zeros(3600 * 8000, dtype=np.float32))
    assert path.stat().st_size < 1_000_000
    with pytest.raises(TooLong, match=r"archive\.max_duration_s"):
        decoders.decode(path, replace(OPTIONS, max_duration_s=300))
    with pytest.raises(TooLarge, match=r"decoder\.max_output_bytes"):
        decoders.decode(path, replace(OPTIONS, max_duration_s=1e6))
    assert [path] == list(tmp_path.iterdir())


def test_long_recordings_take_no_memory(tmp_path: Path) -> None:
    """An hour of two channels (230 MB of samples) is decoded by a process that may take 30 MB."""
    path = tmp_path / "call"
    with soundfile.SoundFile(path, "w", 8000, 2, "ULAW", format="WAV") as file:
        for _ in range(60):
            file.write(np.zeros((60 * 8000, 2), dtype=np.float32))
    limits = replace(LIMITS, max_memory_bytes=30_000_000, max_output_bytes=300_000_000, max_cpu_s=60, max_wall_s=60)
    with DecoderPool(limits) as pool:
        found = pool.decode(path, replace(OPTIONS, max_duration_s=3600, max_output_bytes=300_000_000))
    assert (3600.0, 4 * 2 * 3600 * 8000) == (found.duration_s, found.path.stat().st_size)


def test_a_decoder_that_does_not_start(tmp_path: Path) -> None:
    """One sentence with the reason, and no call is blamed."""

    def unknown(*_: object) -> None:
        """A function that no other process can import."""

    unknown.__module__ = "no_such_module"
    with pytest.raises(DecoderUnavailable, match="does not start: ModuleNotFoundError"):
        DecoderPool(LIMITS, unknown).decode(recorded(tmp_path / "call", wav()), OPTIONS)


def test_children_die_with_their_parent(tmp_path: Path) -> None:
    """A worker that is killed leaves no decoder behind, not even one that hangs."""
    recorded(tmp_path / "call", b"hang ")
    program = (
        "import sys, threading; from pathlib import Path; import decoder_doubles\n"
        "from tasks.decoder import DecoderPool, DecoderLimits; from tasks.decoding import DecodeOptions\n"
        "pool = DecoderPool(DecoderLimits(), decoder_doubles.by_content)\n"
        "ask = lambda: pool.decode(Path(sys.argv[1]), DecodeOptions(60, 10**9))\n"
        "pool.decode(Path(sys.argv[2]), DecodeOptions(60, 10**9)); print(pool._idle[0].process.pid, flush=True)\n"
        "ask()\n"
    )
    recorded(tmp_path / "tell", b"tell ")
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}"}
    command = [sys.executable, "-c", program, str(tmp_path / "call"), str(tmp_path / "tell")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment) as parent:
        child = int(parent.stdout.readline())
        time.sleep(0.3)
        assert Path(f"/proc/{child}").exists()
        parent.kill()
    deadline = time.monotonic() + 10
    while running(child) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not running(child)


def running(process: int) -> bool:
    """Whether a process is there, and not only its entry."""
    try:
        return Path(f"/proc/{process}/stat").read_text(encoding="ascii").rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False
