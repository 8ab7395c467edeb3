"""What the header of a file says of its length, where decoders quietly correct it or take it at its word."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

# Recorders that stream write a size that no file has (0, 0xFFFFFFFF, 0x7FFFFFFF, or those less a header): it says
# nothing.
PLACEHOLDER_SIZE = 0x7FFF_0000
# Bytes after the data that are no chunk are sound when they last this long, in seconds.
TRAILING_S = 1.0

_W64_TAIL = bytes.fromhex("f3acd3118cd100c04f8edb8a")
_ASF = bytes.fromhex("3026b2758e66cf11")
_ASF_FILE_PROPERTIES = bytes.fromhex("a1dcab8c47a9cf118ee400c00c205365")
_ASF_BROADCAST = 1
_BLOCK_TAGS = frozenset({2, 0x11, 0x31})  # Microsoft and IMA ADPCM, GSM 6.10: a block holds so many samples
_PCM_TAGS = frozenset({1, 3, 6, 7, 0xFFFE})  # PCM, float, A-law, mu-law, extensible: a size says the length


@dataclass(frozen=True, slots=True)
class HeaderLength:
    """What a header says of the length: seconds (None where it says nothing), and whether sound goes on after that."""

    seconds: float | None = None
    goes_on: bool = False


@dataclass(slots=True)
class _Wave:
    """What the chunks of a WAV, RF64 or W64 file hold so far."""

    order: str
    tag: int = 0
    rate: int = 0
    byte_rate: int = 0
    block: int = 0
    block_samples: int = 0
    fact: int = 0
    size64: int | None = None

    def length(self, data_bytes: int) -> float | None:
        """The length that is declared, in seconds, when the data has that many bytes."""
        if self.tag in _BLOCK_TAGS and self.rate and self.block and self.block_samples:
            # Not `fact`, which libsndfile writes too small for stereo.
            return data_bytes / self.block * self.block_samples / self.rate
        if self.tag not in _PCM_TAGS and self.fact and self.rate:
            return self.fact / self.rate
        if self.tag in _PCM_TAGS and self.rate and self.block:
            return data_bytes / (self.rate * self.block)
        return data_bytes / self.byte_rate if self.byte_rate else None


def declared_length(path: Path) -> HeaderLength:
    """Read the declared length of a WAV, RIFX, RF64, BW64, W64, CAF (PCM) or ASF file.

    Any other file, or a header that makes no sense, declares nothing.
    """
    file_bytes = path.stat().st_size
    with path.open("rb") as file:
        start = file.read(40)
        try:
            if start[:4] in {b"RIFF", b"RIFX", b"RF64", b"BW64"} and start[8:12] == b"WAVE":
                file.seek(12)
                return _riff(file, file_bytes, ">" if start[:4] == b"RIFX" else "<")
            if start[:4] == b"riff" and start[24:28] == b"wave":
                file.seek(40)
                return _w64(file, file_bytes)
            if start[:4] == b"caff":
                file.seek(8)
                return _caf(file, file_bytes)
            if start[:8] == _ASF:
                return _asf(start + file.read(65_536))
        except struct.error:
            return HeaderLength()
    return HeaderLength()


def _riff(file: BinaryIO, file_bytes: int, order: str) -> HeaderLength:
    wave = _Wave(order)
    for name, size in _chunks(file, f"{order}4sI", file_bytes, align=2):
        if name != b"data":
            _note(wave, name, file.read(min(size, 64)))
            continue
        data_bytes = wave.size64 if wave.size64 is not None and size == 0xFFFF_FFFF else size
        end = file.tell() + data_bytes
        if data_bytes == 0 or (data_bytes >= PLACEHOLDER_SIZE and end > file_bytes):
            return HeaderLength()
        return HeaderLength(wave.length(data_bytes), _goes_on(file, end, file_bytes, wave))
    return HeaderLength()


def _w64(file: BinaryIO, file_bytes: int) -> HeaderLength:
    wave = _Wave("<")
    for guid, size in _chunks(file, "<16sQ", file_bytes, align=8, counts_header=True):
        name = guid[:4] if guid[4:] == _W64_TAIL else b""
        if name == b"data":
            return HeaderLength(wave.length(size) if 0 < size < 1 << 62 else None)
        _note(wave, name, file.read(min(size, 64)))
    return HeaderLength()


def _caf(file: BinaryIO, file_bytes: int) -> HeaderLength:
    per_second = 0.0
    for name, size in _chunks(file, ">4sq", file_bytes, align=1):
        if name == b"desc":
            rate, _, _, packet_bytes, packet_frames = struct.unpack(">d4sIII", file.read(24))
            per_second = rate * packet_bytes / packet_frames if packet_frames else 0.0
        elif name == b"data":
            return HeaderLength((size - 4) / per_second if per_second > 0 and size > 4 else None)
    return HeaderLength()


def _asf(head: bytes) -> HeaderLength:
    at = head.find(_ASF_FILE_PROPERTIES)
    if at < 0:
        return HeaderLength()
    play_100ns, _, preroll_ms, flags = struct.unpack("<QQQI", head[at + 64 : at + 92])
    seconds = play_100ns / 10_000_000 - preroll_ms / 1000
    return HeaderLength(seconds if seconds > 0 and not flags & _ASF_BROADCAST else None)


def _note(wave: _Wave, name: bytes, body: bytes) -> None:
    if name == b"fmt ":
        wave.tag, _, wave.rate, wave.byte_rate, wave.block = struct.unpack(f"{wave.order}HHIIH", body[:14])
        if len(body) >= 20:
            (wave.block_samples,) = struct.unpack(f"{wave.order}H", body[18:20])
    elif name == b"fact" and len(body) >= 4:
        (wave.fact,) = struct.unpack(f"{wave.order}I", body[:4])
    elif name == b"ds64":
        (wave.size64,) = struct.unpack(f"{wave.order}Q", body[8:16])


def _chunks(
    file: BinaryIO, layout: str, file_bytes: int, *, align: int, counts_header: bool = False
) -> Iterator[tuple[bytes, int]]:
    """Name and body size of each chunk, with the file at the start of the body."""
    head = struct.calcsize(layout)
    position = file.tell()
    while position + head <= file_bytes:
        file.seek(position)
        name, size = struct.unpack(layout, file.read(head))
        if counts_header:
            size -= head
        yield name, size
        if size < 0:
            return
        position += head + size + -size % align


def _goes_on(file: BinaryIO, end: int, file_bytes: int, wave: _Wave) -> bool:
    """Whether what follows the data is no chunk, and long enough to be sound: a header from before the last words."""
    end += end % 2
    left = file_bytes - end
    if not wave.byte_rate or left <= max(8, TRAILING_S * wave.byte_rate):
        return False
    file.seek(end)
    name, size = struct.unpack(f"{wave.order}4sI", file.read(8))
    return not (all(0x20 <= letter < 0x7F for letter in name) and size + 8 <= left + 1)
