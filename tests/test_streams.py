"""Several audio streams in one file: all sides of the call, in order and in time."""

import json
from pathlib import Path

import av
import numpy as np
import pytest
from format_files import Stream, mux
from hypothesis import given, settings
from hypothesis import strategies as st
from stream_files import found, hiss, stream

from tasks.decoder_child import _answer
from tasks.decoding import RawFormat, decode, decode_to_file

NO_LIMIT_S = 3600.0
# What encoders put in front of the sound, and MPEG-TS does not say.
LEAD_S = {"mpegts": 0.064}


@pytest.mark.parametrize(
    ("muxer", "encoder", "rate"),
    [
        ("mp4", "aac", 16_000),
        ("mp4", "aac", 8000),
        ("mov", "pcm_s16le", 8000),
        ("mov", "pcm_mulaw", 8000),
        ("matroska", "flac", 8000),
        ("matroska", "pcm_s16le", 8000),
        ("matroska", "libopus", 48_000),
        ("webm", "libopus", 48_000),
        ("ogg", "libopus", 48_000),
        ("mpegts", "aac", 16_000),
    ],
)
def test_a_side_that_comes_late_and_leaves_early(tmp_path: Path, muxer: str, encoder: str, rate: int) -> None:
    """Both sides are there, where they were: silence before the second one, and after it; their lengths are kept."""
    sides = [stream(1, 6, encoder, rate), stream(2, 3, encoder, rate, 1.5)]
    audio, source = decode(mux(tmp_path / "call", muxer, sides), NO_LIMIT_S)
    assert (2, 2, 0, 0.0) == (source.streams, source.channels, source.undecoded_streams, source.undecoded_s)
    assert (rate, rate) == (source.sampling_rate, audio.sampling_rate)
    assert pytest.approx(6.0, abs=0.1) == audio.duration_s
    assert (pytest.approx(6.0, abs=0.15), pytest.approx(3.0, abs=0.25)) == source.channel_s
    lead = LEAD_S.get(muxer, 0.0)
    for channel, (seed, seconds, start) in enumerate([(1, 6, 0.0), (2, 3, 1.5)]):
        delay, correlation = found(audio, channel, seed, seconds)
        assert pytest.approx(start + lead, abs=0.002) == delay
        assert 0.99 < correlation
    assert not audio.samples[1, : round(1.3 * rate)].any()
    assert not audio.samples[1, round(4.8 * rate) :].any()


def test_windows_media_and_avi(tmp_path: Path) -> None:
    """ASF knows when a stream starts; AVI does not, and puts both at the start."""
    wma = [
        Stream("wmav2", 16_000, hiss(seed, 4, 16_000), start, {"b": "48000"}) for seed, start in ((1, 0.0), (2, 2.0))
    ]
    audio, _ = decode(mux(tmp_path / "call.wma", "asf", wma), NO_LIMIT_S)
    first, second = found(audio, 0, 1, 4)[0], found(audio, 1, 2, 4)[0]
    assert pytest.approx(2.0, abs=0.002) == second - first
    audio, source = decode(
        mux(tmp_path / "call.avi", "avi", [stream(1, 5, "pcm_s16le"), stream(2, 3, "pcm_s16le")]), NO_LIMIT_S
    )
    assert (5.0, (5.0, 3.0)) == (audio.duration_s, source.channel_s)
    assert [0.0, 0.0] == [found(audio, 0, 1, 5)[0], found(audio, 1, 2, 3)[0]]


@pytest.mark.parametrize(
    ("muxer", "sides", "rate"),
    [
        ("matroska", [("flac", 8000), ("libopus", 48_000)], 48_000),
        ("mp4", [("aac", 44_100), ("aac", 16_000)], 44_100),
        ("mov", [("pcm_alaw", 8000), ("pcm_s16le", 44_100)], 44_100),
        ("avi", [("pcm_s16le", 8000), ("pcm_s16le", 11_025), ("pcm_s16le", 16_000)], 16_000),
    ],
)
def test_sides_of_different_rates(tmp_path: Path, muxer: str, sides: list[tuple[str, int]], rate: int) -> None:
    """All come out at the highest rate, at their times."""
    streams = [stream(seed, 5 - seed, encoder, own) for seed, (encoder, own) in enumerate(sides)]
    audio, source = decode(mux(tmp_path / "call", muxer, streams), NO_LIMIT_S)
    assert (rate, rate, len(sides)) == (source.sampling_rate, audio.sampling_rate, source.streams)
    assert pytest.approx(5.0, abs=0.1) == audio.duration_s
    for channel in range(len(sides)):
        delay, correlation = found(audio, channel, channel, 5 - channel)
        assert pytest.approx(0.0, abs=0.002) == delay
        assert 0.98 < correlation


