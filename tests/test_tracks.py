"""Sound on scratch disk: what is read piece by piece is what was written."""

import numpy as np
import pytest
from builders import region
from hypothesis import given, settings
from hypothesis import strategies as st
from sounds import SECOND, noise, recording, silence, track

from tasks.tracks import Recording, Track

LENGTH = 1000


@pytest.fixture(scope="module")
def sound() -> Track:
    """Noise, a thousand samples of it."""
    return track(noise(1, LENGTH / SECOND))


# -------------------------------------------------------------------------------------------------------- tracks


@given(
    start=st.integers(-50, LENGTH + 50),
    end=st.none() | st.integers(-50, LENGTH + 50),
    gain=st.sampled_from([1.0, 0.25, 3.7]),
)
@settings(max_examples=200, deadline=None)
def test_any_stretch(sound: Track, start: int, end: int | None, gain: float) -> None:
    """From start to end, no further than the track goes, with its gain; nothing where the end comes first."""
    found = Track(sound.path, sound.samples, gain).read(start, end)
    expected = noise(1, LENGTH / SECOND)[max(start, 0) : LENGTH if end is None else max(end, 0)]
    assert np.float32 == found.dtype
    assert np.array_equal(np.float32(gain) * expected, found)


@given(size=st.integers(1, LENGTH + 50))
@settings(max_examples=50, deadline=None)
def test_blocks_are_the_whole(sound: Track, size: int) -> None:
    """Blocks are of the size that was asked for but for the last one, and joined they are the track."""
    blocks = list(sound.blocks(size))
    assert np.array_equal(sound.read(), np.concatenate(blocks))
    assert {size} >= {len(block) for block in blocks[:-1]}
    assert 1 <= len(blocks[-1]) <= size


def test_a_region_is_read_at_its_samples() -> None:
    """Times become the nearest samples, and what follows on a region begins with the sample after it."""
    ramp = track(np.arange(SECOND, dtype=np.float32))
    assert [1600, 3199] == ramp.read_region(region(0.1, 0.2))[[0, -1]].tolist()
    assert [3200, 3201] == ramp.read_region(region(0.2, 0.20012)).tolist()
    assert [SECOND - 1] == ramp.read_region(region(1 - 1 / SECOND, 2.0)).tolist()


def test_a_shorter_track_on_the_same_file_ends_sooner() -> None:
    """A track ends where its samples do, whatever follows in the file."""
    held = track(np.arange(10, dtype=np.float32))
    cut = Track(held.path, 4)
    assert (4 / SECOND, [0, 1, 2, 3], [3]) == (cut.duration_s, cut.read().tolist(), cut.read(3, 9).tolist())
    assert [[0, 1, 2], [3]] == [block.tolist() for block in cut.blocks(3)]


def test_the_gain_is_heard_and_not_recorded() -> None:
    """A gain changes what is read, and nothing on disk."""
    quiet = track(noise(), gain=0.5)
    assert np.array_equal(0.5 * noise(), quiet.read())
    assert np.array_equal(0.5 * noise(), np.concatenate(list(quiet.blocks(999))))
    assert np.array_equal(noise(), quiet.recorded.read())


def test_nothing_is_a_track_too() -> None:
    """A track of no samples reads as none."""
    empty = track(silence(0.0), gain=2.0)
    assert (0.0, 0, 0, []) == (empty.duration_s, len(empty.read()), len(empty.read(5, 9)), list(empty.blocks()))


# ---------------------------------------------------------------------------------------------------- recordings


@given(channels=st.integers(1, 9), samples=st.integers(0, 400), multiple=st.integers(1, 60), most=st.integers(1, 500))
@settings(max_examples=150, deadline=None)
def test_blocks_of_a_recording(channels: int, samples: int, multiple: int, most: int) -> None:
    """Blocks are multiples but for the last one, no larger than they must be, and joined they are the recording."""
    sound = np.random.default_rng(samples).standard_normal((channels, samples)).astype(np.float32)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tasks.tracks.BLOCK_SAMPLES", most)
        blocks = list(recording(sound).blocks(multiple))
    assert [channels] * len(blocks) == [block.shape[1] for block in blocks]
    assert np.array_equal(sound.T, np.concatenate([np.zeros((0, channels), dtype=np.float32), *blocks]))
    assert all(len(block) % multiple == 0 for block in blocks[:-1])
    assert all(0 < block.size <= max(most, multiple * channels) for block in blocks)


def test_a_recording_lasts_as_long_as_its_rate_says() -> None:
    """Samples are counted for each channel, at the rate of the source."""
    found: Recording = recording(np.zeros((3, 4000)), 8000)
    assert (0.5, 4000, 3) == (found.duration_s, found.samples, found.source.channels)
