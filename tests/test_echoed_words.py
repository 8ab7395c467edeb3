"""Words of one channel that are another one's, heard again."""

from dataclasses import replace
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


def levels(*db: float, own_db: float | None = None):  # noqa: ANN201  # a Level
    """Channels that are so loud until 10 s; then `own_db`, where somebody of them speaks."""
    return lambda channel, region: own_db if own_db is not None and region.start >= 10 else db[channel]


def late(held: tuple[Word, ...], by_s: float) -> tuple[Word, ...]:
    """The same words, later."""
    return tuple(Word(one.text, one.start + by_s, one.end + by_s, one.probability) for one in held)


SAID = words("the invoice is due on Monday")
OWN = words("could you say that again", 12.0)
ALL = [one.text for one in SAID]


@pytest.mark.parametrize(
    ("echo", "db", "own_db", "left"),
    [
        (late(SAID, 0.1), (-20, -32), -20, []),
        (late(SAID, 0.1), (-20, -24), -20, ALL),
        (late(SAID, 0.1), (-20, -32), -32, ALL),
        (late(SAID, LATEST_S + 0.05), (-20, -32), -20, ALL),
        ((*late(SAID[:2], 0.1), word("yes", 1.0), *late(SAID[4:], 0.1)), (-20, -32), -20, ["yes"]),
        ((word("Monday?", 2.1),), (-20, -29), -20, ["Monday?"]),
        ((word("Monday?", 2.1),), (-20, -33), -20, []),
        (words("good morning to all of you"), (-20, -40), -20, ["good", "morning", "to", "all", "of", "you"]),
    ],
    ids=[
        "an echo", "nearly as loud as the other", "as loud as its own voice", "too late for one",
        "a word of its own in it", "one word, not quiet enough", "one word, quiet enough", "other words",
    ],
)  # fmt: skip
def test_what_an_echo_is(echo: tuple[Word, ...], db: tuple[float, float], own_db: float, left: list[str]) -> None:
    """The same words at the same time, much quieter than there, and than what else is said here."""
    parts = [segment(*SAID), segment(*echo, *OWN, channel=1)]
    found, echoes = set_echoes_aside(parts, levels(*db, own_db=own_db))
    assert [*left, *(one.text for one in OWN)] == [
        one.text for part in found if part.channel == 1 for one in part.words
    ]
    assert [SAID] == [part.words for part in found if part.channel == 0]
    assert len(echo) - len(left) == echoes.words == sum(len(one.text.split()) for one in echoes.set_aside)


def test_a_channel_without_words_of_its_own_is_left_alone() -> None:
    """There is nothing to say how loud somebody of it would be."""
    parts = [segment(*SAID), segment(*late(SAID, 0.1), channel=1)]
    assert (tuple(parts), 0) == (set_echoes_aside(parts, levels(-20, -40))[0], 0)


def test_languages_without_spaces_are_passed_over() -> None:
    """What stands for words there are characters, and they are alike everywhere."""
    parts = [segment(*SAID, language="ja"), segment(*late(SAID, 0.1), *OWN, channel=1, language="ja")]
    assert tuple(parts) == set_echoes_aside(parts, levels(-20, -40, own_db=-20))[0]


def test_what_was_taken_out_is_told() -> None:
    """Where, what, and why."""
    echo = segment(*late(SAID[:3], 0.2), channel=1, avg_logprob=-0.7, no_speech_prob=0.3)
    found, echoes = set_echoes_aside([segment(*SAID), echo, segment(*OWN, channel=1)], levels(-20, -35, own_db=-20))
    (aside,) = echoes.set_aside
    assert (1, 0.2, "the invoice is", "echo", 3) == (
        aside.channel, aside.start, aside.text, aside.reason, echoes.words,
    )  # fmt: skip
    assert (-0.7, 0.3) == (aside.avg_logprob, aside.no_speech_prob)
    assert pytest.approx(1.4) == aside.end
    assert [SAID, OWN] == [part.words for part in found], "a segment without words is none"


@given(segments(), st.floats(-60, 0), st.floats(-60, 0), st.floats(-60, 0))
def test_every_word_is_kept_or_told(found: list[Segment], one_db: float, other_db: float, own_db: float) -> None:
    """Nothing is lost, nothing doubled, and what stays is unchanged."""
    doubled = [*found, *(replace(part, channel=1 - part.channel, words=late(part.words, 0.1)) for part in found)]
    kept, echoes = set_echoes_aside(doubled, levels(one_db, other_db, own_db=own_db))
    held = [(part.channel, item) for part in kept for item in part.words]
    told = sum(len(one.text.split()) for one in echoes.set_aside)
    every = [(part.channel, item) for part in doubled for item in part.words]
    assert len(every) == len(held) + echoes.words == len(held) + told
    assert [item for item in every if item in held] == held


def test_levels_are_those_of_the_recording(tmp_path: Path) -> None:
    """Without the gain with which a track is heard; silence and nothing have a level too."""
    path = tmp_path / "track"
    np.concatenate([np.full(16000, 0.1), np.zeros(16000)]).astype(np.float32).tofile(path)
    level = level_of([Track(path, 32000, gain=8.0)])
    assert pytest.approx(-20, abs=0.01) == level(0, Region(0.0, 1.0))
    assert [-120.0, -120.0] == [level(0, Region(1.0, 2.0)), level(0, Region(5.0, 6.0))]
