"""Several mono recordings as one: a call whose channels lie in files of their own.

They begin together. The shorter ones are filled with silence at their end, and all come out at the highest sampling
rate among them, as the tracks of one file do (`tasks.ffmpeg_streams`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from tasks.errors import NotMono, TooLarge
from tasks.ffmpeg_streams import ALIKE_S, LOST_MIN_S, LOST_SHARE
from tasks.records import Samples, SourceFormat
from tasks.tracks import Recording

BLOCK_SAMPLES = 1 << 20
_BYTES = np.dtype(np.float32).itemsize


def require_mono(source: SourceFormat) -> None:
    """Refuse a file that is more than one channel of a call.

    Raises:
        NotMono: it has several channels, whatever is on them.
    """
    if source.channels != 1:
        message = (
            f"the file has {source.channels} channels, and is named as one channel of a call in several files: name "
            "mono files, or this one alone"
        )
        raise NotMono(message)


def side_by_side(legs: Sequence[Recording], path: Path, max_output_bytes: int) -> Recording:
    """Interleave mono recordings, the first as channel 0; block by block, so that memory does not grow with them.

    Args:
        legs: decoded files of one channel; their samples are removed from disk.
        path: the file to write.
        max_output_bytes: the most that it may have.

    Raises:
        TooLarge: it would have more.
    """
    rate = max(leg.source.sampling_rate for leg in legs)
    longest_s = max(leg.duration_s for leg in legs)
    if longest_s * rate * len(legs) * _BYTES > max_output_bytes:
        message = f"its files decode to more than {max_output_bytes:,} bytes together (decoder.max_output_bytes)"
        raise TooLarge(message)
    ready = [_at_rate(leg, rate) for leg in legs]
    samples = max(leg.samples for leg in ready)
    with path.open("wb") as file:
        for block in _interleaved(ready, samples):
            file.write(block.data)
    for leg in ready:
        leg.path.unlink()
    source = _source([leg.source for leg in legs], [leg.samples for leg in ready], rate)
    return Recording(path, source, samples)


def resampled_step(legs: Sequence[SourceFormat]) -> tuple[str, ...]:
    """The step of `preprocessing` that says which channels were brought to the rate of others; none where none was."""
    rate = max(leg.sampling_rate for leg in legs)
    changed = [
        f"channel {channel} from {leg.sampling_rate}" for channel, leg in enumerate(legs) if leg.sampling_rate != rate
    ]
    return (f"legs(soxr_hq: {', '.join(changed)} to {rate} Hz)",) if changed else ()


def _at_rate(leg: Recording, rate: int) -> Recording:
    """A mono recording at another rate (soxr, high quality), in a file of its own; itself where it has that rate."""
    own = leg.source.sampling_rate
    if own == rate:
        return leg
    import soxr

    path = leg.path.with_name(f"{leg.path.name}.resampled")
    resampler = soxr.ResampleStream(own, rate, 1, dtype="float32", quality="HQ")
    samples = 0
    with path.open("wb") as file:
        for block in leg.blocks():
            out = resampler.resample_chunk(block)
            samples += len(out)
            file.write(np.ascontiguousarray(out).data)
        out = resampler.resample_chunk(np.zeros((0, 1), dtype=np.float32), last=True)
        samples += len(out)
        file.write(np.ascontiguousarray(out).data)
    leg.path.unlink()
    return Recording(path, replace(leg.source, sampling_rate=rate), samples)


def _interleaved(legs: Sequence[Recording], total: int) -> Iterator[Samples]:
    """All channels, `[sample, channel]`, until the longest one ends."""
    size = max(1, BLOCK_SAMPLES // len(legs))
    for start in range(0, total, size):
        block = np.zeros((min(size, total - start), len(legs)), dtype=np.float32)
        for channel, leg in enumerate(legs):
            count = min(max(leg.samples - start, 0), len(block))
            block[:count, channel] = np.fromfile(leg.path, dtype=np.float32, count=count, offset=start * _BYTES)
        yield block


def _source(legs: Sequence[SourceFormat], samples: Sequence[int], rate: int) -> SourceFormat:
    """What the files say of themselves, as one; a file that lost its end while others went on is damaged."""
    total = max(samples)
    lengths_s = [count / rate for count in samples]
    alike = max(lengths_s) - min(lengths_s) < ALIKE_S
    undecoded_s = max(
        leg.undecoded_s + _lost_s(leg.declared_s, length_s, total / rate)
        for leg, length_s in zip(legs, lengths_s, strict=True)
    )
    return SourceFormat(
        codec="+".join(dict.fromkeys(leg.codec for leg in legs)),
        container="+".join(dict.fromkeys(leg.container for leg in legs)),
        sampling_rate=rate,
        channels=len(legs),
        declared_s=max((leg.declared_s for leg in legs if leg.declared_s is not None), default=None),
        undecoded_s=round(undecoded_s, 3),
        streams=sum(leg.streams for leg in legs),
        undecoded_streams=sum(leg.undecoded_streams for leg in legs),
        channel_s=() if alike else tuple(round(length_s, 3) for length_s in lengths_s),
    )


def _lost_s(declared_s: float | None, length_s: float, total_s: float) -> float:
    """Seconds that a file states and does not hold, of those that the call lasts; what lies behind it is truncated."""
    if declared_s is None:
        return 0.0
    missing_s = min(declared_s, total_s) - length_s
    return missing_s if missing_s > max(LOST_MIN_S, LOST_SHARE * declared_s) else 0.0
