"""Words of one channel that are another one's, heard again."""

from pathlib import Path

import numpy as np
import pytest
from builders import segment, word, words
from hypothesis import given
from hypothesis import strategies as st
from talk import segments

from tasks.echoed_words import LATEST_S, level_of, set_echoes_aside
from tasks.records import Region, Segment, Word
from tasks.tracks import Track


def levels(*db: float):  # noqa: ANN201  # a Level
    """Channels that are so loud all the time."""
    return lambda channel, _: db[channel]


def late(held: tuple[Word, ...], by_s: float) -> tuple[Word, ...]:
    """The same words, later."""
    return tuple(Word(one.text, one.start + by_s, one.end + by_s, one.probability) for one in held)


SAID = words("the invoice is due on Monday")


@pytest.mark.parametrize(
    ("echo", "db", "left"),
    [
        (late(SAID, 0.1), (-20, -32), []),
        (late(SAID, 0.1), (-20, -24), ["the", "invoice", "is", "due", "on", "Monday"]),
        (late(SAID, 0.1), (-32, -20), ["the", "invoice", "is", "due", "on", "Monday"]),
        (late(SAID, LATEST_S + 0.05), (-20, -32), ["the", "invoice", "is", "due", "on", "Monday"]),
        ((*late(SAID[:2], 0.1), word("yes", 1.0), *late(SAID[4:], 0.1)), (-20, -32), ["yes"]),
        ((word("Monday?", 2.1),), (-20, -29), ["Monday?"]),
        ((word("Monday?", 2.1),), (-20, -33), []),
        (words("good morning to all of you"), (-20, -40), ["good", "morning", "to", "all", "of", "you"]),
    ],
    ids=[
        "an echo", "as loud as the other", "the louder one", "too late for one", "a word of its own in it",
        "one word, not quiet enough", "one word, quiet enough", "other words",
    ],
)  # fmt: skip
def test_what_an_echo_is(echo: tuple[Word, ...], db: tuple[float, float], left: list[str]) -> None:
    """The same words at the same time, and much quieter."""
    parts = [segment(*SAID), segment(*echo, channel=1)]
    found, aside = set_echoes_aside(parts, levels(*db))
    assert left == [one.text for part in found if part.channel == 1 for one in part.words]
    first = [part for part in found if part.channel == 0]
    assert [SAID] == [part.words for part in first] or db[0] < db[1]
    texts = [one.text for one in echo]
    assert sorted(texts) == sorted([*left, *(text for one in aside for text in one.text.split())]) or db[0] < db[1]


def test_what_was_taken_out_is_told() -> None:
    """Where, what, and why."""
    parts = [segment(*SAID), segment(*late(SAID[:3], 0.2), channel=1, avg_logprob=-0.7, no_speech_prob=0.3)]
    _, (aside,) = set_echoes_aside(parts, levels(-20, -35))
    assert (1, 0.2, "the invoice is", "echo") == (aside.channel, aside.start, aside.text, aside.reason)
    assert (-0.7, 0.3) == (aside.avg_logprob, aside.no_speech_prob)
    assert pytest.approx(1.4) == aside.end


def test_a_segment_without_words_is_none() -> None:
    """Of a chunk that held nothing but echo, nothing is left."""
    parts = [segment(*SAID), segment(*late(SAID, 0.1), channel=1)]
    found, aside = set_echoes_aside(parts, levels(-20, -40))
    assert parts[:1] == list(found)
    assert 1 == len(aside)


@given(segments(), st.floats(-60, 0), st.floats(-60, 0))
def test_every_word_is_kept_or_told(found: list[Segment], one_db: float, other_db: float) -> None:
    """Nothing is lost, nothing doubled, and what stays is unchanged."""
    kept, aside = set_echoes_aside(found, levels(one_db, other_db))
    held = [(part.channel, item) for part in kept for item in part.words]
    told = [(one.channel, text) for one in aside for text in one.text.split()]
    every = [(part.channel, item) for part in found for item in part.words]
    assert len(every) == len(held) + len(told)
    assert [item for item in every if item in held] == held


def test_levels_are_those_of_the_recording(tmp_path: Path) -> None:
    """Without the gain with which a track is heard; silence and nothing have a level too."""
    path = tmp_path / "track"
    np.concatenate([np.full(16000, 0.1), np.zeros(16000)]).astype(np.float32).tofile(path)
    level = level_of([Track(path, 32000, gain=8.0)])
    assert pytest.approx(-20, abs=0.01) == level(0, Region(0.0, 1.0))
    assert [-120.0, -120.0] == [level(0, Region(1.0, 2.0)), level(0, Region(5.0, 6.0))]
