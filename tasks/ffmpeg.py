"""Reading recordings with FFmpeg's libraries (PyAV): what may be read, and what headers say of the length."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from tasks.errors import UndecodableAudio
from tasks.ffmpeg_frames import BLOCK_SAMPLES, Reader, interleaved, plausible, valid_frames
from tasks.ffmpeg_streams import MAX_STREAMS, Stream, joined
from tasks.headers import HeaderLength, declared_length
from tasks.records import SourceFormat

if TYPE_CHECKING:
    from av.audio.stream import AudioStream
    from av.container import InputContainer

# What FFmpeg may take a file for: what sound is archived in. Playlists, which name other files and hosts, are not here.
DEMUXERS = (
    "aac,ac3,act,aiff,amr,asf,au,avi,caf,dss,eac3,flac,flv,ircam,loas,matroska,mov,mp3,mpeg,mpegts,nistsphere,ogg,qcp,"
    "tta,voc,w64,wav,wv"
)
# Of these, the ones that are known by a bit pattern that repeats, which headerless sound can hold by chance.
# Not MPEG-TS: it has tables with checksums, and as much as half of it are headers.
SYNC_WORD_DEMUXERS = frozenset({"aac", "ac3", "eac3", "loas", "mp3", "mpeg"})
SYNC_WORD_SHARE = 0.9
# Where FFmpeg's duration is what the header says; elsewhere it is guessed from bit rates, or taken from the last page.
DECLARING_DEMUXERS = frozenset({"aiff", "au", "flac", "mov", "matroska", "nistsphere", "tta", "wv"})
HEADER_DEMUXERS = frozenset({"wav", "w64", "caf", "asf"})


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
        with ExitStack() as stack:

            def opened() -> InputContainer:
                file = stack.enter_context(_opened(path))
                return stack.enter_context(av.open(file, "r", format=demuxer, options=given, metadata_errors="ignore"))

            container = opened()
            _require_sound(container)
            others = [opened() for _ in container.streams.audio[1:]]
            yield _several([container, *others], length) if others else _one(path, container, length)
    except MemoryError:  # which is one of FFmpeg's errors, too
        raise
    except av.FFmpegError as error:
        message = f"no decoder can read the file ({error.strerror})"
        raise UndecodableAudio(message) from error


def _require_sound(container: InputContainer) -> None:
    """Refuse a file in which there is nothing to decode, or too much side by side.

    Raises:
        UndecodableAudio: one of these.
    """
    streams = container.streams.audio
    if not streams:
        message = "the file holds no audio stream"
        raise UndecodableAudio(message)
    if len(streams) > MAX_STREAMS:
        message = f"the file holds {len(streams)} audio streams, and at most {MAX_STREAMS} are read"
        raise UndecodableAudio(message)
    if not any(_decodes(audio) for audio in streams):
        message = f"no decoder for the sound in the {container.format.name} file"
        raise UndecodableAudio(message)


def _decodes(audio: AudioStream) -> bool:
    """Whether there is a decoder for a stream."""
    return getattr(audio, "codec_context", None) is not None


def _one(path: Path, container: InputContainer, length: HeaderLength) -> Reader:
    """The one audio stream of a file."""
    audio = container.streams.audio[0]
    demuxer = _demuxer(container)
    declared = length.seconds if demuxer in HEADER_DEMUXERS else None
    if demuxer in DECLARING_DEMUXERS or (demuxer == "mp3" and _counts_frames(path)):
        declared = _stream_s(audio) or _length_s(container)
    source = SourceFormat(audio.codec_context.name, container.format.name, audio.rate, audio.channels, declared)
    reader = Reader(plausible(source), length_s=_length_s(container))
    reader.blocks = interleaved(valid_frames(container, reader), reader)
    return reader


def _several(containers: Sequence[InputContainer], length: HeaderLength) -> Reader:
    """The audio streams of a file, which was opened once for each."""
    from av.stream import Discard

    demuxer, name = _demuxer(containers[0]), containers[0].format.name
    streams = []
    for index, container in enumerate(containers):
        audio = container.streams.audio[index]
        for other in container.streams:
            if other.index != audio.index:
                # Not read at all, so that what is damaged in it ends nothing here.
                other.discard = Discard.all
        # Matroska states one length for all of them, which FFmpeg may give to each.
        own_s = _stream_s(audio) if demuxer == "mov" else None
        if _decodes(audio):
            source = SourceFormat(audio.codec_context.name, name, audio.rate, audio.channels)
            reader = Reader(source, length_s=_length_s(container))
            streams.append(Stream(reader, valid_frames(container, reader, index), own_s))
        else:
            streams.append(Stream(Reader(SourceFormat("", name, 0, 0), damaged=True), iter(()), own_s))
    declared_s = length.seconds if demuxer in HEADER_DEMUXERS else None
    return joined(streams, _length_s(containers[0]) if demuxer in DECLARING_DEMUXERS else declared_s)


def _demuxer(container: InputContainer) -> str:
    """The short name of what FFmpeg takes a file for."""
    return str(container.format.name).partition(",")[0]


def _length_s(container: InputContainer) -> float | None:
    return container.duration / 1_000_000 if container.duration else None


def _stream_s(audio: AudioStream) -> float | None:
    return float(audio.duration * audio.time_base) if audio.duration and audio.time_base else None


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
        held = sum(packet.size for packet in container.demux(container.streams.audio))
        if held < SYNC_WORD_SHARE * path.stat().st_size:
            message = f"the file holds the bit pattern of {container.format.name} files by chance"
            raise UndecodableAudio(message)
