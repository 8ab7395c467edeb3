"""From the bytes of a recording to its samples, at their own rate, channels apart. Runs in the decoder's process.

By content, never by file name. FFmpeg's libraries (PyAV) read first; libsndfile reads what they refuse; headerless
sound is read only as it is told to be, and only where no decoder recognises the bytes.

The process that runs this must start at once: only numpy, PyAV and soundfile are imported, and no settings.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from tasks.errors import DecoderOutOfMemory, TooLarge, TooLong, UndecodableAudio, ZeroLengthAudio
from tasks.ffmpeg import ffmpeg
from tasks.ffmpeg_frames import BLOCK_SAMPLES, Reader, plausible
from tasks.headers import declared_length
from tasks.records import Audio, Samples, SourceFormat

if TYPE_CHECKING:
    from soundfile import SoundFile

RawEncoding = Literal["mulaw", "alaw", "s8", "u8", "s16le", "s16be", "vox", "gsm", "g722", "g726", "g723_1", "g729"]

LIBSNDFILE_CONTAINERS = frozenset({"AIFF", "AU", "CAF", "FLAC", "NIST", "OGG", "RF64", "VOC", "W64", "WAV", "WAVEX"})

# FFmpeg reads the samples of big-endian WAV files as little-endian ones, and loses the last packet of ALAC in CAF.
LIBSNDFILE_FIRST = frozenset({b"RIFX", b"caff"})

# FFmpeg's names for libsndfile's subtypes; those that end in `*` have a byte order.
_CODECS = {
    "PCM_S8": "pcm_s8", "PCM_U8": "pcm_u8", "PCM_16": "pcm_s16*", "PCM_24": "pcm_s24*", "PCM_32": "pcm_s32*",
    "FLOAT": "pcm_f32*", "DOUBLE": "pcm_f64*", "ULAW": "pcm_mulaw", "ALAW": "pcm_alaw", "ALAC_16": "alac",
    "ALAC_20": "alac", "ALAC_24": "alac", "ALAC_32": "alac",
}  # fmt: skip
# How libsndfile names headerless sound: subtype, byte order, and FFmpeg's name for the codec.
_RAW_SUBTYPES = {
    "mulaw": ("ULAW", None, "pcm_mulaw"),
    "alaw": ("ALAW", None, "pcm_alaw"),
    "s8": ("PCM_S8", None, "pcm_s8"),
    "u8": ("PCM_U8", None, "pcm_u8"),
    "s16le": ("PCM_16", "LITTLE", "pcm_s16le"),
    "s16be": ("PCM_16", "BIG", "pcm_s16be"),
    "vox": ("VOX_ADPCM", None, "adpcm_ima_oki"),
    "gsm": ("GSM610", None, "gsm"),
}
# Options that these of FFmpeg's headerless readers take instead of what they assume.
_RAW_DEMUXERS: dict[str, dict[str, str]] = {"g722": {}, "g726": {"code_size": "4"}, "g723_1": {}, "g729": {}}

Sink = Callable[[Samples], None]
"""Takes blocks of samples, interleaved: `[sample, channel]`."""


@dataclass(frozen=True, slots=True)
class RawFormat:
    """What headerless sound is."""

    encoding: RawEncoding
    sampling_rate: int
    channels: int


@dataclass(frozen=True, slots=True)
class DecodeOptions:
    """How much may be decoded, and how headerless sound is read (None: it is not)."""

    max_duration_s: float
    max_output_bytes: int
    raw: RawFormat | None = None


def decode(path: Path, max_duration_s: float, raw: RawFormat | None = None) -> tuple[Audio, SourceFormat]:
    """Decode a whole recording, in this process and into its memory; raises what `stream` does."""
    blocks: list[Samples] = []
    source = stream(path, blocks.append, max_duration_s, raw)
    return Audio(np.concatenate([block.T for block in blocks], axis=1), source.sampling_rate), source


def decode_to_file(path: Path, output: Path, options: DecodeOptions) -> tuple[SourceFormat, int]:
    """Decode a recording into a file of interleaved float32 samples, block by block: memory does not grow with it.

    Returns:
        its format, and the number of samples of each channel.

    Raises:
        TooLarge: more bytes of samples than the limit.
        UndecodableAudio, ZeroLengthAudio, TooLong, DecoderOutOfMemory: as `stream` does.
    """
    written = samples = 0
    with output.open("wb", buffering=1 << 20) as file:

        def sink(block: Samples) -> None:
            nonlocal written, samples
            written += block.nbytes
            samples += len(block)
            if written > options.max_output_bytes:
                message = f"it decodes to more than {options.max_output_bytes:,} bytes (decoder.max_output_bytes)"
                raise TooLarge(message)
            file.write(np.ascontiguousarray(block).data)

        source = stream(path, sink, options.max_duration_s, options.raw)
    return source, samples


def stream(path: Path, sink: Sink, max_duration_s: float, raw: RawFormat | None = None) -> SourceFormat:
    """Decode a recording at its own sampling rate, channels apart, and hand it on block by block.

    In place of frames that do not decode stands silence (`SourceFormat.undecoded_s`), so that what follows keeps its
    time; a file that ends early gives what is there.

    Args:
        path: the recording, of any name.
        sink: takes the blocks.
        max_duration_s: decoding stops, with an error, past this length.
        raw: how to read the file where no decoder recognises it.

    Raises:
        UndecodableAudio: nothing in the file can be decoded as sound.
        ZeroLengthAudio: the file is sound, of no length.
        TooLong: the recording is longer than `max_duration_s`.
        DecoderOutOfMemory: a decoder was refused the memory that it asked for.
    """
    try:
        refusals = []
        for reader in _readers(path, raw):
            try:
                return _drain(reader, sink, max_duration_s)
            except UndecodableAudio as refusal:
                refusals.append(refusal)
        raise refusals[0]
    except MemoryError as error:
        message = "the decoder asked for more memory than it may have (decoder.max_memory_bytes)"
        raise DecoderOutOfMemory(message) from error


def _readers(path: Path, raw: RawFormat | None) -> Iterator[AbstractContextManager[Reader]]:
    """The readers of a file, in the order in which they are tried; a reader that refuses has read no sample."""
    with path.open("rb") as file:
        readers = [ffmpeg(path, whole=raw is not None), _libsndfile(path)]
        yield from reversed(readers) if file.read(4) in LIBSNDFILE_FIRST else readers
    if raw is not None:
        yield _headerless(path, raw)


def _drain(opened: AbstractContextManager[Reader], sink: Sink, max_duration_s: float) -> SourceFormat:
    samples = wrong = 0
    with opened as reader:
        for block in reader.blocks:
            samples += len(block)
            if samples > max_duration_s * reader.source.sampling_rate:
                message = f"the recording is longer than the limit of {max_duration_s:g} s (archive.max_duration_s)"
                raise TooLong(message)
            finite = np.isfinite(block)
            if finite.all():
                sink(block)
            else:  # a float codec's; one such sample would spoil every sum
                wrong += int(np.count_nonzero(~finite.all(axis=1)))
                sink(np.where(finite, block, np.float32(0)))
    source = reader.source
    if wrong:
        lost_s = round(source.undecoded_s + wrong / source.sampling_rate, 3)
        source = replace(source, undecoded_s=max(lost_s, 0.001))  # a single sample is marked, too
    if not samples and reader.damaged:
        message = f"none of the {source.codec} frames in the {source.container} file can be decoded"
        raise UndecodableAudio(message)
    if not samples:
        message = f"the {source.container} file is valid and holds no samples"
        raise ZeroLengthAudio(message)
    return source


# ------------------------------------------------------------------------------------------------------- libsndfile


@contextmanager
def _libsndfile(path: Path, raw: RawFormat | None = None) -> Iterator[Reader]:
    """Read with libsndfile: what it recognises, or headerless sound."""
    import soundfile

    given: dict[str, object] = {}
    if raw is not None:
        subtype, order, codec = _RAW_SUBTYPES[raw.encoding]
        given = {"format": "RAW", "subtype": subtype, "endian": order, "samplerate": raw.sampling_rate}
        given["channels"] = raw.channels
    # By number: libsndfile would look at the extension of a name.
    descriptor = os.open(path, os.O_RDONLY)
    big_endian = os.pread(descriptor, 4, 0) in {b"RIFX", b"caff", b"FORM", b".snd"}
    try:
        with soundfile.SoundFile(descriptor, closefd=True, **given) as file:
            if raw is None and file.format not in LIBSNDFILE_CONTAINERS:
                message = f"{file.format} files are not supported"
                raise UndecodableAudio(message)
            container = "raw" if raw else str(file.format).lower()
            name = codec if raw else _CODECS.get(file.subtype, file.subtype.lower())
            name = name.replace("*", "be" if big_endian else "le")
            declared = None if raw else declared_length(path).seconds
            source = SourceFormat(name, container, file.samplerate, file.channels, declared)
            yield Reader(plausible(source), _blocks(file))
    except soundfile.LibsndfileError as error:
        message = f"no decoder can read the file ({error.error_string})"
        raise UndecodableAudio(message) from error


def _blocks(file: SoundFile) -> Iterator[Samples]:
    while len(block := file.read(BLOCK_SAMPLES, dtype="float32", always_2d=True)):
        yield block


def _headerless(path: Path, raw: RawFormat) -> AbstractContextManager[Reader]:
    if raw.encoding in _RAW_SUBTYPES:
        return _libsndfile(path, raw)
    options = _RAW_DEMUXERS[raw.encoding] | {"sample_rate": str(raw.sampling_rate)}
    return ffmpeg(path, demuxer=raw.encoding, options=options)
