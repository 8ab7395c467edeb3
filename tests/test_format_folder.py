"""The files of ../shared/data/formats: what must come of each, and why. Runs where the folder is."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from test_formats import similarity

from tasks.decoding import RawFormat, decode
from tasks.errors import CallError
from tasks.quality import is_truncated

FOLDER = Path(__file__).resolve().parents[2] / "shared" / "data" / "formats"
pytestmark = pytest.mark.skipif(not FOLDER.is_dir(), reason=f"{FOLDER} is not there")

MULAW = RawFormat("mulaw", 8000, 1)


class Sound(NamedTuple):
    """A file that decodes: codec, rate, channels, length, whether its lost end is noticed, and why."""

    codec: str
    rate: int
    channels: int
    duration_s: float
    why: str
    truncated: bool = False
    raw: RawFormat | None = None


class Refused(NamedTuple):
    """A file that fails with a code, and why."""

    code: str
    why: str
    raw: RawFormat | None = None


_M1F1 = "a plain variant of the McGill sample: every bit depth, byte order and extra chunk is allowed in a WAV file"
_SHORT = "a whole file of 0.1 s"
_FRAGMENT = "a header, or less, and nothing after it: no decoder can say what it would have held"
EXPECTED: dict[str, Sound | Refused] = {
    "bank-03.mono.amrnb122.amr": Sound("amrnb", 8000, 1, 53.98, "AMR states no length: nothing to compare with"),
    "bank-03.mono.gsm610.wav": Sound("gsm_ms", 8000, 1, 54.0, "blocks of 40 ms: the last one is filled up"),
    "bank-03.mono.imaadpcm.wav": Sound("adpcm_ima_wav", 8000, 1, 53.97, "blocks, the last one is filled up"),
    "bank-03.mono.junkhead.mp3": Sound("mp3float", 8000, 1, 54.0, "2.2 kB of junk are passed over to the first frame"),
    "bank-03.mono.mp3_16k.mp3": Sound("mp3float", 8000, 1, 53.97, "MPEG 2.5 with a frame count, which is true"),
    "bank-03.mono.opus12.ogg": Sound("opus", 48000, 1, 53.97, "Opus always decodes to 48 kHz"),
    "bank-03.mono.ulaw": Sound("pcm_mulaw", 8000, 1, 53.97, "headerless: read as settings say", raw=MULAW),
    "bank-03.stereo.alaw.wav": Sound("pcm_alaw", 8000, 2, 53.97, "A-law"),
    "bank-03.stereo.rf64.wav": Sound("pcm_s16le", 8000, 2, 53.97, "the length is in the ds64 chunk"),
    "bank-03.stereo.streamhdr.wav": Sound("pcm_s16le", 8000, 2, 53.97, "0xFFFFFFFF states no length: read to the end"),
    "bank-03.stereo.truncated60.wav": Sound(
        "pcm_s16le", 8000, 2, 32.381, "the header says 53.97 s: what is there is transcribed, and the loss recorded",
        truncated=True,
    ),
    "bank-03.stereo.ulaw.au": Sound("pcm_mulaw", 8000, 2, 53.97, "Sun AU"),
    "bank-03.stereo.ulaw.sph": Sound("pcm_mulaw", 8000, 2, 53.97, "NIST SPHERE without shorten"),
    "bank-03.stereo.ulaw.wav": Sound("pcm_mulaw", 8000, 2, 53.97, "mu-law"),
    "bank-03.stereo.wav_named.mp3": Sound("pcm_s16le", 8000, 2, 53.97, "content decides, not the name"),
    "bank-03.stereo.wavex24.wav": Sound("pcm_s24le", 8000, 2, 53.97, "WAVE_FORMAT_EXTENSIBLE"),
    "missing_wav_header.wav": Refused(
        "undecodable_audio", "PCM without a header under a .wav name: rate and encoding are not known, and not guessed"
    ),
    "pocketsphinx-bad.wav": Refused("undecodable_audio", "a fuzzed fmt chunk of 1.7 GB hides where the data would be"),
    "pocketsphinx-null.wav": Refused("zero_length_audio", "a whole header, data of 0 bytes: sound of no length"),
    "tinytag-16bit_pcm.wav": Sound("pcm_s16le", 8000, 2, 0.1, _SHORT),
    "tinytag-24bit_pcm.wav": Sound("pcm_s24le", 8000, 2, 0.1, _SHORT),
    "tinytag-32bit_float.wav": Sound("pcm_f32le", 8000, 2, 0.1, _SHORT),
    "tinytag-8bit_pcm.wav": Sound("pcm_u8", 8000, 2, 0.1, _SHORT),
    "tinytag-adpcm.wav": Sound("adpcm_ms", 44100, 1, 12.132, "a whole file; the last block is filled up"),
    "tinytag-data_after_eos.ogg": Sound("vorbis", 44100, 2, 3.682, "what follows the last page is passed over"),
    "tinytag-detect_none.x": Refused("undecodable_audio", "one byte"),
    "tinytag-detect_wav.x": Refused("undecodable_audio", _FRAGMENT),
    "tinytag-empty_file.m4a": Refused("undecodable_audio", "no bytes (a run says `empty_object` before it decodes)"),
    "tinytag-empty_file.ogg": Refused("undecodable_audio", "no bytes (a run says `empty_object` before it decodes)"),
    "tinytag-empty_file.wav": Refused("undecodable_audio", "no bytes (a run says `empty_object` before it decodes)"),
    "tinytag-gsm_6_10.wav": Sound("gsm_ms", 44100, 1, 0.1016, "GSM at an odd rate is GSM"),
    "tinytag-id3_broken_frame_size.mp3": Sound("mp3float", 44100, 1, 0.1, "the tag is broken, the frames are not"),
    "tinytag-incomplete.mp3": Refused("undecodable_audio", "three bytes, no frame"),
    "tinytag-invalid_block_sizes.flac": Refused("undecodable_audio", "tags and no frame; its block sizes are invalid"),
    "tinytag-invalid_file.wav": Refused("undecodable_audio", "one byte"),
    "tinytag-invalid_object_size.wma": Refused("undecodable_audio", "a header object without a size, then no packets"),
    "tinytag-invalid_sample_rate.aiff": Refused("undecodable_audio", "a sampling rate of 0: no time axis"),
    "tinytag-magic_bytes_only_wav.x": Refused("undecodable_audio", _FRAGMENT),
    "tinytag-mp3_audio.wav": Sound("mp3float", 44100, 1, 1.045, "MP3 inside a WAV file"),
    "tinytag-mp4_invalid_size_zero.m4a": Refused("undecodable_audio", "a movie header without any track"),
    "tinytag-no_audio_data_uncompressed.wav": Refused("zero_length_audio", "a whole header, data of 0 bytes"),
    "tinytag-pluck-pcm8.aiff": Sound("pcm_s8", 11025, 2, 0.3, "AIFF is signed where WAV is not"),
    "tinytag-riff_extra_zero.wav": Sound("pcm_s16le", 44100, 2, 0.116, "a zero too many between the chunks"),
    "tinytag-silence-44-s-v1.mp3": Sound("mp3float", 44100, 2, 3.736, "no frame count: states no length"),
    "tinytag-silence.opus": Sound("opus", 48000, 2, 0.1, _SHORT),
    "tinytag-test.opus": Sound("opus", 48000, 2, 0.994, "the first 6.5 ms are the encoder's, and dropped"),
    "tinytag-vbr8.mp3": Sound("mp3float", 8000, 1, 9.04, "variable bit rate with a frame count"),
    "wavefile-16-bit-8kHz-noBext-mono.wav": Sound("pcm_s16le", 8000, 1, 6.0, _M1F1),
    "wavefile-16bit-8kHz-1c-reaper-region.wav": Sound("pcm_s16le", 8000, 2, 3.0, "the name errs: two channels"),
    "wavefile-16bit-8kHz-1c-reaper-utf8cue-issue13.wav": Sound("pcm_s16le", 8000, 1, 1.776, _M1F1),
    "wavefile-16bit-8kHz-1c-reaper-utf8cue.wav": Sound("pcm_s16le", 8000, 1, 1.147, _M1F1),
    "wavefile-16bit-8kHz-stereo.wav": Sound("pcm_s16le", 8000, 2, 14.0, _M1F1),
    "wavefile-27bit-8kHz-noBext-mono.wav": Sound("pcm_s32le", 8000, 1, 6.0, "27 valid bits of 32"),
    "wavefile-32IEEE-meta.wav": Sound("pcm_f32le", 44100, 1, 2.0, _M1F1),
    "wavefile-32bit-48kHz-noBext-mono.wav": Sound("pcm_s32le", 48000, 1, 1.0, _M1F1),
    "wavefile-4-bit-imaadpcm-8kHz-noBext-mono-reaper.wav": Sound("adpcm_ima_wav", 8000, 1, 7.654, _M1F1),
    "wavefile-4bit-imaadpcm-8kHz-noBext-mono-encoded.wav": Sound(
        "adpcm_ima_wav", 8000, 1, 5.934, "the fact chunk says 6.016 s, the blocks hold 5.934 s"
    ),
    "wavefile-4bit-imaadpcm-8kHz-noBext-mono.wav": Sound("adpcm_ima_wav", 8000, 1, 6.628, _M1F1),
    "wavefile-8bit-alaw-8kHz-noBext-mono-encoded.wav": Sound("pcm_alaw", 8000, 1, 6.0, _M1F1),
    "wavefile-8bit-mulaw-8kHz-noBext-mono-encoded.wav": Sound("pcm_mulaw", 8000, 1, 6.0, _M1F1),
    "wavefile-RF64-16bit-8kHz-stereo-reaper.wav": Sound("pcm_s16le", 8000, 2, 9.687, _M1F1),
    "wavefile-RF64-64-bit-8kHz--mono-bext.wav": Sound("pcm_f64le", 8000, 1, 6.0, _M1F1),
    "wavefile-RIFX-16bit-mono.wav": Sound(
        "pcm_s16be", 8000, 1, 6.0, "big endian: FFmpeg reads it as little endian, which is noise; libsndfile reads it"
    ),
    "wavefile-test-cue-reaper.wav": Sound("pcm_s16le", 8000, 1, 2.0, _M1F1),
}  # fmt: skip


def test_every_file_has_an_expected_outcome() -> None:
    """No file of the folder is without a line here."""
    assert sorted(path.name for path in FOLDER.iterdir()) == sorted(EXPECTED)


@pytest.mark.parametrize("name", EXPECTED)
def test_the_outcome_of_a_file(name: str) -> None:
    """It decodes to what it is, or fails with the right code."""
    expected = EXPECTED[name]
    if isinstance(expected, Refused):
        with pytest.raises(CallError) as caught:
            decode(FOLDER / name, 3600, expected.raw)
        assert expected.code == caught.value.code, expected.why
        return
    audio, source = decode(FOLDER / name, 3600, expected.raw)
    assert (expected.codec, expected.rate, expected.channels) == (source.codec, audio.sampling_rate, audio.channels)
    assert pytest.approx(expected.duration_s, abs=0.002) == audio.duration_s, expected.why
    assert expected.truncated == is_truncated(source, audio.duration_s), expected.why


def test_the_cut_call_says_how_long_it_was() -> None:
    """Declared and decoded length are both known."""
    audio, source = decode(FOLDER / "bank-03.stereo.truncated60.wav", 3600)
    assert (pytest.approx(53.97), pytest.approx(32.381, abs=0.001)) == (source.declared_s, audio.duration_s)


def test_headerless_files_need_settings() -> None:
    """The mu-law call is not guessed at; with settings for headerless files, broken ones stay broken."""
    with pytest.raises(CallError):
        decode(FOLDER / "bank-03.mono.ulaw", 3600)


@pytest.mark.parametrize("name", [name for name in EXPECTED if name.startswith("bank-03")])
def test_the_variants_of_a_call_sound_alike(name: str) -> None:
    """Sixteen files hold the same call: what comes out is what is in the others, where they reach."""
    original, _ = decode(FOLDER / "bank-03.stereo.wavex24.wav", 3600)
    audio, _ = decode(FOLDER / name, 3600, EXPECTED[name].raw)
    step = audio.sampling_rate // 8000
    found = audio.samples[:, : 30 * audio.sampling_rate].mean(axis=0)[::step]
    assert similarity(found, original.samples[:, : 30 * 8000].mean(axis=0)) > 0.75, (
        "AMR at 12.2 kbit/s keeps the least of the wave"
    )


def test_big_endian_is_not_noise() -> None:
    """The RIFX file holds the same sound as its little-endian sister."""
    big, _ = decode(FOLDER / "wavefile-RIFX-16bit-mono.wav", 3600)
    little, _ = decode(FOLDER / "wavefile-16-bit-8kHz-noBext-mono.wav", 3600)
    assert np.array_equal(big.samples, little.samples[:, : big.samples.shape[1]])
