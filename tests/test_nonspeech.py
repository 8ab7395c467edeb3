"""Sounds without speech, and the count of the words that are heard in them."""

from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
import pytest
import soundfile
import typer

from evaluation.benchmarks.nonspeech import (
    OURS,
    PEERS,
    Heard,
    Sound,
    count_words,
    find_sounds,
    make_sounds,
    shared_out,
    table,
)
from evaluation.sets.nonspeech import KINDS, LONGEST_S, SHORTEST_S, Piece, make, pieces
from evaluation.sets.signal_tones import cadence
from evaluation.sets.telephone import mu_law

SECONDS = 300.0


@pytest.fixture(scope="module")
def made() -> list[Piece]:
    """Five minutes of sounds."""
    return list(pieces(SECONDS))


def spectrum_hz(samples: np.ndarray) -> float:
    """Where most of the power lies."""
    return float(np.fft.rfftfreq(len(samples), 1 / 8000)[np.argmax(np.abs(np.fft.rfft(samples)))])


# -------------------------------------------------------------------------------------------------------- sounds


def test_kinds_share_the_time_evenly(made: list[Piece]) -> None:
    """Every kind is there for the same time, in pieces of allowed length, and the total is what was asked for."""
    seconds: dict[str, float] = defaultdict(float)
    for piece in made:
        assert SHORTEST_S <= piece.duration_s <= LONGEST_S
        seconds[piece.kind] += piece.duration_s
    assert list(KINDS) == list(seconds)
    assert all(abs(own - SECONDS / len(KINDS)) < 0.001 for own in seconds.values())
    assert SECONDS == sum(piece.duration_s for piece in made)
    assert len(made) == len({piece.name for piece in made})


@pytest.mark.parametrize("seconds", [150, 151.7, 437, 3600, 20_000])
def test_lengths_are_kept(seconds: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many seconds are asked for, they are made, in pieces of 10 to 120 s; an hour holds every variant."""
    plain = {kind: dict.fromkeys(makers, _nothing) for kind, makers in _makers().items()}
    monkeypatch.setattr("evaluation.sets.nonspeech._MAKERS", plain)
    monkeypatch.setattr("evaluation.sets.nonspeech._through_line", lambda *given: given[0])
    found = list(pieces(seconds))
    assert round(seconds * 8000) == sum(len(piece.samples) for piece in found)
    assert all(SHORTEST_S <= piece.duration_s <= LONGEST_S for piece in found)
    variants = Counter((piece.kind, piece.name.rpartition("-")[0]) for piece in found)
    assert seconds < 3600 or len(variants) == sum(len(makers) for makers in plain.values())


def test_too_few_seconds() -> None:
    """Less than ten seconds for each kind cannot be had."""
    with pytest.raises(ValueError, match="too few"):
        next(pieces(100))


def _nothing(samples: int, rng: np.random.Generator) -> np.ndarray:
    del rng
    return np.zeros(samples)


def _makers() -> dict[str, dict[str, object]]:
    from evaluation.sets.nonspeech import _MAKERS

    return {kind: dict(makers) for kind, makers in _MAKERS.items()}


VARIANTS = [(kind, variant) for kind, makers in _makers().items() for variant in makers]


@pytest.mark.parametrize(("kind", "variant"), VARIANTS)
def test_a_piece(kind: str, variant: str) -> None:
    """Of its length, the same for the same seed, another for another; out of a mu-law line, at a level of its kind."""
    piece = make(kind, variant, 80_000)
    assert (kind, 80_000, np.float32) == (piece.kind, len(piece.samples), piece.samples.dtype)
    assert np.array_equal(piece.samples, make(kind, variant, 80_000).samples)
    assert np.allclose(piece.samples, mu_law(piece.samples.astype(np.float64)), atol=1e-6)
    peak = float(np.max(np.abs(piece.samples)))
    if kind == "silence":
        assert peak == 0
    else:
        assert -60 < 20 * np.log10(peak) < -1
        assert not np.array_equal(piece.samples, make(kind, variant, 80_000, seed=2).samples)


def test_tones_have_their_frequencies() -> None:
    """A European ringing tone lies at 425 Hz, a recorder's beep at 1400 Hz, a calling fax at 1100 Hz."""
    for kind, variant, hz in (("ringing", "europe", 425), ("beeps", "recording", 1400), ("fax", "calling", 1100)):
        assert abs(spectrum_hz(make(kind, variant, 160_000).samples) - hz) < 5


def test_cadence() -> None:
    """Two seconds on, four off, over and over."""
    sound = cadence(12 * 8000, (440, 480), (2, 4)).reshape(-1, 8000)
    loud = [bool(np.sqrt(np.mean(second**2)) > 0.5) for second in sound]
    assert [True, True, False, False, False, False] * 2 == loud


# --------------------------------------------------------------------------------------------------------- table


def test_written_sounds(tmp_path: Path) -> None:
    """Mu-law WAV files at 8 kHz, each of its own name; a folder of recordings is a kind of its own."""
    sounds = list(make_sounds(tmp_path, 150, 1))
    assert len(KINDS) == len(sounds) == len(list(tmp_path.iterdir()))
    for sound in sounds:
        info = soundfile.info(sound.path)
        assert ("WAV", "ULAW", 8000, 1) == (info.format, info.subtype, info.samplerate, info.channels)
        assert sound.duration_s == info.duration
    found = find_sounds(tmp_path)
    assert {tmp_path.name} == {sound.kind for sound in found}
    assert pytest.approx(150) == sum(sound.duration_s for sound in found)
    (tmp_path / "empty").mkdir()
    with pytest.raises(typer.BadParameter, match="no recording"):
        find_sounds(tmp_path / "empty")


def test_peers_hear_a_share() -> None:
    """Of every kind the same seconds, the last recording cut; without a limit all of it."""
    sounds = [Sound(Path(name), kind, 20) for kind, name in (("a", "1"), ("a", "2"), ("b", "3"), ("b", "4"))]
    assert [(sound, 20) for sound in sounds] == list(shared_out(sounds, None))
    assert [("1", 20), ("2", 5), ("3", 20), ("4", 5)] == [(str(one.path), s) for one, s in shared_out(sounds, 50)]
    assert [] == list(shared_out(sounds, 0))


def test_what_counts_as_a_word() -> None:
    """Letters and digits do, dots and notes do not."""
    assert 4 == count_words([" Thank you.", "... ♪ -", "7 [Music]"])
    assert 0 == count_words([])


def test_table() -> None:
    """Kinds in order, their sum, and words in an hour of what each program heard."""
    results = {
        ("hum", OURS): Heard(1800, 0, 2.5),
        ("music", OURS): Heard(1800, 3, 10.0),
        ("hum", PEERS[0]): Heard(60, 1),
        ("music", PEERS[0]): Heard(60, 5),
        ("music", PEERS[1]): Heard(60, 2),
    }
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in table(results).splitlines()[2:]]
    assert [
        ["hum", "1800", "2.5", "0", "60", "1", "n/a", "n/a"],
        ["music", "1800", "10.0", "3", "60", "5", "2", "n/a"],
        ["**all**", "3600", "12.5", "3", "120", "6", "2", "n/a"],
        ["**words in an hour**", "", "", "3.0", "", "180.0", "120.0", "n/a"],
    ] == rows
    assert Heard(2, 3, 0.5, 1) == Heard(1, 1, 0.5) + Heard(1, 2, 0.0, 1)
