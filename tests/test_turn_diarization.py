"""Between pyannote.audio's segmentation and its turns: whose every frame of every window is."""

import numpy as np
import pytest
from pyannote.core import SlidingWindow, SlidingWindowFeature

from tasks.tracklets import Frames, SoleTurn, find_tracklets, find_turns
from tasks.turn_diarization import NOBODY, _clustered, _mean_voice, _unheard_like_neighbours

FRAMES = Frames(seconds=0.05, window=40, step=20)


def turn(tracklet: int, first: int, length: int = 10) -> SoleTurn:
    """A turn without a pause."""
    return SoleTurn(tracklet, first, np.ones(length, dtype=bool))


@pytest.mark.parametrize(
    ("turns", "speakers", "expected"),
    [
        # The nearest of the same tracklet, though another one's is nearer.
        ([turn(0, 0), turn(1, 30), turn(0, 42)], [0, 1, NOBODY], [0, 1, 0]),
        # The nearest of all, where the tracklet has none.
        ([turn(0, 0), turn(1, 30), turn(2, 42)], [0, 1, NOBODY], [0, 1, 1]),
        ([turn(0, 0), turn(0, 50), turn(0, 60)], [0, 1, NOBODY], [0, 1, 1]),
        ([turn(0, 0), turn(1, 20)], [1, 0], [1, 0]),
    ],
)
def test_turns_without_a_voice(turns: list[SoleTurn], speakers: list[int], expected: list[int]) -> None:
    """Too short to be embedded, they are somebody's nonetheless."""
    assert expected == _unheard_like_neighbours(turns, np.array(speakers)).tolist()


def windows(*speakers: list[tuple[int, int]], count: int = 3) -> SlidingWindowFeature:
    """Windows in which local speakers talk from frame to frame of the call."""
    held = np.zeros((count, FRAMES.window, 3))
    for window in range(count):
        start = FRAMES.first(window)
        for local, spans in enumerate(speakers):
            for first, last in spans:
                held[window, max(0, first - start) : max(0, last - start), local] = 0.9
    return SlidingWindowFeature(held, SlidingWindow(duration=2.0, step=1.0))


def clustered(scores: SlidingWindowFeature, speakers: list[int]) -> list[list[tuple[int, int]]]:
    """For each speaker, the frames of the call in which some window has it talk."""
    tracklets = find_tracklets(scores.data, FRAMES, 0.5)
    turns = find_turns(tracklets, FRAMES)
    found = _clustered(scores, FRAMES, tracklets, turns, np.array(speakers, dtype=np.int64)).data
    talks = np.zeros((found.shape[2], FRAMES.first(len(found) - 1) + FRAMES.window), dtype=bool)
    for window, frames in enumerate(found):
        start = FRAMES.first(window)
        talks[:, start : start + FRAMES.window] |= (np.nan_to_num(frames) > 0.5).T
    edges = [np.flatnonzero(np.diff(row.astype(int), prepend=0, append=0)).tolist() for row in talks]
    return [list(zip(row[::2], row[1::2], strict=True)) for row in edges]


def test_frames_go_to_the_speaker_of_their_turn() -> None:
    """One local speaker each."""
    assert [[(5, 30)], [(35, 70)]] == clustered(windows([(5, 30)], [(35, 70)]), [0, 1])


def test_a_tracklet_may_hold_two_speakers() -> None:
    """What the model took for one person is parted between the turns that have different voices."""
    assert [[(5, 30)], [(50, 70)]] == clustered(windows([(5, 30), (50, 70)]), [0, 1])


def test_who_never_talks_alone_is_the_other() -> None:
    """Somebody who only talks into another's turn is not that one."""
    found = clustered(windows([(5, 70)], [(30, 40)], [(75, 80)]), [0, 0, 1])
    assert [[(5, 70)], [(30, 40), (75, 80)]] == found


def test_two_that_only_talk_at_once() -> None:
    """Nobody takes a turn alone: what is said is somebody's nonetheless."""
    assert [[(5, 70)]] == clustered(windows([(5, 70)], [(5, 70)]), [])


def test_a_mean_voice() -> None:
    """Who talks longer counts for more; of no voice nothing can be said."""
    voices, talk_s = np.array([[1.0, 0.0], [0.0, 1.0], [np.nan, np.nan]]), np.array([3.0, 1.0, 0.2])
    assert [0.75, 0.25] == _mean_voice(voices, talk_s, np.array([True, True, False])).tolist()
    assert [0.0, 0.0] == _mean_voice(voices, talk_s, np.zeros(3, dtype=bool)).tolist()


def test_one_speaker_is_all_there_is() -> None:
    """Also where the model hears two at once."""
    assert [[(5, 70)]] == clustered(windows([(5, 70)], [(30, 40)]), [0, 0])
