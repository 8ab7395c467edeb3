"""Streams that do not decode, and files that promise too much: no side is lost in silence, no limit is passed."""

from pathlib import Path

import av
import numpy as np
import pytest
from format_files import Stream, mux
from hypothesis import given, settings
from hypothesis import strategies as st
from sounds import encoded, recorded
from stream_files import found, hiss, stream

from tasks.decoder import DecoderLimits, DecoderPool
from tasks.decoding import DecodeOptions, decode, decode_to_file
from tasks.errors import CallError, TooLarge, TooLong, UndecodableAudio

NO_LIMIT_S = 3600.0


def without_decoder(path: Path, codec: bytes) -> Path:
    """A Matroska file in which a codec has a name that nobody knows."""
    data = path.read_bytes()
    assert 1 == data.count(codec)
    return recorded(path, data.replace(codec, codec[:-1] + b"?"))


@pytest.mark.parametrize(("codec", "left", "lost"), [(b"A_FLAC", 1, 0), (b"A_PCM/INT/LIT", 0, 1)])
def test_a_side_without_a_decoder(tmp_path: Path, codec: bytes, left: int, lost: int) -> None:
    """The other one is decoded; the lost one keeps its channel, silent, and the call does not look complete."""
    path = mux(tmp_path / "call", "matroska", [stream(0, 4, "flac"), stream(1, 4, "pcm_s16le")])
    audio, source = decode(without_decoder(path, codec), NO_LIMIT_S)
    assert (2, 2, 1, 4.0) == (source.channels, source.streams, source.undecoded_streams, source.undecoded_s)
    assert ["flac", "pcm_s16le"][left] == source.codec
    assert (4.0, 0.0) == (source.channel_s[left], source.channel_s[lost])
    assert not audio.samples[lost].any()
    assert 0.99 < found(audio, left, left, 4)[1]


def test_no_side_has_a_decoder(tmp_path: Path) -> None:
    """Then there is no call."""
    path = mux(tmp_path / "call", "matroska", [stream(0, 1, "flac"), stream(1, 1, "pcm_s16le")])
    without_decoder(without_decoder(path, b"A_FLAC"), b"A_PCM/INT/LIT")
    with pytest.raises(UndecodableAudio, match="no decoder for the sound in the matroska,webm file"):
        decode(path, NO_LIMIT_S)


def test_a_side_without_packets(tmp_path: Path) -> None:
    """A track that was made and never written to is counted."""
    empty = Stream("flac", 8000, np.zeros((1, 0), dtype=np.float32))
    audio, source = decode(mux(tmp_path / "call", "matroska", [empty, stream(1, 4)]), NO_LIMIT_S)
    assert (2, 1, (0.0, 4.0)) == (source.streams, source.undecoded_streams, source.channel_s)
    assert 0.99 < found(audio, 1, 1, 4)[1]


def test_no_side_has_a_frame(tmp_path: Path) -> None:
    """Both have packets and none of them decodes: that is no recording of no length."""
    path = mux(tmp_path / "call", "matroska", [stream(1, 1), stream(2, 1)])
    with av.open(str(path)) as container:
        first = min(packet.pos for packet in container.demux() if packet.size)
    data = path.read_bytes()
    with pytest.raises(UndecodableAudio, match="none of the flac frames in the matroska,webm file can be decoded"):
        decode(recorded(path, data[:first] + data[first:].replace(b"\xff\xf8", b"\x00\x00")), NO_LIMIT_S)


def test_a_side_that_is_damaged(tmp_path: Path) -> None:
    """Zeros over the packets of one stream are its loss alone, in its time, and counted."""
    path = tmp_path / "call"
    mux(path, "matroska", [stream(1, 20), stream(2, 20)])
    with av.open(str(path)) as container:
        places = [
            (packet.pos, packet.size)
            for packet in container.demux(audio=1)
            if packet.size and 8 < packet.pts / 1000 < 12
        ]
    data = bytearray(path.read_bytes())
    for place, size in places:
        start = data.index(b"\xff\xf8", place)
        data[start : start + size] = bytes(size)
    audio, source = decode(recorded(path, bytes(data)), NO_LIMIT_S)
    assert pytest.approx(4.0, abs=1.2) == source.undecoded_s
    assert (2, 0) == (source.streams, source.undecoded_streams)
    assert 0.999 < found(audio, 0, 1, 20)[1]
    whole = hiss(2, 20, 8000)[0]
    for part in (slice(0, 7 * 8000), slice(13 * 8000, 20 * 8000)):
        assert float(np.abs(whole[part] - audio.samples[1, part]).max()) < 1e-3


