"""Decoding by content: what recorders write, what lies, what is cut short, and what is no sound."""

from pathlib import Path

import av
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sounds import encoded, noise, recorded, sine, wav

from tasks.decoding import RawFormat, decode
from tasks.errors import CallError, TooLong, UndecodableAudio, ZeroLengthAudio

NO_LIMIT_S = 3600.0


def video_only(path: Path) -> Path:
    """A Matroska file with pictures and no sound."""
    with av.open(str(path), "w", format="matroska") as container:
        stream = container.add_stream("mpeg4", rate=25, options=None)
        stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv420p"
        picture = av.VideoFrame.from_ndarray(np.zeros((64, 64, 3), np.uint8), format="rgb24")
        container.mux(stream.encode(picture))
        container.mux(stream.encode())
    return path


@pytest.mark.parametrize(
    ("kind", "subtype", "codec", "container", "rate", "decoded_rate", "tolerance"),
    [
        ("WAV", "PCM_16", "pcm_s16le", "wav", 8000, 8000, 0.001),
        ("WAV", "PCM_24", "pcm_s24le", "wav", 44100, 44100, 0.001),
        ("WAV", "FLOAT", "pcm_f32le", "wav", 16000, 16000, 0.001),
        ("WAV", "PCM_U8", "pcm_u8", "wav", 8000, 8000, 0.02),
        ("WAV", "ULAW", "pcm_mulaw", "wav", 8000, 8000, 0.02),
        ("WAV", "ALAW", "pcm_alaw", "wav", 8000, 8000, 0.02),
        ("FLAC", "PCM_16", "flac", "flac", 8000, 8000, 0.001),
        ("MP3", None, "mp3", "mp3", 16000, 16000, 0.1),
        ("OGG", "VORBIS", "vorbis", "ogg", 8000, 8000, 0.1),
        ("OGG", "OPUS", "opus", "ogg", 8000, 48000, 0.1),
    ],
)
def test_what_recorders_write_is_decoded(
    tmp_path: Path, kind: str, subtype: str | None, codec: str, container: str, rate: int, decoded_rate: int,
    tolerance: float,
) -> None:  # fmt: skip
    """Every usual format gives its samples, at its own rate and level, and says what it was."""
    sound = sine(440, 1.0, 0.5, rate)
    audio, source = decode(recorded(tmp_path / "call", encoded(sound, rate, kind, subtype)), NO_LIMIT_S)
    assert source.codec.startswith(codec)
    assert (container, decoded_rate, 1) == (source.container, source.sampling_rate, source.channels)
    assert (decoded_rate, 1, np.float32) == (audio.sampling_rate, audio.channels, audio.samples.dtype)
    assert pytest.approx(1.0, abs=0.03) == audio.duration_s
    middle = audio.samples[0, decoded_rate // 4 : 3 * decoded_rate // 4]
    assert pytest.approx(0.5, abs=tolerance) == float(np.max(np.abs(middle)))


@pytest.mark.parametrize(
    ("kind", "subtype", "channels"),
    [
        ("WAV", "PCM_16", 2),
        ("WAV", "PCM_16", 3),
        ("WAV", "ULAW", 2),
        ("WAV", "ALAW", 4),
        ("FLAC", "PCM_16", 2),
        ("FLAC", "PCM_16", 8),  # PyAV 18 crashed the process from eight planar channels on
        ("WAV", "PCM_16", 16),
        ("MP3", None, 2),
    ],
)
def test_channels_stay_apart(tmp_path: Path, kind: str, subtype: str | None, channels: int) -> None:
    """What one channel carries is in no other after decoding, and their order stays."""
    sound = np.zeros((4000 * channels, channels), dtype=np.float32)
    for index in range(channels):
        sound[4000 * index : 4000 * (index + 1), index] = sine(440, 0.5, 0.5, 8000)
    audio, source = decode(recorded(tmp_path / "call", encoded(sound, 8000, kind, subtype)), NO_LIMIT_S)
    assert channels == audio.channels == source.channels
    loudest = [
        int(np.argmax(np.abs(audio.samples[:, 4000 * index + 1500 : 4000 * index + 2500]).max(axis=1)))
        for index in range(channels)
    ]
    assert list(range(channels)) == loudest


@pytest.mark.parametrize("name", ["call.mp3", "call.flac", "call.txt", "call", "call.wav.gz", "call.m3u8"])
def test_content_decides_not_the_name(tmp_path: Path, name: str) -> None:
    """A WAV file is a WAV file whatever it is called."""
    audio, source = decode(recorded(tmp_path / name, wav()), NO_LIMIT_S)
    assert ("wav", 8000) == (source.container, audio.samples.shape[1])


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x00",
        b"RIFF",
        bytes(5000),
        np.random.default_rng(0).bytes(5000),
        b"<?xml version='1.0'?><Error><Code>AccessDenied</Code></Error>",
        b"The number you have dialled is not in service.\n" * 50,
        wav()[:36],
    ],
    ids=["empty", "one byte", "four bytes", "zeros", "random", "xml", "text", "half a header"],
)
def test_what_is_no_sound_is_refused(tmp_path: Path, data: bytes) -> None:
    """Bytes that no decoder makes sound of are `undecodable_audio`, in one sentence without the path."""
    with pytest.raises(UndecodableAudio) as caught:
        decode(recorded(tmp_path / "call.wav", data), NO_LIMIT_S)
    assert str(tmp_path) not in caught.value.message
    assert ("undecodable_audio", False) == (caught.value.code, caught.value.transient)


