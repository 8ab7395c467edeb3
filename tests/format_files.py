"""Makes a file of each format of `evaluation.audio_formats`, from the demo's own speech; and files of many streams."""

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from functools import lru_cache
from pathlib import Path

import av
import librosa
import numpy as np
import soundfile

from evaluation.audio_formats import Format
from tasks.decoding import decode
from tasks.records import Samples

SPEECH = Path("evaluation/sets/demo/archive/2026/10/05/demo-0001.wav")
SECONDS = 4.0
FRAME_BYTES = {"g729": 10, "amrwb": 33}
FRAMES = {"g729": 400, "amrwb": 200}
SEED = 2


@lru_cache
def speech(rate: int, channels: int) -> Samples:
    """Four seconds of the demo at a rate, `[channel, sample]`; channels hold different stretches of it."""
    audio, _ = decode(SPEECH, 3600)
    start = [round(second * audio.sampling_rate) for second in (0, 4)[:channels]]
    length = round(SECONDS * audio.sampling_rate)
    stretches = np.stack([audio.samples[0, first : first + length] for first in start])
    if rate != audio.sampling_rate:
        stretches = librosa.resample(stretches, orig_sr=audio.sampling_rate, target_sr=rate)
    return (stretches * (0.7 / np.abs(stretches).max())).astype(np.float32)


def make(row: Format, path: Path) -> None:
    """Write a file of the format."""
    if row.maker == "soundfile":
        soundfile.write(
            path, speech(row.rate_hz, row.channels).T, row.rate_hz, format=row.container_arg, subtype=row.codec_arg,
            endian=row.endian,
        )  # fmt: skip
    elif row.maker == "ffmpeg":
        _encode(row, path)
    elif row.maker == "sphere":
        path.write_bytes(_sphere(row))
    else:
        path.write_bytes(_frames(row))


@dataclass(frozen=True)
class Stream:
    """One audio stream of a file: FFmpeg's encoder, its options, and `[channel, sample]` from a time on."""

    encoder: str
    rate_hz: int
    samples: Samples
    start_s: float = 0.0
    options: Mapping[str, str] = field(default_factory=dict)


def mux(path: Path, muxer: str, streams: Sequence[Stream], *, in_time: bool = True, **options: str) -> Path:
    """Write streams into a file with one of FFmpeg's muxers, packets in order of time or one stream after the other."""
    with av.open(str(path), "w", format=muxer, options=options) as container:
        added = [_added(container, stream) for stream in streams]
        packets = [packet for one, stream in zip(added, streams, strict=True) for packet in _packets(one, stream)]
        if in_time and len(streams) > 1:
            packets.sort(key=lambda packet: packet.dts * packet.time_base)
        container.start_encoding()
        for packet in packets:
            container.mux(packet)
    return path


def _encode(row: Format, path: Path) -> None:
    each = np.split(speech(row.rate_hz, row.channels), row.streams)
    mux(path, row.container_arg, [Stream(row.codec_arg, row.rate_hz, one, options=row.options) for one in each])


def _added(container: av.container.OutputContainer, stream: Stream) -> av.AudioStream:
    options = dict(stream.options)
    bit_rate = options.pop("b", None)
    layout = "mono" if len(stream.samples) == 1 else "stereo"
    added = container.add_stream(stream.encoder, rate=stream.rate_hz, layout=layout, options=options)
    if bit_rate:
        added.bit_rate = int(bit_rate)
    if stream.encoder == "g723_1":
        added.codec_context.format = "s16"
    added.codec_context.open()
    return added


def _packets(added: av.AudioStream, stream: Stream) -> list[av.Packet]:
    context, rate, layout = added.codec_context, stream.rate_hz, added.layout
    if not stream.samples.size:
        return []
    resampler = av.AudioResampler(format=context.format, layout=layout, rate=rate)
    fifo = av.AudioFifo()
    interleaved = np.ascontiguousarray((stream.samples.T * 32767).astype(np.int16)).reshape(1, -1)
    frame = av.AudioFrame.from_ndarray(interleaved, format="s16", layout=layout)
    frame.sample_rate, frame.pts, frame.time_base = rate, 0, Fraction(1, rate)
    for converted in resampler.resample(frame):
        fifo.write(converted)
    size = context.frame_size or 1024
    packets = []
    while (part := fifo.read(size)) is not None or (part := fifo.read(partial=True)) is not None:
        part.pts += round(stream.start_s * rate)
        packets += added.encode(part)
    return [packet for packet in [*packets, *added.encode()] if packet.dts is not None]


def _sphere(row: Format) -> bytes:
    """NIST SPHERE: 1,024 bytes of text, then samples."""
    samples = speech(row.rate_hz, row.channels)
    whole = np.ascontiguousarray((samples.T * 32767).astype("<i2"))
    width, coding, data = 2, "pcm", whole.tobytes()
    if row.codec_arg == "ulaw":
        width, coding = 1, "ulaw"
        data = _mulaw(whole)
    fields = [
        f"sample_count -i {samples.shape[1]}", f"sample_rate -i {row.rate_hz}", f"channel_count -i {row.channels}",
        f"sample_n_bytes -i {width}", f"sample_coding -s{len(coding)} {coding}", "sample_byte_format -s2 01",
        "end_head",
    ]  # fmt: skip
    return ("NIST_1A\n   1024\n" + "\n".join(fields) + "\n").encode().ljust(1024) + data


def _mulaw(samples: np.ndarray) -> bytes:
    """ITU-T G.711, by its segments."""
    magnitude = np.minimum(np.abs(samples.astype(np.int32)), 32635) + 132
    exponent = np.floor(np.log2(magnitude)).astype(int) - 7
    mantissa = (magnitude >> (exponent + 3)) & 0x0F
    return (~((samples < 0) * 0x80 | exponent << 4 | mantissa) & 0xFF).astype(np.uint8).tobytes()


def _frames(row: Format) -> bytes:
    """Frames of chance bits, under the header that such files have."""
    rng = np.random.default_rng(SEED)
    size, count = FRAME_BYTES[row.codec_arg], FRAMES[row.codec_arg]
    frames = [rng.bytes(size) for _ in range(count)]
    if row.container_arg == "amr":
        # The first octet: frame type 2 (12.65 kbit/s, 253 bits), good quality; RFC 4867, section 5.
        return b"#!AMR-WB\n" + b"".join(b"\x14" + frame[:-1] for frame in frames)
    data = b"".join(frames)
    if row.container_arg == "raw":
        return data
    fmt = struct.pack("<HHIIHH", 0x0083, 1, row.rate_hz, 1000, size, 0)
    fact = struct.pack("<I", 80 * count)
    body = b"WAVE" + b"".join(
        name + struct.pack("<I", len(part)) + part for name, part in ((b"fmt ", fmt), (b"fact", fact), (b"data", data))
    )
    return b"RIFF" + struct.pack("<I", len(body)) + body
