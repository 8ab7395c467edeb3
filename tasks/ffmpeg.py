"""Reading recordings with FFmpeg's libraries (PyAV): what may be read, and what headers say of the length."""

from __future__ import annotations

import io
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from tasks.errors import UndecodableAudio
from tasks.headers import declared_length
from tasks.records import Samples, SourceFormat

if TYPE_CHECKING:
    from av.audio.frame import AudioFrame
    from av.audio.resampler import AudioResampler
    from av.audio.stream import AudioStream
    from av.container import InputContainer

# What FFmpeg may take a file for: what sound is archived in. Playlists, which name other files and hosts, are not here.
DEMUXERS = (
    "aac,ac3,act,aiff,amr,asf,au,avi,caf,dss,eac3,flac,flv,ircam,loas,matroska,mov,mp3,mpeg,mpegts,nistsphere,ogg,qcp,"
    "tta,voc,w64,wav,wv"
)
# Of these, the ones that are known by a bit pattern that repeats, which headerless sound can hold by chance.
SYNC_WORD_DEMUXERS = frozenset({"aac", "ac3", "eac3", "loas", "mp3", "mpeg", "mpegts"})
SYNC_WORD_SHARE = 0.9
# Where FFmpeg's duration is what the header says; elsewhere it is guessed from bit rates, or taken from the last page.
DECLARING_DEMUXERS = frozenset({"aiff", "au", "flac", "mov", "matroska", "nistsphere", "tta", "wv"})
HEADER_DEMUXERS = frozenset({"wav", "w64", "caf", "asf"})
PLAUSIBLE_RATES_HZ = range(1000, 768_001)
BLOCK_SAMPLES = 65_536
# A shorter gap between time stamps is their raggedness.
MIN_GAP_S = 0.1
# So many errors of the demuxer in a row mean that it finds nothing more.
MAX_REFUSALS = 100


@dataclass(slots=True)
class Reader:
    """An open recording: its format (from the first block on as it is, before as the header says) and its blocks."""

    source: SourceFormat
    blocks: Iterator[Samples] = field(default_factory=lambda: iter(()))
    damaged: bool = False
    length_s: float | None = None
    """What FFmpeg takes for the length: from the header, the last page or the bit rate."""


@contextmanager
def ffmpeg(
    path: Path, *, demuxer: str | None = None, options: dict[str, str] | None = None, whole: bool = False
) -> Iterator[Reader]:
    """Read with FFmpeg's libraries.

    Args:
        path: the recording.
        demuxer: the name of a headerless format; None recognises the format.
        options: of that format.
        whole: refuse a file of which only a part is what it was recognised as by a bit pattern.
    """
    import av

    length = declared_length(path)
    # Larger packets of PCM mean fewer turns of Python.
    given = {"protocol_whitelist": "file", "max_size": str(BLOCK_SAMPLES)} | (options or {})
    if demuxer is None:
        given["format_whitelist"] = DEMUXERS
    if length.goes_on:
        given["ignore_length"] = "1"
    try:
        if whole:
            _require_whole(path, given)
        with (
            _opened(path) as file,
            av.open(file, "r", format=demuxer, options=given, metadata_errors="ignore") as container,
        ):
            if not container.streams.audio:
                message = "the file holds no audio stream"
                raise UndecodableAudio(message)
            audio = container.streams.audio[0]
            if getattr(audio, "codec_context", None) is None:
                message = f"no decoder for the sound in the {container.format.name} file"
                raise UndecodableAudio(message)
            short = container.format.name.partition(",")[0]
            declared = length.seconds if short in HEADER_DEMUXERS else _declared(path, container, audio, short)
            source = SourceFormat(audio.codec_context.name, container.format.name, audio.rate, audio.channels, declared)
            length_s = container.duration / 1_000_000 if container.duration else None
            reader = Reader(plausible(source), length_s=length_s)
            reader.blocks = _interleaved(_valid_frames(container, reader), reader)
            yield reader
    except MemoryError:  # which is one of FFmpeg's errors, too
        raise
    except av.FFmpegError as error:
        message = f"no decoder can read the file ({error.strerror})"
        raise UndecodableAudio(message) from error


class _OpenEnd(io.FileIO):
    """A Sun AU file whose header states a size of 0, as recorders leave it: read as one that states none."""

    def read(self, size: int | None = -1) -> bytes:
        """The bytes, but for the stated size."""
        start = self.tell()
        data = super().read(size) or b""
        patch = b"\xff" * 4
        return data[: 8 - start] + patch + data[12 - start :] if start == 0 and len(data) >= 12 else data


@contextmanager
def _opened(path: Path) -> Iterator[str | _OpenEnd]:
    """What FFmpeg is given to open."""
    with path.open("rb") as file:
        head = file.read(12)
    if head[:4] == b".snd" and head[8:] == bytes(4):
        with _OpenEnd(path) as patched:
            yield patched
    else:
        yield str(path)


