"""The audio formats that callscribe promises to read: each row is a test (tests/test_formats.py) and documented.

A row says how the test makes a file of the format, and what comes out of it. What a test cannot make (there is no free
encoder) is built from frames by hand, and the row says what that shows.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

Maker = Literal["soundfile", "ffmpeg", "sphere", "frames"]
Cut = Literal["noticed", "unnoticed", "undecodable"]


@dataclass(frozen=True, slots=True)
class Format:
    """One row.

    `maker` is called with `container_arg` and `codec_arg`: libsndfile's format and subtype, or FFmpeg's muxer and
    encoder with `options`. `codec` and `container` are what the columns of `calls` say; `rate_hz` is the sampling rate
    of the file, and `decoded_hz` that of the samples. `channels` are spread evenly over `streams`. `cut` is what
    becomes of a file that lost its end; `correlation` is the least that the sound that comes out has with what went in;
    None where only rate, channels and length can be checked. `raw` is the value of `archive.raw_encoding` for
    headerless files.
    """

    name: str
    maker: Maker
    container_arg: str
    codec_arg: str
    codec: str
    container: str
    rate_hz: int = 8000
    decoded_hz: int | None = None
    channels: int = 2
    streams: int = 1
    cut: Cut = "noticed"
    correlation: float | None = 0.99
    tolerance_s: float = 0.05
    raw: str | None = None
    endian: str = "FILE"
    options: Mapping[str, str] = field(default_factory=dict)
    note: str = ""


def _sndfile(name: str, kind: str, subtype: str, codec: str, container: str, **more: object) -> Format:
    return Format(name, "soundfile", kind, subtype, codec, container, **more)  # type: ignore[arg-type]  # fields by name


def _ffmpeg(name: str, muxer: str, encoder: str, codec: str, container: str, **more: object) -> Format:
    return Format(name, "ffmpeg", muxer, encoder, codec, container, **more)  # type: ignore[arg-type]  # fields by name


_MOV = "mov,mp4,m4a,3gp,3g2,mj2"
_WEBM = "matroska,webm"

FORMATS: tuple[Format, ...] = (
    _sndfile("WAV, PCM 8 bit", "WAV", "PCM_U8", "pcm_u8", "wav", correlation=0.98),
    _sndfile("WAV, PCM 16 bit", "WAV", "PCM_16", "pcm_s16le", "wav"),
    _sndfile("WAV, PCM 24 bit", "WAV", "PCM_24", "pcm_s24le", "wav"),
    _sndfile("WAV, PCM 32 bit", "WAV", "PCM_32", "pcm_s32le", "wav"),
    _sndfile("WAV, float 32 bit", "WAV", "FLOAT", "pcm_f32le", "wav"),
    _sndfile("WAV, float 64 bit", "WAV", "DOUBLE", "pcm_f64le", "wav"),
    _sndfile("WAV, G.711 mu-law", "WAV", "ULAW", "pcm_mulaw", "wav"),
    _sndfile("WAV, G.711 A-law", "WAV", "ALAW", "pcm_alaw", "wav"),
    _sndfile("WAV, GSM 6.10 (WAV49)", "WAV", "GSM610", "gsm_ms", "wav", channels=1, correlation=0.85),
    _sndfile("WAV, IMA ADPCM", "WAV", "IMA_ADPCM", "adpcm_ima_wav", "wav", correlation=0.95),
    _sndfile("WAV, Microsoft ADPCM", "WAV", "MS_ADPCM", "adpcm_ms", "wav", correlation=0.95),
    _ffmpeg("WAV, G.722", "wav", "g722", "g722", "wav", rate_hz=16_000, channels=1, correlation=0.95),
    _ffmpeg("WAV, G.726 at 16 kbit/s", "wav", "g726", "g726", "wav", channels=1, correlation=0.8,
            options={"b": "16000"}),
    _ffmpeg("WAV, G.726 at 32 kbit/s", "wav", "g726", "g726", "wav", channels=1, correlation=0.95,
            options={"b": "32000"}),
    _ffmpeg("WAV, G.723.1", "wav", "g723_1", "g723_1", "wav", channels=1, correlation=0.8, options={"b": "6300"}),
    Format("WAV, G.729", "frames", "wav", "g729", "g729", "wav", channels=1, correlation=None,
           note="no free encoder: frames of chance bits, of which rate, channels and length are checked"),
    _ffmpeg("WAV, MP3 inside", "wav", "libmp3lame", "mp3float", "wav", rate_hz=16_000, correlation=0.95,
            tolerance_s=0.15),
    _sndfile("WAV, big endian (RIFX)", "WAV", "PCM_16", "pcm_s16be", "wav", endian="BIG"),
    _sndfile("WAVE_FORMAT_EXTENSIBLE (WAVEX)", "WAVEX", "PCM_24", "pcm_s24le", "wav"),
    _sndfile("RF64", "RF64", "PCM_16", "pcm_s16le", "wav"),
    _sndfile("W64 (Sony Wave64)", "W64", "PCM_16", "pcm_s16le", "w64"),
    _sndfile("AIFF", "AIFF", "PCM_16", "pcm_s16be", "aiff"),
    _sndfile("AIFF-C, mu-law", "AIFF", "ULAW", "pcm_mulaw", "aiff"),
    _sndfile("AU (Sun), mu-law", "AU", "ULAW", "pcm_mulaw", "au"),
    _sndfile("AU (Sun), G.721", "AU", "G721_32", "g726le", "au", channels=1, correlation=0.95),
    Format("SPH (NIST SPHERE), mu-law", "sphere", "sph", "ulaw", "pcm_mulaw", "nistsphere"),
    Format("SPH (NIST SPHERE), PCM", "sphere", "sph", "pcm", "pcm_s16le", "nistsphere"),
    _sndfile("CAF", "CAF", "PCM_16", "pcm_s16be", "caf"),
    _sndfile("CAF, ALAC", "CAF", "ALAC_16", "alac", "caf", cut="unnoticed"),
    _sndfile("VOC (Creative)", "VOC", "PCM_U8", "pcm_u8", "voc", channels=1, cut="unnoticed", correlation=0.98),
    _sndfile("FLAC", "FLAC", "PCM_16", "flac", "flac"),
    _ffmpeg("ALAC in M4A", "ipod", "alac", "alac", _MOV, cut="undecodable"),
    _sndfile("MP3", "MP3", "MPEG_LAYER_III", "mp3float", "mp3", rate_hz=16_000, correlation=0.95, tolerance_s=0.15),
    _ffmpeg("MP3 at 8 kHz (MPEG 2.5)", "mp3", "libmp3lame", "mp3float", "mp3", channels=1, correlation=0.9,
            options={"b": "16000"}, tolerance_s=0.15),
    _ffmpeg("AAC in M4A", "ipod", "aac", "aac", _MOV, cut="undecodable", rate_hz=16_000, correlation=0.95,
            tolerance_s=0.15),
    _ffmpeg("AAC (ADTS)", "adts", "aac", "aac", "aac", rate_hz=16_000, cut="unnoticed", correlation=0.95,
            tolerance_s=0.15),
    _sndfile("Opus in Ogg", "OGG", "OPUS", "opus", "ogg", decoded_hz=48_000, cut="unnoticed", correlation=0.9),
    _sndfile("Vorbis in Ogg", "OGG", "VORBIS", "vorbis", "ogg", cut="unnoticed", correlation=0.95),
    _ffmpeg("Opus in WebM", "webm", "libopus", "opus", _WEBM, rate_hz=48_000, correlation=0.9),
    _ffmpeg("Vorbis in WebM", "webm", "vorbis", "vorbis", _WEBM, rate_hz=16_000, correlation=0.9,
            options={"strict": "experimental"}, tolerance_s=0.15),
    _ffmpeg("AMR-NB", "amr", "libopencore_amrnb", "amrnb", "amr", channels=1, cut="unnoticed", correlation=0.8,
            options={"b": "12200"}),
    _ffmpeg("AMR-NB in 3GP", "3gp", "libopencore_amrnb", "amrnb", _MOV, channels=1, correlation=0.8,
            cut="undecodable", options={"b": "12200"}),
    Format("AMR-WB", "frames", "amr", "amrwb", "amrwb", "amr", rate_hz=16_000, channels=1, cut="unnoticed",
           correlation=0.8,
           note="no free encoder: frames of chance bits, compared with what a second decoder makes of them"),
    _ffmpeg("WMA", "asf", "wmav2", "wmav2", "asf", rate_hz=16_000, correlation=0.9, options={"b": "32000"},
            tolerance_s=0.2),
    _ffmpeg("two tracks, AAC in MP4", "mp4", "aac", "aac", _MOV, streams=2, cut="undecodable", rate_hz=16_000,
            correlation=0.95, tolerance_s=0.15),
    _ffmpeg("two tracks, PCM in QuickTime", "mov", "pcm_s16le", "pcm_s16le", _MOV, streams=2, cut="undecodable"),
    _ffmpeg("two tracks, FLAC in Matroska", "matroska", "flac", "flac", _WEBM, streams=2),
    _ffmpeg("two tracks, Opus in WebM", "webm", "libopus", "opus", _WEBM, streams=2, rate_hz=48_000, correlation=0.9),
    _ffmpeg("two tracks, Opus in Ogg", "ogg", "libopus", "opus", "ogg", streams=2, rate_hz=48_000, cut="unnoticed",
            correlation=0.9),
    _ffmpeg("two tracks, PCM in AVI", "avi", "pcm_s16le", "pcm_s16le", "avi", streams=2, cut="unnoticed"),
    _ffmpeg("two tracks, WMA", "asf", "wmav2", "wmav2", "asf", streams=2, rate_hz=16_000, correlation=0.9,
            options={"b": "32000"}, tolerance_s=0.2),
    _ffmpeg("two tracks, AAC in MPEG-TS", "mpegts", "aac", "aac", "mpegts", streams=2, rate_hz=16_000,
            cut="unnoticed", correlation=0.95, tolerance_s=0.15),
    _sndfile("headerless mu-law", "RAW", "ULAW", "pcm_mulaw", "raw", raw="mulaw", cut="unnoticed"),
    _sndfile("headerless A-law", "RAW", "ALAW", "pcm_alaw", "raw", raw="alaw", cut="unnoticed"),
    _sndfile("headerless PCM, 16 bit, little endian", "RAW", "PCM_16", "pcm_s16le", "raw", raw="s16le",
             cut="unnoticed", endian="LITTLE"),
    _sndfile("headerless PCM, 16 bit, big endian", "RAW", "PCM_16", "pcm_s16be", "raw", raw="s16be",
             cut="unnoticed", endian="BIG"),
    _sndfile("headerless PCM, 8 bit, signed", "RAW", "PCM_S8", "pcm_s8", "raw", raw="s8", cut="unnoticed",
             correlation=0.98),
    _sndfile("headerless PCM, 8 bit, unsigned", "RAW", "PCM_U8", "pcm_u8", "raw", raw="u8", cut="unnoticed",
             correlation=0.98),
    _sndfile("headerless Dialogic ADPCM (.vox)", "RAW", "VOX_ADPCM", "adpcm_ima_oki", "raw", raw="vox", channels=1,
             cut="unnoticed", correlation=0.95),
    _sndfile("headerless GSM 6.10", "RAW", "GSM610", "gsm", "raw", raw="gsm", channels=1, cut="unnoticed",
             correlation=0.85),
    _ffmpeg("headerless G.722", "g722", "g722", "g722", "g722", raw="g722", rate_hz=16_000, channels=1,
            cut="unnoticed", correlation=0.95),
    _ffmpeg("headerless G.726 at 32 kbit/s", "g726", "g726", "g726", "g726", raw="g726", channels=1,
            cut="unnoticed", correlation=0.95, options={"b": "32000"}),
    _ffmpeg("headerless G.723.1", "g723_1", "g723_1", "g723_1", "g723_1", raw="g723_1", channels=1,
            cut="unnoticed", correlation=0.8, options={"b": "6300"}),
    Format("headerless G.729", "frames", "raw", "g729", "g729", "g729", raw="g729", channels=1, cut="unnoticed",
           correlation=None,
           note="no free encoder: frames of chance bits, of which rate, channels and length are checked"),
)  # fmt: skip


def format_rows() -> list[tuple[str, ...]]:
    """The rows as the documentation shows them: format, codec, container, what a lost end does, how it is checked."""
    return [
        (
            row.name,
            f"`{row.codec}`",
            f"`{row.container}`",
            row.cut,
            row.note or f"correlation of at least {row.correlation:g} with what was encoded",
        )
        for row in FORMATS
    ]