def test_three_streams_one_of_them_stereo(tmp_path: Path) -> None:
    """Channels are in the order of the streams; each kind of codec is named once."""
    middle = Stream("pcm_s16le", 16_000, hiss(2, 4, 16_000, channels=2), 0.7)
    sides = [stream(1, 6, "flac", 16_000), middle, stream(3, 2, "flac", 16_000, 2.5)]
    audio, source = decode(mux(tmp_path / "call", "matroska", sides), NO_LIMIT_S)
    assert ("flac+pcm_s16le", 3, 4) == (source.codec, source.streams, source.channels)
    assert (6.0, 4.0, 4.0, 2.0) == source.channel_s
    expected = np.zeros((4, 6 * 16_000), dtype=np.float32)
    expected[0] = sides[0].samples
    expected[1:3, 11_200:75_200] = middle.samples
    expected[3, 40_000:72_000] = sides[2].samples
    assert float(np.abs(expected - audio.samples).max()) < 1e-4


def test_streams_of_one_length(tmp_path: Path) -> None:
    """Nothing is filled, so nothing is said; the last packets of codecs are no difference."""
    sides = [Stream("aac", 8000, hiss(1, 4, 8000)), Stream("aac", 8000, hiss(2, 4, 8000)[:, :-900])]
    _, source = decode(mux(tmp_path / "call", "mp4", sides), NO_LIMIT_S)
    assert (2, 0, 0.0, ()) == (source.streams, source.undecoded_streams, source.undecoded_s, source.channel_s)


@given(
    sides=st.lists(
        st.tuples(st.sampled_from([8000, 16_000]), st.integers(400, 24_000), st.integers(0, 2000)),
        min_size=2,
        max_size=4,
    )
)
@settings(max_examples=40, deadline=None)
def test_every_sample_has_its_place(
    tmp_path_factory: pytest.TempPathFactory, sides: list[tuple[int, int, int]]
) -> None:
    """Lengths, starts and rates as they come: PCM is where it was, to the millisecond that Matroska counts in."""
    path = tmp_path_factory.mktemp("streams") / "call"
    streams = [
        Stream("pcm_s16le", rate, np.full((1, count), 0.25, dtype=np.float32), start / 1000)
        for rate, count, start in sides
    ]
    audio, source = decode(mux(path, "matroska", streams), NO_LIMIT_S)
    rate, begin = max(rate for rate, _, _ in sides), min(start for _, _, start in sides)
    assert (rate, len(sides)) == (audio.sampling_rate, audio.channels)
    ends = []
    for channel, (own, count, start) in zip(audio.samples, sides, strict=True):
        first, length = (start - begin) * rate // 1000, count * rate // own
        heard = np.flatnonzero(np.abs(channel) > 0.125)
        assert abs(heard[0] - first) <= rate // 1000 + 1
        assert abs(heard[-1] + 1 - first - length) <= rate // 1000 + 1
        ends.append((first + length) / rate)
    assert pytest.approx(max(ends), abs=0.003) == audio.duration_s
    assert 0.0 == source.undecoded_s


def test_pictures_between_the_sides(tmp_path: Path) -> None:
    """Video is passed over, wherever it lies."""
    path = tmp_path / "call"
    with av.open(str(path), "w", format="matroska") as container:
        video = container.add_stream("mpeg4", rate=25)
        video.width, video.height, video.pix_fmt = 64, 64, "yuv420p"
        sound = [container.add_stream("pcm_s16le", rate=8000, layout="mono") for _ in range(2)]
        picture = av.VideoFrame.from_ndarray(np.zeros((64, 64, 3), np.uint8), format="rgb24")
        container.mux(video.encode(picture))
        for index, one in enumerate(sound):
            samples = (hiss(index, 2, 8000) * 32767).astype(np.int16)
            frame = av.AudioFrame.from_ndarray(samples, format="s16", layout="mono")
            frame.sample_rate, frame.pts = 8000, 0
            container.mux(one.encode(frame))
        container.mux(video.encode())
    audio, source = decode(path, NO_LIMIT_S)
    assert (2, 2) == (source.streams, audio.channels)
    assert 0.99 < min(found(audio, index, index, 2)[1] for index in range(2))


def test_headerless_settings_change_nothing(tmp_path: Path) -> None:
    """A file of many streams, of which each is a part, is not mistaken for chance."""
    path = mux(tmp_path / "call", "mpegts", [stream(1, 4, "mp2", 16_000), stream(2, 4, "mp2", 16_000)])
    assert decode(path, NO_LIMIT_S)[1] == decode(path, NO_LIMIT_S, RawFormat("mulaw", 8000, 1))[1]


def test_what_the_child_says_of_streams(tmp_path: Path) -> None:
    """All of it goes through JSON, where a tuple is a list."""
    path = mux(tmp_path / "call", "matroska", [stream(1, 4), stream(2, 2)])
    request = {
        "path": str(path),
        "output": str(tmp_path / "samples"),
        "options": {"max_duration_s": 60, "max_output_bytes": 10**7, "raw": None},
    }
    answer = json.loads(json.dumps(_answer(decode_to_file, request)))
    assert (2, 0, [4.0, 2.0]) == tuple(answer["source"][name] for name in ("streams", "undecoded_streams", "channel_s"))
    assert 4 * 8000 == answer["samples"]
