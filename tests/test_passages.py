"""Aligned words line by line, the worst stretch of a call, and its sound."""

import io
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from evaluation.cases import Case
from evaluation.clips import cut_clips
from evaluation.hypotheses import HypothesisUtterance
from evaluation.passages import MARGIN_S, STRETCH_S, Line, Stretch, lines_of, worst_stretch
from evaluation.references import StmLine
from evaluation.wer import word_errors
from tasks.settings import load_settings
from tasks.storage import open_storage

SPOKEN = st.lists(
    st.tuples(st.sampled_from("xy"), st.integers(0, 50), st.integers(0, 9), st.sampled_from(["", "a b", "c", "a uh"])),
    max_size=5,
)


def said(start: float, end: float, text: str, speaker: str = "agent") -> StmLine:
    """A line."""
    return StmLine("a", 1, speaker, start, end, text)


def heard(start: float, end: float, text: str, speaker: str = "S0") -> HypothesisUtterance:
    """An utterance."""
    return HypothesisUtterance(speaker, start, end, text)


def shown(lines: tuple[Line, ...]) -> list[tuple[str | None, tuple[str, ...], str]]:
    """Who speaks, who was heard, and what."""
    return [
        (line.speaker, line.heard_as, " ".join(word.text for cell in line.cells for word in cell.hypothesis))
        for line in lines
    ]


def test_what_was_heard_goes_with_its_line() -> None:
    """By time where alignment leaves it open; what nobody said stands alone."""
    lines = lines_of(
        [said(0, 2, "hello there"), said(20, 22, "good bye", "customer")],
        [heard(0, 2, "hello there you"), heard(10, 11, "thanks for watching", "S1"), heard(20, 22, "so good bye")],
    )
    assert [
        ("agent", ("S0",), "hello there you"),
        (None, ("S1",), "thanks for watching"),
        ("customer", ("S0",), "so good bye"),
    ] == shown(lines)


def test_calls_without_speech_or_times() -> None:
    """What is heard in silence is nobody's; a text without times has those of what was heard."""
    assert [(None, ("S0",), "thank you")] == shown(lines_of([], [heard(3, 4, "thank you")]))
    assert () == lines_of([], [])
    (line,) = lines_of([said(0, 0, "hello there", "")], [heard(3, 5, "hello here")])
    assert (3.0, 4.0) == (line.start, line.end)
    (line,) = lines_of([said(0, 0, "hello", "")], [])
    assert (None, None) == (line.start, line.end)
    assert worst_stretch([line], []) is None


@given(SPOKEN, SPOKEN)
@settings(deadline=None)
def test_no_error_is_lost(reference: list[tuple[str, int, int, str]], other: list[tuple[str, int, int, str]]) -> None:
    """The errors of the lines are those of the call, and a stretch is as long as it may be at most."""
    lines = [said(start, start + length, text, who) for who, start, length, text in reference]
    utterances = [heard(start, start + length, text, who) for who, start, length, text in other]
    found = lines_of(lines, utterances)
    errors = word_errors(lines, utterances).errors
    assert errors == sum(line.errors for line in found)
    stretch = worst_stretch(found, utterances)
    if stretch is not None:
        assert 0 <= stretch.start < stretch.end <= stretch.start + STRETCH_S + 0.001
        assert 0 < stretch.errors <= errors


def test_the_worst_stretch_holds_the_most_errors() -> None:
    """It begins a little before its first line, and ends with the line of its last error."""
    reference = [said(10.0 * at, 10.0 * at + 4, "a b c d") for at in range(8)]
    utterances = [heard(10.0 * at, 10.0 * at + 4, "x y z d" if at == 5 else "a b c d") for at in range(8)]
    stretch = worst_stretch(lines_of(reference, utterances), utterances)
    assert stretch == Stretch(50 - MARGIN_S, 54 + MARGIN_S, 3)


@pytest.mark.parametrize("files", [1, 2])
def test_clips_are_cut_where_the_errors_are(tmp_path: Path, files: int) -> None:
    """Both sides of a call, from one file or two; a stretch behind the end is no sound, and says so."""
    rate = 8000
    loud = np.zeros((rate * 6, 2))
    loud[2 * rate : 4 * rate] = 0.1 * np.sin(np.arange(2 * rate) / 3)[:, None]
    names = [f"call-{at}.wav" for at in range(files)]
    for at, name in enumerate(names):
        soundfile.write(tmp_path / name, loud if files == 1 else loud[:, at], rate)
    cases = [Case(call_id="a", audio=tuple(names)), Case(call_id="b", audio=tuple(names)), Case(call_id="c")]
    wanted = {"a": Stretch(1.0, 5.0, 1), "b": Stretch(7.0, 9.0, 1), "c": Stretch(0.0, 1.0, 1)}
    clips, problems = cut_clips(wanted, cases, open_storage(tmp_path.as_uri()), load_settings())
    assert (["a"], ["b"]) == (list(clips), list(problems))
    assert "the recording ends after 6.0 s" in problems["b"]
    assert (1.0, 5.0) == (clips["a"].start, clips["a"].end)
    with av.open(io.BytesIO(clips["a"].content)) as file:
        frames = [frame.to_ndarray() for frame in file.decode(audio=0)]
        assert 2 == file.streams.audio[0].channels
    sound = np.abs(np.concatenate(frames, axis=1)[0])
    second = [float(sound[at * 16_000 : (at + 1) * 16_000].mean()) for at in range(4)]
    assert max(second[0], second[3]) < 0.05 < min(second[1], second[2])