def test_a_side_whose_end_is_damaged(tmp_path: Path) -> None:
    """Zeros over the last packets of one stream are counted too: the other side keeps the call as long as it was."""
    path = tmp_path / "call"
    mux(path, "matroska", [stream(1, 20), stream(2, 20)])
    with av.open(str(path)) as container:
        places = [(packet.pos, packet.size) for packet in container.demux(audio=1) if packet.size and packet.pts > 8000]
    data = bytearray(path.read_bytes())
    for place, size in places:
        start = data.index(b"\xff\xf8", place)
        data[start : start + size] = bytes(size)
    audio, source = decode(recorded(path, bytes(data)), NO_LIMIT_S)
    assert pytest.approx(20.0, abs=0.1) == audio.duration_s
    assert pytest.approx(12.0, abs=1.2) == source.undecoded_s


@pytest.mark.parametrize("kept", [0.8, 0.4])
def test_a_side_that_lost_its_end(tmp_path: Path, kept: float) -> None:
    """A cut costs the stream that lies behind it; the other one is whole, and so the length tells nothing."""
    sides = [stream(1, 20, "pcm_s16le"), stream(2, 20, "pcm_s16le")]
    options = {"movflags": "faststart", "max_interleave_delta": "1"}
    data = mux(tmp_path / "whole", "mov", sides, in_time=False, **options).read_bytes()
    audio, source = decode(recorded(tmp_path / "call", data[: round(kept * len(data))]), NO_LIMIT_S)
    assert source.declared_s == pytest.approx(20.0)
    if kept > 0.5:
        assert pytest.approx(20.0, abs=0.1) == audio.duration_s
        assert pytest.approx(40 * (1 - kept), abs=0.5) == source.undecoded_s
        assert 0.99 < found(audio, 0, 1, 20)[1]
    else:
        assert (1, audio.duration_s) == (source.undecoded_streams, pytest.approx(source.undecoded_s, abs=0.001))


@given(cut=st.integers(0, 6000), flips=st.lists(st.tuples(st.integers(0, 5999), st.integers(0, 255)), max_size=12))
@settings(max_examples=60, deadline=None)
def test_broken_streams(tmp_path_factory: pytest.TempPathFactory, cut: int, flips: list[tuple[int, int]]) -> None:
    """Whatever the bytes are, there are channels of one length, or an error of this call."""
    path = tmp_path_factory.mktemp("broken") / "call"
    data = bytearray(mux(path, "matroska", [stream(1, 1), stream(2, 1, start_s=0.2)]).read_bytes())
    for position, value in flips:
        data[position % len(data)] = value
    try:
        audio, source = decode(recorded(path, bytes(data[: len(data) - cut])), NO_LIMIT_S)
    except CallError:
        return
    assert source.channels == audio.channels
    assert audio.samples.shape[1] > 0


# -------------------------------------------------------------------------------------------------------------- bounds

LIMITS = DecoderLimits(max_memory_bytes=60_000_000, max_cpu_s=20, max_wall_s=60, max_output_bytes=50_000_000)


def test_more_streams_than_anybody_records(tmp_path: Path) -> None:
    """Each costs a demuxer: there is a bound, and up to it all are read."""
    many = [Stream("pcm_s16le", 8000, hiss(seed, 1, 8000)) for seed in range(17)]
    with pytest.raises(UndecodableAudio, match="17 audio streams, and at most 16"):
        decode(mux(tmp_path / "call", "matroska", many), NO_LIMIT_S)
    audio, _ = decode(mux(tmp_path / "call", "matroska", many[:16]), NO_LIMIT_S)
    assert [0.0] * 16 == [found(audio, index, index, 1)[0] for index in range(16)]


