"""Every format that docs/formats.md promises: a file of it is made, and its sound comes out."""

import io
from pathlib import Path

import av
import librosa
import numpy as np
import pytest
from format_files import SECONDS, make, speech

from evaluation.audio_formats import FORMATS, Format
from tasks.decoding import RawFormat, decode
from tasks.errors import UndecodableAudio
from tasks.quality import is_truncated
from tasks.records import Samples

KEPT = 0.5
ROWS = pytest.mark.parametrize("row", FORMATS, ids=lambda row: row.name)


def raw_format(row: Format) -> RawFormat | None:
    """What settings would say of a headerless file."""
    return RawFormat(row.raw, row.rate_hz, row.channels) if row.raw else None


def similarity(found: Samples, expected: Samples) -> float:
    """The correlation of two sounds at the delay where it is largest."""
    size = 1 << (len(found) + len(expected)).bit_length()
    correlation = np.fft.irfft(np.fft.rfft(found, size) * np.conj(np.fft.rfft(expected, size)), size)
    lag = int(np.argmax(correlation))
    lag -= size if lag > size // 2 else 0
    one, other = found[max(lag, 0) :], expected[max(-lag, 0) :]
    length = min(len(one), len(other))
    one, other = one[:length], other[:length]
    return float(np.dot(one, other) / (np.linalg.norm(one) * np.linalg.norm(other)))


def second_opinion(path: Path, rate: int) -> Samples:
    """What OpenCORE's decoder makes of an AMR-WB file, `[channel, sample]`."""
    decoder = av.CodecContext.create("libopencore_amrwb", "r")
    decoder.sample_rate, decoder.layout = rate, "mono"
    with av.open(io.BytesIO(path.read_bytes()), format="amr") as container:
        frames = [frame for packet in container.demux(audio=0) if packet.size for frame in decoder.decode(packet)]
    return np.concatenate([frame.to_ndarray().astype(np.float32) for frame in frames], axis=1) / 32768


@ROWS
def test_the_sound_of_a_format(tmp_path: Path, row: Format) -> None:
    """Codec, container, rate, channels and length are right, and the sound is what was encoded."""
    path = tmp_path / "recording"
    make(row, path)
    audio, source = decode(path, 60, raw_format(row))
    rate = row.decoded_hz or row.rate_hz
    assert (row.codec, row.container, row.streams) == (source.codec, source.container, source.streams)
    assert (rate, row.channels) == (source.sampling_rate, source.channels) == (audio.sampling_rate, audio.channels)
    assert pytest.approx(SECONDS, abs=row.tolerance_s) == audio.duration_s
    assert not is_truncated(source, audio.duration_s)
    if row.correlation is None:
        assert audio.samples.any()
        return
    expected = second_opinion(path, rate) if row.maker == "frames" else speech(rate, row.channels)
    for found, given in zip(audio.samples, expected, strict=True):
        assert row.correlation < similarity(found, given)


@ROWS
def test_a_lost_end(tmp_path: Path, row: Format) -> None:
    """Half of a file is half of the sound, unless its index was at the end; where the header tells, it is noticed."""
    make(row, tmp_path / "whole")
    data = (tmp_path / "whole").read_bytes()
    path = tmp_path / "recording"
    path.write_bytes(data[: round(KEPT * len(data))])
    if row.cut == "undecodable":
        with pytest.raises(UndecodableAudio):
            decode(path, 60, raw_format(row))
        return
    audio, source = decode(path, 60, raw_format(row))
    assert 0.2 * SECONDS < audio.duration_s < 0.7 * SECONDS, "Ogg loses its last page, of a second, as well"
    assert (row.cut == "noticed") == is_truncated(source, audio.duration_s)


def test_headerless_files_are_not_guessed(tmp_path: Path) -> None:
    """Without settings, nobody knows what the bytes mean."""
    for row in FORMATS:
        if row.raw:
            make(row, tmp_path / "recording")
            with pytest.raises(UndecodableAudio):
                decode(tmp_path / "recording", 60)


@ROWS
def test_settings_for_headerless_files_change_no_other(tmp_path: Path, row: Format) -> None:
    """A file with a header is read by it, whatever settings say of those without."""
    if row.raw:
        return
    make(row, tmp_path / "recording")
    audio, source = decode(tmp_path / "recording", 60)
    again, same = decode(tmp_path / "recording", 60, RawFormat("mulaw", 8000, 1))
    assert source == same
    assert np.array_equal(audio.samples, again.samples)


def test_the_reference_is_speech() -> None:
    """What the formats are tested with has two different channels, and reaches over most of its time."""
    first, second = speech(8000, 2)
    assert similarity(first, second) < 0.5
    assert min(np.mean(librosa.feature.rms(y=channel) > 0.01) for channel in (first, second)) > 0.3