def test_a_damaged_mp3_is_refused() -> None:
    """The demo's MP3, of which every byte lost its high bit, holds no frame that decodes."""
    with pytest.raises(UndecodableAudio):
        decode(Path("evaluation/sets/demo/archive/2026/10/14/demo-0007.mp3"), NO_LIMIT_S)


def test_frames_that_all_fail(tmp_path: Path) -> None:
    """A file whose only frame is cut short is damaged, which is not the same as empty."""
    data = encoded(noise(1, 0.2), 16000, "FLAC", "PCM_16")
    with pytest.raises(UndecodableAudio, match="none of the flac frames in the flac file can be decoded"):
        decode(recorded(tmp_path / "call.flac", data[: len(data) // 2]), NO_LIMIT_S)


def test_no_audio_stream(tmp_path: Path) -> None:
    """A file of pictures alone says so."""
    with pytest.raises(UndecodableAudio, match="no audio stream"):
        decode(video_only(tmp_path / "call.mkv"), NO_LIMIT_S)


@pytest.mark.parametrize("kept", [0.9, 0.5, 0.1])
def test_a_truncated_wav_gives_what_is_there(tmp_path: Path, kept: float) -> None:
    """A recorder that lost power leaves a header that promises too much: what was written is decoded."""
    data = wav(2.0)
    cut = 44 + 2 * round(16000 * kept)
    audio, _ = decode(recorded(tmp_path / "call.wav", data[:cut]), NO_LIMIT_S)
    whole, _ = decode(recorded(tmp_path / "whole.wav", data), NO_LIMIT_S)
    assert round(16000 * kept) == audio.samples.shape[1]
    assert np.array_equal(whole.samples[:, : audio.samples.shape[1]], audio.samples)


@pytest.mark.parametrize(
    ("kind", "subtype", "frame_bytes"),
    [
        ("WAV", "PCM_U8", 2),
        ("WAV", "PCM_16", 4),
        ("WAV", "PCM_24", 6),
        ("WAV", "FLOAT", 8),
        ("WAV", "ULAW", 2),
        ("WAVEX", "PCM_24", 6),
        ("RF64", "PCM_16", 4),
        ("W64", "PCM_16", 4),
        ("AIFF", "PCM_16", 4),
        ("AU", "PCM_16", 4),
        ("CAF", "PCM_16", 4),
        ("RAW", "PCM_16", 4),
    ],
)
def test_an_end_in_the_middle_of_a_frame(tmp_path: Path, kind: str, subtype: str, frame_bytes: int) -> None:
    """A last moment that not every channel has is dropped: channels keep one length, and do not change places."""
    sound = np.stack([sine(440, 0.5, 0.5, 8000), sine(660, 0.5, 0.25, 8000)], axis=1)
    data = encoded(sound, 8000, kind, subtype)
    raw = RawFormat("s16le", 8000, 2) if kind == "RAW" else None
    whole, _ = decode(recorded(tmp_path / "whole", data), NO_LIMIT_S, raw)
    assert (2, 4000) == whole.samples.shape
    for lost in range(1, frame_bytes):
        audio, _ = decode(recorded(tmp_path / "call", data[:-lost]), NO_LIMIT_S, raw)
        assert np.array_equal(whole.samples[:, :3999], audio.samples)


@pytest.mark.parametrize("more", [1, 2, 3])
@pytest.mark.parametrize("stated", [True, False], ids=["stated", "placeholder"])
def test_a_part_of_a_frame_too_many(tmp_path: Path, more: int, stated: bool) -> None:
    """The same, where the header counts the odd bytes as sound, or nothing at all."""
    data = bytearray(encoded(np.stack([noise(1, 0.5), noise(2, 0.5)], axis=1), 8000, "WAV", "PCM_16"))
    size = len(data) - 44
    data += bytes([7] * more)
    data[40:44] = (size + more if stated else 0xFFFFFFFF).to_bytes(4, "little")
    audio, _ = decode(recorded(tmp_path / "call", bytes(data)), NO_LIMIT_S)
    assert (2, size // 4) == audio.samples.shape


def test_a_damaged_stretch_is_left_out(tmp_path: Path) -> None:
    """Zeros in the middle of an MP3 cost the frames that they hit, and no more."""
    data = bytearray(encoded(sine(440, 8.0, 0.5, 16000), 16000, "MP3"))
    data[len(data) // 2 : len(data) // 2 + 300] = bytes(300)
    audio, _ = decode(recorded(tmp_path / "call.mp3", bytes(data)), NO_LIMIT_S)
    assert 7.0 < audio.duration_s < 8.2


@pytest.mark.parametrize(("kind", "subtype"), [("WAV", "PCM_16"), ("WAV", "ULAW"), ("OGG", "VORBIS")])
def test_a_valid_file_without_samples(tmp_path: Path, kind: str, subtype: str) -> None:
    """A recording of no length is sound, of no length."""
    data = encoded(np.zeros(0, dtype=np.float32), 8000, kind, subtype)
    with pytest.raises(ZeroLengthAudio, match="holds no samples") as caught:
        decode(recorded(tmp_path / "call", data), NO_LIMIT_S)
    assert ("zero_length_audio", False) == (caught.value.code, caught.value.transient)


@pytest.mark.parametrize(("limit_s", "accepted"), [(2.0, True), (1.999, False), (0.5, False), (3.0, True)])
def test_too_long(tmp_path: Path, limit_s: float, accepted: bool) -> None:
    """A recording of exactly the limit is accepted; a longer one names the setting."""
    path = recorded(tmp_path / "call.wav", wav(2.0))
    if accepted:
        assert 2.0 == decode(path, limit_s)[0].duration_s
        return
    with pytest.raises(TooLong, match=r"limit of .* s \(archive.max_duration_s\)") as caught:
        decode(path, limit_s)
    assert ("too_long", False) == (caught.value.code, caught.value.transient)


# -------------------------------------------------------------------------------------------------- headers that lie


@pytest.mark.parametrize("size", [0, 0xFFFFFFFF, 0xFFFFFFFF - 36, 0x7FFFFFFF, 0x7FFFFFFF - 36, 0x80000000])
def test_a_placeholder_states_no_length(tmp_path: Path, size: int) -> None:
    """A recorder that never came back to its header: the file is read to its end."""
    data = bytearray(wav(2.0))
    data[40:44] = size.to_bytes(4, "little")
    audio, source = decode(recorded(tmp_path / "call", bytes(data)), NO_LIMIT_S)
    assert (2.0, None) == (audio.duration_s, source.declared_s)


@pytest.mark.parametrize("size", [0, 0xFFFFFFFF])
def test_a_placeholder_in_au(tmp_path: Path, size: int) -> None:
    """Sun AU has the same habit."""
    data = bytearray(encoded(sine(440, 2.0, rate=8000), 8000, "AU", "ULAW"))
    data[8:12] = size.to_bytes(4, "big")
    audio, source = decode(recorded(tmp_path / "call", bytes(data)), NO_LIMIT_S)
    assert 2.0 == audio.duration_s
    assert source.declared_s in {None, 2.0}


def test_sound_after_the_stated_end(tmp_path: Path) -> None:
    """A header from an earlier flush is too small: what was written after it is sound, and is kept."""
    data = bytearray(encoded(noise(1, 2.0), 8000, "WAV", "PCM_16"))
    data[40:44] = (8000).to_bytes(4, "little")
    audio, source = decode(recorded(tmp_path / "call", bytes(data)), NO_LIMIT_S)
    assert (4.0, 0.5) == (audio.duration_s, source.declared_s)


def test_chunks_after_the_sound_are_not_sound(tmp_path: Path) -> None:
    """What follows as a chunk is none of it, however long."""
    data = wav(1.0) + b"LIST" + (40_000).to_bytes(4, "little") + bytes(range(250)) * 160
    audio, _ = decode(recorded(tmp_path / "call", data), NO_LIMIT_S)
    assert 1.0 == audio.duration_s


@pytest.mark.parametrize("junk", [1, 100, 2200, 16_000])
def test_junk_before_the_first_frame(tmp_path: Path, junk: int) -> None:
    """An MP3 may start anywhere."""
    data = np.random.default_rng(1).bytes(junk) + encoded(sine(440, 4.0, rate=16000), 16000, "MP3")
    audio, source = decode(recorded(tmp_path / "call", data), NO_LIMIT_S)
    assert "mp3" == source.container
    assert pytest.approx(4.0, abs=0.2) == audio.duration_s


@pytest.mark.parametrize("rate", [1, 999, 800_000, 0x7FFFFFFF])
def test_a_sampling_rate_that_nobody_records(tmp_path: Path, rate: int) -> None:
    """Resampling from it would cost without bound."""
    data = bytearray(wav(1.0))
    data[24:28] = rate.to_bytes(4, "little")
    with pytest.raises(UndecodableAudio):
        decode(recorded(tmp_path / "call", bytes(data)), NO_LIMIT_S)


@pytest.mark.parametrize(
    "playlist",
    [
        "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nfile://{}\n#EXT-X-ENDLIST\n",
        "ffconcat version 1.0\nfile '{}'\n",
        "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nm=audio 5004 RTP/AVP 0\na={}\n",
    ],
    ids=["HLS", "concat", "SDP"],
)
def test_a_recording_names_no_other_file(tmp_path: Path, playlist: str) -> None:
    """A playlist in the archive must not make the worker read its own disk, or a host."""
    other = recorded(tmp_path / "other.wav", wav(1.0))
    with pytest.raises(UndecodableAudio):
        decode(recorded(tmp_path / "call", playlist.format(other).encode()), NO_LIMIT_S)


@given(cut=st.integers(0, 2000), flips=st.lists(st.tuples(st.integers(0, 1999), st.integers(0, 255)), max_size=20))
@settings(max_examples=60, deadline=None)
def test_broken_headers(tmp_path_factory: pytest.TempPathFactory, cut: int, flips: list[tuple[int, int]]) -> None:
    """Whatever the bytes are, there is sound of at least one sample or an error of this call."""
    data = bytearray(wav(0.12))
    for position, value in flips:
        data[position % 60] = value
    path = recorded(tmp_path_factory.mktemp("broken") / "call", bytes(data[:cut]))
    try:
        audio, _ = decode(path, NO_LIMIT_S)
    except CallError:
        return
    assert audio.samples.shape[1] > 0


# --------------------------------------------------------------------------------------------------- headerless files

MULAW = RawFormat("mulaw", 8000, 1)


def test_silence_in_mu_law_is_no_mp3(tmp_path: Path) -> None:
    """0xFF is silence in mu-law and the start of an MP3 frame: the file is read as settings say."""
    rng = np.random.default_rng(3)
    body = bytearray(b"\xff" * 80_000)
    for frame in range(0, 40_000, 36):  # frames of 8 kbit/s, as chance could have them
        body[frame : frame + 4] = bytes([0xFF, 0xE3, 0x18, 0xC4])
    body[40_000:] = rng.bytes(40_000)
    audio, source = decode(recorded(tmp_path / "call", bytes(body)), NO_LIMIT_S, MULAW)
    assert ("pcm_mulaw", "raw", 10.0) == (source.codec, source.container, audio.duration_s)


def test_an_empty_headerless_file(tmp_path: Path) -> None:
    """No bytes are no samples."""
    with pytest.raises(ZeroLengthAudio):
        decode(recorded(tmp_path / "call", b""), NO_LIMIT_S, MULAW)


def test_what_follows_damage_keeps_its_time(tmp_path: Path) -> None:
    """The middle third of an Opus call is overwritten: silence stands there, counted, and the rest is where it was."""
    whole = Path(__file__).resolve().parents[1] / "evaluation/sets/demo/archive/2026/10/08/demo-0004.opus"
    content = bytearray(whole.read_bytes())
    third = len(content) // 3
    content[third : 2 * third] = bytes(third)
    (tmp_path / "damaged.opus").write_bytes(content)
    before, _ = decode(whole, 100.0)
    after, source = decode(tmp_path / "damaged.opus", 100.0)
    assert before.samples.shape == after.samples.shape
    assert 10.0 < source.undecoded_s < 25.0
    tail = 5 * before.sampling_rate
    assert 0.99 < np.corrcoef(before.samples[0, -tail:], after.samples[0, -tail:])[0, 1]


def test_samples_that_are_no_numbers(tmp_path: Path) -> None:
    """In place of a float file's NaN and infinities stands silence, and the row will say that something was wrong."""
    sound = np.stack([sine(440, rate=8000), sine(300, rate=8000)], axis=1)
    broken = sound.copy()
    broken[10:90, 0], broken[50, 1], broken[4000, 1] = np.nan, np.inf, -np.inf
    audio, source = decode(recorded(tmp_path / "call.wav", encoded(broken, 8000, "WAV", "FLOAT")), NO_LIMIT_S)
    assert np.array_equal(np.where(np.isfinite(broken), sound, 0).T, audio.samples)
    assert source.undecoded_s == pytest.approx(0.010)