def _interleaved(frames: Iterator[AudioFrame], reader: Reader) -> Iterator[Samples]:
    """Frames as float32 `[sample, channel]`, in the rate and layout of the first, whatever later ones change to.

    Silence stands in place of frames that did not decode, so that what follows them keeps its time.
    """
    import av

    resampler: AudioResampler | None = None
    seen: tuple[str, str, int] | None = None
    begin: float | None = None
    written = 0
    for frame in frames:
        looks = (frame.format.name, frame.layout.name, frame.sample_rate)
        if resampler is None:
            layout, rate = frame.layout, frame.sample_rate
            reader.source = plausible(replace(reader.source, sampling_rate=rate, channels=layout.nb_channels))
        elif looks != seen:
            yield from _arrays(resampler.resample(None))
        if resampler is None or looks != seen:
            # Interleaved: PyAV reads past the end of a planar frame's eight pointers, and crashes, from eight channels.
            resampler, seen = av.AudioResampler(format="flt", layout=layout, rate=rate), looks
        begin = frame.time if begin is None else begin
        if frame.time is not None and begin is not None:
            silence = _silence(frame.time - begin, written, reader)
            written += sum(len(block) for block in silence)
            yield from silence
        for block in _arrays(resampler.resample(frame)):
            written += len(block)
            yield block
    if resampler is not None:
        yield from _arrays(resampler.resample(None))


def _silence(time_s: float, written: int, reader: Reader) -> list[Samples]:
    """What is missing before a frame that lies at `time_s`, when `written` samples are there; counted in the source."""
    rate, channels = reader.source.sampling_rate, reader.source.channels
    missing = round(time_s * rate) - written
    plausible_s = math.inf if reader.length_s is None else reader.length_s + MIN_GAP_S
    if missing < MIN_GAP_S * rate or time_s > plausible_s:
        return []  # the raggedness of time stamps, or one that is damaged itself
    reader.source = replace(reader.source, undecoded_s=round(reader.source.undecoded_s + missing / rate, 3))
    return [
        np.zeros((min(BLOCK_SAMPLES, missing - start), channels), dtype=np.float32)
        for start in range(0, missing, BLOCK_SAMPLES)
    ]


def _arrays(frames: Sequence[AudioFrame | None]) -> Iterator[Samples]:
    for frame in frames:
        if frame is not None:
            yield frame.to_ndarray().astype(np.float32, copy=False).reshape(-1, frame.layout.nb_channels)


def _valid_frames(container: InputContainer, reader: Reader) -> Iterator[AudioFrame]:
    """The frames of the first audio stream, without those that do not decode."""
    import av

    packets = container.demux(audio=0)
    refusals = 0
    while refusals < MAX_REFUSALS:
        try:
            packet = next(packets, None)
        except MemoryError:
            raise
        except av.FFmpegError:
            # An error ends PyAV's generator, and not the file: go on behind it.
            reader.damaged = True
            refusals += 1
            packets = container.demux(audio=0)
            continue
        if packet is None:
            return
        refusals = 0
        try:
            frames = packet.decode()
        except MemoryError:
            raise
        except av.FFmpegError:
            reader.damaged = True
            continue
        yield from (frame for frame in frames if frame.samples)


def _declared(path: Path, container: InputContainer, audio: AudioStream, demuxer: str) -> float | None:
    """The length in seconds that the header states, where FFmpeg has it from there."""
    if demuxer not in DECLARING_DEMUXERS and not (demuxer == "mp3" and _counts_frames(path)):
        return None
    if audio.duration and audio.time_base:
        return float(audio.duration * audio.time_base)
    return container.duration / 1_000_000 if container.duration else None


def _counts_frames(path: Path) -> bool:
    """Whether an MP3 file starts with a header that says how many frames follow."""
    with path.open("rb") as file:
        start = file.read(10)
        tag = start[6:] if start[:3] == b"ID3" else bytes(4)
        file.seek(sum((byte & 0x7F) << shift for byte, shift in zip(tag, (21, 14, 7, 0), strict=False)))
        head = file.read(4096)
    return any(mark in head for mark in (b"Xing", b"Info", b"VBRI"))


def _require_whole(path: Path, options: dict[str, str]) -> None:
    """Refuse what was recognised by a repeated bit pattern that most of the file does not hold.

    Raises:
        UndecodableAudio: the pattern is there by chance.
    """
    import av

    with av.open(str(path), options=options, metadata_errors="ignore") as container:
        if container.format.name not in SYNC_WORD_DEMUXERS or not container.streams.audio:
            return
        held = sum(packet.size for packet in container.demux(audio=0))
        if held < SYNC_WORD_SHARE * path.stat().st_size:
            message = f"the file holds the bit pattern of {container.format.name} files by chance"
            raise UndecodableAudio(message)


def plausible(source: SourceFormat) -> SourceFormat:
    """Refuse a sampling rate that no recorder writes: resampling it would cost without bound."""
    if source.sampling_rate not in PLAUSIBLE_RATES_HZ:
        message = f"the {source.container} file says that it has a sampling rate of {source.sampling_rate} Hz"
        raise UndecodableAudio(message)
    return source