@pytest.mark.parametrize("muxer", ["matroska", "mov"])
def test_a_side_that_comes_after_a_hundred_hours(tmp_path: Path, muxer: str) -> None:
    """A few kB promise 23 GB of silence: it stops at the limit, and neither memory nor disk are filled before."""
    sides = [stream(1, 1, "pcm_s16le"), stream(2, 1, "pcm_s16le", start_s=360_000.0)]
    path = mux(tmp_path / "call", muxer, sides)
    assert path.stat().st_size < 50_000
    with DecoderPool(LIMITS) as pool:
        with pytest.raises(TooLong, match=r"archive\.max_duration_s"):
            pool.decode(path, DecodeOptions(300, LIMITS.max_output_bytes))
        with pytest.raises(TooLarge, match=r"decoder\.max_output_bytes"):
            pool.decode(path, DecodeOptions(1e6, LIMITS.max_output_bytes))
    assert [path] == list(tmp_path.iterdir())
    with pytest.raises(TooLong):
        decode_to_file(path, tmp_path / "samples", DecodeOptions(300, LIMITS.max_output_bytes))
    assert (tmp_path / "samples").stat().st_size <= 300 * 8000 * 2 * 4


def test_a_gap_of_a_hundred_hours(tmp_path: Path) -> None:
    """The same within one stream, which took all memory at once."""
    path = tmp_path / "call"
    with av.open(str(path), "w", format="matroska") as container:
        one = container.add_stream("pcm_s16le", rate=8000, layout="mono")
        for start in (0, 360_000 * 8000):
            frame = av.AudioFrame.from_ndarray(np.ones((1, 8000), np.int16), format="s16", layout="mono")
            frame.sample_rate, frame.pts = 8000, start
            container.mux(one.encode(frame))
    with DecoderPool(LIMITS) as pool, pytest.raises(TooLong, match=r"archive\.max_duration_s"):
        pool.decode(path, DecodeOptions(300, LIMITS.max_output_bytes))
    assert [path] == list(tmp_path.iterdir())


def test_hours_of_silence_on_both_sides(tmp_path: Path) -> None:
    """Silence packs well in every stream: what is written stays under both limits."""
    hour = Stream("flac", 8000, np.zeros((1, 3600 * 8000), dtype=np.float32))
    path = mux(tmp_path / "call", "matroska", [hour, stream(1, 1)])
    assert path.stat().st_size < 1_100_000
    for options, error, most in [
        (DecodeOptions(300, 50_000_000), TooLong, 300 * 8000 * 2 * 4),
        (DecodeOptions(1e6, 5_000_000), TooLarge, 5_000_000),
    ]:
        with pytest.raises(error):
            decode_to_file(path, tmp_path / "samples", options)
        assert (tmp_path / "samples").stat().st_size <= most


def test_long_sides_take_no_memory(tmp_path: Path) -> None:
    """An hour of two streams, one behind the other in the file, is decoded by a process that may take 60 MB."""
    hour = Stream("pcm_s16le", 8000, np.zeros((1, 3600 * 8000), dtype=np.float32))
    path = mux(tmp_path / "call", "matroska", [hour, hour], in_time=False, max_interleave_delta="1")
    with DecoderPool(DecoderLimits(60_000_000, 60, 60, 300_000_000)) as pool:
        pool.decode(path, DecodeOptions(3600, 300_000_000))


def test_what_is_written_stays_under_the_limits(tmp_path: Path) -> None:
    """An hour of silence in a few kB: the file of samples ends before the limit of time, or that of bytes."""
    path = recorded(tmp_path / "call", encoded(np.zeros(3600 * 8000, dtype=np.float32), 8000, "FLAC", "PCM_16"))
    assert path.stat().st_size < 150_000
    for options, error, most in [
        (DecodeOptions(60, 10**9), TooLong, 60 * 8000 * 4),
        (DecodeOptions(1e6, 3_000_000), TooLarge, 3_000_000),
    ]:
        with pytest.raises(error):
            decode_to_file(path, tmp_path / "samples", options)
        assert 0 < (tmp_path / "samples").stat().st_size <= most
