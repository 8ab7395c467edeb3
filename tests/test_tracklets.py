"""Tracklets: local speakers followed through windows, the turns that they take alone, and whose each frame is."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.tracklets import PAUSE_S, SAME_S, Frames, Tracklet, find_tracklets, find_turns, label_frames

FRAMES = Frames(seconds=0.05, window=40, step=10)
ONSET = 0.5


def scores(*speakers: tuple[int, int], windows: int = 5, swap: tuple[int, ...] = ()) -> np.ndarray:
    """Windows over a call in which speakers talk from frame to frame; in some, local speakers have other places."""
    found = np.zeros((windows, FRAMES.window, 3))
    for window in range(windows):
        start = FRAMES.first(window)
        order = [1, 0, 2] if window in swap else [0, 1, 2]
        for local, (first, last) in zip(order, speakers, strict=False):
            found[window, max(0, first - start) : max(0, last - start), local] = 0.9
    return found


def spans(tracklets: list[Tracklet]) -> list[list[tuple[int, int]]]:
    """From where to where each talks, in frames of the call."""
    found = []
    for one in tracklets:
        edges = np.flatnonzero(np.diff(one.talks.astype(int), prepend=0, append=0)) + one.first
        found.append(list(zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True)))
    return found


@pytest.mark.parametrize("swap", [(), (1,), (0, 2, 3)])
def test_a_speaker_is_followed_wherever_the_model_puts_it(swap: tuple[int, ...]) -> None:
    """Local speakers have no names: who talks at the same time is the same."""
    found = find_tracklets(scores((5, 30), (32, 70), swap=swap), FRAMES, ONSET)
    assert [[(5, 30)], [(32, 70)]] == sorted(spans(found))
    assert all([window for window, _ in one.members] == sorted(window for window, _ in one.members) for one in found)


def test_who_is_silent_for_a_window_is_somebody_new() -> None:
    """Until the voice tells."""
    held = scores((0, 10), windows=8)
    held[:, :, 0] += scores((100, 110), windows=8)[:, :, 0]
    assert [[(0, 10)], [(100, 110)]] == spans(find_tracklets(held, FRAMES, ONSET))


def test_a_glimpse_links_nobody() -> None:
    """Two that talk at once for a moment are not the same."""
    held = np.zeros((2, FRAMES.window, 2))
    held[0, 10:40, 0] = 0.9  # frames 10 to 40
    held[1, 28:32, 0] = 0.9  # frames 38 to 42, of which the other shares two
    assert 2 * FRAMES.seconds < SAME_S
    assert 2 == len(find_tracklets(held, FRAMES, ONSET))


def test_no_windows_and_nobody() -> None:
    """Nothing to follow."""
    assert [] == find_tracklets(np.zeros((0, FRAMES.window, 3)), FRAMES, ONSET)
    assert [] == find_tracklets(np.zeros((3, FRAMES.window, 3)), FRAMES, ONSET)
    assert [] == find_turns([], FRAMES)


@given(st.integers(0, 2**32 - 1), st.integers(1, 6), st.sampled_from([10, 9.5, 7.3]))
@settings(max_examples=60, deadline=None)
def test_every_local_speaker_is_in_one_tracklet(seed: int, windows: int, step: float) -> None:
    """Exactly one, if it ever talks, and never two of one window."""
    frames = Frames(0.05, 40, step)
    held = np.random.default_rng(seed).random((windows, 40, 3)) ** 2
    held[:, :, 2] *= np.random.default_rng(seed).random((windows, 1)) > 0.5
    found = find_tracklets(held, frames, ONSET)
    members = [member for one in found for member in one.members]
    talking = [(w, k) for w in range(windows) for k in range(3) if (held[w, :, k] > ONSET).any()]
    assert sorted(members) == talking
    for one in found:
        assert len({window for window, _ in one.members}) == len(one.members)
        assert one.first == frames.first(one.members[0][0])
        assert one.first + len(one.talks) == frames.first(one.members[-1][0]) + 40
    for turn in find_turns(found, frames):
        for other, one in enumerate(found):
            beside = np.zeros(len(turn.talks), dtype=bool)
            for index in range(len(turn.talks)):
                at = turn.first + index - one.first
                beside[index] = 0 <= at < len(one.talks) and one.talks[at]
            assert (beside >= turn.talks).all() if other == turn.tracklet else not (beside & turn.talks).any()


def tracklet(*talks: tuple[int, int], first: int = 0, length: int = 100) -> Tracklet:
    """One that talks from frame to frame."""
    flags = np.zeros(length, dtype=bool)
    for start, end in talks:
        flags[start:end] = True
    return Tracklet(((0, 0),), first, flags)


def test_turns_end_at_pauses_and_where_somebody_else_talks() -> None:
    """A short pause is bridged, unless the other talks in it; what both say is nobody's alone."""
    short, long = round(PAUSE_S / FRAMES.seconds), round(PAUSE_S / FRAMES.seconds) + 1
    one = tracklet((0, 10), (10 + short, 30), (30 + long, 60), (64, 90))
    other = tracklet((61, 63), (80, 100))
    found = find_turns([one, other], FRAMES)
    assert [(0, 0, 30), (0, 30 + long, 60), (0, 64, 80), (1, 61, 63), (1, 90, 100)] == [
        (turn.tracklet, turn.first, turn.last) for turn in found
    ]
    assert 30 - short == found[0].talks.sum()


def test_turns_are_frames_of_the_call() -> None:
    """Wherever the tracklet begins."""
    (turn,) = find_turns([tracklet((5, 20), first=300)], FRAMES)
    assert (305, 320) == (turn.first, turn.last)


def test_a_frame_is_the_speakers_of_the_nearest_turn() -> None:
    """Half of what lies between two turns is of each; without turns, as is said."""
    one = tracklet((10, 20), (40, 50), first=100)
    first, second = find_turns([one], FRAMES)
    labels = label_frames(one, [(first, 1), (second, 0)], otherwise=7)
    assert [1] * 30 + [0] * 70 == labels.tolist()
    assert {7} == set(label_frames(one, [], otherwise=7).tolist())
