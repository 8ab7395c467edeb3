"""Calls made of pieces of others: nothing is lost or told twice, and references stay where their words are."""

from itertools import cycle, islice
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from evaluation.benchmarks.peers import find_corpus
from evaluation.benchmarks.peers_workloads import LEAST_PAUSE_S, Piece, cut, join, main
from evaluation.references import StmLine, load_references, serialise_stm

RATE = 100
_LINES = st.lists(st.tuples(st.floats(0, 20), st.floats(0.1, 5)), max_size=12)


def _line(start: float, end: float, text: str = "word") -> StmLine:
    return StmLine("call", 1, "agent", start, end, text)


def _ramp(seconds: float) -> np.ndarray:
    """Samples that say where they are."""
    return np.arange(round(seconds * RATE), dtype=np.float32)


@given(_LINES)
def test_cutting_loses_no_sample_and_no_line_and_parts_nothing_that_is_spoken(spans: list[tuple[float, float]]) -> None:
    lines = [_line(start, start + length, str(index)) for index, (start, length) in enumerate(spans)]
    samples = _ramp(30)
    pieces = cut(samples, RATE, lines)
    assert np.array_equal(np.concatenate([piece.samples for piece in pieces]), samples)
    assert sorted(line.text for piece in pieces for line in piece.lines) == sorted(line.text for line in lines)
    offset = 0
    for piece in pieces:
        for line in piece.lines:
            whole = lines[int(line.text)]
            assert line.start + offset / RATE == pytest.approx(whole.start, abs=1 / RATE)
            assert line.end * RATE <= len(piece.samples) + 1
        offset += len(piece.samples)


def test_a_recording_is_cut_in_the_middle_of_a_pause_that_is_long_enough() -> None:
    lines = [_line(1, 2), _line(2 + LEAST_PAUSE_S / 2, 3), _line(5, 6)]
    assert [len(piece.samples) for piece in cut(_ramp(8), RATE, lines)] == [4 * RATE, 4 * RATE]


def test_pieces_are_joined_in_turn_until_the_call_is_long_enough() -> None:
    pieces = [Piece(_ramp(2), RATE, (_line(0.5, 1.5, "one"),)), Piece(_ramp(3), RATE, (_line(1, 2, "two"),))]
    endless = cycle(pieces)
    sound, lines = join(endless, "made", 6, pause_s=1)
    assert len(sound) == 7 * RATE
    assert not sound[2 * RATE : 3 * RATE].any()
    assert [(line.call_id, line.text, line.start, line.end) for line in lines] == [
        ("made", "one", 0.5, 1.5),
        ("made", "two", 4.0, 5.0),
    ]
    assert next(islice(endless, 1)) is pieces[0]


def _run(*arguments: str) -> tuple[int, str]:
    import typer

    app = typer.Typer()
    app.command()(main)
    result = CliRunner(env={"COLUMNS": "400"}).invoke(app, list(arguments))
    return result.exit_code, result.output


def test_the_made_calls_are_found_with_their_references(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    soundfile.write(source / "one.wav", np.full(800, 0.1), RATE)
    soundfile.write(source / "both.wav", np.full((800, 2), 0.1), RATE)
    lines = [StmLine("one", 1, "agent", 1, 2, "how are you"), StmLine("one", 1, "caller", 4, 5, "fine")]
    (source / "one.stm").write_text(serialise_stm(lines))

    code, said = _run(str(source), str(tmp_path / "made"), "--calls", "3", "--seconds", "9")

    assert code == 0, said
    assert "3 calls, 35 s" in said
    corpus = find_corpus(tmp_path / "made")
    assert [path.name for path in corpus.files] == ["call-0000.wav", "call-0001.wav", "call-0002.wav"]
    assert corpus.audio_s == pytest.approx(35)
    found = load_references(tmp_path / "made")["call-0001"]
    assert [line.text for line in found.lines or ()] == ["fine", "how are you", "fine"]


def test_recordings_without_references_make_no_calls(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "one.wav", np.zeros(800), RATE)
    code, said = _run(str(tmp_path), str(tmp_path / "made"))
    assert code == 2
    assert "no recording with a reference" in said
